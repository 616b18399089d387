"""The reference lists what there is: no more, no less, and with the right defaults."""

import re
import sqlite3
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import msgspec
import pytest
import typer

from mainspring.cli import app
from mainspring.client import get_client
from mainspring.settings import Settings
from mainspring.settings.values import setting_names
from mainspring.states import StateType
from tests.architecture.test_layers import LAYERS
from tests.docs.pages import DOCS
from tools import lifecycle

REFERENCE = DOCS / "reference"


def sections(page: Path) -> dict[str, str]:
    """The sections of a page by heading."""
    parts = re.split(r"^## (.+)\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> Iterator[list[str]]:
    """The cells of the tables in a text, without their headers."""
    for line in re.sub(r"^\|.*\|\n\|[-|]+\|\n", "", text, flags=re.MULTILINE).splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def code(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def test_lifecycle_is_up_to_date() -> None:
    """The diagram and the table of moves are what the state machine says."""
    assert lifecycle.DIAGRAM.read_text(encoding="utf-8") == lifecycle.diagram(), "run `make docs`"
    assert lifecycle.PAGE.read_text(encoding="utf-8") == lifecycle.page(), "run `make docs`"


def test_every_state_is_explained() -> None:
    """The table of states has every type, with every name that a move leads to."""
    told = {(row[0], *code(row[1])) for row in rows(sections(REFERENCE / "lifecycle.md")["States"])}
    assert told == {(kind.value, name) for kind in StateType for name in lifecycle.names(kind)}


def test_settings() -> None:
    """The table of settings has each one with its variable and its default."""
    defaults = msgspec.to_builtins(Settings(), enc_hook=str)
    told = {}
    for name, variable, default, _ in rows((REFERENCE / "settings.md").read_text().partition("## ")[0]):
        told[code(name)[0]] = (code(variable)[0], *code(default))
    home = str(Path("~/.mainspring").expanduser())
    expected = {}
    for name, _ in setting_names(Settings):
        value = defaults
        for part in name.split("."):
            value = value[part]
        text = str(value).lower() if isinstance(value, bool) else str(value).replace(home, "~/.mainspring")
        variable = f"MAINSPRING_{name.replace('.', '_').upper()}"
        expected[name] = (variable,) if value in (None, ()) else (variable, text)
    assert told == expected


@pytest.fixture
def database(mainspring_home: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a fresh run store."""
    get_client()
    connection = sqlite3.connect(mainspring_home / "mainspring.db")
    yield connection
    connection.close()


def test_schema(database: sqlite3.Connection) -> None:
    """Each table and view has its section, which lists the columns in their order, with the types."""
    told = sections(REFERENCE / "schema.md")
    kinds = database.execute(
        "SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view')"
    ).fetchall()
    for name, kind in kinds:
        if name.startswith("readable_"):
            assert name in code(told["Readable views"])
            continue
        columns = database.execute(f"SELECT name, type FROM pragma_table_info('{name}')").fetchall()
        written = list(rows(told[name]))
        assert [code(row[0])[0] for row in written] == [column for column, _ in columns], name
        if kind == "table":
            assert [row[1] for row in written] == [of_type for _, of_type in columns], name


def test_indexes(database: sqlite3.Connection) -> None:
    """The indexes are named."""
    indexes = database.execute("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
    told = code(sections(REFERENCE / "schema.md")["Indexes"])
    assert {name for (name,) in indexes} <= set(told)


def test_readable_views_mirror_tables(database: sqlite3.Connection) -> None:
    """What the page says about the readable views in general holds for each of them."""
    views = database.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'readable%'").fetchall()
    for (view,) in views:
        table = view.removeprefix("readable_")
        columns = "SELECT name FROM pragma_table_info(?)"
        assert database.execute(columns, (view,)).fetchall() == database.execute(columns, (table,)).fetchall()


def commands() -> Iterator[tuple[str, set[str]]]:
    """The usage line of each command, and its options."""
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        for path, leaf in [
            (f"{name} {sub}", each) for sub, each in getattr(command, "commands", {}).items()
        ] or [(name, command)]:
            arguments = [each for each in leaf.params if each.param_type_name == "argument"]
            options = [each for each in leaf.params if each.param_type_name == "option"]
            usage = " ".join(["mainspring", path, *(each.metavar for each in arguments)])
            yield usage, {text for option in options for text in (*option.opts, *option.secondary_opts)}


def test_commands() -> None:
    """Each command has its section, with the options that it takes."""
    told = {
        title: {text.split()[0] for row in rows(text) for text in code(row[0]) if text.startswith("-")}
        for title, text in sections(REFERENCE / "command.md").items()
        if title.startswith("mainspring ")
    }
    expected = {usage: options - {"-h", "--help"} for usage, options in commands()}
    assert told == expected


def test_api_modules() -> None:
    """Each page of the API is about the module that it is named after, and is in the overview."""
    pages = {path.stem for path in (REFERENCE / "api").glob("*.md")} - {"index"}
    for name in pages:
        import_module(f"mainspring.{name}")
        assert f"automodule:: mainspring.{name}\n" in (REFERENCE / "api" / f"{name}.md").read_text()
    overview = (REFERENCE / "api" / "index.md").read_text()
    assert {link.removesuffix(".md") for link in re.findall(r"\(([\w.]+\.md)\)", overview)} == pages


def test_layers() -> None:
    """The table of layers is the one that is enforced."""
    package = Path(import_module("mainspring").__file__ or "").parent
    told = sections(DOCS / "explanation" / "architecture.md")["Who may import whom"]
    for layer, modules in rows(told):
        real = {
            name
            for name in LAYERS[int(layer)]
            if (package / name).is_dir() or (package / f"{name}.py").is_file()
        }
        named = set(code(modules))
        spelled = {"__init__": "mainspring", "__main__": "python -m mainspring"}
        assert named == {spelled.get(name, name) for name in real}, f"layer {layer}"
