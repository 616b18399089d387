"""Changing TOML that somebody has written: the value and nothing else."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.exceptions import ConfigurationError
from mainspring.settings.documents import line_of, toml_literal, with_value, without_value

WRITTEN = """\
# What holds for this project.
durability = "disk"   # power cuts

[tasks]
default_retries = 2 # twice is enough
default_retry_delay_seconds = [
  1,  # a second, then
  10, # ten "]"
]

# Limits of the pool
[tasks.runner]
max_in_flight = 10

[logging]
level = '''
INFO'''
"""


@pytest.mark.parametrize(
    ("key", "value", "old", "new"),
    [
        ("durability", "relaxed", '"disk"', '"relaxed"'),
        ("tasks.default_retries", 3, "= 2 #", "= 3 #"),
        ("tasks.default_retry_delay_seconds", [1.5], WRITTEN[110:157], "[1.5]"),
        ("logging.level", "DEBUG", "'''\nINFO'''", '"DEBUG"'),
    ],
)
def test_a_value_is_replaced(key: str, value: Any, old: str, new: str) -> None:
    """Only the value changes: comments, spaces and everything else stay."""
    if old not in WRITTEN or "\n" in old:
        start = WRITTEN.index("[\n  1,") if "delay" in key else WRITTEN.index("'''")
        end = WRITTEN.index("]\n\n# Limits") + 1 if "delay" in key else WRITTEN.rindex("'''") + 3
        old = WRITTEN[start:end]
    assert with_value(WRITTEN, tuple(key.split(".")), value) == WRITTEN.replace(old, new)


@pytest.mark.parametrize(
    ("text", "key", "value", "expected"),
    [
        ("", "debug_mode", True, "debug_mode = true\n"),
        ("", "tasks.runner.max_in_flight", 5, "[tasks.runner]\nmax_in_flight = 5\n"),
        ("# note\n", "debug_mode", True, "# note\ndebug_mode = true\n"),
        ("a = 1", "b", 2, "a = 1\nb = 2\n"),
        ("a = 1 # one\n\n[t]\n", "b", 2, "a = 1 # one\nb = 2\n\n[t]\n"),
        ("[t]\nx = 1\n", "b", 2, "b = 2\n\n[t]\nx = 1\n"),
        ("# all\n\n# on t\n[t]\nx = 1\n", "b", 2, "# all\n\nb = 2\n\n# on t\n[t]\nx = 1\n"),
        ("[t]\n  x = 1\n\n[u]\ny = 1\n", "t.z", 2, "[t]\n  x = 1\n  z = 2\n\n[u]\ny = 1\n"),
        ("[t] # empty\n[u]\n", "t.z", 2, "[t] # empty\nz = 2\n[u]\n"),
        ("t.x = 1\n\n[u]\n", "t.z", 2, "t.x = 1\nt.z = 2\n\n[u]\n"),
        ("t.u.x = 1\n", "t.z", 2, "t.u.x = 1\nt.z = 2\n"),
        ("[u]\ny = 1\n\n\n", "t.z", 2, "[u]\ny = 1\n\n[t]\nz = 2\n\n\n"),
        ("[t]\r\nx = 1\r\n", "t.z", 2, "[t]\r\nx = 1\r\nz = 2\r\n"),
        ('["t"]\n"x" = 1\n', "t.x", 2, '["t"]\n"x" = 2\n'),
    ],
)
def test_a_value_is_added(text: str, key: str, value: Any, expected: str) -> None:
    """It goes beside its siblings, into its table, or into a new one, wherever it is read as what it is."""
    changed = with_value(text, tuple(key.split(".")), value)
    assert changed == expected


def test_a_table_of_a_tool_is_kept_together() -> None:
    """A new table goes behind the others of the tool, not to the end of the file."""
    text = "[project]\nname = 'x'\n\n[tool.mainspring]\ndebug_mode = true\n\n[tool.other]\nx = 1\n"
    root = ("tool", "mainspring")
    changed = with_value(text, (*root, "tasks", "default_retries"), 1, root)
    added = "\n[tool.mainspring.tasks]\ndefault_retries = 1\n"
    assert changed == text.replace("debug_mode = true\n", f"debug_mode = true\n{added}")


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (WRITTEN, "durability", WRITTEN.replace('durability = "disk"   # power cuts\n', "")),
        (
            WRITTEN,
            "tasks.runner.max_in_flight",
            WRITTEN.replace("[tasks.runner]\nmax_in_flight = 10\n\n", ""),
        ),
        ("a = 1\n\n[t]\nx = 1\n", "t.x", "a = 1\n"),
        ("a = 1\n\n[t]\nx = 1\n", "a", "[t]\nx = 1\n"),
        ("a = 1\n\nb = 2\n\nc = 3\n", "b", "a = 1\n\nc = 3\n"),
        ("[t]\nx = 1\n", "t.x", ""),
        ("[t]\n# why\nx = 1\n", "t.x", "[t]\n# why\n"),
        ("[t]\nx = 1\ny = 2\n", "t.x", "[t]\ny = 2\n"),
        ("t.x = 1\nt.y = 2", "t.y", "t.x = 1\n"),
    ],
)
def test_a_value_is_removed(text: str, key: str, expected: str) -> None:
    """Its lines go, and a table that has nothing left in it, no comment either."""
    assert without_value(text, tuple(key.split("."))) == expected


@pytest.mark.parametrize("key", ["home", "tasks.refresh_cache", "results.default_storage", "durability.x"])
def test_a_value_that_is_not_there(key: str) -> None:
    """There is nothing to remove."""
    assert without_value(WRITTEN, tuple(key.split("."))) is None


@pytest.mark.parametrize("text", ["tasks = {default_retries = 1}\n", "a = 1\ntasks = 5\n"])
def test_what_has_to_be_done_by_hand(text: str) -> None:
    """A value inside of an inline table is left to people, who are told the line."""
    key = ("tasks", "default_retries")
    line = text[: text.index("tasks")].count("\n") + 1
    with pytest.raises(ConfigurationError, match=rf"line {line}.*by hand: tasks\.default_retries = 2"):
        with_value(text, key, 2)
    if "{" in text:
        with pytest.raises(ConfigurationError, match="by hand"):
            without_value(text, key)


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("durability", 2),
        ("tasks", 4),
        ("tasks.default_retries", 5),
        ("tasks.runner.max_in_flight", 13),
        ("x", None),
    ],
)
def test_lines(key: str, line: int | None) -> None:
    """The line of a key or a table is found, behind values of several lines, too."""
    assert line_of(WRITTEN, tuple(key.split("."))) == line


@given(
    st.one_of(
        st.booleans(),
        st.integers(-(2**62), 2**62),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
    )
)
def test_values_as_toml(value: Any) -> None:
    """Whatever a setting may be is read back as it was."""
    assert tomllib.loads(f"k = {toml_literal(value)}")["k"] == value


NAMES = st.sampled_from(["a", "b", "c-d", "e f"])
VALUES = st.one_of(
    st.sampled_from(
        ["1", '"x # ]"', "'''\na = 1\n[b]'''", '"""q\\"\n"""', "[1, [2, '}'], # c\n]", "{ x = 1, 'y' = [2] }"]
    ),
    st.sampled_from(["1979-05-27 07:32:00", "true", "-1.5e3", "''", '""', "[]", "{}"]),
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """TOML in many ways of writing, mostly valid."""
    lines: list[str] = []
    for _ in range(draw(st.integers(0, 8))):
        key = ".".join(
            f'"{part}"' if " " in part else part for part in draw(st.lists(NAMES, min_size=1, max_size=3))
        )
        comment = draw(st.sampled_from(["", " # note = 1", " # [x]"]))
        kind = draw(st.sampled_from(["value", "value", "table", "array", "blank", "comment"]))
        lines.append(
            {
                "value": f"{key}= {draw(VALUES)}{comment}",
                "table": f"[ {key} ]{comment}",
                "array": f"[[{key}]]",
                "blank": draw(st.sampled_from(["", "  ", "\t"])),
                "comment": "# k = '''",
            }[kind]
        )
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines) + draw(st.sampled_from(["", "\n"]))


def set_in(data: dict[str, Any], key: tuple[str, ...], value: Any) -> dict[str, Any]:
    changed = dict(data)
    changed[key[0]] = value if len(key) == 1 else set_in(changed.get(key[0], {}), key[1:], value)
    return changed


@given(documents(), st.lists(NAMES, min_size=1, max_size=3).map(tuple))
def test_any_document(text: str, key: tuple[str, ...]) -> None:
    """Whatever a file is like, it says afterwards what it said before, and the new value; or it is refused."""
    try:
        before = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    line_of(text, key)
    try:
        changed = with_value(text, key, 7)
    except ConfigurationError:
        return
    assert tomllib.loads(changed) == set_in(before, key, 7)
    try:
        again = without_value(changed, key)
    except ConfigurationError:
        return
    assert again is not None
    left = tomllib.loads(again)
    for part in key[:-1]:
        left = left.get(part, {})
    assert key[-1] not in left
