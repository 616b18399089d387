"""What a process looks after while runs go on in it: its lease, the deaths of others, and whatever else is registered.

There is one supervisor for each recorder, with a thread of its own that lives while there is something to look after:
runs that can be seen by others, slots, or locks. Runs that are over before they are seen never start it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mainspring import clock, points
from mainspring.exceptions import OwnershipLost
from mainspring.logging import get_logger

if TYPE_CHECKING:
    from mainspring.store.protocol import RunStore

__all__ = ["Finder", "Supervisor", "on_beats", "on_deaths", "tell_finders"]

SETTLE_AFTER = 0.5
"""Seconds between two searches for the dead."""

IDLE_BEATS = 20
"""So many looks without a live run, and the thread ends if nothing else is held."""

CLOSE_SECONDS = 10.0
"""For so long the end of a process waits for hooks that have been begun."""

Finder = Callable[[Any], object]
"""Called with a recorder in whose store are crash hooks that nobody has called yet."""

Look = Callable[["RunStore"], object]
"""Called with each beat, with the store."""

_logger = get_logger("supervision")
_finders: list[Finder] = []
_looks: list[Look] = []


def on_deaths(finder: Finder) -> None:
    """Have ``finder`` called where there are crash hooks to call: when a recorder is opened, and after deaths."""
    if finder not in _finders:
        _finders.append(finder)


def on_beats(look: Look) -> None:
    """Have ``look`` called with each beat of every supervisor. It should be quick; what it raises is logged."""
    _looks.append(look)


def tell_finders(recorder: Any) -> None:
    """Call the finders if there is something for them."""
    if _finders and recorder.store.read_crash_hooks():
        for finder in _finders:
            finder(recorder)


class Supervisor:
    """The background thread of a recorder. Safe to use from any thread; in a forked child it starts anew.

    Args:
        store: Whose lease is renewed, and where the dead are looked for.
        has_live: Whether there are unfinished runs of this process that others can see.
        bury: Called, in a thread of its own, after dead processes were found and settled.
    """

    def __init__(self, store: RunStore, has_live: Callable[[], bool], bury: Callable[[], object]) -> None:
        self._store = store
        self._has_live = has_live
        self._bury = bury
        self._clock = clock.current()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._closing = threading.Event()
        self._burials: list[threading.Thread] = []
        self._begin()

    def _begin(self) -> None:
        self._idle_beats = 0
        self._renew_at = self._renew_at_monotonic = self._settle_at = 0.0

    @property
    def is_attending(self) -> bool:
        """Whether the thread is there."""
        return self._thread is not None and self._pid == os.getpid()

    def attend(self) -> None:
        """Start the thread, unless it is there."""
        if self.is_attending or self._closing.is_set():
            return
        if self._pid != os.getpid():  # the lock may have been held by a thread of the parent
            self._pid, self._thread, self._lock = os.getpid(), None, threading.Lock()
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._begin()
                self._thread = threading.Thread(target=self._watch, name="mainspring-supervisor", daemon=True)
                self._thread.start()

    def beat(self) -> None:
        """One look at everything; the thread does so every `RunStore.look_seconds`.

        Raises:
            StoreError: The store could not be read or written. The next beat tries again.
        """
        if points.observer is not None:
            points.observer("supervisor.beat", self._store)
        monotonic = self._clock.monotonic()
        # Of the two clocks one may stand still while the machine sleeps, and the other may be set back.
        if monotonic >= self._renew_at_monotonic or self._clock.now() >= self._renew_at:
            self.renew_lease()
        if monotonic >= self._settle_at:
            self._settle_at = monotonic + SETTLE_AFTER
            self._store.settle_dead_owners()
        if self._store.has_settled:  # now, or by somebody who waits for what the dead have held
            self._store.has_settled = False
            self._start_burial()
        for look in _looks:
            look(self._store)

    def renew_lease(self) -> bool:
        """Let other hosts know that this process lives; whether it has anything to lose.

        Raises:
            StoreError: The store cannot be written.
        """
        try:
            if points.observer is not None:
                points.observer("lease.renew", self._store)
            is_holding = self._store.renew_lease()
        except OwnershipLost:  # those concerned were told, and there is a line in the log
            is_holding = False
        third = self._store.lease_seconds / 3
        self._renew_at_monotonic = self._clock.monotonic() + third
        self._renew_at = self._clock.now() + third * clock.MICROSECONDS
        return is_holding

    def close(self) -> None:
        """End the thread, after hooks that have been begun. May be called twice."""
        self._closing.set()
        here = threading.current_thread()
        with self._lock:  # until a thread that is about to be there is there
            threads = (self._thread, *self._burials)
        for thread in threads:
            if thread is not None and thread is not here and self._pid == os.getpid():
                thread.join(CLOSE_SECONDS)

    def _start_burial(self) -> None:
        """In a thread of its own: hooks may take long, and the lease must be renewed meanwhile."""
        with self._lock:
            thread = threading.Thread(target=self._bury, name="mainspring-crash-hooks", daemon=True)
            thread.start()
            self._burials = [*(each for each in self._burials if each.is_alive()), thread]

    def _watch(self) -> None:
        complained = False
        while not self._closing.wait(self._store.look_seconds):
            try:
                self.beat()
                if self._is_idle():
                    return
                complained = False
            except Exception as error:  # of the store or of a look: there is another beat
                if not complained:
                    _logger.warning("Runs cannot be supervised now; this will be tried again: %s", error)
                complained = True

    def _is_idle(self) -> bool:
        """Whether there has been nothing to look after for a while; the thread ends then."""
        self._idle_beats = 0 if self._has_live() else self._idle_beats + 1
        if self._idle_beats < IDLE_BEATS:
            return False
        self._idle_beats = 0
        if self.renew_lease():
            return False
        with self._lock:  # from here on `attend` starts another one
            self._thread = None
        return True
