"""joblib: calls in two worker processes, and `joblib.Memory`."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measuring import answer
from benchmarks.peers.works import CALL, FLOW, FOUND, KEPT, SUBMIT, TASKS, Variant, Works, main

joblib: Any = importlib.import_module("joblib")


@contextmanager
def in_parallel(_: Path) -> Iterator[Works]:
    """The works in worker processes, which stay."""
    with joblib.Parallel(n_jobs=2) as parallel:

        def submit_and_collect(count: int) -> None:
            parallel(joblib.delayed(answer)(number) for number in range(count))

        def calls(count: int) -> None:
            for _ in range(count):
                submit_and_collect(1)

        def flows(count: int) -> None:
            for _ in range(count):
                submit_and_collect(TASKS)

        yield {CALL: calls, SUBMIT: submit_and_collect, FLOW: flows}


@contextmanager
def with_memory(folder: Path) -> Iterator[Works]:
    """The works with results in a folder."""
    cached = joblib.Memory(folder, verbose=0).cache(answer)
    fresh = itertools.count(1)

    def misses(count: int) -> None:
        for _ in range(count):
            cached(next(fresh))

    def hits(count: int) -> None:
        for _ in range(count):
            cached(0)

    yield {CALL: misses, KEPT: misses, FOUND: hits, FLOW: lambda count: misses(count * TASKS)}


if __name__ == "__main__":
    main(
        "joblib",
        Variant("joblib, two worker processes", "nothing: results are in memory", in_parallel, 200),
        Variant("joblib.Memory", "the result, in two files for a miss; no history", with_memory, 500),
    )
