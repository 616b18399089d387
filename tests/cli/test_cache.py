"""``mainspring cache``: why a run used a kept result or did not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mainspring import flow, get_client, task
from mainspring.cache_policies import INPUTS, CacheKeyFnPolicy
from mainspring.cli import app
from mainspring.cli.caching import _brief
from mainspring.filters import ALL
from tests.cli.commands import CONTROL_CODES, command, on_terminal


@task(cache_policy=INPUTS)
def ship(parcel: str, kg: int) -> str:
    return parcel


def run_id(index: int = -1) -> str:
    """The end of the id of a task run, by default of the newest."""
    return get_client().read_task_runs(limit=ALL)[::-1][index].id.hex[-8:]


def out(*arguments: str) -> str:
    """What ``cache why`` prints, run in this process."""
    result = CliRunner().invoke(app, ["cache", "why", *arguments], catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_a_changed_key_is_a_table() -> None:
    """Each component with what it was and what it is; plain text in a pipe."""
    ship("book", 1)
    ship("book", 2)
    head, reason, empty, columns, *rows = out(run_id()).splitlines()
    assert (head, empty) == ("ship  Completed", "")
    assert reason == (
        f"No earlier run had this key. That of ship ({run_id(0)}) comes nearest and differs in inputs.kg."
    )
    assert columns.split() == ["component", "then", "now"]
    (kg, then, now), (parcel, _, same) = (row.split() for row in rows)
    assert (kg, parcel, same) == ("inputs.kg", "inputs.parcel", "same")
    assert then != now
    assert (len(then), len(now)) == (8, 8)


def test_a_first_run_has_one_column() -> None:
    """There is nothing to compare it with."""
    ship("book", 1)
    assert out(run_id()).splitlines()[3].split() == ["component", "now"]


def test_a_run_without_a_key_has_no_table() -> None:
    """A sentence says why."""
    task(lambda: None)()
    assert len(out(run_id()).splitlines()) == 2


@pytest.mark.parametrize("answer", [7, None, ValueError("no idea")], ids=repr)
def test_a_run_whose_function_gave_no_key(answer: Any) -> None:
    """It is told in a sentence, with the one component that there is and that has no value."""

    def key(*_: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    task(cache_key_fn=key)(lambda: 1)()
    _, reason, *rows = out(run_id()).splitlines()
    assert reason.endswith(".")
    assert [row.split() for row in rows[2:]] in ([["cache_key_fn", "none"]], [])
    assert json.loads(out(run_id(), "--json"))["reason"] == reason


def test_a_damaged_result_is_told_in_a_line(tmp_path: Path) -> None:
    """With the run that had kept it, and what to do."""
    kept = ship.with_options(result_storage=tmp_path)
    kept("book", 1)
    next(tmp_path.glob("?" * 32)).write_bytes(b"spilled coffee")
    assert kept("book", 1, return_state=True).is_failed()
    head, reason, *_ = out(run_id()).splitlines()
    assert head == "ship  Failed"
    assert reason.startswith(
        f"What ship ({run_id(0)}) had kept under the same key could not be loaded. Seria"
    )
    assert "Delete it, or run with `refresh_cache=True`." in reason


def test_json_has_all_of_it() -> None:
    """Whole ids and hashes, and the names of the other run and of the outcome."""
    ship("book", 1)
    ship("book", 1)
    first, second = get_client().read_task_runs()[::-1]
    found: Any = json.loads(out(run_id(), "--json"))
    assert found.pop("reason")
    assert len(found.pop("key")) == 32
    assert [set(each) for each in found["components"]] == [{"name", "then", "now"}] * 2
    assert found.pop("components")[0]["name"] == "inputs.kg"
    assert found == {
        "task_run_id": str(second.id),
        "outcome": "used",
        "other_task_run_id": str(first.id),
    }


@pytest.mark.slow
def test_colours_are_for_terminals() -> None:
    """On a terminal what changed stands out; in a pipe nothing is coloured."""
    ship("book", 1)
    ship("book", 2)
    get_client()
    piped = command("cache", "why", run_id())
    assert (piped.returncode, piped.stderr) == (0, "")
    assert not CONTROL_CODES.search(piped.stdout)
    terminal = on_terminal("cache", "why", run_id())
    assert b"\x1b[32m" in terminal.shown
    assert [line for line in terminal.lines() if line][-2:] == piped.stdout.splitlines()[-2:]


def test_much_that_is_the_same_is_left_out() -> None:
    """All that changed is shown, with some of the rest; the others are counted."""
    many = task(cache_policy=INPUTS)(eval(f"lambda {', '.join(f'x{n}' for n in range(30))}: None"))
    many(*range(30))
    many(*range(29), 0)
    lines = out(run_id()).splitlines()
    assert len(lines) == 4 + 9 + 1
    assert lines[-2].startswith("inputs.x29")
    assert lines[-1] == "and 21 more that are the same"


def test_long_texts_that_differ_are_shown_whole() -> None:
    """Where what a table has room for is equal, all of it is shown."""
    key = CacheKeyFnPolicy(lambda _, parameters: "a" * 50 + parameters["x"])
    made = task(cache_policy=key)(lambda x: x)
    made("1")
    made("2")
    assert out(run_id()).splitlines()[-1].split() == ["cache_key_fn", "a" * 50 + "1", "a" * 50 + "2"]
    assert _brief("a" * 50) == "a" * 40 + " ..."
    assert _brief(None) == "none"


def test_errors_are_one_line() -> None:
    """An id of nothing, of a flow run, or of several runs."""

    @flow
    def day() -> None: ...

    assert_refused("zz", "No run")
    day()
    (run,) = get_client().read_flow_runs()
    assert_refused(run.id.hex, f"is the flow run {run.name}, and only task runs are cached")
    ship("book", 1)
    ship("book", 2)
    beginning = get_client().read_task_runs()[0].id.hex[:6]
    assert_refused(beginning, "more than one id")


def assert_refused(text: str, says: str) -> None:
    get_client()
    done = command("cache", "why", text)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
