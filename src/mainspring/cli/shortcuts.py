"""The commands that are typed most, called without the library that parses the command line.

To load that takes longer than to read the history. Only what is plainly right is understood here: options as the help
has them, and behind each that takes a value one that cannot be an option. All else is left to the library, wrong usage
included.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["SHORTCUTS", "Option", "Shortcut", "answer_at_once"]


class Option(NamedTuple):
    """An option of a command.

    Args:
        name: The parameter that it sets.
        takes: From the text behind it to the value; raises ValueError for one that is not plain. None: there is none,
            and the parameter is true.
        repeats: It may be given several times, and the parameter has all values.
    """

    name: str
    takes: Callable[[str], Any] | None = None
    repeats: bool = False


class Shortcut(NamedTuple):
    """A command.

    Args:
        call: Does what it does.
        options: Its options by the word that is typed.
        argument: The parameter for the one word that is no option, if it has one.
    """

    call: Callable[..., None]
    options: Mapping[str, Option]
    argument: str | None = None


def answer_at_once(words: Sequence[str]) -> bool:
    """Do what a command line says, if that is understood here.

    Returns:
        Whether it was.

    Raises:
        MainspringError: It was, and cannot be done.
    """
    shortcut = SHORTCUTS.get(tuple(words[:2]))
    if shortcut is None or "_MAINSPRING_COMPLETE" in os.environ:
        return False
    try:
        values = _understand(words[2:], shortcut)
    except ValueError:
        return False
    shortcut.call(**values)
    return True


def _understand(words: Sequence[str], shortcut: Shortcut) -> dict[str, Any]:
    """The values of parameters.

    Raises:
        ValueError: Something is not plain.
    """
    values: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        if word in shortcut.options:
            name, takes, repeats = shortcut.options[word]
            value = True if takes is None else takes(_plain(next(rest, "-")))
            if repeats:
                values.setdefault(name, []).append(value)
                continue
        elif shortcut.argument is not None:
            name, value = shortcut.argument, _plain(word)
        else:
            raise ValueError(word)
        if name in values:
            raise ValueError(word)
        values[name] = value
    if shortcut.argument is not None and shortcut.argument not in values:
        raise ValueError("an argument is missing")
    return values


def _plain(word: str) -> str:
    if not word or word.startswith("-"):
        raise ValueError(word)
    return word


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise ValueError(text)
    return int(text)


def _one_of(*choices: str) -> Callable[[str], str]:
    def chosen(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return chosen


def _list_runs(as_json: bool = False, **selected: Any) -> None:
    from mainspring.cli.listing import Selection, list_selected  # start-up

    list_selected(Selection(**selected), as_json)


def _show_run(run_id: str, full: bool = False, as_json: bool = False) -> None:
    from mainspring.cli.showing import show_found  # start-up

    show_found(run_id, full, as_json)


_STATE = Option("states", str, repeats=True)
_LIMIT = Option("limit", _number)
_KIND = Option("kind", _one_of("flow", "task"))
_ALL = Option("everything")
_TAG = Option("tags", str, repeats=True)
_JSON = Option("as_json")

SHORTCUTS: Mapping[tuple[str, ...], Shortcut] = {
    ("runs", "ls"): Shortcut(
        _list_runs,
        {
            "--state": _STATE,
            "-s": _STATE,
            "--limit": _LIMIT,
            "-n": _LIMIT,
            "--kind": _KIND,
            "-k": _KIND,
            "--all": _ALL,
            "-a": _ALL,
            "--name": Option("name", str),
            "--tag": _TAG,
            "-t": _TAG,
            "--since": Option("since", str),
            "--sort": Option("order", _one_of("created", "ended", "name")),
            "--json": _JSON,
        },
    ),
    ("runs", "show"): Shortcut(_show_run, {"--full": Option("full"), "--json": _JSON}, "run_id"),
}
"""The commands by their words."""
