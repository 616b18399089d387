"""Which settings hold: those of the environment, read once, unless a block in this context overrides some."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from mainspring.settings.model import Settings
from mainspring.settings.sources import change_settings, get_settings_from_env

__all__ = ["get_current_settings", "reload_settings", "temporary_settings"]

_override: ContextVar[Settings | None] = ContextVar("mainspring_settings", default=None)
_process: Settings | None = None


def get_current_settings() -> Settings:
    """The settings of the calling context. Cheap: the environment is read at the first call only.

    Raises:
        ConfigurationError: An environment variable does not fit its setting.
    """
    return _override.get() or _process or reload_settings()


def reload_settings() -> Settings:
    """Read the environment again; blocks of `temporary_settings` that are open keep what they have."""
    global _process
    _process = get_settings_from_env()
    return _process


@contextmanager
def temporary_settings(updates: Mapping[str, Any]) -> Generator[Settings]:
    """Override some settings inside the block, for this context and copies of it.

    Args:
        updates: Values by dotted name, for example ``{"tasks.default_retries": 2}``.

    Raises:
        ConfigurationError: There is no such setting, or a value does not fit.
    """
    settings = change_settings(get_current_settings(), updates)
    token = _override.set(settings)
    try:
        yield settings
    finally:
        _override.reset(token)
