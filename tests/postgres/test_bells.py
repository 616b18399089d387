"""Hearing of what other processes do, from PostgreSQL."""

from __future__ import annotations

import threading

from mainspring.store import open_store
from mainspring.store.bells import SLOTS
from tests.postgres.server import fresh_schema


def test_listener_that_hears_nothing_is_closed() -> None:
    """Closing a store that listens waits for no ring, whether one came before or not."""
    with fresh_schema() as url:
        for rings in (0, 1):
            heard = threading.Event()
            with_rings = open_store(url)
            store = open_store(url)
            store.bell.listen(SLOTS, lambda _, heard=heard: heard.set())  # type: ignore[attr-defined]
            if rings:
                with_rings.bell.ring(SLOTS, "limit")  # type: ignore[attr-defined]
                assert heard.wait(20)
            closing = threading.Thread(target=store.close, daemon=True)
            closing.start()
            closing.join(20)
            assert not closing.is_alive()
            with_rings.close()
