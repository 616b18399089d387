"""Dask: bare calls on a local cluster of two worker processes, and on the scheduler of threads."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measuring import answer
from benchmarks.peers.works import CALL, FLOW, SUBMIT, TASKS, Variant, Works, main


def follow(before: object) -> dict[str, int]:
    """Called with what came before."""
    return answer(1)


@contextmanager
def on_cluster(_: Path) -> Iterator[Works]:
    """The works on a local cluster."""
    distributed: Any = importlib.import_module("distributed")
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:

        def calls(count: int) -> None:
            for number in range(count):
                client.submit(answer, number, pure=False).result()

        def submit_and_collect(count: int) -> None:
            client.gather([client.submit(answer, number, pure=False) for number in range(count)])

        def chains(count: int) -> None:
            for _ in range(count):
                future = None
                for _ in range(TASKS):
                    future = client.submit(follow, future, pure=False)
                client.gather(future)

        yield {CALL: calls, SUBMIT: submit_and_collect, FLOW: chains}


@contextmanager
def on_threads(_: Path) -> Iterator[Works]:
    """The works on threads of this process."""
    dask: Any = importlib.import_module("dask")
    delayed, options = dask.delayed, {"scheduler": "threads"}

    def calls(count: int) -> None:
        for number in range(count):
            delayed(answer)(number).compute(**options)

    def submit_and_collect(count: int) -> None:
        dask.compute(*[delayed(answer)(number) for number in range(count)], **options)

    def chains(count: int) -> None:
        for _ in range(count):
            last = None
            for _ in range(TASKS):
                last = delayed(follow)(last)
            dask.compute(last, **options)

    yield {CALL: calls, SUBMIT: submit_and_collect, FLOW: chains}


if __name__ == "__main__":
    main(
        "dask",
        Variant("Dask, two worker processes", "nothing: results are in memory", on_cluster, 200),
        Variant("Dask, threads", "nothing: results are in memory", on_threads, 500),
    )
