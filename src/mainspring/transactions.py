"""Transactions: several steps that are committed together or rolled back together.

A transaction is a strict machine: pending, active, staged, then committed or rolled back for good. A nested
transaction that is left without an error waits for the one around it; what the outermost one does, all do.
Every attempt of a task is a transaction of its own, so hooks of a task that completed run when a later step
of the same block fails.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from enum import Enum
from types import TracebackType
from typing import Any, Self

from mainspring import _portal
from mainspring._core.policy import hook_name
from mainspring.annotations import NotSet
from mainspring.logging import get_run_logger_or

__all__ = [
    "AsyncTransactionScope",
    "CommitMode",
    "Transaction",
    "TransactionState",
    "get_transaction",
    "transaction",
]

Hook = Callable[["Transaction"], Any]
Logger = logging.Logger | logging.LoggerAdapter[Any]


class TransactionState(str, Enum):
    """Where a transaction is in its life."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    STAGED = "STAGED"
    COMMITTED = "COMMITTED"
    ROLLED_BACK = "ROLLED_BACK"


_DECIDED = frozenset({TransactionState.COMMITTED, TransactionState.ROLLED_BACK})


class CommitMode(str, Enum):
    """When a transaction is committed: on leaving it, with the outermost one, or only by hand."""

    EAGER = "EAGER"
    LAZY = "LAZY"
    OFF = "OFF"


class Transaction:
    """A unit of work; use it as a ``with`` block, or better `transaction`.

    Not locked: one thread enters and leaves it. Tasks submitted inside may add themselves from others.

    Args:
        key: What the staged value is kept under, if anything keeps it.
        commit_mode: When to commit; the surrounding transaction's mode, or LAZY at top level.
        logger: Where hooks are reported.
    """

    __slots__ = (
        "_logger",
        "_values",
        "children",
        "commit_mode",
        "key",
        "on_commit_hooks",
        "on_rollback_hooks",
        "outer",
        "parent",
        "staged_value",
        "state",
    )
    _current: ContextVar[Transaction | None] = ContextVar("mainspring_transaction", default=None)

    def __init__(
        self,
        key: str | None = None,
        commit_mode: CommitMode | None = None,
        logger: Logger | None = None,
    ) -> None:
        self.key = key
        self.commit_mode = commit_mode
        self.state = TransactionState.PENDING
        self.parent: Transaction | None = None
        self.children: list[Transaction] = []
        self.on_commit_hooks: list[Hook] = []
        self.on_rollback_hooks: list[Hook] = []
        self.staged_value: Any = None
        self._logger = logger
        self._values: dict[str, Any] | None = None

    def is_pending(self) -> bool:
        """True before it was entered."""
        return self.state is TransactionState.PENDING

    def is_active(self) -> bool:
        """True inside the block as long as nothing was staged."""
        return self.state is TransactionState.ACTIVE

    def is_staged(self) -> bool:
        """True once something was staged and until it is decided."""
        return self.state is TransactionState.STAGED

    def is_committed(self) -> bool:
        """True once committed."""
        return self.state is TransactionState.COMMITTED

    def is_rolled_back(self) -> bool:
        """True once rolled back."""
        return self.state is TransactionState.ROLLED_BACK

    def get_parent(self) -> Transaction | None:
        """The transaction around this one; also after this one was left."""
        return self.parent

    def add_child(self, child: Transaction) -> None:
        """Let this transaction's end decide about ``child``."""
        self.children.append(child)

    @classmethod
    def current(cls) -> Transaction | None:
        """The innermost open transaction of the calling context."""
        return cls._current.get()

    @classmethod
    def activate(cls, active: Transaction | None) -> Transaction | None:
        """Make a transaction the innermost one until somebody else is, and return the one that was."""
        before = cls._current.get()
        cls._current.set(active)
        return before

    # Values

    def set(self, name: str, value: Any) -> None:
        """Keep a value under a name, for hooks and inner transactions."""
        if self._values is None:
            self._values = {}
        self._values[name] = value

    def get(self, name: str, default: Any = NotSet) -> Any:
        """A named value of this transaction or one around it.

        A value of an outer transaction is copied into this one at the first read, so changes to it
        never reach the outer one.

        Raises:
            ValueError: There is no such value, and no default was given.
        """
        if self._values is not None and name in self._values:
            return self._values[name]
        outer = self.parent
        while outer is not None:
            if outer._values is not None and name in outer._values:
                self.set(name, deepcopy(outer._values[name]))
                return self.get(name)
            outer = outer.parent
        if default is NotSet:
            raise ValueError(f"Could not retrieve value for unknown key {name!r}: nobody has set it.")
        return default

    # Life

    def __enter__(self) -> Self:
        if self.state is not TransactionState.PENDING:
            raise RuntimeError("Context already entered: a transaction is used for one block only.")
        self.outer = self.parent = outer = self._current.get()
        if self.commit_mode is None:
            self.commit_mode = CommitMode.LAZY if outer is None else outer.commit_mode
        self.state = TransactionState.ACTIVE
        self._current.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.state is TransactionState.PENDING:
            raise RuntimeError("Asymmetric use of context. Context exited without being entered.")
        try:
            if error is not None:
                self.rollback()
            elif self.commit_mode is CommitMode.EAGER:
                self.commit()
            elif self.parent is not None:
                self.parent.add_child(self)
            elif self.commit_mode is CommitMode.LAZY:
                self.commit()
            else:
                self.rollback()
        finally:
            self._current.set(self.outer)

    def stage(
        self,
        value: Any,
        on_rollback_hooks: Iterable[Hook] = (),
        on_commit_hooks: Iterable[Hook] = (),
    ) -> None:
        """Say what a commit would keep, and what is to run at the end; nothing once it is decided."""
        if self.state in _DECIDED:
            return
        self.staged_value = value
        self.on_rollback_hooks.extend(on_rollback_hooks)
        self.on_commit_hooks.extend(on_commit_hooks)
        self.state = TransactionState.STAGED

    def commit(self) -> bool:
        """Commit the children in their order, then run the commit hooks.

        An error on the way is logged and leads to a rollback. Returns True if it is now committed by
        this call, False if it was decided before or had to be rolled back.
        """
        if self.state in _DECIDED:
            return False
        for child in self.children:
            if not child.commit() and not child.is_committed():
                self.rollback()
                return False
        for hook in self.on_commit_hooks:
            if not self._run(hook, "commit"):
                self.rollback()
                return False
        self.state = TransactionState.COMMITTED
        return True

    def rollback(self) -> bool:
        """Run the rollback hooks in reverse order, then roll the children back, newest first.

        Every hook runs, also after one that failed. Returns True if all of it went well, False if the
        transaction was decided before or a hook failed.
        """
        if self.state in _DECIDED:
            return False
        self.state = TransactionState.ROLLED_BACK
        went_well = True
        for hook in reversed(self.on_rollback_hooks):
            went_well &= self._run(hook, "rollback")
        for child in reversed(self.children):
            went_well &= child.rollback()
        return went_well

    def _run(self, hook: Hook, kind: str) -> bool:
        """Run one hook; an ``on_rollback`` that fails must not keep the others from running."""
        logged = getattr(hook, "log_on_run", True)
        logger = self._logger or get_run_logger_or("transactions")
        name = hook_name(hook)
        try:
            if logged:
                logger.info("Running %s hook %r", kind, name)
            _portal.finish(hook(self))
        except Exception as error:  # reported here; the caller decides by the answer
            if logged:
                logger.error(
                    "An error was encountered while running %s hook %r: %s: %s",
                    kind,
                    name,
                    type(error).__name__,
                    error,
                    exc_info=True,
                )
            return False
        if logged:
            logger.info("%s hook %r finished running successfully", kind.capitalize(), name)
        return True


class AsyncTransactionScope:
    """A transaction for ``async with``."""

    __slots__ = ("_transaction",)

    def __init__(
        self,
        key: str | None = None,
        commit_mode: CommitMode | None = None,
        logger: Logger | None = None,
    ) -> None:
        self._transaction = Transaction(key, commit_mode, logger)

    async def __aenter__(self) -> Transaction:
        return self._transaction.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._transaction.__exit__(kind, error, trace)


def get_transaction() -> Transaction | None:
    """The innermost open transaction of the calling context."""
    return Transaction.current()


@contextmanager
def transaction(
    key: str | None = None,
    commit_mode: CommitMode | str | None = None,
    logger: Logger | None = None,
) -> Generator[Transaction]:
    """Open a transaction for the block: left normally it commits, left by an error it rolls back.

    Args:
        key: A name for the unit of work.
        commit_mode: See `CommitMode`; nested blocks take the surrounding one's by default.
        logger: Where hooks are reported; the active run's logger by default.
    """
    mode = None if commit_mode is None else CommitMode(commit_mode)
    with Transaction(key, mode, logger or get_run_logger_or("transactions")) as active:
        yield active
