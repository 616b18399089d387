"""Time limits for any block of code, in sync and in async code.

Both are plain ``with`` blocks::

    with timeout(5):
        download()

    with timeout_async(5):
        await adownload()

What can be interrupted, and when, is the same as for the limits of tasks: in the main thread everything, in other
threads everything but a single call that blocks, in async code whatever awaits.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from mainspring._engine.timeouts import AsyncBlockTimeout, SyncTimeout

__all__ = ["timeout", "timeout_async"]


def timeout(
    seconds: float | None = None, timeout_exc_type: type[TimeoutError] = TimeoutError
) -> AbstractContextManager[object]:
    """A limit for a block of sync code, in any thread. Blocks may be nested.

    Args:
        seconds: How long the block may take; None for no limit.
        timeout_exc_type: What leaves the block when it takes longer; made with a message as its only argument,
            or with none.

    Raises:
        ValueError: ``timeout_exc_type`` is no kind of `TimeoutError`.
    """
    _check(timeout_exc_type)
    return nullcontext() if seconds is None else SyncTimeout(seconds, timeout_exc_type)


def timeout_async(
    seconds: float | None = None, timeout_exc_type: type[TimeoutError] = TimeoutError
) -> AbstractContextManager[object]:
    """A limit for a block of async code, entered by a plain ``with``. Blocks may be nested.

    A cancellation that comes from elsewhere stays one.

    Args:
        seconds: How long the block may take; None for no limit.
        timeout_exc_type: What leaves the block when it takes longer; made with a message as its only argument.

    Raises:
        ValueError: ``timeout_exc_type`` is no kind of `TimeoutError`.
    """
    _check(timeout_exc_type)
    return nullcontext() if seconds is None else AsyncBlockTimeout(seconds, timeout_exc_type)


def _check(kind: object) -> None:
    if not (isinstance(kind, type) and issubclass(kind, TimeoutError)):
        raise ValueError(f"The `timeout_exc_type` must be a subclass of `TimeoutError`; got {kind!r}.")
