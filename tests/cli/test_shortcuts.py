"""What is typed most is answered without the library that parses the command line, and as that would answer it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from mainspring import flow, get_run_logger, tags, task
from mainspring.cli import app
from mainspring.cli.shortcuts import SHORTCUTS, answer_at_once
from mainspring.recording import close_recorders


@task(tags=["net"])
def load(page: int) -> int:
    if page == 2:
        raise ValueError("no page 2")
    return page


@flow
def nightly(pages: int) -> None:
    get_run_logger().info("begins")
    for page in range(pages):
        load(page, return_state=True)


def make_history() -> None:
    """Three flow runs, of which one has failed, and a task run outside of flows."""
    with tags("prod"):
        nightly(2)
    nightly(1)
    with pytest.raises(ValueError, match="no page 2"):
        flow(name="broken")(load.fn)(2)
    load(7)
    close_recorders()


UNDERSTOOD = [
    "runs ls",
    "runs ls --json",
    "runs ls -n 2",
    "runs ls --limit 2 --json",
    "runs ls --state failed",
    "runs ls -s failed -s completed --sort name",
    "runs ls --all --kind task --sort ended",
    "runs ls -a -k flow --name NIGHT",
    "runs ls --tag prod --tag net -a",
    "runs ls -t prod --since 1h",
    "runs ls --since 2020-01-01 --sort created --all --json",
    "runs show {id}",
    "runs show {id} --full",
    "runs show --json {id}",
]


@pytest.mark.parametrize("line", UNDERSTOOD)
def test_the_answer_is_the_same(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The history is listed and shown in the same words, whoever has understood the options."""
    make_history()
    known = CliRunner().invoke(app, ["runs", "ls", "--name", "nightly", "-n", "1"]).output.splitlines()[1]
    words = line.format(id=known.split()[0]).split()
    expected = CliRunner().invoke(app, words, catch_exceptions=False)
    assert expected.exit_code == 0
    capsys.readouterr()
    assert answer_at_once(words)
    assert capsys.readouterr().out == expected.output


@pytest.mark.parametrize(
    "line",
    [
        "",
        "runs",
        "version",
        "runs cancel x",
        "runs ls --help",
        "runs ls x",
        "runs ls --limit",
        "runs ls --limit 0",
        "runs ls --limit -1",
        "runs ls --limit x",
        "runs ls --limit=3",
        "runs ls -n3",
        "runs ls --limit 3 --limit 4",
        "runs ls --kind flows",
        "runs ls --sort size",
        "runs ls --state --all",
        "runs ls --everything",
        "runs show",
        "runs show a b",
        "runs show --ful a",
        "runs show -- a",
    ],
)
def test_what_is_not_plain_is_left_to_the_library(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Help, wrong usage and rarer ways to write an option are not answered here."""
    assert not answer_at_once(line.split())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("words", SHORTCUTS, ids=" ".join)
def test_every_option_is_known(words: tuple[str, ...]) -> None:
    """A shortcut has the options of its command, no more and no less, and takes as many values of each."""
    command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]  # type: ignore[attr-defined]
    told = {
        name: (not getattr(parameter, "is_flag", False), parameter.multiple)  # type: ignore[attr-defined]
        for parameter in command.params
        if parameter.param_type_name == "option" and parameter.name != "help"
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    known = {
        name: (option.takes is not None, option.repeats) for name, option in SHORTCUTS[words].options.items()
    }
    assert known == told


def test_no_library_is_loaded_that_is_not_needed() -> None:
    """Listing runs loads neither what parses the command line nor engines, results or coroutines."""
    program = (
        "import sys\nfrom mainspring.cli.shortcuts import answer_at_once\n"
        "assert answer_at_once(['runs', 'ls'])\nprint(*sys.modules)"
    )
    make_history()
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    heavy = {
        "typer",
        "pydantic",
        "asyncio",
        "mainspring.results",
        "mainspring.task_engine",
        "mainspring.flows",
    }
    assert not heavy & set(done.stdout.split())
