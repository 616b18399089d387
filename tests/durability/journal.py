"""What tasks and hooks did, as they tell it themselves: one line for each, in the file that ``JOURNAL`` names.

A line is there when a single write of the system has been made, so a killed process leaves whole lines only.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mainspring.context import TaskRunContext
from mainspring.transactions import BaseTransaction, get_transaction

__all__ = ["Line", "note_hook", "note_step", "read", "stage_names"]


class Line(NamedTuple):
    """One line.

    Args:
        kind: "step" for a task that has done its work, "undo" or "commit" for a hook.
        name: Which step of its program, or which block.
        execution: Tells this doing of the step from others; that of the step for a hook.
        run: The id of the task run; "-" for a hook.
        pid: The process.
        thread: The thread.
    """

    kind: str
    name: str
    execution: str
    run: str
    pid: int
    thread: int


def note_step(name: str) -> None:
    """Called by a task when it has done its work: remember who is to be undone, and tell."""
    execution = os.urandom(6).hex()
    transaction, context = get_transaction(), TaskRunContext.get()
    assert transaction is not None
    assert context is not None
    stage_names(transaction, name, execution)
    _append("step", name, execution, str(context.task_run.id))


def stage_names(txn: BaseTransaction, name: str, execution: str | None = None) -> None:
    """Tell the hooks of a transaction what they are about."""
    txn.set("name", name)
    txn.set("execution", execution or os.urandom(6).hex())


def note_hook(kind: str, txn: BaseTransaction) -> None:
    """Called by a hook."""
    _append(kind, txn.get("name"), txn.get("execution"), "-")


def read(path: Path) -> list[Line]:
    """All lines, in the order in which they were written."""
    return list(_lines(path)) if path.exists() else []


def _lines(path: Path) -> Iterator[Line]:
    for text in path.read_text().splitlines():
        kind, name, execution, run, pid, thread = text.split()
        yield Line(kind, name, execution, run, int(pid), int(thread))


def _append(kind: str, name: str, execution: str, run: str) -> None:
    line = f"{kind} {name} {execution} {run} {os.getpid()} {threading.get_native_id()}\n"
    file = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
