"""Ray: bare calls on a local cluster with two processors."""

from __future__ import annotations

import importlib
import logging
import os
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
def opened(_: Path) -> Iterator[Works]:
    """The works on a local cluster."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray: Any = importlib.import_module("ray")
    ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    try:
        remote, following = ray.remote(answer), ray.remote(follow)

        def calls(count: int) -> None:
            for number in range(count):
                ray.get(remote.remote(number))

        def submit_and_collect(count: int) -> None:
            ray.get([remote.remote(number) for number in range(count)])

        def chains(count: int) -> None:
            for _ in range(count):
                last = None
                for _ in range(TASKS):
                    last = following.remote(last)
                ray.get(last)

        yield {CALL: calls, SUBMIT: submit_and_collect, FLOW: chains}
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main("ray", Variant("Ray, two workers", "nothing: results are in memory", opened, 200))
