"""Clients that are shared inside a block, and the way to get a client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Generic, Literal, Self, TypeVar, overload

from mainspring._holder import ContextModel
from mainspring.client._async import AsyncClient
from mainspring.client._sync import Client
from mainspring.recording import Recorder, current_recorder

__all__ = ["AsyncClientContext", "SyncClientContext", "get_client"]

T = TypeVar("T", Client, AsyncClient)


class _ClientContext(ContextModel, Generic[T]):
    """What both contexts share: the client, and how often the block was entered."""

    __slots__ = ("_client", "_entries", "_recorder")

    def __init__(self) -> None:
        self._client: T | None = None
        self._recorder: Recorder | None = None
        self._entries = 0

    @property
    def client(self) -> T:
        """The client.

        Raises:
            RuntimeError: The context is not entered.
        """
        if self._client is None:
            raise RuntimeError(
                f"{type(self).__name__} has a client only inside of its block. Enter it first."
            )
        return self._client

    def current_client(self) -> T:
        """The client, which now shows everything that was entered up to now."""
        if self._recorder is not None:
            self._recorder.flush()
        return self.client

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """A new context, which opens a client of its own.

        Raises:
            TypeError: ``update`` names a field: there is none to choose.
        """
        if update:
            raise TypeError(f"{type(self).__name__} has no field {next(iter(update))!r} that can be set.")
        return type(self)()

    def _begin(self) -> bool:
        """Count an entry; true for the first."""
        self._entries += 1
        return self._entries == 1

    def _end(self) -> T | None:
        """Uncount an entry, and let go of the client with the last: it is to be closed."""
        if self._entries == 0:
            raise RuntimeError("Asymmetric use of context. Context exited without being entered.")
        self._entries -= 1
        if self._entries:
            return None
        client, self._client = self._client, None
        self._recorder = None
        ContextModel.__exit__(self)
        return client


class SyncClientContext(_ClientContext[Client]):
    """Inside the block, `get_client` gives one and the same client.

    An instance may be entered again inside of its own block: the client is opened with the first entry and let
    go with the last. One thread at a time may enter and leave it; its client is safe to use from any.
    """

    __slots__ = ()
    _variable = ContextVar("mainspring_sync_client", default=None)

    @classmethod
    @contextmanager
    def get_or_create(cls) -> Generator[SyncClientContext]:
        """The active context, else a new one for the block.

        Raises:
            StoreError: The run store cannot be opened.
        """
        active = cls.get()
        if active is not None:
            yield active
        else:
            with cls() as created:
                yield created

    def __enter__(self) -> Self:
        if self._begin():
            try:
                self._recorder = _flushed_recorder()
                self._client = Client(self._recorder.store).__enter__()
            except BaseException:
                self._entries = 0
                raise
            ContextModel.__enter__(self)
        return self

    def __exit__(self, *_: object) -> None:
        client = self._end()
        if client is not None:
            client.__exit__()


class AsyncClientContext(_ClientContext[AsyncClient]):
    """Inside the ``async with`` block, ``get_client(sync_client=False)`` gives one and the same client.

    Entries are counted as those of `SyncClientContext` are. The context counts only on the event loop that it was
    entered on: another loop that inherited it opens its own.
    """

    __slots__ = ("_loop",)
    _variable = ContextVar("mainspring_async_client", default=None)

    def __init__(self) -> None:
        super().__init__()
        self._loop: object = None

    @classmethod
    @asynccontextmanager
    async def get_or_create(cls) -> AsyncGenerator[AsyncClientContext]:
        """The active context if it is of this event loop, else a new one for the block.

        Raises:
            StoreError: The run store cannot be opened.
        """
        active = cls.get()
        if active is not None and active.is_of_this_loop():
            yield active
        else:
            async with cls() as created:
                yield created

    def is_of_this_loop(self) -> bool:
        """Whether the context was entered on the event loop that runs here."""
        return self._loop is not None and self._loop is _running_loop()

    def __enter__(self) -> Self:
        raise RuntimeError(
            "AsyncClientContext must be entered with `async with`; SyncClientContext with `with`."
        )

    async def __aenter__(self) -> Self:
        if self._begin():
            import asyncio  # whoever awaits has it already

            try:
                self._recorder = await asyncio.to_thread(_flushed_recorder)
                self._client = await AsyncClient(self._recorder.store).__aenter__()
            except BaseException:
                self._entries = 0
                raise
            self._loop = asyncio.get_running_loop()
            ContextModel.__enter__(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        client = self._end()
        if client is not None:
            await client.__aexit__()


@overload
def get_client(sync_client: Literal[True] = True) -> Client: ...


@overload
def get_client(sync_client: Literal[False]) -> AsyncClient: ...


def get_client(sync_client: bool = True) -> Client | AsyncClient:
    """A client of this process's run store, which shows everything that was entered up to now.

    Inside a `SyncClientContext` or `AsyncClientContext` it is that context's client.

    Args:
        sync_client: With False, a client whose methods are coroutines.

    Raises:
        StoreError: The store cannot be opened or written.
    """
    if sync_client:
        active = SyncClientContext.get()
        return Client(_flushed_recorder().store) if active is None else active.current_client()
    around = AsyncClientContext.get()
    if around is not None and around.is_of_this_loop():
        return around.current_client()
    return AsyncClient(_flushed_recorder().store)


def _flushed_recorder() -> Recorder:
    recorder = current_recorder()
    recorder.flush()
    recorder.store.catch_up()
    return recorder


def _running_loop() -> object:
    import asyncio  # a context that was entered is of some loop

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
