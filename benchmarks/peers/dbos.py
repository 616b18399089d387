"""DBOS on SQLite: steps of workflows. What is submitted are workflows, as its documentation has it."""

from __future__ import annotations

import importlib
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measuring import answer
from benchmarks.peers.works import CALL, FLOW, FOUND, KEPT, SUBMIT, TASKS, Variant, Works, main

DBOS: Any = importlib.import_module("dbos").DBOS
sqlalchemy: Any = importlib.import_module("sqlalchemy")

fresh = itertools.count()
durations: list[float] = []
"""Seconds of the steps of each workflow run."""


def some_steps(count: int) -> None:
    """A workflow of some steps, which times itself: its start and its end are not theirs."""
    start = time.perf_counter()
    for _ in range(count):
        step(next(fresh))
    durations.append(time.perf_counter() - start)


def alone(number: int) -> dict[str, int]:
    """A workflow that is the function."""
    return answer(number)


step = DBOS.step()(answer)
steps = DBOS.workflow()(some_steps)
workflow = DBOS.workflow()(alone)


def as_it_comes(url: str) -> dict[str, Any]:
    """The configuration that DBOS gives SQLite itself: a rollback journal, and each commit waits for the drive."""
    return {"name": "peer", "system_database_url": url, "log_level": "CRITICAL"}


def as_we_do(url: str) -> dict[str, Any]:
    """A write-ahead log, and no commit waits for the drive: what mainspring's durability `process` is."""
    engine = sqlalchemy.create_engine(url)

    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=30000", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    sqlalchemy.event.listen(engine, "connect", prepare)
    return {**as_it_comes(url), "system_database_engine": engine}


def submit_and_collect(count: int) -> None:
    """Workflows in the background."""
    for handle in [DBOS.start_workflow(workflow, number) for number in range(count)]:
        handle.get_result()


def steps_done(count: int) -> float:
    """Seconds of the steps of a workflow."""
    steps(count)
    return durations[-1]


def steps_found(count: int) -> float:
    """Seconds of the steps of a workflow that is done again from after its last: each is answered from the record."""
    handle = DBOS.start_workflow(steps, count)
    handle.get_result()
    DBOS.fork_workflow(handle.get_workflow_id(), count + 1).get_result()
    return durations[-1]


def with_configuration(
    configure: Callable[[str], dict[str, Any]],
) -> Callable[[Path], AbstractContextManager[Works]]:
    """The works on a database that is set up in one way."""

    @contextmanager
    def opened(folder: Path) -> Iterator[Works]:
        DBOS(config=configure(f"sqlite:///{folder / 'dbos.sqlite'}"))
        DBOS.launch()
        try:
            yield {
                CALL: steps_done,
                SUBMIT: submit_and_collect,
                KEPT: steps_done,
                FOUND: steps_found,
                FLOW: lambda count: [steps(TASKS) for _ in range(count)],
            }
        finally:
            DBOS.destroy()

    return opened


if __name__ == "__main__":
    leaves = "step with result, beginning and end, in SQLite"
    main(
        "dbos",
        Variant("DBOS", f"{leaves}; survives a power cut", with_configuration(as_it_comes), 200),
        Variant(
            "DBOS, WAL without fsync", f"{leaves}; survives `kill -9`", with_configuration(as_we_do), 200
        ),
    )
