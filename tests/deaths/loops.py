"""Processes that are killed at random moments, again and again, and those who find that out."""

from __future__ import annotations

import random
import time
from pathlib import Path

from mainspring.settings import get_current_settings, temporary_settings
from mainspring.store import open_store
from tests.deaths.processes import Process, left_by, run, start, until

__all__ = ["killed_and_opened", "killed_beside_a_peer", "prepare"]

LONGEST = 0.4
"""Seconds that a process works at most before it is killed."""


def prepare(folder: Path) -> None:
    """Make the database and its limits."""
    run(folder, "-m", "tests.deaths.programs", "limits")


def killed_and_opened(
    folder: Path, dice: random.Random
) -> tuple[float, tuple[int, int, int], tuple[int, int, int]]:
    """Kill a busy process at some moment and open the store.

    Returns:
        The seconds that opening took, and what the process had at its death and has after that.
    """
    with start("busy", folder) as process:
        _let_it_work(process, dice)
        process.kill()
    before = left_by(folder, process.pid)
    with temporary_settings({"home": folder}):
        url = get_current_settings().run_store_url
    began = time.monotonic()
    store = open_store(url)
    seconds = time.monotonic() - began
    store.close()
    return seconds, before, left_by(folder, process.pid)


def killed_beside_a_peer(folder: Path, dice: random.Random) -> tuple[float, tuple[int, int, int]]:
    """Kill a busy process at some moment while another one has a run that goes on.

    Returns:
        The seconds until nothing of it was left, and what it had at its death.
    """
    with start("busy", folder) as process:
        _let_it_work(process, dice)
        process.kill()
    before = left_by(folder, process.pid)
    seconds = until(lambda: left_by(folder, process.pid) == (0, 0, 0), f"the settling of {before}")
    return seconds, before


def _let_it_work(process: Process, dice: random.Random) -> None:
    process.wait_for("ready")
    time.sleep(dice.uniform(0, LONGEST))
