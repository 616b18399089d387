"""The last step of a commit: what a nest of transactions has staged is written."""

from __future__ import annotations

from typing import Any

from mainspring.exceptions import LockNotHeld, SerializationError, SupersededRun
from mainspring.states import is_stored
from mainspring.store.results import KeptResult
from mainspring.transactions.base import BaseTransaction
from mainspring.transactions.ledger import Ledger, publish
from mainspring.transactions.steps import Call, Steps, report

__all__ = ["write"]


def write(nest: list[BaseTransaction], ledger: Ledger | None) -> Steps:
    """Write what the transactions of a nest have staged; all of it is checked before the first is written.

    What goes to other storages is written first, one after the other. What goes to the run store is written in one
    step, and with it everything counts.

    Returns:
        The error, which has been reported; None if all went well.
    """
    writing = [txn for txn in nest if txn.writes() and (txn.entry is None or txn.entry.is_elsewhere)]
    rows: list[KeptResult] = []
    written: list[BaseTransaction] = []
    for work in (_check, _keep) if len(writing) > 1 else (_keep,):
        written = []
        for txn in writing:
            error = yield from work(txn, rows)
            if error is not None:
                _report_unwritten(txn, error, written if work is _keep else [])
                return error
            if not _is_in_history(txn.store):
                written.append(txn)
    entries = [txn.entry for txn in nest if txn.entry is not None]
    if rows or entries:
        try:
            publish(rows, entries, ledger)
        except Exception as error:  # the caller rolls back
            if not isinstance(error, SupersededRun):
                _report_unwritten(nest[-1], error, written)
            return error
    for txn in nest:
        mark = getattr(txn.staged_value, "mark_persisted", None) if is_stored(txn.staged_value) else None
        if mark is not None and txn.write_on_commit:
            mark()
    return None


def _is_in_history(store: Any) -> bool:
    """Whether a store keeps records in the run store; stores of users do not say."""
    return bool(getattr(store, "is_in_history", False))


def _check(txn: BaseTransaction, rows: list[KeptResult]) -> Steps:
    """Find out whether the staged value can be written."""
    value = txn.staged_value
    try:
        _check_lock(txn)
        if not is_stored(value):
            value = txn.store.create_result_record(value, key=txn.key)
    except Exception as error:  # the caller reports it and rolls back
        return error
    serialize = getattr(value, "serialize", None)  # a value that is stored already has nothing to serialize
    return None if serialize is None else (yield Call(serialize, serialize)).error


def _keep(txn: BaseTransaction, rows: list[KeptResult]) -> Steps:
    """Write the staged value, or add it to what is going to be written in one step."""
    store, value, holder = txn.store, txn.staged_value, txn.holder
    is_in_history = _is_in_history(store)
    try:
        _check_lock(txn)
        if is_in_history and not is_stored(value):
            value = store.create_result_record(value, key=txn.key)
    except Exception as error:  # the caller reports it and rolls back
        return error
    if is_in_history:
        call = Call(store.pack, store.apack, (value, txn.run_key), holder=holder)
    elif is_stored(value):
        call = Call(store.persist_result_record, store.apersist_result_record, (value,), holder=holder)
    else:
        call = Call(store.write, store.awrite, obj=value, key=txn.key, holder=holder)
    outcome = yield call
    if is_in_history and outcome.error is None:
        rows.append(outcome.value)
    return outcome.error


def _check_lock(txn: BaseTransaction) -> None:
    """Refuse to write under a lock that is not held any more (TX-77)."""
    if txn.is_locking and not txn.store.is_lock_holder(txn.key, holder=txn.holder):
        raise LockNotHeld(
            f"The lock on key {txn.key!r} was lost before the transaction was committed, so nothing is written:"
            " others may have gone on in the meantime. A longer hold timeout keeps it."
        )


def _report_unwritten(txn: BaseTransaction, error: BaseException, written: list[BaseTransaction]) -> None:
    """Tell that a staged value was not written, and which ones were before it."""
    if isinstance(error, SerializationError):
        txn.logger.warning(
            "Encountered an error while serializing result for key %r; it is not kept: %s", txn.key, error
        )
    else:
        report(txn, f"writing the result for key {txn.key!r}", error)
    if written:
        keys = [each.key for each in written]
        txn.logger.error(
            "These results were written before, and are rolled back without removing them: %r", keys
        )
