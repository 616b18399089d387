"""The part of a store in a database that is about what people ask of runs: to wait for them, to leave, to stop."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from mainspring._imports import modules_on_use
from mainspring.store.bells import ANSWERS
from mainspring.store.sql.transacting import Transactions

if TYPE_CHECKING:
    from mainspring.store.cancellations import CancellationRequest
    from mainspring.store.pauses import Holder, PauseRecord, SuspensionRequest
    from mainspring.store.sql import cancelling, waiting
else:
    cancelling, waiting = modules_on_use("mainspring.store.sql", "cancelling", "waiting")

__all__ = ["Requests"]

P = ParamSpec("P")
T = TypeVar("T")


class Requests(Transactions):
    """`PauseRows` and `CancellationRows`, for whoever has connections."""

    # Pauses

    def open_pause(self, pause: PauseRecord) -> PauseRecord:
        """See `PauseRows.open_pause`."""
        return self._transact(waiting.open_pause, pause)

    def answer_pause(self, run_key: bytes, key: str, now: int, content: str | bytes | None) -> bool:
        """See `PauseRows.answer_pause`."""
        is_answered = self._transact(waiting.answer, run_key, key, now, content)
        self.bell.ring(ANSWERS, run_key.hex())
        return is_answered

    def refuse_answer(self, run_key: bytes, key: str, problem: str) -> None:
        """See `PauseRows.refuse_answer`."""
        self._transact(waiting.refuse, run_key, key, problem)

    def close_pause(self, run_key: bytes, key: str, now: int) -> bool:
        """See `PauseRows.close_pause`."""
        return self._transact(waiting.close, run_key, key, now)

    def read_pause(self, run_key: bytes, key: str) -> PauseRecord | None:
        """See `PauseRows.read_pause`."""
        return self._read(waiting.pause, run_key, key)

    def read_open_pauses(self, run_key: bytes) -> list[PauseRecord]:
        """See `PauseRows.read_open_pauses`."""
        return self._read(waiting.open_pauses, run_key)

    def request_suspension(self, request: SuspensionRequest) -> None:
        """See `PauseRows.request_suspension`."""
        self._transact(waiting.request_suspension, request)

    def read_suspension(self, run_key: bytes) -> SuspensionRequest | None:
        """See `PauseRows.read_suspension`."""
        return self._read(waiting.suspension, run_key)

    def drop_suspension(self, run_key: bytes) -> None:
        """See `PauseRows.drop_suspension`."""
        self._transact(waiting.drop_suspension, run_key)

    def read_holder(self, run_key: bytes) -> Holder:
        """See `PauseRows.read_holder`."""
        owner = self._owner
        return self._read(waiting.holder, None if owner is None else owner.id, run_key)

    # Requests to cancel runs

    def request_cancellation(self, request: CancellationRequest, now: int) -> bool:
        """See `CancellationRows.request_cancellation`."""
        return self._transact(cancelling.request, request, now)

    def read_cancellations(self, run_keys: Collection[bytes] | None = None) -> list[CancellationRequest]:
        """See `CancellationRows.read_cancellations`."""
        if run_keys is not None:
            return [asked for asked in self._read(cancelling.read, None) if asked.run_key in run_keys]
        owner = self._owner
        return self._read(cancelling.read, None if owner is None else owner.id)

    def drop_cancellation(self, run_key: bytes) -> None:
        """See `CancellationRows.drop_cancellation`."""
        self._transact(cancelling.drop, run_key)
