"""Transactions whose process has died: what whoever resumes the flow run finishes, undoes or goes on with.

Processes die for real, at a line of their journal; the flow run is then resumed in the process of the test.
"""

import importlib
import os
import signal
import sys
import threading
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, resume_flow_run, task
from mainspring._core.transitions import Move, enter, next_state
from mainspring.cache_policies import INPUTS, NO_CACHE
from mainspring.exceptions import NotResumable
from mainspring.recording import close_recorders, current_recorder, recorder
from mainspring.results import ResultStore
from mainspring.runs import FlowRun, TaskRun
from mainspring.settings import reload_settings
from mainspring.store import Change, open_store
from mainspring.store.results import Leftovers
from mainspring.transactions import atransaction, get_transaction, transaction
from tests.engine.history import flow_runs, messages, query, sequence, task_runs
from tests.engine.scenarios import BoomError
from tests.transactions.deaths import (
    DONE,
    Tell,
    TellLater,
    begin,
    die,
    die_at_write,
    end,
    go_on,
    journal,
    note,
    stop,
)

LONG = "long " * 10_000


@pytest.fixture(autouse=True)
def empty_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))
    for name in ("DIE_AT", "STOP_AT", "FAIL_AT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def failing_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that says at which lines this process is to fail, by a `BoomError`."""
    return lambda *lines: monkeypatch.setenv("FAIL_AT", ",".join(lines))


def top() -> FlowRun:
    """The only run of a flow that nobody has called from a flow."""
    (run,) = [run for run in flow_runs() if run.parent_task_run_key is None]
    return run


def resume() -> Any:
    return resume_flow_run(top().id)


def leftovers() -> Leftovers:
    """What is left of all transactions of the flow run."""
    return current_recorder().store.read_leftovers(top().key)


def nothing_is_left() -> bool:
    return query("SELECT * FROM staged") == query("SELECT * FROM settlements") == []


def states(name: str) -> list[str]:
    """The states of the runs of a task or subflow after Running, run by run."""
    return [
        sequence(run).removeprefix("Pending Running ") for run in task_runs() if run.name.startswith(name)
    ]


# Tasks that note what they do


@task(
    cache_policy=NO_CACHE,
    on_commit=[Tell("commit charge")],
    on_rollback=[Tell("undo charge")],
)
def charge(number: int) -> str:
    txn = get_transaction()
    assert txn is not None
    txn.set("n", number)
    note(f"charge {number}")
    return f"paid {number}"


@task(cache_policy=NO_CACHE, on_rollback=[Tell("undo book")])
def book(number: int) -> int:
    note(f"book {number}")
    return number


@task(persist_result=False, on_rollback=[Tell("undo mail")], on_commit=[Tell("commit mail")])
def mail(number: int) -> int:
    note(f"mail {number}")
    return number


@task(persist_result=False)
def bare(number: int) -> int:
    note(f"bare {number}")
    return number


# What had completed in an open transaction


@flow(persist_result=True)
def shop() -> list[str]:
    note("begin")
    with transaction() as txn:
        txn.set("n", "outer")
        paid = [charge(1), charge(2)]
        note("end of block")
    note("end")
    return paid


@pytest.mark.contract("H-9", "TX-15")
def test_completed_steps_are_taken_over() -> None:
    """They are not called again, and the commit calls their hooks with the values and what was staged."""
    die(shop, at="end of block")
    assert [step.key is None for step in leftovers().steps] == [False, False]
    assert query("SELECT * FROM results WHERE key NOT LIKE 'parameters%'") == []
    assert resume() == ["paid 1", "paid 2"]
    assert journal() == [
        "begin",
        "charge 1",
        "charge 2",
        "end of block",
        "begin",
        "end of block",
        "commit charge n=1 paid6",
        "commit charge n=2 paid6",
        "end",
    ]
    assert nothing_is_left()
    assert states("charge") == ["Completed", "Completed", "Cached", "Cached"]
    assert [run.state.result() for run in task_runs()] == ["paid 1", "paid 2"] * 2


def test_a_step_that_had_not_completed_is_called_again() -> None:
    """Only what is staged is taken over; the rest is attempted."""
    die(shop, at="charge 2")
    assert resume() == ["paid 1", "paid 2"]
    assert journal()[:6] == ["begin", "charge 1", "charge 2", "begin", "charge 2", "end of block"]
    assert states("charge") == ["Completed", "Cached", "Completed"]


@pytest.mark.contract("TX-36", "E-74")
def test_taken_over_steps_are_rolled_back(failing_at: Any) -> None:
    """A block that fails in the resumed run undoes what its steps had done before the death, newest first."""
    die(shop, at="end of block")
    failing_at("end of block")
    with pytest.raises(BoomError):
        resume()
    assert journal()[4:] == ["begin", "undo charge n=2 paid6", "undo charge n=1 paid6"]
    assert nothing_is_left()
    assert states("charge") == ["Completed RolledBack"] * 2 + ["Cached RolledBack"] * 2
    failing_at()
    assert resume() == ["paid 1", "paid 2"]
    assert journal()[7:] == [
        "begin",
        "charge 1",
        "charge 2",
        "end of block",
        "commit charge n=1 paid6",
        "commit charge n=2 paid6",
        "end",
    ]


def test_a_taken_over_step_dies_again() -> None:
    """The next process takes over what the second one had taken over."""
    die(shop, at="end of block")
    die(resume, at="end of block")
    die(resume, at="commit charge n=1 paid6")
    assert resume() == ["paid 1", "paid 2"]
    assert journal().count("commit charge n=1 paid6") == journal().count("commit charge n=2 paid6") == 1
    assert journal().count("charge 1") == 1
    assert nothing_is_left()


@flow(persist_result=True)
def long_shop() -> int:
    with transaction():
        length = len(write())
        note("end of block")
    return length


@task(cache_policy=NO_CACHE, on_commit=[Tell("commit write")])
def write() -> str:
    note("write")
    return LONG


def test_large_results_are_taken_over(mainspring_home: Path) -> None:
    """From their files, of which in the end one is left for each result that counts."""
    die(long_shop, at="end of block")
    assert resume() == len(LONG)
    assert journal() == ["write", "end of block", "end of block", f"commit write n=None long{len(LONG)}"]
    assert [run.state.result() == LONG for run in task_runs()] == [True, True]
    close_recorders()
    assert len(list((mainspring_home / "storage").iterdir())) == 1


# A commit that was going on


def test_a_commit_is_finished_first() -> None:
    """The hooks that are left are called before the flow is, and its steps are answered then."""
    die(shop, at="commit charge n=1 paid6")
    assert resume() == ["paid 1", "paid 2"]
    assert journal()[4:] == [
        "commit charge n=1 paid6",
        "commit charge n=2 paid6",
        "begin",
        "end of block",
        "end",
    ]
    assert nothing_is_left()
    assert states("charge") == ["Completed", "Completed", "Cached", "Cached"]


def test_an_interrupted_hook_is_told() -> None:
    """It may have run in part, so it is not called again, and a line names it."""
    die(shop, at="commit charge n=2 paid6")
    resume()
    assert journal().count("commit charge n=2 paid6") == 1
    (line,) = [line for line in messages(top()) if "had begun when its process died" in line]
    assert "'commit charge'" in line


@pytest.mark.contract("TX-28")
def test_a_commit_whose_hook_fails_is_rolled_back(failing_at: Any) -> None:
    """All of it is undone, the newest first, and then the flow does it again."""
    die(shop, at="commit charge n=1 paid6")
    failing_at("commit charge n=2 paid6", "end")
    with pytest.raises(BoomError, match="end"):
        resume()
    undone = ["undo charge n=2 paid6", "undo charge n=1 paid6"]
    assert journal()[4:9] == ["commit charge n=1 paid6", *undone, "begin", "charge 1"]
    assert nothing_is_left() or leftovers().settlements == []
    assert states("charge")[:2] == ["Completed RolledBack", "Completed RolledBack"]


@flow(persist_result=True)
def mixed(folder: str) -> str:
    save = book.with_options(result_storage=folder)
    with transaction("of the block") as txn:
        if txn.is_committed():
            return "done"
        save(1)
        book(2)
        save.with_options(result_serializer="json", name="long")(3)
        mail(4)
        txn.stage({"x": 1}, on_commit_hooks=[Tell("commit block")])
    return "done"


@pytest.mark.contract("TX-29", "TX-37", "TX-40")
def test_results_of_all_kinds_are_published_by_a_finished_commit(tmp_path: Path) -> None:
    """In the folder of the user's, in the run store, and what the block itself keeps under its key."""
    folder = tmp_path / "results"
    die(lambda: mixed(str(folder)), at="commit mail n=None 4")
    assert not folder.exists()
    assert resume() == "done"
    assert journal()[-2:] == ["commit mail n=None 4", "commit block n=None {'x': 1}"]
    assert ResultStore().read("of the block").result == {"x": 1}
    assert len(list(folder.iterdir())) == 2
    kept = [
        run for run in task_runs() if run.name.startswith(("book", "long")) and run.state.name == "Completed"
    ]
    assert [run.state.result() for run in kept] == [1, 2, 3]
    assert nothing_is_left()


@pytest.mark.contract("TX-37")
def test_a_step_for_a_folder_is_taken_over(tmp_path: Path) -> None:
    """Its result is in the folder when the resumed block is committed, and not before."""
    folder = tmp_path / "results"
    die(lambda: mixed(str(folder)), at="mail 4")
    assert not folder.exists()
    assert resume() == "done"
    assert [journal().count(f"book {number}") for number in (1, 2, 3)] == [1, 1, 1]
    assert len(list(folder.iterdir())) == 2
    assert [run.state.result() for run in task_runs() if run.state.name == "Cached"] == [1, 2, 3]
    assert nothing_is_left()


# A rollback that was going on


@task(cache_policy=NO_CACHE, on_rollback=[Tell("undo a of outer"), Tell("undo b of outer")])
def outer(number: int) -> int:
    txn = get_transaction()
    assert txn is not None
    txn.set("n", number)
    charge(number + 1)
    book(number + 2)
    note(f"outer {number}")
    return number


@flow(persist_result=True)
def travel() -> None:
    note("begin")
    with transaction() as txn:
        txn.stage("block", on_rollback_hooks=[Tell("undo block")])
        with transaction():
            book(1)
            outer(10)
        outer(20)
        note("end of block")
    note("end")


IN_ORDER = [
    "undo block n=None bloc5",
    "undo b of outer n=20 20",
    "undo a of outer n=20 20",
    "undo book n=20 22",
    "undo charge n=21 paid7",
    "undo b of outer n=10 10",
    "undo a of outer n=10 10",
    "undo book n=10 12",
    "undo charge n=11 paid7",
    "undo book n=None 1",
]


@pytest.mark.contract("TX-32")
def test_the_order_of_an_undisturbed_rollback(failing_at: Any) -> None:
    """What the following tests compare with: own hooks last one first, then the children, newest first."""
    failing_at("end of block")
    with pytest.raises(BoomError):
        travel()
    assert [line for line in journal() if "undo" in line] == IN_ORDER


@pytest.mark.contract("TX-32", "TX-70")
@pytest.mark.parametrize("at", [0, 1, 4, 8, 9])
def test_a_rollback_is_finished_in_its_order(at: int) -> None:
    """Wherever it was interrupted, the hooks that are left follow in their order, before the flow is called again."""
    die(travel, at=IN_ORDER[at], FAIL_AT="end of block")
    before = len(journal())
    resume()
    left = IN_ORDER[at + 1 :]
    assert journal()[before : before + len(left) + 1] == [*left, "begin"]
    assert nothing_is_left()
    rolled_back = [run for run in task_runs() if run.state.name == "RolledBack"]
    assert len(rolled_back) == 7


@pytest.mark.contract("TX-70")
def test_a_rollback_hook_that_fails_stops_nothing(failing_at: Any) -> None:
    """The others are called all the same."""
    die(travel, at=IN_ORDER[2], FAIL_AT="end of block")
    failing_at(IN_ORDER[4])
    before = len(journal())
    resume()
    assert journal()[before : before + 6] == [*IN_ORDER[3:4], *IN_ORDER[5:]][:6]
    assert any("rollback hook 'undo charge'" in line for line in messages(top()))
    assert nothing_is_left()


# Nests


def test_nested_steps_are_taken_over_with_the_one_around_them() -> None:
    """Nothing of them is called again; the commit and its hooks include what they had done."""
    die(travel, at="end of block")
    before = len(journal())
    resume()
    assert journal()[before:] == [
        "begin",
        "end of block",
        "commit charge n=11 paid7",
        "commit charge n=21 paid7",
        "end",
    ]
    assert nothing_is_left()


@pytest.mark.contract("TX-32")
def test_nested_steps_are_rolled_back_with_the_one_around_them(failing_at: Any) -> None:
    """In the same order as if their process had not died; their runs show it."""
    die(travel, at="end of block")
    failing_at("end of block")
    with pytest.raises(BoomError):
        resume()
    assert [line for line in journal() if "undo" in line] == IN_ORDER
    assert nothing_is_left()
    assert [run.state.name for run in task_runs()].count("RolledBack") == 10  # three steps had two runs each


def test_a_step_around_that_had_not_completed() -> None:
    """It is called again, and takes over the steps in it that had completed."""
    die(travel, at="outer 10")
    before = len(journal())
    resume()
    assert journal()[before : before + 3] == ["begin", "outer 10", "charge 21"]
    assert nothing_is_left()


@flow(persist_result=True)
def eager() -> str:
    note("begin")
    with transaction():
        with transaction(commit_mode="EAGER"):
            charge(1)
        charge(2)
        note("end of block")
    return "done"


@pytest.mark.contract("TX-19", "TX-60")
def test_eager_inner_blocks_are_committed_for_themselves() -> None:
    """What they have committed stays, whatever becomes of the block around."""
    die(eager, at="end of block")
    assert journal() == ["begin", "charge 1", "commit charge n=1 paid6", "charge 2", "end of block"]
    assert len(leftovers().steps) == 1
    assert resume() == "done"
    assert journal()[5:] == ["begin", "end of block", "commit charge n=2 paid6"]
    assert nothing_is_left()


def test_a_commit_of_an_eager_inner_block_is_finished() -> None:
    """Before the flow is called; the block around begins anew."""
    die(eager, at="commit charge n=1 paid6")
    assert resume() == "done"
    assert journal()[2:] == [
        "commit charge n=1 paid6",
        "begin",
        "charge 2",
        "end of block",
        "commit charge n=2 paid6",
    ]
    assert nothing_is_left()


# Subflows


@flow
def sub(number: int) -> int:
    note(f"sub {number}")
    charge(number)
    return number


@flow(persist_result=True)
def around() -> int:
    note("begin")
    with transaction():
        found = sub(1)
        charge(2)
        note("end of block")
    note("end")
    return found


def test_a_completed_subflow_is_answered_and_committed_with_the_block() -> None:
    """It is not called again; the hooks of its steps are called by the commit of the block."""
    die(around, at="end of block")
    assert resume() == 1
    assert journal() == [
        "begin",
        "sub 1",
        "charge 1",
        "charge 2",
        "end of block",
        "begin",
        "end of block",
        "commit charge n=1 paid6",
        "commit charge n=2 paid6",
        "end",
    ]
    assert nothing_is_left()
    assert states("sub") == ["Completed"]


@pytest.mark.contract("E-105")
def test_a_completed_subflow_is_rolled_back_with_the_block(failing_at: Any) -> None:
    """Its run, the task run that stands for it, and its steps show it; the next resume calls it again."""
    die(around, at="end of block")
    failing_at("end of block")
    with pytest.raises(BoomError):
        resume()
    assert journal()[5:] == ["begin", "undo charge n=2 paid6", "undo charge n=1 paid6"]
    (run,) = [run for run in flow_runs() if run.parent_task_run_key is not None]
    assert sequence(run) == "Pending Running Completed RolledBack"
    assert states("sub") == ["Completed RolledBack"]
    assert "Completed RolledBack" in states("charge")
    assert nothing_is_left()
    failing_at()
    assert resume() == 1
    assert journal()[8:] == [
        "begin",
        "sub 1",
        "charge 1",
        "charge 2",
        "end of block",
        "commit charge n=1 paid6",
        "commit charge n=2 paid6",
        "end",
    ]
    assert nothing_is_left()


def test_a_commit_with_a_subflow_is_finished() -> None:
    """The subflow is answered afterwards, as its steps are."""
    die(around, at="commit charge n=1 paid6")
    assert resume() == 1
    assert journal()[5:] == [
        "commit charge n=1 paid6",
        "commit charge n=2 paid6",
        "begin",
        "end of block",
        "end",
    ]
    assert nothing_is_left()
    assert states("sub") == ["Completed"]


def test_a_rollback_with_a_subflow_is_finished() -> None:
    """Its run shows it, and the resumed flow calls it again."""
    die(around, at="undo charge n=2 paid6", FAIL_AT="end of block")
    assert resume() == 1
    assert journal()[4:7] == ["undo charge n=2 paid6", "undo charge n=1 paid6", "begin"]
    assert journal()[7:9] == ["sub 1", "charge 1"]
    assert states("sub") == ["Completed RolledBack", "Completed"]
    assert nothing_is_left()


@flow
async def asub(number: int) -> int:
    note(f"asub {number}")
    await acharge(number)
    return number


@flow
def deep(number: int) -> int:
    note(f"deep {number}")
    sub(number)
    with transaction():
        sub(number + 1)
    return number


@task
def calls_a_flow(number: int) -> int:
    return sub(number)


@flow(persist_result=True)
async def around_many() -> list[int]:
    note("begin")
    async with atransaction():
        found = [await asub(1), deep(2), calls_a_flow(4)]
        note("end of block")
    note("end")
    return found


IN_SUBFLOWS = [
    "commit acharge n=1 paid6",
    "commit charge n=2 paid6",
    "commit charge n=3 paid6",
    "commit charge n=4 paid6",
]


@pytest.mark.parametrize("at", ["end of block", IN_SUBFLOWS[1]])
def test_subflows_of_all_kinds_are_answered(at: str) -> None:
    """Async ones, ones in subflows with blocks of their own, and ones that tasks call; hooks are called once."""
    die(around_many, at=at)
    assert resume() == [1, 2, 4]
    assert [line for line in journal() if line.startswith("commit")] == IN_SUBFLOWS
    assert [journal().count(line) for line in ("asub 1", "deep 2", "sub 2", "sub 3", "sub 4")] == [1] * 5
    assert nothing_is_left()


def test_subflows_of_all_kinds_are_undone(failing_at: Any) -> None:
    """The newest first; a later resume calls all of them again."""
    die(around_many, at="end of block")
    failing_at("end of block")
    with pytest.raises(BoomError):
        resume()
    undone = [line.replace("commit", "undo") for line in reversed(IN_SUBFLOWS)]
    assert [line for line in journal() if line.startswith("undo")] == undone
    assert nothing_is_left()
    inner = [run for run in flow_runs() if run.parent_task_run_key is not None]
    assert {sequence(run) for run in inner} == {"Pending Running Completed RolledBack"}
    failing_at()
    assert resume() == [1, 2, 4]
    assert [journal().count(line) for line in ("asub 1", "deep 2", "sub 2", "sub 3", "sub 4")] == [2] * 5


@pytest.mark.parametrize("at", ["sub 2", "charge 3", "sub 4"])
def test_a_subflow_that_had_not_completed(at: str) -> None:
    """It is gone on with, and takes over what its steps had come to."""
    die(around_many, at=at)
    assert resume() == [1, 2, 4]
    assert [line for line in journal() if line.startswith("commit")] == IN_SUBFLOWS
    assert journal().count("acharge 1") == 1
    assert nothing_is_left()


# What nobody takes over


@flow(persist_result=True)
def unkept() -> str:
    note("begin")
    with transaction():
        mail(1)
        mail(2)
        note("end of block")
    return "done"


@pytest.mark.contract("H-17")
def test_steps_that_are_not_kept_are_undone_before_the_flow_is_called_again() -> None:
    """They will be done again, so what they had done is compensated, the newest first."""
    die(unkept, at="end of block")
    assert resume() == "done"
    assert journal()[4:] == [
        "undo mail n=None None",
        "undo mail n=None None",
        "begin",
        "mail 1",
        "mail 2",
        "end of block",
        "commit mail n=None 1",
        "commit mail n=None 2",
    ]
    assert states("mail") == ["Completed RolledBack"] * 2 + ["Completed"] * 2
    assert nothing_is_left()


@flow(persist_result=True)
def changed() -> str:
    note("begin")
    with transaction():
        if journal().count("begin") == 1:
            charge(1)
            book(2)
        note("end of block")
    note("end")
    return "done"


def test_steps_that_are_not_asked_for_again_are_undone_at_the_end() -> None:
    """When the flow completes, nobody will ask for them any more; newest first."""
    die(changed, at="end of block")
    assert resume() == "done"
    assert journal()[4:] == ["begin", "end of block", "end", "undo book n=None 2", "undo charge n=1 paid6"]
    assert states("charge") + states("book") == ["Completed RolledBack"] * 2
    assert nothing_is_left()


def test_steps_that_are_not_asked_for_again_stay_if_the_flow_fails(failing_at: Any) -> None:
    """The next attempt may ask for them."""
    die(changed, at="end of block")
    failing_at("end")
    with pytest.raises(BoomError):
        resume()
    assert journal()[4:] == ["begin", "end of block"]
    assert len(leftovers().steps) == 2
    failing_at()
    assert resume() == "done"
    assert journal()[6:] == ["begin", "end of block", "end", "undo book n=None 2", "undo charge n=1 paid6"]
    assert nothing_is_left()


@flow(persist_result=True)
def without_its_block(folder: str | None) -> list[int]:
    options: dict[str, Any] = {} if folder is None else {"result_storage": folder}
    with transaction() if not journal() else nullcontext():
        found = [book.with_options(**options)(number) for number in (1, 2)]
        note("end of block")
    return found


@pytest.mark.parametrize("elsewhere", [False, True])
def test_steps_whose_block_is_gone(elsewhere: bool, tmp_path: Path) -> None:
    """If the flow asks for them outside of transactions now, they are taken over, and committed alone."""
    folder = str(tmp_path / "results") if elsewhere else None
    die(lambda: without_its_block(folder), at="end of block")
    assert resume() == [1, 2]
    assert journal() == ["book 1", "book 2", "end of block", "end of block"]
    assert states("book") == ["Completed", "Completed", "Cached", "Cached"]
    assert [run.state.result() for run in task_runs() if run.state.name == "Cached"] == [1, 2]
    assert nothing_is_left()


# Hooks that cannot travel


def undo_with_lock() -> Any:
    lock = threading.Lock()

    def undo_under_lock(txn: object) -> None:
        with lock:
            note("undo under lock")

    return undo_under_lock


@flow(persist_result=True)
def closures() -> str:
    note("begin")
    with transaction():
        bare.with_options(on_rollback=[undo_with_lock(), Tell("undo tell")])(1)
        note("end of block")
    return "done"


def test_hooks_that_cannot_be_pickled_are_told_by_name() -> None:
    """They are not called, and a line says which one it was and why; the others are called."""
    die(closures, at="end of block")
    assert resume() == "done"
    attempt = ["begin", "bare 1", "end of block"]
    assert journal() == [*attempt, "undo tell n=None None", *attempt]
    lines = [line for line in messages(top()) if "undo_under_lock" in line]
    assert any("cannot be called by the process that resumes" in line and "lock" in line for line in lines)
    assert nothing_is_left()


MODULE = """
from tests.transactions.deaths import note

def tell(txn):
    note("tell from a module")
"""


def module_hook() -> Any:
    return importlib.import_module("hooks_that_will_go").tell


@flow(persist_result=True)
def with_a_module() -> str:
    note("begin")
    with transaction():
        charge.with_options(on_commit=[Tell("first"), module_hook()], on_rollback=[module_hook()])(1)
        bare.with_options(on_rollback=[module_hook()])(2)
        note("end of block")
    return "done"


@pytest.mark.parametrize("at", ["first n=1 paid6", "end of block"])
def test_hooks_of_a_module_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """The run is not resumed without it, whatever its hooks are needed for, and nothing is changed."""
    module = tmp_path / "modules" / "hooks_that_will_go.py"
    module.parent.mkdir()
    module.write_text(MODULE)
    monkeypatch.syspath_prepend(str(module.parent))
    die(with_a_module, at=at)
    module.rename(module.with_suffix(".gone"))
    importlib.invalidate_caches()
    top()
    before = journal(), query("SELECT * FROM staged"), query("SELECT * FROM settlements"), sequence(top())
    with pytest.raises(NotResumable, match="hooks_that_will_go"):
        resume()
    assert before == (
        journal(),
        query("SELECT * FROM staged"),
        query("SELECT * FROM settlements"),
        sequence(top()),
    )
    module.with_suffix(".gone").rename(module)
    importlib.invalidate_caches()
    try:
        assert resume() == "done"
    finally:
        sys.modules.pop("hooks_that_will_go", None)
    assert journal().count("first n=1 paid6") == 1
    assert nothing_is_left()


# Other kinds of steps


@flow(persist_result=True)
def no_block() -> str:
    note("begin")
    found = charge(1)
    note("end")
    return found


@pytest.mark.contract("H-9")
def test_a_task_outside_of_blocks() -> None:
    """Its own transaction is finished like that of a block."""
    die(no_block, at="commit charge n=1 paid6")
    assert resume() == "paid 1"
    assert journal() == ["begin", "charge 1", "commit charge n=1 paid6", "begin", "end"]
    assert nothing_is_left()


@flow(persist_result=True)
def submitting() -> list[str]:
    with transaction():
        futures = [charge.submit(number) for number in range(3)]
        paid = [future.result() for future in futures]
        note("end of block")
    return paid


def test_submitted_steps_are_taken_over() -> None:
    """Threads make no difference."""
    die(submitting, at="end of block")
    assert resume() == ["paid 0", "paid 1", "paid 2"]
    assert sorted(journal()[:3]) == ["charge 0", "charge 1", "charge 2"]
    assert journal()[3:5] == ["end of block"] * 2
    assert sorted(journal()[5:]) == [f"commit charge n={number} paid6" for number in range(3)]
    assert nothing_is_left()


@task(on_rollback=[Tell("undo count")], on_commit=[Tell("commit count")])
def count_up() -> Any:
    note("count")
    yield 1
    yield 2


@flow(persist_result=True)
def counting() -> list[int]:
    note("begin")
    with transaction():
        found = list(count_up())
        note("end of block")
    return found


@pytest.mark.contract("G-8")
def test_generators_are_undone_before_they_run_again() -> None:
    """What they yielded is not kept, so nobody can take them over."""
    die(counting, at="end of block")
    assert resume() == [1, 2]
    attempt = ["begin", "count", "end of block"]
    assert journal() == [*attempt, "undo count n=None None", *attempt, "commit count n=None None"]
    assert nothing_is_left()


@flow(persist_result=True)
def with_odd_values() -> str:
    with transaction() as txn:
        txn.set("lock", threading.Lock())
        txn.set("n", "from the block")
        found = book.with_options(on_commit=[Tell("commit book")])(1)
        note("end of block")
    return str(found)


@pytest.mark.contract("TX-15")
@pytest.mark.parametrize("at", ["end of block", "commit book n=from the block 1"])
def test_values_that_cannot_be_kept_are_left_out(at: str) -> None:
    """Hooks find the others, and their transaction is finished."""
    die(with_odd_values, at=at)
    assert resume() == "1"
    assert [line for line in journal() if line.startswith("commit")] == ["commit book n=from the block 1"]
    assert nothing_is_left()


@flow(persist_result=True)
def with_a_hook_of_its_own() -> str:
    with transaction() as txn:
        charge(1)
        txn.stage("x", on_commit_hooks=[Tell("commit block")])
    note("end")
    return "done"


def test_a_block_without_a_key_gives_its_hooks_again() -> None:
    """They are code of the flow, which is called again after the commit was finished; a key would tell it."""
    die(with_a_hook_of_its_own, at="commit charge n=1 paid6")
    assert resume() == "done"
    assert journal().count("commit block n=None x1") == 2
    assert nothing_is_left()


@flow(persist_result=True)
def keyed(folder: str | None, text: str) -> str:
    with transaction("of the block", None if folder is None else ResultStore(folder)) as txn:
        if not txn.is_committed():
            charge(1)
            txn.stage(text, on_commit_hooks=[Tell("commit block")])
    return "done"


@pytest.mark.parametrize("text", ["short", LONG], ids=["small", "large"])
@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("dies", [False, True])
def test_the_value_of_a_block(
    elsewhere: bool, text: str, dies: bool, tmp_path: Path, mainspring_home: Path
) -> None:
    """It is kept under its key, whoever commits it, in the store of the block; no copy of it is left."""
    folder = str(tmp_path / "results") if elsewhere else None
    if dies:
        die(lambda: keyed(folder, text), at="commit charge n=1 paid6")
        assert resume() == "done"
    else:
        assert keyed(folder, text) == "done"
    assert ResultStore(folder).read("of the block").result == text
    assert journal()[-1] == f"commit block n=None {text[:4]}{len(text)}"
    assert nothing_is_left()
    close_recorders()
    files = sorted((mainspring_home / "storage").rglob("*")) if (mainspring_home / "storage").exists() else []
    assert len(files) == (text is LONG and not elsewhere) + (text is LONG)  # the parameters of the flow run


@pytest.mark.parametrize("text", ["short", LONG], ids=["small", "large"])
def test_the_value_of_a_block_that_is_rolled_back(text: str, mainspring_home: Path, failing_at: Any) -> None:
    """It is not kept, and no file of it is left."""
    die(lambda: keyed(None, text), at="commit charge n=1 paid6")
    failing_at(f"commit block n=None {text[:4]}{len(text)}")
    assert resume() == "done"
    assert "undo charge n=1 paid6" in journal()
    assert not ResultStore().exists("of the block")
    assert nothing_is_left()
    close_recorders()
    files = list((mainspring_home / "storage").rglob("*")) if (mainspring_home / "storage").exists() else []
    assert len(files) == (text is LONG)


def test_the_value_of_a_block_whose_rollback_is_finished(mainspring_home: Path, failing_at: Any) -> None:
    """Over as many processes as it takes, nothing of it is left."""
    failing = f"commit block n=None long{len(LONG)}"
    die(lambda: keyed(None, LONG), at="commit charge n=1 paid6")
    die(resume, at="undo charge n=1 paid6", FAIL_AT=failing)
    failing_at(failing)
    assert resume() == "done"
    assert journal().count("undo charge n=1 paid6") == 2  # of the first run and of the last one
    close_recorders()
    assert len(list((mainspring_home / "storage").rglob("*"))) == 1  # the parameters of the flow run


def interrupting(txn: Any) -> None:
    note("commit interrupting")
    if "INTERRUPT" in os.environ:
        raise KeyboardInterrupt


@flow(persist_result=True)
def interrupted() -> str:
    with transaction():
        charge(1)
        book.with_options(on_commit=[interrupting])(2)
    return "done"


def test_an_interrupt_while_a_commit_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on to the caller after everything is undone; the run can be resumed."""
    die(interrupted, at="commit charge n=1 paid6")
    monkeypatch.setenv("INTERRUPT", "1")
    with pytest.raises(KeyboardInterrupt):
        resume()
    assert journal()[3:] == ["commit interrupting", "undo book n=None 2", "undo charge n=1 paid6"]
    assert nothing_is_left()
    assert top().state.name == "Crashed"
    monkeypatch.delenv("INTERRUPT")
    assert resume() == "done"


def test_a_process_that_dies_while_it_undoes_what_was_left() -> None:
    """The next one goes on with that, and calls no hook twice."""
    die(travel_unkept, at="end of block")
    assert len(leftovers().steps) == 3
    die(resume, at="undo mail 2")
    before = len(journal())
    assert resume() is None
    assert journal()[before : before + 2] == ["undo mail 1", "begin"]
    assert nothing_is_left()


class UndoMail(Tell):
    """Tells the number that the task has set."""

    def told(self, txn: Any) -> str:
        return f"undo mail {txn.get('number')}"


@task(persist_result=False, on_rollback=[UndoMail("undo")])
def numbered_mail(number: int) -> None:
    txn = get_transaction()
    assert txn is not None
    txn.set("number", number)


@flow(persist_result=True)
def travel_unkept() -> None:
    note("begin")
    with transaction():
        for number in (1, 2, 3):
            numbered_mail(number)
        note("end of block")


BOTH_BEGUN = threading.Barrier(2)


def meeting(txn: Any) -> None:
    BOTH_BEGUN.wait(30)
    note("both")


@task(cache_policy=NO_CACHE, on_commit=[meeting, Tell("commit meet")])
def meet(number: int) -> int:
    return number


@flow(persist_result=True)
def meetings() -> list[int]:
    futures = [meet.submit(number) for number in (1, 2)]
    return [future.result() for future in futures]


def test_two_commits_at_once_are_finished() -> None:
    """Each of them by itself, in the order in which they were begun."""
    die(meetings, at="both")
    assert len(leftovers().settlements) == 2
    assert resume() == [1, 2]
    hooks = [line for line in journal() if line.startswith("commit")]
    assert sorted(hooks) == ["commit meet n=None 1", "commit meet n=None 2"]
    assert nothing_is_left()


# Async


@task(cache_policy=NO_CACHE, on_commit=[TellLater("commit acharge")], on_rollback=[TellLater("undo acharge")])
async def acharge(number: int) -> str:
    txn = get_transaction()
    assert txn is not None
    txn.set("n", number)
    note(f"acharge {number}")
    return f"paid {number}"


@flow(persist_result=True)
async def ashop() -> list[str]:
    note("begin")
    async with atransaction():
        paid = [await acharge(1), await acharge(2), charge(3)]
        note("end of block")
    return paid


@pytest.mark.contract("TX-42", "TX-34")
@pytest.mark.parametrize("at", ["end of block", "commit acharge n=1 paid6", "commit acharge n=2 paid6"])
def test_async_flows_are_gone_on_with(at: str) -> None:
    """Their steps are taken over, their hooks are awaited, and each is called once."""
    die(ashop, at=at)
    assert resume() == ["paid 1", "paid 2", "paid 3"]
    hooks = [line for line in journal() if "commit" in line]
    assert hooks == ["commit acharge n=1 paid6", "commit acharge n=2 paid6", "commit charge n=3 paid6"]
    assert [journal().count(line) for line in ("acharge 1", "acharge 2", "charge 3")] == [1, 1, 1]
    assert nothing_is_left()


@pytest.mark.contract("TX-42", "TX-34")
def test_async_rollbacks_are_finished() -> None:
    """In their order."""
    die(ashop, at="undo charge n=3 paid6", FAIL_AT="end of block")
    before = len(journal())
    resume()
    assert journal()[before : before + 3] == ["undo acharge n=2 paid6", "undo acharge n=1 paid6", "begin"]
    assert nothing_is_left()


# Tasks that others know the key of


@task(cache_policy=INPUTS, on_commit=[Tell("commit shared")], on_rollback=[Tell("undo shared")])
def shared(number: int) -> int:
    note(f"shared {number}")
    return number


@flow(persist_result=True)
def sharing() -> int:
    with transaction():
        found = shared(1)
        note("end of block")
    return found


def test_a_step_with_a_cache_key_is_taken_over() -> None:
    """It is staged under that key: nobody else finds it before the commit."""
    die(sharing, at="end of block")
    assert query("SELECT * FROM results WHERE key NOT LIKE 'parameters%'") == []
    assert resume() == 1
    assert journal() == ["shared 1", "end of block", "end of block", "commit shared n=None 1"]
    assert shared(1, return_state=True).name == "Cached"
    assert nothing_is_left()


def test_a_step_whose_key_somebody_else_has_used_since() -> None:
    """What it had done is its own, so it is taken over all the same, and its hooks are called."""
    die(sharing, at="end of block")
    assert shared(1) == 1
    assert resume() == 1
    assert journal()[2:] == ["shared 1", "commit shared n=None 1", "end of block", "commit shared n=None 1"]
    assert nothing_is_left()


# Everywhere


def finish() -> None:
    """Resume the run if there is one that has not completed; hooks have been called once at most."""
    runs = [run for run in flow_runs() if run.parent_task_run_key is None]
    known = query("SELECT flow_run_id FROM resumptions")
    if runs and not runs[0].state.is_completed() and (runs[0].key,) in known:
        resume_flow_run(runs[0].id)
        assert top().state.is_completed()
    hooks = [line for line in journal() if line.startswith(("commit", "undo"))]
    assert len(hooks) == len(set(hooks)), hooks
    assert nothing_is_left(), journal()
    for run in task_runs():
        if run.state.is_completed() and run.state.name != "RolledBack" and run.state.has_data:
            run.state.result()


def everywhere(tmp_path: Path) -> list[Any]:
    return [shop, travel, eager, around, ashop, sharing, lambda: mixed(str(tmp_path / "results"))]


@pytest.mark.slow
@pytest.mark.parametrize("which", range(7))
def test_killed_at_any_write(which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the process had just written or was about to write, another one goes on to the same end."""
    monkeypatch.setattr(recorder, "VISIBLE_AFTER", 600)
    for number in range(200):
        folder = tmp_path / f"{which}-{number}"
        folder.mkdir()
        close_recorders()
        monkeypatch.setenv("MAINSPRING_HOME", str(folder / "home"))
        monkeypatch.setenv("JOURNAL", str(folder / "journal"))
        reload_settings()
        died = die_at_write(everywhere(folder)[which], number)
        finish()
        if not died:
            assert number > 10
            break
    else:
        pytest.fail("it never came to its end")


@pytest.mark.slow
@pytest.mark.parametrize("line", ["end of block", "undo b of outer n=10 10", "commit charge n=11 paid7"])
def test_killed_at_any_write_while_it_resumes(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third process goes on with what the second one had made of what the first one had left."""
    monkeypatch.setattr(recorder, "VISIBLE_AFTER", 600)
    for number in range(200):
        folder = tmp_path / str(number)
        folder.mkdir()
        close_recorders()
        monkeypatch.setenv("MAINSPRING_HOME", str(folder / "home"))
        monkeypatch.setenv("JOURNAL", str(folder / "journal"))
        reload_settings()
        die(travel, at=line, FAIL_AT="end of block" if line.startswith("undo") else "")
        died = die_at_write(resume, number)
        finish()
        if not died:
            assert number > 10
            break
    else:
        pytest.fail("it never came to its end")


# Several processes


@flow(persist_result=True)
def forking() -> int:
    book(0)
    pid = os.fork()
    if pid == 0:
        code = 71
        try:
            with transaction():
                charge(1)
            code = DONE
        finally:
            os._exit(code)
    return end(pid)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_block_in_a_forked_child() -> None:
    """It is committed there, as the child is part of the flow run; its steps are not staged, as its death is not."""
    assert forking() == DONE
    assert journal() == ["book 0", "charge 1", "commit charge n=1 paid6"]
    assert nothing_is_left()


@pytest.mark.slow
@pytest.mark.parametrize("at", ["end of block", "commit charge n=1 paid6", "undo charge n=2 paid6"])
def test_two_processes_resume_at_once(at: str) -> None:
    """One of them goes on with the run; each hook is called once."""
    die(shop, at=at, FAIL_AT="end of block" if at.startswith("undo") else "")
    before = len(journal())
    run_id = top().id
    pids = [begin(lambda: resume_flow_run(run_id)) for _ in range(4)]
    codes = sorted(end(pid) for pid in pids)
    assert codes[0] == DONE
    lines = journal()[before:]
    refused = [line for line in lines if line in ("ended by NotResumable", "ended by NotPausedError")]
    assert len(refused) == codes.count(72) == 3
    hooks = [line for line in lines if line.startswith(("commit", "undo"))]
    assert len(hooks) == len(set(hooks))
    assert nothing_is_left()


def lose_the_run() -> None:
    """Do what a machine does that finds another one's process dead, though it is not: crash its runs."""
    with closing(open_store(current_recorder().store.url)) as store:
        unfinished: list[FlowRun | TaskRun] = [
            run for run in (*flow_runs(), *task_runs()) if not run.state.is_final()
        ]
        for run in unfinished:
            state = next_state(run, Move.CRASH, run.state.at + 1, "The process is dead.")
            run.claim(state)
            change = Change(run, [state], run.recorded)
            enter(run, state)
            assert store.write([change]) == []


@pytest.fixture
def stopped(request: pytest.FixtureRequest) -> Any:
    """Begins flows in processes that stop at a line; those that did not go on are killed in the end."""
    pids: list[int] = []

    def stop_at(call: Any, at: str) -> int:
        pids.append(stop(call, at))
        return pids[-1]

    yield stop_at
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


@pytest.mark.parametrize("at", ["end of block", "commit charge n=1 paid6", "undo charge n=2 paid6"])
def test_a_process_that_was_thought_dead_changes_nothing(
    stopped: Any, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After somebody else has gone on with its flow run, it neither publishes nor calls a hook."""
    if at.startswith("undo"):
        monkeypatch.setenv("FAIL_AT", "end of block")
    pid = stopped(shop, at)
    monkeypatch.delenv("FAIL_AT", raising=False)
    lose_the_run()
    assert resume() == ["paid 1", "paid 2"]
    lines, results = journal(), query("SELECT key, run_id FROM results")
    assert go_on(pid) == 72
    assert [line for line in journal()[len(lines) :] if line != "end of block"] == ["ended by SupersededRun"]
    assert query("SELECT key, run_id FROM results") == results
    assert nothing_is_left()
    assert top().state.name == "Completed"


@flow(persist_result=True)
def shop_that_waits() -> list[str]:
    note("begin")
    if "PID" in os.environ:
        note(f"the other one ends with {go_on(int(os.environ['PID']))}")
    with transaction():
        paid = [charge(1), charge(2)]
        note("end of block")
    return paid


# the process may write only after the loss that its step has begun, and end before it can say more
@pytest.mark.invariants(is_over=False)
def test_a_step_that_goes_on_after_its_flow_run_was_lost(stopped: Any) -> None:
    """It is refused, so the process undoes what it has done twice, and leaves the other steps to its successor."""
    pid = stopped(shop, "charge 2")
    lose_the_run()
    assert resume() == ["paid 1", "paid 2"]
    lines, results = journal(), query("SELECT key, run_id FROM results")
    assert go_on(pid) == 72
    assert journal()[len(lines) :] == ["undo charge n=2 paid6", "ended by SupersededRun"]
    assert query("SELECT key, run_id FROM results") == results
    assert nothing_is_left()


@pytest.mark.parametrize("at", ["end of block", "commit charge n=1 paid6"])
def test_a_process_that_goes_on_while_somebody_else_begins(
    stopped: Any, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has lost the flow run from the moment on at which another one has it, not only its steps."""
    pid = stopped(shop_that_waits, at)
    lose_the_run()
    monkeypatch.setenv("PID", str(pid))
    assert resume() == ["paid 1", "paid 2"]
    assert "ended by SupersededRun" in journal()
    hooks = [line for line in journal() if line.startswith(("commit", "undo"))]
    assert hooks == ["commit charge n=1 paid6", "commit charge n=2 paid6"]
    late = journal().index("the other one ends with 72")
    assert at in hooks or not [line for line in journal()[:late] if line in hooks]
    assert nothing_is_left()


@task(cache_policy=NO_CACHE)
def identify(storage: object = None) -> str:
    value = f"of {os.environ.get('PID', 'the first')}"
    note(f"identify {value}")
    return value


@flow(persist_result=True)
def identified() -> str:
    book(0)
    found = identify()
    note("end")
    return found


# the process may write only after the loss that its step has begun, and end before it can say more
@pytest.mark.invariants(is_over=False, by_hand=True)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_late_result_replaces_nothing(
    stopped: Any, elsewhere: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that a process finishes after it has lost the flow run is refused, and so is its result."""
    if elsewhere:
        monkeypatch.setenv("MAINSPRING_RESULTS_DEFAULT_STORAGE", str(tmp_path / "results"))
        reload_settings()
    pid = stopped(identified, "identify of the first")
    lose_the_run()
    monkeypatch.setenv("PID", str(pid))
    assert resume() == f"of {pid}"
    assert go_on(pid) == 72
    assert journal()[-1] == "ended by SupersededRun"
    completed = [run for run in task_runs() if run.name.startswith("identify") and run.state.is_completed()]
    assert [run.state.result() for run in completed] == [f"of {pid}"]
    assert top().state.result() == f"of {pid}"


def hook_that_waits(txn: Any) -> None:
    note(f"commit slowly {os.environ.get('PID', 'first')}")
    if "PID" in os.environ:
        note(f"the other one ends with {go_on(int(os.environ['PID']))}")


def hook_that_fails(txn: Any) -> None:
    note("commit or fail")
    raise BoomError


@flow(persist_result=True)
def shop_of_hooks() -> str:
    with transaction():
        charge.with_options(on_commit=[hook_that_fails, hook_that_waits])(1)
    return "done"


def test_a_hook_that_fails_after_its_commit_was_taken_over(
    stopped: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The former owner does not roll back what its successor is committing."""
    pid = stopped(shop_of_hooks, "commit or fail")
    lose_the_run()
    monkeypatch.setenv("PID", str(pid))
    assert resume() == "done"
    assert not [line for line in journal() if line.startswith("undo")]
    assert journal()[-1] == "the other one ends with 72"
    assert "ended by SupersededRun" in journal()
    assert nothing_is_left()
