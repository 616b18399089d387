"""Noticing that virtual time stands still for good, as somebody waits in real time for one who waits for a time.

A thread that waits for a lock from before the block cannot be told from one that computes or asks a database, so it
counts as running, and the clock waits for it. If the one that holds the lock waits for the clock, that is for ever.
"""

from __future__ import annotations

import sys
from _thread import TIMEOUT_MAX
from _thread import allocate_lock as real_lock
from _thread import start_new_thread as start_real_thread
from time import monotonic_ns as real_monotonic_ns
from time import process_time_ns as real_process_time_ns
from typing import Any

from mainspring.testing.jumping import JumpingWorld
from mainspring.testing.worlds import StandstillError, frames_of

__all__ = ["StillnessWatch"]

_LOOKS = 4
"""So often in a row nothing has happened: one look may come late because the whole process was stopped meanwhile."""

_SHARE_OF_WORK = 20
"""Whoever uses more than this part of a processor computes."""

_DEBUGGERS = ("bdb", "pdb", "_pydevd_bundle")


class StillnessWatch:
    """Looks at a world from outside, in real time, and ends the waits for times that cannot come.

    Args:
        world: The world.
        patience: Real seconds in which nothing happens until that is done.
    """

    def __init__(self, world: JumpingWorld, patience: float) -> None:
        self._world = world
        self._patience = patience
        self._over = real_lock()

    def begin(self) -> None:
        """Look from now on."""
        self._over.acquire()
        start_real_thread(self._look_regularly, ())

    def end(self) -> None:
        """Look no more."""
        self._over.release()

    def _look_regularly(self) -> None:
        interval = min(self._patience / _LOOKS, TIMEOUT_MAX)
        before: Any = None
        vain = 0
        moment, work = real_monotonic_ns(), real_process_time_ns()
        while not self._over.acquire(timeout=interval):
            passed, worked = real_monotonic_ns() - moment, real_process_time_ns() - work
            moment, work = moment + passed, work + worked
            seen = self._world.steps, self._world.jumps
            is_vain = seen == before and worked * _SHARE_OF_WORK < passed and not _is_debugged()
            before, vain = seen, vain + 1 if is_vain else 0
            if vain == _LOOKS:
                vain = 0
                self._world.give_up_times(self._tell)

    def _tell(self, story: str) -> StandstillError:
        return StandstillError(
            f"The clock has stood still for {self._patience:g} real seconds: threads of this block wait for a time,"
            " which comes once no thread can run, and others could run but do nothing. These wait for what is not of"
            " the block, such as a lock that was made before it, a process, or a socket. Make locks in the block, or"
            f" give `virtual_time()` more patience.\n{story}"
        )


def _is_debugged() -> bool:
    """Whether any thread is in a debugger, where people take their time."""
    return any(
        (frame.f_globals.get("__name__") or "").startswith(_DEBUGGERS)
        for thread in sys._current_frames()  # pyright: ignore[reportPrivateUsage] - it is documented
        for frame in frames_of(thread)
    )
