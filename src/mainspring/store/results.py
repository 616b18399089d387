"""What a run store does for results and transactions: the contract, and the records that go in and out.

A result in the run store is a `KeptResult`. It is written together with the state of its run, so there is never one
without the other. A run that completes inside of a transaction which goes on leaves a `StagedStep` instead: what a
commit would keep, and what a rollback would call. When the transaction is decided, a `Settlement` says how, and which
hooks are to be called; each of them is marked before it is. So whoever finds these rows after a death knows how far
the dead process had come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

__all__ = [
    "Attachment",
    "CrashHooks",
    "Decision",
    "KeptElsewhere",
    "KeptResult",
    "Leftovers",
    "ResultRows",
    "Settlement",
    "StagedStep",
    "Withdrawal",
]

Decision = Literal["COMMIT", "ROLLBACK"]


class KeptResult(msgspec.Struct, frozen=True):
    """A record in the run store.

    Args:
        key: What it is kept under; it replaces what was.
        content: The record as text; None if it is in a file.
        file: The path of that file.
        run_key: The run whose result it is, if it is one.
    """

    key: str
    content: str | None = None
    file: str | None = None
    run_key: bytes | None = None


class StagedStep(msgspec.Struct, frozen=True):
    """A run that has completed while its transaction goes on.

    Args:
        run_key: The task run, or the flow run of a subflow.
        around_key: The task run or flow run around it.
        root_key: The outermost flow run around it.
        key: What its result is to be kept under; None if nothing is kept of it.
        is_step: Whether the same call in a resumed run has the same key.
        storage: Where, pickled; None for the run store.
        content: The record as text; None if it is in a file, or there is none.
        file: The path of that file.
        hooks: Its commit and rollback hooks, pickled; None if there are none.
        values: The named values that its hooks can get, pickled; None if there are none.
        settlement: The id of the settlement that decides about it.
        earlier_keys: Runs of the same step that dead processes had completed, each of which the next one took over.
    """

    run_key: bytes
    around_key: bytes | None
    root_key: bytes
    key: str | None = None
    is_step: bool = False
    storage: bytes | None = None
    content: str | None = None
    file: str | None = None
    hooks: bytes | None = None
    values: bytes | None = None
    settlement: bytes | None = None
    earlier_keys: tuple[bytes, ...] = ()


class Withdrawal(msgspec.Struct, frozen=True):
    """What a task run has staged, or kept under a key, does not count any more."""

    run_key: bytes
    key: str | None = None


class KeptElsewhere(msgspec.Struct, frozen=True):
    """The result of a task run is in another storage. Nothing is written of it; the states count only if it may be."""

    run_key: bytes


class CrashHooks(msgspec.Struct, frozen=True):
    """A run that has ``on_crashed`` hooks: whoever finds its process dead is to call them.

    Args:
        run_key: The run.
        entrypoint: Its task or flow, as ``module:name``; None if no name leads to it.
        file: The file that defines it.
        is_over: The run has come to its end, and its own process calls its hooks.
    """

    run_key: bytes
    entrypoint: str | None = None
    file: str | None = None
    is_over: bool = False


Attachment = KeptResult | StagedStep | Withdrawal | KeptElsewhere | CrashHooks
"""What is written with the states of a run, if and only if these are accepted."""


class Settlement(msgspec.Struct, frozen=True):
    """A commit or rollback that is going on.

    Args:
        key: 16 bytes, made up by who settles.
        root_key: The outermost flow run.
        decision: What was decided.
        plan: The hooks in their order, pickled.
        begun: So many of them have been begun.
    """

    key: bytes
    root_key: bytes
    decision: Decision
    plan: bytes
    begun: int = 0


class Leftovers(msgspec.Struct, frozen=True):
    """What the transactions of a flow run have left in the store, each in the order in which it came."""

    settlements: list[Settlement]
    steps: list[StagedStep]


class ResultRows(Protocol):
    """The part of a run store that keeps results and transactions. Methods raise `StoreError` as the others do.

    What transactions leave belongs to the process that has written the newest state of their outermost flow run. Others
    can neither stage nor settle anything, as if it was not there: somebody else goes on with the flow run.
    """

    def read_result(self, key: str) -> KeptResult | None:
        """What is kept under a key."""
        ...

    def delete_result(self, key: str) -> bool:
        """Forget what is kept under a key; False if there is nothing."""
        ...

    def open_settlement(self, settlement: Settlement, run_keys: Sequence[bytes]) -> bool:
        """Decide about staged steps. A settlement with the same id is replaced.

        Returns:
            False, with nothing changed, if one of the steps is not staged any more, or another settlement is about
            it: somebody else goes on with it.
        """
        ...

    def advance_settlement(self, key: bytes, begun: int) -> bool:
        """Note that so many hooks of a settlement have been begun; False if it is somebody else's by now."""
        ...

    def claim_settlement(self, key: bytes, new_key: bytes) -> bool:
        """Take a settlement over, so that nobody else advances it; False if it is not there any more."""
        ...

    def close_settlement(
        self,
        key: bytes | None,
        publish: Sequence[bytes] = (),
        drop: Sequence[bytes] = (),
        results: Sequence[KeptResult] = (),
    ) -> bool:
        """End a commit or rollback, in one step.

        Args:
            key: The settlement; None if there was none, because there were no hooks.
            publish: Staged runs whose results count from now on. They are staged no more.
            drop: Staged runs of which nothing is kept.
            results: Further results that count from now on.

        Returns:
            False, with nothing changed, if the settlement is somebody else's, or one of the runs to be published
            is not staged any more or is decided about by another settlement.
        """
        ...

    def read_leftovers(self, root_key: bytes) -> Leftovers:
        """What transactions of an outermost flow run have left."""
        ...

    def read_unused_files(self) -> list[str]:
        """The files that no result leads to any more."""
        ...

    def forget_unused_files(self, files: Sequence[str]) -> None:
        """Note that files have been removed."""
        ...
