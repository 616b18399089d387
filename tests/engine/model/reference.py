"""The life of task runs, told once more and as shortly as possible: what the engine is measured by.

This is written from the contract, clause by clause, and knows nothing of the engine. It has no threads, no event
loop, no store and no real time; a call is a call and an exception is an exception.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.engine.model.programs import SCHEDULED_SECONDS, Block, Call, End, Program

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
RETURNED = {  # E-106, S-32
    End.RETURN: ("COMPLETED", "Completed"),
    End.COMPLETED: ("COMPLETED", "Fine"),
    End.FAILED: ("FAILED", "Failed"),
    End.CANCELLED: ("CANCELLED", "Cancelled"),
    End.PAUSED: ("PAUSED", "Paused"),
    End.MIXED: ("FAILED", "Failed"),
    End.RUNNING: ("RUNNING", "Running"),
    End.SCHEDULED: ("SCHEDULED", "Scheduled"),
}


class CallError(Exception):
    """Something that comes out of a call instead of a value."""

    def __init__(self, what: str, kind: End = End.RAISE) -> None:
        super().__init__(what)
        self.what = what
        self.is_error = kind in (End.RAISE, End.TIMEOUT, End.SLOW)
        self.is_timeout = kind in (End.TIMEOUT, End.SLOW)
        self.is_crash = kind in (End.INTERRUPT, End.EXIT, End.METEOR)


class ClosedError(Exception):
    """The consumer has closed the generator."""


@dataclass
class Run:
    """What is known of a run: its states as (type, name, microseconds), counters and times."""

    name: str
    parent: str | None
    states: list[tuple[str, str, int]] = field(default_factory=list)
    count: int = 0
    start: int | None = None
    end: int | None = None
    time: int = 0

    @property
    def type(self) -> str:
        return self.states[-1][0]


@dataclass
class Transaction:
    """A block that is committed or rolled back with what was called in it."""

    program: Program | None = None
    run: Run | None = None
    children: list[Transaction] = field(default_factory=list)
    is_staged: bool = False
    is_undone: bool = False


class Model:
    """Performs a program. ``events`` and ``runs`` tell what happened."""

    def __init__(self, yields: bool, returns: bool, luck: float) -> None:
        self.yields = yields
        self.returns = returns
        self.luck = luck
        self.now = 0
        self.events: list[tuple[Any, ...]] = []
        self.runs: list[Run] = []

    def call(self, call: Call, name: str, caller: Run | None, outer: Transaction | None) -> None:
        """A call with what its caller does around it."""
        try:
            if call.block is Block.NONE:
                self.run(call, name, caller, outer)
                return
            block = Transaction()
            try:
                self.run(call, name, caller, block)
                if call.block is Block.BROKEN:
                    raise CallError(f"{name} broken")
            except CallError:
                self.roll_back(block)  # TX-18
                raise
            self.leave(block, outer)
        except CallError as left:
            if not (call.caught and left.is_error):
                raise

    def run(self, call: Call, name: str, caller: Run | None, outer: Transaction | None) -> None:
        """A run, and what comes of it for its caller."""
        run = Run(name, caller and caller.name)  # E-138
        self.runs.append(run)
        try:
            shown = self.live(call, run, outer)
        except CallError as left:
            asked_for_state = call.wants_state and not self.yields and left.is_error
            if not asked_for_state:
                self.events.append(("raised", name, left.what))
                raise
            shown = run.states[-1][1]
        if call.wants_state and not self.yields:
            shown = run.states[-1][1]
        self.events.append(("returned", name, shown))

    def live(self, call: Call, run: Run, outer: Transaction | None) -> str:
        """From Pending to the hooks that follow the end (E-24)."""
        program = call.program
        self.enter(run, "PENDING", "Pending")
        error = None
        if program.input.shown is None:  # E-41, E-42, E-47, W-5
            self.enter(run, "PENDING", "NotReady")
            raise CallError("UpstreamTaskError")
        if program.nameless:  # E-37, W-6
            self.enter(run, "FAILED", "Failed")
            error = CallError(f"{run.name} nameless")
        else:
            self.begin_attempt(program, run, "Running")
        shown, retries, taken = "None", 0, [0]
        while run.type in ("RUNNING", "SCHEDULED"):
            if run.type == "SCHEDULED":  # E-77, E-93
                self.sleep(self.due - self.now)
                self.begin_attempt(
                    program, run, "Retrying" if run.states[-1][1] == "AwaitingRetry" else "Running"
                )
            transaction = Transaction(program, run)
            error, closed = None, False
            try:
                end = self.attempt(call, run, transaction, taken)
            except ClosedError:  # G-10, G-11
                end, closed = End.RETURN, True
            except CallError as left:
                self.roll_back(transaction)  # E-127, X-21
                if left.is_crash:
                    self.enter(run, "CRASHED", "Crashed")
                if not left.is_error:  # no hooks, no retries
                    raise
                error = left
                if self.retry(program, run, retries, left.what):
                    retries += 1
                else:
                    self.enter(run, "FAILED", "TimedOut" if left.is_timeout else "Failed")
                continue
            shown = "closed" if closed else end.name if self.returns else "None"
            state = RETURNED[end if self.returns else End.RETURN]
            if state[0] == "FAILED" and self.retry(program, run, retries, state[1]):  # V-5
                retries += 1
                self.roll_back(transaction)
                continue
            if state[0] == "RUNNING":  # E-107
                self.begin_attempt(program, run, state[1])
                self.roll_back(transaction)
                continue
            self.enter(run, *state)
            if state[0] == "SCHEDULED":
                self.due = self.now + round(SCHEDULED_SECONDS * 1e6)
                self.roll_back(transaction)
                continue
            transaction.is_staged = True  # E-62
            self.leave(transaction, outer)
        hooks = {"COMPLETED": "on_completion", "FAILED": "on_failure"}.get(run.type)  # H-1, H-2
        if hooks:
            self.run_hooks(program, run, hooks)
        if error:
            raise error
        return shown

    def begin_attempt(self, program: Program, run: Run, name: str) -> None:
        self.enter(run, "RUNNING", name)
        self.run_hooks(program, run, "on_running")  # V-8

    def attempt(self, call: Call, run: Run, transaction: Transaction, taken: list[int]) -> End:
        """The user's function."""
        program, number = call.program, run.count
        if program.cancelled_at is not None and number >= program.cancelled_at:
            raise CallError("RunCancelled", End.INTERRUPT)
        doing = program.attempt(number)
        if doing.end is End.SLOW:
            raise CallError("TaskRunTimeoutError", End.SLOW)
        self.events.append(("attempt", run.name, number, program.input.shown))
        for index, step in enumerate((*doing.steps, None)):
            if self.yields:
                self.events.append(("yielded", run.name, number, index))
                taken[0] += 1
                if taken[0] == call.take:
                    self.events.append(("closed", run.name, number, index))
                    raise ClosedError
            if isinstance(step, float):
                self.now += round(step * 1e6)
            elif step is not None:
                self.call(step, f"{run.name}.{number}{'abc'[index]}", run, transaction)
        if doing.end not in RETURNED:
            raise CallError(f"{run.name} {number}", doing.end)
        return doing.end

    def retry(self, program: Program, run: Run, retries: int, what: str) -> bool:
        """Whether there is another attempt; if so its state is entered (E-75 to E-86)."""
        if retries >= program.retries:
            return False
        if program.condition:
            self.events.append(("asked", run.name, what))
            if program.condition != "yes":
                return False
        delay = program.delays[min(retries, len(program.delays) - 1)] if program.delays else 0.0  # E-78
        delay *= max(0.0, 1 + program.jitter * (2 * self.luck - 1))  # W-11
        if delay:
            self.due = self.now + round(delay * 1e6)
            self.enter(run, "SCHEDULED", "AwaitingRetry")
        else:
            self.begin_attempt(program, run, "Retrying")
        return True

    def sleep(self, microseconds: int) -> None:
        self.events.append(("sleep", microseconds / 1e6))
        self.now += microseconds

    def enter(self, run: Run, kind: str, name: str) -> None:
        """The next state, at least a microsecond after the one before (V-1, V-2, V-3, E-109 to E-113)."""
        at = self.now
        if run.states:
            before, _, then = run.states[-1]
            at = max(at, then + 1)
            if before == "RUNNING":
                run.time += at - then
        run.states.append((kind, name, at))
        self.events.append(("state", run.name, kind, name))
        if kind == "RUNNING":
            run.count += 1
            run.start = at if run.start is None else run.start
        elif kind in FINAL and run.start is not None and run.end is None:
            run.end = at

    def run_hooks(self, program: Program, run: Run, option: str) -> None:
        """State hooks; one that raises stops nothing (H-4)."""
        for index, _ in enumerate(program.hooks_of(option)):
            self.events.append((option, run.name, index, run.states[-1][1]))

    # Transactions

    def leave(self, transaction: Transaction, outer: Transaction | None) -> None:
        if outer is None:
            self.commit(transaction)
        else:
            outer.children.append(transaction)  # TX-20

    def commit(self, transaction: Transaction) -> bool:
        """Children first, then the own hooks; one that raises leads to a rollback (TX-26, TX-28, TX-71, E-131)."""
        went_well = all(self.commit(child) for child in transaction.children)
        if went_well and transaction.is_staged:
            assert transaction.program is not None
            for index, fails in enumerate(transaction.program.hooks_of("on_commit")):
                self.events.append(("on_commit", transaction.run and transaction.run.name, index))
                if fails:
                    went_well = False
                    break
        if not went_well:
            self.roll_back(transaction)  # with the children that had agreed
        return went_well

    def roll_back(self, transaction: Transaction) -> None:
        """Own hooks in reverse, the mark on the run, then the children, newest first (TX-31, TX-32, H-11)."""
        if transaction.is_undone:
            return
        transaction.is_undone = True
        run, program = transaction.run, transaction.program
        if transaction.is_staged and run is not None and program is not None:
            for index in reversed(range(len(program.hooks_of("on_rollback")))):
                self.events.append(("on_rollback", run.name, index))
            if run.type == "COMPLETED":  # E-74, E-105, W-9
                self.enter(run, "COMPLETED", "RolledBack")
        for child in reversed(transaction.children):
            self.roll_back(child)
