"""What ``mainspring config set`` and ``mainspring config unset`` do."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mainspring.cli.rendering import one_line
from mainspring.exceptions import ConfigurationError
from mainspring.settings import Given, Settings, Source
from mainspring.settings.documents import with_value, without_value
from mainspring.settings.files import (
    FILE_NAME,
    SettingsFile,
    anchored,
    find_project_files,
    parse_file,
    read_text,
    user_file,
)
from mainspring.settings.model import build_settings, kind_of
from mainspring.settings.sources import CONFIG_FILE, find_files, find_home, read_settings
from mainspring.settings.values import describe_kind, parse, setting_kinds, to_text, variable_of

__all__ = ["choose_file", "complete_names", "set_values", "unset_values"]


def choose_file(path: Path | None, user: bool, project: bool) -> SettingsFile:
    """The file that the options name; the user's own without any.

    Raises:
        ConfigurationError: They name several.
    """
    if (path is not None) + user + project > 1:
        raise ConfigurationError("Only one of --file, --user and --project can be given.")
    if path is not None:
        return SettingsFile.at(path.expanduser().absolute())
    if project:
        found = find_project_files(Path.cwd())
        return found[0] if found else SettingsFile(Path.cwd() / FILE_NAME)
    return user_file(find_home(os.environ).absolute())


def set_values(assignments: Sequence[str], file: SettingsFile) -> None:
    """Set settings in a file, all or none, and say so.

    Args:
        assignments: Names and values, ``NAME=VALUE``.
        file: The file.

    Raises:
        ConfigurationError: A name or value is none, or the file cannot be changed.
    """
    values = dict(_assignment(each, file) for each in assignments)
    with _locked(file.path):
        text = read_text(file.path) if file.path.exists() else ""
        parse_file(file.path, text)
        changed = text
        for name, value in values.items():
            key, written = (*file.table, *name.split(".")), str(value) if isinstance(value, Path) else value
            changed = with_value(changed, key, written, file.table)
        if changed != text:
            _replace(file.path, changed)
    for name, value in values.items():
        shown = build_settings({name: Given(value, Source("code"))}).with_obfuscated_secrets().value_of(name)
        _say(f"Set {name} = {one_line(to_text(shown))} in {file.path}")
    _tell_effect(values, file)


def unset_values(names: Sequence[str], file: SettingsFile) -> None:
    """Remove settings from a file, all or none, and say so. Names that are no settings can be removed, too.

    Raises:
        ConfigurationError: One of them is not set there, or the file cannot be changed.
    """
    with _locked(file.path):
        text = read_text(file.path) if file.path.exists() else ""
        parse_file(file.path, text)
        removed: list[str] = []
        for given in names:
            key = (*file.table, *given.split("."))
            changed = without_value(text, key)
            if changed is None:
                given = _name(given)
                changed = without_value(text, (*file.table, *given.split(".")))
            if changed is None:
                raise ConfigurationError(f"{given} is not set in {str(file.path)!r}.{_elsewhere(given)}")
            text = changed
            removed.append(given)
        _replace(file.path, text)
    for name in removed:
        _say(f"Removed {name} from {file.path}")
    _tell_effect([name for name in removed if name in setting_kinds(Settings)], None)


def complete_names(incomplete: str) -> list[tuple[str, str]]:
    """The dotted names that begin with what was typed, each with what it takes."""
    return [
        (name, describe_kind(kind))
        for name, kind in setting_kinds(Settings).items()
        if name.startswith(incomplete)
    ]


def _assignment(text: str, file: SettingsFile) -> tuple[str, Any]:
    """A name, and its value as the file is to have it."""
    given, separator, written = text.partition("=")
    if not separator:
        raise ConfigurationError(f"{text!r} is no setting with a value. Write NAME=VALUE.")
    name = _name(given.strip())
    value = parse(name, written, kind_of(name))
    if value is None:
        raise ConfigurationError(
            f"{name} cannot be set to nothing. `mainspring config unset {name}` removes it."
        )
    folder = Path.cwd()
    if file.path.parent != folder:  # there a relative path would mean something else
        value = _seen_from(file.path.parent, anchored(name, value, folder), value)
    build_settings({name: Given(value, Source("code"))})
    if name == "home" and _is_users(file.path):
        raise ConfigurationError(
            f"home cannot be set in {str(file.path)!r}: that file is found by it. Set {variable_of(name)}, or use"
            f" --project."
        )
    return name, value


def _seen_from(folder: Path, anchored_value: Any, value: Any) -> Any:
    """A relative path for another folder: relative if it leads into that, so that it stays right in other copies."""
    if anchored_value == value:
        return value
    relative = str(anchored_value).replace(f"{folder}/", "", 1)
    return Path(relative) if isinstance(value, Path) else relative


def _name(text: str) -> str:
    """A dotted name, which may be given as the environment variable is called."""
    for name in setting_kinds(Settings):
        if text.upper() in (variable_of(name), name.upper()):
            return name
    kind_of(text)
    return text


def _is_users(path: Path) -> bool:
    return path == user_file(find_home(os.environ).absolute()).path


# The file


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """Keep other commands from changing the file inside of the block."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise ConfigurationError(
            f"The settings file {str(path)!r} cannot be written: {error.strerror or error}."
        ) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _replace(path: Path, text: str) -> None:
    """Put a text in the place of a file in one step; whoever reads it meanwhile finds the old one or the new one."""
    target = path.resolve()  # a link stays a link
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        before = target.stat() if target.exists() else None
        mode = 0o600 if before is None and _is_users(path) else 0o666  # it may hold passwords
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with open(number, "wb") as file:  # noqa: PTH123 - made by os.open, for its mode
                if before is not None:
                    os.fchmod(number, before.st_mode & 0o7777)
                    if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()) and os.geteuid() == 0:
                        os.fchown(number, before.st_uid, before.st_gid)
                file.write(text.encode())
                file.flush()
                os.fsync(number)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigurationError(
            f"The settings file {str(path)!r} cannot be written: {error.strerror or error}. It is as it was."
        ) from None


# What is said


def _tell_effect(names: Iterable[str], file: SettingsFile | None) -> None:
    """Warn if a setting has another value than was just written, or still has one after it was removed."""
    try:
        settings = read_settings()
    except ConfigurationError as error:
        _warn(f"The settings as a whole still cannot be used. {error}")
        return
    for name in names:
        source = settings.source_of(name)
        if file is None:
            if source.kind != "default":
                _warn(f"{name} is still {one_line(_masked(settings, name))}.{source.sentence()}")
        elif source.place != str(file.path):
            if source.kind == "default":
                _warn(_not_read(file))
                return
            _warn(f"{name} is {one_line(_masked(settings, name))} all the same.{source.sentence()}")


def _masked(settings: Settings, name: str) -> str:
    return to_text(settings.with_obfuscated_secrets().value_of(name))


def _not_read(file: SettingsFile) -> str:
    try:
        if find_files(os.environ) is None:
            return f"{file.path} is not read: {CONFIG_FILE} says so."
    except ConfigurationError:
        pass
    return f"{file.path} is not read in this folder. {CONFIG_FILE} can name it."


def _elsewhere(name: str) -> str:
    """Where it is set, for the end of a message."""
    try:
        return read_settings().source_of(name).sentence()
    except ConfigurationError:
        return ""


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _warn(text: str) -> None:
    sys.stderr.write(f"Warning: {text}\n")
