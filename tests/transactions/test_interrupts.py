"""What ends more than a transaction, and comes while that is committed or rolled back."""

import time

import pytest

from mainspring import flow, task
from mainspring.transactions import BaseTransaction, transaction
from tests.engine.faults import once, replaced
from tests.engine.history import query
from tests.transactions.stories import Events, hook

LONG = 10


def slow(txn: BaseTransaction) -> None:
    time.sleep(LONG)


@pytest.mark.contract("TX-28", "E-70")
def test_a_time_limit_around_a_commit_hook() -> None:
    """The transaction is rolled back, and what is around it ends there and then instead of going on late."""
    events: Events = []

    @task(on_commit=[slow], on_rollback=[hook(events, "undo")])
    def step() -> None: ...

    @flow(timeout_seconds=0.2)
    def pipeline() -> None:
        with transaction():
            step()
        events.append("went on")

    assert pipeline(return_state=True).name == "TimedOut"
    assert events == ["undo"]


@pytest.mark.contract("TX-33", "E-70")
def test_a_time_limit_around_a_rollback_hook() -> None:
    """The other hooks are called, and then the limit counts."""
    events: Events = []

    @task(on_rollback=[hook(events, "undo"), slow])
    def step() -> None: ...

    @flow(timeout_seconds=0.2)
    def pipeline() -> None:
        with transaction() as txn:
            step()
            txn.rollback()
        events.append("went on")

    assert pipeline(return_state=True).name == "TimedOut"
    assert events == ["undo"]


@pytest.mark.contract("TX-18", "TX-31")
def test_a_commit_that_is_interrupted_between_hooks() -> None:
    """If its block rolls it back, nobody finishes the commit any more."""
    events: Events = []

    @task(on_commit=[hook(events, "commit")], on_rollback=[hook(events, "undo")])
    def step() -> None: ...

    @flow(persist_result=True)
    def pipeline() -> None:
        with transaction() as txn:
            step()
            with replaced("advance_settlement", once(KeyboardInterrupt())):
                txn.commit()

    with pytest.raises(KeyboardInterrupt):
        pipeline()
    assert events == ["undo"]
    assert query("SELECT count(*) FROM settlements") == query("SELECT count(*) FROM staged") == [(0,)]
