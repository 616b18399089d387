"""The phases of a run as scripts: for each outcome the exact effects, in order, and nothing else.

A phase is driven by hand. `Script` performs each effect in the smallest possible way and notes it.
"""

from collections.abc import Callable, Generator
from typing import Any

import pytest

from mainspring._core import lifecycle
from mainspring._core.effects import Ask, EndInside, Enter, Prepare, RunHooks, SleepUntil
from mainspring._core.outcomes import Blocked, Outcome, Raised, Ready, Returned
from mainspring._core.policy import RunPolicy
from mainspring._core.transitions import enter
from mainspring.exceptions import CrashedRun, UpstreamTaskError, WorkerDied
from mainspring.runs import TaskRun
from mainspring.states import Completed, Failed, Paused, Scheduled, State, StateType

SECOND = 1_000_000


def hook(*_: object) -> None: ...


def other_hook(*_: object) -> None: ...


def condition(*_: object) -> bool:
    return True


class Script:
    """A run in the hands of a test; ``effects`` is what its phases asked for."""

    def __init__(self, policy: RunPolicy | None = None, state: State | None = None) -> None:
        self.policy = policy or RunPolicy("Task run")
        self.run = TaskRun(bytes(16), "a run", state or State(StateType.PENDING, at=0), "task-key")
        self.time = 0
        self.prepared: Outcome = Ready()
        self.answer = True
        self.effects: list[str] = []

    def now(self) -> int:
        self.time += SECOND
        return self.time

    @staticmethod
    def random() -> float:
        return 0.5

    def drive(self, phase: Generator[Any, Any, Any]) -> Any:
        reply = None
        while True:
            try:
                effect = phase.send(reply)
            except StopIteration as end:
                return end.value
            reply = self.perform(effect)

    def perform(self, effect: object) -> Any:
        match effect:
            case Enter(state=state):
                enter(self.run, state)
                self.effects.append(f"enter {state.name}")
                return state
            case Prepare():
                self.effects.append("prepare")
                return self.prepared
            case RunHooks(hooks=hooks, state=state):
                self.effects.append(f"hooks {' '.join(each.__name__ for each in hooks)} for {state.name}")
            case Ask(condition=asked, state=state):
                assert asked is condition
                self.effects.append(f"ask about {state.name}")
                return self.answer
            case SleepUntil(when=when):
                self.effects.append(f"sleep until {when / SECOND:g}")
                self.time = when
            case EndInside():
                self.effects.append("end inside")
        return None

    def begin(self) -> Any:
        return self.drive(lifecycle.begin(self.policy, self.run, self.now))

    def settle(self, outcome: Outcome, retries: int = 0) -> Any:
        return self.drive(lifecycle.settle(self.policy, self.run, outcome, retries, self.now, self.random))

    def resume(self) -> Any:
        return self.drive(lifecycle.resume(self.policy, self.run, self.now))

    def finish(self) -> Any:
        effect = lifecycle.finish(self.policy, self.run.state)
        return None if effect is None else self.perform(effect)

    def crash(self, error: BaseException) -> Any:
        return self.drive(lifecycle.crash(self.policy, self.run, error, self.now))

    def cancel(self, reason: str = "enough") -> Any:
        return self.drive(lifecycle.cancel(self.policy, self.run, reason, self.now))


def running(policy: RunPolicy | None = None) -> Script:
    """A script that begins in the first attempt."""
    script = Script(policy)
    script.begin()
    script.effects.clear()
    return script


# begin


@pytest.mark.contract("E-38", "E-50", "E-114")
def test_begin_prepares_and_enters_running() -> None:
    """A run whose inputs are there enters Running, and that is all."""
    script = Script()
    assert script.begin() is None
    assert script.effects == ["prepare", "enter Running"]
    assert script.run.run_count == 1


@pytest.mark.contract("V-8")
def test_begin_runs_the_running_hooks_last() -> None:
    """Hooks for running come after the state was entered."""
    script = Script(RunPolicy("Task run", hooks={StateType.RUNNING: [hook, other_hook]}))
    script.begin()
    assert script.effects == ["prepare", "enter Running", "hooks hook other_hook for Running"]


@pytest.mark.contract("E-47", "E-102")
def test_begin_blocked_by_an_upstream() -> None:
    """A run whose upstream did not complete becomes NotReady: no attempt, no hook, the reason as message."""
    script = Script(RunPolicy("Task run", 3, hooks={StateType.RUNNING: [hook]}))
    script.prepared = Blocked(UpstreamTaskError("the upstream failed"))
    assert script.begin() is script.prepared
    assert script.effects == ["prepare", "enter NotReady"]
    run = script.run
    assert (run.state.type, run.state.message) == (StateType.PENDING, "the upstream failed")
    assert (run.run_count, run.started_at) == (0, None)


@pytest.mark.contract("W-6")
def test_begin_that_fails() -> None:
    """An error while preparing fails the run with this error and takes no retry."""
    script = Script(RunPolicy("Task run", 3))
    script.prepared = Raised(KeyError("x"))
    assert script.begin() is script.prepared
    assert script.effects == ["prepare", "enter Failed"]
    assert script.run.state.data is script.prepared.error
    assert script.run.state.message == "Task run could not begin: KeyError: 'x'"


# settle: the function returned


@pytest.mark.contract("E-94")
@pytest.mark.parametrize("value", [None, 0, "text", [], [1], Exception("a value like any other")])
def test_settle_a_value(value: object) -> None:
    """Whatever is no state completes the run and is its result; hooks are not the business of this phase."""
    script = running(RunPolicy("Task run", 2, hooks={StateType.COMPLETED: [hook]}))
    assert script.settle(Returned(value)) is False
    assert script.effects == ["enter Completed"]
    assert script.run.state.result() is value


@pytest.mark.contract("E-63", "E-95")
def test_settle_a_cached_value() -> None:
    """A value of an earlier run completes this one under the name Cached."""
    script = running()
    script.settle(Returned(7, cached=True))
    assert script.effects == ["enter Cached"]
    assert script.run.state.is_completed()


@pytest.mark.contract("E-106", "S-31", "S-48")
@pytest.mark.parametrize("state", [Completed(name="Fine"), Paused(), Failed(message="no")])
def test_settle_a_state_made_by_hand(state: State) -> None:
    """A state that the function made is entered itself."""
    script = running()
    assert script.settle(Returned(state)) is False
    assert script.run.state is state


@pytest.mark.contract("E-108", "S-32")
def test_settle_several_states() -> None:
    """A list of states is folded into one, which holds the list."""
    script = running()
    states = [Completed(), Failed()]
    script.settle(Returned(states))
    assert script.effects == ["enter Failed"]
    assert script.run.state.data is states
    assert script.run.state.message == "1/2 states failed."


@pytest.mark.contract("V-5")
def test_settle_a_returned_failed_state_is_retried() -> None:
    """A failed state that the function returned is retried while retries are left, and entered when none is."""
    script = running(RunPolicy("Task run", 1, retry_condition=condition))
    failed = Failed(message="no")
    assert script.settle(Returned(failed), retries=0) is True
    assert script.effects == ["ask about Failed", "enter Retrying"]
    assert script.settle(Returned(failed), retries=1) is False
    assert script.effects[2:] == ["enter Failed"]
    assert script.run.state is failed


# settle: an exception came out


@pytest.mark.contract("E-68", "E-96", "E-86")
def test_settle_an_exception_without_retries() -> None:
    """Without retries an exception fails the run; the condition is not asked."""
    script = running(RunPolicy("Task run", 0, retry_condition=condition))
    error = ValueError("no")
    assert script.settle(Raised(error)) is False
    assert script.effects == ["enter Failed"]
    state = script.run.state
    assert state.data is error
    assert state.message == "Task run encountered an exception: ValueError: no"
    assert state.state_details.retriable is False


@pytest.mark.contract("E-75", "E-76", "E-97")
def test_settle_with_a_retry_at_once() -> None:
    """A granted retry without delay enters Retrying, which is the next attempt."""
    script = running(RunPolicy("Task run", 2))
    assert script.settle(Raised(ValueError()), retries=1) is True
    assert script.effects == ["enter Retrying"]
    assert script.run.run_count == 2


@pytest.mark.contract("V-8")
def test_settle_with_a_retry_runs_the_running_hooks() -> None:
    """An immediate retry is an entry into RUNNING, so its hooks run."""
    script = running(RunPolicy("Task run", 1, hooks={StateType.RUNNING: [hook]}))
    script.settle(Raised(ValueError()))
    assert script.effects == ["enter Retrying", "hooks hook for Retrying"]


@pytest.mark.contract("E-77", "E-98")
def test_settle_with_a_delayed_retry() -> None:
    """A delayed retry is scheduled for its time; no hook runs and nothing sleeps yet."""
    script = running(RunPolicy("Task run", 2, [2.5], hooks={StateType.RUNNING: [hook]}))
    assert script.settle(Raised(ValueError())) is True
    assert script.effects == ["enter AwaitingRetry"]
    state = script.run.state
    assert state.scheduled_at == state.at + 2_500_000
    assert script.run.run_count == 1


@pytest.mark.contract("E-100")
def test_settle_refused_by_the_condition() -> None:
    """A condition that says no ends the run with the original exception."""
    script = running(RunPolicy("Task run", 2, retry_condition=condition))
    script.answer = False
    error = ValueError()
    assert script.settle(Raised(error)) is False
    assert script.effects == ["ask about Failed", "enter Failed"]
    assert script.run.state.data is error


@pytest.mark.contract("E-82")
def test_the_condition_is_asked_about_the_state_that_would_be_entered() -> None:
    """What the condition sees is a failed state that holds the exception."""
    script = running(RunPolicy("Task run", 1, retry_condition=condition))
    error = ValueError("no")
    phase = lifecycle.settle(script.policy, script.run, Raised(error), 0, script.now, script.random)
    asked = next(phase)
    assert isinstance(asked, Ask)
    assert asked.state.is_failed()
    assert asked.state.data is error


@pytest.mark.contract("E-99", "E-81")
def test_settle_when_the_retries_are_used_up() -> None:
    """After the last retry an exception fails the run, and nobody is asked."""
    script = running(RunPolicy("Task run", 2, [5.0], retry_condition=condition))
    assert script.settle(Raised(ValueError()), retries=2) is False
    assert script.effects == ["enter Failed"]


@pytest.mark.contract("E-70", "E-71", "E-101", "X-10")
def test_settle_the_runs_own_timeout() -> None:
    """The run's own limit ends it as TimedOut, and the message names the limit."""
    script = running(RunPolicy("Task run", timeout=1.5))
    error = TimeoutError()
    script.settle(Raised(error, limit="timeout of 1.5 second(s)"))
    assert script.effects == ["enter TimedOut"]
    assert script.run.state.message == "Task run exceeded timeout of 1.5 second(s)"
    assert script.run.state.data is error
    assert script.run.state.type is StateType.FAILED


@pytest.mark.contract("E-71")
def test_settle_a_timeout_of_the_users() -> None:
    """A TimeoutError that user code met is TimedOut as well, and the message shows the exception."""
    script = running(RunPolicy("Task run", timeout=1.5))
    script.settle(Raised(TimeoutError("the server sleeps")))
    assert script.effects == ["enter TimedOut"]
    assert "TimeoutError('the server sleeps')" in (script.run.state.message or "")
    assert "exceeded" not in (script.run.state.message or "")


@pytest.mark.contract("E-101", "E-92")
def test_settle_a_timeout_with_retries() -> None:
    """A timeout is retried like an exception."""
    script = running(RunPolicy("Task run", 1, timeout=1.5))
    assert script.settle(Raised(TimeoutError(), limit="timeout of 1.5 second(s)")) is True
    assert script.effects == ["enter Retrying"]


# resume


@pytest.mark.contract("E-77", "E-93", "V-1")
def test_resume_a_delayed_retry() -> None:
    """A scheduled retry sleeps until its time and enters Retrying, which counts; then come the hooks."""
    script = running(RunPolicy("Task run", 1, [3.0], hooks={StateType.RUNNING: [hook]}))
    script.settle(Raised(ValueError()))
    due = script.run.state.scheduled_at
    assert due is not None
    script.effects.clear()
    script.resume()
    assert script.effects == [f"sleep until {due / SECOND:g}", "enter Retrying", "hooks hook for Retrying"]
    assert script.run.run_count == 2


@pytest.mark.contract("E-93", "E-107")
def test_resume_any_other_scheduled_state() -> None:
    """A scheduled state that is no retry is followed by Running."""
    script = running()
    script.settle(Returned(Scheduled()))
    script.effects.clear()
    script.resume()
    assert script.effects[1:] == ["enter Running"]


@pytest.mark.contract("E-93")
@pytest.mark.parametrize("kind", ["PENDING", "RUNNING", "COMPLETED"])
def test_resume_without_a_scheduled_time(kind: str) -> None:
    """A state that is not scheduled is left alone."""
    script = Script(state=State(kind))
    script.resume()
    assert script.effects == []


# finish


@pytest.mark.contract("H-1", "H-2")
@pytest.mark.parametrize("kind", list(StateType))
def test_finish_runs_the_hooks_of_the_state(kind: StateType) -> None:
    """The hooks registered for the type of the last state run; for a RUNNING one there is nothing to finish."""
    hooks = {each: [hook] for each in StateType}
    script = Script(RunPolicy("Task run", hooks=hooks), State(kind, name="Name"))
    script.finish()
    assert script.effects == ([] if kind is StateType.RUNNING else ["hooks hook for Name"])


@pytest.mark.contract("H-2")
def test_finish_without_hooks() -> None:
    """Nothing is asked for if there are no hooks for the state."""
    script = Script(RunPolicy("Task run", hooks={StateType.FAILED: [hook]}), State("COMPLETED"))
    script.finish()
    assert script.effects == []


@pytest.mark.contract("H-8")
def test_hooks_registered_later_count() -> None:
    """The policy reads the hook lists when they are needed, so a hook may be added after definition."""
    hooks: list[Callable[..., Any]] = []
    policy = RunPolicy("Task run", hooks={StateType.RUNNING: hooks, StateType.COMPLETED: hooks})
    hooks.append(hook)
    script = Script(policy)
    script.begin()
    script.settle(Returned(1))
    script.finish()
    assert script.effects[2::2] == ["hooks hook for Running", "hooks hook for Completed"]


# crash


@pytest.mark.contract("E-73", "E-103", "S-39")
@pytest.mark.parametrize("kind", ["PENDING", "SCHEDULED", "RUNNING", "PAUSED", "CANCELLING"])
def test_crash_from_anywhere(kind: str) -> None:
    """Every unfinished run can be crashed; nothing waits and no hook is called on this path."""
    script = Script(RunPolicy("Task run", hooks={StateType.CRASHED: [hook]}), State(kind, at=0))
    assert script.crash(KeyboardInterrupt()) is True
    assert script.effects == ["enter Crashed"]
    assert script.run.state.message == "Execution was aborted by an interrupt signal."
    assert isinstance(script.run.state.data, CrashedRun)


@pytest.mark.contract("F-72")
@pytest.mark.parametrize("kind", ["COMPLETED", "FAILED", "CANCELLED", "CRASHED"])
def test_crash_never_overwrites_a_final_state(kind: str) -> None:
    """What is over cannot crash any more."""
    script = Script(state=State(kind))
    assert script.crash(KeyboardInterrupt()) is False
    assert script.effects == []


# cancel


@pytest.mark.parametrize("kind", ["PENDING", "SCHEDULED", "RUNNING", "PAUSED"])
def test_cancel_from_anywhere(kind: str) -> None:
    """Every unfinished run can be cancelled: it is shown, what is inside ends, and only then it is over."""
    script = Script(RunPolicy("Task run", hooks={StateType.CANCELLED: [hook]}), State(kind, at=0))
    assert script.cancel("not needed") is True
    assert script.effects == ["enter Cancelling", "end inside", "enter Cancelled"]
    assert script.run.state.message == "not needed"
    script.finish()
    assert script.effects[3:] == ["hooks hook for Cancelled"]


def test_cancel_what_is_shown_already() -> None:
    """Whoever asked has shown it before the code has ended; it is not shown twice."""
    script = Script(state=State(StateType.CANCELLING, at=0))
    assert script.cancel() is True
    assert script.effects == ["end inside", "enter Cancelled"]


@pytest.mark.parametrize("kind", ["COMPLETED", "FAILED", "CANCELLED", "CRASHED"])
def test_cancel_never_overwrites_a_final_state(kind: str) -> None:
    """What is over is not cancelled any more, and nothing is waited for."""
    script = Script(state=State(kind))
    assert script.cancel() is False
    assert script.effects == []


def test_phases_keep_nothing() -> None:
    """Every phase starts from the run record alone: a fresh script may take up what another one left."""
    first = running(RunPolicy("Task run", 1, [1.0]))
    first.settle(Raised(ValueError()))
    second = Script(first.policy)
    second.run = first.run
    second.resume()
    second.settle(Returned(1), retries=1)
    assert second.effects[1:] == ["enter Retrying", "enter Completed"]
    assert second.run.run_count == 2


# The death of the process


def lost(
    script: Script,
    error: BaseException | None = None,
    retries: int | None = None,
    losses: int = 0,
    limit: str | None = None,
    is_last: bool = False,
) -> bool:
    error = WorkerDied("it was killed") if error is None else error
    phase = lifecycle.lose(
        script.policy, script.run, error, script.now, script.random, retries, losses, limit, is_last
    )
    return bool(script.drive(phase))


@pytest.mark.parametrize(
    ("state", "effects"),
    [
        (State(StateType.PENDING, at=0), ["enter Running", "enter AwaitingRetry"]),
        (State(StateType.RUNNING, at=0), ["enter AwaitingRetry"]),
        (State(StateType.CRASHED, at=0), ["enter Running", "enter AwaitingRetry"]),
        (Scheduled(name="AwaitingRetry", at=0), ["enter Retrying", "enter AwaitingRetry"]),
    ],
)
def test_a_lost_attempt_is_made_again(state: State, effects: list[str]) -> None:
    """Wherever the run was seen last, the attempt that its process had begun counts, and another one is due."""
    script = Script(RunPolicy("Task run", retries=3), state)
    assert lost(script)
    assert script.effects == effects


def test_a_lost_attempt_that_others_have_crashed() -> None:
    """It counts once: not again if it was recorded before."""
    script = Script(RunPolicy("Task run", retries=3), State(StateType.CRASHED, at=0))
    script.run.run_count = 1
    assert lost(script)
    assert script.effects == ["enter AwaitingRetry"]
    assert script.run.run_count == 1


def test_a_lost_wait_costs_nothing() -> None:
    """A process that dies before the next attempt is due leaves the run as it is."""
    script = Script(RunPolicy("Task run"), Scheduled(name="AwaitingRetry", at=9 * SECOND))
    assert lost(script)
    assert not script.effects


def test_a_lost_attempt_without_a_retry() -> None:
    """The run crashes, with the words of the death; one that somebody else has crashed stays so."""
    script = Script(state=State(StateType.RUNNING, at=0))
    assert not lost(script)
    assert script.effects == ["enter Crashed"]
    assert script.run.state.message == "Execution ended with its process. it was killed"
    crashed = Script(state=State(StateType.CRASHED, at=0))
    assert not lost(crashed)
    assert not crashed.effects


def test_a_condition_is_asked_about_a_lost_attempt() -> None:
    """It sees the crash, and its no is final."""
    policy = RunPolicy("Task run", retries=1, retry_condition=condition)
    script = Script(policy, State(StateType.RUNNING, at=0))
    script.answer = False
    assert not lost(script)
    assert script.effects == ["ask about Crashed", "enter Crashed"]


def test_a_run_that_had_ended_is_not_lost() -> None:
    """A process that dies after the end of its run takes nothing along."""
    script = Script(RunPolicy("Task run", retries=1), Completed(at=0))
    assert not lost(script)
    assert not script.effects


def test_the_next_attempt_is_begun_by_another_process() -> None:
    """A run that waits for a retry is waited for, and retried, by whoever begins it anew."""
    script = Script(state=Scheduled(name="AwaitingRetry", at=5 * SECOND))
    script.drive(lifecycle.begin(script.policy, script.run, script.now))
    assert script.effects[0] == "prepare"
    assert script.effects[-1] == "enter Retrying"


def test_a_loss_is_made_good_apart_from_retries() -> None:
    """As long as losses have attempts of their own they cost no retry, and no condition is asked."""
    policy = RunPolicy("Task run", retries=1, retry_condition=condition, crash_retries=2)
    script = Script(policy, State(StateType.RUNNING, at=0))
    script.answer = False
    assert lost(script, losses=1)
    assert script.effects == ["enter AwaitingRetry"]


def test_a_loss_beyond_its_limit_costs_a_retry() -> None:
    """When the attempts for losses are used up, one of the retries is, and then there is none."""
    policy = RunPolicy("Task run", retries=1, crash_retries=2)
    assert lost(Script(policy, State(StateType.RUNNING, at=0)), losses=2, retries=0)
    script = Script(policy, State(StateType.RUNNING, at=0))
    assert not lost(script, losses=2, retries=1)
    assert script.effects == ["enter Crashed"]


def test_losses_are_no_retries() -> None:
    """Where only the number of attempts is known, those that made losses good are not counted as retries."""
    script = Script(RunPolicy("Task run", retries=1, crash_retries=2), State(StateType.RUNNING, at=0))
    script.run.run_count = 3
    assert lost(script, losses=2)


@pytest.mark.parametrize("kind", [StateType.RUNNING, StateType.CRASHED])
def test_a_process_that_was_ended_at_a_deadline(kind: StateType) -> None:
    """The attempt has timed out, whoever was quicker to find its process dead, and has words of its own."""
    script = Script(RunPolicy("Task run", timeout=2, crash_retries=2), State(kind, at=0))
    assert not lost(script, TimeoutError("late"), limit="timeout of 2 second(s)")
    assert script.effects == ["enter TimedOut"]
    assert script.run.state.message == "Task run exceeded timeout of 2 second(s)"


def test_a_process_that_was_ended_at_a_deadline_costs_a_retry() -> None:
    """It is a failure of the attempt, and no loss."""
    policy = RunPolicy("Task run", retries=1, timeout=2, crash_retries=2)
    script = Script(policy, State(StateType.RUNNING, at=0))
    assert lost(script, TimeoutError("late"), retries=0, limit="timeout of 2 second(s)")
    assert not lost(
        Script(policy, State(StateType.RUNNING, at=0)), TimeoutError("late"), retries=0, is_last=True
    )
    assert script.effects == ["enter AwaitingRetry"]
    assert not lost(Script(policy, State(StateType.RUNNING, at=0)), TimeoutError("late"), retries=1)
