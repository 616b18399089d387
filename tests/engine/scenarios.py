"""What may happen to a task run, as a table. Each scenario is one text that both engines run.

A scenario's text is written with ``await``, as for async code; in the sync world nothing in it suspends.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mainspring.annotations import allow_failure
from mainspring.exceptions import Abort, Pause, TerminationSignal
from mainspring.states import Cancelled, Completed, Failed, Paused, Pending, Running, Scheduled, State
from mainspring.task_engine import TaskRunTimeoutError
from mainspring.tasks import Task
from mainspring.transactions import transaction
from tests.engine.traces import Event, Trace, World


class Stage:
    """What the texts of one scenario have at hand while it runs."""

    def __init__(self, trace: Trace, world: World) -> None:
        self.trace = trace
        self.world = world
        self.attempt = 0

    def task(
        self, text: Callable[..., Awaitable[Any]], name: str = "inner", **options: Any
    ) -> Task[..., Any]:
        """A task of the stage's world."""
        return Task(self.world.function(partial(text, self)), name=name, **options)

    async def call(self, task: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a task of the stage's world."""
        return await self.world.finish(task(*args, **kwargs))

    async def pause(self, seconds: float) -> None:
        """Really sleep."""
        await self.world.pause(seconds)


Text = Callable[..., Awaitable[Any]]


async def just_call(stage: Stage, call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


@dataclass(frozen=True)
class Scenario:
    """One row of the table.

    Args:
        name: What it is about.
        text: What the task does: called with the stage and the argument.
        states: The names of the states that the run goes through.
        ends: How the call ends: ("return", value) or ("raise", type, text).
        options: Options of the task, given the stage.
        call: Arguments of the call.
        around: What the caller does: called with the stage and a function that makes the call.
        plain: Whether it makes sense for a function that returns; generators are compared among themselves.
        clauses: What it proves.
    """

    name: str
    text: Text
    states: str
    ends: Event
    options: Callable[[Stage], dict[str, Any]] = lambda stage: {}
    call: Callable[[], dict[str, Any]] = dict
    around: Callable[..., Awaitable[Any]] = just_call
    clauses: tuple[str, ...] = field(default=())


class BoomError(Exception):
    """What goes wrong in scenarios."""


class Meteor(BaseException):
    """Something that is no ordinary exception."""


async def double(stage: Stage, x: int) -> int:
    return x * 2


async def boom(stage: Stage, x: object) -> None:
    raise BoomError(f"no {stage.attempt}")


async def boom_once(stage: Stage, x: int) -> int:
    if stage.attempt == 1:
        raise BoomError("once")
    return x * 2


def fails(error: BaseException) -> Text:
    async def text(stage: Stage, x: object) -> None:
        raise error

    return text


def returns(make: Callable[[], object]) -> Text:
    async def text(stage: Stage, x: object) -> object:
        return make()

    return text


async def too_slow(stage: Stage, x: object) -> str:
    await stage.pause(5)
    return "late"


async def slow_once(stage: Stage, x: object) -> str:
    if stage.attempt == 1:
        await stage.pause(5)
    return "in time"


async def users_timeout(stage: Stage, x: object) -> None:
    raise TimeoutError("mine")


async def nested(stage: Stage, x: int) -> Any:
    inner = stage.task(double, on_completion=[stage.trace.hook("inner_done")])
    return await stage.call(inner, await stage.call(inner, x))


async def nested_failure_caught(stage: Stage, x: int) -> str:
    try:
        await stage.call(stage.task(boom, on_rollback=[stage.trace.hook("inner_rollback")]))
    except BoomError as error:
        return f"caught {error}"
    return "not caught"


async def scheduled_once(stage: Stage, x: object) -> Any:
    return Scheduled(message="later") if stage.attempt == 1 else "at last"


async def running_once(stage: Stage, x: object) -> Any:
    return Running(message="once more") if stage.attempt == 1 else "at last"


async def failed_state_once(stage: Stage, x: object) -> Any:
    return Failed(message="not yet") if stage.attempt == 1 else "at last"


async def pass_on(stage: Stage, x: object) -> str:
    return repr(x)


async def rolled_back(stage: Stage, call: Callable[[], Awaitable[Any]]) -> None:
    with transaction():
        await call()
        raise BoomError("after it")


async def committed(stage: Stage, call: Callable[[], Awaitable[Any]]) -> Any:
    with transaction():
        value = await call()
        stage.trace.add("still open")
    return value


async def return_state(stage: Stage, call: Callable[..., Awaitable[Any]]) -> Any:
    return await call(return_state=True)


async def interrupted_sleep(stage: Stage, call: Callable[[], Awaitable[Any]]) -> Any:
    stage.trace.clock.interrupt = KeyboardInterrupt()
    return await call()


def interrupting_name() -> str:
    raise SystemExit(3)


def failing_name() -> str:
    raise BoomError("no name")


def hooks(stage: Stage) -> dict[str, Any]:
    """Two hooks of each kind, one of them async."""
    return {
        option: [stage.trace.hook(f"{option}_1"), stage.trace.hook(f"{option}_2", asynchronous=True)]
        for option in ("on_running", "on_completion", "on_failure", "on_commit", "on_rollback")
    }


def options(**given: Any) -> Callable[[Stage], dict[str, Any]]:
    return lambda stage: given


def condition(answer: Any, asynchronous: bool = False) -> Callable[[Stage], dict[str, Any]]:
    """Options with a retry condition that gives, or raises, the answer."""

    def make(stage: Stage) -> dict[str, Any]:
        def ask(task: object, run: Any, state: State) -> Any:
            stage.trace.add("asked", run.name, run.state.name, state.name, repr(state.data))
            if isinstance(answer, BaseException):
                raise answer
            return answer

        async def aask(task: object, run: Any, state: State) -> Any:
            return ask(task, run, state)

        return {"retries": 2, "retry_condition_fn": aask if asynchronous else ask}

    return make


def failing_hooks(error: BaseException, *names: str) -> Callable[[Stage], dict[str, Any]]:
    """Options whose named hooks raise, each followed by one that does not."""
    return lambda stage: {
        name: [stage.trace.hook(f"{name}_bad", error), stage.trace.hook(f"{name}_good")] for name in names
    }


NO_1 = ("raise", "BoomError", "no 1")
NO_3 = ("raise", "BoomError", "no 3")
DONE = ("return", 2)
P, R = "Pending Running", "Retrying"

SCENARIOS = [
    # returning
    Scenario("returns", double, f"{P} Completed", DONE, clauses=("E-94",)),
    Scenario("returns with hooks", double, f"{P} Completed", DONE, hooks, clauses=("H-1", "H-3", "V-8")),
    Scenario("returns None", returns(lambda: None), f"{P} Completed", ("return", None)),
    Scenario(
        "returns, asked for the state",
        double,
        f"{P} Completed",
        ("return", "Completed(message=None, type=COMPLETED, result=2)"),
        around=return_state,
        clauses=("E-23", "T-39"),
    ),
    # failing
    Scenario("raises", boom, f"{P} Failed", NO_1, clauses=("E-96",)),
    Scenario("raises with hooks", boom, f"{P} Failed", NO_1, hooks, clauses=("H-1", "H-2")),
    Scenario(
        "raises, asked for the state",
        fails(BoomError("no")),
        f"{P} Failed",
        (
            "return",
            "Failed(message='Task run encountered an exception: BoomError: no', type=FAILED,"
            " result=BoomError('no'))",
        ),
        around=return_state,
        clauses=("E-23", "T-39"),
    ),
    # retries
    Scenario("retries at once", boom, f"{P} {R} {R} Failed", NO_3, options(retries=2), clauses=("E-97",)),
    Scenario(
        "retries as often as needed",
        boom_once,
        f"{P} {R} Completed",
        DONE,
        options(retries=3),
        clauses=("E-99",),
    ),
    Scenario(
        "retries after a delay",
        boom,
        f"{P} AwaitingRetry {R} AwaitingRetry {R} Failed",
        NO_3,
        options(retries=2, retry_delay_seconds=1.5),
        clauses=("E-98",),
    ),
    Scenario(
        "retries after listed delays",
        boom,
        f"{P} AwaitingRetry {R} AwaitingRetry {R} AwaitingRetry {R} Failed",
        ("raise", "BoomError", "no 4"),
        options(retries=3, retry_delay_seconds=[1, 2]),
        clauses=("E-78",),
    ),
    Scenario(
        "retries after some delay or none",
        boom,
        f"{P} {R} AwaitingRetry {R} Failed",
        NO_3,
        options(retries=2, retry_delay_seconds=[0, 2]),
    ),
    Scenario(
        "retries after computed delays",
        boom,
        f"{P} AwaitingRetry {R} AwaitingRetry {R} Failed",
        NO_3,
        options(retries=2, retry_delay_seconds=lambda retries: [retries, retries * 10]),
        clauses=("E-79",),
    ),
    Scenario(
        "retries after delays with jitter",
        boom,
        f"{P} AwaitingRetry {R} AwaitingRetry {R} Failed",
        NO_3,
        options(retries=2, retry_delay_seconds=[10, 20], retry_jitter_factor=0.5),
        clauses=("W-11",),
    ),
    Scenario(
        "retries with hooks",
        boom_once,
        f"{P} AwaitingRetry {R} Completed",
        DONE,
        lambda stage: hooks(stage) | {"retries": 1, "retry_delay_seconds": 1},
        clauses=("V-8", "H-16"),
    ),
    Scenario("condition says yes", boom, f"{P} {R} {R} Failed", NO_3, condition(True), clauses=("E-82",)),
    Scenario("condition says no", boom, f"{P} Failed", NO_1, condition(False), clauses=("E-100",)),
    Scenario("async condition says yes", boom, f"{P} {R} {R} Failed", NO_3, condition(1, True)),
    Scenario("async condition says no", boom, f"{P} Failed", NO_1, condition(0, True)),
    Scenario(
        "condition raises", boom, f"{P} Failed", NO_1, condition(ValueError("ask me not")), clauses=("E-84",)
    ),
    Scenario("async condition raises", boom, f"{P} Failed", NO_1, condition(ValueError("ask me not"), True)),
    Scenario(
        "condition is asked about a timeout",
        users_timeout,
        f"{P} TimedOut",
        ("raise", "TimeoutError", "mine"),
        condition(False),
    ),
    # timeouts
    Scenario(
        "takes too long",
        too_slow,
        f"{P} TimedOut",
        ("raise", TaskRunTimeoutError.__name__, "The run timed out after 0.02 second(s)."),
        lambda stage: hooks(stage) | {"timeout_seconds": 0.02},
        clauses=("E-101", "X-25"),
    ),
    Scenario(
        "takes too long once",
        slow_once,
        f"{P} {R} Completed",
        ("return", "in time"),
        options(timeout_seconds=0.5, retries=1),  # which the second attempt must not reach
        clauses=("E-90", "X-26"),
    ),
    Scenario(
        "keeps within its limit",
        double,
        f"{P} Completed",
        DONE,
        options(timeout_seconds=100),
        clauses=("X-27",),
    ),
    Scenario("raises within its limit", boom, f"{P} Failed", NO_1, options(timeout_seconds=100)),
    Scenario(
        "meets a timeout of its own",
        users_timeout,
        f"{P} TimedOut",
        ("raise", "TimeoutError", "mine"),
        options(timeout_seconds=100),
        clauses=("E-71",),
    ),
    Scenario(
        "meets a timeout without a limit", users_timeout, f"{P} TimedOut", ("raise", "TimeoutError", "mine")
    ),
    # inputs
    Scenario(
        "takes the result of a state",
        double,
        f"{P} Completed",
        ("return", 10),
        call=lambda: {"x": Completed(data=5)},
        clauses=("E-39",),
    ),
    Scenario(
        "has a failed upstream",
        double,
        "Pending NotReady",
        (
            "raise",
            "UpstreamTaskError",
            "An upstream state did not reach a 'COMPLETED' state: it is Failed (FAILED). It said: bad",
        ),
        lambda stage: hooks(stage) | {"retries": 3},
        call=lambda: {"x": Failed(message="bad")},
        clauses=("E-47", "E-102", "W-5"),
    ),
    Scenario(
        "has an unfinished upstream",
        double,
        "Pending NotReady",
        (
            "raise",
            "UpstreamTaskError",
            "An upstream state did not reach a 'COMPLETED' state: it is Pending (PENDING).",
        ),
        call=lambda: {"x": [{"deep": Pending()}]},
        clauses=("E-41",),
    ),
    Scenario(
        "waits for a failed upstream",
        double,
        "Pending NotReady",
        (
            "raise",
            "UpstreamTaskError",
            "An upstream state did not reach a 'COMPLETED' state: it is Failed (FAILED).",
        ),
        call=lambda: {"wait_for": [Failed()]},
        clauses=("T-108",),
    ),
    Scenario(
        "has a failed upstream, asked for the state",
        double,
        "Pending NotReady",
        (
            "return",
            "NotReady(message=\"An upstream state did not reach a 'COMPLETED' state: it is Failed (FAILED).\","
            " type=PENDING, result=None)",
        ),
        call=lambda: {"x": Failed()},
        around=return_state,
        clauses=("E-48",),
    ),
    Scenario(
        "accepts a failed upstream",
        pass_on,
        f"{P} Completed",
        ("return", "[ValueError('bad')]"),
        call=lambda: {"x": allow_failure([Failed(data=ValueError("bad"))])},
        clauses=("E-41", "E-42"),
    ),
    Scenario(
        "waits for a failed upstream that it accepts",
        double,
        f"{P} Completed",
        DONE,
        call=lambda: {"wait_for": [allow_failure(Failed(message="bad"))]},
        clauses=("T-109",),
    ),
    Scenario(
        "waits for plain values",
        double,
        f"{P} Completed",
        DONE,
        call=lambda: {"wait_for": [1, {"x": [Completed(data=2)]}]},
        clauses=("E-45", "T-110"),
    ),
    # names
    Scenario(
        "has a name function that fails",
        double,
        "Pending Failed",
        ("raise", "BoomError", "no name"),
        options(task_run_name=failing_name),
        clauses=("W-6",),
    ),
    Scenario(
        "has a name function that gives no text",
        double,
        "Pending Failed",
        (
            "raise",
            "TypeError",
            "Callable <class 'int'> for 'task_run_name' returned type int but a string is required.",
        ),
        options(task_run_name=int),
        clauses=("T-98", "W-6"),
    ),
    Scenario(
        "has a name template that does not fit",
        double,
        "Pending Failed",
        ("raise", "KeyError", "'y'"),
        options(task_run_name="{y}"),
        clauses=("W-6",),
    ),
    Scenario(
        "is named by template",
        double,
        f"{P} Completed",
        DONE,
        options(task_run_name="run of {x}"),
        clauses=("T-97",),
    ),
    # returned states
    Scenario(
        "returns a completed state",
        returns(lambda: Completed(name="Fine", message="ok", data=1)),
        f"{P} Fine",
        ("return", "Fine(message='ok', type=COMPLETED, result=1)"),
        hooks,
        clauses=("E-106", "S-48"),
    ),
    Scenario(
        "returns a failed state",
        returns(lambda: Failed(message="no", data=True)),
        f"{P} Failed",
        ("return", "Failed(message='no', type=FAILED, result=True)"),
        hooks,
        clauses=("E-106", "T-112"),
    ),
    Scenario(
        "returns a cancelled state",
        returns(Cancelled),
        f"{P} Cancelled",
        ("return", "Cancelled(message=None, type=CANCELLED, result=None)"),
        hooks,
        clauses=("E-106", "H-2"),
    ),
    Scenario(
        "returns a paused state",
        returns(Paused),
        f"{P} Paused",
        ("return", "Paused(message=None, type=PAUSED, result=None)"),
        hooks,
        clauses=("E-106", "H-2"),
    ),
    Scenario(
        "returns a failed state once",
        failed_state_once,
        f"{P} {R} Completed",
        ("return", "at last"),
        options(retries=2),
        clauses=("V-5",),
    ),
    Scenario(
        "returns a scheduled state once",
        scheduled_once,
        f"{P} Scheduled Running Completed",
        ("return", "at last"),
        clauses=("E-107",),
    ),
    Scenario(
        "returns a running state once",
        running_once,
        f"{P} Running Completed",
        ("return", "at last"),
        clauses=("E-107",),
    ),
    # crashes
    *(
        Scenario(
            f"is ended by {type(error).__name__}",
            fails(error),
            f"{P} Crashed",
            ("raise", type(error).__name__, str(error)),
            lambda stage: hooks(stage) | {"retries": 2, "timeout_seconds": 100},
            clauses=("E-103", "E-144", "X-15", "X-16", "X-21", "H-2"),
        )
        for error in (KeyboardInterrupt("stop"), SystemExit(3), Meteor("hit"), TerminationSignal(15))
    ),
    Scenario(
        "is ended by SystemExit, asked for the state",
        fails(SystemExit(3)),
        f"{P} Crashed",
        ("raise", "SystemExit", "3"),
        around=return_state,
        clauses=("X-15",),
    ),
    Scenario(
        "is ended while it sleeps",
        boom,
        f"{P} AwaitingRetry Crashed",
        ("raise", "KeyboardInterrupt", ""),
        options(retries=2, retry_delay_seconds=5),
        around=interrupted_sleep,
        clauses=("X-15",),
    ),
    Scenario(
        "is ended by its name function",
        double,
        "Pending Crashed",
        ("raise", "SystemExit", "3"),
        options(task_run_name=interrupting_name),
        clauses=("E-103", "E-144"),
    ),
    Scenario(
        "is ended by a running hook",
        double,
        f"{P} Crashed",
        ("raise", "Meteor", "hit"),
        failing_hooks(Meteor("hit"), "on_running"),
        clauses=("H-7",),
    ),
    Scenario(
        "is ended by its condition",
        boom,
        f"{P} Crashed",
        ("raise", "Meteor", "hit"),
        condition(Meteor("hit")),
    ),
    Scenario(
        "is ended by a hook after its end",
        double,
        f"{P} Completed",
        ("raise", "Meteor", "hit"),
        failing_hooks(Meteor("hit"), "on_completion"),
        clauses=("F-72",),
    ),
    *(
        Scenario(
            f"is left by {type(error).__name__}",
            fails(error),
            P,
            ("raise", type(error).__name__, "why"),
            lambda stage: hooks(stage) | {"retries": 2},
            clauses=("E-104", "X-17", "E-92"),
        )
        for error in (Pause("why"), Abort("why"))
    ),
    # hooks
    Scenario(
        "has hooks that fail",
        double,
        f"{P} Completed",
        DONE,
        failing_hooks(ValueError("hook"), "on_running", "on_completion"),
        clauses=("H-4",),
    ),
    Scenario(
        "has failure hooks that fail",
        boom,
        f"{P} Failed",
        NO_1,
        failing_hooks(ValueError("hook"), "on_failure"),
        clauses=("H-4",),
    ),
    Scenario(
        "has a commit hook that fails",
        double,
        f"{P} Completed RolledBack",
        DONE,
        lambda stage: hooks(stage) | failing_hooks(ValueError("hook"), "on_commit")(stage),
        clauses=("E-131", "TX-27", "TX-28"),
    ),
    # nesting and transactions
    Scenario("calls a task", nested, f"{P} Completed", ("return", 4), hooks, clauses=("E-145",)),
    Scenario(
        "catches the failure of a task",
        nested_failure_caught,
        f"{P} Completed",
        ("return", "caught no 1"),
        hooks,
        clauses=("W-7",),
    ),
    Scenario(
        "is committed with the block around it",
        double,
        f"{P} Completed",
        DONE,
        hooks,
        around=committed,
        clauses=("H-9", "TX-20"),
    ),
    Scenario(
        "is rolled back with the block around it",
        double,
        f"{P} Completed RolledBack",
        ("raise", "BoomError", "after it"),
        hooks,
        around=rolled_back,
        clauses=("E-74", "E-105", "H-11", "H-17"),
    ),
    Scenario(
        "is rolled back by hooks that fail",
        double,
        f"{P} Completed RolledBack",
        ("raise", "BoomError", "after it"),
        failing_hooks(ValueError("hook"), "on_rollback"),
        around=rolled_back,
        clauses=("TX-70",),
    ),
]
