"""The run store in an SQL database, whichever it is: everything but connections and transactions."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, NoReturn, ParamSpec, TypeVar

from mainspring import clock
from mainspring._imports import modules_on_use
from mainspring.exceptions import OwnershipLost, StoreError
from mainspring.runs import FlowRun, TaskRun
from mainspring.store.bells import LOCKS, SLOTS
from mainspring.store.losses import Loss, Losses
from mainspring.store.reading import StoredResults
from mainspring.store.sql import queries
from mainspring.store.sql.owners import Identity, drop_holdings, holding_dead, suspects
from mainspring.store.sql.requests import Requests
from mainspring.store.sql.retention import Retention
from mainspring.store.sql.sharing import Sharing
from mainspring.store.sql.writing import Writing, write_cache_keys, write_changes, write_logs

if TYPE_CHECKING:
    from mainspring.filters import LogFilter, LogSort
    from mainspring.runs import RecordedFlow, Resumption
    from mainspring.states import State
    from mainspring.store.aging import Ended, OldResult
    from mainspring.store.changes import CacheKey, Change, LogEntry
    from mainspring.store.events import StoredEvent
    from mainspring.store.histories import History
    from mainspring.store.protocol import Amendment, FlowQuery, Journal, RunFilter
    from mainspring.store.results import CrashHooks, KeptResult
    from mainspring.store.sql import (
        aging,
        amending,
        deleting,
        event_rows,
        history,
        journaling,
        keeping,
        settling,
    )
    from mainspring.store.sql.journaling import Page
    from mainspring.store.sql.owners import DeadOwner, Owner
    from mainspring.store.sql.statements import Cursor
else:
    aging, amending, deleting, event_rows, history, journaling, keeping, settling = modules_on_use(
        "mainspring.store.sql",
        "aging",
        "amending",
        "deleting",
        "event_rows",
        "history",
        "journaling",
        "keeping",
        "settling",
    )

__all__ = ["RowExists", "SQLRunStore"]

P = ParamSpec("P")
_TRIES = 3

R = TypeVar("R", TaskRun, FlowRun, TaskRun | FlowRun)
T = TypeVar("T")


class RowExists(StoreError):  # noqa: N818 - names a situation
    """A row that was to be inserted is there already, or something else is not as it was taken for granted."""


class SQLRunStore(Requests, Sharing, Retention):
    """What the run stores in databases have in common. Safe to use from any thread.

    Args:
        host_id: What tells this host from others; its name when omitted.
        lease_seconds: For how long other hosts wait for a sign of life of this process.
        owners: The folder of the locks by which processes on this host know of one another; None if there are no
            others.

    Attributes:
        losses: What this process has lost because others took it for dead.
        lease_seconds: As given.
        has_settled: Dead owners were settled here; for whoever looks after their hooks, who sets it back.
        on_holding: Called when slots, a lock or a place in a queue were taken: from then on there is a lease to renew.
        look_seconds: How often a process may look at what others have asked of it.
        bell: Wakes those who wait in other processes.
    """

    look_seconds = 0.1

    _refuses_late = False
    """Whether the database can end a transaction that brings a result which comes too late."""

    def __init__(self, host_id: str | None, lease_seconds: float, owners: Path | None) -> None:
        self.losses = Losses()
        self.on_holding: Callable[[], object] | None = None
        self.has_settled = False
        self.lease_seconds = lease_seconds
        self._identity = Identity.of(host_id, lease_seconds)
        self.host = self._identity.host
        self._owners = owners
        self._owner: Owner | None = None
        self._clock = clock.current()  # leases are of the process, whatever the context of a caller says
        self._results = StoredResults(self)
        self._losing = threading.Lock()
        self._is_doubtful = False  # what a write was left with may be there, and will be written again

    @property
    @abstractmethod
    def url(self) -> str:
        """See `RunStore.url`."""

    @property
    def address(self) -> str:
        """See `RunStore.address`."""
        return self.url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r})"

    # What a database has to do

    @abstractmethod
    def _transact_once(
        self, work: Callable[Concatenate[Cursor, int | None, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`_transact`, for work that may meet what it has done before.

        Raises:
            RowExists: It has, or it cannot be told whether it was done, as the connection broke. It had asked nothing.
        """

    def _transact(
        self, work: Callable[Concatenate[Cursor, int | None, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        for _ in range(_TRIES):
            try:
                return self._transact_once(work, *args, **kwargs)
            except RowExists:
                continue
        return self._transact_once(work, *args, **kwargs)

    def _renew(self, cursor: Cursor, owner: Owner) -> None:
        """Renew the lease, inside of a transaction in which nobody can end it: what it says holds to the commit.

        Raises:
            OwnershipLost: It is too late.
        """
        if not owner.renew(cursor, self._clock.now() + self._identity.lease):
            self._be_lost(cursor, owner)

    def _be_lost(self, cursor: Cursor, owner: Owner) -> NoReturn:
        """Note that this process was found dead, and be a new one from now on."""
        loss = Loss(*owner.end_in(cursor), self.address, self._clock.now())
        with self._losing:
            # Else another thread has found out, and what goes on now is of a new owner.
            if self._owner is owner:
                self.losses.note(loss)
                self._owner = None
                owner.discard()
        raise loss.error("A write")

    def _leave(self, cursor: Cursor | None) -> None:
        """Give up what this process holds and, unless runs are left, its ownership; without a cursor only the lock."""
        self.bell.close()
        owner, self._owner = self._owner, None
        if owner is None:
            return
        has_ended = False
        try:
            if cursor is not None:
                drop_holdings(cursor, owner.id)
                has_ended = owner.end(cursor, clock.current().now())
        finally:
            owner.discard() if has_ended else owner.abandon()

    def _forget_owner(self) -> None:
        """In a forked child: ownership is the parent's."""
        if self._owner is not None:
            self._owner.abandon()
            self._owner = None
        self._losing = threading.Lock()
        self.bell.abandon()
        self.losses.abandon()

    @property
    def owner(self) -> int | None:
        """See `RunStore.owner`."""
        owner = self._owner
        return None if owner is None else owner.id

    def _own_key(self) -> str:
        """The key of the owner that this process is."""
        owner = self._owner
        if owner is None:
            self._transact(_do_nothing)
            owner = self._owner
        return "" if owner is None else owner.key

    # Writing

    def write(
        self,
        changes: Sequence[Change],
        logs: Sequence[LogEntry] = (),
        cache_keys: Sequence[CacheKey] = (),
        results: Sequence[KeptResult] = (),
        events: Sequence[StoredEvent] = (),
        page: int = 0,
    ) -> list[Change]:
        """See `RunStore.write`."""
        if not changes and not logs and not cache_keys and not results and not events:
            return []
        writing = Writing(changes, logs, cache_keys, results, events, page)
        try:
            refused = self._write(writing, self._is_doubtful)
        except BaseException:
            self._is_doubtful = True
            raise
        self._is_doubtful = False
        self._wake_followers()
        return refused

    def _write(self, writing: Writing, careful: bool) -> list[Change]:
        tidy = False
        tries = 0
        while True:
            trusting = self._refuses_late and not careful
            try:
                now = self._clock.now()
                return self._transact_once(_write_history, self.losses, writing, now, tidy, careful, trusting)
            except OwnershipLost:  # has been told; what is not lost is still to be written
                continue
            except UnicodeError:  # a text with lone surrogates, which nobody should pay to look for
                if tidy:
                    raise
                tidy = True
            except RowExists:
                if tries >= _TRIES:
                    raise
                tries += 1
                careful = True

    def write_unowned(self, changes: Sequence[Change]) -> list[Change]:
        """See `RunStore.write_unowned`."""
        return self._change(amending.write_unowned, changes)

    def amend_run(self, key: bytes, amendment: Amendment) -> bool:
        """See `RunStore.amend_run`."""
        return self._change(amending.amend, key, amendment)

    def write_flow(self, name: str, now: int) -> RecordedFlow:
        """See `RunStore.write_flow`."""
        return self._change(amending.write_flow, name, now)

    def delete_runs(self, keys: Sequence[bytes], cached_results: bool = False) -> int:
        """See `RunStore.delete_runs`."""
        return sum(
            deleting.delete_trees(self._change, self._read(deleting.plan, some), cached_results)
            for some in deleting.batches(keys)
        )

    def count_deletable_runs(self, keys: Sequence[bytes]) -> int:
        """See `RunStore.count_deletable_runs`."""
        trees = (tree for some in deleting.batches(keys) for tree in self._read(deleting.plan, some))
        return sum(1 + len(tree.inside) for tree in trees)

    # What is old

    def find_ended_runs(self, which: Ended) -> list[bytes]:
        """See `AgingRows.find_ended_runs`."""
        return self._read(aging.ended_runs, which)

    def read_results_without_runs(self, before: int, after: str, limit: int) -> list[OldResult]:
        """See `AgingRows.read_results_without_runs`."""
        return self._read(aging.results_without_runs, before, after, limit)

    def delete_old_results(self, results: Sequence[OldResult]) -> int:
        """See `AgingRows.delete_old_results`."""
        return self._change(aging.delete_results, results)

    def read_files(self) -> set[str]:
        """See `AgingRows.read_files`."""
        return self._read(aging.files)

    def read_places_elsewhere(self) -> list[str]:
        """See `AgingRows.read_places_elsewhere`."""
        return self._read(aging.places_elsewhere)

    def delete_remains(self, before: int) -> None:
        """See `AgingRows.delete_remains`."""
        self._change(aging.delete_remains, before, self._read(aging.unused_owners, before))

    # Life and death

    def renew_lease(self) -> bool:
        """See `RunStore.renew_lease`."""
        owner = self._owner
        if owner is None:
            return False
        owner.lease_expires = 0  # so the next transaction renews it, whoever is first
        return self._transact(self._is_holding)

    def _is_holding(self, cursor: Cursor, _: int | None) -> bool:
        owner = self._owner
        return owner is not None and owner.is_holding(cursor)

    def settle_dead_owners(self) -> list[TaskRun | FlowRun]:
        """See `RunStore.settle_dead_owners`."""
        settled: list[TaskRun | FlowRun] = []
        if self._owners is None:
            return settled
        has_found = False
        now = self._clock.now()
        for suspect in self._fetch(suspects, self._identity, now):
            with holding_dead(suspect, self._owners) as is_dead:
                if is_dead:
                    settled += self._change(
                        settling.settle, suspect, now, self._identity, self._read_pages(suspect)
                    )
                    self._remove_pages(suspect)
                    self.has_settled = has_found = True
        if has_found:
            for topic in (SLOTS, LOCKS):
                self.bell.ring(topic, "")
        return settled

    def open_journal(self) -> Journal | None:
        """See `RunStore.open_journal`."""
        return None

    def catch_up(self) -> None:
        """See `RunStore.catch_up`."""

    def _read_pages(self, suspect: DeadOwner) -> Sequence[Page]:
        """What a dead process has noted in its journal."""
        return ()

    def _remove_pages(self, suspect: DeadOwner) -> None:
        """Remove its journal, which is settled."""

    def read_crash_hooks(self) -> list[CrashHooks]:
        """See `RunStore.read_crash_hooks`."""
        return self._fetch(queries.crash_hooks)

    def claim_crash_hooks(self, run_key: bytes) -> bool:
        """See `RunStore.claim_crash_hooks`."""
        return self._transact(_claim_crash_hooks, run_key)

    # Reading

    def read_flow_runs(self, where: RunFilter) -> list[FlowRun]:
        """See `RunStore.read_flow_runs`."""
        return self._with_results(self._read(queries.flow_runs, where))

    def read_task_runs(self, where: RunFilter) -> list[TaskRun]:
        """See `RunStore.read_task_runs`."""
        return self._with_results(self._read(queries.task_runs, where))

    def read_run(self, key: bytes) -> TaskRun | FlowRun | None:
        """See `RunStore.read_run`."""
        found = self._read(queries.run, key)
        return None if found is None else self._with_results([found])[0]

    def read_history(self) -> History:
        """See `RunStore.read_history`."""
        return self._read(history.history)

    def read_resumptions(self, keys: Sequence[bytes]) -> dict[bytes, Resumption]:
        """See `RunStore.read_resumptions`."""
        return self._read(queries.resumptions, keys)

    def read_states(self, key: bytes) -> list[State]:
        """See `RunStore.read_states`."""
        found = self._read(queries.states, key)
        for state in found:
            self._results.open_for(state)
        return found

    def read_logs(self, key: bytes) -> list[LogEntry]:
        """See `RunStore.read_logs`."""
        return self._read(queries.logs, key)

    def search_logs(
        self, where: LogFilter | None, sort: LogSort, limit: int | None, offset: int
    ) -> list[LogEntry]:
        """See `RunStore.search_logs`."""
        return self._read(queries.search_logs, where, sort, limit, offset)

    def read_flows(self, where: FlowQuery) -> list[RecordedFlow]:
        """See `RunStore.read_flows`."""
        return self._read(queries.flows, where)

    def find_runs(self, text: str, limit: int = 5) -> list[TaskRun | FlowRun]:
        """See `RunStore.find_runs`."""
        return self._with_results(self._read(queries.runs_by_id, text, limit))

    def count_task_runs(self, flow_run_keys: Sequence[bytes]) -> dict[bytes, dict[str, int]]:
        """See `RunStore.count_task_runs`."""
        return self._read(queries.task_run_counts, flow_run_keys)

    def read_cache_key(self, task_run_key: bytes) -> CacheKey | None:
        """See `RunStore.read_cache_key`."""
        return self._read(queries.cache_key, task_run_key)

    def read_earlier_cache_keys(self, run: TaskRun, limit: int) -> list[CacheKey]:
        """See `RunStore.read_earlier_cache_keys`."""
        return self._read(queries.earlier_cache_keys, run, limit)

    def read_task_runs_of_cache_key(self, key: str, limit: int) -> list[TaskRun]:
        """See `RunStore.read_task_runs_of_cache_key`."""
        return self._with_results(self._read(queries.task_runs_of_cache_key, key, limit))

    def _with_results(self, runs: list[R]) -> list[R]:
        """The same runs, with states that read their results here."""
        for run in runs:
            self._results.open_for(run.state)
        return runs


# What is lost is asked for inside of the transaction: another thread may find out until it begins.


def _write_history(
    db: Cursor,
    owner: int | None,
    losses: Losses,
    writing: Writing,
    now: int,
    tidy: bool,
    careful: bool,
    trusting: bool,
) -> list[Change]:
    lost: list[Change] = []
    if losses.any:
        writing, lost = writing.without(losses)
    changes = writing.changes
    refused = write_changes(db, changes, owner, now, tidy, careful, trusting) if changes else []
    if writing.logs:
        write_logs(db, writing.logs, tidy, careful)
    if writing.cache_keys:
        write_cache_keys(db, writing.cache_keys, tidy)
    if writing.results:
        keeping.keep(db, writing.results, clock.current().now(), tidy)
    if writing.events:
        event_rows.write_events(db, writing.events, now, tidy)
    if writing.page and owner is not None:
        journaling.settle_page(db, owner, writing.page)
    return [*lost, *refused] if lost else refused


def _do_nothing(_: Cursor, __: int | None) -> None:
    pass


def _claim_crash_hooks(db: Cursor, _: int | None, run_key: bytes) -> bool:
    return db.execute("DELETE FROM crash_hooks WHERE run_id = ?", (run_key,)).rowcount == 1
