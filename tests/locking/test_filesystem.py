"""The lock manager of a folder: its files, its keys, and holders that are dead."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.clock import to_datetime, use_clock
from mainspring.exceptions import ConfigurationError
from mainspring.locking.filesystem import FileSystemLockManager
from tests.engine.clocks import START, JumpingClock


def content(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


@pytest.mark.contract("TX-51", "TX-75")
def test_a_lock_file_says_who_holds_it(tmp_path: Path) -> None:
    """It is JSON with holder, expiration, process and host, and gone after the release."""
    manager = FileSystemLockManager(tmp_path)
    with use_clock(JumpingClock()):
        manager.acquire_lock("k", "me", hold_timeout=5)
    lock = content(tmp_path / "k.lock")
    assert lock["holder"] == "me"
    assert datetime.fromisoformat(lock["expiration"]) == to_datetime(START + 5_000_000)
    assert lock["process"]["pid"] == os.getpid()
    assert lock["process"]["host"] == os.uname().nodename
    manager.acquire_lock("k", "me")
    assert content(tmp_path / "k.lock")["expiration"] is None
    manager.release_lock("k", "me")
    assert not (tmp_path / "k.lock").exists()


@pytest.mark.contract("TX-51")
def test_the_folder_is_made_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Constructing a manager and looking at keys make nothing; ``~`` is the home of the user."""
    monkeypatch.setenv("HOME", str(tmp_path))
    manager = FileSystemLockManager(Path("~/deep/locks"))
    assert not manager.is_locked("k")
    assert manager.wait_for_lock("k")
    assert not (tmp_path / "deep").exists()
    assert manager.acquire_lock("k", "me")
    assert (tmp_path / "deep" / "locks" / "k.lock").exists()


@settings(max_examples=200)
@given(keys=st.lists(st.text(max_size=400), min_size=2, max_size=2, unique=True))
def test_every_key_has_a_file_of_its_own(keys: list[str]) -> None:
    """Whatever is in two keys, their files differ, stay in the folder and have names that can be had."""
    manager = FileSystemLockManager("/locks")
    first, second = (manager._path(key) for key in keys)
    assert first != second
    for path in (first, second):
        assert path.parent == Path("/locks")
        assert len(os.fsencode(path.name)) < 250


@pytest.mark.contract("TX-75")
@pytest.mark.parametrize("key", ["a.1", "../x", "a/b", "", ".", ".guard", "é" * 300, "a\x00b", "\udc80"])
def test_odd_keys(tmp_path: Path, key: str) -> None:
    """They are locked like others, inside of the folder, and not together with their neighbours."""
    manager = FileSystemLockManager(tmp_path / "locks")
    assert manager.acquire_lock(key, "a", acquire_timeout=0)
    assert not manager.acquire_lock(key, "b", acquire_timeout=0)
    assert manager.acquire_lock("a.2", "b", acquire_timeout=0)
    assert [path.name for path in tmp_path.iterdir() if path.name != "mainspring-home"] == ["locks"]
    manager.release_lock(key, "a")
    assert not manager.is_locked(key)


@pytest.mark.contract("TX-75", "TX-53")
def test_a_limit_of_zero_is_one_attempt(tmp_path: Path) -> None:
    """It does not sleep at all."""
    clock = JumpingClock()
    manager = FileSystemLockManager(tmp_path)
    with use_clock(clock):
        manager.acquire_lock("k", "a")
        assert manager.acquire_lock("k", "b", acquire_timeout=0) is False
    assert clock.slept == []


def test_pauses_grow_and_end_with_the_limit(tmp_path: Path) -> None:
    """A wait asks often at first and seldom later, and is over when its time is."""
    clock = JumpingClock()
    manager = FileSystemLockManager(tmp_path)
    with use_clock(clock):
        manager.acquire_lock("k", "a")
        assert manager.acquire_lock("k", "b", acquire_timeout=1) is False
        assert asyncio.run(manager.aacquire_lock("k", "b", acquire_timeout=1)) is False
    assert sum(clock.slept) == pytest.approx(2, abs=1e-3)
    assert clock.slept[:2] == pytest.approx([0.001, 0.0015])
    assert max(clock.slept) == 0.05
    assert len(clock.slept) < 100


def test_a_busy_guard_does_not_block_the_loop(tmp_path: Path) -> None:
    """While somebody else decides about locks, an async attempt sleeps, also one without a limit to wait."""
    clock = JumpingClock()
    manager = FileSystemLockManager(tmp_path)
    slept: list[float] = []

    class Clock(JumpingClock):
        async def asleep(self, seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 3:
                guard.__exit__(None, None, None)
            await asyncio.sleep(0)

    guard = manager._guard(True)
    assert guard.__enter__() is True
    clock = Clock()
    with use_clock(clock):
        assert asyncio.run(manager.aacquire_lock("k", "a", acquire_timeout=0)) is True
    assert len(slept) == 3


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    """What cannot be understood is not taken for a free lock; an empty file comes from a power cut and is."""
    manager = FileSystemLockManager(tmp_path)
    (tmp_path / "k.lock").write_text('{"who": "knows"}')
    with pytest.raises(ConfigurationError, match="is no lock file of this version"):
        manager.acquire_lock("k", "a")
    (tmp_path / "k.lock").write_text("")
    assert manager.acquire_lock("k", "a", acquire_timeout=0)


# Holders in other processes

HOLD = """
import sys
from mainspring.locking.filesystem import FileSystemLockManager
print(FileSystemLockManager(sys.argv[1]).acquire_lock("k", "child"), flush=True)
sys.stdin.readline()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock on "k" until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        try:
            yield process
        finally:
            process.kill()


def change(path: Path, **changes: object) -> None:
    """Change what a lock file says about the process that holds it."""
    lock = content(path)
    lock["process"] |= changes
    path.write_text(json.dumps(lock))


@pytest.mark.contract("TX-51", "TX-75", "TX-69")
def test_a_dead_holder_is_found(tmp_path: Path) -> None:
    """While its process lives, a lock is held; when it is killed, the lock is free, reaped or not."""
    manager = FileSystemLockManager(tmp_path)
    with holder(tmp_path) as process:
        assert manager.is_lock_holder("k", "child")
        assert manager.acquire_lock("k", "me", acquire_timeout=0) is False
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
        assert manager.acquire_lock("k", "me", acquire_timeout=0) is True
        process.wait()
    assert manager.is_lock_holder("k", "me")
    manager.release_lock("k", "me")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system tells no start times")
def test_a_process_is_not_taken_for_one_before_it(tmp_path: Path) -> None:
    """A living process with the same number, but another start, does not hold the lock."""
    manager = FileSystemLockManager(tmp_path)
    with holder(tmp_path):
        change(tmp_path / "k.lock", started="1")
        assert not manager.is_locked("k")


def test_a_process_that_cannot_be_seen_counts_as_alive(tmp_path: Path) -> None:
    """On another host, or in another container, a holder may well live; one from before a restart does not."""
    manager = FileSystemLockManager(tmp_path)
    path = tmp_path / "k.lock"
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
        assert not manager.is_locked("k")
        change(path, namespace="another")
        assert manager.is_locked("k")
        change(path, boot="another")
        assert not manager.is_locked("k")
        change(path, host="another")
        assert manager.is_locked("k")


# Contention

CONTEND = """
import sys, time
from pathlib import Path
from mainspring.locking.filesystem import FileSystemLockManager

folder, name, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
manager = FileSystemLockManager(folder / "locks")
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
@pytest.mark.contract("TX-51", "TX-75")
def test_processes_take_turns(tmp_path: Path) -> None:
    """However many want a key, there is one holder at a time, and everybody gets it in the end."""
    (tmp_path / "count").write_text("0")
    processes = [
        subprocess.Popen([sys.executable, "-c", CONTEND, str(tmp_path), f"process {number}", "60"])
        for number in range(4)
    ]
    assert [process.wait(100) for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "240"


@pytest.mark.contract("TX-75", "TX-67")
def test_threads_take_turns(tmp_path: Path) -> None:
    """Also with managers of their own, and with holders that never release but run out."""
    inside: list[str] = []
    most = 0
    rounds: list[int] = []

    def thread(name: str) -> None:
        nonlocal most
        manager = FileSystemLockManager(tmp_path)
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
