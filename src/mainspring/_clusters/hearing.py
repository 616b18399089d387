"""What happens while a worker of a cluster works on a parcel, collected for those who listen where it came from.

A worker may work on several parcels at a time, for several programs, so each line, event and state goes to the parcel
in whose context it happens.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

from mainspring._processes.channel import Kind
from mainspring._processes.relays import Audience, Post, set_levels
from mainspring.events import subscribe
from mainspring.logging import leave_logging
from mainspring.recording import Recorder

__all__ = ["Hearing"]

_PACKAGE = "mainspring"
_active: ContextVar[Hearing | None] = ContextVar("mainspring_hearing", default=None)


class Hearing(Post):
    """What is heard while the block of `listen` is active; ``messages`` are kinds and heads of frames."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, Any]] = []

    def post(self, kind: Kind, head: Any) -> None:
        """See `Post.post`."""
        if _active.get() is self:
            self.messages.append((int(kind), head))

    @contextmanager
    def listen(self, wanted: Audience, recorder: Recorder) -> Generator[None]:
        """Inside the block, and in copies of its context, hear what is wanted."""
        _replace_output()
        set_levels(wanted.levels)
        token = _active.set(self)
        with ExitStack() as stack:
            stack.callback(_active.reset, token)
            if wanted.events:
                stack.callback(subscribe(self.post_event).close)
            if wanted.states:
                stack.enter_context(recorder.listen(self.post_state))
            yield


class _Handler(logging.Handler):
    """Gives log records to whoever hears what happens here."""

    def emit(self, record: logging.LogRecord) -> None:
        hearing = _active.get()
        if hearing is None:
            return
        try:
            hearing.post_record(record)
        except Exception:  # logging must never break the code that logs: the standard library's rule
            self.handleError(record)


_handler = _Handler()


def _replace_output() -> None:
    """Have the package's lines heard instead of written here, and all others heard besides."""
    package = logging.getLogger(_PACKAGE)
    if _handler in package.handlers:
        return
    leave_logging()
    package.propagate = False
    package.addHandler(_handler)
    logging.getLogger().addHandler(_handler)
