"""Processes that are killed at random moments, again and again, and those who find that out."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from mainspring.settings import get_current_settings, temporary_settings
from mainspring.store import open_store
from tests.deaths.processes import PATIENCE, Process, left_by, run, start, until

__all__ = ["Snapshot", "killed_and_opened", "killed_beside_a_peer", "prepare", "stopped_and_taken_for_dead"]

Snapshot = dict[str, list[tuple[object, ...]]]
"""The rows of tables."""

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


def stopped_and_taken_for_dead(folder: Path, dice: random.Random) -> tuple[Snapshot, Snapshot]:
    """Stop a busy process at some moment until another host takes it for dead, and let it come back.

    Returns:
        What is there of its runs at that moment, and after it has ended.
    """
    with start("busy", folder, MAINSPRING_HOST_ID="here", MAINSPRING_LEASE_SECONDS="1") as process:
        process.wait_for("ready")
        until(lambda: left_by(folder, process.pid)[0] > 0, "the first run")
        time.sleep(dice.uniform(0, LONGEST))
        _stop_outside_of_commits(process.pid, folder)
        with temporary_settings({"home": folder}):
            url = get_current_settings().run_store_url
        with closing(open_store(url, host_id="there")) as store:

            def is_settled() -> bool:
                store.settle_dead_owners()
                return left_by(folder, process.pid) == (0, 0, 0)

            until(is_settled, "the end of the lease")
        before = snapshot(folder)
        os.kill(process.pid, signal.SIGCONT)
        until(lambda: process.process.poll() is not None, "the end of the process")
    return before, snapshot(folder)


def _stop_outside_of_commits(pid: int, folder: Path) -> None:
    """Stop a process. In the middle of a commit it holds the database, which nobody could take from it then."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        with closing(sqlite3.connect(folder / "mainspring.db", timeout=0.5, isolation_level=None)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                os.kill(pid, signal.SIGCONT)
                time.sleep(0.001)
            else:
                db.execute("ROLLBACK")
                return


def snapshot(folder: Path) -> Snapshot:
    """All that is there of runs."""
    tables = ("flow_runs", "task_runs", "states", "logs", "slots", "locks", "results")
    with closing(sqlite3.connect(folder / "mainspring.db", timeout=PATIENCE)) as db:
        return {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
