"""Noticing in a flow run that somebody has asked it to leave its process.

That is honoured where the flow has nothing half done: when it calls or submits a task or a subflow, asks a future for
its result, or has yielded a value. Such a place looks into the history four times a second at most, so it costs next
to nothing, and nothing at all where the run cannot be suspended.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from mainspring import clock
from mainspring._imports import modules_on_use
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import Pause
from mainspring.recording import Recorder
from mainspring.transactions import BaseTransaction

if TYPE_CHECKING:
    from mainspring.states import constructors
else:
    constructors = modules_on_use("mainspring.states", "constructors")

__all__ = ["SuspensionWatch", "leave_if_suspended"]

INTERVAL = 0.25
"""Seconds between two looks."""


class SuspensionWatch:
    """Looks for requests for one flow run, in the thread of its function.

    Args:
        recorder: Where the history goes.
        root_key: The outermost flow run around, which is what is asked to be suspended.
    """

    __slots__ = ("_due", "_recorder", "_root_key", "thread")

    def __init__(self, recorder: Recorder, root_key: bytes) -> None:
        self._recorder = recorder
        self._root_key = root_key
        self._due = time.monotonic() + INTERVAL
        self.thread = threading.get_ident()

    def check(self) -> None:
        """Leave the flow run if that was asked for, and nothing is half done.

        Raises:
            Pause: It was; carries the state that the run is left in.
        """
        now = time.monotonic()
        if now < self._due or threading.get_ident() != self.thread or TaskRunContext.get() is not None:
            return
        self._due = now + INTERVAL
        request = self._recorder.store.read_suspension(self._root_key)
        if request is None or BaseTransaction.current() is not None:
            return
        expires = clock.to_datetime(request.expires)
        message = "Somebody has asked for it; it goes on when it is resumed."
        raise Pause(
            "The flow run is suspended.",
            state=constructors.Suspended(pause_expiration_time=expires, message=message),
        )


def leave_if_suspended() -> None:
    """Leave the active flow run if somebody has asked for that. Called by whatever a flow does by our help.

    Raises:
        Pause: Somebody has.
    """
    context = FlowRunContext.get()
    if context is not None and context.suspension is not None:
        context.suspension.check()
