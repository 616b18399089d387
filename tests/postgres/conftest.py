"""What tests of the store in PostgreSQL get: a schema, and a network in front of it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from mainspring.store.postgres import PostgresRunStore
from tests.postgres.proxy import Proxy, proxied
from tests.postgres.server import fresh_schema

Open = Callable[..., PostgresRunStore]


@pytest.fixture
def url() -> Iterator[str]:
    """The address of an empty schema."""
    with fresh_schema() as address:
        yield address


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    """A network in front of the same schema."""
    with proxied(url) as network:
        yield network


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens stores that are closed with the test."""
    with ExitStack() as stack:

        def open_store(address: str, **options: object) -> PostgresRunStore:
            store = PostgresRunStore(address, **options)  # type: ignore[arg-type]
            stack.callback(store.close)
            return store

        yield open_store
