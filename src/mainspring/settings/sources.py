"""Where settings come from: environment variables named after them, ``MAINSPRING_<GROUP>_<NAME>``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from mainspring.exceptions import ConfigurationError
from mainspring.settings.model import Settings

__all__ = ["change_settings", "from_plain", "get_settings_from_env", "setting_names", "to_plain"]

M = TypeVar("M", bound=msgspec.Struct)

PREFIX = "MAINSPRING_"


def setting_names(model: type[msgspec.Struct] = Settings, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted name and type of every setting, for example ``("tasks.default_retries", int)``."""
    for name, kind in get_type_hints(model).items():
        if name in model.__struct_fields__:
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                yield from setting_names(kind, f"{prefix}{name}.")
            else:
                yield prefix + name, kind


def get_settings_from_env(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings that environment variables and defaults give.

    Args:
        environ: The variables; ``os.environ`` when omitted.

    Raises:
        ConfigurationError: A variable's value does not fit its setting; the message names it.
    """
    environ = os.environ if environ is None else environ
    given = {variable: value for variable, value in environ.items() if variable.startswith(PREFIX)}
    if not given:
        return Settings()
    changes: dict[str, Any] = {}
    for name, kind in setting_names():
        variable = PREFIX + name.replace(".", "_").upper()
        if variable in given:
            changes[name] = _parse(variable, given[variable], kind)
    return change_settings(Settings(), changes)


def change_settings(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """A copy of ``settings`` with some dotted names set to other values.

    Raises:
        ConfigurationError: There is no such setting, or a value does not fit.
    """
    kinds = dict(setting_names())
    tree: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in kinds:
            raise ConfigurationError(
                f"There is no setting {name!r}. Settings are: {', '.join(sorted(kinds))}."
            )
        *groups, member = name.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[member] = _convert(name, value, kinds[name])
    return _rebuilt(settings, tree)


def to_plain(settings: Settings) -> dict[str, Any]:
    """The settings as dicts, lists, texts and numbers, secrets included."""
    plain: dict[str, Any] = msgspec.to_builtins(settings, enc_hook=str)
    return plain


def from_plain(plain: Mapping[str, Any]) -> Settings:
    """The settings that `to_plain` made plain, perhaps in another process.

    Raises:
        ConfigurationError: Those are no settings of this version.
    """
    try:
        return msgspec.convert(plain, Settings, dec_hook=lambda to, given: to(given))
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"The settings that another process handed over are no settings of this version of mainspring: {error}."
            f" Is the same version installed there?"
        ) from None


def _rebuilt(settings: M, changes: Mapping[str, Any]) -> M:
    """A copy made by the constructor, which checks what it is given; older msgspec's ``replace`` does not.

    Args:
        settings: The settings, or a group of them.
        changes: Values by name; for a group, the changes in it.
    """
    values = msgspec.structs.asdict(settings)
    for name, value in changes.items():
        group = values[name]
        values[name] = _rebuilt(group, value) if isinstance(group, msgspec.Struct) else value
    return type(settings)(**values)


def _parse(variable: str, text: str, kind: Any) -> Any:
    if text.startswith("["):
        try:
            return _convert(variable, msgspec.json.decode(text), kind)
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"{variable}={text!r} is no list: {error}.") from None
    return _convert(variable, text, kind)


def _convert(name: str, value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, strict=False, dec_hook=lambda to, given: to(given))
    except (msgspec.ValidationError, TypeError) as error:
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        reason = f"it is one of {', '.join(choices)}" if choices else str(error)
        raise ConfigurationError(f"The setting {name} cannot be {value!r}: {reason}.") from None
