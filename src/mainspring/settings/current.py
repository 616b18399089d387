"""Which settings hold: those of the environment, read once, unless a block in this context overrides some."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self

from mainspring._holder import ContextModel
from mainspring.exceptions import ConfigurationError, MissingContextError
from mainspring.settings.model import Settings
from mainspring.settings.secrets import without_secrets
from mainspring.settings.sources import change_settings, from_plain, get_settings_from_env, to_plain

__all__ = [
    "SettingsContext",
    "get_current_settings",
    "get_settings_context",
    "reload_settings",
    "temporary_settings",
]


_active_block: ContextVar[SettingsContext | None] = ContextVar("mainspring_settings", default=None)


class SettingsContext(ContextModel):
    """The settings that hold inside the block, for this context and copies of it.

    Entering one creates the home directory that the settings name. Outside of all blocks there is a root for the
    whole process, which every thread sees: the settings of the environment. Two are equal if their settings are.

    Args:
        settings: The settings.
    """

    __slots__ = ("settings",)
    _variable = _active_block

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @classmethod
    def get(cls) -> SettingsContext | None:
        """The active one, else the root; None only if the environment gives no valid settings."""
        try:
            return _active()
        except ConfigurationError:
            return None

    @classmethod
    def hydrate(cls, fields: Mapping[str, Any]) -> SettingsContext:
        """A context from what `serialize` gave, perhaps in another process.

        Raises:
            ConfigurationError: Those are no settings of this version.
        """
        settings = from_plain(fields["settings"])
        current = _active().settings
        # The same object where it is equal: what is opened for some settings is found by identity.
        return cls(current if current == settings else settings)

    def serialize(self, include_secrets: bool = True) -> dict[str, Any]:
        """The settings as plain data. See `ContextModel.serialize`."""
        plain = to_plain(self.settings)
        return {"settings": plain if include_secrets else without_secrets(self.settings, plain)}

    def __enter__(self) -> Self:
        ContextModel.__enter__(self)
        home = self.settings.home
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            warnings.warn(
                f"The home directory {str(home)!r} cannot be created: {error}. Set MAINSPRING_HOME to a folder that"
                f" can be written to.",
                RuntimeWarning,
                stacklevel=2,
            )
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SettingsContext):
            return NotImplemented
        return self.settings == other.settings

    def __hash__(self) -> int:
        settings = self.settings  # as a whole it may hold lists, which have no hash
        return hash((settings.home, settings.database_url, settings.durability, settings.debug_mode))


_root: SettingsContext | None = None


def get_current_settings() -> Settings:
    """The settings of the calling context. Cheap: the environment is read at the first call only.

    Raises:
        ConfigurationError: An environment variable does not fit its setting.
    """
    return (_active_block.get() or _root or _read_root()).settings


def get_settings_context() -> SettingsContext:
    """The context that the settings of the calling context come from: a block's, else the root of the process.

    Raises:
        MissingContextError: There is no block, and the environment gives no valid settings.
    """
    try:
        return _active()
    except ConfigurationError as error:
        raise MissingContextError(
            f"No settings context found: the environment is no help. {error}"
        ) from error


def reload_settings() -> Settings:
    """Read the environment again; blocks of `temporary_settings` that are open keep what they have."""
    return _read_root().settings


@contextmanager
def temporary_settings(updates: Mapping[str, Any]) -> Generator[Settings]:
    """Override some settings inside the block, for this context and copies of it.

    Unlike `SettingsContext`, it leaves the creation of a home directory to whoever needs one.

    Args:
        updates: Values by dotted name, for example ``{"tasks.default_retries": 2}``.

    Raises:
        ConfigurationError: There is no such setting, or a value does not fit.
    """
    block = SettingsContext(change_settings(get_current_settings(), updates))
    ContextModel.__enter__(block)
    try:
        yield block.settings
    finally:
        block.__exit__()


def _active() -> SettingsContext:
    return _active_block.get() or _root or _read_root()


def _read_root() -> SettingsContext:
    global _root
    _root = SettingsContext(get_settings_from_env())
    return _root
