"""The part of a store in a database that is about results, and about transactions of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainspring import clock
from mainspring._imports import modules_on_use
from mainspring.store.sql.transacting import Transactions

if TYPE_CHECKING:
    from mainspring.store.results import KeptResult, Leftovers, Settlement
    from mainspring.store.sql import keeping
else:
    keeping = modules_on_use("mainspring.store.sql", "keeping")

__all__ = ["Retention"]


class Retention(Transactions):
    """`ResultRows`, for whoever has connections."""

    def read_result(self, key: str) -> KeptResult | None:
        """See `ResultRows.read_result`."""
        return self._fetch(keeping.read_result, key)

    def delete_result(self, key: str) -> bool:
        """See `ResultRows.delete_result`."""
        return self._transact(keeping.delete_result, key)

    def open_settlement(self, settlement: Settlement, run_keys: Sequence[bytes]) -> bool:
        """See `ResultRows.open_settlement`."""
        return self._transact(keeping.open_settlement, settlement, run_keys)

    def advance_settlement(self, key: bytes, begun: int) -> bool:
        """See `ResultRows.advance_settlement`."""
        return self._transact(keeping.advance_settlement, key, begun)

    def claim_settlement(self, key: bytes, new_key: bytes) -> bool:
        """See `ResultRows.claim_settlement`."""
        return self._transact(keeping.claim_settlement, key, new_key)

    def close_settlement(
        self,
        key: bytes | None,
        publish: Sequence[bytes] = (),
        drop: Sequence[bytes] = (),
        results: Sequence[KeptResult] = (),
    ) -> bool:
        """See `ResultRows.close_settlement`."""
        now = clock.current().now()
        return self._transact(keeping.close_settlement, key, publish, drop, results, now)

    def read_leftovers(self, root_key: bytes) -> Leftovers:
        """See `ResultRows.read_leftovers`."""
        return self._read(keeping.read_leftovers, root_key)

    def read_unused_files(self) -> list[str]:
        """See `ResultRows.read_unused_files`."""
        return self._read(keeping.read_unused_files)

    def forget_unused_files(self, files: Sequence[str]) -> None:
        """See `ResultRows.forget_unused_files`."""
        self._transact(keeping.forget_unused_files, files)
