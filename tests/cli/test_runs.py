"""``mainspring runs``: the history of runs, as tables and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mainspring import flow, get_client, get_run_logger, tags, task
from mainspring.cli import app
from tests.cli.commands import BOXES, CONTROL_CODES, command, on_terminal

attempts: list[int] = []


@task
def double(x: int) -> int:
    return 2 * x


@task
def call_double(x: int) -> int:
    return double(x)


@task(retries=1, retry_delay_seconds=0.05)
def shaky() -> None:
    attempts.append(1)
    if len(attempts) == 1:
        raise ConnectionError("gone")


@task
def fail() -> None:
    raise ValueError("no\nnever")


@flow
def inner(x: int) -> int:
    get_run_logger().info("inside")
    return call_double(x)


@flow
def outer(x: int = 1) -> None:
    get_run_logger().warning("beware\nof two lines")
    inner(double(x))
    shaky()


@flow
def failing() -> None:
    fail()


@flow
def many(n: int) -> None:
    for number in range(n):
        double(number)
    fail(return_state=True)


@pytest.fixture
def history() -> None:
    """Three flow runs, one of them failed, and a task run outside of flows."""
    attempts.clear()
    outer()
    failing(return_state=True)
    double(5)
    get_client()


def out(*arguments: str) -> str:
    """What a reading command prints, run in this process."""
    result = CliRunner().invoke(app, ["runs", *arguments], catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def listed(*arguments: str) -> list[Any]:
    return json.loads(out("ls", "--json", *arguments))  # type: ignore[no-any-return]


def shown(run_id: str) -> Any:
    return json.loads(out("show", run_id, "--json"))


def run_called(name: str) -> Any:
    """A run by the beginning of its name."""
    return next(run for run in listed("--all", "--limit", "1000") if run["name"].startswith(name))


# Listing


@pytest.mark.usefixtures("history")
def test_ls_shows_the_newest_first() -> None:
    """Flow runs and task runs outside of flows are listed; what ran inside of flow runs is not."""
    assert [(run["kind"], run["name"].split("-")[0]) for run in listed()] == [
        ("task", "double"),
        ("flow", "failing"),
        ("flow", "outer"),
    ]


@pytest.mark.usefixtures("history")
def test_ls_gives_flow_runs_their_task_runs() -> None:
    """The JSON of a flow run holds its task runs, with their attempts, times and durations in seconds."""
    task_runs = listed("--kind", "flow")[1]["task_runs"]
    assert [(run["name"].split("-")[0], run["run_count"]) for run in task_runs] == [
        ("double", 1),
        ("inner", 1),
        ("shaky", 2),
    ]
    retried = task_runs[2]
    began, ended = (datetime.fromisoformat(retried[name]) for name in ("start_time", "end_time"))
    assert began.utcoffset() is not None
    assert retried["duration"] == pytest.approx((ended - began).total_seconds())
    assert 0 < retried["total_run_time"] < retried["duration"] - 0.05
    assert (retried["state_type"], retried["state_name"]) == ("COMPLETED", "Completed")


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("state", ["failed", "FAILED", "Failed"])
def test_ls_selects_states(state: str) -> None:
    """``--state`` takes a type or name of a state in any case."""
    assert [run["name"].split("-")[0] for run in listed("--state", state)] == ["failing"]


@pytest.mark.usefixtures("history")
def test_ls_takes_several_states() -> None:
    """Several states are alternatives."""
    assert len(listed("--state", "failed", "--state", "completed")) == 3


@pytest.mark.usefixtures("history")
def test_ls_selects_kinds_and_everything() -> None:
    """``--kind`` keeps one kind of run; ``--all`` adds what ran inside of flow runs."""
    assert {run["kind"] for run in listed("--kind", "task")} == {"task"}
    assert len(listed("--kind", "flow", "--all")) == 3
    assert len(listed("--all")) == 3 + 7


@pytest.mark.usefixtures("history")
def test_ls_keeps_to_the_limit() -> None:
    """``--limit`` counts runs of both kinds together."""
    assert len(listed("--limit", "2")) == 2
    assert len(out("ls", "--limit", "2").splitlines()) == 3


@pytest.mark.usefixtures("history")
def test_ls_is_a_plain_table_in_a_pipe() -> None:
    """In a pipe columns are aligned with spaces, without colours and boxes, and nothing is cut off."""
    text = out("ls")
    assert not CONTROL_CODES.search(text)
    assert not BOXES.search(text)
    heading, *rows = text.splitlines()
    assert re.split(r"  +", heading) == ["id", "name", "kind", "state", "started", "duration", "task runs"]
    assert len(rows) == 3
    assert rows[1][heading.index("state") :].startswith("Failed ")
    assert rows[1].endswith("1 (1 failed)")
    assert rows[1].split()[0] == run_called("failing")["id"][-8:]


def test_ls_narrowed() -> None:
    """Runs are listed by a part of their name, by tags and by age."""
    with tags("prod", "a b"):
        outer()
    double(1)

    def names(*arguments: str) -> list[str]:
        return [re.sub("-[0-9a-f]+$", "", run["name"]) for run in listed(*arguments)]

    assert names("--name", "OUT") == ["outer"]
    assert names("--tag", "prod", "-t", "a b") == ["outer"]
    assert names("--tag", "prod", "--tag", "other") == []
    assert names("--since", "1h") == ["double", "outer"]
    assert names("--since", "2026-01-01T12:30") == ["double", "outer"]
    assert names("--since", "2100-01-01") == []
    assert names("--name", "oub", "--since", "1h", "--kind", "task") == ["double"]
    assert out("ls", "--name", "nothing").startswith("No runs that are like this.")


def test_ls_since_something_else() -> None:
    """A time that is none is one clear error, also where there is no history yet."""
    done = command("runs", "ls", "--since", "yesterday")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: --since 'yesterday' is no moment: say how long ago, as in 90m")


def test_ls_sorted() -> None:
    """Runs are listed by name, or by when they ended, both kinds together."""
    double(1)
    inner(1)
    double(2)
    by_name = [run["name"] for run in listed("--sort", "name")]
    assert by_name == sorted(by_name)
    ends = [run["end_time"] for run in listed("--sort", "ended")]
    assert ends == sorted(ends, reverse=True)
    assert len(listed("--sort", "ended", "--limit", "2")) == 2


@pytest.mark.parametrize("arguments", [["ls"], ["ls", "--json"], ["ls", "--state", "failed"]])
def test_no_database_is_no_error(arguments: list[str], mainspring_home: Path) -> None:
    """Before the first run there is nothing to list, which is said kindly, and nothing is made."""
    text = out(*arguments)
    assert text == "[]\n" if "--json" in arguments else text.startswith("No runs")
    assert not mainspring_home.exists()


def test_an_empty_database_is_no_error() -> None:
    """A database without runs lists nothing."""
    get_client()
    assert out("ls").startswith("No runs yet.")
    assert listed() == []


@pytest.mark.usefixtures("history")
def test_an_unknown_state_is_told() -> None:
    """A state that nothing is in is answered with the types there are."""
    assert "completed, crashed" in out("ls", "--state", "bananas")


# Showing


@pytest.mark.usefixtures("history")
def test_show_nests_what_ran_inside() -> None:
    """Subflow runs hang below the task runs that stand for them, tasks below the tasks that called them."""
    text = out("show", run_called("outer")["id"])
    assert not BOXES.search(text)
    tree = text[text.index("\nrun ") :].strip().splitlines()[1:]
    assert [re.match(r"( *)(\w+)-", line).groups() for line in tree] == [  # type: ignore[union-attr]
        ("", "double"),
        ("", "inner"),
        ("  ", "call_double"),
        ("    ", "double"),
        ("", "shaky"),
    ]
    assert "x = 1" in text
    assert "░" in tree[-1]  # the wait between both attempts


@pytest.mark.usefixtures("history")
def test_show_gives_json_of_the_whole_tree() -> None:
    """The JSON of a flow run nests its subflow runs and has its states."""
    record = shown(run_called("outer")["id"])
    assert [state["name"] for state in record["states"]] == ["Pending", "Running", "Completed"]
    subflow = next(run["subflow_run"] for run in record["task_runs"] if "subflow_run" in run)
    assert subflow["flow_name"] == "inner"
    assert [run["name"].split("-")[0] for run in subflow["task_runs"]] == ["call_double", "double"]


@pytest.mark.usefixtures("history")
def test_show_of_a_task_run_lists_its_states() -> None:
    """A task run is shown with its states, the attempt each belongs to, and what they say."""
    run = run_called("shaky")
    text = out("show", run["id"])
    assert [line.split()[1:3] for line in text.splitlines()[-5:]] == [
        ["Pending", text.splitlines()[-5].split()[2]],
        ["Running", "1"],
        ["AwaitingRetry", "1"],
        ["Retrying", "2"],
        ["Completed", "2"],
    ]
    assert "ConnectionError: gone" in text
    assert len(shown(run["id"])["states"]) == 5


@pytest.mark.usefixtures("history")
def test_show_names_where_inputs_came_from() -> None:
    """A task run called by another one says so."""
    called = [run for run in listed("--all", "--kind", "task") if "__parents__" in run["task_inputs"]]
    text = out("show", called[0]["id"])
    assert re.search(r"called by +call_double-\w+ \(\w{8}\)", text)


@pytest.mark.usefixtures("history")
def test_show_tells_why_runs_failed() -> None:
    """Below the tree each failed run says why, the innermost ones only."""
    assert re.search(r"\n\nfail-\w+  ValueError: no \.\.\.\n$", out("show", run_called("failing")["id"]))


@pytest.mark.usefixtures("history")
def test_messages_stay_on_one_line() -> None:
    """A message with line ends is shown on one line."""
    run = run_called("fail-")
    assert "ValueError: no never" in out("show", run["id"])


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("shorten", [lambda text: text[-6:], lambda text: text[:-4], str.upper])
def test_ids_may_be_shortened(shorten: Callable[[str], str]) -> None:
    """The beginning or end of an id will do, as long as it is the only one."""
    run_id = run_called("outer")["id"]
    assert shown(shorten(run_id))["id"] == run_id


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(("text", "said"), [("0", "more than one id"), ("zzz", "No run has an id")])
def test_bad_ids_are_told(text: str, said: str) -> None:
    """An id that fits several runs or none is refused."""
    done = command("runs", "show", text)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_show_without_a_database_is_told() -> None:
    """Asking for a run before there are any is refused kindly."""
    done = command("runs", "show", "abc")
    assert (done.returncode, done.stdout) == (2, "")
    assert "No runs yet" in done.stderr


def test_many_alike_are_folded() -> None:
    """From some hundred rows on, completed runs of a task share one; what failed keeps its own."""
    many(300)
    run_id = run_called("many")["id"]
    text = out("show", run_id)
    assert re.search(r"\ndouble . 300 +Completed +\S+ · \S+ · \S+ +[█▌▐]", text)
    assert re.search(r"\nfail-\w+ +\w{8} +Failed", text)
    assert text.count("\ndouble-") == 0
    assert out("show", run_id, "--full").count("\ndouble-") == 300


@pytest.mark.parametrize("width", [80, 160])
def test_the_timeline_fills_the_terminal(width: int) -> None:
    """On a terminal no line is wider than it, and the timeline takes the room that is left."""
    attempts.clear()
    outer()
    get_client()
    terminal = on_terminal("runs", "show", run_called("outer")["id"], width=width)
    lines = terminal.lines()
    (axis,) = [line for line in lines if "──" in line]
    assert max(map(len, lines)) <= width
    assert len(axis) in range(width - 4, width + 1)
    assert b"\x1b[32m" in terminal.shown


@pytest.mark.usefixtures("history")
def test_a_poor_encoding_gets_ascii() -> None:
    """Where the output cannot hold blocks, bars are made of ASCII."""
    done = command(
        "runs", "show", run_called("outer")["id"], environment={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    )
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "#" in done.stdout


# Logs


@pytest.mark.usefixtures("history")
def test_logs_of_a_flow_run_include_what_ran_inside() -> None:
    """Lines of subflows stand among those of the flow run, in the order of time."""
    run_id = run_called("outer")["id"]
    text = out("logs", run_id)
    assert text.index("beware") < text.index("inside")
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  WARNING  outer-\w+  beware\n", text)
    entries = json.loads(out("logs", run_id, "--json"))
    assert [(entry["level"], entry["run_name"].split("-")[0]) for entry in entries] == [
        ("WARNING", "outer"),
        ("INFO", "inner"),
    ]
    assert entries[0]["message"] == "beware\nof two lines"


@pytest.mark.usefixtures("history")
def test_a_run_that_logged_nothing_says_so() -> None:
    """No log lines are no error."""
    run_id = run_called("double")["id"]
    assert out("logs", run_id).endswith("has logged nothing.\n")
    assert json.loads(out("logs", run_id, "--json")) == []


@pytest.mark.usefixtures("history")
def test_logs_are_wrapped_beside_their_time_on_a_terminal() -> None:
    """On a terminal the day is told once, and lines keep within its width."""
    lines = on_terminal("runs", "logs", run_called("outer")["id"]).lines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", lines[0])
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3}  WARNING  outer-\w+ +beware$", lines[1])
    assert lines[2].strip() == "of two lines"
