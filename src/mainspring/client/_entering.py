"""A client as a block: entered, left, and closed from then on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NoReturn, Self

if TYPE_CHECKING:
    from mainspring.store.protocol import RunStore

__all__ = ["Enterable"]


class Enterable:
    """What a client is besides its methods. Safe to use from any thread.

    A client need not be entered. One that was entered, perhaps more than once, is closed when it was left as often.

    Args:
        store: The run store.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._entries = 0
        self._is_closed = False

    @property
    def store(self) -> RunStore:
        """The run store.

        Raises:
            RuntimeError: The client was closed.
        """
        if self._is_closed:
            raise RuntimeError("The client has been closed: its block was left. Get another one.")
        return self._store

    @property
    def database_url(self) -> str:
        """The address of the run store, with the password if there is one in it."""
        return self._store.url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._store.address!r})"

    def __enter__(self) -> Self:
        with self._lock:
            if self._is_closed:
                raise RuntimeError("The client cannot be started again after closing. Get another one.")
            self._entries += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._entries -= 1
            self._is_closed = self._entries <= 0

    async def __aenter__(self) -> NoReturn:
        raise RuntimeError(
            f"A {type(self).__name__} must be entered with a sync context: `with`, not `async with`."
        )

    async def __aexit__(self, *_: object) -> None:
        pass
