"""The pages of the documentation as their readers follow them: every block in its place, from top to bottom.

``python``                    run, in one namespace for the whole page
``python`` with a title       saved under that name, for commands further down; ``toml`` likewise
``output``                    what the block before it prints; ``...`` stands for anything
``sql``                       run on the history that the page has made
``console``                   lines with ``$`` are run if they are about mainspring; the others are what they print
"""

import io
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path

from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import SkipParser
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

from mainspring.client import get_client
from mainspring.settings import get_current_settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

INFO = re.compile(
    r'(?P<language>python|output|sql|console|toml)(?: title="(?P<title>[^"]+)")?$\n', re.MULTILINE
)
PROGRAMS = ("mainspring", "python", "sqlite3")
ID = re.compile(r"\b[0-9a-f]{8}\b")

# What is different in each run, and what stands for it when output is compared.
VOLATILE = [
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"\b[0-9a-f]{8}\b"), "<id>"),
    (re.compile(r"-[0-9a-f]{3}\b"), "-<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT[\d:.]+Z"), "<date> <time>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "<date>"),
    (re.compile(r"\b\d\d:\d\d:\d\d(\.\d+)?"), "<time>"),
    (re.compile(r"\b(\d+[dhm] )?\d+(\.\d+)?(ms|s|m|h|d)\b"), "<duration>"),
    (re.compile(r"\b(just now|yesterday|\d+ (sec|min|hours?|days) ago)\b"), "<age>"),
    (re.compile(r"[━─█▉▊▋▌▍▎▏▐░▒▓╸╺]+"), ""),
]

_checker = OutputChecker()
_python = PythonEvaluator()


def parse(path: Path) -> list[Example]:
    """The blocks of a page that do something."""
    return list(Sybil(parsers=[_blocks, SkipParser()]).parse(path).examples())


def _blocks(document: Document) -> Iterator[Region]:
    for region in RawFencedCodeBlockLexer(INFO)(document):
        region.parsed = region.lexemes["source"]
        region.evaluator = _EVALUATORS[region.lexemes["language"]]
        yield region


def _run_python(example: Example) -> None:
    if title := example.region.lexemes["title"]:
        Path(title).write_text(example.parsed, encoding="utf-8")
        return
    example.namespace.setdefault("__name__", "a_page")
    printed = io.StringIO()
    with redirect_stdout(printed):
        _python(example)
    example.namespace["_printed"] = printed.getvalue()


def _save(example: Example) -> None:
    if title := example.region.lexemes["title"]:
        Path(title).write_text(example.parsed, encoding="utf-8")


def _compare(example: Example) -> str | None:
    return difference(example.parsed, example.namespace.pop("_printed"))


def _run_sql(example: Example) -> None:
    database = sqlite3.connect(get_current_settings().home / "mainspring.db")
    database.executescript(example.parsed)
    database.close()


def _run_console(example: Example) -> str | None:
    for command, printed in sessions(example.parsed):
        if any(word in PROGRAMS for word in shlex.split(command)[:2]):
            got = run_command(command)
            if printed and (found := difference(printed, got)):
                return f"$ {command}\n{found}"
    return None


_EVALUATORS = {
    "python": _run_python,
    "toml": _save,
    "output": _compare,
    "sql": _run_sql,
    "console": _run_console,
}


def sessions(block: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with what it prints."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield command.partition("  #")[0].strip(), printed


def run_command(command: str) -> str:
    """What a command prints; an id in it stands for the newest flow run, or task run if it is about caching."""
    if ID.search(command):
        client = get_client()
        about_tasks = " cache why " in command
        newest, *_ = (
            client.read_task_runs(limit=1) if about_tasks else client.read_flow_runs(top_level=True, limit=1)
        )
        command = ID.sub(newest.id.hex[-8:], command)
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",  # what is printed comes when it is printed, as it does on a terminal
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "110",
    }
    done = subprocess.run(
        command,
        shell=True,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}"
    return done.stdout


def difference(want: str, got: str) -> str | None:
    """How what was printed differs from what the page says, None if it does not.

    The width of columns does not count, nor does the order of lines, since threads print when they please.
    """
    want, got = settled(want), settled(got)
    if _checker.check_output(want, got, ELLIPSIS) or sorted(want.splitlines()) == sorted(got.splitlines()):
        return None
    return f"expected:\n{want}\nprinted:\n{got}"


def settled(text: str) -> str:
    """A text without what is different in each run."""
    for pattern, stand_in in VOLATILE:
        text = pattern.sub(stand_in, text)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line)
