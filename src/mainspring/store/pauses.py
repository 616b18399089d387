"""What a run store does for flow runs that wait for somebody: the contract, and the records that go in and out.

Each step of a pause is one statement that looks at what is there, so of a resume, a timeout and another resume that
come at the same time one wins, and the others learn of it.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

__all__ = ["Holder", "PauseRecord", "PauseRows", "SuspensionRequest"]

Holder = Literal["us", "others", "nobody"]
"""Whose flow run it is: that of this process, of another one that lives, or of one that has ended."""


class PauseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One call that waits for somebody, or has been answered. Times are in microseconds since the epoch.

    Args:
        flow_run_key: The run that waits.
        key: What tells its pauses from one another.
        root_key: The outermost flow run around it.
        requested: When it began to wait.
        expires: When it stops to.
        suspends: Whether the run leaves its process meanwhile.
        schema: The JSON schema of the input; ``{}`` if that cannot be told, None if no input is wanted.
        type: The type of the input, pickled; None if other processes cannot have it.
        answered: When it was answered, None before that.
        input: The input, as JSON or pickled; None if there is none.
        problem: Why an answer was refused where the run goes on.
        closed: When it was too late for an answer.
    """

    flow_run_key: bytes
    key: str
    root_key: bytes
    requested: int
    expires: int
    suspends: bool = False
    schema: str | None = None
    type: bytes | None = None
    answered: int | None = None
    input: str | bytes | None = None
    problem: str | None = None
    closed: int | None = None


class SuspensionRequest(msgspec.Struct, frozen=True):
    """Somebody wants a flow run to leave its process, to be gone on with before ``expires``."""

    flow_run_key: bytes
    requested: int
    expires: int


class PauseRows(Protocol):
    """The part of a run store that keeps pauses. Methods raise `StoreError` as the others do."""

    def open_pause(self, pause: PauseRecord) -> PauseRecord:
        """Begin to wait for an answer, and return what is there now: an answer that came before stays."""
        ...

    def answer_pause(self, run_key: bytes, key: str, now: int, content: str | bytes | None) -> bool:
        """Answer a pause; False, with nothing changed, if there is none, or it is answered or closed already."""
        ...

    def refuse_answer(self, run_key: bytes, key: str, problem: str) -> None:
        """Take an answer back, and say why: the pause waits for another one."""
        ...

    def close_pause(self, run_key: bytes, key: str, now: int) -> bool:
        """Wait no more; False, with nothing changed, if there is an answer."""
        ...

    def read_pause(self, run_key: bytes, key: str) -> PauseRecord | None:
        """One pause."""
        ...

    def read_open_pauses(self, run_key: bytes) -> list[PauseRecord]:
        """What waits in a flow run, and in the subflows of an outermost one, oldest first."""
        ...

    def request_suspension(self, request: SuspensionRequest) -> None:
        """Ask a flow run to leave its process; a later request replaces an earlier one."""
        ...

    def read_suspension(self, run_key: bytes) -> SuspensionRequest | None:
        """What a flow run is asked for, None if it is not."""
        ...

    def drop_suspension(self, run_key: bytes) -> None:
        """Forget what a flow run was asked for."""
        ...

    def read_holder(self, run_key: bytes) -> Holder:
        """Who has written the newest state of a flow run; to be called after `settle_dead_owners`."""
        ...
