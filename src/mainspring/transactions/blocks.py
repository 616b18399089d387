"""Opening transactions, and finding the open one."""

from __future__ import annotations

from typing import Any

from mainspring.logging import get_run_logger_or
from mainspring.results import get_result_store
from mainspring.transactions.base import BaseTransaction, Logger
from mainspring.transactions.faces import AsyncTransaction, Transaction
from mainspring.transactions.protocol import CommitMode, IsolationLevel, TransactionStore

__all__ = ["atransaction", "get_transaction", "transaction"]


def get_transaction() -> BaseTransaction | None:
    """The innermost open transaction of the calling context."""
    return BaseTransaction.current()


def transaction(
    key: str | None = None,
    store: TransactionStore | None = None,
    commit_mode: CommitMode | str | None = None,
    isolation_level: IsolationLevel | str | None = None,
    overwrite: bool = False,
    logger: Logger | None = None,
    write_on_commit: bool = True,
    *,
    lock_timeout: float | None = None,
) -> Transaction:
    """Open a transaction for a ``with`` block: left normally it commits, left by an error it rolls back.

    Args:
        key: What the staged value is kept under. If there is something under it already, the transaction is
            committed from the beginning, and `Transaction.read` gives what is there.
        store: Where the value is kept; with a key the store of the active run, else one after the settings.
        commit_mode: See `CommitMode`; nested blocks take the surrounding one's by default.
        isolation_level: See `IsolationLevel`; nested blocks take the surrounding one's by default.
        overwrite: Write even if there is something under the key.
        logger: Where hooks are reported; the active run's logger by default.
        write_on_commit: Whether a commit writes the staged value.
        lock_timeout: How many seconds a SERIALIZABLE transaction waits for the lock on its key.
    """
    return Transaction(
        store=_store(key, store),
        key=key,
        commit_mode=commit_mode,
        isolation_level=isolation_level,
        overwrite=overwrite,
        logger=logger or get_run_logger_or("transactions"),
        write_on_commit=write_on_commit,
        lock_timeout=lock_timeout,
    )


def atransaction(
    key: str | None = None,
    store: TransactionStore | None = None,
    commit_mode: CommitMode | str | None = None,
    isolation_level: IsolationLevel | str | None = None,
    overwrite: bool = False,
    logger: Logger | None = None,
    write_on_commit: bool = True,
    *,
    lock_timeout: float | None = None,
) -> AsyncTransaction:
    """`transaction` for an ``async with`` block, with the same arguments."""
    return AsyncTransaction(
        store=_store(key, store),
        key=key,
        commit_mode=commit_mode,
        isolation_level=isolation_level,
        overwrite=overwrite,
        logger=logger or get_run_logger_or("transactions"),
        write_on_commit=write_on_commit,
        lock_timeout=lock_timeout,
    )


class _Kept:
    """The options of a run whose results are kept, in the way that is set around it."""

    persist_result: bool | None = True
    result_storage: Any = None
    result_serializer: Any = None
    cache_result_in_memory: bool | None = None


_KEPT = _Kept()


def _store(key: str | None, store: TransactionStore | None) -> TransactionStore | None:
    """The one that was given; with a key that of the active run, made to keep what is staged."""
    if store is None and key is not None:
        return get_result_store().update_for_flow(_KEPT)
    return store
