"""What holds for the store of every round: the invariants of the product, over a file that is no damaged one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from mainspring.client import Client, open_client
from mainspring.filters import ALL
from mainspring.settings import temporary_settings
from mainspring.testing.rules import problems

__all__ = ["UNFINISHED", "check_store", "problems_of"]

UNFINISHED = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")


def check_store(database: Path, *, is_over: bool = True, keeps_all: bool = True) -> None:
    """Fail with everything that is wrong with a store.

    Args:
        database: The file.
        is_over: Whether all has come to its end; else a process may have just died.
        keeps_all: Whether the results of flow runs must be there, too: not if they could not be written.
    """
    found = list(problems_of(database, is_over=is_over, keeps_all=keeps_all))
    assert not found, "\n".join(found)


def problems_of(database: Path, *, is_over: bool = True, keeps_all: bool = True) -> Iterator[str]:
    """What `check_store` fails with."""
    db = sqlite3.connect(database)
    try:
        (answer,) = db.execute("PRAGMA integrity_check").fetchone()
    finally:
        db.close()
    if answer != "ok":
        yield f"integrity check: {answer}"
        return
    yield from problems(database, is_over=is_over)
    if is_over:
        here = {"home": str(database.parent), "database_url": f"sqlite:///{database}"}
        with temporary_settings(here), open_client() as client:
            yield from _missing_results(client, keeps_all)


def _missing_results(client: Client, keeps_all: bool) -> Iterator[str]:
    """Steps of completed flow runs that are kept, and whose results are not.

    A step that another run has taken over, which was then rolled back, is kept no more than that one.
    """
    for flow_run in client.read_flow_runs(states=["COMPLETED"], limit=ALL):
        steps = client.read_task_runs([flow_run.id], ["COMPLETED"], limit=ALL)
        undone = {run.state.stored_as for run in steps if run.state_name == "RolledBack"}
        kept = [run for run in steps if run.state.stored_as not in undone]
        for run in (*([flow_run] if keeps_all else []), *kept):
            if run.state_name == "RolledBack" or not run.state.has_data:
                continue
            try:
                json.dumps(run.state.result())  # which is what programs return
            except Exception as error:  # whatever it is: it is the finding
                reason = f"{type(error).__name__}: {error}"
                yield f"{run.name} is {run.state_name}, and its result cannot be had: {reason}"
