"""Two small transactions with hooks, one of which is rolled back."""

from __future__ import annotations

from mainspring import Transaction, flow, task
from mainspring.testing.traces import Trace
from mainspring.transactions import transaction

trace = Trace()


class RefusedError(Exception):
    """What leaves the block that is rolled back."""


@trace.hook
def undo(txn: Transaction) -> None:
    pass


@trace.hook
def settle(txn: Transaction) -> None:
    pass


@task(persist_result=True)
@trace.function
def book(number: int) -> int:
    return number


book.on_rollback(undo)
book.on_commit(settle)


@flow(persist_result=True)
@trace.function
def main() -> int:
    with transaction("kept"):
        total = book(1) + book(2) + book(3)
    try:
        with transaction("refused"):
            book(4)
            book(5)
            raise RefusedError
    except RefusedError:
        return total
