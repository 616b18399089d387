"""Running a coroutine to its end from code that cannot await.

In a thread without a running event loop the coroutine runs on a loop of that thread, which is kept for the next
time. In a thread whose loop is running it cannot run there without deadlock, so a helper thread runs it on a loop
of its own. The caller's context variables hold inside, and what the coroutine sets in them stays in there.

``asyncio`` is imported at the first use: it costs more than everything else a sync script needs.
"""

from __future__ import annotations

import atexit
import contextvars
import threading
from collections.abc import Awaitable
from typing import Any, TypeVar

from mainspring import _forks
from mainspring._imports import loaded

__all__ = ["afinish", "close", "current_task", "finish", "no_task", "run"]

T = TypeVar("T")


class _Loop:
    """The event loop that one thread keeps; closed with its thread."""

    def __init__(self) -> None:
        import asyncio  # see the module's docstring

        self.runner = asyncio.Runner()

    def run(self, awaitable: Awaitable[T]) -> T:
        """Run ``awaitable`` in a copy of the caller's context."""
        return self.runner.run(_await(awaitable), context=contextvars.copy_context())

    def close(self) -> None:
        """Cancel the tasks that are left, shut down async generators, and close the loop. May be called twice."""
        self.runner.close()

    def __del__(self) -> None:
        self.close()


_kept = threading.local()
_inherited: list[_Loop] = []  # kept, as closing them would harm those of the parent


def run(awaitable: Awaitable[T]) -> T:
    """Run ``awaitable`` to its end and return its result; blocks the calling thread.

    Raises:
        BaseException: Whatever the awaitable raises.
    """
    if _loop_is_running():
        return _run_in_helper(awaitable)
    loop: _Loop | None = getattr(_kept, "loop", None)
    if loop is None:
        loop = _kept.loop = _Loop()
        if threading.current_thread() is threading.main_thread():
            atexit.register(vars(_kept).clear)  # before the interpreter tears modules down
    return loop.run(awaitable)


def close() -> None:
    """Close the loop that the calling thread keeps, if there is one; the next `run` makes another."""
    loop: _Loop | None = vars(_kept).pop("loop", None)
    if loop is not None:
        loop.close()


def finish(value: Any) -> Any:
    """``value`` itself or, if it is awaitable, what it comes to."""
    return run(value) if hasattr(value, "__await__") else value


async def afinish(value: Any) -> Any:
    """`finish` for async code, which awaits."""
    return await value if hasattr(value, "__await__") else value


def current_task() -> Any:
    """The calling asyncio task; None if there is none."""
    import asyncio  # whoever awaits has it already

    return asyncio.current_task() if asyncio._get_running_loop() is not None else None


def no_task() -> None:
    """`current_task` for sync code, which is interrupted in its thread, also where that runs an event loop."""


@_forks.in_child
def _leave_to_parent() -> None:
    """In a forked child: what the loop waits with is shared with the parent."""
    loop: _Loop | None = vars(_kept).pop("loop", None)
    if loop is not None:
        _inherited.append(loop)


def _loop_is_running() -> bool:
    asyncio = loaded("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def _run_in_helper(awaitable: Awaitable[T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        loop = _Loop()
        try:
            results.append(loop.run(awaitable))
        except BaseException as error:  # belongs to the caller, whatever it is
            errors.append(error)
        finally:
            loop.close()  # now: the traceback of an error would keep it until the collector comes

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), name="mainspring-portal")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable
