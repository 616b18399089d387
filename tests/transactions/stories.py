"""What tests of transactions share: hooks that tell of themselves, and blocks that fail."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mainspring.transactions import BaseTransaction, Transaction, transaction
from tests.engine.scenarios import BoomError

Events = list[str]


def hook(events: Events, name: str, error: BaseException | None = None) -> Any:
    """A hook that adds its name to the events, and then raises the error if there is one."""

    def call(txn: BaseTransaction) -> None:
        events.append(name)
        if error is not None:
            raise error

    call.__name__ = name
    return call


def staged(events: Events, name: str, txn: BaseTransaction) -> None:
    """Stage something with a commit and a rollback hook that tell the name."""
    txn.stage(name, [hook(events, f"undo {name}")], [hook(events, f"commit {name}")])


@contextmanager
def failing(commit_mode: str | None = None) -> Iterator[Transaction]:
    """A transaction whose block ends with an error, which goes no further."""
    try:
        with transaction(commit_mode=commit_mode) as txn:
            yield txn
            raise BoomError
    except BoomError:
        pass
