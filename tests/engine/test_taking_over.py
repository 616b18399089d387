"""Steps of an open transaction whose process died: what comes with them when another process takes them over."""

import signal
from pathlib import Path

import pytest

from mainspring.runs import FlowRun
from tests.engine.history import change, flow_runs, query, task_runs
from tests.engine.resumable import Program

pytestmark = pytest.mark.slow

HOOKS = """
    from mainspring.transactions import get_transaction, transaction

    def undo(txn):
        note(f"undo {txn.get('x')}")

    def confirm(txn):
        note(f"confirm {txn.get('x')}")
"""


def killed(folder: Path, text: str, at: int) -> tuple[Program, FlowRun]:
    """A program that was killed before it could write another line than so many, and its run."""
    program = Program(folder, HOOKS + text)
    assert program.run(DIE_AT=str(at)) == -signal.SIGKILL
    (run,) = flow_runs()
    return program, run


ADDED = """
    @task
    def reserve(x):
        txn = get_transaction()
        txn.set("x", x)
        txn.on_commit_hooks.append(confirm)
        txn.on_rollback_hooks.append(undo)
        return x

    @flow(persist_result=True)
    def main():
        with transaction():
            reserve(1)
            note("reserved")
        return 1
"""


def test_hooks_that_the_function_has_added(tmp_path: Path) -> None:
    """They are called although the function is not, which would have added them again."""
    program, run = killed(tmp_path, ADDED, at=0)
    assert program.resume(run.id) == "1"
    assert program.journal == ["confirm 1", "reserved"]


def test_hooks_that_the_function_has_added_undo_it(tmp_path: Path) -> None:
    """The same holds where what goes on is rolled back."""
    program, run = killed(tmp_path, ADDED, at=0)
    program.fail_to_resume(run.id, FAIL_AT="reserved")
    assert program.journal == ["undo 1"]


def test_runs_inside_of_one_that_keeps_nothing(tmp_path: Path) -> None:
    """What is staged at any depth inside of a step is committed with it, whatever lies between."""
    program, run = killed(
        tmp_path,
        """
    @task(on_rollback=[undo], on_commit=[confirm])
    def inner(x):
        get_transaction().set("x", x)
        return x

    @task(persist_result=False)
    def between(x):
        return inner(x)

    @task
    def outer(x):
        return between(x)

    @flow(persist_result=True)
    def main():
        with transaction():
            outer(1)
            note("done")
        return 1
""",
        at=0,
    )
    assert program.resume(run.id) == "1"
    assert program.journal == ["confirm 1", "done"]
    assert {made.state.name for made in task_runs()} == {"Completed", "Cached"}


def test_a_step_that_cannot_be_loaded(tmp_path: Path) -> None:
    """It is left as it was, with what ran inside of it, until it can."""
    program, run = killed(
        tmp_path,
        """
    @task(on_rollback=[undo])
    def inner(x):
        get_transaction().set("x", x)
        return x

    @task
    def outer(x):
        return inner(x)

    @flow(persist_result=True)
    def main():
        with transaction():
            outer(1)
            note("done")
        return 1
""",
        at=0,
    )
    ((content,),) = query("SELECT content FROM staged WHERE around_id = root_id")
    change("UPDATE staged SET content = '{}' WHERE around_id = root_id")
    assert "no record of a result" in program.fail_to_resume(run.id)
    assert query("SELECT count(*) FROM staged") == [(2,)]
    change("UPDATE staged SET content = ? WHERE around_id = root_id", content)
    assert program.resume(run.id) == "1"
    assert program.journal == ["done"]
    assert query("SELECT count(*) FROM staged") == [(0,)]


COMMITTING = """
    @task(on_commit=[confirm, confirm, confirm], on_rollback=[undo])
    def reserve(x):
        get_transaction().set("x", x)
        return x

    @flow(persist_result=True, retries=1)
    def main():
        with transaction():
            reserve(1)
        return 1
"""
WITH_A_FAULT = """
import sys
from mainspring import resume_flow_run
from mainspring.exceptions import StoreUnavailable
from mainspring.recording import current_recorder

method, at = {fault}
store, calls = current_recorder().store, []
real = getattr(store, method)

def fail_once(*args):
    calls.append(args)
    if len(calls) == at:
        raise StoreUnavailable("another process kept it locked")
    return real(*args)

setattr(store, method, fail_once)
print(resume_flow_run(sys.argv[1]))
"""


@pytest.mark.contract("TX-26")
@pytest.mark.parametrize(
    "fault", [("read_leftovers", 2), ("claim_settlement", 1), ("advance_settlement", 1)], ids=str
)
def test_a_commit_that_the_first_attempt_could_not_finish(tmp_path: Path, fault: tuple[str, int]) -> None:
    """A retry of the flow finishes it, as the run must not complete over it. The second hook was interrupted."""
    program, run = killed(tmp_path, COMMITTING, at=1)
    assert program.resume(run.id, WITH_A_FAULT.format(fault=fault)) == "1"
    assert program.journal == ["confirm 1", "confirm 1"]
    assert query("SELECT count(*) FROM settlements") == query("SELECT count(*) FROM staged") == [(0,)]


@pytest.mark.contract("TX-31")
def test_a_rollback_that_the_first_attempt_could_not_decide(tmp_path: Path) -> None:
    """The same holds for what nobody takes over, and is rolled back when the flow function has returned."""
    program, run = killed(
        tmp_path,
        """
    @task(on_rollback=[undo])
    def reserve(x):
        get_transaction().set("x", x)
        return x

    @flow(persist_result=True, retries=1)
    def main():
        if not JOURNAL.read_text():
            with transaction():
                reserve(1)
                note("reserved")
                note("killed")
        return 1
""",
        at=1,
    )
    assert program.resume(run.id, WITH_A_FAULT.format(fault=("open_settlement", 1))) == "1"
    assert program.journal == ["reserved", "undo 1"]
    assert query("SELECT count(*) FROM settlements") == query("SELECT count(*) FROM staged") == [(0,)]
