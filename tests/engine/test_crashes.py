"""What ends a run from outside, wherever it hits: one table of places, one of errors, sync and async."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from mainspring import clock
from mainspring.context import TaskRunContext
from mainspring.exceptions import Abort, CrashedRun, Pause, TerminationSignal
from mainspring.futures import Future
from mainspring.recording import Recorder, current_recorder, use_recorder
from mainspring.settings import get_current_settings, temporary_settings
from mainspring.states import Pending, State
from mainspring.store.addresses import open_store
from mainspring.tasks import Task
from mainspring.transactions import get_transaction, transaction
from tests.engine.history import messages, only_task_run, query, sequence, states_of, task_runs
from tests.engine.scenarios import BoomError, Meteor
from tests.engine.test_processes import Script, script, terminate_when_ready
from tests.engine.traces import AsyncWorld, SyncWorld, TracingClock, World

__all__ = ["script"]  # a fixture, shared

WORLDS = pytest.mark.parametrize("world", [SyncWorld(), AsyncWorld()], ids=["sync", "async"])

CRASHES: dict[str, Callable[[], BaseException]] = {
    "KeyboardInterrupt": lambda: KeyboardInterrupt("stop"),
    "SystemExit": lambda: SystemExit(3),
    "CancelledError": lambda: asyncio.CancelledError("gone"),
    "TerminationSignal": lambda: TerminationSignal(15),
    "BaseException": lambda: Meteor("hit"),
}
DEPARTURES: dict[str, Callable[[], BaseException]] = {
    "Pause": lambda: Pause("why"),
    "Abort": lambda: Abort("why"),
    "GeneratorExit": lambda: GeneratorExit("why"),
}
MESSAGES = {
    "KeyboardInterrupt": "Execution was aborted by an interrupt signal.",
    "SystemExit": "Execution was aborted by Python system exit call.",
    "CancelledError": "Execution was cancelled by the runtime environment.",
    "TerminationSignal": "Execution was aborted by a termination signal.",
    "BaseException": "Execution was interrupted by an unexpected exception: Meteor: hit",
}


class RaisingFuture(Future[Any]):
    """A future that never comes: waiting for it ends badly."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        super().__init__(bytes(16))
        self.error = error

    @property
    def state(self) -> State:
        return Pending()

    def wait(self, timeout: float | None = None) -> None:
        raise self.error

    async def wait_async(self, timeout: float | None = None) -> None:
        raise self.error

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        raise self.error

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        raise NotImplementedError


class Stage:
    """One run that meets ``error`` somewhere. ``events`` has the hooks that ran."""

    def __init__(self, world: World, error: BaseException) -> None:
        self.world = world
        self.error = error
        self.events: list[str] = []
        self.clock = TracingClock([])
        self.argument: Any = 1
        self.ends: BaseException | None = None
        self.block_ends: BaseException | None = None
        self.options: dict[str, Any] = {
            option: [self.note(option)]
            for option in ("on_running", "on_completion", "on_failure", "on_commit", "on_rollback")
        }

    def note(self, name: str) -> Callable[..., None]:
        return lambda *_: self.events.append(name)

    def raises(self, *_: Any) -> Any:
        raise self.error

    async def araises(self, *_: Any) -> Any:
        await asyncio.sleep(0)
        raise self.error

    async def text(self, x: Any) -> Any:
        if self.ends is not None:
            raise self.ends
        return 1

    async def call(self) -> Any:
        work = Task(self.world.function(self.text), name="work", **self.options)
        if self.block_ends is None:
            return await self.world.finish(work(self.argument))
        with transaction():
            await self.world.finish(work(self.argument))
            raise self.block_ends

    def perform(self) -> BaseException | None:
        """What comes out of the call, after a check that it left nothing behind."""

        async def main() -> BaseException | None:
            try:
                await self.call()
            except BaseException as error:
                found = error
            else:
                found = None
            assert TaskRunContext.get() is None
            assert get_transaction() is None
            return found

        with clock.use_clock(self.clock):
            return self.world.run(main())


Arrange = Callable[[Stage], None]


@dataclass(frozen=True)
class Place:
    """Where the error hits.

    Args:
        arrange: Makes the stage's run meet it there.
        before: The states of the run until then.
        hooks: The hooks that ran before it.
        over: The run has reached its end before; nothing overwrites that.
    """

    arrange: Arrange
    before: str
    hooks: str = ""
    over: bool = False


def in_function(stage: Stage) -> None:
    stage.ends = stage.error


def in_sleep(stage: Stage) -> None:
    stage.ends = BoomError()
    stage.clock.interrupt = stage.error
    stage.options |= {"retries": 2, "retry_delay_seconds": 5}


def in_option(option: str, asynchronous: bool = False, fails: bool = False, **more: Any) -> Arrange:
    """The error comes from a hook, between two that do not raise, or from another function among the options."""

    def arrange(stage: Stage) -> None:
        stage.ends = BoomError() if fails else None
        raises = stage.araises if asynchronous else stage.raises
        known = stage.options.get(option)
        stage.options[option] = raises if known is None else [*known, raises, stage.note("too late")]
        stage.options |= more

    return arrange


def in_parameters(stage: Stage) -> None:
    stage.argument = [{"deep": RaisingFuture(stage.error)}]


def in_rollback(stage: Stage) -> None:
    in_option("on_rollback")(stage)
    stage.block_ends = BoomError()


PR = "Pending Running"
PLACES = {
    "function": Place(in_function, PR, "on_running"),
    "retry sleep": Place(in_sleep, f"{PR} AwaitingRetry", "on_running"),
    "running hook": Place(in_option("on_running"), PR, "on_running"),
    "async running hook": Place(in_option("on_running", True), PR, "on_running"),
    "condition": Place(in_option("retry_condition_fn", fails=True, retries=2), PR, "on_running"),
    "async condition": Place(in_option("retry_condition_fn", True, fails=True, retries=2), PR, "on_running"),
    "parameters": Place(in_parameters, "Pending"),
    "name": Place(in_option("task_run_name"), "Pending"),
    "completion hook": Place(
        in_option("on_completion"), f"{PR} Completed", "on_running on_commit on_completion", over=True
    ),
    "async completion hook": Place(
        in_option("on_completion", True), f"{PR} Completed", "on_running on_commit on_completion", over=True
    ),
    "failure hook": Place(
        in_option("on_failure", fails=True), f"{PR} Failed", "on_running on_failure", over=True
    ),
}
ERRORS = CRASHES | DEPARTURES
CELLS = pytest.mark.parametrize("place", PLACES)


def nothing_runs() -> bool:
    """No run is RUNNING in the store, as another process sees it."""
    current_recorder().flush()
    return query("select count(*) from task_runs where state_type = 'RUNNING'")[0][0] == 0


@pytest.mark.contract("X-13", "X-15", "X-20", "E-73", "E-103", "E-144", "H-7", "F-72")
@WORLDS
@CELLS
@pytest.mark.parametrize("name", CRASHES)
def test_a_crash(place: str, name: str, world: World) -> None:
    """One final state, that of the crash unless there was one before; no hook follows; the same object comes out."""
    row, error = PLACES[place], CRASHES[name]()
    stage = Stage(world, error)
    row.arrange(stage)
    with temporary_settings({"logging.internal_level": "ERROR"}):
        assert stage.perform() is error
    assert sequence() == row.before + ("" if row.over else " Crashed")
    assert " ".join(stage.events) == row.hooks
    assert [state.is_final() for state in states_of(only_task_run())][-2:] == [False, True]
    assert nothing_runs()
    if not row.over:
        run = only_task_run()
        assert run.state.message == MESSAGES[name]
        assert (run.end_time is None) == (row.before == "Pending")
        assert f"Crash detected! {MESSAGES[name]}" in messages()
        with pytest.raises(CrashedRun, match=MESSAGES[name]):
            run.state.result()


@pytest.mark.contract("X-17", "X-18", "E-104", "E-92")
@WORLDS
@CELLS
@pytest.mark.parametrize("name", DEPARTURES)
@pytest.mark.invariants(is_over=False)
def test_a_departure(place: str, name: str, world: World) -> None:
    """The run stays as it was, no hook and no retry follows, the same object comes out; an abort is reported."""
    row, error = PLACES[place], DEPARTURES[name]()
    stage = Stage(world, error)
    row.arrange(stage)
    with temporary_settings({"logging.internal_level": "ERROR"}):
        assert stage.perform() is error
    assert sequence() == row.before
    assert " ".join(stage.events) == row.hooks
    if not row.over:
        assert is_reported() == (name == "Abort")
    assert not any("Crash detected" in message for message in messages())


def is_reported() -> bool:
    """Whether a line says that the run was aborted."""
    return any("was aborted: why" in message for message in messages())


@pytest.mark.contract("X-17")
@WORLDS
@pytest.mark.parametrize("place", [name for name, row in PLACES.items() if row.over])
def test_an_abort_after_the_end_is_reported(place: str, world: World) -> None:
    """An abort that comes from a hook at the very end is told like any other."""
    stage = Stage(world, Abort("why"))
    PLACES[place].arrange(stage)
    stage.perform()
    assert is_reported()


@pytest.mark.contract("X-15", "E-131")
@WORLDS
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("name", ERRORS)
def test_an_interrupted_commit(name: str, asynchronous: bool, world: World) -> None:
    """An error of base kind from a commit hook is no crash of the completed run; what was staged is undone."""
    error = ERRORS[name]()
    stage = Stage(world, error)
    in_option("on_commit", asynchronous)(stage)
    assert stage.perform() is error
    assert sequence() == f"{PR} Completed RolledBack"
    assert stage.events[:2] == ["on_running", "on_commit"]
    assert "on_rollback" in stage.events
    assert "too late" not in stage.events
    assert nothing_runs()


@pytest.mark.contract("X-15")
@WORLDS
@pytest.mark.parametrize("name", ERRORS)
def test_an_interrupted_rollback(name: str, world: World) -> None:
    """An error of base kind from a rollback hook replaces the one that led to it; the run stays completed."""
    error = ERRORS[name]()
    stage = Stage(world, error)
    in_rollback(stage)
    assert stage.perform() is error
    assert isinstance(error.__context__, BoomError)
    assert sequence() in (f"{PR} Completed", f"{PR} Completed RolledBack")
    assert nothing_runs()


@pytest.mark.contract("X-15", "X-17", "X-21")
@WORLDS
@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.invariants(is_over=False)
def test_a_crash_rolls_back_first(name: str, world: World) -> None:
    """What was done inside is undone before the crash is recorded, and also when the run is merely left."""
    error = ERRORS[name]()
    events: list[str] = []

    async def step(x: int) -> int:
        return x

    async def work(x: int) -> None:
        undo = [lambda _: events.append("undo")]
        await world.finish(Task(world.function(step), name="step", on_rollback=undo)(x))
        raise error

    async def main() -> None:
        with pytest.raises(type(error)) as caught:
            await world.finish(Task(world.function(work), name="work")(1))
        assert caught.value is error

    with current_recorder().listen(lambda run, state: events.append(f"{run.name} {state.name}")):
        world.run(main())
    ends = ["work Crashed"] if name in CRASHES else []
    assert events[-2 - len(ends) :] == ["undo", "step RolledBack", *ends]


@pytest.mark.contract("X-15")
@WORLDS
@pytest.mark.parametrize("name", CRASHES)
def test_a_crash_goes_through_all_levels(name: str, world: World) -> None:
    """Every run on the way crashes, and the object that comes out at the top is the one that was raised."""
    error = CRASHES[name]()

    def level(depth: int) -> Task[..., Any]:
        async def text(x: Any) -> Any:
            if depth == 3:
                raise error
            return await world.finish(level(depth + 1)(x))

        return Task(world.function(text), name=f"level-{depth}", retries=2)

    async def main() -> BaseException:
        with pytest.raises(type(error)) as caught:
            await world.finish(level(1)(1))
        return caught.value

    assert world.run(main()) is error
    assert [sequence(run) for run in task_runs()] == [f"{PR} Crashed"] * 3


def test_the_loop_of_an_interrupted_hook_is_closed_at_once(script: Script) -> None:
    """An async hook of a sync task under an event loop leaves nothing to the garbage collector."""
    program = script("""
        import gc

        async def hook(*_):
            raise SystemExit

        @task(on_completion=[hook])
        def work():
            return 1

        async def main():
            gc.disable()
            try:
                work()
            except SystemExit:
                pass
            gc.collect()

        asyncio.run(main())
    """)
    _, err = program.communicate(timeout=30)
    assert program.returncode == 0
    assert "Exception ignored" not in err


class BrokenStore:
    """A store around a real one that raises ``error``, once, at a write."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.error: BaseException | None = None

    def write(self, changes: Any, *rest: Any) -> Any:
        error, self.error = self.error, None
        if error is not None:
            raise error
        return self.store.write(changes, *rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


@pytest.fixture
def broken() -> Iterator[BrokenStore]:
    """A recorder of the test's own whose store can be broken."""
    settings = get_current_settings()
    store = BrokenStore(open_store(settings.run_store_url, settings.durability))
    recorder = Recorder(store)  # type: ignore[arg-type]
    recorder._flush_regularly = lambda: None  # type: ignore[method-assign]  # the run itself meets the error
    with use_recorder(recorder):
        yield store
    recorder.close()


@pytest.mark.contract("X-15")
@WORLDS
@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("fails", [False, True])
def test_a_store_that_interrupts(broken: BrokenStore, fails: bool, name: str, world: World) -> None:
    """The error goes to the caller, the final state stays the one that was reached, and no state is lost."""
    error = ERRORS[name]()
    stage = Stage(world, error)
    stage.ends = BoomError() if fails else None
    text = stage.text

    async def breaking(x: Any) -> Any:
        broken.error = error
        return await text(x)

    stage.text = breaking  # type: ignore[method-assign]
    assert stage.perform() is error
    assert not {"on_completion", "on_failure"} & set(stage.events)
    assert nothing_runs()
    assert sequence() == f"{PR} Failed" if fails else f"{PR} Completed RolledBack"


# A real signal

SOURCES = {
    "function": ("signalled()", "", ""),
    "running hook": ("pass", "on_running=[hook]", ""),
    "completion hook": ("pass", "on_completion=[hook]", " Completed"),
    "failure hook": ("raise ValueError", "on_failure=[hook]", " Failed"),
    "condition": ("raise ValueError", "retries=1, retry_condition_fn=hook", ""),
    "name": ("pass", "task_run_name=name", None),
}


@pytest.mark.slow
@pytest.mark.contract("X-16", "E-103")
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("place", SOURCES)
def test_a_real_signal(script: Script, place: str, is_async: bool) -> None:
    """SIGTERM in a flow leaves one final state, wherever the task is; the process dies of the signal."""
    body, options, reached = SOURCES[place]
    maybe, wait = ("async ", "await ") if is_async else ("", "")
    source = f"""
        def signalled():
            ready()
            rest()

        def hook(task, run, state):
            signalled()

        def name():
            signalled()

        @task({options})
        {maybe}def work():
            {body}

        @flow
        {maybe}def pipeline():
            {wait}work()

        {"asyncio.run(pipeline())" if is_async else "pipeline()"}
    """
    code, _, _ = terminate_when_ready(script(source))
    assert code == -15
    if reached is None:
        assert sequence() == "Pending Crashed"
    else:
        assert sequence() == PR + (reached or " Crashed")
    assert nothing_runs()
