"""What runs that are submitted to Ray want of it."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["current_options", "remote_options"]

_OURS = {
    "max_retries": "retries are the task's: give it `retries` or `retry_on_crash`",
    "retry_exceptions": "retries are the task's: give it `retries` and `retry_condition_fn`",
    "num_returns": "the runner needs it",
}

_options: ContextVar[Mapping[str, Any]] = ContextVar("mainspring_ray_options", default={})  # noqa: B039 - never changed


@contextmanager
def remote_options(**options: Any) -> Generator[None]:
    """Have what is submitted to a `RayTaskRunner` inside of the block run with options of ``ray.remote``.

    Blocks inside of others add to them. Safe in threads and in asyncio tasks: an option holds where it was set.

    Args:
        options: ``num_cpus``, ``num_gpus``, ``memory``, ``resources``, ``scheduling_strategy``, ``runtime_env`` and
            whatever else ``ray.remote`` takes.

    Raises:
        ValueError: An option that is not to be set so.
    """
    for name, reason in _OURS.items():
        if name in options:
            raise ValueError(f"`{name}` cannot be set for Ray here: {reason}.")
    token = _options.set({**_options.get(), **options})
    try:
        yield
    finally:
        _options.reset(token)


def current_options() -> Mapping[str, Any]:
    """The options that hold here."""
    return _options.get()
