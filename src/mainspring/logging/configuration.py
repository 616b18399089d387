"""Python's own logging, set up from a file: the setting ``logging.config_path``."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec

from mainspring.exceptions import ConfigurationError
from mainspring.settings import get_current_settings

__all__ = ["configure_logging", "leave_logging"]

_lock = threading.Lock()
_is_done = False


def configure_logging() -> None:
    """Apply the file that the settings name, if they name one: once in a process, whatever is named later.

    Raises:
        ConfigurationError: The file cannot be read, or is no configuration.
    """
    global _is_done
    path = get_current_settings().logging.config_path
    if path is None or _is_done:
        return
    with _lock:
        if not _is_done:
            _apply(path)
            _is_done = True


def leave_logging() -> None:
    """Never apply a file in this process: its lines go to another one, which has applied it."""
    global _is_done
    _is_done = True


def _apply(path: Path) -> None:
    import logging.config  # on use: it loads an HTTP server's worth of modules, and hardly anybody names a file

    # What the program has made before is to go on; that is also what a file for a part of the loggers means.
    configuration = {"version": 1, "disable_existing_loggers": False, **_read(path)}
    try:
        logging.config.dictConfig(configuration)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        reason = f"{error}: {error.__cause__}" if error.__cause__ is not None else str(error)
        raise ConfigurationError(
            f"The logging configuration {str(path)!r} cannot be applied: {reason}. Its form is that of"
            f" logging.config.dictConfig, and the setting logging.config_path names it."
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".json":
            return msgspec.json.decode(content, type=dict[str, Any])
        import tomllib  # on use, likewise

        return tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigurationError(
            f"The logging configuration {str(path)!r} cannot be read: {error.strerror or error}. The setting"
            f" logging.config_path names it."
        ) from None
    except (ValueError, msgspec.MsgspecError) as error:  # of both formats, and of texts that are not in UTF-8
        raise ConfigurationError(
            f"The logging configuration {str(path)!r} is neither TOML nor, with the ending .json, JSON: {error}."
        ) from None
