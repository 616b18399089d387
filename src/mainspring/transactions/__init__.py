"""Transactions: several steps that are committed together or rolled back together.

A transaction is a strict machine: pending, active, staged, then committed or rolled back for good. A nested
transaction that is left without an error waits for the one around it; what the outermost one does, all do.
Every attempt of a task is a transaction of its own, so hooks of a task that completed run when a later step
of the same block fails. A transaction with a key and a store writes what was staged when it is committed.

``base``       the transaction itself: states, values, children
``faces``      `Transaction` and `AsyncTransaction`, which carry it out
``blocks``     `transaction`, `atransaction`, and the store that a keyed block takes
``boundaries`` entering and leaving a block
``settling``   the order of a begin, a commit and a rollback
``writing``    the last step of a commit
``steps``      what these are made of: calls that may wait, and hooks
``ledger``     what the run store is told, for the case that the process dies
``recovery``   what another process makes of that
``protocol``   states, modes, and what a store has to offer
"""

from typing import TYPE_CHECKING

from mainspring._imports import names_on_use

if TYPE_CHECKING:
    from mainspring.transactions.base import BaseTransaction
    from mainspring.transactions.blocks import atransaction, get_transaction, transaction
    from mainspring.transactions.faces import AsyncTransaction, Transaction
    from mainspring.transactions.protocol import (
        CommitMode,
        IsolationLevel,
        TransactionState,
        TransactionStore,
    )

__all__ = [
    "AsyncTransaction",
    "BaseTransaction",
    "CommitMode",
    "IsolationLevel",
    "Transaction",
    "TransactionState",
    "TransactionStore",
    "atransaction",
    "get_transaction",
    "transaction",
]

__getattr__, __dir__ = names_on_use(
    __name__,
    {
        ".base": ["BaseTransaction"],
        ".blocks": ["atransaction", "get_transaction", "transaction"],
        ".faces": ["AsyncTransaction", "Transaction"],
        ".protocol": ["CommitMode", "IsolationLevel", "TransactionState", "TransactionStore"],
    },
)
