"""Whether a runner in another process still wants what it has sent: two locks in the run store that both can see.

The runner holds both. The first one is free once nothing is to begin any more; the second one when nobody waits for
what has begun, because the runner was left or its process is dead. A process that dies frees its locks, so workers
learn of any end.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress

from mainspring import clock, identifiers
from mainspring._cancel_scopes import Stop, StopKind
from mainspring._clusters.reach import Database
from mainspring._engine.stopping import stop_run
from mainspring._processes.flow_files import FlowFiles
from mainspring.exceptions import StoreError
from mainspring.logging import get_logger
from mainspring.store.protocol import RunStore
from mainspring.supervision import on_beats

__all__ = ["Session", "Sessions", "sessions"]

_GONE = "The program that submitted the run has ended or does not wait for it any more."


def _now() -> int:
    return clock.current().now()


class Session:
    """The runner's side, in one run store.

    Args:
        store: The run store.

    Attributes:
        database: Where it is.
        flow_files: What its workers have to import.
        key: Tells the runner from others.
        owner: This process, to which the runs belong that workers make for it: it decides what becomes of them when a
            worker dies, and if it dies itself, whoever notices does.
        unreached: Why workers do not reach the run store; None as long as they are taken to.
    """

    def __init__(self, store: RunStore) -> None:
        self.database = Database.of(store)
        self.flow_files = FlowFiles.here()
        self.key = f"task runner {identifiers.new_id().hex()}"
        self._store = store
        for lock in _locks(self.key):
            store.take_lock(lock, self.key, _now(), None)
        self.owner = store.owner
        self.unreached = self.database.problem() if self.database.is_in_memory else None

    def note_unreached(self, reason: str) -> None:
        """Take it that workers do not reach the run store, and say so, once."""
        if self.unreached is not None:
            return
        self.unreached = reason
        get_logger("clusters").warning(
            "The workers of the cluster do not reach the run store: %s. From now on runs are made in this process, and"
            " only their functions are called over there. Set MAINSPRING_DATABASE_URL to a PostgreSQL database that all"
            " workers reach to have runs made by them.",
            reason,
        )

    def close(self) -> None:
        """Let nothing begin any more. What cannot be released is when this process ends."""
        self._release(0)

    def end(self) -> None:
        """Let nothing go on. May be called twice."""
        self._release(0)
        self._release(1)

    def _release(self, number: int) -> None:
        with suppress(StoreError):
            self._store.release_lock(_locks(self.key)[number], self.key, _now())


def _locks(session: str) -> tuple[str, str]:
    return f"{session} begins runs", f"{session} waits for runs"


class Sessions:
    """The worker's side: the runs here of all runners, by these. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, _AtWork] = {}
        self._is_watching = False

    @contextmanager
    def at_work(self, session: str, store: RunStore, runs: set[bytes]) -> Generator[_AtWork | None]:
        """The block in which runs go on for a runner; None if it does not want them any more.

        Args:
            session: The key of the session.
            store: The run store.
            runs: The ids of the runs.
        """
        if store.read_lock(_locks(session)[0], _now()) is None:
            yield None
            return
        with self._lock:
            if not self._is_watching:
                self._is_watching = True
                on_beats(self.look)
            work = self._open.get(session)
            if work is None:
                work = self._open[session] = _AtWork(store)
            work.parcels.append(runs)
        try:
            yield work
        finally:
            with self._lock:
                work.parcels = [each for each in work.parcels if each is not runs]
                if not work.parcels:
                    self._open.pop(session, None)

    def look(self, store: RunStore) -> None:
        """See whether the runners still want what goes on here; called with each beat.

        Raises:
            StoreError: The store cannot be read.
        """
        with self._lock:
            found = [(session, work) for session, work in self._open.items() if work.store is store]
        if not found:
            return
        for asked in store.read_cancellations({run for _, work in found for run in work.runs()}):
            stop_run(asked.run_key, Stop(StopKind.CANCELLED, asked.reason))
        for session, work in found:
            begins, waits = _locks(session)
            if not work.cancelled.is_set() and store.read_lock(begins, _now()) is None:
                work.cancelled.set()
            if work.cancelled.is_set() and store.read_lock(waits, _now()) is None:
                for run in work.runs():
                    stop_run(run, Stop(StopKind.CANCELLED, _GONE))


class _AtWork:
    """What goes on for one runner. ``cancelled`` is set when nothing is to begin any more."""

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.cancelled = threading.Event()
        self.parcels: list[set[bytes]] = []  # the same run may be in two

    def runs(self) -> set[bytes]:
        """The ids of the runs."""
        return {run for parcel in self.parcels for run in parcel}


sessions = Sessions()
