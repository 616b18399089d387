"""Secrets of settings do not get into log lines: the filter of the package's loggers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from mainspring.exceptions import ConfigurationError
from mainspring.settings import get_current_settings
from mainspring.settings.secrets import Secrets, secrets_of

__all__ = ["SecretFilter", "hide_secrets"]

F = TypeVar("F", bound=logging.Filterer)

_DEPTH = 8  # how deep collections are rebuilt; what lies deeper is replaced by its text as a whole
_HARMLESS: frozenset[object] = frozenset({int, float, bool, type(None)})
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) - {"msg", "args", "exc_text", "stack_info"}
_REBUILT: dict[object, Callable[[Iterable[Any]], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
}
_formatter = logging.Formatter()


class SecretFilter(logging.Filter):
    """Masks the secrets of the current settings in a record before any handler sees it.

    That is in the message, in its arguments, in extra attributes, at any depth in collections, and in the
    traceback. Any other object whose text holds a secret, for example an exception or a dataclass, is
    replaced by its masked text. Where settings hold no secrets, as by default, it costs next to nothing.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the secrets in ``record``; it is always passed on."""
        try:
            secrets = secrets_of(get_current_settings())
        except ConfigurationError:
            return True  # without valid settings there are no secrets, and a line is no place to complain
        if secrets:
            if record.exc_info and not record.exc_text:
                record.exc_text = _formatter.formatException(record.exc_info)
            if record.exc_text and secrets.in_text(record.exc_text):
                record.exc_info = None  # handlers would format it again; they show the text as well
            for name, value in list(vars(record).items()):
                if name not in _STANDARD:
                    setattr(record, name, masked(value, secrets))
        return True


class _Masked:
    """An object's texts without secrets, in the place of the object."""

    __slots__ = ("_shown", "_told")

    def __init__(self, shown: str, told: str) -> None:
        self._shown = shown
        self._told = told

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return self._told


def masked(value: Any, secrets: Secrets, depth: int = 0) -> Any:
    """``value`` without secrets: itself if it has none."""
    kind = cast("object", type(value))
    if kind is str:
        return secrets.mask(value)
    if kind in _HARMLESS:
        return value
    try:
        shown, told = str(value), repr(value)
    except Exception:  # the object cannot be shown; the handlers meet that, too, and report it
        return value
    if not secrets.in_text(shown) and not secrets.in_text(told):
        return value
    if depth < _DEPTH:
        if kind is dict:
            return {
                masked(key, secrets, depth + 1): masked(each, secrets, depth + 1)
                for key, each in value.items()
            }
        if kind in _REBUILT:
            return _REBUILT[kind](masked(each, secrets, depth + 1) for each in value)
    return _Masked(secrets.mask(shown), secrets.mask(told))


_filter = SecretFilter()


def hide_secrets(filterer: F) -> F:
    """Give a logger or handler the filter, if it has not got it, and return it."""
    filterer.addFilter(_filter)
    return filterer
