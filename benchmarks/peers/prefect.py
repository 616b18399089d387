"""Prefect, with the temporary server that it starts for a program that names none."""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measuring import answer, seconds_of
from benchmarks.peers.works import CALL, FLOW, FOUND, KEPT, SUBMIT, TASKS, Variant, Works, main

fresh = itertools.count(1)


@contextmanager
def opened(folder: Path) -> Iterator[Works]:
    """The works on a server with an empty database."""
    os.environ |= {
        "PREFECT_HOME": str(folder),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    prefect: Any = importlib.import_module("prefect")
    policies: Any = importlib.import_module("prefect.cache_policies")
    plain = prefect.task(cache_policy=policies.NO_CACHE)(answer)
    kept = prefect.task(persist_result=True, cache_policy=policies.NO_CACHE)(answer)
    cached = prefect.task(persist_result=True, cache_policy=policies.INPUTS)(answer)

    def in_a_flow(work: Callable[[int], None]) -> Callable[[int], float]:
        """The work in a flow run, without what that takes to begin and to end."""

        def run(count: int) -> float:
            return seconds_of(lambda: work(count))

        found: Callable[[int], float] = prefect.flow(run)
        return found

    def submit_and_collect(count: int) -> None:
        for future in [plain.submit(number) for number in range(count)]:
            future.result()

    def each(call: Callable[[], object]) -> Callable[[int], None]:
        def repeat(count: int) -> None:
            for _ in range(count):
                call()

        return repeat

    of_ten = in_a_flow(each(lambda: plain(1)))
    yield {
        CALL: in_a_flow(each(lambda: plain(1))),
        SUBMIT: in_a_flow(submit_and_collect),
        KEPT: in_a_flow(each(lambda: kept(next(fresh)))),
        FOUND: in_a_flow(each(lambda: cached(0))),
        FLOW: each(lambda: of_ten(TASKS)),
    }


if __name__ == "__main__":
    leaves = "run and states, sent to a server, which writes them to SQLite; results are files"
    main("prefect", Variant("Prefect", leaves, opened, 100))
