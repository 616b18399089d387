"""What every lock manager does, in the calling thread and awaited."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mainspring.clock import use_clock
from mainspring.exceptions import LockError, LockNotHeld
from mainspring.locking.protocol import LockManager
from tests.engine.clocks import JumpingClock

Act = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def acquire(request: pytest.FixtureRequest, manager: LockManager) -> Act:
    """`acquire_lock` of the manager, or its twin run to its end."""
    if request.param == "sync":
        return manager.acquire_lock
    return lambda *args, **options: asyncio.run(manager.aacquire_lock(*args, **options))


@pytest.fixture(params=["sync", "async"])
def wait(request: pytest.FixtureRequest, manager: LockManager) -> Act:
    """`wait_for_lock` of the manager, or its twin run to its end."""
    if request.param == "sync":
        return manager.wait_for_lock
    return lambda *args, **options: asyncio.run(manager.await_for_lock(*args, **options))


class Waiting:
    """A call in a thread of its own that is expected to wait."""

    def __init__(self, function: Act, *args: Any, **options: Any) -> None:
        self.answers: list[Any] = []
        self.thread = threading.Thread(target=lambda: self.answers.append(function(*args, **options)))
        self.thread.start()

    def still(self) -> bool:
        """Whether it is waiting still, after a moment."""
        self.thread.join(0.05)
        return self.thread.is_alive()

    def answer(self) -> Any:
        self.thread.join(30)
        (answer,) = self.answers
        return answer


@pytest.mark.contract("TX-49")
def test_it_is_a_lock_manager(manager: LockManager) -> None:
    """It has the methods of the protocol."""
    assert isinstance(manager, LockManager)


@pytest.mark.contract("TX-49", "TX-52", "TX-53")
def test_a_key_has_one_holder(manager: LockManager, key: str, acquire: Act) -> None:
    """A free key is had at once; another holder is refused, and the same one is not."""
    assert acquire(key, "a", acquire_timeout=0) is True
    assert acquire(key, "b", acquire_timeout=0) is False
    assert acquire(key, "a", acquire_timeout=0) is True
    assert acquire(f"{key}.2", "b", acquire_timeout=0) is True
    assert manager.is_lock_holder(key, "a")
    assert not manager.is_lock_holder(key, "b")
    manager.release_lock(key, "a")
    manager.release_lock(f"{key}.2", "b")


@pytest.mark.contract("TX-52")
def test_a_single_release_frees_it(manager: LockManager, key: str, acquire: Act) -> None:
    """However often its holder has acquired it."""
    acquire(key, "a")
    acquire(key, "a")
    manager.release_lock(key, "a")
    assert not manager.is_locked(key)
    assert acquire(key, "b", acquire_timeout=0) is True
    manager.release_lock(key, "b")


@pytest.mark.contract("TX-52", "TX-53")
def test_acquiring_waits_for_the_release(manager: LockManager, key: str, acquire: Act) -> None:
    """Without a limit it waits as long as it takes, and then holds the lock."""
    manager.acquire_lock(key, "a")
    waiting = Waiting(acquire, key, "b")
    assert waiting.still()
    manager.acquire_lock(key, "a")  # again, which changes nothing for who waits
    manager.release_lock(key, "a")
    assert waiting.answer() is True
    assert manager.is_lock_holder(key, "b")
    manager.release_lock(key, "b")


@pytest.mark.contract("TX-52", "TX-67")
def test_acquiring_gives_up(manager: LockManager, key: str, acquire: Act) -> None:
    """After the limit it answers False, and the holder is the one it was."""
    manager.acquire_lock(key, "a")
    assert acquire(key, "b", acquire_timeout=0.05) is False
    assert manager.is_lock_holder(key, "a")
    manager.release_lock(key, "a")
    assert not manager.is_locked(key)


@pytest.mark.contract("TX-52", "TX-54")
def test_a_lock_frees_itself(manager: LockManager, key: str, acquire: Act) -> None:
    """When its hold timeout is over it is nobody's, and the next one has it at once."""
    clock = JumpingClock()
    with use_clock(clock):
        acquire(key, "a", hold_timeout=10)
        clock.advance(9)
        assert manager.is_lock_holder(key, "a")
        assert acquire(key, "b", acquire_timeout=0) is False
        clock.advance(1)
        assert not manager.is_locked(key)
        assert not manager.is_lock_holder(key, "a")
        assert acquire(key, "b", acquire_timeout=0) is True
        with pytest.raises(LockNotHeld):
            manager.release_lock(key, "a")
        assert manager.is_lock_holder(key, "b")
        manager.release_lock(key, "b")


@pytest.mark.contract("TX-54", "TX-67")
def test_who_waits_gets_a_lock_that_frees_itself(manager: LockManager, key: str, acquire: Act) -> None:
    """No release is needed to end the wait."""
    manager.acquire_lock(key, "a", hold_timeout=0.05)
    assert acquire(key, "b", acquire_timeout=30) is True
    manager.release_lock(key, "b")


@pytest.mark.contract("TX-54")
def test_acquiring_again_counts_anew(manager: LockManager, key: str) -> None:
    """The hold timeout is that of the latest acquisition."""
    clock = JumpingClock()
    with use_clock(clock):
        manager.acquire_lock(key, "a", hold_timeout=10)
        clock.advance(9)
        manager.acquire_lock(key, "a", hold_timeout=10)
        clock.advance(9)
        assert manager.is_lock_holder(key, "a")
        manager.release_lock(key, "a")


@pytest.mark.contract("TX-55")
def test_only_the_holder_releases(manager: LockManager, key: str) -> None:
    """Anybody else, and anybody once it is released, gets an error that names them."""
    with pytest.raises(ValueError, match="No lock held by a"):
        manager.release_lock(key, "a")
    manager.acquire_lock(key, "a")
    with pytest.raises(LockError, match="No lock held by b"):
        manager.release_lock(key, "b")
    assert manager.is_lock_holder(key, "a")
    manager.release_lock(key, "a")
    with pytest.raises(LockNotHeld, match=key):
        manager.release_lock(key, "a")


@pytest.mark.contract("TX-56")
def test_waiting_takes_nothing(manager: LockManager, key: str, wait: Act) -> None:
    """It answers True when the key is free, whether or not it ever was locked, and leaves it free."""
    assert wait(key) is True
    assert not manager.is_locked(key)
    manager.acquire_lock(key, "a")
    waiting = Waiting(wait, key)
    assert waiting.still()
    manager.release_lock(key, "a")
    assert waiting.answer() is True
    assert not manager.is_locked(key)


@pytest.mark.contract("TX-56", "TX-67")
def test_waiting_gives_up(manager: LockManager, key: str, wait: Act) -> None:
    """After the limit it answers False."""
    manager.acquire_lock(key, "a")
    assert wait(key, timeout=0.05) is False
    assert wait(key, timeout=0) is False
    manager.release_lock(key, "a")


@pytest.mark.contract("TX-49")
def test_the_loop_goes_on_while_a_task_waits(manager: LockManager, key: str) -> None:
    """Who waits and who releases may be tasks of one loop."""

    async def main() -> list[bool]:
        assert await manager.aacquire_lock(key, "a")
        tasks = [
            asyncio.create_task(manager.aacquire_lock(key, "b")),
            asyncio.create_task(manager.await_for_lock(f"{key}.other")),
        ]
        await asyncio.sleep(0.01)
        manager.release_lock(key, "a")
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [True, True]
    assert manager.is_lock_holder(key, "b")
    manager.release_lock(key, "b")


@pytest.mark.contract("TX-49")
def test_a_cancelled_wait_leaves_no_lock(manager: LockManager, key: str) -> None:
    """The next one in the row gets it."""

    async def main() -> None:
        await manager.aacquire_lock(key, "a")
        task = asyncio.create_task(manager.aacquire_lock(key, "b"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        manager.release_lock(key, "a")
        assert not manager.is_locked(key)

    asyncio.run(main())


@pytest.mark.parametrize("manager", ["memory", "store"], indirect=True)
def test_who_came_first_is_woken_first(manager: LockManager, key: str) -> None:
    """Those who wait in one process have the lock in the order in which they came."""
    order: list[int] = []

    async def hold(number: int) -> None:
        assert await manager.aacquire_lock(key, str(number))
        order.append(number)
        await asyncio.sleep(0)
        manager.release_lock(key, str(number))

    async def main() -> None:
        manager.acquire_lock(key, "before all of them")
        waiting = [asyncio.create_task(hold(number)) for number in range(12)]
        await asyncio.sleep(0)
        manager.release_lock(key, "before all of them")
        await asyncio.gather(*waiting)

    asyncio.run(main())
    assert order == list(range(12))
