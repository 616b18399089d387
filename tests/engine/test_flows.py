"""Flows: definition, calls, what they return, subflows, hooks, retries and time limits."""

import asyncio
import inspect
import logging
import time
from typing import Any

import pytest

from mainspring import Flow, clock, flow, tags, task
from mainspring.context import FlowRunContext, TaskRunContext, get_run_context
from mainspring.exceptions import (
    Abort,
    CrashedRun,
    InvalidNameError,
    MissingContextError,
    ParameterBindError,
    Pause,
    PausedRun,
    ReservedArgumentError,
    UpstreamTaskError,
)
from mainspring.flow_engine import AsyncFlowRunEngine, FlowRunEngine, FlowRunTimeoutError, run_flow
from mainspring.futures import Future
from mainspring.runs import FlowRun
from mainspring.settings import temporary_settings
from mainspring.states import Cancelled, Completed, Failed, Paused, Pending, State
from tests.engine.clocks import JumpingClock
from tests.engine.history import (
    flow_runs,
    messages,
    only_flow_run,
    only_task_run,
    sequence,
    states_of,
    task_runs,
)
from tests.engine.scenarios import BoomError, Meteor

FORMS = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@task
def double(x: Any) -> Any:
    return x * 2


@task
def fail() -> None:
    raise BoomError("task")


def make(body: Any, is_async: bool, **options: Any) -> Any:
    """A flow with a plain body, sync or async, that is called synchronously either way."""

    def pipeline(*args: Any, **kwargs: Any) -> Any:
        return body(*args, **kwargs)

    async def apipeline(*args: Any, **kwargs: Any) -> Any:
        return body(*args, **kwargs)

    made = flow(name="pipeline", **options)(apipeline if is_async else pipeline)

    def call(*args: Any, **kwargs: Any) -> Any:
        result = made(*args, **kwargs)
        return asyncio.run(result) if is_async else result

    return call


def hook(*_: object) -> None: ...


# Definition


@pytest.mark.contract("F-2")
def test_definition() -> None:
    """A flow looks like its function and is named after it with dashes."""

    @flow
    def my_pipeline(x: int = 1) -> int:
        """What it does."""
        return x

    @flow(name="other", version="1", description="d", retries=1, retry_delay_seconds=2, timeout_seconds=0)
    async def aflow() -> None: ...

    assert isinstance(my_pipeline, Flow)
    assert (my_pipeline.name, my_pipeline.description) == ("my-pipeline", "What it does.")
    assert my_pipeline.__name__ == "my_pipeline"  # type: ignore[attr-defined]
    assert my_pipeline.version
    assert not my_pipeline.isasync
    assert aflow.isasync
    assert (aflow.name, aflow.version, aflow.description) == ("other", "1", "d")
    assert (aflow.retries, aflow.retry_delay_seconds, aflow.timeout_seconds) == (1, (2,), None)
    namespace: dict[str, Any] = {}
    exec("def nowhere(): ...", namespace)
    assert flow(namespace["nowhere"]).version is None


@pytest.mark.contract("F-8")
def test_defaults_from_settings() -> None:
    """Retries and their delay come from the settings unless the flow says otherwise."""
    with temporary_settings({"flows.default_retries": 2, "flows.default_retry_delay_seconds": [1, 2]}):
        default, own = flow(hook), flow(retries=0, retry_delay_seconds=0)(hook)
    assert (default.retries, default.retry_delay_seconds) == (2, (1, 2))
    assert (own.retries, own.retry_delay_seconds) == (0, ())


@pytest.mark.contract("F-3", "F-4", "F-5", "F-6", "F-8")
@pytest.mark.parametrize(
    ("fn", "options", "kind", "text"),
    [
        (5, {}, TypeError, "'fn' must be callable; got int. Put @flow on a function"),
        (None, {"retries": 1}, TypeError, "'fn' must be callable; got NoneType"),
        (hook, {"name": 5}, TypeError, "Expected string for flow parameter 'name'; got int"),
        (hook, {"name": hook}, TypeError, "got function instead.*Did you mean"),
        (hook, {"name": "a/b"}, InvalidNameError, "'a/b' contains /"),
        (hook, {"name": "a%b&c"}, InvalidNameError, "contains % &"),
        (hook, {"flow_run_name": 5}, TypeError, "Expected string or callable for 'flow_run_name'; got int"),
        (hook, {"on_completion": hook}, TypeError, "Expected iterable for 'on_completion'; got function"),
        (hook, {"on_crashed": ["x"]}, TypeError, "Expected callables in 'on_crashed'; got str"),
        (hook, {"retries": -1}, ValueError, "`retries`"),
        (hook, {"retry_delay_seconds": "x"}, TypeError, "`retry_delay_seconds`"),
        (hook, {"timeout_seconds": -1}, ValueError, "`timeout_seconds`"),
        (hook, {"no_such_option": 1}, TypeError, "no_such_option"),
    ],
)
def test_bad_definitions(fn: Any, options: dict[str, Any], kind: type[Exception], text: str) -> None:
    """What cannot work is refused where it is written, with a reason."""
    with pytest.raises(kind, match=text):
        Flow(fn, **options)


@pytest.mark.contract("F-6")
@pytest.mark.parametrize("name", ["return_state", "wait_for"])
def test_reserved_names(name: str) -> None:
    """Parameters named like arguments of calls are refused."""
    namespace: dict[str, Any] = {}
    exec(f"def pipeline({name}): ...", namespace)
    with pytest.raises(ReservedArgumentError, match=f"'{name}' is a reserved argument name"):
        flow(namespace["pipeline"])


@pytest.mark.contract("F-12")
def test_copies() -> None:
    """None keeps an option, 0 unsets a number, ``log_prints=None`` is a value; the original stays."""
    original = flow(
        name="n",
        version="v",
        flow_run_name="r",
        retries=2,
        retry_delay_seconds=3,
        timeout_seconds=4,
        log_prints=True,
        on_failure=[hook],
    )(hook)
    same = original.with_options(name=None, retries=None, timeout_seconds=None, on_failure=None)
    for name in ("name", "version", "flow_run_name", "retries", "retry_delay_seconds", "timeout_seconds"):
        assert getattr(same, name) == getattr(original, name)
    assert (same.log_prints, same.on_failure_hooks) == (True, [hook])
    assert same.on_failure_hooks is not original.on_failure_hooks
    unset = original.with_options(retries=0, retry_delay_seconds=0, timeout_seconds=0, log_prints=None)
    assert (unset.retries, unset.retry_delay_seconds, unset.timeout_seconds, unset.log_prints) == (
        0,
        (),
        None,
        None,
    )
    assert original.retries == 2
    accepted = set(inspect.signature(Flow.with_options).parameters) - {"self"}
    assert accepted == set(inspect.signature(Flow).parameters) - {"fn"}


@pytest.mark.contract("F-13")
@pytest.mark.parametrize(
    "name", ["on_running", "on_completion", "on_failure", "on_crashed", "on_cancellation"]
)
def test_hooks_registered_by_decorator(name: str) -> None:
    """Registering appends the function and gives it back."""
    decorated: Any = flow(name="f")(lambda: None)
    assert getattr(decorated, name)(hook) is hook
    assert getattr(decorated, f"{name}_hooks") == [hook]


def test_methods() -> None:
    """A flow works as instance, class and static method."""

    class Pipelines:
        def __init__(self, base: int) -> None:
            self.base = base

        @flow
        def add(self, x: int) -> int:
            return self.base + x

        @classmethod
        @flow
        def make(cls, base: int) -> Any:
            return cls(base)

        @staticmethod
        @flow
        def double(x: int) -> int:
            return x * 2

    first, second = Pipelines(1).add, Pipelines(2).add
    assert (first(1), second(1)) == (2, 3)
    assert first.ismethod
    assert not Pipelines.add.ismethod
    assert Pipelines.make(5).base == 5
    assert Pipelines.double(2) == 4


# Calls and results


@pytest.mark.contract("F-14")
@FORMS
def test_a_flow_returns_its_value(is_async: bool) -> None:
    """The value itself, or the final state on request; the run goes through Pending, Running, Completed."""
    value = [1]
    pipeline = make(lambda: value, is_async)
    assert pipeline() is value
    state = pipeline(return_state=True)
    assert state.is_completed()
    assert state.result() is value
    assert [sequence(run) for run in flow_runs()] == ["Pending Running Completed"] * 2


@pytest.mark.contract("F-23", "F-14")
@FORMS
def test_a_flow_that_raises(is_async: bool) -> None:
    """The caller gets the original exception object, the run is Failed and says why."""
    error = BoomError("no")

    def body() -> None:
        raise error

    pipeline = make(body, is_async)
    with pytest.raises(BoomError) as caught:
        pipeline()
    assert caught.value is error
    state = pipeline(return_state=True)
    assert state.is_failed()
    assert state.data is error
    run = flow_runs()[0]
    assert sequence(run) == "Pending Running Failed"
    assert run.state.message == "Flow run encountered an exception: BoomError: no"


@pytest.mark.contract("F-14")
@FORMS
def test_a_call_that_does_not_fit(is_async: bool) -> None:
    """Arguments are bound before a run is created."""

    def pipeline(x: int) -> None: ...

    async def apipeline(x: int) -> None: ...

    with pytest.raises(ParameterBindError, match="missing a required argument: 'x'"):
        flow(apipeline if is_async else pipeline)()  # type: ignore[operator]
    assert flow_runs() == []


@pytest.mark.contract("F-20", "F-21", "S-32", "S-36")
@pytest.mark.parametrize(
    ("make_value", "kind", "message"),
    [
        (lambda: Completed(message="mine", data=1), "COMPLETED", "mine"),
        (lambda: [Completed(data=1), Completed(data=2)], "COMPLETED", "All states completed."),
        (lambda: [Completed(data=1), Cancelled()], "CANCELLED", "1/2 states cancelled."),
        (lambda: (Completed(data=1), Paused()), "PAUSED", "1/2 states paused."),
        (lambda: [Failed(data=BoomError()), Completed(data=1)], "FAILED", "1/2 states failed."),
        (lambda: double(1, return_state=True), "COMPLETED", "All states completed."),
        (lambda: fail(return_state=True), "FAILED", "1/1 states failed."),
        (lambda: double.submit(1), "COMPLETED", "All states completed."),
        (lambda: [double.submit(1), fail.submit()], "FAILED", "1/2 states failed."),
        (lambda: double.map([1, 2]), "COMPLETED", "All states completed."),
    ],
)
@FORMS
def test_returned_states_and_futures_decide(make_value: Any, kind: str, message: str, is_async: bool) -> None:
    """A state, a future, or a collection made only of these decides how the flow ended."""
    state = make(make_value, is_async)(return_state=True)
    assert (state.type, state.message) == (kind, message)
    assert only_flow_run().state.type == kind


@pytest.mark.contract("F-21", "S-36", "F-20")
@FORMS
def test_futures_among_data_become_states(is_async: bool) -> None:
    """Futures at any depth are replaced by final states in place; mixed with data they decide nothing."""

    def body() -> Any:
        return {"a": [fail.submit(), 1], "b": (double.submit(2),)}

    result = make(body, is_async)()
    assert result["a"][0].is_failed()
    assert result["a"][1] == 1
    assert result["b"][0].result() == 4
    assert only_flow_run().state.is_completed()


@pytest.mark.contract("F-20", "F-61")
def test_a_failed_state_that_is_returned_raises() -> None:
    """Calling a flow that failed by what it returned raises the failure."""

    @flow
    def pipeline() -> Any:
        return [double(1, return_state=True), fail(return_state=True)]

    with pytest.raises(BoomError, match="task"):
        pipeline()


@pytest.mark.contract("F-62")
def test_a_paused_state_that_is_returned() -> None:
    """Calling raises, asking for the state gives it."""

    @flow
    def pipeline() -> Any:
        return Paused()

    with pytest.raises(PausedRun):
        pipeline()
    assert pipeline(return_state=True).is_paused()


@pytest.mark.contract("F-22", "T-48")
@FORMS
def test_a_failed_task_alone_does_not_fail_the_flow(is_async: bool) -> None:
    """Only what the flow raises or returns counts."""

    def body() -> int:
        fail(return_state=True)
        fail.submit()
        return 1

    assert make(body, is_async)() == 1


@pytest.mark.contract("F-17")
@FORMS
def test_parameters_are_resolved(is_async: bool) -> None:
    """States and futures among the arguments are replaced by results, annotations by contents."""
    from mainspring.annotations import quote

    pipeline = make(lambda *args, **kwargs: (args, kwargs), is_async)
    args, kwargs = pipeline(Completed(data=1), x=[Completed(data=2)], y=quote(Completed(data=3)))
    assert (args, kwargs["x"]) == ((1,), [2])
    assert isinstance(kwargs["y"], State)


@pytest.mark.contract("F-17", "F-18")
@FORMS
@pytest.mark.parametrize("arguments", [{"x": Failed(message="no")}, {"x": 1, "wait_for": [Pending()]}])
def test_an_upstream_that_did_not_complete(arguments: Any, is_async: bool) -> None:
    """The flow is not run, stays Pending named NotReady, and a plain call raises."""
    called = []
    pipeline = make(lambda x: called.append(x), is_async)
    with pytest.raises(UpstreamTaskError, match="did not reach a 'COMPLETED' state"):
        pipeline(**arguments)
    assert pipeline(**arguments, return_state=True).name == "NotReady"
    assert called == []
    assert [sequence(run) for run in flow_runs()] == ["Pending NotReady"] * 2


@pytest.mark.contract("F-18")
def test_the_limit_starts_after_the_waiting() -> None:
    """Time spent waiting for upstreams does not count against the time limit."""

    @task
    def slow() -> int:
        time.sleep(0.06)
        return 1

    @flow(timeout_seconds=0.05)
    def child(x: int) -> int:
        return x

    @flow
    def parent() -> int:
        return child(slow.submit())  # type: ignore[arg-type]

    assert parent() == 1


# Crashes


@pytest.mark.contract("F-24", "E-144", "F-74")
@FORMS
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyboardInterrupt(), "Execution was aborted by an interrupt signal."),
        (SystemExit(1), "Execution was aborted by Python system exit call."),
        (Meteor("hit"), "Execution was interrupted by an unexpected exception: Meteor: hit"),
    ],
)
def test_a_crash(error: BaseException, text: str, is_async: bool) -> None:
    """The exception goes on, the run is Crashed with its message, crash hooks run, reading it raises."""
    events = []

    def body() -> None:
        raise error

    async def main() -> None:
        with pytest.raises(type(error)):
            await flow(name="pipeline", on_crashed=[note])(abody)()

    async def abody() -> None:
        raise error

    def note(flow: Any, run: Any, state: State) -> None:
        events.append(state.name)

    if is_async:
        asyncio.run(main())
    else:
        with pytest.raises(type(error)):
            make(body, False, on_crashed=[note])()
    run = only_flow_run()
    assert sequence(run) == "Pending Running Crashed"
    assert run.state.message == text
    assert events == ["Crashed"]
    with pytest.raises(CrashedRun, match="Execution was"):
        run.state.result()


@pytest.mark.contract("F-25", "X-17")
@pytest.mark.parametrize("error", [Pause("why"), Abort("why")])
@pytest.mark.invariants(is_over=False)
def test_signals_pass_through(error: BaseException) -> None:
    """Pause and Abort leave the run as it is."""

    @flow(retries=2)
    def pipeline() -> None:
        raise error

    with pytest.raises(type(error)):
        pipeline()
    assert sequence(only_flow_run()) == "Pending Running"


@pytest.mark.contract("F-66")
def test_an_interrupt_before_the_body() -> None:
    """A run that is ended while it is being named has crashed, too."""

    def name() -> str:
        raise KeyboardInterrupt

    @flow(flow_run_name=name)
    def pipeline() -> None: ...

    with pytest.raises(KeyboardInterrupt):
        pipeline()
    assert sequence(only_flow_run()) == "Pending Crashed"


# Retries


@pytest.mark.contract("F-29", "F-30", "F-31", "F-44")
@FORMS
def test_retries(is_async: bool) -> None:
    """The function is called anew after the delay, at most retries + 1 times; each attempt is counted."""
    fake = JumpingClock(tick=1)
    counts = []

    def body() -> None:
        counts.append(get_run_context().flow_run.run_count)  # type: ignore[union-attr]
        raise BoomError

    with clock.use_clock(fake), pytest.raises(BoomError):
        make(body, is_async, retries=2, retry_delay_seconds=[1, 5])()
    assert counts == [1, 2, 3]
    run = only_flow_run()
    assert sequence(run) == "Pending Running AwaitingRetry Retrying AwaitingRetry Retrying Failed"
    assert run.run_count == 3
    assert [round(seconds, 3) for seconds in fake.slept] == [1, 5]


@pytest.mark.contract("F-30", "F-59")
def test_a_retried_flow_gives_its_tasks_their_full_budget() -> None:
    """Inner and outer retries multiply."""
    calls = []

    @flow(retries=1)
    def child() -> None:
        calls.append(1)
        raise BoomError

    @flow(retries=1)
    def parent() -> None:
        child()

    with pytest.raises(BoomError):
        parent()
    assert len(calls) == 4
    assert [run.run_count for run in flow_runs()] == [2, 2, 2]


@pytest.mark.contract("F-55")
def test_each_attempt_has_its_own_runner() -> None:
    """A runner is started for an attempt and left at its end."""
    runners = []

    @flow(retries=1)
    def pipeline() -> None:
        runners.append(FlowRunContext.get().task_runner)  # type: ignore[union-attr]
        double.submit(1).wait()
        if len(runners) == 1:
            raise BoomError

    pipeline()
    assert runners[0] is not runners[1]
    for runner in runners:
        with pytest.raises(RuntimeError, match="not started"):
            runner.submit(double, {"x": 1})


# Time limits


@pytest.mark.contract("F-32", "X-28")
def test_a_sync_flow_that_takes_too_long() -> None:
    """It is interrupted, the run is TimedOut with the limit in its message; what follows does not run."""
    after = []

    @flow(timeout_seconds=0.02)
    def pipeline() -> None:
        time.sleep(5)
        after.append(1)

    with pytest.raises(FlowRunTimeoutError):
        pipeline()
    run = only_flow_run()
    assert (run.state.type, run.state.name) == ("FAILED", "TimedOut")
    assert run.state.message == "Flow run exceeded timeout of 0.02 second(s)"
    assert after == []


@pytest.mark.contract("F-32", "X-28", "F-69")
def test_an_async_flow_that_takes_too_long() -> None:
    """The same for async flows, and a retry has the full limit again."""
    attempts = []

    @flow(timeout_seconds=0.02, retries=1)
    async def pipeline() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            await asyncio.sleep(5)
        return "in time"

    assert asyncio.run(pipeline()) == "in time"
    assert sequence(only_flow_run()) == "Pending Running Retrying Completed"


@pytest.mark.contract("F-32")
@FORMS
def test_a_timeout_of_the_users(is_async: bool) -> None:
    """It is TimedOut as well, and the message does not speak of the limit."""

    def body() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        make(body, is_async, timeout_seconds=100)()
    state = only_flow_run().state
    assert state.name == "TimedOut"
    assert "exceeded" not in (state.message or "")
    assert "mine" in (state.message or "")


@pytest.mark.contract("X-28")
def test_a_subflow_that_takes_too_long() -> None:
    """The limit of a subflow ends the subflow alone; its failure is the parent's to handle."""

    @flow(timeout_seconds=0.02)
    def child() -> None:
        time.sleep(5)

    @flow(timeout_seconds=100)
    def parent() -> str:
        with pytest.raises(FlowRunTimeoutError):
            child()
        return "went on"

    assert parent() == "went on"
    assert {run.flow_name: run.state.name for run in flow_runs()} == {
        "parent": "Completed",
        "child": "TimedOut",
    }


def test_the_limit_of_the_parent_ends_a_subflow() -> None:
    """An outer limit that expires inside a subflow ends the parent as TimedOut, and the child does not retry."""
    calls = []

    @flow(retries=3)
    def child() -> None:
        calls.append(1)
        time.sleep(5)

    @flow(timeout_seconds=0.03)
    def parent() -> None:
        child()

    with pytest.raises(FlowRunTimeoutError):
        parent()
    states = {run.flow_name: run.state for run in flow_runs()}
    assert states["parent"].name == "TimedOut"
    assert states["child"].is_final()
    assert calls == [1]


# Names and tags


@pytest.mark.contract("F-34", "F-70")
@FORMS
def test_names(is_async: bool) -> None:
    """A template over the parameters, or a function; evaluated once per run, before Running."""
    seen = []

    def pipeline(x: int, y: int = 2) -> None:
        seen.append(get_run_context().flow_run.name)  # type: ignore[union-attr]

    async def apipeline(x: int, y: int = 2) -> None:
        pipeline(x, y)

    calls = []

    def name() -> str:
        calls.append(get_run_context().flow_run.id)  # type: ignore[union-attr]
        return "named by function"

    for run_name in ("{x}-{y}", name):
        made: Any = flow(flow_run_name=run_name)(apipeline if is_async else pipeline)
        result = made(1)
        if is_async:
            asyncio.run(result)
    assert seen == ["1-2", "named by function"] == [run.name for run in flow_runs()]
    assert calls == [flow_runs()[1].id]


@pytest.mark.contract("F-34")
@FORMS
def test_a_name_that_is_no_text_fails_the_run(is_async: bool) -> None:
    """The run fails with a TypeError that names the option."""
    with pytest.raises(TypeError, match="for 'flow_run_name' returned type NoneType"):
        make(lambda: None, is_async, flow_run_name=lambda: None)()
    assert sequence(only_flow_run()) == "Pending Failed"


@pytest.mark.contract("F-35", "F-39")
def test_tags() -> None:
    """Tags around the call are on the flow run and on the runs of its subflows."""

    @flow
    def child() -> None: ...

    @flow
    def parent() -> None:
        child()

    with tags("a", "b"):
        parent()
    parent()
    assert [set(run.tags) for run in flow_runs()] == [{"a", "b"}] * 2 + [set()] * 2


# Context


@pytest.mark.contract("C-22", "C-3")
@FORMS
def test_the_context_of_a_flow_run(is_async: bool) -> None:
    """Inside, flow, run, parameters and a started runner are there; tasks have theirs, and then it is back."""
    seen: dict[str, Any] = {}

    @task
    def inner() -> None:
        seen["task"] = get_run_context()
        seen["flow"] = FlowRunContext.get()

    def body(x: int) -> None:
        context = get_run_context()
        assert isinstance(context, FlowRunContext)
        assert context.flow_run is not None
        assert context.flow_run.state.is_running()
        assert context.flow is not None
        assert (context.flow.name, context.parameters) == ("pipeline", {"args": (5,), "kwargs": {}})
        assert context.task_runner.submit(double, {"x": 2}).result() == 4
        inner()
        assert get_run_context() is context
        assert seen["flow"] is context

    make(body, is_async)(5)
    assert isinstance(seen["task"], TaskRunContext)
    with pytest.raises(MissingContextError):
        get_run_context()


def test_concurrent_flows_keep_their_contexts_apart() -> None:
    """Flows gathered in one event loop each see themselves (F-67)."""

    @flow(flow_run_name="{x}")
    async def pipeline(x: int) -> str:
        await asyncio.sleep(0)
        double.submit(x).wait()
        return get_run_context().flow_run.name  # type: ignore[union-attr]

    async def main() -> list[str]:
        return await asyncio.gather(*(pipeline(x) for x in range(5)))

    assert asyncio.run(main()) == [str(x) for x in range(5)]
    runs = {run.id: run.name for run in flow_runs()}
    assert sorted(runs[run.flow_run_id] for run in task_runs() if run.flow_run_id) == [
        str(x) for x in range(5)
    ]


# Subflows


@pytest.mark.contract("F-36", "F-37", "T-88")
@FORMS
def test_a_subflow_has_a_stand_in(is_async: bool) -> None:
    """A task run of the parent stands for it, mirrors its states and knows its inputs; both name each other."""
    seen = []

    @flow(version="7", on_completion=[lambda flow, run, state: seen.append(state)])
    def child(x: int, y: Any = None) -> int:
        double(x)
        return x

    upstream: list[Future[Any]] = []

    def body() -> int:
        upstream.append(double.submit(1))
        return child(upstream[0], wait_for=[upstream[0]])  # type: ignore[arg-type]

    assert make(body, is_async)() == 2
    runs = {run.flow_name: run for run in flow_runs()}
    stand_in = next(run for run in task_runs() if run.task_key == "child")
    assert runs["child"].parent_task_run_id == stand_in.id
    assert runs["pipeline"].parent_task_run_id is None
    assert stand_in.flow_run_id == runs["pipeline"].id
    assert (stand_in.name, stand_in.task_version) == (runs["child"].name, "7")
    mirrored, own = states_of(stand_in), states_of(runs["child"])
    assert [(each.type, each.name, each.message) for each in mirrored] == [
        (each.type, each.name, each.message) for each in own
    ]
    assert {each.state_details.child_flow_run_id for each in mirrored} == {runs["child"].id}
    assert [each.state_details.task_run_id for each in seen] == [stand_in.id]
    ids = {name: [each.id for each in found] for name, found in stand_in.task_inputs.items()}  # type: ignore[union-attr]
    assert ids == {"x": [upstream[0].task_run_id], "y": [], "wait_for": [upstream[0].task_run_id]}
    inner = [run for run in task_runs() if run.flow_run_id == runs["child"].id]
    assert len(inner) == 1
    assert inner[0].task_inputs == {"x": []}


@pytest.mark.contract("F-37")
def test_stored_states_of_a_subflow_name_the_stand_in() -> None:
    """Read back from the store, the states of the child still name the task run that stands for it."""

    @flow
    def child() -> None: ...

    @flow
    def parent() -> None:
        child()

    parent()
    run = next(run for run in flow_runs() if run.flow_name == "child")
    assert {state.state_details.task_run_id for state in states_of(run)} == {run.parent_task_run_id}


@pytest.mark.contract("F-37")
@pytest.mark.parametrize("outcome", ["Failed", "Crashed", "NotReady"])
def test_a_stand_in_mirrors_every_end(outcome: str) -> None:
    """Failures, crashes and runs that could not begin show in the parent as they are."""

    @flow(retries=1 if outcome == "Failed" else 0)
    def child(x: Any) -> None:
        raise (BoomError("no") if outcome == "Failed" else SystemExit)

    @flow
    def parent() -> None:
        child(Failed() if outcome == "NotReady" else 1)

    with pytest.raises(BaseException):  # noqa: B017, PT011 - each outcome has its own
        parent()
    run = next(run for run in flow_runs() if run.flow_name == "child")
    assert run.state.name == outcome
    stand_in = only_task_run()
    assert sequence(stand_in) == sequence(run)
    assert (stand_in.run_count, stand_in.end_time is None) == (run.run_count, run.end_time is None)


@pytest.mark.contract("F-39")
def test_a_subflow_has_a_runner_of_its_own() -> None:
    """The parent's runner is not the child's."""
    runners = []

    @flow
    def child() -> None:
        runners.append(FlowRunContext.get().task_runner)  # type: ignore[union-attr]

    @flow
    def parent() -> None:
        runners.append(FlowRunContext.get().task_runner)  # type: ignore[union-attr]
        child()

    parent()
    assert runners[0] is not runners[1]


@pytest.mark.contract("F-39", "L-14", "L-25")
def test_a_subflow_inherits_log_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a choice of its own a subflow logs prints if its parent does."""

    @flow
    def child() -> None:
        print("from the child")

    @flow(log_prints=True)
    def parent() -> None:
        child()

    parent()
    assert "from the child" not in capsys.readouterr().out
    assert "from the child" in messages(next(run for run in flow_runs() if run.flow_name == "child"))


@pytest.mark.contract("F-40", "C-22")
def test_a_subflow_called_by_a_task() -> None:
    """Inside of it no task run is active; afterwards the task's is back."""

    @flow
    def child() -> Any:
        return TaskRunContext.get(), get_run_context()

    @task
    def around() -> None:
        before = get_run_context()
        inside, context = child()
        assert inside is None
        assert isinstance(context, FlowRunContext)
        assert get_run_context() is before

    @flow
    def parent() -> None:
        around()
        around.submit().result()

    parent()


@pytest.mark.contract("F-67")
@FORMS
def test_recursive_flows(is_async: bool) -> None:
    """A flow may call itself."""

    @flow
    def count(n: int) -> int:
        return 0 if n == 0 else 1 + count(n - 1)

    @flow
    async def acount(n: int) -> int:
        return 0 if n == 0 else 1 + await acount(n - 1)

    assert (asyncio.run(acount(3)) if is_async else count(3)) == 3
    assert len(flow_runs()) == 4


@pytest.mark.contract("T-123")
def test_subflows_run_beside_submitted_tasks() -> None:
    """A subflow starts while tasks of the parent are running."""
    import threading

    gate = threading.Event()

    @task
    def waits() -> bool:
        return gate.wait(5)

    @flow
    def child() -> None:
        gate.set()

    @flow
    def parent() -> bool:
        future = waits.submit()
        child()
        return future.result()

    assert parent() is True


# Hooks


@pytest.mark.contract("F-41", "F-42", "F-43", "F-44")
@FORMS
@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (
            "completes",
            ["running Running", "arunning Running", "completion Completed", "acompletion Completed"],
        ),
        (
            "fails",
            [
                "running Running",
                "arunning Running",
                "running Retrying",
                "arunning Retrying",
                "failure Failed",
                "afailure Failed",
            ],
        ),
        (
            "is cancelled",
            ["running Running", "arunning Running", "cancellation Cancelled", "acancellation Cancelled"],
        ),
    ],
)
def test_hooks(outcome: str, expected: list[str], is_async: bool) -> None:
    """Hooks of the reached state run in order, sync and async, inside the run's context, which has the state."""
    events: list[str] = []

    def pair(name: str) -> list[Any]:
        def note(flow: Any, run: Any, state: State) -> None:
            context = FlowRunContext.get()
            assert context is not None
            assert context.flow_run is run
            assert run.state is state
            assert flow.name == "pipeline"
            events.append(f"{name} {state.name}")

        async def anote(flow: Any, run: Any, state: State, extra: int = 1) -> None:
            await asyncio.sleep(0)
            assert run.state is state
            events.append(f"a{name} {state.name}")

        return [note, anote]

    def body() -> Any:
        if outcome == "fails":
            raise BoomError
        return Cancelled() if outcome == "is cancelled" else 1

    kinds = ("running", "completion", "failure", "cancellation", "crashed")
    options: dict[str, Any] = {f"on_{kind}": pair(kind) for kind in kinds}
    make(body, is_async, retries=1, **options)(return_state=True)
    assert events == expected


@pytest.mark.contract("F-41", "F-27")
@FORMS
def test_hooks_that_fail(is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged; other hooks, state and value are not affected."""
    events = []

    def bad(flow: Any, run: Any, state: State) -> None:
        raise BoomError

    assert make(lambda: 1, is_async, on_completion=[bad, lambda *_: events.append(1)])() == 1
    assert events == [1]
    assert any("'bad'" in record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)


@pytest.mark.contract("F-27", "F-28", "E-17")
def test_what_a_flow_run_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Creation and end are told when the engine is to tell; an end that is no success is an error."""
    with caplog.at_level(logging.INFO), temporary_settings({"logging.internal_level": "INFO"}):
        make(lambda: 1, False)()
        make(lambda: Failed(message="no"), False)(return_state=True)
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, text in told if text.startswith("Created flow run")] == ["INFO"] * 2
    assert [each for each in told if each[1].startswith("Finished in state")] == [
        ("INFO", "Finished in state Completed()"),
        ("ERROR", "Finished in state Failed('no')"),
    ]


# The engine by hand


def test_the_engine_by_hand() -> None:
    """The loop may be written by hand, and the client exists inside alone."""
    engine = FlowRunEngine(flow(name="f")(lambda x: x + 1), {"x": 1})
    with pytest.raises(RuntimeError, match="not started"):
        _ = engine.client
    with engine.start():
        assert engine.client.database_url
        while engine.is_running():
            with engine.run_context():
                engine.call_flow_fn()
    assert engine.result() == 2
    with pytest.raises(RuntimeError, match="not started"):
        _ = engine.client


def test_the_async_engine_by_hand() -> None:
    """The async loop likewise."""

    async def body(x: int) -> int:
        return x + 1

    async def main() -> Any:
        engine = AsyncFlowRunEngine(flow(body), {"x": 1})
        async with engine.start():
            while engine.is_running():
                async with engine.run_context():
                    await engine.call_flow_fn()
        return await engine.result()

    assert asyncio.run(main()) == 2


def test_a_flow_run_made_beforehand() -> None:
    """A record that is given to the engine is executed, and its history begins with its state."""
    run = FlowRun(b"0123456789abcdef", "made", Pending(), "pipeline")
    assert run_flow(flow(name="f")(lambda: 5), flow_run=run) == 5
    assert sequence(run) == "Pending Running Completed"
    assert only_flow_run().run_count == 1


@pytest.mark.contract("F-63")
def test_parameters_of_any_kind() -> None:
    """Parameters that cannot be written as JSON do not fail the run."""

    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    odd = Odd()
    assert flow(name="f")(lambda x, y: (x, y))(odd, {1, 2}) == (odd, {1, 2})
    assert only_flow_run().state.is_completed()


@pytest.mark.contract("F-21")
def test_a_returned_map_becomes_a_plain_list_of_states() -> None:
    """What replaces the futures of a map is no list of futures any more."""

    @task
    def same(x: int) -> int:
        return x

    @flow
    def mapped() -> Any:
        return same.map([1, 2])

    value: Any = mapped()
    assert type(value) is list
    assert [state.result() for state in value] == [1, 2]
