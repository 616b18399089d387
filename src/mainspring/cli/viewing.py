"""What ``mainspring config view`` does."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from mainspring.cli.records import print_json
from mainspring.cli.rendering import Column, one_line, open_console, show, table
from mainspring.settings import Settings, Source, get_current_settings
from mainspring.settings.values import flatten, setting_kinds, to_plain, to_text

__all__ = ["short_source", "view"]


def view(sources: bool, defaults: bool, secrets: bool, as_json: bool) -> None:
    """Print the settings that hold here.

    Args:
        sources: Whether to tell where they come from.
        defaults: Whether to list those that nobody has set, too.
        secrets: Whether to show passwords.
        as_json: Whether to print JSON.

    Raises:
        ConfigurationError: An environment variable or a file cannot be used.
    """
    settings = get_current_settings()
    shown = settings if secrets else settings.with_obfuscated_secrets()
    names = [
        name for name in setting_kinds(Settings) if defaults or settings.source_of(name).kind != "default"
    ]
    if as_json:
        print_json([_record(shown, name) for name in names])
        return
    console = open_console()
    if not names:
        show(console, Text("Nothing is set. --show-defaults lists all settings."))
        return
    columns = [Column("setting"), Column("value", yields=True), Column("source")]
    rows: list[list[Text | str]] = []
    for name in names:
        value, source = shown.value_of(name), settings.source_of(name)
        text = Text("not set", "dim") if value is None else Text(one_line(to_text(value)))
        style = "dim" if source.kind == "default" else ""
        rows.append([Text(name, style), text, Text(short_source(source), "dim")])
    if not sources:
        columns, rows = columns[:2], [row[:2] for row in rows]
    show(console, table(console, columns, rows))


def short_source(source: Source) -> str:
    """Where a setting comes from, in the fewest words: the path of a file from here, or from the home directory."""
    if source.kind != "file" or source.place is None:
        return source.place or source.kind
    shortened = source.place
    for folder, mark in ((Path.cwd(), ""), (Path("~").expanduser(), "~/")):
        path = Path(source.place)
        if path.is_relative_to(folder):
            shortened = f"{mark}{path.relative_to(folder)}"
            break
    return shortened if source.line is None else f"{shortened}:{source.line}"


def _record(settings: Settings, name: str) -> dict[str, object]:
    source = settings.source_of(name)
    value = dict(flatten(to_plain(settings)))[name]
    return {"name": name, "value": value, "source": source.kind, "place": source.place, "line": source.line}
