"""Who holds a lock unless somebody says it."""

import asyncio
import os
import threading

import pytest

from mainspring.locking.protocol import default_holder


@pytest.mark.contract("TX-45")
def test_a_thread_is_a_holder() -> None:
    """The text has host, process, thread id and name, and is the same at the next call."""
    thread = threading.current_thread()
    assert default_holder() == default_holder()
    for part in (os.uname().nodename, os.getpid(), thread.ident, thread.name):
        assert str(part) in default_holder()
    seen: list[str] = []
    other = threading.Thread(target=lambda: seen.append(default_holder()), name="another")
    other.start()
    other.join()
    assert "another" in seen[0]
    assert seen != [default_holder()]


@pytest.mark.contract("TX-45")
def test_an_asyncio_task_is_a_holder_of_its_own() -> None:
    """Two tasks of one thread differ, whatever they are called."""

    async def ask() -> str:
        await asyncio.sleep(0)
        assert default_holder() == default_holder()
        return default_holder()

    async def main() -> list[str]:
        return await asyncio.gather(*(asyncio.create_task(ask(), name="same") for _ in range(2)))

    first, second = asyncio.run(main())
    assert first != second
    assert "same" in first
