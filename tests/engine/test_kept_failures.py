"""Kept and staged results when writing fails, is interrupted, or comes late."""

from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.exceptions import StoreError, StoreUnavailable
from mainspring.filesystems import LocalFileSystem
from mainspring.recording import current_recorder
from mainspring.results import ResultStore
from mainspring.settings import temporary_settings
from mainspring.transactions import TransactionState, transaction
from tests.engine.faults import once, replaced
from tests.engine.history import query
from tests.engine.test_recording import until
from tests.transactions.stories import Events, hook


@pytest.mark.contract("TX-27", "TX-71")
def test_what_was_rolled_back_is_not_written_later() -> None:
    """A commit that the run store could not write is undone, so what it was to keep must not come after all."""
    events: Events = []
    store = ResultStore(persist_result=True)
    with (
        replaced("write", once(StoreUnavailable("the disk is full"))),
        transaction("key", store) as txn,
    ):
        txn.stage(1, on_rollback_hooks=[hook(events, "undo")])
    current_recorder().flush()
    assert events == ["undo"]
    assert not store.exists("key")


def test_what_could_not_be_written_does_not_hide_what_is_there() -> None:
    """A reader finds what was kept before."""
    store = ResultStore(persist_result=True)
    store.write(1, "key")
    with replaced("write", once(StoreUnavailable("the disk is full"))), pytest.raises(StoreError):
        store.write(2, "key")
    assert store.read("key").result == 1


def test_results_of_no_run_are_written_soon() -> None:
    """With durability ``relaxed`` they need no run that comes after them to be written."""
    with temporary_settings({"durability": "relaxed"}):
        ResultStore(persist_result=True).write(1, "key")
        until(lambda: query("SELECT key FROM results"))


class _Busy(LocalFileSystem):
    """A storage that belongs to its process."""

    def __reduce__(self) -> Any:
        raise TypeError("it holds a connection")


def test_a_storage_that_cannot_be_pickled(tmp_path: Path) -> None:
    """Nobody else could publish what is staged for it, and the transaction is committed all the same."""

    @task(result_storage=_Busy(tmp_path), result_storage_key="one")
    def step() -> int:
        return 1

    @flow(persist_result=True)
    def pipeline() -> TransactionState:
        with transaction() as txn:
            step()
        return txn.state

    assert pipeline() is TransactionState.COMMITTED
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["one"]
