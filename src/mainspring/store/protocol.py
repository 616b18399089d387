"""What a run store does: the contract that every backend keeps and one conformance suite checks.

A store holds the durable history of runs. States are rows that never change; the row of a run is a
projection of its states, kept in the same transaction. A write names the state that it follows, and a write
that follows a state which is no longer the newest is refused: a superseded attempt can change nothing.

All methods may be called from any thread. They block the caller for as long as the database takes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from mainspring.filters import (
    FlowFilter,
    FlowRunFilter,
    FlowRunSort,
    FlowSort,
    LogFilter,
    LogSort,
    TaskRunFilter,
    TaskRunSort,
)
from mainspring.store.aging import AgingRows
from mainspring.store.cancellations import CancellationRows
from mainspring.store.changes import CacheKey, Change, Durability, LogEntry
from mainspring.store.events import EventRows, StoredEvent
from mainspring.store.limits import LimitStore
from mainspring.store.pauses import PauseRows
from mainspring.store.results import CrashHooks, KeptResult, ResultRows

if TYPE_CHECKING:
    from mainspring.runs import FlowRun, RecordedFlow, Resumption, TaskRun
    from mainspring.states import State
    from mainspring.store.bells import Bell
    from mainspring.store.histories import History
    from mainspring.store.losses import Losses

__all__ = [
    "Amendment",
    "CacheKey",
    "Change",
    "Durability",
    "FlowQuery",
    "HeldLock",
    "LogEntry",
    "RunFilter",
    "RunStore",
]


class Journal(Protocol):
    """What a process has entered since its last commit, kept where it outlives the process.

    A commit has a price, whatever is in it. A task that is over before anybody else has seen it needs none of its own:
    it is noted in the journal, which costs next to nothing, and committed together with others a moment later. If the
    process dies before that, whoever finds it dead commits what it has noted. Not locked: one thread at a time uses it.
    """

    @property
    def is_open(self) -> bool:
        """False once this process owns nothing of what it wrote, for whatever reason: nothing can be noted then."""
        ...

    def note(
        self, changes: Collection[Change], logs: Sequence[LogEntry], cache_keys: Sequence[CacheKey]
    ) -> bool:
        """Keep what was entered, so that the death of this process cannot undo it. Never waits.

        Args:
            changes: Task runs, of which nothing is committed; each with all of its states up to now, and with no other
                attachments than results.
            logs: Log lines.
            cache_keys: Cache keys.

        Returns:
            False if it has to be committed instead: there is no room, or others may take this process for dead by now.
        """
        ...

    def turn(self) -> int:
        """Turn to a new page, as all that is noted is about to be committed.

        Whoever commits passes the number of the old page to `RunStore.write`, so that nobody does so again, and calls
        `settle` afterwards. If the commit fails, nothing must be noted until another one has not.

        Returns:
            The number of the old page; 0 if nothing was noted on it, so that it is still to be used.
        """
        ...

    def settle(self) -> None:
        """What was on the old page, and before, is committed."""
        ...


class HeldLock(msgspec.Struct, frozen=True):
    """A lock that is held: by whom, until when (wall time in microseconds; None for no end).

    ``is_ours`` is true if the process that took it is the calling one; ``host`` and ``pid`` say which one it is, where
    the store is for several.
    """

    holder: str
    expires: int | None
    is_ours: bool
    host: str | None = None
    pid: int | None = None


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs to read. Members that are None do not restrict; lists mean "any of these".

    Args:
        states: Types or names of the current state, in any case ("FAILED", "TimedOut").
        names: Names of the run.
        flow_run_keys: What ran inside of these flow runs: their task runs, or their subflows' runs.
        parents: Flow runs whose parent task run is one of these; no task run has such a parent.
        top_level: True for flow runs that are no subflows and task runs outside of flows.
        flow: Runs of these flows; for task runs the flow run around.
        flow_run: These flow runs; for task runs those inside of them.
        task_run: These task runs; for flow runs those that have such a task run.
        sort: In which order, newest first when omitted.
        limit: At most so many.
        offset: Leave out so many of the first.
    """

    states: Sequence[str] | None = None
    names: Sequence[str] | None = None
    flow_run_keys: Sequence[bytes] | None = None
    parents: Sequence[bytes] | None = None
    top_level: bool = False
    flow: FlowFilter | None = None
    flow_run: FlowRunFilter | None = None
    task_run: TaskRunFilter | None = None
    sort: FlowRunSort | TaskRunSort = FlowRunSort.ID_DESC
    limit: int | None = None
    offset: int = 0


class FlowQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which flows to read.

    Args:
        flow: These flows.
        flow_run: Those that have such a run.
        task_run: Those that have a run with such a task run.
        sort: In which order.
        limit: At most so many.
        offset: Leave out so many of the first.
    """

    flow: FlowFilter | None = None
    flow_run: FlowRunFilter | None = None
    task_run: TaskRunFilter | None = None
    sort: FlowSort = FlowSort.CREATED_DESC
    limit: int | None = None
    offset: int = 0


class Amendment(msgspec.Struct, frozen=True, kw_only=True):
    """What is changed about a recorded run from outside. Members that are None stay as they are.

    Args:
        name: Its name; its process does not name it any more.
        tags: All of its tags.
        flow_version: The version of its flow.
        parameters: All of its parameters; only flow runs have them.
    """

    name: str | None = None
    tags: Sequence[str] | None = None
    flow_version: str | None = None
    parameters: Mapping[str, Any] | None = None


class RunStore(LimitStore, ResultRows, CancellationRows, PauseRows, EventRows, AgingRows, Protocol):
    """A durable history of runs, what their results, transactions and pauses have left, and the limits that they share.

    Every method that reads or writes raises `StoreError` if the database does not let it.
    """

    losses: Losses
    """What this process has lost because others took it for dead."""

    look_seconds: float
    """How often a process may look here at what others have asked of it without being a burden."""

    lease_seconds: float
    """For how long this process counts as alive on other hosts without a sign of life."""

    has_settled: bool
    """Whether dead owners were settled here. Whoever looks after their hooks sets it back."""

    owner: int | None
    """The number of this process among those that have written here; None before it has, and where there is but one."""

    host: str
    """What this host is called, among those that share the store."""

    bell: Bell
    """Wakes those who wait in other processes, and those here whom others wake."""

    on_holding: Callable[[], object] | None
    """Called when this process has taken slots or a lock: somebody has to renew its lease from then on."""

    @property
    def url(self) -> str:
        """Where the history is, as in ``MAINSPRING_DATABASE_URL``."""
        ...

    @property
    def address(self) -> str:
        """The same for people to read: without a password."""
        ...

    def write(
        self,
        changes: Sequence[Change],
        logs: Sequence[LogEntry] = (),
        cache_keys: Sequence[CacheKey] = (),
        results: Sequence[KeptResult] = (),
        events: Sequence[StoredEvent] = (),
        page: int = 0,
    ) -> list[Change]:
        """Write everything in one transaction and return the changes that were refused.

        A change is refused as a whole, attachments included, if the newest state of its run is not the one it
        follows, or if it has the result of a task run of an attempt of its flow run that has been followed by another
        one; the files of its attachments are unused from then on. The others are written all the same. On return
        the rest is as durable as the store was opened for. A cache key replaces the one that its run had, a result
        the one under its key; an event that is there already is left as it is. With ``page``, all that was noted on
        that page of the journal, or before, is among it.

        Writing a change again is harmless: what an interrupted call has written already is left out.

        Raises:
            StoreError: Nothing was written.
        """
        ...

    def open_journal(self) -> Journal | None:
        """The journal of what this process enters from now on, for as long as it owns what it writes.

        Returns:
            None if there is none: the store is for another durability, or cannot have one, or nothing was written yet.
        """
        ...

    def catch_up(self) -> None:
        """Wait, a fraction of a second at most, until what other processes have noted by now is committed.

        To be called by whoever looks at history that others may just have told of.
        """
        ...

    def write_unowned(self, changes: Sequence[Change]) -> list[Change]:
        """`write` for states that come from outside of any run: the death of this process does not concern the runs.

        A new run belongs to nobody until a process goes on with it. One that is there stays with its process, which is
        refused its next state.
        """
        ...

    def amend_run(self, key: bytes, amendment: Amendment) -> bool:
        """Change what is recorded about a run, other than its states; False if it is not there."""
        ...

    def settle_dead_owners(self) -> list[TaskRun | FlowRun]:
        """Crash the unfinished runs of processes that are dead, and return them as they are now.

        Slots and locks that the processes held or waited for are free from then on. To be called when a store was
        opened, and by whoever waits for something that a dead process may hold. Runs that wait for a later
        resume (paused) and runs that never began because of an upstream (NotReady) are left alone, and so is
        an owner whose death cannot be known from here. Several processes may do this at once; each run is
        settled by one of them.
        """
        ...

    def renew_lease(self) -> bool:
        """Let other hosts know that this process lives.

        Returns:
            Whether there is anything to lose: unfinished runs, slots, or locks of this process. False also if it has
            written nothing.

        Raises:
            OwnershipLost: It is too late: see `losses`.
        """
        ...

    def read_crash_hooks(self) -> list[CrashHooks]:
        """The runs whose process was found dead, and whose ``on_crashed`` hooks nobody has called yet."""
        ...

    def claim_crash_hooks(self, run_key: bytes) -> bool:
        """Take over the call of the hooks of such a run; False if somebody else has done so."""
        ...

    def delete_runs(self, keys: Sequence[bytes], cached_results: bool = False) -> int:
        """Delete runs with all that is inside of them and all that belongs to them.

        To be called after `settle_dead_owners`. A run is left alone if it is not there, if it or something inside of it
        goes on in a process that is not known to be dead, if it is inside of a flow run that is not over, or if a
        transaction of that is still to decide about it. Paused runs go on in their process; suspended ones, and those
        whose process has ended, do not.

        Each run is deleted with what is inside of it in one transaction, as long as that is not too much for one. Of a
        larger flow run its own row goes first, and nobody sees or resumes it from then on; if the rest is interrupted,
        it is deleted by another call with the same key.

        Args:
            keys: Flow runs and task runs.
            cached_results: Delete also those of their results that later runs may be answered from, because they are
                kept under cache keys that others may have. Without it those stay until they expire.

        Returns:
            How many runs were deleted, those inside included.
        """
        ...

    def count_deletable_runs(self, keys: Sequence[bytes]) -> int:
        """How many runs `delete_runs` would delete."""
        ...

    def read_flow_runs(self, where: RunFilter) -> list[FlowRun]:
        """The flow runs that fit, each with its current state."""
        ...

    def read_task_runs(self, where: RunFilter) -> list[TaskRun]:
        """The task runs that fit, each with its current state."""
        ...

    def read_run(self, key: bytes) -> TaskRun | FlowRun | None:
        """One run by its id."""
        ...

    def read_history(self) -> History:
        """All of it as it is at one moment, in bare rows."""
        ...

    def read_resumptions(self, keys: Sequence[bytes]) -> dict[bytes, Resumption]:
        """How to go on with these flow runs, by key; those that keep no results, or have not begun, are not there."""
        ...

    def read_states(self, key: bytes) -> list[State]:
        """All states of a run, oldest first."""
        ...

    def read_logs(self, key: bytes) -> list[LogEntry]:
        """The log lines of a task run, or of a flow run and all of its task runs, oldest first."""
        ...

    def search_logs(
        self, where: LogFilter | None, sort: LogSort, limit: int | None, offset: int
    ) -> list[LogEntry]:
        """The log lines that fit; all of them if there is no filter."""
        ...

    def write_flow(self, name: str, now: int) -> RecordedFlow:
        """Make a flow known before its first run; a known one stays as it is."""
        ...

    def read_flows(self, where: FlowQuery) -> list[RecordedFlow]:
        """The flows that fit: those that have runs, and those that were made known before."""
        ...

    def find_runs(self, text: str, limit: int = 5) -> list[TaskRun | FlowRun]:
        """Runs whose id begins or ends with ``text``, flow runs first, newest first.

        ``text`` is hexadecimal, in any case, with or without dashes; anything else finds nothing.
        """
        ...

    def count_task_runs(self, flow_run_keys: Sequence[bytes]) -> dict[bytes, dict[str, int]]:
        """For each flow run the number of its task runs by state type; an empty dict if it has none."""
        ...

    def read_cache_key(self, task_run_key: bytes) -> CacheKey | None:
        """How a task run looked for a kept result; None if it did not."""
        ...

    def read_earlier_cache_keys(self, run: TaskRun, limit: int) -> list[CacheKey]:
        """The cache keys of the runs of the same task that were created before ``run``, newest first.

        A task is the same if its function has the same name: a change of its code may be what is looked for.
        Runs that had no key are left out, as nothing can have been kept for others by them.
        """
        ...

    def read_task_runs_of_cache_key(self, key: str, limit: int) -> list[TaskRun]:
        """The runs, of whatever task, that looked for or kept a result under a key, newest first."""
        ...

    def take_lock(self, key: str, holder: str, now: int, expires: int | None) -> HeldLock | None:
        """Give the lock on a key to ``holder``, unless another one has it; does not wait for that.

        A lock counts as free from its ``expires`` on. It is free as well when the process that took it has closed its
        store, or was found dead by `settle_dead_owners`.

        Args:
            key: What is locked.
            holder: Any text; whoever uses the same text is the same holder.
            now: The time.
            expires: When the lock is to free itself, or None.

        Returns:
            None if ``holder`` holds the lock now, else the lock of the other one.
        """
        ...

    def release_lock(self, key: str, holder: str, now: int) -> bool:
        """Free a lock; False if ``holder`` does not hold it."""
        ...

    def read_lock(self, key: str, now: int) -> HeldLock | None:
        """The lock on a key, or None if it is free."""
        ...

    def checkpoint(self) -> None:
        """Do maintenance that need not delay a commit; called now and then by a background thread.

        Raises:
            StoreError: It could not be done now; nothing is lost.
        """
        ...

    def close(self) -> None:
        """Release everything, and declare this process's ownership of its runs ended.

        If some of its runs are not finished the ownership stays, and the next opener settles them. May be
        called twice; whoever reads or writes from then on gets `StoreUnavailable`.
        """
        ...
