"""DBOS's end of the comparison: steps of a workflow on SQLite, with the same function and the same arguments."""

from __future__ import annotations

import importlib
import itertools
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from measuring import Figure, Meter, answer, main

DBOS: Any = importlib.import_module("dbos").DBOS
sqlalchemy: Any = importlib.import_module("sqlalchemy")

fresh = itertools.count()
durations: list[float] = []  # seconds of the steps of each workflow run


def nothing_at_all() -> None:
    """A workflow of no steps."""


def some_steps(count: int) -> None:
    """A workflow of some steps, which times itself: its start and its end are not theirs."""
    start = time.perf_counter()
    for _ in range(count):
        step(next(fresh))
    durations.append(time.perf_counter() - start)


step = DBOS.step()(answer)
empty = DBOS.workflow()(nothing_at_all)
steps = DBOS.workflow()(some_steps)


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


def fastest(meter: Meter, run: Callable[[], object]) -> float:
    """Seconds of the steps of the fastest of some workflow runs, as they time themselves."""
    durations.clear()
    for _ in range(meter.rounds):
        run()
    return min(durations)


def per_configuration(meter: Meter) -> dict[str, float]:
    """Everything that is measured with one database, by path."""
    count = max(1, meter.calls // 10)  # each takes long enough
    handle = DBOS.start_workflow(steps, count)
    handle.get_result()
    again = count + 1  # the first step that is not answered from what is recorded: there is none
    return {
        "step": fastest(meter, lambda: steps(count)) / count,
        "step of a forked workflow": fastest(
            meter, lambda: DBOS.fork_workflow(handle.get_workflow_id(), again).get_result()
        )
        / count,
        "workflow of no steps": meter._replace(calls=count).per_call(empty),
    }


def measure(meter: Meter, home: Path) -> list[Figure]:
    """A step with SQLite as DBOS sets it up, and with SQLite as mainspring does."""
    unit = meter.yardstick()
    name = f"DBOS {version('dbos')}"
    figures = [Figure(f"{name}: yardstick in its environment", unit, unit)]
    for label, configure in (("as it comes", as_it_comes), ("WAL, no fsync", as_we_do)):
        DBOS(config=configure(f"sqlite:///{home / label.replace(' ', '-')}.sqlite"))
        DBOS.launch()
        try:
            paths = per_configuration(meter)
        finally:
            DBOS.destroy()
        figures += [Figure(f"{name}, {label}: {path}", took, unit) for path, took in paths.items()]
    return figures


if __name__ == "__main__":
    main(measure, __doc__, "dbos")
