"""A process that is stopped past its lease, taken for dead by another host, and comes back."""

import os
import random
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mainspring.exceptions import StoreUnavailable
from mainspring.settings import temporary_settings
from mainspring.store import RunFilter, open_store
from tests.deaths.loops import stopped_and_taken_for_dead
from tests.deaths.processes import run, start, until

EXAMPLES = int(os.environ.get("DEATHS_EXAMPLES", "8"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 5 * EXAMPLES)]

HERE = {"MAINSPRING_HOST_ID": "here", "MAINSPRING_LEASE_SECONDS": "1"}
THERE = {"MAINSPRING_HOST_ID": "there"}


def stop_past_the_lease(folder: Path, pid: int) -> None:
    """Stop a process until another host has found it dead."""
    os.kill(pid, signal.SIGSTOP)
    database = folder / "mainspring.db"
    with closing(open_store(f"sqlite:///{database}", host_id="there")) as store:

        def is_found() -> bool:
            store.settle_dead_owners()
            return not store.read_flow_runs(RunFilter(states=["RUNNING"]))

        until(is_found, "the end of the lease")
    os.kill(pid, signal.SIGCONT)


def test_what_comes_back_is_refused(folder: Path) -> None:
    """Of a run that was lost nothing more is written; one line says so, its flow ends in order, and new runs work."""
    with start("stopped", folder, **HERE) as process:
        process.wait_for("begun")
        with closing(sqlite3.connect(folder / "mainspring.db", timeout=30)) as db:
            query = "SELECT count(*) FROM task_runs WHERE state_name = 'Completed'"
            until(lambda: db.execute(query).fetchone() == (1,), "the step before")
            stop_past_the_lease(folder, process.pid)
            process.go_on()
            lines = process.rest()
            names = db.execute(
                "SELECT flow_name, s.name FROM flow_runs AS r JOIN states AS s ON run_id = r.id ORDER BY r.id, position"
            ).fetchall()
            tasks = db.execute(
                "SELECT flow_name FROM task_runs JOIN flow_runs AS f ON f.id = flow_run_id"
            ).fetchall()
            logs = db.execute("SELECT message FROM logs").fetchall()
            held = db.execute("SELECT count(*) FROM slots").fetchone()
            kept = db.execute("SELECT count(*) FROM results").fetchone()
    assert "ended by OwnershipLost" in lines
    assert "has slots" not in lines
    assert "lost 1" in lines
    assert "next 3" in lines
    errors = [line for line in lines if line.startswith("ERROR")]
    assert len(errors) == 1, lines
    assert "took it for dead" in errors[0]
    assert "on host there" in errors[0]
    assert names == [
        *(("stopped", name) for name in ("Pending", "Running", "Crashed")),
        *(("next-one", name) for name in ("Pending", "Running", "Completed")),
    ]
    assert tasks == [("stopped",), ("next-one",)]
    assert "late line" not in {message for (message,) in logs}
    assert held == (0,)
    assert kept == (1,)  # of the step before


def test_stopped_at_any_moment(folder: Path, dice: random.Random) -> None:
    """Wherever a process with threads and slots is stopped past its lease, it changes nothing when it is back."""
    left = max(2, EXAMPLES // 4)
    while left:
        try:
            before, after = stopped_and_taken_for_dead(folder, dice)
        except StoreUnavailable:
            continue  # it holds the database where it was stopped, so the round is played again
        assert after == before
        left -= 1


def test_a_process_that_works_on_keeps_its_lease(folder: Path) -> None:
    """A process with a run that goes on is alive for other hosts for as long as it takes."""
    with start("watching", folder, **HERE) as process:
        process.wait_for("begun")
        database = folder / "mainspring.db"
        with closing(open_store(f"sqlite:///{database}", host_id="there")) as store:
            ends: set[int] = set()

            def is_renewed() -> bool:
                assert store.settle_dead_owners() == []
                with closing(sqlite3.connect(database, timeout=30)) as db:
                    query = "SELECT lease_expires FROM owners WHERE host = 'here' AND ended IS NULL"
                    ends.update(end for (end,) in db.execute(query))
                return len(ends) >= 6  # which is more than one lease

            until(is_renewed, "the sixth renewal")
        process.go_on()
        process.rest()


def test_a_crashed_flow_is_resumable_at_once(folder: Path) -> None:
    """A flow run whose process was found dead by the reaper can be resumed right away, by its id."""
    with start("stopped", folder) as process:
        process.wait_for("begun")
        with (
            temporary_settings({"home": folder}),
            closing(open_store(f"sqlite:///{folder}/mainspring.db")) as store,
        ):
            until(lambda: bool(store.read_flow_runs(RunFilter(states=["RUNNING"]))), "the run")
            process.kill()
            assert "stopped" in run(folder, "-m", "mainspring", "runs", "reap")
            (found,) = store.read_flow_runs(RunFilter())
            assert found.state_name == "Crashed"
    script = (
        "import io, sys; sys.stdin = io.StringIO()\n"
        "from mainspring.resumption import resume_flow_run\n"
        f"print(resume_flow_run({str(found.id)!r}))"
    )
    assert run(folder, "-c", script).split()[-1] == "2"
