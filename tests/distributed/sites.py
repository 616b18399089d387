"""Dask clusters for tests, and tasks that their workers import."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, get_run_logger, task
from mainspring.integrations.dask import DaskTaskRunner
from mainspring.task_runners import TaskRunner

ROOT = Path(__file__).parents[2]
PATHS = os.pathsep.join([str(ROOT), str(ROOT / "src")])
LIMIT = 60
"""Seconds that nothing takes, however busy the machine is."""

LASTING = ("AsyncProcess", "Dask", "IO loop", "Profile", "QueueFeederThread", "ThreadPoolExecutor", "asyncio")
"""What the names of the threads of a Dask cluster begin with."""

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Blocker())
"""
"""A program in which a module cannot be imported."""


@contextmanager
def local_cluster(**options: Any) -> Iterator[Any]:
    """A Dask cluster with two worker processes of one thread each, unless it is said otherwise."""
    distributed = pytest.importorskip("distributed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([PATHS, os.environ.get("PYTHONPATH", "")]))
        made = distributed.LocalCluster(
            **{"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", **options}
        )
    with made as cluster:
        yield cluster


def error_of(pool: TaskRunner[Any], function: Any, **parameters: Any) -> BaseException:
    """The exception that a run comes to."""
    error = pool.submit(function, parameters).result(timeout=LIMIT, raise_on_failure=False)
    assert isinstance(error, BaseException), error
    return error


@task
def echo(value: Any) -> Any:
    return value


@task
def size(value: Any) -> int:
    return len(value)


@task
def size_beside(value: Any, _: Any) -> int:
    return len(value)


@task
def process_id(_: object) -> int:
    return os.getpid()


@task
def make(length: int) -> bytes:
    return bytes(length)


@task
def size_and_process(value: Any) -> tuple[int, int]:
    return len(value), os.getpid()


@task
def make_foreign(length: int) -> Any:
    """A value whose class is in no module of any other process."""
    import sys
    import types

    module: Any = types.ModuleType("only_there")
    exec("class Foreign: pass", module.__dict__)
    module.Foreign.__module__ = "only_there"
    sys.modules["only_there"] = module
    value = module.Foreign()
    value.content = bytes(length)
    return value


@task
def append(values: list[Any], _: object) -> int:
    """Changes what it was given."""
    values.append(None)
    return len(values)


@task
def count_down(depth: int) -> int:
    """Submits itself to the cluster that it runs on, until the depth is used up."""
    if not depth:
        return 0
    with DaskTaskRunner() as pool:
        return 1 + pool.submit(count_down, {"depth": depth - 1}).result(timeout=LIMIT)


@flow(task_runner=DaskTaskRunner())
def add_on_cluster(numbers: list[int]) -> int:
    get_run_logger().info("on the way")
    return sum(echo.map(numbers).result())


@task
def wait_for_file(path: str) -> int:
    """Says that it has begun, and waits until there is a file."""
    Path(f"{path}.{os.getpid()}").touch()
    while not Path(path).exists():
        time.sleep(0.02)
    return os.getpid()
