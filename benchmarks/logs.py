"""Log lines of runs, which are rows of the history. No terminal is measured: a handler takes and drops them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cases import Case, Family, within
from mainspring import get_run_logger, task

LINES = 10


@contextmanager
def silence(_: Path) -> Iterator[None]:
    """Let lines of runs go nowhere but into the history."""
    logger, handler = logging.getLogger("mainspring"), logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@task
def telling() -> None:
    """A task that logs one line."""
    get_run_logger().info("all is well")


@task
def telling_more() -> None:
    """A task that logs some lines."""
    logger = get_run_logger()
    for number in range(LINES):
        logger.info("number %s is well", number)


@task(log_prints=True)
def printing() -> None:
    """A task that prints one line, which is logged."""
    print("all is well")


FAMILY = Family(
    (
        Case("inline task with a log line", lambda turn: within(lambda: turn.per_call(telling))),
        Case(
            f"inline task with {LINES} log lines",
            lambda turn: within(lambda: turn.per_call(telling_more)),
            share=5,
        ),
        Case("inline task with a logged print", lambda turn: within(lambda: turn.per_call(printing))),
    ),
    around=silence,
)
