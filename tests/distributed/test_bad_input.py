"""What a Dask cluster cannot do: one clear error, within seconds, and an end that is recorded."""

import asyncio
import gc
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow
from mainspring._clusters import delays
from mainspring.exceptions import ConfigurationError, SerializationError
from mainspring.integrations.dask import DaskTaskRunner
from tests.distributed.sites import (
    BLOCKER,
    LIMIT,
    PATHS,
    echo,
    error_of,
    local_cluster,
    make_foreign,
    process_id,
)
from tests.engine.history import only_flow_run, only_task_run, sequence, task_runs

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")

pytestmark = pytest.mark.slow

NOBODY = "tcp://127.0.0.1:1"
SCHEDULER = """
import asyncio
from distributed import Scheduler, Worker

async def main():
    async with Scheduler(host="127.0.0.1", port=0, dashboard_address=":0") as scheduler:
        async with Worker(scheduler.address, nthreads=1):
            print(scheduler.address, flush=True)
            await scheduler.finished()

asyncio.run(main())
"""
PROGRAM = """
from mainspring import flow, task
from mainspring.integrations.dask import DaskTaskRunner

@task
def one():
    return 1

@flow(task_runner=DaskTaskRunner({arguments}))
def send():
    return one.submit().result()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with local_cluster() as cluster:
        yield cluster


@pytest.fixture
def pool(cluster: Any) -> Iterator[DaskTaskRunner]:
    with DaskTaskRunner(cluster) as runner:
        yield runner


def command(folder: Path, program: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """What ``mainspring run`` makes of a program, with something that is done in the process before."""
    (folder / "program.py").write_text(program)
    (folder / "sitecustomize.py").write_text(before)
    return subprocess.run(
        [sys.executable, "-m", "mainspring", "run", "program.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), PATHS])},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


# Before anything is sent


@pytest.mark.contract("TR-27")
def test_without_the_extra(tmp_path: Path) -> None:
    """Without Dask the flow run fails, and the command says in one line what to install."""
    done = command(tmp_path, PROGRAM.format(arguments=""), BLOCKER.format(module="distributed"))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "pip install 'mainspring[dask]'" in done.stdout + done.stderr
    assert sequence(only_flow_run()) == "Pending Running Failed"


def test_an_address_where_nobody_is(tmp_path: Path) -> None:
    """The flow run fails within seconds, and the command names the address."""
    arguments = f"address={NOBODY!r}, client_kwargs={{'timeout': 1}}"
    done = command(tmp_path, PROGRAM.format(arguments=arguments))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert f"The Dask cluster cannot be reached at {NOBODY}" in " ".join((done.stdout + done.stderr).split())
    assert sequence(only_flow_run()) == "Pending Running Failed"


def test_a_main_program_without_a_guard(tmp_path: Path) -> None:
    """Workers of a local cluster import it, and do not start clusters in turn; the message says what to do."""
    program = PROGRAM.format(arguments="cluster_kwargs={'n_workers': 1}") + "\nsend()\n"
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PATHS},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "The Dask cluster cannot be started" in last
    assert "below `if __name__ == '__main__':`" in last


@pytest.mark.contract("TR-24")
@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"address": NOBODY, "cluster": object()}, ValueError, "`address` names a cluster that is there"),
        ({"address": NOBODY, "cluster_class": "a.B"}, ValueError, "`address` names a cluster that is there"),
        ({"address": NOBODY, "cluster_kwargs": {"n": 1}}, ValueError, "`address` names a cluster"),
        ({"address": NOBODY, "adapt_kwargs": {"minimum": 1}}, ValueError, "`address` names a cluster"),
        ({"cluster": object(), "cluster_class": "a.B"}, ValueError, "`cluster` is there already"),
        ({"cluster": object(), "cluster_kwargs": {"n": 1}}, ValueError, "`cluster` is there already"),
        ({"cluster_kwargs": {"asynchronous": True}}, ValueError, "must not have `asynchronous`"),
        ({"client_kwargs": {"asynchronous": False}}, ValueError, "must not have `asynchronous`"),
        ({"cluster_kwargs": {"n_workers": 0}}, ValueError, "runs nothing"),
        ({"cluster_kwargs": {"n_workers": -1}, "adapt_kwargs": {"maximum": 2}}, ValueError, "runs nothing"),
        ({"cluster": NOBODY}, TypeError, "as `address`"),
        ({"address": 8786}, TypeError, "`address` must be text"),
    ],
)
def test_arguments_that_do_not_fit(arguments: Any, kind: type[Exception], words: str) -> None:
    """They are refused when the runner is made."""
    with pytest.raises(kind, match=words):
        DaskTaskRunner(**arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"cluster": 3}, "`cluster` must be a cluster object of Dask's"),
        (
            {"cluster_class": "no.such.Cluster"},
            "cannot be started: ModuleNotFoundError: No module named 'no'",
        ),
        ({"cluster_class": "distributed.NoCluster"}, "has no attribute 'NoCluster'"),
        ({"cluster_class": 3}, "`cluster_class`, which is 3"),
        ({"address": "no address"}, "cannot be reached at no address"),
        ({"address": "nothing://127.0.0.1:1"}, "unknown address scheme"),
    ],
)
def test_a_cluster_that_cannot_be(arguments: Any, words: str) -> None:
    """What only Dask knows is refused when the runner is started, which can be tried again."""
    runner = DaskTaskRunner(**arguments)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=words):
            runner.__enter__()


@pytest.mark.parametrize("address", ["no address", "nothing://127.0.0.1:1", "tls://127.0.0.1:1"])
def test_a_client_that_cannot_be_is_closed(address: str) -> None:
    """Dask's own clean-up of one that is half made waits for 20 seconds, in whatever thread collects it."""
    with pytest.raises(ConfigurationError, match="cannot be reached"):
        DaskTaskRunner(address=address).__enter__()
    statuses = {each.status for each in gc.get_objects() if type(each) is distributed.Client}
    assert "connecting" not in statuses


def test_a_cluster_that_was_closed() -> None:
    """It is not waited for."""
    with local_cluster(n_workers=1, processes=False) as cluster:
        runner = DaskTaskRunner(cluster)
    with pytest.raises(ConfigurationError, match="is closed"), runner:
        pass


@pytest.mark.contract("TR-24")
def test_a_report_that_cannot_be_written(cluster: Any, tmp_path: Path) -> None:
    """The extra package that Dask needs for its report is named before anything runs."""
    try:
        import bokeh  # noqa: F401
    except ImportError:
        runner = DaskTaskRunner(cluster, performance_report_path=str(tmp_path / "report.html"))
        with pytest.raises(ConfigurationError, match="pip install bokeh"), runner:
            pass


@pytest.mark.contract("TR-27")
def test_submitting_before_the_start() -> None:
    """It raises, and no run is made."""
    with pytest.raises(RuntimeError, match="not started"):
        DaskTaskRunner().submit(echo, {"value": 1})
    assert task_runs() == []


@pytest.mark.contract("TR-27")
def test_a_result_that_takes_too_long(cluster: Any) -> None:
    """Waiting for it raises a TimeoutError, and leaving the runner is not held up by what could not begin."""
    with DaskTaskRunner(cluster) as runner, dask.annotate(resources={"crane": 1}):
        future = runner.submit(echo, {"value": 1})
        with pytest.raises(TimeoutError):
            future.result(timeout=0.1)
    assert future.state.is_cancelled()
    assert task_runs() == []


# On the way to a worker


def test_a_module_that_workers_do_not_have(
    pool: DaskTaskRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run fails, and the message names the module."""
    (tmp_path / "only_here.py").write_text("from mainspring import task\n@task\ndef work():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here  # type: ignore[import-not-found]

    error = error_of(pool, only_here.work)
    assert isinstance(error, SerializationError)
    assert "No module named 'only_here'" in str(error)
    assert sequence() == "Pending Failed"


@pytest.mark.parametrize("length", [1, 1_000_000])
def test_workers_without_mainspring(tmp_path: Path, length: int) -> None:
    """The run fails with words that say so; a large argument changes nothing."""
    (tmp_path / "block.py").write_text(BLOCKER.format(module="mainspring"))
    with (
        local_cluster(n_workers=1, preload=[str(tmp_path / "block.py")]) as cluster,
        DaskTaskRunner(cluster) as runner,
    ):
        error = error_of(runner, echo, value=bytes(length))
    assert isinstance(error, ConfigurationError)
    assert "workers of the cluster have no mainspring" in str(error)
    assert sequence() == "Pending Failed"


def test_a_scheduler_without_mainspring(tmp_path: Path) -> None:
    """It takes parcels without having to know what is in them, so the worker is the one to say what is missing."""
    program = BLOCKER.format(module="mainspring") + SCHEDULER
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            with DaskTaskRunner(address=process.stdout.readline().strip()) as runner:
                assert "have no mainspring" in str(error_of(runner, echo, value=1))
        finally:
            process.kill()
    assert sequence() == "Pending Failed"


def test_workers_of_another_version(tmp_path: Path) -> None:
    """The run fails, and the message has both versions."""
    (tmp_path / "older.py").write_text("import mainspring\nmainspring.__version__ = '0.0.1'\n")
    with (
        local_cluster(n_workers=1, preload=[str(tmp_path / "older.py")]) as cluster,
        DaskTaskRunner(cluster) as runner,
    ):
        error = error_of(runner, echo, value=1)
    assert isinstance(error, ConfigurationError)
    assert "has mainspring 0.0.1 on Python" in str(error)
    assert "Both sides need the same versions" in str(error)
    assert sequence() == "Pending Failed"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resources": {"crane": 1}}, "no worker of the Dask cluster has the resources {'crane': 1}"),
        ({"workers": [NOBODY]}, f"the Dask cluster has no worker called {NOBODY}"),
    ],
)
def test_what_no_worker_can_take(
    pool: DaskTaskRunner,
    options: Any,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    heard: Callable[[str], str],
) -> None:
    """It waits, as such a worker may come; a warning says what for."""
    monkeypatch.setattr(delays, "_TOLD_AFTER", 0.1)
    with dask.annotate(**options):
        pool.submit(echo, {"value": 1})
    assert words in heard("No worker has begun a run of task 'echo'")


@pytest.fixture
def heard() -> Iterator[Callable[[str], str]]:
    """Waits for a line of our loggers that has some words in it."""
    import queue

    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    handler = logging.Handler()
    handler.emit = lambda record: lines.put(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("mainspring").addHandler(handler)

    def wait(words: str) -> str:
        while words not in (line := lines.get(timeout=LIMIT)):
            pass
        return line

    yield wait
    logging.getLogger("mainspring").removeHandler(handler)


# On the way home


@pytest.mark.parametrize("length", [1, 1_000_000])
def test_a_result_that_cannot_be_made_again(pool: DaskTaskRunner, length: int) -> None:
    """The run is Completed, and the future says why there is no result, whether or not that has stayed there."""
    future = pool.submit(make_foreign, {"length": length})
    with pytest.raises(SerializationError, match=r"cannot be made again in this process.*only_there"):
        future.result(timeout=LIMIT)
    assert only_task_run().state.is_completed()


# Where the runner is used


def test_in_an_event_loop(cluster: Any) -> None:
    """A runner of an async flow does its waiting outside of the loop."""

    @flow(task_runner=DaskTaskRunner(cluster))
    async def send() -> int:
        return await process_id.submit(None)

    assert asyncio.run(send()) != os.getpid()
    assert sequence(only_flow_run()) == "Pending Running Completed"
