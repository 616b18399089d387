"""The thread that looks after a process: when it is there, and what it does."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mainspring import flow, get_client, supervision, task
from mainspring.clock import use_clock
from mainspring.concurrency.sync import concurrency
from mainspring.exceptions import ConfigurationError, OwnershipLost, StoreUnavailable
from mainspring.recording import Recorder, current_recorder, use_recorder
from mainspring.settings import get_settings_from_env, temporary_settings
from mainspring.store import RunFilter, RunStore
from mainspring.store.sqlite import SQLiteRunStore
from mainspring.supervision import SETTLE_AFTER, Supervisor, on_beats
from tests.deaths.processes import run, until
from tests.engine.clocks import JumpingClock
from tests.store.histories import RUNNING, advance, new_task_run, record

LEASE = 30.0
_EVERYTHING = RunFilter()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteRunStore]:
    store = SQLiteRunStore(tmp_path / "runs.db", host_id="here", lease_seconds=LEASE)
    yield store
    store.close()


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "mainspring-supervisor"]


# When it is there


def test_short_runs_need_nobody() -> None:
    """Runs that are over before anybody could see them start no thread."""

    @task
    def nothing() -> None: ...

    @flow
    def quick() -> None:
        for _ in range(3):
            nothing()

    quick()
    assert threads() == []


def test_a_run_that_is_seen_is_looked_after() -> None:
    """The thread is there once a run is visible that goes on, and ends when nothing goes on any more."""
    found: list[bool] = []

    @flow
    def slow() -> None:
        until(lambda: current_recorder().supervisor.is_attending, "the start of the thread")
        found.append(True)

    slow()
    assert found == [True]
    until(lambda: not threads(), "the end of the thread")
    slow()
    assert found == [True, True]


def test_slots_are_looked_after() -> None:
    """Slots that are held outside of runs are a reason to be there, too, as long as they are held."""
    get_client().create_or_update_concurrency_limit("db", 1)
    with concurrency("db"):
        assert current_recorder().supervisor.is_attending
    until(lambda: not threads(), "the end of the thread")


def test_runs_that_never_begin_are_not_waited_for() -> None:
    """A run whose inputs failed stays NotReady for ever, and nobody looks after it."""

    @task
    def bad() -> None:
        raise ValueError

    @task
    def after(_: object) -> None: ...

    @flow
    def some() -> None:
        future = bad.submit()
        after.submit(future).wait()

    some(return_state=True)
    current_recorder().flush()
    until(lambda: not threads(), "the end of the thread")


def test_the_process_may_end(tmp_path: Path) -> None:
    """The thread does not keep a process alive, not even one that leaves a run behind."""
    script = """
import os, time
from mainspring.recording import current_recorder
from tests.store.histories import *
run = new_task_run()
for state in advance(run, RUNNING).states:
    current_recorder().enter(run, state, wait=False)
while not current_recorder().supervisor.is_attending:
    time.sleep(0.01)
print("end")
"""
    assert run(tmp_path, "-c", script) == "end\n"


def test_a_forked_child_has_its_own(tmp_path: Path) -> None:
    """A forked child starts a thread of its own for its own runs."""
    script = """
import os, time
from mainspring import flow
from mainspring.recording import current_recorder
@flow
def slow():
    while not current_recorder().supervisor.is_attending:
        time.sleep(0.01)
@flow
def around():
    slow()
    if not (pid := os.fork()):
        slow()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
around()
print("end")
"""
    assert run(tmp_path, "-W", "ignore", "-c", script).endswith("end\n")


# What it does


def test_the_lease_is_renewed_each_third(tmp_path: Path) -> None:
    """With the first beat and after each third of the lease it is renewed, and not in between."""
    time = JumpingClock()
    with use_clock(time), closing(SQLiteRunStore(tmp_path / "runs.db", lease_seconds=LEASE)) as store:
        record(store, advance(new_task_run(), RUNNING))
        renewed: list[float] = []
        original = store.renew_lease

        def renew() -> bool:
            renewed.append(time.monotonic())
            return original()

        store.renew_lease = renew  # type: ignore[method-assign]
        supervisor = Supervisor(store, lambda: True, lambda: None)
        began = time.monotonic()
        for _ in range(60):
            supervisor.beat()
            time.advance(0.5)
    assert [at - began for at in renewed] == [0, 10, 20]


def test_trouble_is_told_once(
    store: RunStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong in a beat is one line, and the next beats go on trying."""
    tries: list[int] = []
    done = threading.Event()

    def look(_: RunStore) -> None:
        tries.append(1)
        if len(tries) < 4:
            raise StoreUnavailable("the disk is full")
        done.set()

    supervisor = Supervisor(store, lambda: True, lambda: None)
    monkeypatch.setattr(supervision, "_looks", [])
    on_beats(look)
    supervisor.attend()
    assert done.wait(30)
    supervisor.close()
    assert [each.getMessage() for each in caplog.records if "the disk is full" in each.getMessage()] == [
        "Runs cannot be supervised now; this will be tried again: the disk is full"
    ]


def test_the_dead_are_buried(store: RunStore, tmp_path: Path) -> None:
    """Whoever has registered for it is called, in another thread, after dead processes were found."""
    leaving = SQLiteRunStore(tmp_path / "runs.db", host_id="here")
    record(leaving, advance(new_task_run(), RUNNING))
    leaving.close()
    buried = threading.Event()
    supervisor = Supervisor(store, lambda: True, buried.set)
    supervisor.beat()
    assert buried.wait(30)
    supervisor.close()
    assert SETTLE_AFTER <= 0.5  # with the beat, a death is noticed within a second


# Losing the ownership, as engines see it


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[tuple[Recorder, JumpingClock, SQLiteRunStore]]:
    """A recorder, its clock, and a store on another host."""
    time = JumpingClock()
    with use_clock(time):
        recorder = Recorder(SQLiteRunStore(tmp_path / "runs.db", host_id="here", lease_seconds=LEASE))
        with closing(SQLiteRunStore(tmp_path / "runs.db", host_id="there")) as there, use_recorder(recorder):
            yield recorder, time, there
        recorder.close()


def test_a_lost_flow_ends_in_order(
    lost: tuple[Recorder, JumpingClock, SQLiteRunStore], caplog: pytest.LogCaptureFixture
) -> None:
    """The next state of anything in a lost flow raises; listeners are told; one line at ERROR; then new runs work."""
    recorder, time, there = lost
    heard: list[str] = []
    called: list[str] = []
    recorder.on_ownership_lost(lambda runs: heard.extend(each.name for each in runs))

    def hook(*_: object) -> None:
        called.append("hook")

    @task(on_failure=[hook], on_completion=[hook], on_crashed=[hook])
    def step(number: int) -> int:
        return number

    @flow(flow_run_name="lost-flow", on_failure=[hook], on_completion=[hook], on_crashed=[hook], retries=2)
    def work() -> int:
        step(1)
        recorder.flush()
        time.advance(LEASE)
        assert [run.name for run in there.settle_dead_owners()] == ["lost-flow"]
        time.advance(1)
        called.clear()
        return step(2)

    @flow
    def other() -> int:
        return step(3)

    caplog.set_level(logging.ERROR)
    with pytest.raises(OwnershipLost, match="on host there took it for dead"):
        work()
    assert heard == ["lost-flow"]
    assert called == []
    assert len([each for each in caplog.records if each.levelno >= logging.ERROR]) == 1
    assert other() == 3
    states = [(run.name, run.state_name) for run in there.read_flow_runs(_EVERYTHING)]
    assert ("lost-flow", "Crashed") in states
    assert len(there.read_task_runs(_EVERYTHING)) == 2


def test_a_result_that_comes_too_late(lost: tuple[Recorder, JumpingClock, SQLiteRunStore]) -> None:
    """A task that has finished after the loss does not give its value to anybody, and its result is not kept."""
    recorder, time, there = lost

    @task(persist_result=True, result_storage_key="late")
    def late() -> int:
        recorder.flush()
        time.advance(LEASE)
        there.settle_dead_owners()
        time.advance(1)
        return 1

    with pytest.raises(OwnershipLost):
        late()
    assert there.read_result("late") is None
    assert [run.state_name for run in there.read_task_runs(_EVERYTHING)] == ["Crashed"]


# Settings


@pytest.mark.parametrize("value", ["0", "-1", "0.5", "nan", "inf", "soon", "", "2e9"])
def test_leases_that_cannot_be(value: str) -> None:
    """A lease is a number of seconds, at least one; anything else is refused by name."""
    with pytest.raises(ConfigurationError, match=r"lease_seconds|LEASE_SECONDS"):
        get_settings_from_env({"MAINSPRING_LEASE_SECONDS": value})


@pytest.mark.parametrize("value", ["", "  "])
def test_hosts_without_a_name(value: str) -> None:
    """An empty host id is refused, as it would be the same everywhere."""
    with pytest.raises(ConfigurationError, match="host_id must not be empty"):
        get_settings_from_env({"MAINSPRING_HOST_ID": value})


@pytest.mark.invariants(is_over=False)
def test_settings_reach_the_store() -> None:
    """The settings say which host this is and how long its lease is; by default its name, and 30 seconds."""
    settings = get_settings_from_env({})
    assert (settings.host_id, settings.lease_seconds) == (None, 30.0)
    with temporary_settings({"host_id": "other", "lease_seconds": 5}):
        recorder = current_recorder()
        assert recorder.store.lease_seconds == 5
        run = new_task_run()
        for state in advance(run, RUNNING).states:
            recorder.enter(run, state, wait=False)
        recorder.flush()
        with closing(SQLiteRunStore(recorder.store.url.removeprefix("sqlite:///"))) as here:
            assert here.settle_dead_owners() == []
    assert current_recorder() is not recorder
    assert os.uname().nodename != "other"
