"""Lock managers of both kinds, and keys that nobody else uses."""

from pathlib import Path
from uuid import uuid4

import pytest

from mainspring import store_locks
from mainspring.locking import memory
from mainspring.locking.filesystem import FileSystemLockManager
from mainspring.locking.memory import MemoryLockManager
from mainspring.locking.protocol import LockManager
from mainspring.store_locks import StoreLockManager


@pytest.fixture(autouse=True)
def no_second_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for its own process and is not woken waits for ever, instead of looking again now and then."""
    monkeypatch.setattr(memory, "_LONGEST_PAUSE", 1000)
    monkeypatch.setattr(store_locks, "_LONGEST_PAUSE_AT_HOME", 1000)


@pytest.fixture(params=["memory", "filesystem", "store"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> LockManager:
    if request.param == "store":
        return StoreLockManager()
    return MemoryLockManager() if request.param == "memory" else FileSystemLockManager(tmp_path / "locks")


@pytest.fixture
def key() -> str:
    """The manager in memory is one for all tests, so each takes a key of its own."""
    return f"key-{uuid4()}"
