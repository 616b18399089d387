"""Huey, whose consumer has eight threads in this process. Consumer and callers look for news every millisecond.

It has no flows: instead of one, ten tasks are submitted and collected.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measuring import answer
from benchmarks.peers.works import CALL, FLOW, KEPT, SUBMIT, TASKS, Variant, Works, main

OFTEN = 0.001  # seconds


def with_storage(
    make: Callable[[Any, Path], Any], is_kept: bool
) -> Callable[[Path], AbstractContextManager[Works]]:
    """The works with one kind of queue."""

    @contextmanager
    def opened(folder: Path) -> Iterator[Works]:
        queue = make(importlib.import_module("huey"), folder)
        task = queue.task()(answer)
        consumer = queue.create_consumer(
            workers=8, periodic=False, initial_delay=OFTEN, max_delay=OFTEN, check_worker_health=False
        )
        consumer.start()
        try:

            def submit_and_collect(count: int) -> None:
                for result in [task(number) for number in range(count)]:
                    assert result.get(blocking=True, max_delay=OFTEN) is not None

            def calls(count: int) -> None:
                for _ in range(count):
                    submit_and_collect(1)

            def flows(count: int) -> None:
                for _ in range(count):
                    submit_and_collect(TASKS)

            works = {CALL: calls, SUBMIT: submit_and_collect, FLOW: flows}
            yield {**works, KEPT: calls} if is_kept else works
        finally:
            consumer.stop(graceful=True)

    return opened


if __name__ == "__main__":
    main(
        "huey",
        Variant(
            "Huey, memory",
            "nothing: queue and results are in memory",
            with_storage(lambda huey, _: huey.MemoryHuey(), False),
            100,
        ),
        Variant(
            "Huey, SQLite",
            "the result, in SQLite, until it is read; no history",
            with_storage(lambda huey, folder: huey.SqliteHuey(filename=str(folder / "huey.db")), True),
            100,
        ),
    )
