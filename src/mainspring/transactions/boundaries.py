"""Entering and leaving the block of a transaction: what happens at once, and which steps are to be carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring._imports import modules_on_use
from mainspring.transactions.base import BaseTransaction
from mainspring.transactions.protocol import CommitMode, IsolationLevel, TransactionState

if TYPE_CHECKING:
    from mainspring.transactions import settling
    from mainspring.transactions.steps import Steps
else:
    settling = modules_on_use("mainspring.transactions", "settling")

__all__ = ["abandon", "enter_block", "leave_block", "leave_context"]

_PENDING, _ACTIVE, _, _COMMITTED, _ROLLED_BACK = TransactionState
_LAZY, _EAGER = CommitMode.LAZY, CommitMode.EAGER
_READ_COMMITTED = IsolationLevel.READ_COMMITTED
_innermost = BaseTransaction.innermost


def enter_block(txn: BaseTransaction) -> Steps | None:
    """Begin; returns the steps that may wait, None if there are none.

    Raises:
        RuntimeError: It was entered before.
        Exception: As `begin` does; then it was abandoned.
    """
    if txn.state is not _PENDING:
        raise RuntimeError("Context already entered: a transaction is used for one block only.")
    txn.outer = txn.parent = outer = _innermost.get()
    _innermost.set(txn)
    if txn.commit_mode is None:
        txn.commit_mode = _LAZY if outer is None else outer.commit_mode
    if txn.isolation_level is None:
        txn.isolation_level = _READ_COMMITTED if outer is None else outer.isolation_level
    txn.state = _ACTIVE
    if txn.key is None or txn.store is None:
        return None
    try:
        return settling.begin(txn)
    except BaseException:
        abandon(txn)
        raise


def abandon(txn: BaseTransaction) -> None:
    """Undo what entering did, after it has failed."""
    txn.state = _ROLLED_BACK
    leave_context(txn)


def leave_block(txn: BaseTransaction, error: BaseException | None) -> Steps | None:
    """End; returns the steps that may wait, None if there was nothing but to go.

    Raises:
        RuntimeError: It was never entered.
    """
    state = txn.state
    if state is _PENDING:
        raise RuntimeError("Asymmetric use of context. Context exited without being entered.")
    if state is _COMMITTED:  # from the beginning, or by hand
        settling.release(txn)
        return None
    if error is not None or state is _ROLLED_BACK or txn.is_discarded:
        return settling.leave(txn, error)
    parent, mode = txn.parent, txn.commit_mode
    if parent is not None and mode is not _EAGER and not parent.is_decided():
        parent.add_child(txn)
        return None
    if mode is _LAZY and parent is None and not (txn.children or txn.on_commit_hooks or txn.writes()):
        txn.state = _COMMITTED
        if txn.is_locking:
            return settling.leave(txn, None)
        return None
    return settling.leave(txn, None)


def leave_context(txn: BaseTransaction) -> None:
    """Make the transaction around this one the innermost one again, and free the key if nobody else did.

    Nothing if the block was never entered.
    """
    if txn.state is _PENDING:
        return
    _innermost.set(txn.outer)
    if txn.is_locking and (txn.parent is None or txn.is_decided()):
        settling.release(txn)
