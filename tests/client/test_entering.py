"""Clients as blocks, and how one is got."""

import asyncio
import inspect
from typing import Any

import pytest

from mainspring import get_client
from mainspring.client import AsyncClient, AsyncClientContext, Client, SyncClientContext, open_client
from mainspring.settings import get_current_settings
from tests.client.making import summary


@pytest.mark.contract("CL-3")
def test_closed_after_its_block() -> None:
    """A client that was entered is closed when its block was left: it can neither be used nor entered again."""
    with get_client() as client:
        assert client.read_flow_runs() == []
    with pytest.raises(RuntimeError, match="client has been closed"):
        client.read_flow_runs()
    with pytest.raises(RuntimeError, match="cannot be started again after closing"), client:
        pass


@pytest.mark.contract("CL-3")
def test_nested_entry() -> None:
    """A client may be entered inside of its own block, and is closed with the outermost one."""
    with get_client() as client:
        with client as same:
            assert same is client
        assert client.read_flow_runs() == []
    with pytest.raises(RuntimeError, match="closed"):
        client.read_flow_runs()


def test_without_entering() -> None:
    """A client works without being entered, before and after others were closed."""
    client = get_client()
    with get_client():
        pass
    assert client.read_flow_runs() == []


@pytest.mark.contract("CL-3")
def test_wrong_form() -> None:
    """A block of the wrong kind says which one is right, and the client goes on."""
    client, waiting = get_client(), get_client(sync_client=False)

    async def enter() -> None:
        async with client:
            pass

    with pytest.raises(RuntimeError, match="must be entered with a sync context"):
        asyncio.run(enter())
    with pytest.raises(RuntimeError, match="must be entered with an async context"), waiting:
        pass
    assert client.read_flow_runs() == asyncio.run(waiting.read_flow_runs()) == []


@pytest.mark.contract("CL-3")
def test_async_blocks() -> None:
    """The same rules hold for async clients."""

    async def use() -> None:
        async with get_client(sync_client=False) as client:
            async with client:
                pass
            assert await client.read_flow_runs() == []
        with pytest.raises(RuntimeError, match="client has been closed"):
            await client.read_flow_runs()
        with pytest.raises(RuntimeError, match="cannot be started again after closing"):
            async with client:
                pass

    asyncio.run(use())


@pytest.mark.contract("CL-1")
def test_client_of_a_context() -> None:
    """Inside of a client context its client is got, which a block inside does not close; outside a new one."""
    with SyncClientContext() as around:
        with get_client() as client:
            assert client is around.client
        assert client.read_flow_runs() == []
        assert get_client() is client
    assert get_client() is not get_client()
    with pytest.raises(RuntimeError, match="closed"):
        client.read_flow_runs()


@pytest.mark.contract("CL-1")
def test_async_client_of_a_context() -> None:
    """The same for async code."""

    async def use() -> None:
        async with AsyncClientContext() as around:
            async with get_client(sync_client=False) as client:
                assert client is around.client
            assert await client.read_flow_runs() == []

    asyncio.run(use())


@pytest.mark.contract("CL-1", "CL-2")
def test_both_flavours_without_an_address() -> None:
    """With no address set, both flavours use the store of this process, which the settings name."""
    summary()
    client, waiting = get_client(), get_client(sync_client=False)
    assert isinstance(client, Client)
    assert isinstance(waiting, AsyncClient)
    assert client.database_url == waiting.database_url == get_current_settings().run_store_url
    assert [run.id for run in asyncio.run(waiting.read_flow_runs())] == [
        run.id for run in client.read_flow_runs()
    ]


def test_opened_for_a_block() -> None:
    """`open_client` gives a client that is closed with its store."""
    summary()
    with open_client() as client, client:
        assert len(client.read_flow_runs()) == 1
    with pytest.raises(RuntimeError, match="closed"):
        client.read_flow_runs()


def methods(kind: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


@pytest.mark.contract("CL-29")
def test_both_flavours_are_complete() -> None:
    """Both clients have the same methods with the same signatures; those of one are coroutines."""
    sync, waiting = methods(Client), methods(AsyncClient)
    assert sync.keys() == waiting.keys()
    for name, method in sync.items():
        assert inspect.signature(method) == inspect.signature(waiting[name]), name
        assert inspect.iscoroutinefunction(waiting[name])
        assert not inspect.iscoroutinefunction(method)
