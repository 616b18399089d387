"""What happens in a worker process, told in the process of the runner: log lines, events, and states for listeners.

The worker records states and stores log lines itself. What goes along here is for those who listen in the process of
the runner: handlers of loggers, subscribers of events, listeners of the recorder. So it is sent only while there is
somebody, and a line that arrives is not stored again.
"""

from __future__ import annotations

import copy
import logging
import pickle
import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from mainspring._events import receivers
from mainspring._processes.channel import Channel, Frame, Kind, Packed
from mainspring.events import Event, publish_event, subscribe
from mainspring.logging import RUN_LOGGERS, ensure_output, get_logger, leave_logging
from mainspring.recording import current_recorder
from mainspring.runs import Run
from mainspring.states import State

__all__ = ["Audience", "Inbox", "Outbox", "Post", "Processor", "Relay", "audience", "bare", "set_levels"]

Processor = Callable[[Any], Any]
"""Given a ``logging.LogRecord`` or an `Event` from a worker; returns what is to be told instead, None for nothing."""

CAPACITY = 10_000
"""Messages that wait in a worker before those who make more of them have to wait, too."""

_PACKAGE = "mainspring"
_LEVELS = (_PACKAGE, *RUN_LOGGERS)
_STANDARD = frozenset(vars(logging.makeLogRecord({})))
_formatter = logging.Formatter()


class Audience(NamedTuple):
    """Who listens in the process of the runner.

    Args:
        events: Somebody is subscribed to events.
        states: Somebody listens to the recorder.
        levels: The levels of the package's logger and of those of runs, and the one that counts for all others.
    """

    events: bool
    states: bool
    levels: tuple[int, ...]


def audience() -> Audience:
    """Who listens here, now."""
    ensure_output()
    levels = tuple(logging.getLogger(name).level for name in _LEVELS)
    return Audience(
        bool(receivers.active),
        current_recorder().is_listened_to,
        (*levels, logging.getLogger().getEffectiveLevel()),
    )


def bare(state: State) -> State:
    """A state without what its run came to."""
    copied = copy.copy(state)
    copied.forget()
    return copied


# In the process of the runner


class Inbox:
    """Tells what workers send. Called by the thread that waits for the worker, in the context of the submitter.

    Args:
        processors: Are given each log record and event in turn.
        logger_name: Who reports what cannot be told.
    """

    def __init__(
        self, processors: Sequence[Processor] = (), logger_name: str = "task_runner.processpool"
    ) -> None:
        self._processors = processors
        self._reported: set[int] = set()
        self._logger = get_logger(logger_name)

    def take(self, frame: Frame) -> None:
        """Tell everybody whom it concerns; whatever they raise is theirs."""
        try:
            if frame.kind is Kind.LOG:
                record = self._process(logging.makeLogRecord(frame.head))
                if isinstance(record, logging.LogRecord):
                    self._log(record)
            elif frame.kind is Kind.EVENT:
                event = self._process(frame.head)
                if isinstance(event, Event):
                    publish_event(event)
            elif frame.kind is Kind.STATE:
                current_recorder().tell_listeners(*frame.head)
        except Exception:  # by rule: a task is what it is, whether or not others can be told of it
            self._logger.exception("A message of a worker process could not be told")

    def _process(self, message: Any) -> Any:
        for number, processor in enumerate(self._processors):
            try:
                message = processor(message)
            except Exception:  # by rule TR-23: a processor that fails costs the message, and nothing else
                if number not in self._reported:
                    self._reported.add(number)
                    self._logger.exception(
                        "The message processor %r failed, so its message was dropped. Further ones are dropped"
                        " without a line.",
                        processor,
                    )
                return None
            if message is None:
                return None
        return message

    @staticmethod
    def _log(record: logging.LogRecord) -> None:
        ensure_output()
        record.send_to_api = False  # the worker has stored it
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)


# In the worker


class Post:
    """What is sent home, whatever the way."""

    def post(self, kind: Kind, head: Any) -> None:
        """Have a message sent, in its order."""
        raise NotImplementedError

    def post_event(self, event: Event) -> None:
        """Tell an event."""
        self.post(Kind.EVENT, event)

    def post_state(self, run: Run, state: State) -> None:
        """Tell a state that was entered, with the run as it is now, but not what it came to."""
        told = copy.copy(run)
        told.state = copied = bare(state)
        self.post(Kind.STATE, (told, copied))

    def post_record(self, record: logging.LogRecord) -> None:
        """Tell a log line."""
        facts = {**vars(record), "msg": record.getMessage(), "args": None}
        if record.exc_info:
            facts["exc_text"] = record.exc_text or _formatter.formatException(record.exc_info)
            facts["exc_info"] = None
        try:
            pickle.dumps(facts, 5)
        except Exception:  # an attribute of the user's that cannot be pickled goes by its text
            facts = {name: each if name in _STANDARD else str(each) for name, each in facts.items()}
        self.post(Kind.LOG, facts)


class Outbox(Post):
    """The way out of a worker. Whatever tasks cause goes through a thread of its own.

    A limit on time may interrupt a task at any point, and must not do so in the middle of a frame.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: queue.SimpleQueue[tuple[Kind, Any, Packed] | None] = queue.SimpleQueue()
        self._is_used = False
        self._sender = threading.Thread(target=self._send_all, name="mainspring-outbox", daemon=True)
        self._sender.start()

    def post(self, kind: Kind, head: Any) -> None:
        """Have a message sent, in its order."""
        self._is_used = True
        while self._waiting.qsize() > CAPACITY:
            time.sleep(0.001)
        self._waiting.put((kind, head, ()))

    def answer(self, kind: Kind, head: Any = None, packed: Packed = ()) -> None:
        """Send what a call came to, after all messages that it caused."""
        if self._is_used:
            self._waiting.put((kind, head, packed))
        else:
            self._channel.send(kind, head, packed)

    def end(self) -> None:
        """Return when everything is on its way."""
        self._waiting.put(None)
        self._sender.join()

    def _send_all(self) -> None:
        while (message := self._waiting.get()) is not None:
            try:
                self._channel.send(*message)
            except OSError:  # the runner is gone, and with it whoever wanted to know
                return


class Relay:
    """Sends what happens in a worker to those who listen where the runner is.

    Args:
        outbox: The way out.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._handler = _Forwarder(outbox)
        self._subscription: Any = None
        self._levels: tuple[int, ...] = ()

    def replace_output(self, levels: tuple[int, ...]) -> None:
        """Send lines of the package's loggers instead of writing them here."""
        leave_logging()
        self._set_levels(levels)
        package = logging.getLogger(_PACKAGE)
        package.propagate = False
        package.addHandler(self._handler)

    def join_root(self) -> None:
        """Send all other lines as well, if nobody has said what is to become of them here."""
        root = logging.getLogger()
        if not root.handlers:
            root.setLevel(self._levels[-1])
            root.addHandler(self._handler)

    @contextmanager
    def open_for(self, wanted: Audience) -> Generator[None]:
        """Inside the block, send what is wanted."""
        if wanted.levels != self._levels:
            self._set_levels(wanted.levels)
        if wanted.events and self._subscription is None:
            self._subscription = subscribe(self._outbox.post_event)
        elif not wanted.events and self._subscription is not None:
            self._subscription = self._subscription.close()
        if not wanted.states:
            yield
            return
        with current_recorder().listen(self._outbox.post_state):
            yield

    def _set_levels(self, levels: tuple[int, ...]) -> None:
        self._levels = levels
        set_levels(levels)
        root = logging.getLogger()
        if root.handlers == [self._handler]:
            root.setLevel(levels[-1])


def set_levels(levels: tuple[int, ...]) -> None:
    """Give the loggers of the package and of runs the levels that they have in the process of the runner."""
    for name, level in zip(_LEVELS, levels, strict=False):
        logger = logging.getLogger(name)
        if logger.level != level:  # setting it again would make all loggers forget what is enabled
            logger.setLevel(level)


class _Forwarder(logging.Handler):
    """Sends log records."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._outbox.post_record(record)
        except Exception:  # logging must never break the code that logs: the standard library's rule
            self.handleError(record)
