"""``mainspring events`` and ``mainspring runs logs --follow``: what other processes do, while they do it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mainspring import flow, get_client, get_run_logger, task
from mainspring.concurrency.sync import concurrency
from mainspring.events import emit_event
from mainspring.recording import current_recorder
from tests.cli.commands import COMMAND, CONTROL_CODES, DEADLINE, Terminal, answer, command, write_flow_file

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  (\S+)  (\S+)(?:  (.*))?")


@task
def bake(number: int) -> None:
    emit_event("bakery.baked", {"mainspring.resource.id": f"bread.{number}"}, payload={"grams": 750})


@flow
def bakery(count: int = 1) -> None:
    for number in range(count):
        bake(number)


@task
def burn() -> None:
    raise ValueError("smoke\nand fire")


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a pipe, going on."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def written() -> None:
    current_recorder().flush()


# Lists


def test_what_has_happened() -> None:
    """A line for each event says when it was, what happened, to what, and what there is to be said about it."""
    get_client().create_or_update_concurrency_limit("oven", 2)
    bakery()
    burn(return_state=True)
    with concurrency("oven"):
        pass
    written()
    done = command("events", "ls")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [LINE.fullmatch(text) for text in done.stdout.splitlines()]
    facts = [(each[1], each[2].rpartition("-")[0] or each[2], each[3]) for each in lines if each]
    assert len(facts) == len(lines) == 3 + 4 + 3 + 2
    assert ("mainspring.flow-run.Completed", "bakery", None) in facts
    assert ("bakery.baked", "bread.0", '{"grams":750}') in facts
    assert ("mainspring.task-run.Failed", "burn", "ValueError: smoke ...") in facts
    assert facts[-2:] == [
        ("mainspring.concurrency-limit.acquired", "oven", "1 of 2"),
        ("mainspring.concurrency-limit.released", "oven", "1 of 2"),
    ]


def test_which_events() -> None:
    """Events are chosen by name, by run and by time; the newest are listed, the oldest of them first."""
    bakery(2)
    bakery(1)
    client = get_client()
    run = client.read_flow_runs()[-1]
    assert [
        event["resource"]["mainspring.resource.id"] for event in answer("events", "ls", "-e", "bakery.")
    ] == [
        "bread.0",
        "bread.1",
        "bread.0",
    ]
    names = [event["event"] for event in answer("events", "ls", "--limit", "2")]
    assert names == ["mainspring.task-run.Completed", "mainspring.flow-run.Completed"]
    assert (
        len(answer("events", "ls", "--run", str(run.id)[-8:], "--since", "1h", "-e", "bakery", "-e", "x"))
        == 2
    )
    assert answer("events", "ls", "--since", "2100-01-01") == []
    assert command("events", "ls", "--since", "2100-01-01").stdout == "No such events.\n"


def test_json_is_that_of_events() -> None:
    """With --json there is the event itself."""
    bakery()
    (event,) = get_client().read_events("bakery.")
    assert answer("events", "ls", "-e", "bakery.") == [json.loads(event.to_json())]
    assert (
        command("events", "tail", "-e", "bakery.", "--no-follow", "--json").stdout == f"{event.to_json()}\n"
    )


@pytest.mark.parametrize("when", ["soon", "10 minutes", "-5m", "", "2026-13-01", "1e999d"])
def test_moments_that_are_none(when: str) -> None:
    """What is no moment is refused, with a word on how to write one."""
    for name in ("ls", "tail"):
        done = command("events", name, "--since", when)
        assert done.returncode == 2
        assert done.stderr.startswith("Error: --since ")
        assert done.stderr.count("\n") == 1


def test_no_history_yet(mainspring_home: Path) -> None:
    """Where nothing has happened nothing is listed, and nothing is made."""
    assert command("events", "ls").stdout == "No such events.\n"
    assert command("events", "tail", "--no-follow").stdout == ""
    assert not mainspring_home.exists()


def test_a_run_that_is_not_there() -> None:
    """An id of no run is an error of one line."""
    bakery()
    done = command("events", "tail", "--run", "feedfeed")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: No run has an id that begins or ends with 'feedfeed'")


# Following


def test_tail() -> None:
    """What happens in another process is a line at once; --limit ends it."""
    bakery()
    with started("events", "tail", "--since", "1h", "--limit", "14") as process:
        for _ in range(7):
            assert LINE.fullmatch(line(process))
        bakery()
        names = [line(process).split("  ")[1] for _ in range(7)]
        assert names[-1] == "mainspring.flow-run.Completed"
        assert process.wait(DEADLINE) == 0


def test_tail_before_there_is_anything() -> None:
    """Whoever follows may come before the first run, and misses nothing of it."""
    with started("events", "tail", "--event", "bakery", "--json") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "Nothing has run yet; waiting for the first run.\n"
        bakery()
        assert json.loads(line(process))["event"] == "bakery.baked"


def test_ctrl_c() -> None:
    """Ctrl-C ends it without a word."""
    bakery()
    with started("events", "tail", "--since", "1h") as process:
        assert line(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_closed_pipe() -> None:
    """It ends when its reader has gone, though nothing happens any more, without a word."""
    bakery()
    with started("events", "tail", "--since", "1h") as process:
        assert line(process)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(DEADLINE) == 1
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_colours_on_a_terminal() -> None:
    """On a terminal the name of an event has the colour of the state."""
    burn(return_state=True)
    written()
    terminal = Terminal(
        [*COMMAND, "events", "tail", "--since", "1h", "-n", "3", "-e", "mainspring.task"], 200
    )
    assert terminal.wait() == 0
    text = terminal.shown.decode()
    assert re.search(r"\x1b\[31mmainspring\.task-run\.Failed\x1b\[0m", text)
    assert CONTROL_CODES.search(text)


# Logs


def test_logs_of_a_run_that_goes_on(tmp_path: Path) -> None:
    """With --follow, log lines come while the run goes on, each once, and end with it."""
    file = write_flow_file(
        tmp_path,
        """
        @task
        def talk(word):
            get_run_logger().info(word)

        @flow
        def talking():
            talk("first")
            print("ready", flush=True)
            sys.stdin.readline()
            talk("second")
            talk("second")

        talking()
        """,
    )
    with subprocess.Popen(
        [sys.executable, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    ) as program:
        assert line(program) == "ready"
        client = get_client()
        runs = client.read_flow_runs()
        while not runs:
            runs = client.read_flow_runs()
        with started("runs", "logs", str(runs[0].id), "--follow") as process:
            assert line(process).endswith("  first")
            assert program.stdin is not None
            program.stdin.write("\n")
            program.stdin.close()
            assert [line(process).rpartition("  ")[2] for _ in range(2)] == ["second", "second"]
            assert process.wait(DEADLINE) == 0
            assert line(process) == ""


def test_logs_of_a_run_that_is_over() -> None:
    """--follow ends at once if there is nothing to wait for; with --json there is a line for each line."""

    @flow
    def saying() -> None:
        get_run_logger().warning("done")

    saying()
    (run,) = get_client().read_flow_runs()
    done = command("runs", "logs", str(run.id), "-f", "--json")
    (text,) = done.stdout.splitlines()
    assert json.loads(text)["message"] == "done"
