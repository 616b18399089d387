"""The lock manager of the run store: its rows, holders that are dead, and waiting over processes."""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring import flow, task
from mainspring.cache_policies import INPUTS
from mainspring.clock import use_clock
from mainspring.exceptions import ConfigurationError, LockNotHeld, StoreUnavailable
from mainspring.recording import close_recorders, current_recorder
from mainspring.store import open_store
from mainspring.store.sqlite import SQLiteRunStore
from mainspring.store_locks import StoreLockManager, _waiters
from tests.engine.clocks import START, JumpingClock
from tests.engine.history import query


@pytest.mark.contract("TX-49")
def test_a_lock_is_a_row() -> None:
    """It says who holds the key, since when, until when, and in which process; after the release it is gone."""
    manager = StoreLockManager()
    with use_clock(JumpingClock()):
        manager.acquire_lock("k", "me", hold_timeout=5)
    columns = "l.key, holder, acquired, expires, pid"
    rows = f"SELECT {columns} FROM locks AS l JOIN owners ON owners.id = owner_id"
    assert query(rows) == [("k", "me", START, START + 5_000_000, os.getpid())]
    with use_clock(JumpingClock()):
        manager.release_lock("k", "me")
    assert query("SELECT count(*) FROM locks") == [(0,)]


@pytest.mark.contract("TX-52")
@pytest.mark.parametrize("key", ["", "a/b", "\x00", "a\x00b", "é" * 300, "\udc80"])
def test_odd_keys_and_holders(key: str) -> None:
    """They are locked like others, and not together with their neighbours."""
    manager = StoreLockManager()
    assert manager.acquire_lock(key, key, acquire_timeout=0)
    assert not manager.acquire_lock(key, "b", acquire_timeout=0)
    assert manager.acquire_lock(f"{key}.2", "b", acquire_timeout=0)
    assert manager.is_lock_holder(key, key)
    manager.release_lock(key, key)
    assert not manager.is_locked(key)


@pytest.mark.contract("TX-52", "TX-54", "TX-55")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["acquire", "release", "later"]),
            st.sampled_from("ab"),
            st.sampled_from([None, 2, 5]),
        ),
        max_size=12,
    )
)
def test_one_holder_whatever_is_done(steps: list[tuple[str, str, int | None]]) -> None:
    """Who holds the lock is what a model of it says, after any steps of two holders."""
    manager = StoreLockManager()
    clock = JumpingClock()
    key = str(uuid4())  # each example begins at the same time
    held: tuple[str, float] | None = None
    with use_clock(clock):
        for step, holder, seconds in steps:
            now = clock.monotonic()
            if held is not None and held[1] <= now:
                held = None
            if step == "later":
                clock.advance(seconds or 1)
            elif step == "acquire":
                free = held is None or held[0] == holder
                assert manager.acquire_lock(key, holder, 0, seconds) is free
                if free:
                    held = holder, now + seconds if seconds else float("inf")
            elif held is not None and held[0] == holder:
                manager.release_lock(key, holder)
                held = None
            else:
                with pytest.raises(LockNotHeld):
                    manager.release_lock(key, holder)
        now = clock.monotonic()
        for holder in "ab":
            holds = held is not None and held[0] == holder and held[1] > now
            assert manager.is_lock_holder(key, holder) is holds


def test_managers_of_a_store_are_equal(tmp_path: Path) -> None:
    """Policies with such managers are equal, too, and can be added."""
    assert StoreLockManager() == StoreLockManager()
    store = open_store(tmp_path / "other.db")
    try:
        own = StoreLockManager(store)
        assert own == StoreLockManager(store) != StoreLockManager()
        assert hash(own) == hash(StoreLockManager(store))
        assert "other.db" in repr(own)
        assert own.acquire_lock("k", "a", acquire_timeout=0)
        assert not StoreLockManager().is_locked("k")
    finally:
        store.close()


@pytest.mark.contract("TX-59")
def test_pickling_takes_no_locks_along(tmp_path: Path) -> None:
    """What comes back uses the run store of its process; a manager of a given store is refused."""
    manager = StoreLockManager()
    manager.acquire_lock("k", "a")
    assert pickle.loads(pickle.dumps(manager)).is_lock_holder("k", "a")
    with pytest.raises(ConfigurationError, match="StoreLockManager\\(\\)"):
        pickle.dumps(StoreLockManager(current_recorder().store))


def test_closing_the_store_frees_the_locks() -> None:
    """They are held by a process, as far as it uses the store."""
    manager = StoreLockManager()
    manager.acquire_lock("k", "a")
    close_recorders()
    assert manager.acquire_lock("k", "b", acquire_timeout=0)


def test_nobody_is_left_waiting() -> None:
    """Who has waited, with or without success, is not woken any more."""
    manager = StoreLockManager()
    manager.acquire_lock("k", "a")
    assert not manager.acquire_lock("k", "b", acquire_timeout=0.001)
    assert not asyncio.run(manager.await_for_lock("k", timeout=0.001))
    assert _waiters[manager.store] == {}


# Other processes

HOLD = """
import sys
from mainspring.store_locks import StoreLockManager
print(StoreLockManager().acquire_lock("k", "child"), flush=True)
if sys.stdin.readline():
    StoreLockManager().release_lock("k", "child")
    print("released", flush=True)
sys.stdin.readline()
"""


@contextmanager
def holder() -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock on "k" until it gets a line or is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.contract("TX-69")
def test_a_dead_holder_is_found() -> None:
    """While its process lives, a lock is held; when it is killed, the lock is free at once."""
    manager = StoreLockManager()
    with holder() as process:
        assert manager.is_lock_holder("k", "child")
        assert manager.acquire_lock("k", "me", acquire_timeout=0) is False
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not manager.is_locked("k")
        assert manager.acquire_lock("k", "me", acquire_timeout=0) is True


@pytest.mark.contract("TX-69", "TX-53")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_who_waits_finds_the_holder_dead(asynchronous: bool) -> None:
    """The wait needs no limit to come to an end."""
    manager = StoreLockManager()
    with holder() as process:
        timer = threading.Timer(0.05, process.kill)
        timer.start()
        if asynchronous:
            assert asyncio.run(manager.aacquire_lock("k", "me"))
        else:
            assert manager.acquire_lock("k", "me")
        timer.join()
    assert manager.is_lock_holder("k", "me")


@pytest.mark.contract("TX-53")
def test_a_release_elsewhere_ends_the_wait() -> None:
    """Releases of other processes are looked for."""
    manager = StoreLockManager()
    with holder() as process:
        assert process.stdin is not None
        process.stdin.write("now\n")
        process.stdin.flush()
        assert manager.acquire_lock("k", "me", acquire_timeout=60)


FORK = """
import os, signal
from mainspring.store_locks import StoreLockManager

manager = StoreLockManager()
assert manager.acquire_lock("k", "parent")
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    refused = not manager.acquire_lock("k", "child", acquire_timeout=0)
    other = manager.acquire_lock("other", "child", acquire_timeout=0)
    os._exit(0 if refused and other else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert manager.is_lock_holder("k", "parent")
assert not manager.is_locked("other")
print("fine")
"""


def test_a_forked_child_holds_locks_of_its_own() -> None:
    """Its parent's lock is not its own, and what it held is free after it."""
    python = [
        sys.executable,
        "-W",
        "ignore::DeprecationWarning",
    ]  # of Python 3.12 and later: there are threads
    done = subprocess.run([*python, "-c", FORK], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("fine\n", "")


# Contention

CONTEND = """
import sys
from pathlib import Path
from mainspring.store_locks import StoreLockManager

folder, name, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
manager = StoreLockManager()
count = folder / "count"
occupied = folder / "occupied"
for turn in range(rounds):
    assert manager.acquire_lock("k", name, hold_timeout=None if turn % 2 else 60)
    occupied.touch(exist_ok=False)
    count.write_text(str(int(count.read_text()) + 1))
    occupied.unlink()
    manager.release_lock("k", name)
"""


@pytest.mark.slow
@pytest.mark.contract("TX-52")
def test_processes_take_turns(tmp_path: Path) -> None:
    """However many want a key, there is one holder at a time, and everybody gets it in the end."""
    (tmp_path / "count").write_text("0")
    processes = [
        subprocess.Popen([sys.executable, "-c", CONTEND, str(tmp_path), f"process {number}", "30"])
        for number in range(4)
    ]
    assert [process.wait(100) for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "120"


@pytest.mark.contract("TX-52", "TX-67")
def test_threads_take_turns() -> None:
    """Also with holders that never release but run out."""
    inside: list[str] = []
    most = 0
    rounds: list[int] = []

    def thread(name: str) -> None:
        nonlocal most
        manager = StoreLockManager()
        for turn in range(20):
            assert manager.acquire_lock("k", name)
            inside.append(name)
            most = max(most, len(inside))
            inside.remove(name)
            rounds.append(turn)
            if turn % 5:
                manager.release_lock("k", name)
            else:
                manager.acquire_lock("k", name, hold_timeout=0.002)

    threads = [threading.Thread(target=thread, args=(f"thread {n}",)) for n in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert most == 1
    assert len(rounds) == 80


@pytest.mark.contract("K-21", "TX-64")
def test_a_serializable_policy_computes_once() -> None:
    """Of runs that begin together one calls the function, and the others use its result."""
    calls = []

    @task(cache_policy=INPUTS.configure(isolation_level="SERIALIZABLE", lock_manager=StoreLockManager()))
    def train(size: int) -> int:
        calls.append(size)
        return size

    @flow
    def models() -> list[int]:
        return train.map([4] * 6).result()

    assert models() == [4] * 6
    assert calls == [4]
    assert query("SELECT count(*) FROM locks") == [(0,)]


class FullDisk(SQLiteRunStore):
    """A store on a disk that is full for so many releases."""

    releases = 0

    def release_lock(self, key: str, holder: str, now: int) -> bool:
        if self.releases:
            self.releases -= 1
            raise StoreUnavailable("the disk is full")
        return super().release_lock(key, holder, now)


@pytest.mark.parametrize("times", [1, 2])
def test_a_lock_that_could_not_be_released(tmp_path: Path, times: int) -> None:
    """Whoever waits for it in the process gets it once the store can be written, and nobody who holds it loses it."""
    store = FullDisk(tmp_path / "runs.db")
    manager = StoreLockManager(store)
    manager.acquire_lock("k", "me")
    store.releases = times
    with pytest.raises(StoreUnavailable):
        manager.release_lock("k", "me")
    assert manager.acquire_lock("k", "you", acquire_timeout=30)
    assert not manager.acquire_lock("k", "me", acquire_timeout=0)
    manager.release_lock("k", "you")
    store.releases = 1
    manager.acquire_lock("k", "me")
    with pytest.raises(StoreUnavailable):
        manager.release_lock("k", "me")
    assert manager.acquire_lock("k", "me")
    assert not manager.acquire_lock("k", "you", acquire_timeout=0)
    store.close()
