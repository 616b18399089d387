"""Tasks that need no commit of their own: what is noted instead, what is not, and what a death leaves of it."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mainspring import flow, points, task
from mainspring.cache_policies import INPUTS
from mainspring.client import get_client, open_client
from mainspring.exceptions import StoreUnavailable
from mainspring.filters import ALL
from mainspring.locking.memory import MemoryLockManager
from mainspring.recording import Recorder, current_recorder, use_recorder
from mainspring.settings import get_current_settings, reload_settings, temporary_settings
from mainspring.store import open_store
from mainspring.task_engine import run_task
from mainspring.transactions import IsolationLevel, transaction
from tests.engine.history import query, task_runs

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a journal from the first commit on."""
    monkeypatch.setenv("MAINSPRING_DURABILITY", "journal")
    reload_settings()
    monkeypatch.setattr(Recorder, "journals_after", 1)


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the thread of the test has passed each point."""
    counts: Counter[str] = Counter()

    def observer(name: str, _: object) -> None:
        if threading.current_thread() is threading.main_thread():
            counts[name] += 1

    monkeypatch.setattr(points, "observer", observer)
    return counts


def journals(home: Path) -> list[Path]:
    return list((home / "mainspring.db.owners").glob("*.journal"))


def states_on_disk(name: str) -> list[str]:
    """The states of the runs of a task as other connections see them at this moment."""
    return [row[0] for row in query("SELECT state_name FROM task_runs WHERE name LIKE ?", f"{name}%")]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


@task
def double(x: int) -> int:
    return 2 * x


@pytest.mark.parametrize("is_async", [False, True])
def test_short_tasks_make_no_commit(passed: Counter[str], is_async: bool) -> None:
    """From the second task on, a call notes its history and leaves the commit to the background."""

    @task
    async def adouble(x: int) -> int:
        return 2 * x

    async def main() -> list[int]:
        return [await adouble(x) for x in range(60)]

    double(0)
    passed.clear()
    found = asyncio.run(main()) if is_async else [double(x) for x in range(60)]
    assert found == [2 * x for x in range(60)]
    # On a busy machine the background thread may have seen some of them before their end.
    assert passed["journal.noted"] > 30
    assert passed["store.committed"] <= 60 - passed["journal.noted"]
    until(lambda: len(query("SELECT 1 FROM task_runs WHERE state_type = 'COMPLETED'")) == 61)


def test_a_client_of_this_process_sees_all(passed: Counter[str]) -> None:
    """What was noted is committed before anybody looks by a client."""
    for count in range(1, 30):
        double(count)
        assert len(task_runs()) == count


@pytest.mark.parametrize("durability", ["process", "disk", "relaxed"])
def test_other_levels_have_none(durability: str, mainspring_home: Path) -> None:
    """Only the level of that name has a journal."""
    with temporary_settings({"durability": durability}):
        for x in range(5):
            double(x)
        assert not journals(mainspring_home)


def test_few_tasks_make_no_files(monkeypatch: pytest.MonkeyPatch, mainspring_home: Path) -> None:
    """A program of a dozen tasks does not pay for the files."""
    monkeypatch.setattr(Recorder, "journals_after", 16)
    for x in range(12):
        double(x)
    assert not journals(mainspring_home)
    for x in range(12):
        double(x)
    assert journals(mainspring_home)


# What is committed all the same


def long() -> None:
    """One that others have seen."""

    @task(name="watched")
    def watched() -> None:
        until(lambda: states_on_disk("watched") == ["Running"])

    watched()


def given() -> None:
    """One whose id comes from outside, so that it may be there."""
    run_task(double.with_options(task_run_name="watched"), task_run_id=uuid4(), parameters={"x": 1})


def limited() -> None:
    """One that holds slots."""
    get_client().create_or_update_concurrency_limit("tag:scarce", 5)
    double.with_options(task_run_name="watched", tags=["scarce"])(1)


def locked() -> None:
    """One that holds a lock, which somebody waits for."""
    policy = INPUTS.configure(isolation_level=IsolationLevel.SERIALIZABLE, lock_manager=MemoryLockManager())
    double.with_options(task_run_name="watched", cache_policy=policy, persist_result=True)(1)


def staged() -> None:
    """One whose transaction goes on, in a flow that can be resumed."""

    @flow(persist_result=True)
    def around() -> None:
        with transaction():
            double.with_options(task_run_name="watched")(1)
            assert states_on_disk("watched") == ["Completed"]

    around()


def with_crash_hooks() -> None:
    """One whose hooks others call if this process dies."""
    double.with_options(task_run_name="watched", on_crashed=[print])(1)


@pytest.mark.parametrize("call", [long, given, limited, locked, staged, with_crash_hooks])
def test_what_others_have_to_do_with_is_committed(call: Callable[[], None]) -> None:
    """What others have seen, wait for, or would go on with is in the database when the call returns."""
    double(0)
    call()
    assert states_on_disk("watched") == ["Completed"]


def test_flow_runs_are_committed() -> None:
    """The end of a flow run is in the database when its call returns, with all of its tasks."""

    @flow
    def pipeline() -> None:
        for x in range(40):
            double(x)

    double(0)
    pipeline()
    assert query("SELECT state_name FROM flow_runs") == [("Completed",)]
    assert len(states_on_disk("double")) == 41


# Deaths


DIES = """
import os, sys, time
from mainspring import flow, points, task
from mainspring.recording import Recorder
Recorder.journals_after = 1

def observer(name, about):
    if name == "recorder.turn":
        time.sleep(1000)  # nothing is committed in the background

@task
def double(x):
    return 2 * x

@task(persist_result=True, result_storage_key="kept-{parameters[x]}")
def keep(x):
    return 3 * x

@flow
def pipeline():
    double(0)
    points.observer = observer
    for x in range(1, 200):
        keep(x) if x % 3 == 0 else double(x)
        os.write(1, b".")
    sys.stdin.read()

pipeline()
"""


def test_killed_with_a_full_journal(tmp_path: Path, mainspring_home: Path) -> None:
    """After a kill -9 every task whose call has returned is found Completed, with its result, in order."""
    program = tmp_path / "dies.py"
    program.write_text(textwrap.dedent(DIES))
    with subprocess.Popen(
        [sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)
    ) as dying:
        assert dying.stdout is not None
        assert len(dying.stdout.read(199)) == 199
        assert len(query("SELECT 1 FROM task_runs")) < 199
        dying.send_signal(signal.SIGKILL)
    with open_client() as client:
        runs = client.read_task_runs(limit=ALL)
        assert [run.state.name for run in runs] == ["Completed"] * 200
        assert len({run.id for run in runs}) == 200
        kept = [run for run in runs if run.name.startswith("keep")]
        assert sorted(run.state.result() for run in kept) == [3 * x for x in range(3, 200, 3)]
        (flow_run,) = client.read_flow_runs()
        assert flow_run.state.name == "Crashed"
    assert not journals(mainspring_home)


def test_another_process_waits_for_what_was_noted(tmp_path: Path) -> None:
    """Who opens a client elsewhere finds what calls had returned here, though it was not committed then."""
    double(0)
    script = """
from mainspring.client import open_client
from mainspring.filters import ALL
with open_client() as client:
    print(len(client.read_task_runs(limit=ALL)))
"""
    for x in range(1, 30):
        double(x)
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(found.stdout) == 30, found.stderr


# A disk that is full


@pytest.mark.invariants(is_over=False)
def test_nothing_is_noted_while_nothing_can_be_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a commit has failed, whoever waits learns of it; all is written when the disk has room again."""
    double(0)
    store: Any = current_recorder().store
    real = store.write
    is_full = True

    def write(*args: Any, **options: Any) -> Any:
        if is_full:
            raise StoreUnavailable("the disk is full")
        return real(*args, **options)

    monkeypatch.setattr(store, "write", write)
    double(1)
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        current_recorder().flush()
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        double(2)
    is_full = False
    double(3)
    assert len(states_on_disk("double")) == 4
    double(4)
    assert len(task_runs()) == 5


def test_a_store_that_cannot_be_closed_in_order(
    monkeypatch: pytest.MonkeyPatch, mainspring_home: Path
) -> None:
    """If the last commit fails, what was noted is found by the next who opens the store."""
    recorder = Recorder(open_store(get_current_settings().run_store_url, "journal"), "journal")
    with use_recorder(recorder):
        double(0)
        store: Any = recorder.store
        monkeypatch.setattr(store, "write", _refuse)
        double(1)
    with pytest.raises(StoreUnavailable):
        recorder.close()
    assert journals(mainspring_home)
    assert [run.state.name for run in get_client().read_task_runs()] == ["Completed"] * 2
    assert not journals(mainspring_home)


def _refuse(*_: object, **__: object) -> None:
    raise StoreUnavailable("the disk is full")
