"""The surface of `mainspring.task_engine`: what the reference page offers, and how it behaves step by step."""

import asyncio
import dataclasses
import gc
import inspect
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from mainspring import task, task_engine
from mainspring.annotations import NotSet
from mainspring.client import AsyncClient, Client
from mainspring.exceptions import IllegalTransition, UpstreamTaskError
from mainspring.logging import disable_run_logger
from mainspring.recording import current_recorder
from mainspring.runs import TaskRun
from mainspring.settings import temporary_settings
from mainspring.states import Completed, Failed, Pending, Running, Scheduled
from mainspring.task_engine import (
    AsyncTaskRunEngine,
    BaseTaskRunEngine,
    SyncTaskRunEngine,
    TaskRunTimeoutError,
    run_generator_task_async,
    run_generator_task_sync,
    run_task,
    run_task_async,
    run_task_sync,
)
from tests.engine.history import messages, only_task_run, sequence, task_runs
from tests.engine.scenarios import BoomError

ENGINES = pytest.mark.parametrize("kind", [SyncTaskRunEngine, AsyncTaskRunEngine])
Engine = SyncTaskRunEngine[Any, Any]


@task
def double(x: int = 1) -> int:
    return x * 2


@task
async def adouble(x: int = 1) -> int:
    return x * 2


@task
def steps(x: int = 1) -> Iterator[int]:
    yield x


@task
async def asteps(x: int = 1) -> AsyncIterator[int]:
    yield x


# The module


@pytest.mark.contract("E-1")
def test_what_the_module_offers() -> None:
    """All names of the reference page are there."""
    assert {
        "AsyncTaskRunEngine",
        "BaseTaskRunEngine",
        "SyncTaskRunEngine",
        "TaskRunTimeoutError",
        "run_generator_task_async",
        "run_generator_task_sync",
        "run_task",
        "run_task_async",
        "run_task_sync",
    } <= set(task_engine.__all__)


@pytest.mark.contract("E-2")
def test_the_timeout_error_is_a_builtin_one() -> None:
    """It is told by its name alone."""
    assert TaskRunTimeoutError.__bases__ == (TimeoutError,)
    assert set(vars(TaskRunTimeoutError)) <= {
        "__module__",
        "__doc__",
        "__weakref__",
        "__firstlineno__",
        "__static_attributes__",
    }


@pytest.mark.contract("E-3", "E-4", "E-6", "N-10")
@ENGINES
def test_fields(kind: Any) -> None:
    """The engines are dataclasses with the page's fields in their order and with their defaults."""
    assert issubclass(kind, BaseTaskRunEngine)
    assert dataclasses.is_dataclass(kind)
    names = [field.name for field in dataclasses.fields(kind) if not field.name.startswith("_")]
    assert names == ["task", "logger", "parameters", "task_run", "retries", "wait_for", "context"]
    engine = kind(double)
    assert (engine.task_run, engine.retries, engine.wait_for, engine.context) == (None, 0, None, None)
    assert engine.parameters == {}
    assert engine.parameters is not kind(double).parameters
    assert engine.logger.name == "mainspring.engine"
    assert isinstance(kind[[int], int](task=double), kind)


@pytest.mark.contract("E-3", "E-4")
@ENGINES
def test_what_dataclasses_can_do(kind: Any) -> None:
    """They compare and print by their fields, can be copied with other values, and be derived from."""
    engine = kind(double, parameters={"x": 3})
    assert engine == kind(double, parameters={"x": 3}) != kind(double)
    assert repr(engine).startswith(f"{kind.__name__}(task={double!r}, logger=")
    assert repr(engine).endswith(
        ", parameters={'x': 3}, task_run=None, retries=0, wait_for=None, context=None)"
    )
    assert dataclasses.replace(engine, retries=2) == kind(double, parameters={"x": 3}, retries=2)

    @dataclasses.dataclass
    class Counting(kind):  # type: ignore[misc]
        count: int = 0

    assert [field.name for field in dataclasses.fields(Counting)][-2:] == ["context", "count"]
    assert Counting(double, count=3).count == 3


@ENGINES
def test_nothing_has_come_out_of_a_new_engine(kind: Any) -> None:
    """No value, no exception, not started."""
    engine = kind(double)
    assert engine._return_value is NotSet
    assert engine._raised is NotSet
    assert engine._is_started is False


SIGNATURE = (
    "(task, task_run_id=None, task_run=None, parameters=None, wait_for=None, return_type='result',"
    " dependencies=None, context=None)"
)


@pytest.mark.contract("E-21", "E-22", "N-10")
@pytest.mark.parametrize(
    "runner",
    [run_task, run_task_sync, run_task_async, run_generator_task_sync, run_generator_task_async],
)
def test_signatures_of_the_runners(runner: Any) -> None:
    """All of them take the same parameters with the same defaults."""
    signature = inspect.signature(runner)
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == SIGNATURE


@pytest.mark.contract("E-22")
def test_kinds_of_the_runners() -> None:
    """Each runner is a function of the kind of the tasks it runs."""
    assert inspect.iscoroutinefunction(run_task_async)
    assert inspect.isgeneratorfunction(run_generator_task_sync)
    assert inspect.isasyncgenfunction(run_generator_task_async)


@pytest.mark.contract("E-21")
def test_run_task_dispatches() -> None:
    """`run_task` gives what the runner for the kind of the task gives."""

    async def collect() -> list[int]:
        return [value async for value in run_task(asteps, parameters={"x": 5})]

    assert run_task(double, parameters={"x": 5}) == 10
    assert asyncio.run(run_task(adouble, parameters={"x": 5})) == 10
    assert list(run_task(steps, parameters={"x": 5})) == [5]
    assert asyncio.run(collect()) == [5]
    assert [run.name for run in task_runs()] == ["double", "adouble", "steps", "asteps"]


METHODS = {
    "initialize_run": "(self, task_run_id=None, dependencies=None)",
    "start": "(self, task_run_id=None, dependencies=None)",
    "run_context": "(self)",
    "transaction_context": "(self)",
    "call_task_fn": "(self, transaction)",
    "begin_run": "(self)",
    "set_state": "(self, state, force=False)",
    "result": "(self, raise_on_failure=True)",
    "handle_success": "(self, result, transaction)",
    "handle_retry": "(self, exc)",
    "handle_exception": "(self, exc)",
    "handle_timeout": "(self, exc)",
    "handle_crash": "(self, exc)",
    "handle_rollback": "(self, txn)",
    "can_retry": "(self, exc)",
    "call_hooks": "(self, state=None)",
    "wait_until_ready": "(self)",
    "setup_run_context": "(self, client=None)",
    "is_running": "(self)",
    "is_cancelled": "(self)",
    "compute_transaction_key": "(self)",
    "record_terminal_state_timing": "(self, state)",
    "log_finished_message": "(self)",
}


@pytest.mark.contract("N-10")
@ENGINES
@pytest.mark.parametrize("name", METHODS)
def test_methods_of_the_engines(kind: Any, name: str) -> None:
    """Every public method of the page is there with its parameters."""
    signature = inspect.signature(getattr(kind, name))
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == METHODS[name]


# A new engine


@pytest.mark.contract("E-7", "E-132")
@ENGINES
@pytest.mark.parametrize("of", [double, adouble])
def test_constructing_does_nothing(kind: Any, of: Any) -> None:
    """An engine may be made for any task, from sync and async code, and creates no run by itself."""

    async def main() -> Any:
        return kind(task=of)

    for engine in (kind(task=of), asyncio.run(main())):
        assert engine.task.name == of.name
        assert engine.parameters == {}
        assert engine.is_running() is False
    assert SyncTaskRunEngine(task=of).result() is None
    assert asyncio.run(AsyncTaskRunEngine(task=of).result()) is None
    assert task_runs() == []


@pytest.mark.contract("E-10", "E-19", "E-59")
def test_without_a_run_most_things_are_refused() -> None:
    """What needs a run says that there is none."""
    engine = Engine(double)
    for call in (
        lambda: engine.state,
        lambda: engine.set_state(Running()),
        lambda: engine.can_retry(ValueError()),
        lambda: engine.call_hooks(),
        lambda: engine.setup_run_context(),
    ):
        with pytest.raises(ValueError, match="There is no run yet"):
            call()
    aengine = AsyncTaskRunEngine[Any, Any](adouble)
    for acall in (lambda: aengine.can_retry(ValueError()), lambda: aengine.call_hooks()):
        with pytest.raises(ValueError, match="There is no run yet"):
            asyncio.run(acall())


@pytest.mark.contract("E-17")
def test_there_is_nothing_to_log_without_a_run(caplog: pytest.LogCaptureFixture) -> None:
    """The finished message of no run is no message."""
    Engine(double).log_finished_message()
    assert not caplog.records


@pytest.mark.contract("E-9", "E-31")
@pytest.mark.invariants(is_over=False)
def test_the_client_exists_inside() -> None:
    """A client of the run store is there between start and end, and not before and after."""
    engine = Engine(double)
    with pytest.raises(RuntimeError, match="not started"):
        _ = engine.client
    with engine.start():
        assert isinstance(engine.client, Client)
    with pytest.raises(RuntimeError, match="not started"):
        _ = engine.client


@pytest.mark.contract("E-9", "E-31")
@pytest.mark.invariants(is_over=False)
def test_the_async_client_exists_inside() -> None:
    """The async engine has an async client."""
    engine = AsyncTaskRunEngine[Any, Any](adouble)

    async def main() -> None:
        with pytest.raises(RuntimeError, match="not started"):
            _ = engine.client
        async with engine.start():
            current_recorder().flush()
            assert isinstance(engine.client, AsyncClient)
            assert engine.task_run is not None
            assert (await engine.client.read_task_run(engine.task_run.id)).id == engine.task_run.id
        with pytest.raises(RuntimeError, match="not started"):
            _ = engine.client

    asyncio.run(main())


@pytest.mark.contract("E-11")
@pytest.mark.parametrize(
    ("context", "cancelled"),
    [
        (None, False),
        ({}, False),
        ({"cancel_event": None}, False),
        ({"cancel_event": "set"}, False),
        ({"other": 1}, False),
    ],
)
def test_not_cancelled(context: Any, cancelled: bool) -> None:
    """Only an event that is set counts as a cancellation."""
    assert Engine(double, context=context).is_cancelled() is cancelled


@pytest.mark.contract("E-11", "X-11")
def test_a_cancel_event() -> None:
    """The event is looked at before the function is called; if it is set the run crashes as cancelled."""
    event = threading.Event()
    engine = Engine(double, context={"cancel_event": event})
    assert engine.is_cancelled() is False
    event.set()
    assert engine.is_cancelled() is True
    called = []

    @task
    def never() -> None:
        called.append(1)

    with pytest.raises(BaseException, match="cancelled"):
        run_task(never, context={"cancel_event": event})
    assert called == []
    assert sequence() == "Pending Running Crashed"
    assert only_task_run().state.message == "Execution was cancelled by the runtime environment."


@pytest.mark.contract("E-12")
@pytest.mark.parametrize(
    ("state", "running"),
    [(Pending(), False), (Running(), True), (Scheduled(), True), (Completed(), False), (Failed(), False)],
)
def test_is_running(state: Any, running: bool) -> None:
    """A run is to be attempted while it is RUNNING or SCHEDULED."""
    run = TaskRun(bytes(16), "a run", state, "key")
    assert Engine(double, task_run=run).is_running() is running


# Results


@pytest.mark.contract("E-20")
def test_result_prefers_value_then_exception_then_none() -> None:
    """The exception is raised or returned on request; nothing at all is None."""
    engine = Engine(double)
    assert engine.result() is None
    error = BoomError()
    engine._raised = error
    with pytest.raises(BoomError):
        engine.result()
    assert engine.result(raise_on_failure=False) is error
    engine._return_value = None
    assert engine.result() is None


@pytest.mark.contract("E-133")
@pytest.mark.parametrize("of", [double, adouble])
def test_the_id_may_be_chosen(of: Any) -> None:
    """A run started with an id is found under it."""
    key = uuid4()
    value = run_task(of, task_run_id=key, parameters={"x": 4})
    assert (asyncio.run(value) if of is adouble else value) == 8
    assert only_task_run().id == key


@pytest.mark.contract("E-29")
@pytest.mark.parametrize("of", [double, adouble])
@pytest.mark.invariants(by_hand=True)
def test_a_run_may_be_executed_again(of: Any) -> None:
    """A run that is given to the engine goes through another attempt under the same id, whatever its state."""

    def execute(**options: Any) -> Any:
        value = run_task(of, **options)
        return asyncio.run(value) if of is adouble else value

    run = of.create_local_run(parameters={"x": 1})
    assert execute(task_run=run, parameters={"x": 1}) == 2
    assert execute(task_run=run, parameters={"x": 5}) == 10
    assert sequence() == "Pending Running Completed Running Completed"
    assert run.run_count == only_task_run().run_count == 2


@pytest.mark.contract("E-8", "E-75")
def test_retries_counts_those_that_were_started() -> None:
    """The field is a count, not a limit."""

    @task(retries=3)
    def fails() -> None:
        raise BoomError

    engine = Engine(fails)
    seen = []
    with engine.start():
        while engine.is_running():
            seen.append(engine.retries)
            with engine.run_context(), engine.transaction_context() as txn:
                engine.call_task_fn(txn)
    assert seen == [0, 1, 2, 3]
    assert engine.retries == 3


# Step by step


@pytest.mark.contract("E-54", "E-55", "E-56", "E-58")
@pytest.mark.invariants(by_hand=True)
def test_set_state_by_hand() -> None:
    """It returns the same object, never refuses, stamps the ids and keeps the run's fields equal to the state."""
    engine = Engine(double)
    with engine.initialize_run():
        run = engine.task_run
        assert run is not None
        for state in (Running(name="Busy"), Failed(message="no"), Completed(data=1)):
            assert engine.set_state(state, force=True) is state is engine.state is run.state
            assert (run.state_id, run.state_type, run.state_name) == (state.id, state.type, state.name)
            assert state.state_details.task_run_id == run.id
    assert sequence() == "Pending Busy Failed Completed"


@pytest.mark.contract("E-25", "E-26", "E-31")
@pytest.mark.invariants(is_over=False)
def test_initialize_run_does_not_begin() -> None:
    """Inside, the run exists and is Pending; leaving it neither begins nor settles it."""
    engine = Engine(double)
    with engine.initialize_run() as entered:
        assert entered is engine
        assert engine.state.is_pending()
    assert sequence() == "Pending"


@pytest.mark.contract("E-32")
def test_hooks_are_called_on_the_way_out_in_any_case() -> None:
    """When the body raised, the failure hooks of a settled run still run."""
    events = []

    @task(on_failure=[lambda task, run, state: events.append(state.name)])
    def fails() -> None:
        raise BoomError

    engine = Engine(fails)

    def loop() -> None:
        with engine.start():
            with engine.run_context(), engine.transaction_context() as txn:
                engine.call_task_fn(txn)
            raise KeyError

    with pytest.raises(KeyError):
        loop()
    assert events == ["Failed"]


@pytest.mark.contract("X-19", "W-6")
def test_an_error_in_the_loop_itself_crashes_the_run() -> None:
    """An ordinary exception that leaves the loop with the run unfinished does not leave it open for ever."""
    engine = Engine(double)
    with pytest.raises(KeyError), engine.start():
        raise KeyError("bug")
    assert sequence() == "Pending Running Crashed"


@pytest.mark.contract("E-68", "E-70", "E-73")
def test_the_handlers_settle_a_run() -> None:
    """Each handler enters the state for its kind of failure."""
    for handler, error, state in (
        ("handle_exception", BoomError(), "Failed"),
        ("handle_timeout", TaskRunTimeoutError(), "TimedOut"),
        ("handle_crash", KeyboardInterrupt(), "Crashed"),
    ):
        engine = Engine(double)
        with engine.start():
            getattr(engine, handler)(error)
            assert engine.state.name == state
        assert engine.result(raise_on_failure=False) is error


@pytest.mark.contract("E-75", "E-76")
def test_handle_retry_by_hand() -> None:
    """It tells whether a retry was granted, enters its state and counts it."""

    @task(retries=1)
    def fails() -> None: ...

    engine = Engine(fails)
    with engine.start():
        assert engine.handle_retry(BoomError()) is True
        assert (engine.state.name, engine.retries) == ("Retrying", 1)
        assert engine.handle_retry(BoomError()) is False
        assert engine.state.name == "Retrying"
        engine.handle_exception(BoomError())


@pytest.mark.contract("E-82", "E-83")
def test_can_retry_by_hand() -> None:
    """Without a condition it is True; else the condition gets task, run and a failed state."""
    seen: list[Any] = []

    def condition(*args: Any) -> bool:
        seen.extend(args)
        return False

    engine = Engine(double)
    with engine.start():
        assert engine.can_retry(BoomError()) is True
        engine.handle_exception(BoomError())
    asking = task(retry_condition_fn=condition)(lambda: None)
    engine = Engine(asking)
    error = BoomError()
    with engine.start():
        assert engine.can_retry(error) is False
        engine.handle_exception(error)
    assert seen[:2] == [asking, engine.task_run]
    assert seen[2].is_failed()
    with pytest.raises(BoomError):
        seen[2].result()


@pytest.mark.contract("E-93")
def test_wait_until_ready_by_hand() -> None:
    """It does nothing for a state without a scheduled time."""
    engine = Engine(double)
    with engine.start():
        engine.wait_until_ready()
        assert engine.state.name == "Running"
        engine.handle_exception(BoomError())


def test_setup_run_context() -> None:
    """Each one is a new context of the same run with the current parameters."""
    engine = Engine(double, parameters={"x": 1})
    with engine.start():
        first, second = engine.setup_run_context(), engine.setup_run_context()
        assert first is not second
        assert first.task_run is second.task_run is engine.task_run
        assert (first.task, first.parameters) == (double, {"x": 1})
        assert first.start_time <= second.start_time
        engine.handle_exception(BoomError())


@pytest.mark.contract("E-16", "V-2")
def test_record_terminal_state_timing() -> None:
    """It notes the end once, and only of a run that has started; entering a final state does so by itself."""
    run = TaskRun(bytes(16), "a run", Pending(at=0), "key")
    engine = Engine(double, task_run=run)
    engine.record_terminal_state_timing(Completed(at=5))
    assert run.ended_at is None
    run.state, run.started_at = Running(at=10), 10
    engine.record_terminal_state_timing(Completed(at=15))
    engine.record_terminal_state_timing(Completed(at=20))
    assert (run.ended_at, run.run_time) == (15, 5)


@pytest.mark.contract("E-135")
def test_parameters_by_name() -> None:
    """Variadic and mixed signatures arrive unchanged from a parameter dict."""

    @task
    def everything(a: int, *args: int, b: int = 2, **kwargs: int) -> Any:
        return a, args, b, kwargs

    parameters = everything.arguments.bind((1, 2, 3), {"c": 4})
    assert run_task_sync(everything, parameters=parameters) == (1, (2, 3), 2, {"c": 4})


@pytest.mark.contract("E-27")
def test_dependencies_are_recorded_as_inputs() -> None:
    """Inputs found elsewhere are added to those found in the parameters."""
    from mainspring.runs import TaskRunResult

    upstream = TaskRunResult(id=UUID(int=5))
    run_task_sync(double, parameters={"x": 1}, dependencies={"x": [upstream], "y": [upstream]})
    assert only_task_run().task_inputs == {"x": [upstream], "y": [upstream]}


@pytest.mark.contract("E-46", "U-20")
def test_waiting_for_oneself_is_refused() -> None:
    """A run whose own state is among what it waits for would wait for ever; it fails instead."""
    run = double.create_local_run(parameters={"x": 1})
    run.state.belong_to(run.key, None)
    with pytest.raises(ValueError, match="deadlock"):
        run_task_sync(double, task_run=run, parameters={"x": 1}, wait_for=[run.state])
    assert run.state.name == "Failed"


def test_a_next_step_that_does_not_exist_is_refused() -> None:
    """Beginning a run twice is a bug of the caller, and reported as one."""
    engine = Engine(double)
    with pytest.raises(IllegalTransition), engine.start():
        engine.begin_run()


@pytest.mark.contract("E-48", "W-5")
def test_the_state_of_a_run_that_could_not_begin() -> None:
    """Asked for the state, a blocked run gives NotReady; asked for the result, it raises."""
    state = run_task_sync(double, parameters={"x": Failed(message="no")}, return_type="state")
    assert (state.name, state.type) == ("NotReady", "PENDING")
    with pytest.raises(UpstreamTaskError, match="no"):
        run_task_sync(double, parameters={"x": Failed(message="no")})


# Nothing is left behind


def test_a_completed_run_leaves_no_cycles() -> None:
    """What a run held is gone when the call returns, without help of the garbage collector."""

    class Value:
        pass

    @task
    def identity(value: Value) -> Value:
        return value

    identity(Value())
    current_recorder().flush()
    gc.collect()
    gc.disable()
    try:
        value = Value()
        alive = weakref.ref(value)
        assert identity(value) is value
        current_recorder().flush()
        del value
        assert alive() is None
    finally:
        gc.enable()


def test_a_failed_run_is_not_pinned() -> None:
    """Nothing global keeps a failed run, its traceback and its arguments."""

    class Value:
        pass

    @task
    def fails(value: Value) -> None:
        raise BoomError

    value = Value()
    alive = weakref.ref(value)
    with disable_run_logger(), pytest.raises(BoomError):  # pytest keeps the log records, these the traceback
        fails(value)
    del value
    current_recorder().flush()
    gc.collect()
    assert alive() is None


def test_the_users_error_has_no_context_of_ours() -> None:
    """The exception that the caller gets was raised by the function alone: no chain of the engine's."""

    @task(retries=1)
    def fails() -> None:
        raise BoomError

    with pytest.raises(BoomError) as caught:
        fails()
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_stop_iteration_is_an_exception_like_others() -> None:
    """A sync function that raises StopIteration fails with it."""

    @task
    def stops() -> None:
        raise StopIteration("mine")

    state = stops(return_state=True)
    assert state.is_failed()
    assert isinstance(state.data, StopIteration)


def test_creation_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The line that announces the run is written once, however many attempts there are."""

    @task(retries=2)
    def fails() -> None:
        raise BoomError

    with (
        caplog.at_level("DEBUG", "mainspring.task_runs"),
        temporary_settings({"logging.internal_level": "DEBUG"}),
        pytest.raises(BoomError),
    ):
        fails()
    assert sum("Created task run" in message for message in caplog.messages) == 1
    assert sum("Created task run" in message for message in messages()) == 1


@pytest.mark.contract("E-30", "V-7")
def test_a_new_run_is_announced_by_its_own_name(caplog: pytest.LogCaptureFixture) -> None:
    """The line comes once, after a custom name was applied, with run name and task name, at DEBUG."""

    @task(task_run_name="run {x}", retries=1)
    def work(x: int) -> None:
        raise BoomError

    with (
        caplog.at_level("DEBUG", "mainspring.task_runs"),
        temporary_settings({"logging.internal_level": "DEBUG"}),
        pytest.raises(BoomError),
    ):
        work(5)
    lines = [(r.levelname, r.getMessage()) for r in caplog.records if "Created task run" in r.getMessage()]
    assert lines == [("DEBUG", "Created task run 'run 5' for task 'work'")]
