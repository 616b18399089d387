"""The loops themselves: what nothing happens to is found to be right, and what is wrong is found."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.durability.accounts import Account, Plan
from tests.durability.invariants import check_store, problems_of
from tests.durability.loops import Loop, Round
from tests.durability.nursery import Nursery
from tests.store.forging import unfold

PROGRAMS = ["plain", "small", "small_async", "files", "large"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_meets_nothing(loop: Loop, program: str) -> None:
    """A program that is left in peace ends in one process, and there is nothing wrong with what it leaves."""
    played = loop.play(program)
    assert len(played.endings) == 1
    assert played.endings[0].passed("points") > 20
    loop.check()


def test_the_nursery_has_done_nothing(nursery: Nursery, folder: Path) -> None:
    """A child begins as a fresh interpreter would: it finds no thread, no store and no run of the children before."""
    for name in ("first", "second"):
        ending = nursery.bear("plain", folder / name)  # which checks it
        assert ending.code == 0
        assert ending.output == ""
    assert nursery.bear("plain", folder / "second").pid != ending.pid


def test_dies_where_it_is_told_to(loop: Loop) -> None:
    """The process dies at the point that was named, and the points before it have passed."""
    played = loop.play("plain", {"KILL_AT": "7", "TRACE": "1"})
    first = played.endings[0]
    assert first.was_killed
    assert "killed at point 7 " in first.events[-1]
    assert sum(" point " in event for event in first.events) == 1 + 7


@pytest.mark.parametrize("fault", ["busy", "full", "ioerr", "interrupt"])
def test_a_statement_fails_as_it_is_told_to(loop: Loop, fault: str) -> None:
    """The statement that was named fails with what SQLite says, told as an error of ours."""
    played = loop.play("plain", {"FAULT": fault, "FAULT_AT": "46", "FAULT_LASTS": "1"})
    error = played.endings[0].error
    assert error is not None
    assert error["kinds"][0].startswith("mainspring.exceptions.Store")
    assert any(f"{fault} at statements 46" in event for event in played.endings[0].events)
    loop.check()


# What is wrong is found


@pytest.fixture(scope="module")
def ended(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Round:
    """A program that has come to its end."""
    played = Round(nursery, "small", tmp_path_factory.mktemp("ended") / "small")
    played.play()
    assert not played.problems
    return played


@pytest.fixture
def copy(ended: Round, tmp_path: Path) -> Path:
    """What that has left, to be spoilt."""
    shutil.copytree(ended.folder, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        ("UPDATE state_rows SET position = 9 WHERE name = 'RolledBack'", "positions [1, 2, 3, 9]"),
        ("UPDATE state_rows SET timestamp = 1 WHERE name = 'Completed'", "no later than"),
        ("UPDATE state_rows SET name = 'Cached' WHERE name = 'RolledBack'", "goes from Completed to Cached"),
        ("UPDATE task_runs SET run_count = 7", "has the run_count 7"),
        (
            "UPDATE task_runs SET state_type = 'RUNNING', state_name = 'Running' WHERE task_key LIKE 'plain%'",
            "is Running though all is over",
        ),
        ("DELETE FROM state_rows WHERE name = 'Running'", "positions [1, 3]"),
        ("DELETE FROM task_runs WHERE task_key LIKE 'plain%'", "which is not there"),
        ("UPDATE flow_runs SET end_time = 3", "has the end_time 3"),
    ],
)
def test_a_wrong_history_is_found(copy: Path, spoil: str, problem: str) -> None:
    """The invariants of the store notice a history that cannot have happened."""
    database = copy / "home" / "mainspring.db"
    db = sqlite3.connect(database)
    with db:
        unfold(db)
        db.execute(spoil)
    db.close()
    assert any(problem in found for found in problems_of(database))
    with pytest.raises(AssertionError):
        check_store(database)


def without(*words: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [line for line in lines if not line.startswith(" ".join(words) + " ")]


def twice(*words: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [*lines, *(line for line in lines if line.startswith(" ".join(words) + " "))]


def other(*words: str) -> Callable[[list[str]], list[str]]:
    """Likewise, as something else that was done by a run that nobody has recorded."""

    def change(lines: list[str]) -> list[str]:
        (line,) = [line for line in lines if line.startswith(" ".join(words) + " ")]
        kind, name, _, _, pid, thread = line.split()
        return [f"{kind} {name} other 00000000-0000-7000-8000-000000000000 {pid} {thread}", *lines]

    return change


def moved(*words: str) -> Callable[[list[str]], list[str]]:
    def change(lines: list[str]) -> list[str]:
        (line,) = [line for line in lines if line.startswith(" ".join(words) + " ")]
        return [line, *(each for each in lines if each != line)]

    return change


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (without("step", "order-a"), "order-a is not committed"),
        (other("step", "order-a"), "order-a was done, was not interrupted, and is not recorded"),
        (twice("undo", "failing-a"), "the undo hook of failing-a was called 2 times"),
        (without("undo", "failing-a"), "calls of the hook undo_step are missing: 1"),
        (without("undo", "failing"), "calls of the hook undo_block are missing: 1"),
        (without("commit", "order-b"), "calls of the hook commit_step are missing: 1"),
        (twice("commit", "order"), "the commit hook of order was called 2 times"),
        (other("undo", "failing-b"), "for other, which nobody did"),
        (moved("undo", "failing-a"), "rolled back 2 times, or in another order"),
    ],
)
def test_a_wrong_account_is_found(
    copy: Path, ended: Round, spoil: Callable[..., list[str]], problem: str
) -> None:
    """The account notices what was done too often, too seldom, or in another order."""
    journal = copy / "journal"
    journal.write_text("\n".join(spoil(journal.read_text().splitlines())) + "\n")
    (plan,) = Plan.all_of(ended.module, 1)
    account = Account(plan, journal, copy / "home" / "mainspring.db")
    found = list(account.problems())
    assert any(problem in each for each in found), found
