"""The recorders of this process: one for each store that settings name."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from mainspring import _forks
from mainspring.exceptions import MainspringError
from mainspring.logging import RUN_LOGGERS, configure_logging, hide_secrets
from mainspring.recording.recorder import Recorder
from mainspring.settings import Settings, get_current_settings
from mainspring.store.addresses import open_store
from mainspring.store_logs import ExtraLogHandler, RunLogHandler
from mainspring.supervision import tell_finders

if TYPE_CHECKING:
    from mainspring.store.changes import Durability, LogEntry

__all__ = ["close_recorders", "commit_noted", "current_recorder", "keep_run_lines", "use_recorder"]


def _keep_line(entry: LogEntry) -> None:
    current_recorder().log(entry)


_use: ContextVar[Recorder | None] = ContextVar("mainspring_recorder", default=None)
_recorders: dict[tuple[str, Durability, str | None, float], Recorder] = {}
_recorders_lock = threading.Lock()
_latest: tuple[Settings | None, Recorder | None] = (None, None)
_inherited: list[object] = []
_log_handler = RunLogHandler(_keep_line)
_extra_handler = hide_secrets(ExtraLogHandler(_keep_line))


def current_recorder() -> Recorder:
    """The recorder of the calling context: one per process for each store that settings name.

    Raises:
        ConfigurationError: The settings do not name a store, or a logging configuration that cannot be applied.
        StoreError: The store cannot be opened.
    """
    used = _use.get()
    if used is not None:
        return used
    settings = get_current_settings()
    known, recorder = _latest
    if known is settings and recorder is not None:
        return recorder
    return _open_recorder(settings)


@contextmanager
def use_recorder(recorder: Recorder) -> Generator[Recorder]:
    """Record to ``recorder`` inside the block, whatever the settings say."""
    token = _use.set(recorder)
    try:
        yield recorder
    finally:
        _use.reset(token)


def close_recorders() -> None:
    """Write out and close every recorder of this process; the next use opens a new one.

    Raises:
        StoreError: The first of the errors that closing met.
    """
    global _latest
    with _recorders_lock:
        recorders = list(_recorders.values())
        _recorders.clear()
        _latest = (None, None)
    errors: list[MainspringError] = []
    for recorder in recorders:
        try:
            recorder.close()
        except MainspringError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def commit_noted() -> None:
    """`Recorder.commit_noted` for each recorder of this process."""
    for recorder in list(_recorders.values()):
        recorder.commit_noted()


def keep_run_lines() -> None:
    """Have the lines of run loggers, and of those that the settings name besides, kept from now on.

    That is also so if nothing has opened the run store before them.
    """
    for name in RUN_LOGGERS:
        logging.getLogger(name).addHandler(_log_handler)  # a second time does nothing
    settings = get_current_settings().logging
    for name in settings.extra_loggers:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(settings.level)
        logger.addHandler(_extra_handler)


def _open_recorder(settings: Settings) -> Recorder:
    global _latest
    configure_logging()  # first, as it removes the handlers that loggers have
    url, durability = settings.run_store_url, settings.durability
    key = (url, durability, settings.host_id, settings.lease_seconds)
    is_new = False
    with _recorders_lock:
        recorder = _recorders.get(key)
        if recorder is None:
            is_new = True
            store = open_store(url, durability, True, settings.host_id, settings.lease_seconds)
            recorder = _recorders[key] = Recorder(store, durability)
            keep_run_lines()
        _latest = (settings, recorder)
    if is_new:
        tell_finders(recorder)  # with no lock held, as they may call code of users
    return recorder


@_forks.in_child
def _forget_inherited() -> None:
    """In a forked child: leave the parent's recorders alone, connections must not cross a fork."""
    global _latest, _recorders_lock
    _inherited.extend(_recorders.values())  # kept, so that nothing of the parent's is closed here
    _recorders.clear()
    _latest = (None, None)
    _recorders_lock = threading.Lock()


atexit.register(close_recorders)
