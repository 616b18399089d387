"""Which settings hold: those of environment and files, read once, unless a block in this context overrides some."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Self

import msgspec

from mainspring._holder import ContextModel
from mainspring.exceptions import ConfigurationError, MissingContextError
from mainspring.settings.model import Settings
from mainspring.settings.secrets import without_secrets
from mainspring.settings.sources import CONFIG_FILE, from_plain, notices, read_settings
from mainspring.settings.values import nest

__all__ = [
    "SettingsContext",
    "forget_settings",
    "get_current_settings",
    "get_settings_context",
    "reload_settings",
    "temporary_settings",
]


_active_block: ContextVar[SettingsContext | None] = ContextVar("mainspring_settings", default=None)


class SettingsContext(ContextModel):
    """The settings that hold inside the block, for this context and copies of it.

    Entering one creates the home directory that the settings name. Outside of all blocks there is a root for the
    whole process, which every thread sees: the settings of the environment and of files. Two are equal if their
    settings are.

    Args:
        settings: The settings.
    """

    __slots__ = ("settings",)
    _variable = _active_block

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @classmethod
    def get(cls) -> SettingsContext | None:
        """The active one, else the root; None only if environment and files give no valid settings."""
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
        settings = _from_plain_again(fields["settings"])
        current = _active().settings
        # The same object where it is equal: what is opened for some settings is found by identity.
        return cls(current if current == settings else settings)

    def serialize(self, include_secrets: bool = True) -> dict[str, Any]:
        """What was set, as plain data; the rest are defaults on the other side, too. See `ContextModel.serialize`."""
        plain = nest({name: each.value for name, each in self.settings.given().items()})
        plain = msgspec.to_builtins(plain, enc_hook=str)
        return {"settings": plain if include_secrets else without_secrets(self.settings, plain)}

    def __enter__(self) -> Self:
        ContextModel.__enter__(self)
        home = self.settings.home
        try:
            _see_to_home(home)
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
        return hash(self.settings)


_LOOK_AGAIN = 1.0
"""Seconds for which a home directory that is there is not looked for again."""

_seen_home: tuple[Path, float] | None = None
_latest: tuple[bytes, Settings] | None = None


def _see_to_home(home: Path) -> None:
    """Create the home directory if it is not there; blocks that follow one another ask the system once.

    Raises:
        OSError: It cannot be created.
    """
    global _seen_home
    now = time.monotonic()
    if _seen_home is not None and _seen_home[0] == home and now < _seen_home[1]:
        return
    home.mkdir(parents=True, exist_ok=True)
    _seen_home = home, now + _LOOK_AGAIN


def _from_plain_again(plain: Mapping[str, Any]) -> Settings:
    """`from_plain`, which need not be done for each piece of work of the same process."""
    global _latest
    text = msgspec.msgpack.encode(plain)
    known = _latest
    if known is None or known[0] != text:
        _latest = known = text, from_plain(plain)
    return known[1]


_root: SettingsContext | None = None


def get_current_settings() -> Settings:
    """The settings of the calling context. Cheap: environment and files are read at the first call only.

    Raises:
        ConfigurationError: An environment variable or a file cannot be used; the message names it.
    """
    return (_active_block.get() or _root or _read_root()).settings


def get_settings_context() -> SettingsContext:
    """The context that the settings of the calling context come from: a block's, else the root of the process.

    Raises:
        MissingContextError: There is no block, and environment and files give no valid settings.
    """
    try:
        return _active()
    except ConfigurationError as error:
        raise MissingContextError(
            f"No settings context found: neither environment nor files are of help. {error}"
        ) from error


def reload_settings(*, tell: bool = True) -> Settings:
    """Read environment and files again; blocks of `temporary_settings` that are open keep what they have.

    Args:
        tell: Whether what looks like a mistake is to be a warning; once for each, in any case.

    Raises:
        ConfigurationError: An environment variable or a file cannot be used; what held before still does.
    """
    return _read_root(tell).settings


def forget_settings() -> None:
    """Have environment and files read again by whoever needs settings next, and mistakes in them told again."""
    global _root
    _root = None
    _told.clear()


@contextmanager
def temporary_settings(
    updates: Mapping[str, Any] | None = None,
    set_defaults: Mapping[str, Any] | None = None,
    restore_defaults: Iterable[str] | None = None,
) -> Generator[Settings]:
    """Override some settings inside the block, for this context and copies of it.

    Unlike `SettingsContext`, it leaves the creation of a home directory to whoever needs one.

    Args:
        updates: Values by dotted name, for example ``{"tasks.default_retries": 2}``.
        set_defaults: The same, for those settings only that nobody has set.
        restore_defaults: The dotted names of settings that are to have their default inside, whoever has set them.

    Raises:
        ConfigurationError: There is no such setting, or a value does not fit.
    """
    block = SettingsContext(get_current_settings().copy_with_update(updates, set_defaults, restore_defaults))
    ContextModel.__enter__(block)
    try:
        yield block.settings
    finally:
        block.__exit__()


def _active() -> SettingsContext:
    return _active_block.get() or _root or _read_root()


_told: set[str] = set()


def _read_root(tell: bool = True) -> SettingsContext:
    global _root
    strangers: list[Path] = []
    root = SettingsContext(read_settings(strangers=strangers))
    said = list(notices(os.environ))
    for path in strangers:
        said.append((_stranger(path), UserWarning))
    _root = root
    for text, kind in said:
        if text not in _told:
            _told.add(text)
            if tell:
                warnings.warn(text, kind, stacklevel=3)
    return root


def _stranger(path: Path) -> str:
    return (
        f"The settings file {str(path)!r} is not read: it is another user's, in a folder that everybody can write to."
        f" If you trust it, name it in {CONFIG_FILE}."
    )
