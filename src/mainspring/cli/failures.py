"""An exception as its user wants to see it: the lines of their own code, none of ours."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

from rich.text import Text

import mainspring

__all__ = ["describe_failure", "innermost_place"]

_PACKAGE = str(Path(mainspring.__file__).parent)
_MACHINERY = ("<string>", "<frozen ")  # compiled calls of ours; the import system
_FIRST_FRAMES, _LAST_FRAMES = 3, 9
_MOST_MEMBERS = 5


def describe_failure(error: BaseException) -> Text:
    """The exception's type and text, then where it came from, innermost last; causes first."""
    summary = traceback.TracebackException.from_exception(error, compact=True)
    return Text("\n").join(_paragraphs(summary))


def innermost_place(error: BaseException) -> str:
    """``flights.py:42``, the last line of the user's on the way to the exception; empty if there is none."""
    frames = _own_frames(traceback.extract_tb(error.__traceback__))
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _paragraphs(summary: traceback.TracebackException, indent: str = "") -> Iterator[Text]:
    if summary.__cause__ is not None:
        yield from _paragraphs(summary.__cause__, indent)
        yield Text(f"\n{indent}which led to\n", "dim")
    elif summary.__context__ is not None and not summary.__suppress_context__:
        yield from _paragraphs(summary.__context__, indent)
        yield Text(f"\n{indent}and while that was handled\n", "dim")
    lines = "".join(summary.format_exception_only()).rstrip("\n").split("\n")
    yield from (
        Text(indent + line, "bold red" if number == 0 else "red") for number, line in enumerate(lines)
    )
    frames = _own_frames(summary.stack)
    left_out = len(frames) - _FIRST_FRAMES - _LAST_FRAMES
    for number, frame in enumerate(frames):
        if left_out <= 0 or not _FIRST_FRAMES <= number < _FIRST_FRAMES + left_out:
            yield from _frame(frame, indent)
        elif number == _FIRST_FRAMES:
            yield Text(f"{indent}  ... {left_out} more", "dim")
    members = summary.exceptions or []
    for member in members[:_MOST_MEMBERS]:
        yield Text()
        yield from _paragraphs(member, f"{indent}  | ")
    if len(members) > _MOST_MEMBERS:
        yield Text(f"{indent}  ... and {len(members) - _MOST_MEMBERS} more", "dim")


def _frame(frame: traceback.FrameSummary, indent: str) -> Iterator[Text]:
    yield Text.assemble(
        f"{indent}  ", (f"{_shortest(frame.filename)}:{frame.lineno}", "cyan"), (f" in {frame.name}", "dim")
    )
    if frame.line:
        yield Text(f"{indent}    {frame.line}")


def _own_frames(frames: traceback.StackSummary) -> list[traceback.FrameSummary]:
    return [
        frame
        for frame in frames
        if not frame.filename.startswith(_PACKAGE) and not frame.filename.startswith(_MACHINERY)
    ]


def _shortest(file: str) -> str:
    """The path from here if the file is below the current directory, else as it is."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        return file
