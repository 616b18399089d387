"""TOML texts as people have written them: where something stands, and changing a value without touching the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from mainspring.exceptions import ConfigurationError

__all__ = ["line_of", "parse_toml", "toml_literal", "with_value", "without_value"]

Key = tuple[str, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACES = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_TEXT = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}'
    + r"|'''(?:[^']|'(?!''))*'{3,5}"
    + r"""|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\r\n]+")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


class _Statement(NamedTuple):
    """A header of a table, or a key with a value.

    Args:
        table: The table that it stands in, or begins.
        key: The whole path of the key; of a header, that of its table.
        start: Where it begins.
        value: Where its value begins and ends; None for a header.
        end: The end of its last line, before the line end.
    """

    table: Key
    key: Key
    start: int
    value: tuple[int, int] | None
    end: int


def parse_toml(text: str) -> dict[str, Any]:
    """What a TOML text says.

    Raises:
        ValueError: It is no TOML; the message says what is wrong, and in which line.
    """
    import tomllib  # on use: it takes milliseconds to load, and most programs have no settings file

    return tomllib.loads(text)


def line_of(text: str, key: Key) -> int | None:
    """The number of the line in which a key or table stands, counted from 1; None if it stands nowhere by itself.

    Args:
        text: Valid TOML.
        key: The path of the key from the root.
    """
    found: _Statement | None = None
    for each in _statements(text):
        if each.key == key or (found is None and each.key[: len(key)] == key):
            found = each
        elif found is None and each.value is not None and key[: len(each.key)] == each.key:
            found = each  # an inline table
    return None if found is None else text.count("\n", 0, found.start) + 1


def toml_literal(value: Any) -> str:
    """A boolean, number, text, or list of these, as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_literal, cast('list[object]', value)))}]"
    if isinstance(value, int | float):
        return repr(value)
    escaped = "".join(
        _ESCAPES.get(each) or (each if each.isprintable() else _escape(each)) for each in str(value)
    )
    return f'"{escaped}"'


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


# Changing


def with_value(text: str, key: Key, value: Any, root: Key = ()) -> str:
    """The text with a value set: where the key stands already, else beside its siblings, else in a table of its own.

    Args:
        text: Valid TOML.
        key: The path of the key from the root of the file.
        value: See `toml_literal`.
        root: The table that holds all that is ours.

    Raises:
        ConfigurationError: The file is written in a way in which this cannot be done by itself.
    """
    literal, wanted = toml_literal(value), parse_toml(text)
    branch: Any = wanted
    for name in key[:-1]:
        branch = cast("dict[str, Any]", branch).setdefault(name, {})
        if not isinstance(branch, dict):
            raise _by_hand(text, key, f"{_dotted(key)} = {literal}")
    branch[key[-1]] = list(cast("tuple[object]", value)) if isinstance(value, tuple) else value
    changed = _set(text, key, literal, root)
    if changed is None or not _says(changed, wanted):
        raise _by_hand(text, key, f"{_dotted(key)} = {literal}")
    return changed


def without_value(text: str, key: Key) -> str | None:
    """The text without a key, and without its table if that is empty then. None if the key is not there.

    Raises:
        ConfigurationError: The file is written in a way in which this cannot be done by itself.
    """
    wanted = parse_toml(text)
    branches: list[dict[str, Any]] = [wanted]
    for name in key[:-1]:
        inner = branches[-1].get(name)
        if not isinstance(inner, dict):
            return None
        branches.append(cast("dict[str, Any]", inner))
    if key[-1] not in branches[-1]:
        return None
    del branches[-1][key[-1]]
    statements = list(_statements(text))
    found = next((each for each in statements if each.key == key and each.value is not None), None)
    if found is None:
        raise _by_hand(text, key, "remove it there")
    start, end = _line_start(text, found.start), _next_line(text, found.end)
    follows_blank = start == 0 or not text[_line_start(text, start - 1) : start].strip()
    while follows_blank and end < len(text) and not text[end : _next_line(text, end)].strip():
        end = _next_line(text, end)  # of the blank lines around a lonely one, those above it are enough
    changed = _cut(text, start, end)
    changed = _without_empty_table(changed, found.table)
    if not _says(changed, wanted, ignore_empty=True):
        raise _by_hand(text, key, "remove it there")
    return changed


def _set(text: str, key: Key, literal: str, root: Key) -> str | None:
    statements = list(_statements(text))
    parent, line_end = key[:-1], _line_end(text)
    siblings: list[_Statement] = []
    header: _Statement | None = None
    for each in statements:
        if each.key == key and each.value is not None:
            return text[: each.value[0]] + literal + text[each.value[1] :]
        if each.value is None:
            header = each if each.table == parent else header
        elif each.key[: len(parent)] == parent and len(each.table) <= len(parent):
            siblings.append(each)
        elif key[: len(each.key)] == each.key:
            return None  # an inline table
    if siblings:
        near = siblings[-1]
        indent = text[_line_start(text, near.start) : near.start]
        return _inserted(text, near.end, f"{indent}{_dotted(key[len(near.table) :])} = {literal}", line_end)
    line = f"{_dotted(key[-1:])} = {literal}"
    if header is not None:
        return _inserted(text, header.end, line, line_end)
    if not parent:
        return _before_first_table(text, statements, line, line_end)
    ours = [each for each in statements if root and each.table[: len(root)] == root]
    at = ours[-1].end if ours else len(text.rstrip("\r\n \t"))
    blank = line_end if text[:at].strip() else ""
    return _inserted(text, at, f"{blank}[{_dotted(parent)}]{line_end}{line}", line_end)


def _before_first_table(text: str, statements: list[_Statement], line: str, line_end: str) -> str:
    """With a key of the root in the place where those have to be: above all tables, and the comment on the first."""
    if not statements:
        return _inserted(text, len(text.rstrip("\r\n \t")), line, line_end)
    at = _line_start(text, statements[0].start)
    while at > 0 and text[_line_start(text, at - 1) : at].lstrip().startswith("#"):
        at = _line_start(text, at - 1)
    return f"{text[:at]}{line}{line_end}{line_end}{text[at:]}"


def _inserted(text: str, at: int, lines: str, line_end: str) -> str:
    """With lines after the one that ends at a place."""
    before, after = text[:at], text[at:]
    if before and not before.endswith("\n"):
        before += line_end
    if after.startswith(("\r\n", "\n")):
        after = after[after.index("\n") + 1 :]
    return f"{before}{lines}{line_end}{after}"


def _without_empty_table(text: str, table: Key) -> str:
    """Without the header of a table that has nothing in it any more, no comment either."""
    statements = list(_statements(text))
    for number, each in enumerate(statements):
        if each.value is None and each.table == table:
            last = number + 1 == len(statements)
            end = len(text) if last else _line_start(text, statements[number + 1].start)
            if text[each.end : end].strip() or (not last and statements[number + 1].value is not None):
                return text
            start = _line_start(text, each.start)
            if not last:
                return _cut(text, start, end)
            kept = text[:start].rstrip("\r\n \t")
            return kept + _line_end(text) if kept else ""
    return text


def _says(text: str, wanted: dict[str, Any], ignore_empty: bool = False) -> bool:
    try:
        found = parse_toml(text)
    except ValueError:
        return False
    return _pruned(found) == _pruned(wanted) if ignore_empty else found == wanted


def _pruned(tree: dict[str, Any]) -> dict[str, Any]:
    """Without empty tables, at any depth."""
    pruned = {
        name: _pruned(cast("dict[str, Any]", each)) if isinstance(each, dict) else each
        for name, each in tree.items()
    }
    return {name: each for name, each in pruned.items() if each != {}}


def _by_hand(text: str, key: Key, what: str) -> ConfigurationError:
    line = line_of(text, key)
    where = "" if line is None else f" (line {line})"
    return ConfigurationError(
        f"{_dotted(key)} cannot be changed automatically in a file that is written like this{where}."
        f" Change it by hand: {what}"
    )


def _dotted(key: Key) -> str:
    return ".".join(name if _BARE.fullmatch(name) else toml_literal(name) for name in key)


def _cut(text: str, start: int, end: int) -> str:
    return text[:start] + text[end:]


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _next_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


# Reading. The text is known to be valid, so this only has to find where things end.


def _statements(text: str) -> Iterator[_Statement]:
    table: Key = ()
    at = _end(_BLANK, text, 0)
    while at < len(text):
        start = at
        if text[at] == "[":
            opening = 2 if text.startswith("[[", at) else 1
            table, at = _read_key(text, at + opening)
            key, value = table, None
            at += opening
        else:
            key, at = _read_key(text, at)
            key = table + key
            begin = _end(_SPACES, text, at + 1)  # behind the equals sign
            at = _value_end(text, begin)
            value = (begin, at)
        end = text.find("\n", at)
        end = len(text) if end < 0 else end - (text[end - 1] == "\r")
        yield _Statement(table, key, start, value, end)
        at = _end(_BLANK, text, end)


def _read_key(text: str, at: int) -> tuple[Key, int]:
    parts: list[str] = []
    while True:
        at = _end(_SPACES, text, at)
        match = _KEY.match(text, at)
        assert match is not None, "the text is valid TOML"
        part = match[0]
        parts.append(str(parse_toml(f"k = {part}")["k"]) if part[0] in "\"'" else part)
        at = _end(_SPACES, text, match.end())
        if not text.startswith(".", at):
            return tuple(parts), at
        at += 1


def _value_end(text: str, at: int) -> int:
    if text[at] in "\"'":
        return _end(_TEXT, text, at)
    if text[at] not in "[{":
        match = _SCALAR.match(text, at)
        assert match is not None, "the text is valid TOML"
        return at + len(match[0].rstrip())
    closing = "]" if text[at] == "[" else "}"
    at = _end(_BLANK, text, at + 1)
    while text[at] != closing:
        if closing == "}":
            at = _end(_SPACES, text, _read_key(text, at)[1] + 1)
        at = _end(_BLANK, text, _value_end(text, at))
        if text[at] == ",":
            at = _end(_BLANK, text, at + 1)
    return at + 1


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    assert match is not None, "the text is valid TOML"
    return match.end()
