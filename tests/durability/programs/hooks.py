"""What the programs have in common: hooks that write to the journal, and an error to be caught around a block."""

from __future__ import annotations

from mainspring import Transaction
from tests.durability.journal import note_hook, stage_names

__all__ = ["BoomError", "commit_block", "commit_step", "name_block", "undo_block", "undo_step"]


class BoomError(Exception):
    """What the last task of a block raises, to be caught around the block."""


def undo_step(txn: Transaction) -> None:
    note_hook("undo", txn)


def commit_step(txn: Transaction) -> None:
    note_hook("commit", txn)


def undo_block(txn: Transaction) -> None:
    note_hook("undo", txn)


def commit_block(txn: Transaction) -> None:
    note_hook("commit", txn)


def name_block(txn: Transaction, name: str) -> None:
    stage_names(txn, name)
    txn.stage(None, on_rollback_hooks=[undo_block], on_commit_hooks=[commit_block])
