"""Settings files: which ones there are for a folder, and what they say.

``mainspring.toml`` has the settings as tables, ``pyproject.toml`` below ``[tool.mainspring]``. Both are looked for in a
folder and in those around it, up to the root of a repository (where ``.git`` is) or the home directory of the user. A
``mainspring.toml`` in the home of mainspring holds for all programs of the user.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from mainspring._imports import modules_on_use
from mainspring.exceptions import ConfigurationError
from mainspring.settings.model import Given, Settings, Source
from mainspring.settings.values import convert, setting_kinds, suggestion

if TYPE_CHECKING:
    from mainspring.settings import documents
else:
    documents = modules_on_use("mainspring.settings", "documents")

__all__ = [
    "FILE_NAME",
    "PROJECT_FILE_NAME",
    "SettingsFile",
    "anchored",
    "find_project_files",
    "parse_file",
    "read_file",
    "read_text",
    "user_file",
]

FILE_NAME = "mainspring.toml"
PROJECT_FILE_NAME = "pyproject.toml"

_TOOL_TABLE = (
    rb"""(?m)^[ \t]*(?:\[[ \t]*["']?tool["']?[ \t]*(?:\]|\.[ \t]*["']?mainspring\b)"""
    rb"""|["']?tool["']?[ \t]*[.=])"""
)
_ADDRESSES = frozenset({"database_url", "results.default_storage"})
"""Settings that are texts, and may be paths."""


class SettingsFile(msgspec.Struct, frozen=True):
    """A file with settings.

    Args:
        path: Where it is.
        table: The table that holds the settings: that of the tool, or the root.
    """

    path: Path
    table: tuple[str, ...] = ()

    @classmethod
    def at(cls, path: Path) -> SettingsFile:
        """The file at a path; how it is laid out depends on its name."""
        return cls(path, ("tool", "mainspring") if path.name == PROJECT_FILE_NAME else ())


def user_file(home: Path) -> SettingsFile:
    """The user's own file, in the home of mainspring."""
    return SettingsFile(home / FILE_NAME)


def find_project_files(folder: Path, strangers: list[Path] | None = None) -> list[SettingsFile]:
    """The files that hold in a folder, the one that wins first: the nearest ``mainspring.toml``, and the nearest
    ``pyproject.toml`` with a table for mainspring.

    Args:
        folder: Where to begin, an absolute path.
        strangers: Is given the files that were passed over because somebody else could have put them there.
    """
    last = os.path.expanduser("~")  # noqa: PTH111 - says nothing if there is no home
    plain: SettingsFile | None = None
    project: SettingsFile | None = None
    inner, each = "", str(folder)
    while each != inner:  # texts: a look at a folder is three times as quick as with Path objects
        if plain is None and _is_ours(path := f"{each}/{FILE_NAME}", strangers):
            plain = SettingsFile.at(Path(path))
        if project is None and _has_tool_table(path := f"{each}/{PROJECT_FILE_NAME}", strangers):
            project = SettingsFile.at(Path(path))
        if each == last or os.path.lexists(f"{each}/.git"):
            break
        inner, each = each, os.path.dirname(each)  # noqa: PTH120 - likewise
    return [found for found in (plain, project) if found is not None]


def _is_ours(path: str, strangers: list[Path] | None) -> bool:
    """Whether there is a file, and nobody else has put it into a folder like ``/tmp``: settings lead to code."""
    try:
        found = os.stat(path)  # noqa: PTH116 - likewise
    except OSError:
        return False
    if not stat.S_ISREG(found.st_mode):
        return False
    if found.st_uid not in (os.geteuid(), 0) and Path(path).parent.stat().st_mode & stat.S_IWOTH:
        if strangers is not None:
            strangers.append(Path(path))
        return False
    return True


def _has_tool_table(path: str, strangers: list[Path] | None) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - likewise
            content = file.read()
    except OSError:
        return False
    # Most of them say nothing about mainspring, and are not worth to be parsed.
    if not re.search(_TOOL_TABLE, content) or not _is_ours(path, strangers):
        return False
    tool = parse_file(Path(path), read_text(Path(path))).get("tool")
    return isinstance(tool, dict) and "mainspring" in tool


def read_text(path: Path) -> str:
    """What is in a file.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8")  # with its line ends
    except OSError as error:
        raise ConfigurationError(
            f"The settings file {str(path)!r} cannot be read: {error.strerror or error}."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"The settings file {str(path)!r} is not in UTF-8: {error}.") from None


def parse_file(path: Path, text: str) -> dict[str, Any]:
    """What the text of a file says.

    Raises:
        ConfigurationError: It is no TOML; the message names the line.
    """
    try:
        return documents.parse_toml(text)
    except ValueError as error:
        raise ConfigurationError(
            f"The settings file {str(path)!r} is no valid TOML: {error}. Correct it there."
        ) from None


def read_file(file: SettingsFile) -> dict[str, Given]:
    """The settings in a file, by dotted name. Relative paths are relative to its folder.

    Args:
        file: The file.

    Raises:
        ConfigurationError: It cannot be read, is no TOML, names a setting that does not exist, or gives one a value
            that does not fit. The message says where.
    """
    text = read_text(file.path)
    table: Any = parse_file(file.path, text)
    for name in file.table:
        table = cast("dict[str, Any]", table).get(name, {}) if isinstance(table, dict) else {}
    given: dict[str, Given] = {}
    if not isinstance(table, dict):
        raise ConfigurationError(f"{'.'.join(file.table)} in {str(file.path)!r} has to be a table.")
    kinds = setting_kinds(Settings)
    for parts, value in _entries(cast("dict[str, Any]", table)):
        name = ".".join(parts)
        source = Source("file", str(file.path), documents.line_of(text, (*file.table, *parts)))
        if name not in kinds:
            raise ConfigurationError(_unknown(name, value, source))
        try:
            converted = convert(name, value, kinds[name])
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}{source.sentence()}") from None
        given[name] = Given(anchored(name, converted, file.path.parent), source)
    return given


def _entries(table: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    groups = {name[: name.rfind(".")] for name in setting_kinds(Settings) if "." in name}
    for name, value in table.items():
        path = (*prefix, name)
        if isinstance(value, dict) and any(f"{each}.".startswith(f"{'.'.join(path)}.") for each in groups):
            yield from _entries(cast("dict[str, Any]", value), path)
        else:
            yield path, value


def _unknown(name: str, value: Any, source: Source) -> str:
    kinds = setting_kinds(Settings)
    members = [each for each in kinds if each.startswith(f"{name}.")]
    if members:
        return f"{name!r} is a group of settings, and has to be a table, not {value!r} ({source})."
    if isinstance(value, dict):
        groups = {each.rpartition(".")[0]: None for each in kinds if "." in each}
        return (
            f"There is no group of settings {name!r} ({source}).{suggestion(name, groups)}"
            f" Groups are: {', '.join(sorted(groups))}."
        )
    return (
        f"There is no setting {name!r} ({source}).{suggestion(name, kinds)}"
        f" `mainspring config view --show-defaults` lists all."
    )


def anchored(name: str, value: Any, folder: Path) -> Any:
    """A value whose relative path, if it is one, is relative to a folder."""
    if isinstance(value, Path):
        return folder / value if _is_relative(str(value)) else value
    if name not in _ADDRESSES or not isinstance(value, str) or value == ":memory:":
        return value
    scheme, separator, rest = value.partition("://")
    if not separator:
        return str(folder / value) if value and _is_relative(value) else value
    path = rest.removeprefix("/")
    if scheme == "sqlite" and rest.startswith("/") and path and _is_relative(path):
        return f"sqlite:///{folder / path}"
    return value


def _is_relative(path: str) -> bool:
    return not path.startswith(("/", "~", "${"))
