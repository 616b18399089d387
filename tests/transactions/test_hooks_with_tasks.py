"""Hooks that call tasks and open transactions of their own."""

from collections.abc import Callable

import pytest

from mainspring import flow, task
from mainspring.transactions import BaseTransaction, get_transaction, transaction
from tests.engine.history import query, sequence, task_runs
from tests.engine.scenarios import BoomError
from tests.transactions.stories import Events, failing, hook


@pytest.mark.contract("TX-6", "TX-36")
@pytest.mark.parametrize("keeps", [False, True])
def test_a_task_that_undoes_something_is_not_undone(keeps: bool) -> None:
    """It is no part of the transaction that is rolled back, whether the block fails or is rolled back by hand."""
    events: Events = []

    @task(on_commit=[hook(events, "commit refund")], on_rollback=[hook(events, "undo refund")])
    def refund() -> None: ...

    @task(on_rollback=[lambda txn: refund()])
    def pay() -> None: ...

    @flow(persist_result=keeps)
    def by_hand() -> None:
        with transaction() as txn:
            pay()
            txn.rollback()
            assert get_transaction() is txn

    @flow(persist_result=keeps)
    def by_an_error() -> None:
        with transaction():
            pay()
            raise BoomError

    for pipeline in (by_hand, by_an_error):
        pipeline(return_state=True)
    assert events == ["commit refund"] * 2
    refunds = [run for run in task_runs() if run.name.startswith("refund")]
    assert [sequence(run) for run in refunds] == ["Pending Running Completed"] * 2
    assert query("SELECT count(*) FROM staged") == [(0,)]


@pytest.mark.contract("TX-6")
def test_a_block_in_a_rollback_hook_is_a_block_of_its_own() -> None:
    """It commits, as it would in the process that finishes a rollback for a dead one."""
    events: Events = []

    def undo(txn: BaseTransaction) -> None:
        with transaction() as own:
            own.stage(None, [hook(events, "undo")], [hook(events, "commit")])

    with failing() as txn:
        txn.stage(None, [undo])
    assert events == ["commit"]


@pytest.mark.contract("TX-26", "TX-28")
@pytest.mark.parametrize("fails", [False, True])
def test_a_task_in_a_commit_hook_is_part_of_the_commit(fails: bool) -> None:
    """It is committed with what calls it, and rolled back if a later hook fails."""
    events: Events = []

    @task(on_commit=[hook(events, "commit notice")], on_rollback=[hook(events, "undo notice")])
    def notify() -> None: ...

    last: list[Callable[[BaseTransaction], None]] = [hook(events, "last", BoomError() if fails else None)]

    @task(on_commit=[lambda txn: notify(), *last])
    def pay() -> None: ...

    @flow(persist_result=True)
    def pipeline() -> None:
        with transaction():
            pay()

    pipeline()
    assert events == ["last", "undo notice" if fails else "commit notice"]
    assert query("SELECT count(*) FROM staged") == [(0,)]
