"""``print`` inside a run as a line of the run's logger."""

from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Self

from mainspring.context import FlowRunContext, RunContext, TaskRunContext
from mainspring.logging.loggers import get_run_logger
from mainspring.settings import get_current_settings

__all__ = ["LoggedPrints", "enter_context", "patch_print", "should_log_prints"]

_original = builtins.print
_users = 0
_lock = threading.Lock()


def should_log_prints(choice: bool | None) -> bool:
    """Whether a run logs prints: its own choice, else that of the flow run around it, else the setting."""
    if choice is not None:
        return choice
    around = FlowRunContext.get()
    return get_current_settings().logging.log_prints if around is None else around.log_prints


@contextmanager
def patch_print() -> Generator[None]:
    """Let ``print`` log inside the block, where the active run wants it to.

    The builtin is one per process: it is replaced as long as anybody is inside such a block, and the
    replacement asks at each call whether the caller's own run logs prints.
    """
    global _users, _original
    with _lock:
        if _users == 0:
            _original = builtins.print
            builtins.print = _print
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                builtins.print = _original


class LoggedPrints:
    """The scope of a run that logs prints: the patch, and inside of it the run's context."""

    __slots__ = ("_context", "_patch")

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._patch = patch_print()

    def __enter__(self) -> Self:
        self._patch.__enter__()
        self._context.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._context.__exit__()
        self._patch.__exit__(None, None, None)


def enter_context(context: RunContext) -> RunContext | LoggedPrints:
    """Enter the context of a run, with prints logged if it wants that; leave what is returned."""
    return (LoggedPrints(context) if context.log_prints else context).__enter__()


def _print(*values: object, **options: Any) -> None:
    context = TaskRunContext.get() or FlowRunContext.get()
    file = options.get("file")
    if context is None or not context.log_prints or file not in (None, sys.stdout, sys.stderr):
        _original(*values, **options)
        return
    separator = options.get("sep")
    line = (" " if separator is None else separator).join(map(str, values))
    end = options.get("end")
    get_run_logger().info("%s", (line + ("" if end is None else end)).rstrip(), stacklevel=2)
