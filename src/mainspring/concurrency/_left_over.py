"""What runs hold, so that nothing of it is left when they end.

A block that took slots gives them back when it is left. An exception that comes from outside, such as a time limit
or a cancellation, may strike in the very moment of taking or giving back. Therefore slots are noted here before they
are taken and until they are back, under the run that took them, and the engine releases what is left at the end.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from mainspring import _forks

__all__ = ["arelease_left_over", "forget", "note", "noted", "release_left_over"]


if TYPE_CHECKING:

    class _Releasable(Protocol):
        run_key: bytes | None

        def release(self) -> None: ...

        async def arelease(self) -> None: ...


noted: dict[bytes, dict[_Releasable, None]] = {}
"""What each run holds or has asked for. Empty where nobody uses slots, so one look tells that nothing is left over."""

_lock = threading.Lock()


def note(slots: _Releasable) -> None:
    """Remember what a run is about to take; outside of runs there is nobody to do it for."""
    if slots.run_key is not None:
        with _lock:
            noted.setdefault(slots.run_key, {})[slots] = None


def forget(slots: _Releasable) -> None:
    """It is back, or was never taken. May be called twice."""
    if slots.run_key is not None:
        with _lock:
            own = noted.get(slots.run_key)
            if own is not None:
                own.pop(slots, None)
                if not own:
                    del noted[slots.run_key]


def release_left_over(run_key: bytes) -> None:
    """Release the slots that a run still holds, or has asked for, wherever in its threads and tasks they were taken.

    To be called at the end of each attempt and of the run. Costs nothing worth mentioning if there are none.

    Args:
        run_key: The 16 bytes of the run's id.
    """
    if noted:
        for slots in _left(run_key):
            slots.release()


async def arelease_left_over(run_key: bytes) -> None:
    """`release_left_over` for async code: waits in the background thread."""
    if noted:
        for slots in _left(run_key):
            await slots.arelease()


def _left(run_key: bytes) -> list[_Releasable]:
    with _lock:
        return list(noted.get(run_key, ()))


@_forks.in_child
def _forget_inherited() -> None:
    """In a forked child: what the parent holds is the parent's."""
    global _lock
    _lock = threading.Lock()
    noted.clear()
