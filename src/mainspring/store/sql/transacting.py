"""What the parts of a store in a database are built on: transactions, whichever database it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from mainspring.clock import Clock
    from mainspring.store.bells import Bell
    from mainspring.store.losses import Losses
    from mainspring.store.sql.owners import Identity, Owner
    from mainspring.store.sql.statements import Cursor

__all__ = ["Transactions"]

P = ParamSpec("P")
T = TypeVar("T")


class Transactions(ABC):
    """Transactions and reading, for whoever has connections. Safe to use from any thread.

    Attributes:
        losses: What this process has lost because others took it for dead.
        on_holding: Called when slots, a lock or a place in a queue were taken: from then on there is a lease to renew.
        bell: Wakes those who wait in other processes.
    """

    losses: Losses
    on_holding: Callable[[], object] | None
    bell: Bell
    _clock: Clock
    _identity: Identity
    _owner: Owner | None

    @abstractmethod
    def _transact(
        self, work: Callable[Concatenate[Cursor, int | None, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call ``work`` with a cursor, this process as the owner, and the arguments, in one transaction.

        Raises:
            OwnershipLost: This process counts as dead since it wrote last. Nothing was written; from now on it writes
                as somebody new, and `losses` say what it must not write.
            StoreError: The database has refused; nothing was written.
        """

    @abstractmethod
    def _read(self, query: Callable[Concatenate[Cursor, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``query`` with a cursor that does not write, and the arguments.

        Raises:
            StoreError: The database cannot be read.
        """

    @abstractmethod
    def _change(self, work: Callable[Concatenate[Cursor, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``work`` with a cursor and the arguments in one transaction, in nobody's name.

        Raises:
            StoreError: The database has refused; nothing was changed.
        """

    @abstractmethod
    def _fetch(self, query: Callable[Concatenate[Cursor, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`_read`, for what is asked for at every turn and should cost little where it is asked by a writer."""

    @abstractmethod
    def _own_key(self) -> str:
        """The key of the owner that this process is."""
