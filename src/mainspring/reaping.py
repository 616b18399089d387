"""Settling what dead processes have left, now, instead of when a run store is opened the next time."""

from __future__ import annotations

from operator import attrgetter
from typing import NamedTuple

from mainspring.crash_hooks import CalledHooks, call_crash_hooks
from mainspring.exceptions import StoreMissing
from mainspring.recording import Recorder
from mainspring.runs import FlowRun, TaskRun
from mainspring.settings import get_current_settings
from mainspring.store.addresses import open_store

__all__ = ["Reaped", "reap"]


class Reaped(NamedTuple):
    """What `reap` has found.

    Args:
        runs: The runs of dead processes, which are crashed from now on; what they held is free.
        hooks: What became of the ``on_crashed`` hooks of these and of earlier ones.
    """

    runs: list[TaskRun | FlowRun]
    hooks: list[CalledHooks]


def reap() -> Reaped:
    """Settle what dead processes have left in the run store of the settings, and call ``on_crashed`` hooks.

    Runs of dead processes enter Crashed, and their slots and locks are free. The hooks of crashed runs are called here,
    each at most once, in this thread; files of scripts are loaded for that. May be called from any thread, and by
    several processes at once.

    Returns:
        What was found; nothing if there is no run store yet.

    Raises:
        StoreError: The run store cannot be opened, read or written.
    """
    settings = get_current_settings()
    try:
        store = open_store(
            settings.run_store_url,
            settings.durability,
            False,
            settings.host_id,
            settings.lease_seconds,
            settles=False,
        )
    except StoreMissing:
        return Reaped([], [])
    recorder = Recorder(store, settings.durability)
    try:
        runs = sorted(store.settle_dead_owners(), key=attrgetter("key"))
        return Reaped(runs, call_crash_hooks(recorder, loads_files=True))
    finally:
        recorder.close()
