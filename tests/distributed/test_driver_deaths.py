"""Programs that die while a cluster works for them, and clusters that die under a program."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest

from mainspring.settings import temporary_settings
from mainspring.store import open_store
from tests.deaths.processes import environment, run, until
from tests.distributed import programs
from tests.distributed.conftest import WITH_RAY
from tests.distributed.servers import OPEN, servers_of
from tests.durability.invariants import UNFINISHED, check_store
from tests.runners.remote import notes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PATIENCE = 60
SOON = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s", "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
"""How long a client looks for a cluster that is gone."""


class Driver:
    """A program that submits to a cluster, and all processes that it has started."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.started: list[psutil.Process] = []

    def look(self) -> None:
        """Note what it has started by now."""
        self.started += psutil.Process(self.process.pid).children(recursive=True)

    def left(self) -> list[psutil.Process]:
        """What is still running of that."""
        return [each for each in self.started if is_running(each)]

    def has_left(self) -> bool:
        """Whether something is still running, but for the agents of Ray, which may outlive all that they serve."""
        return any("Agent" not in each.name() for each in self.left())

    def end(self) -> str:
        """What it has said, when it has ended by itself."""
        out, _ = self.process.communicate(timeout=PATIENCE)
        return out


def is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@contextmanager
def driver(name: str, folder: Path, **variables: str) -> Iterator[Driver]:
    """A program, from which nothing is left after the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.distributed.programs", name],
        cwd=folder,
        env=environment(folder, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    started = Driver(process)
    with process:
        try:
            yield started
        finally:
            if process.poll() is None:
                started.look()
                process.kill()
            for each in started.left():
                each.kill()


def is_settled(folder: Path) -> bool:
    """Whether nothing goes on any more, as far as anybody can see who opens the store."""
    with (
        temporary_settings({"home": folder}),
        closing(open_store(f"sqlite:///{folder / 'mainspring.db'}")) as store,
    ):
        store.settle_dead_owners()
    names = ", ".join(f"'{name}'" for name in UNFINISHED)
    return all(
        not rows(folder, f"SELECT name FROM {kind}_runs WHERE state_type IN ({names})")
        for kind in ("flow", "task")
    )


def rows(folder: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "mainspring.db", timeout=30)) as db:
        return db.execute(query).fetchall()


def resume(folder: Path, kind: str) -> None:
    """Go on with the flow run on a cluster of its own; no step that was finished is made again."""
    (folder / "go").touch()
    ((key,),) = rows(folder, "SELECT id FROM flow_runs")
    said = run(folder, "-m", "tests.distributed.programs", "resume", str(UUID(bytes=key)), RUNNER=kind)
    assert f"value {programs.VALUE}" in said.splitlines()
    made = [line for line in notes(folder) if " " not in line]
    assert sorted(made) == sorted([*map(str, range(programs.STEPS)), "100"])
    check_store(folder / "mainspring.db")


def hold_on(folder: Path, started: Driver) -> int:
    """Wait for the step that does not end; the process that it is in."""
    until(
        lambda: bool((folder / "held").exists() or started.process.poll() is not None),
        "the long step",
        PATIENCE,
    )
    assert started.process.poll() is None, started.end()
    started.look()
    (holder,) = [int(line.split()[1]) for line in notes(folder) if line.startswith("hold-on")]
    return holder


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture(params=["dask", WITH_RAY])
def kind(request: pytest.FixtureRequest) -> str:
    """A kind of cluster."""
    pytest.importorskip({"dask": "distributed"}.get(request.param, request.param))
    return str(request.param)


@pytest.mark.parametrize("is_separate", [False, True], ids=["local", "separate"])
def test_a_driver_that_is_killed(kind: str, is_separate: bool, tmp_path: Path) -> None:
    """Workers stop what nobody waits for, nothing stays Running, and the flow goes on elsewhere where it stopped."""
    with servers_of(kind, tmp_path) if is_separate else nullcontext() as servers:
        address = {} if servers is None else {"ADDRESS": servers.address, **OPEN}
        with driver("pipeline", tmp_path, RUNNER=kind, **address) as started:
            holder = hold_on(tmp_path, started)
            started.process.kill()
            until(
                lambda: f"let-go {holder}" in notes(tmp_path) or is_gone(holder), "the end of the long step"
            )
            until(lambda: is_settled(tmp_path), "the end of all runs", PATIENCE)
            until(lambda: not started.has_left(), "the end of all processes")
        assert rows(tmp_path, "SELECT state_type FROM flow_runs") == [("CRASHED",)]
        resume(tmp_path, kind)


def test_a_cluster_that_is_killed(kind: str, tmp_path: Path) -> None:
    """The program ends in order and says that the cluster is gone; another cluster goes on where that stopped."""
    with servers_of(kind, tmp_path) as servers:
        with driver("pipeline", tmp_path, RUNNER=kind, ADDRESS=servers.address, **SOON, **OPEN) as started:
            hold_on(tmp_path, started)
            for child in psutil.Process(servers.first.pid).children(recursive=True):
                child.kill()
            servers.first.kill()
            said = started.end()
        if kind == "dask":  # Ray ends the program itself
            assert "scheduler" in said
        for worker in servers.others:
            worker.kill()
        until(lambda: is_settled(tmp_path), "the end of all runs", PATIENCE)
    resume(tmp_path, kind)


def test_a_flow_that_is_cancelled(kind: str, tmp_path: Path) -> None:
    """What goes on is stopped, nothing begins any more, and nobody is left."""
    with driver("pipeline", tmp_path, RUNNER=kind) as started:
        holder = hold_on(tmp_path, started)
        ((key,),) = rows(tmp_path, "SELECT id FROM flow_runs")
        run(tmp_path, "-m", "mainspring", "runs", "cancel", str(UUID(bytes=key)))
        started.end()
        assert f"let-go {holder}" in notes(tmp_path)
        until(lambda: not started.has_left(), "the end of all processes")
    states = rows(tmp_path, "SELECT state_type FROM flow_runs UNION ALL SELECT state_type FROM task_runs")
    assert states.count(("CANCELLED",)) == 2
    assert states.count(("COMPLETED",)) == programs.STEPS
    check_store(tmp_path / "mainspring.db")
    assert "100" not in notes(tmp_path)


def test_an_interrupt(kind: str, tmp_path: Path) -> None:
    """A first Ctrl-C has the program wait for what goes on, a second one ends that, and all that it has started."""
    with driver("pipeline", tmp_path, RUNNER=kind) as started:
        hold_on(tmp_path, started)
        os.kill(started.process.pid, signal.SIGINT)
        until(lambda: len(rows(tmp_path, "SELECT 1 FROM locks")) == 1, "the end of what may begin")
        os.kill(started.process.pid, signal.SIGINT)
        assert "ended by KeyboardInterrupt" in started.end()
        until(lambda: not started.has_left(), "the end of all processes")
    assert is_settled(tmp_path)
    check_store(tmp_path / "mainspring.db")


def test_an_exception_in_the_flow(kind: str, tmp_path: Path) -> None:
    """A runner that is left by an exception leaves no process behind."""
    with driver("failing", tmp_path, RUNNER=kind) as started:
        until(lambda: (tmp_path / "held").exists(), "the task")
        started.look()
        assert "ended by LookupError" in started.end()
        until(lambda: not started.has_left(), "the end of all processes")
    assert rows(tmp_path, "SELECT state_type FROM task_runs") == [("COMPLETED",)]
    check_store(tmp_path / "mainspring.db")
