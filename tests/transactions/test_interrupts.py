"""What ends more than a transaction, and comes while that is committed or rolled back."""

import time

import pytest

from mainspring import flow, task
from mainspring.transactions import BaseTransaction, transaction
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
