"""Programs: what tasks do, as values that Hypothesis makes, and that the model and the engine both perform.

A program is a tree and not a sequence of rules of a state machine. What a task run does is nested, not listed:
attempts hold calls, which have attempts of their own. A tree also can be performed again, in another form. And it
shrinks to what matters: a subtree that has no part in a failure is replaced by a smaller one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from hypothesis import strategies as st


class End(Enum):
    """How an attempt ends, the simplest first."""

    RETURN = "returns a value"
    RAISE = "raises an exception"
    TIMEOUT = "raises a TimeoutError of its own"
    SLOW = "takes longer than its limit"
    INTERRUPT = "raises KeyboardInterrupt"
    EXIT = "raises SystemExit"
    METEOR = "raises a BaseException of its own"
    PAUSE = "raises Pause"
    ABORT = "raises Abort"
    COMPLETED = "returns a completed state with a name"
    FAILED = "returns a failed state"
    CANCELLED = "returns a cancelled state"
    PAUSED = "returns a paused state"
    MIXED = "returns a completed and a failed state"
    RUNNING = "returns a running state, so it is attempted again"
    SCHEDULED = "returns a scheduled state, so it is attempted again later"


class Input(Enum):
    """What a task gets as its argument or waits for, and what its function sees of it, None if it is not called."""

    PLAIN = "1"
    COMPLETED = "[{'state': 5}]"
    FUTURE = "(6,)"
    QUOTED = "Completed"
    ALLOWED = "['failure']"
    ALLOWED_NOT_READY = "None"
    WAIT_ALLOWED = "2"
    FAILED = None, "a failed state"
    FAILED_FUTURE = None, "a future of a failed run"
    PENDING = None, "a pending state, deep inside"
    ALLOWED_CRASHED = None, "a crashed state, though failures are allowed"
    WAIT_FAILED = None, "a failed state to wait for"

    @property
    def shown(self) -> str | None:
        """What the function sees, None if the run cannot begin."""
        return self.value if isinstance(self.value, str) else None


class Block(Enum):
    """The transaction around a call."""

    NONE = "none"
    KEPT = "the block is left normally"
    BROKEN = "the block raises after the call"


HOOKS = ("on_running", "on_completion", "on_failure", "on_commit", "on_rollback")
PLANS: tuple[tuple[bool, ...], ...] = ((), (False,), (True, False))
"""Lists of hooks that a task may have, told by whether each of them raises."""

SCHEDULED_SECONDS = 3.0


@dataclass(frozen=True)
class Call:
    """A call of a task by its caller."""

    program: Program
    caught: bool = False  # the caller catches exceptions, and goes on
    block: Block = Block.NONE
    wants_state: bool = False  # asks for the state; generators ignore it
    take: int | None = None  # values to take before a generator is closed


@dataclass(frozen=True)
class Attempt:
    """What one attempt does: lets seconds pass, calls other tasks, and ends somehow."""

    steps: tuple[float | Call, ...] = ()
    end: End = End.RETURN


@dataclass(frozen=True)
class Program:
    """A task: what each attempt does (the last one repeats), and its options."""

    attempts: tuple[Attempt, ...]
    input: Input = Input.PLAIN
    retries: int = 0
    delays: tuple[float, ...] = ()
    jitter: float = 0
    condition: str | None = None  # "yes", "no" or "raises"
    hooks: tuple[tuple[bool, ...], ...] = ((),) * len(HOOKS)
    cancelled_at: int | None = None  # the attempt before which the task runner cancels the run
    nameless: bool = False  # the function that names the run raises

    def attempt(self, number: int) -> Attempt:
        """What the attempt of that number does."""
        return self.attempts[min(number, len(self.attempts)) - 1]

    def hooks_of(self, option: str) -> tuple[bool, ...]:
        """For each hook of an option whether it raises."""
        return self.hooks[HOOKS.index(option)]


AGAIN = (End.RUNNING, End.SCHEDULED)
PLAIN_ENDS = (End.RETURN,) * 12 + (End.RAISE,) * 12 + (End.FAILED, End.TIMEOUT) * 2
LAST_ENDS = PLAIN_ENDS + tuple(end for end in End if end not in (End.SLOW, *AGAIN))
ENDS = LAST_ENDS + AGAIN * 3


def rarely(strategy: st.SearchStrategy[Any], usual: Any, one_in: int) -> st.SearchStrategy[Any]:
    """Something usual, and once in a while something else."""
    return st.integers(1, one_in).flatmap(lambda number: strategy if number == one_in else st.just(usual))


def calls(depth: int) -> st.SearchStrategy[Call]:
    """Calls of tasks that call others to the given depth."""
    return st.builds(
        Call,
        programs(depth),
        caught=st.booleans(),
        block=rarely(st.sampled_from(Block), Block.NONE, 2),
        wants_state=rarely(st.just(True), False, 4),
        take=rarely(st.integers(1, 3), None, 3),
    )


def programs(depth: int) -> st.SearchStrategy[Program]:
    """Tasks that call others to the given depth."""
    steps: st.SearchStrategy[Any] = st.sampled_from((0.25, 1.5))
    if depth:
        steps = st.one_of(steps, calls(depth - 1), calls(depth - 1))
    lists = st.lists(steps, min_size=depth // 2, max_size=2).map(tuple)
    attempts = st.builds(
        lambda earlier, last: (*earlier, last),
        st.lists(st.builds(Attempt, lists, st.sampled_from(ENDS)), max_size=2),
        st.builds(Attempt, lists, st.sampled_from(LAST_ENDS)),  # else it would go on for ever
    )
    return st.builds(
        Program,
        rarely(st.just((Attempt(end=End.SLOW),)), None, 20).flatmap(
            lambda slow: st.just(slow) if slow else attempts
        ),
        input=rarely(st.sampled_from(Input), Input.PLAIN, 5),
        retries=st.sampled_from((0, 1, 2, 2)),
        delays=st.sampled_from(((), (1.5,), (0.0, 2.0), (1.0, 2.0))),
        jitter=st.sampled_from((0.0, 0.5, 4.0)),
        condition=rarely(st.sampled_from(("yes", "no", "raises")), None, 3),
        hooks=st.tuples(*[st.sampled_from(PLANS)] * len(HOOKS)),
        cancelled_at=rarely(st.integers(1, 2), None, 15),
        nameless=rarely(st.just(True), False, 25),
    )
