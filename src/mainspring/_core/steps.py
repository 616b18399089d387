"""What tells the steps of a flow run from one another, in every process that goes on with it.

A step is known by the scope that it is made in (the flow run, or a step around it), by what it is (a task or flow and
its inputs, or a name that somebody gave it), and by how many times that was there before in the same scope. Nothing
depends on the order of different steps, nor on which of them run at the same time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from types import CodeType
from typing import Any

from mainspring._representation import name_of

try:
    from _blake2 import blake2b  # which is that of hashlib, without OpenSSL, which takes milliseconds to load
except ImportError:  # another implementation of Python
    from hashlib import blake2b

__all__ = ["Steps", "blake2b", "digest_of", "task_key"]

_SIZE = 16  # bytes of a digest


def digest_of(*parts: str) -> str:
    """One key for some texts, in their order: 32 hexadecimal digits."""
    return blake2b(_joined(parts), digest_size=_SIZE).hexdigest()


def _joined(parts: Iterable[str]) -> bytes:
    return "".join([f"{len(part)}:{part}" for part in parts]).encode("utf-8", "surrogatepass")


def task_key(fn: Callable[..., Any]) -> str:
    """What tells a task from others in every process: its name and a hash of its code (T-8)."""
    name = name_of(fn, "__qualname__") or type(fn).__qualname__
    written = inspect.unwrap(fn) if inspect.isroutine(fn) else type(fn).__call__
    code = getattr(written, "__code__", None)
    if not isinstance(code, CodeType):
        return f"{name.rpartition('.')[2]}-unknown"
    digest = blake2b(code.co_code + repr(code.co_names).encode(), digest_size=4)
    return f"{name.rpartition('.')[2]}-{digest.hexdigest()}"


class Steps:
    """The steps that one attempt of a flow run has begun. Safe to use from any thread.

    Args:
        flow_run_key: The id of the flow run.
        attempt: The attempt whose steps they are. A resumed run goes on with those of the attempt that had ended.
        goes_on: True if steps of that attempt may have been finished before.
        root_key: The outermost flow run around, which is the one to be resumed; None if nobody can resume it.
        staged: What completed steps of transactions that were open have left, by their keys; None if there is nothing.
        process: The id of the process that the attempt belongs to; its forked children have the steps, too.
    """

    __slots__ = ("_counts", "_of_attempt", "_of_run", "earlier", "goes_on", "process", "root_key", "staged")

    def __init__(
        self,
        flow_run_key: bytes,
        attempt: int,
        goes_on: bool,
        root_key: bytes | None = None,
        staged: Any = None,
        process: int | None = None,
    ) -> None:
        run = flow_run_key.hex()
        self._of_attempt = blake2b(_joined([run, str(attempt)]), digest_size=_SIZE)
        self._of_run = blake2b(_joined([run, ""]), digest_size=_SIZE)
        self._counts: dict[tuple[str, str], Iterator[int]] = {}
        self.goes_on = goes_on
        self.root_key = root_key
        self.staged = staged
        self.process = process
        self.earlier: dict[str, Any] | None = None  # subflow runs by their step, once they were asked for

    def take(self, scope: str, what: str, of_attempt: bool = True) -> str:
        """The key of the next step that is ``what``.

        Args:
            scope: The step around it; empty for the flow run itself.
            what: The task or flow and its inputs, or a name.
            of_attempt: With False, other attempts of the flow run have the same step.
        """
        before = str(next(self._counts.setdefault((scope, what), count())))
        hasher = (self._of_attempt if of_attempt else self._of_run).copy()
        # as `_joined` has it, in one go
        joined = f"{len(scope)}:{scope}{len(what)}:{what}{len(before)}:{before}"
        hasher.update(joined.encode("utf-8", "surrogatepass"))
        return hasher.hexdigest()
