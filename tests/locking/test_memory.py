"""The lock manager of one process."""

import asyncio
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mainspring.locking.memory import MemoryLockManager


@pytest.mark.contract("TX-50", "TX-73", "TX-68")
def test_there_is_one_in_a_process(key: str) -> None:
    """Constructing it again gives the same one, with the locks that it has."""
    manager = MemoryLockManager()
    manager.acquire_lock(key, "a")
    assert MemoryLockManager() is manager
    assert MemoryLockManager().is_lock_holder(key, "a")
    manager.release_lock(key, "a")


@pytest.mark.contract("TX-59")
def test_pickling_takes_no_locks_along(key: str) -> None:
    """It warns if there are any, and what comes back is the live manager."""
    manager = MemoryLockManager()
    manager.acquire_lock(key, "a")
    with pytest.warns(UserWarning, match=key):
        data = pickle.dumps(manager)
    assert key.encode() not in data
    assert pickle.loads(data) is manager
    assert manager.is_lock_holder(key, "a")
    manager.release_lock(key, "a")


@pytest.mark.contract("TX-59")
def test_pickling_without_locks_is_silent() -> None:
    """Sending a task to another process is no reason for a warning."""
    assert pickle.loads(pickle.dumps(MemoryLockManager())) is MemoryLockManager()


FORK = """
import os, signal, sys, threading
from mainspring.locking.memory import MemoryLockManager

manager = MemoryLockManager()
manager.acquire_lock("k", "parent")
busy = True

def churn():  # so that the mutex is taken most of the time
    while busy:
        manager.acquire_lock("other", "churn")
        manager.release_lock("other", "churn")

def wait():
    manager.acquire_lock("k", "waiter")

threads = [threading.Thread(target=churn), threading.Thread(target=wait, daemon=True)]
for thread in threads:
    thread.start()
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        seen = manager.is_lock_holder("k", "parent")
        refused = not manager.acquire_lock("k", "child", acquire_timeout=0)
        manager.release_lock("k", "parent")
        mine = manager.acquire_lock("k", "child", acquire_timeout=0)
        os._exit(0 if seen and refused and mine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert manager.is_lock_holder("k", "parent")
busy = False
threads[0].join()
manager.release_lock("k", "parent")
threads[1].join(20)
assert manager.is_lock_holder("k", "waiter")
print("fine")
"""


@pytest.mark.slow
@pytest.mark.contract("TX-59")
def test_a_forked_child_begins_with_the_locks_of_its_parent(tmp_path: Path) -> None:
    """It goes its own way from there, also if other threads of the parent were at work on the locks."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, timeout=100
    )
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.contract("TX-74")
def test_threads_and_tasks_share_a_key(key: str) -> None:
    """Whoever comes first, at no moment is there more than one holder, and nobody is left waiting."""
    manager = MemoryLockManager()
    inside: list[str] = []
    most = 0
    rounds: list[int] = []

    def enter(name: str) -> None:
        nonlocal most
        inside.append(name)
        most = max(most, len(inside))

    def thread(name: str) -> None:
        for turn in range(30):
            assert manager.acquire_lock(key, name, hold_timeout=None if turn % 2 else 60)
            enter(name)
            time.sleep(0)
            inside.remove(name)
            rounds.append(turn)
            manager.release_lock(key, name)

    async def task(name: str) -> None:
        for turn in range(30):
            assert await manager.aacquire_lock(key, name)
            enter(name)
            await asyncio.sleep(0)
            inside.remove(name)
            rounds.append(turn)
            manager.release_lock(key, name)

    async def loop() -> None:
        await asyncio.gather(*(task(f"task {n}") for n in range(4)))

    threads = [threading.Thread(target=thread, args=(f"thread {n}",)) for n in range(4)]
    for each in threads:
        each.start()
    asyncio.run(loop())
    for each in threads:
        each.join()
    assert most == 1
    assert len(rounds) == 240
    assert not manager.is_locked(key)
    assert key not in manager._locks


def test_waiters_that_give_up_are_forgotten(key: str) -> None:
    """A key that many have given up on does not remember them."""
    manager = MemoryLockManager()
    manager.acquire_lock(key, "a")
    for _ in range(3):
        assert not manager.acquire_lock(key, "b", acquire_timeout=0.001)
    assert not manager._locks[key].waiters
    manager.release_lock(key, "a")
