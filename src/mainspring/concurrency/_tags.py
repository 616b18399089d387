"""Slots for the tags of task runs: a tag is limited by the limit named ``tag:<tag>``, if there is one.

Most tags have none, and must cost nothing. So for some seconds it is remembered which have none.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from uuid import UUID
from weakref import WeakKeyDictionary

from mainspring import clock
from mainspring.concurrency._slots import Slots
from mainspring.concurrency._terms import MINUTE, Terms, is_name
from mainspring.concurrency._waiting import wake
from mainspring.identifiers import to_bytes
from mainspring.recording import current_recorder
from mainspring.store.limits import LimitStore

__all__ = ["MEMORY_SECONDS", "atake_tag_slots", "limits_changed", "take_tag_slots"]

MEMORY_SECONDS = 5.0
"""For so long it is believed that a limit does not exist, unless this process creates it."""

_PREFIX = "tag:"


class _Unlimited:
    """Which tags have no limit in one store, and until when that is believed."""

    def __init__(self) -> None:
        self.until: dict[str, float] = {}
        self.version = 0


_unlimited: WeakKeyDictionary[LimitStore, _Unlimited] = WeakKeyDictionary()
_lock = threading.Lock()


def take_tag_slots(tags: Iterable[str], task_run_id: UUID | str | bytes) -> Slots | None:
    """Wait for one slot of each limit that one of the tags has, and take them all at once.

    Args:
        tags: The tags of the task run.
        task_run_id: The task run, which holds the slots, and at whose end they are released at the latest.

    Returns:
        The slots, to be released; None if no tag has an active limit.

    Raises:
        ConcurrencySlotAcquisitionError: They cannot be had: a limit is 0, or the store does not answer.
    """
    asked = _ask(tags, task_run_id)
    if asked is None:
        return None
    slots, known, version = asked
    slots.acquire()
    _remember(known, version, slots.missing)
    return slots if slots.limits else None


async def atake_tag_slots(tags: Iterable[str], task_run_id: UUID | str | bytes) -> Slots | None:
    """`take_tag_slots` for async code: waits without blocking the event loop."""
    asked = _ask(tags, task_run_id)
    if asked is None:
        return None
    slots, known, version = asked
    await slots.aacquire()
    _remember(known, version, slots.missing)
    return slots if slots.limits else None


def limits_changed(store: LimitStore, name: str) -> None:
    """This process created, changed or deleted a limit: what is believed of limits may be wrong now."""
    with _lock:
        for known in _unlimited.values():  # another store object may be the same database
            known.until.clear()
            known.version += 1
    wake(store, [name], None)


def _ask(tags: Iterable[str], task_run_id: UUID | str | bytes) -> tuple[Slots, _Unlimited, int] | None:
    store = current_recorder().store
    known = _unlimited.get(store)
    if known is None:
        with _lock:
            known = _unlimited.setdefault(store, _Unlimited())
    version, until, now = known.version, known.until, clock.current().monotonic()
    names = [
        name
        for tag in tags
        if not 0 < until.get(name := _PREFIX + tag, 0) - now <= MEMORY_SECONDS and is_name(name)
    ]
    if not names:
        return None
    key = to_bytes(task_run_id)
    terms = Terms(names, lease_seconds=MINUTE, tells=False)
    return Slots(terms, store, ("task_run", key), key), known, version


def _remember(known: _Unlimited, version: int, missing: list[str]) -> None:
    """Believe for a while that there are no limits of these names, unless one was created while we asked."""
    if missing:
        end = clock.current().monotonic() + MEMORY_SECONDS
        with _lock:
            if known.version == version:
                known.until.update(dict.fromkeys(missing, end))
