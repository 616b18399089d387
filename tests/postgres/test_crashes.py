"""What becomes of a transaction when its server crashes: it is done once, whatever ids the server gives away again."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
import pytest

from mainspring.store import open_store
from tests.postgres.restarts import own_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_id_of_a_lost_transaction_is_given_to_another() -> None:
    """A commit that never reached the server is done again, though another transaction has its id by now."""
    with own_server() as server, closing(open_store(server.url)) as store:
        store.take_lock("first", "holder", 1, None)
        attempts: list[int] = []

        def work(cursor: Any, owner: int) -> None:
            cursor.execute("INSERT INTO locks (key, holder, acquired) VALUES ('second', 'holder', 1)")
            (xid,) = cursor.execute("SELECT CAST(CAST(pg_current_xact_id() AS text) AS BIGINT)").fetchone()
            attempts.append(xid)
            if len(attempts) == 1:
                server.stop("killed")
                server.start()
                with psycopg.connect(server.url, autocommit=True) as other:
                    used = 0
                    while used < xid:
                        row = other.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
                        assert row is not None
                        (used,) = row

        store._transact(work)  # type: ignore[attr-defined]
        assert len(attempts) == 2
        assert store.read_lock("second", 2) is not None


def test_commit_whose_answer_was_lost_with_the_server() -> None:
    """A commit that took place, and whose server went down before it could say so, is not done again."""
    with own_server() as server, closing(open_store(server.url)) as store:
        store.take_lock("first", "holder", 1, None)
        attempts: list[int] = []

        def work(cursor: Any, owner: int) -> None:
            attempts.append(owner)
            cursor.execute("SELECT 1").fetchone()
            cursor.execute("INSERT INTO locks (key, holder, acquired) VALUES ('second', 'holder', 1)")
            if len(attempts) == 1:
                cursor.execute("COMMIT")
                cursor.execute("SELECT 1").fetchone()
                server.stop("killed")
                server.start()

        store._transact(work)  # type: ignore[attr-defined]
        assert len(attempts) == 1
        assert store.read_lock("second", 2) is not None
