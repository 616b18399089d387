"""What sync and async transactions share: fields, values, and what entering and leaving means."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar

from mainspring._imports import library_on_use
from mainspring.annotations import NotSet
from mainspring.identifiers import new_id
from mainspring.logging import get_logger
from mainspring.transactions.protocol import CommitMode, IsolationLevel, TransactionState, TransactionStore

if TYPE_CHECKING:
    import copy
else:
    copy = library_on_use("copy")

__all__ = ["BaseTransaction", "Hook", "Logger"]

Hook = Callable[[Any], Any]
Logger = logging.Logger | logging.LoggerAdapter[Any]

_logger = get_logger("transactions")
_PENDING, _ACTIVE, _STAGED, _COMMITTED, _ROLLED_BACK = TransactionState
_READ_COMMITTED = IsolationLevel.READ_COMMITTED

# What two transactions are compared by.
_FIELDS = (
    "store",
    "key",
    "children",
    "commit_mode",
    "isolation_level",
    "state",
    "on_commit_hooks",
    "on_rollback_hooks",
    "overwrite",
    "logger",
    "write_on_commit",
)


class BaseTransaction:
    """A unit of work: `Transaction` for ``with``, `AsyncTransaction` for ``async with``.

    Not locked: one thread or asyncio task enters and leaves it. Tasks submitted inside may add themselves
    from others.

    Args:
        store: Where the staged value is kept; without one, or without a key, nothing is read or written.
        key: What the staged value is kept under.
        children: Transactions that end with this one.
        commit_mode: When to commit; the surrounding transaction's mode, or LAZY at top level.
        isolation_level: SERIALIZABLE locks the key until the transaction has ended; None takes the surrounding
            transaction's level, or READ_COMMITTED at top level.
        on_commit_hooks: Called with the transaction, in order, when it is committed, before anything is written.
        on_rollback_hooks: Called with the transaction, last one first, when it is rolled back.
        overwrite: Write even if there is something under the key.
        logger: Where hooks are reported.
        write_on_commit: Whether a commit writes the staged value.
        lock_timeout: How many seconds to wait for the lock of a SERIALIZABLE transaction; None is no limit.
    """

    innermost: ClassVar[ContextVar[BaseTransaction | None]] = ContextVar(
        "mainspring_transaction", default=None
    )

    # For most transactions these stay as the class has them, so they are set by those that differ. One is made for
    # each attempt.
    state = _PENDING
    commit_mode: CommitMode | None = None
    isolation_level: Any = _READ_COMMITTED
    lock_timeout: float | None = None
    parent: BaseTransaction | None = None
    outer: BaseTransaction | None = None
    staged_value: Any = None
    is_locking = False
    is_discarded = False
    settling: str | None = None  # "commit" or "rollback" while that is going on
    run_key: bytes | None = None  # the run whose attempt it is, if it is one
    found: Any = None  # what the store had under the key when the block was entered
    entry: Any = None  # what the run store knows of it, see `mainspring.transactions.ledger`
    ledger: Any = None  # in which its commit is noted, from when that was decided
    _holder: str | None = None
    _values: dict[str, Any] | None = None

    def __init__(
        self,
        *,
        store: TransactionStore | None = None,
        key: str | None = None,
        children: list[Any] | None = None,
        commit_mode: CommitMode | str | None = None,
        isolation_level: IsolationLevel | str | None = _READ_COMMITTED,
        on_commit_hooks: Iterable[Hook] = (),
        on_rollback_hooks: Iterable[Hook] = (),
        overwrite: bool = False,
        logger: Logger | None = None,
        write_on_commit: bool = True,
        lock_timeout: float | None = None,
    ) -> None:
        self.store: Any = store
        self.key = key
        self.children: list[Any] = [] if children is None else children
        if commit_mode is not None:
            self.commit_mode = CommitMode(commit_mode)
        if isolation_level is not _READ_COMMITTED:
            self.isolation_level = None if isolation_level is None else IsolationLevel(isolation_level)
        self.on_commit_hooks: list[Hook] = [*on_commit_hooks]
        self.on_rollback_hooks: list[Hook] = [*on_rollback_hooks]
        self.overwrite = overwrite
        self.logger = _logger if logger is None else logger
        self.write_on_commit = write_on_commit
        if lock_timeout is not None:
            self.lock_timeout = lock_timeout

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self is other or all(getattr(self, name) == getattr(other, name) for name in _FIELDS)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        key = "" if self.key is None else f" with key {self.key!r}"
        return f"<{type(self).__name__}{key}: {self.state.value}>"

    @property
    def holder(self) -> str:
        """Who this transaction is for locks: a random text of its own."""
        if self._holder is None:
            self._holder = new_id().hex()
        return self._holder

    def is_pending(self) -> bool:
        """True before it was entered."""
        return self.state is _PENDING

    def is_active(self) -> bool:
        """True inside the block as long as nothing was staged."""
        return self.state is _ACTIVE

    def is_staged(self) -> bool:
        """True once something was staged and until it is decided."""
        return self.state is _STAGED

    def is_committed(self) -> bool:
        """True once committed, and from the beginning if there was something under the key."""
        return self.state is _COMMITTED

    def is_rolled_back(self) -> bool:
        """True once rolled back."""
        return self.state is _ROLLED_BACK

    def is_decided(self) -> bool:
        """True once committed or rolled back."""
        return self.state is _COMMITTED or self.state is _ROLLED_BACK

    def writes(self) -> bool:
        """Whether a commit has something to write."""
        return (
            self.key is not None and self.store is not None and self.write_on_commit and self.state is _STAGED
        )

    def visible_values(self) -> dict[str, Any]:
        """The named values that `get` finds, those of the transactions around included."""
        found: dict[str, Any] = {} if self.parent is None else self.parent.visible_values()
        return {**found, **self._values} if self._values else found

    def get_parent(self) -> BaseTransaction | None:
        """The transaction around this one; also after this one was left."""
        return self.parent

    def add_child(self, child: Any) -> None:
        """Let this transaction's end decide about ``child``: a transaction, or what commits and rolls back like one."""
        self.children.append(child)

    @classmethod
    def current(cls) -> BaseTransaction | None:
        """The innermost open transaction of the calling context."""
        return cls.innermost.get()

    @classmethod
    def activate(cls, active: BaseTransaction | None) -> BaseTransaction | None:
        """Make a transaction the innermost one until somebody else is, and return the one that was."""
        before = cls.innermost.get()
        cls.innermost.set(active)
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
                self.set(name, copy.deepcopy(outer._values[name]))
                return self.get(name)
            outer = outer.parent
        if default is NotSet:
            raise ValueError(f"Could not retrieve value for unknown key {name!r}: nobody has set it.")
        return default

    # Life

    def stage(
        self,
        value: Any,
        on_rollback_hooks: Iterable[Hook] | None = None,
        on_commit_hooks: Iterable[Hook] | None = None,
    ) -> None:
        """Say what a commit would keep, and what is to run at the end; nothing once it is decided."""
        if self.state is _COMMITTED or self.state is _ROLLED_BACK:
            return
        self.staged_value = value
        if on_rollback_hooks:
            self.on_rollback_hooks.extend(on_rollback_hooks)
        if on_commit_hooks:
            self.on_commit_hooks.extend(on_commit_hooks)
        self.state = _STAGED

    def discard(self) -> None:
        """Have it rolled back when its block is left, while the transaction around it goes on undisturbed.

        This is for work that will be done again, like an attempt that is followed by another one.
        """
        self.is_discarded = True
