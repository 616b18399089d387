"""Tasks that workers of a Ray cluster import."""

import os

from mainspring import task
from mainspring.integrations.ray import RayTaskRunner


@task
def count_down(depth: int) -> int:
    """Submits itself to the cluster that it runs on, until the depth is used up."""
    if not depth:
        return 0
    with RayTaskRunner() as pool:
        return 1 + pool.submit(count_down, {"depth": depth - 1}).result(timeout=60)


@task
def read_mark() -> str | None:
    return os.environ.get("MARK")


@task
def read_mark_each(_: object) -> str | None:
    return os.environ.get("MARK")
