"""The run store in one SQLite file, or in memory.

One connection writes, under a lock; another reads; a third, when asked to, copies the write-ahead log into
the database, so that no commit waits for that. Other processes do the same with connections of their own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from mainspring import clock
from mainspring.exceptions import OwnershipLost
from mainspring.runs import FlowRun, Resumption, TaskRun
from mainspring.states import State
from mainspring.store import forks, keeping, locks, queries, slots
from mainspring.store.connections import MEMORY, Database, Link, translated
from mainspring.store.limits import ConcurrencyLimit, SlotAnswer, SlotRequest
from mainspring.store.losses import Loss, Losses
from mainspring.store.owners import DEFAULT_LEASE_SECONDS, Identity, Owner, dead_owners
from mainspring.store.protocol import CacheKey, Change, Durability, HeldLock, LogEntry, RunFilter
from mainspring.store.reading import StoredResults
from mainspring.store.requests import SQLiteRequests
from mainspring.store.results import CrashHooks, KeptResult, Leftovers, Settlement
from mainspring.store.settling import settle
from mainspring.store.writing import Writing, write_cache_keys, write_changes, write_logs

__all__ = ["SQLiteRunStore"]

CHECKPOINT_ROWS = 2_000  # of 500 tasks that each had a commit of its own: about 6 MB of log
CATCH_UP_PAGES = 8_192  # 16 MB
_CATCH_UP_SECONDS = 0.2
_CLOSE_WAIT_MILLISECONDS = 100
_FORK_WAIT_SECONDS = 5.0

P = ParamSpec("P")
R = TypeVar("R", TaskRun, FlowRun, TaskRun | FlowRun)
T = TypeVar("T")


class SQLiteRunStore(SQLiteRequests):
    """A run store in an SQLite database.

    Safe to use from any thread. In a forked child it opens connections of its own when it is used, and owns
    what it writes from then on; a store in memory cannot be used there.

    Args:
        path: The file, or ``":memory:"``.
        durability: What a commit survives; "relaxed" is up to whoever calls `write`, here it is "process".
        create: With False a database that does not exist is an error.
        host_id: What tells this host from others; its name when omitted.
        lease_seconds: For how long other hosts wait for a sign of life of this process.

    Attributes:
        losses: What this process has lost because others took it for dead.
        lease_seconds: As given.
        has_settled: Dead owners were settled here; for whoever looks after their hooks, who sets it back.
        on_holding: Called when slots or a lock were taken: the lease has to be renewed from then on.

    Raises:
        StoreUnavailable: The file cannot be made, opened or written, or belongs to another program.
        StoreCorrupt: The file is no database, or a damaged one.
        StoreTooNew: The file was written by a newer version.
    """

    def __init__(
        self,
        path: str | Path,
        durability: Durability = "process",
        create: bool = True,
        host_id: str | None = None,
        lease_seconds: float = DEFAULT_LEASE_SECONDS,
    ) -> None:
        # Locks and the log are known by the path; through a link it would have another name.
        place = MEMORY if str(path) == MEMORY else str(Path(path).resolve())
        self._database = Database(place, durability)
        self._writer = Link(self._database, self._database.prepare(create))
        if self._database.in_memory:
            self._reader = self._maintenance = self._writer
            self._links = [self._writer]
        else:
            self._reader = Link(self._database)
            self._maintenance = Link(self._database, busy_seconds=_CATCH_UP_SECONDS)
            # In the order in which locks are taken: catching up holds the last two.
            self._links = [self._reader, self._maintenance, self._writer]
        self._results = StoredResults(self)
        self.losses = Losses()
        self.on_holding: Callable[[], object] | None = None
        self.has_settled = False
        self.lease_seconds = lease_seconds
        self._identity = Identity.of(host_id, lease_seconds)
        self._clock = clock.current()  # leases are of the process, whatever the context of a caller says
        self._owner: Owner | None = None
        self._rows_copied = 0
        self._catch_up_at = CATCH_UP_PAGES
        self._resting: list[Link] = []
        forks.watch(self)

    @classmethod
    def open(
        cls, path: str | Path, durability: Durability = "process", create: bool = True
    ) -> SQLiteRunStore:
        """The store at ``path``; see the class."""
        return cls(path, durability, create)

    @property
    def url(self) -> str:
        """See `RunStore.url`."""
        return "sqlite://" if self._database.in_memory else f"sqlite:///{self._database.path}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self._database.path, self._database.durability)

    # Writing

    def write(
        self,
        changes: Sequence[Change],
        logs: Sequence[LogEntry] = (),
        cache_keys: Sequence[CacheKey] = (),
        results: Sequence[KeptResult] = (),
    ) -> list[Change]:
        """See `RunStore.write`."""
        if not changes and not logs and not cache_keys and not results:
            return []
        writing = Writing(changes, logs, cache_keys, results)
        while True:
            try:
                return self._write(writing)
            except OwnershipLost:  # has been told; what is not lost is still to be written
                continue

    def _write(self, writing: Writing) -> list[Change]:
        try:
            return self._transact(_write_history, self.losses, writing, False)
        except UnicodeEncodeError:  # a text with lone surrogates, which nobody should pay to look for
            return self._transact(_write_history, self.losses, writing, True)

    def _transact(
        self,
        work: Callable[Concatenate[sqlite3.Cursor, int | None, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call ``work`` with a cursor, this process as the owner, and the arguments, in one transaction.

        Raises:
            OwnershipLost: This process counts as dead since it wrote last. Nothing was written; from now on it writes
                as somebody new, and `losses` say what it must not write.
        """
        writer = self._writer
        try:
            with writer.lock:
                db = writer.db
                owner: Owner | None = None
                try:
                    if db is None:
                        db = writer.open()
                    owner = self._owner
                    if owner is None and not self._database.in_memory:
                        owner = self._owner = Owner.claim(
                            db, self._database.path, self._identity, self._clock.now()
                        )
                    cursor = writer.cursor()
                    cursor.execute("BEGIN IMMEDIATE")
                    if owner is None:
                        result = work(cursor, None, *args, **kwargs)
                    else:
                        if owner.lease_expires <= self._clock.now():  # else nobody can have found us dead
                            self._renew(cursor, owner)
                        result = work(cursor, owner.id, *args, **kwargs)
                    cursor.execute("COMMIT")
                    return result
                except BaseException as error:  # signals may raise anything between two statements
                    if db is not None and db.in_transaction:
                        db.execute("ROLLBACK")
                    if owner is not None:
                        owner.lease_expires = 0  # what was renewed may not be there: look next time
                    if isinstance(error, sqlite3.Error):
                        raise translated(error, self._database.path) from error
                    raise
        except OwnershipLost:
            self.losses.tell()
            raise

    def _renew(self, cursor: sqlite3.Cursor, owner: Owner) -> None:
        """Renew the lease, inside of a transaction: as nobody else can write now, what it says holds to its end.

        Raises:
            OwnershipLost: It is too late.
        """
        if owner.renew(cursor, self._clock.now() + self._identity.lease):
            return
        loss = Loss(*owner.end_in(cursor), self.url, self._clock.now())
        self._owner = None
        owner.discard()
        self.losses.note(loss)
        raise loss.error("A write")

    # Life and death

    def renew_lease(self) -> bool:
        """See `RunStore.renew_lease`."""
        if self._owner is None:
            return False
        return self._transact(self._renew_and_look)

    def _renew_and_look(self, cursor: sqlite3.Cursor, _: int | None) -> bool:
        owner = self._owner
        if owner is None:
            return False
        self._renew(cursor, owner)
        return owner.is_holding(cursor)

    def read_version(self) -> int:
        """See `RunStore.read_version`."""
        writer = self._writer
        with writer.lock:
            try:
                (version,) = writer.cursor().execute("PRAGMA data_version").fetchone()
            except sqlite3.Error as error:
                raise translated(error, self._database.path) from error
        return int(version)

    def settle_dead_owners(self) -> list[TaskRun | FlowRun]:
        """See `RunStore.settle_dead_owners`."""
        if self._database.in_memory:
            return []
        settled: list[TaskRun | FlowRun] = []
        writer = self._writer
        with writer.lock:
            try:
                db = writer.db or writer.open()
                now = self._clock.now()
                for owner in dead_owners(db, self._database.path, self._identity, now):
                    settled += settle(db, owner, now, self._identity)
                    self.has_settled = True
            except sqlite3.Error as error:
                raise translated(error, self._database.path) from error
        return settled

    def read_crash_hooks(self) -> list[CrashHooks]:
        """See `RunStore.read_crash_hooks`."""
        writer = self._writer  # which is open, where this is asked for when a store was opened
        with writer.lock:
            try:
                return queries.crash_hooks(writer.cursor())
            except sqlite3.Error as error:
                raise translated(error, self._database.path) from error

    def claim_crash_hooks(self, run_key: bytes) -> bool:
        """See `RunStore.claim_crash_hooks`."""
        return self._transact(_claim_crash_hooks, run_key)

    # Limits

    def write_limit(
        self, name: str, limit: int, active: bool, slot_decay_per_second: float
    ) -> ConcurrencyLimit:
        """See `LimitStore.write_limit`."""
        now = clock.current().now()
        return self._transact(slots.write_limit, name, limit, active, slot_decay_per_second, now)

    def read_limits(self, names: Sequence[str] | None = None) -> list[ConcurrencyLimit]:
        """See `LimitStore.read_limits`."""
        return self._read(slots.read_limits, names, clock.current().now())

    def delete_limit(self, name: str) -> bool:
        """See `LimitStore.delete_limit`."""
        return self._transact(slots.delete_limit, name)

    def take_slots(self, request: SlotRequest, now: int, wait_until: int | None) -> SlotAnswer:
        """See `LimitStore.take_slots`."""
        answer = self._transact(_take_slots, self.losses, request, now, wait_until)
        if answer.granted and self.on_holding is not None:
            self.on_holding()
        return answer

    def may_take_slots(self, request: SlotRequest, now: int) -> bool:
        """See `LimitStore.may_take_slots`."""
        return self._read(slots.may_take, request, now)

    def renew_slots(self, leases: Sequence[tuple[bytes, int]]) -> set[bytes]:
        """See `LimitStore.renew_slots`."""
        return self._transact(slots.renew, leases)

    def release_slots(self, lease_key: bytes, now: int, occupancy_seconds: float) -> None:
        """See `LimitStore.release_slots`."""
        self._transact(slots.release, lease_key, now, occupancy_seconds)

    # Locks

    def take_lock(self, key: str, holder: str, now: int, expires: int | None) -> HeldLock | None:
        """See `RunStore.take_lock`."""
        held = self._transact(_take_lock, self.losses, key, holder, now, expires)
        if held is None and self.on_holding is not None:
            self.on_holding()
        return held

    def release_lock(self, key: str, holder: str, now: int) -> bool:
        """See `RunStore.release_lock`."""
        return self._transact(locks.release, key, holder, now)

    def read_lock(self, key: str, now: int) -> HeldLock | None:
        """See `RunStore.read_lock`."""
        owner = self._owner
        return self._read(locks.read, key, now, None if owner is None else owner.id)

    # Results and transactions

    def read_result(self, key: str) -> KeptResult | None:
        """See `ResultRows.read_result`.

        By the connection that writes: it knows its own pages, and the other one would read them anew after each commit.
        """
        writer = self._writer
        with writer.lock:
            try:
                return keeping.read_result(writer.cursor(), key)
            except sqlite3.Error as error:
                raise translated(error, self._database.path) from error

    def delete_result(self, key: str) -> bool:
        """See `ResultRows.delete_result`."""
        return self._transact(keeping.delete_result, key)

    def open_settlement(self, settlement: Settlement, run_keys: Sequence[bytes]) -> bool:
        """See `ResultRows.open_settlement`."""
        return self._transact(keeping.open_settlement, settlement, run_keys)

    def advance_settlement(self, key: bytes, begun: int) -> bool:
        """See `ResultRows.advance_settlement`."""
        return self._transact(keeping.advance_settlement, key, begun)

    def claim_settlement(self, key: bytes, new_key: bytes) -> bool:
        """See `ResultRows.claim_settlement`."""
        return self._transact(keeping.claim_settlement, key, new_key)

    def close_settlement(
        self,
        key: bytes | None,
        publish: Sequence[bytes] = (),
        drop: Sequence[bytes] = (),
        results: Sequence[KeptResult] = (),
    ) -> bool:
        """See `ResultRows.close_settlement`."""
        now = clock.current().now()
        return self._transact(keeping.close_settlement, key, publish, drop, results, now)

    def read_leftovers(self, root_key: bytes) -> Leftovers:
        """See `ResultRows.read_leftovers`."""
        return self._read(keeping.read_leftovers, root_key)

    def read_unused_files(self) -> list[str]:
        """See `ResultRows.read_unused_files`."""
        return self._read(keeping.read_unused_files)

    def forget_unused_files(self, files: Sequence[str]) -> None:
        """See `ResultRows.forget_unused_files`."""
        self._transact(keeping.forget_unused_files, files)

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

    def _read(
        self,
        query: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        reader = self._reader
        with reader.lock:
            try:
                return query(reader.db or reader.open(), *args, **kwargs)
            except sqlite3.Error as error:
                raise translated(error, self._database.path) from error

    # Maintenance

    def checkpoint(self) -> None:
        """See `RunStore.checkpoint`: copies the write-ahead log into the database when it has grown.

        Writers go on meanwhile. If they outrun the copying they wait until it has caught up.
        """
        if self._database.in_memory:
            return
        link = self._maintenance
        try:
            if self._rows_written() - self._rows_copied < CHECKPOINT_ROWS:
                return
            with link.lock:
                db = link.db or link.open()
                self._rows_copied = self._rows_written()
                _, pages, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if pages > self._catch_up_at:
                    with self._writer.lock:  # our own writers queue up here instead of polling
                        busy, _, _ = db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
                    # If somebody reads for long, waiting for it each time would help nobody.
                    self._catch_up_at = 2 * pages if busy else CATCH_UP_PAGES
        except sqlite3.Error as error:
            raise translated(error, self._database.path) from error

    def _rows_written(self) -> int:
        db = self._writer.db
        return 0 if db is None else db.total_changes

    def close(self) -> None:
        """See `RunStore.close`. May be called twice; reading or writing raises from then on."""
        for link in self._links[:-1]:
            link.close()
        writer = self._writer
        with writer.lock:
            db, writer.db, writer.closed = writer.db, None, True
            owner, self._owner = self._owner, None
            if db is None:
                return
            try:
                db.execute(f"PRAGMA busy_timeout = {_CLOSE_WAIT_MILLISECONDS}")
                if owner is not None:
                    slots.drop_slots_of_owner(db, owner.id)
                    locks.drop_locks_of_owner(db, owner.id)
                    owner.release(db)
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.Error:
                pass  # what was committed is safe, and the next opener does what is left
            finally:
                db.close()

    # Forks

    def before_fork(self) -> None:
        """Wait until no thread is inside of SQLite; a copy of it in that condition is of no use."""
        for link in self._links:
            if link.lock.acquire(timeout=_FORK_WAIT_SECONDS):
                self._resting.append(link)

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        while self._resting:
            self._resting.pop().lock.release()

    def after_fork_in_child(self) -> None:
        """Leave connections and ownership to the parent."""
        self._resting.clear()
        for link in self._links:
            link.abandon()
        if self._owner is not None:
            self._owner.abandon()
            self._owner = None
        self.losses.abandon()
        self._rows_copied = 0


@cache
def _reopened(path: str, durability: Durability) -> SQLiteRunStore:
    """The store for what comes from another process and reads there; it stays open."""
    return SQLiteRunStore(path, durability, create=False)


# What is lost is asked for inside of the transaction: another thread may find out until it begins.


def _write_history(
    db: sqlite3.Cursor, owner: int | None, losses: Losses, writing: Writing, tidy: bool
) -> list[Change]:
    lost: list[Change] = []
    if losses.any:
        writing, lost = writing.without(losses)
    changes, logs, cache_keys, results = writing
    refused = write_changes(db, changes, owner, tidy) if changes else []
    if logs:
        write_logs(db, logs, tidy)
    if cache_keys:
        write_cache_keys(db, cache_keys, tidy)
    if results:
        keeping.keep(db, results, clock.current().now(), tidy)
    return [*lost, *refused] if lost else refused


def _take_slots(
    db: sqlite3.Cursor,
    owner: int | None,
    losses: Losses,
    request: SlotRequest,
    now: int,
    wait_until: int | None,
) -> SlotAnswer:
    if losses.any:
        losses.check("A request for slots", [request.holder[1] if request.holder else None])
    return slots.take(db, owner, request, now, wait_until)


def _take_lock(
    db: sqlite3.Cursor,
    owner: int | None,
    losses: Losses,
    key: str,
    holder: str,
    now: int,
    expires: int | None,
) -> HeldLock | None:
    if losses.any:
        losses.check(f"The lock on {key!r}")
    return locks.take(db, owner, key, holder, now, expires)


def _claim_crash_hooks(db: sqlite3.Cursor, _: int | None, run_key: bytes) -> bool:
    return db.execute("DELETE FROM crash_hooks WHERE run_id = ?", (run_key,)).rowcount == 1
