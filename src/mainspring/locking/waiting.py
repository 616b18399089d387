"""Waiting for a lock in a thread or in an asyncio task, by the same steps.

The steps are a generator, which looks whether the lock is free. While it is not, the generator yields for how many
seconds to wait, and is sent whether somebody called ``wake`` meanwhile. It returns whether the lock was had.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

from mainspring._interruption import wait_in_pieces
from mainspring.context import stoppable

__all__ = ["Steps", "Wake", "await_steps", "wait_steps"]

Wake = Callable[[], Any]
"""Ends a wait early. May be called from any thread, and when nobody waits any more."""

Steps = Callable[[Wake], Generator[float, bool, bool]]


def wait_steps(steps_of: Steps) -> bool:
    """Carry the steps out in the calling thread.

    Args:
        steps_of: Makes the generator; it is given what will wake it.

    Returns:
        What the generator returns. It is closed in any case.

    Raises:
        RunCancelled: The run that waits was told to stop.
    """
    event = threading.Event()
    with closing(steps_of(event.set)) as steps:
        try:
            pause = next(steps)
            while True:
                with stoppable(event.set):
                    came = wait_in_pieces(event.wait, pause)
                event.clear()
                pause = steps.send(came)
        except StopIteration as end:
            return bool(end.value)


async def await_steps(steps_of: Steps) -> bool:
    """`wait_steps` in the calling asyncio task, which a cancellation leaves without a further step."""
    import asyncio  # costs more than a whole sync script needs; only async code comes here

    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(woken.set)
        except RuntimeError:  # the loop is closed, and who waited there is gone
            pass

    with closing(steps_of(wake)) as steps:
        try:
            pause = next(steps)
            while True:
                came = await _came(woken, pause)
                woken.clear()
                pause = steps.send(came)
        except StopIteration as end:
            return bool(end.value)


async def _came(woken: Any, seconds: float) -> bool:
    import asyncio

    try:
        async with asyncio.timeout(seconds):
            await woken.wait()
    except TimeoutError:
        return False
    return True
