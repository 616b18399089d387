"""What a Ray cluster cannot do: one clear error, within seconds, and an end that is recorded."""

import logging
import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainspring import unmapped
from mainspring._clusters import delays
from mainspring.exceptions import ConfigurationError, SerializationError
from mainspring.integrations.ray import RayTaskRunner, remote_options
from tests.distributed.ray.work import count_down, read_mark, read_mark_each
from tests.distributed.sites import (
    BLOCKER,
    LIMIT,
    PATHS,
    append,
    echo,
    error_of,
    make,
    make_foreign,
    process_id,
    size,
    size_beside,
)
from tests.engine.history import only_flow_run, only_task_run, sequence, task_runs

ray: Any = pytest.importorskip("ray")

pytestmark = [pytest.mark.ray, pytest.mark.slow]

BIG = 1_000_000
NOBODY = "127.0.0.1:1"
PROGRAM = """
from mainspring import flow, task
from mainspring.integrations.ray import RayTaskRunner

@task
def one():
    return 1

@flow(task_runner=RayTaskRunner({arguments}))
def send():
    return one.submit().result()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayTaskRunner]:
    """A Ray cluster of two processors, or the one that is there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([PATHS, os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_TQDM_PATCH_PRINT", "0")  # or it replaces `print` for good
        with RayTaskRunner(init_kwargs={"num_cpus": 2, "log_to_driver": False}) as runner:
            yield runner


@pytest.fixture
def pool(cluster: RayTaskRunner) -> Iterator[RayTaskRunner]:
    with RayTaskRunner() as runner:
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


def value(future: Any) -> Any:
    return future.result(timeout=LIMIT)


# Before anything is sent


@pytest.mark.contract("TR-27")
def test_without_the_extra(tmp_path: Path) -> None:
    """Without Ray the flow run fails, and the command says in one line what to install."""
    done = command(tmp_path, PROGRAM.format(arguments=""), BLOCKER.format(module="ray"))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "pip install 'mainspring[ray]'" in done.stdout + done.stderr
    assert sequence(only_flow_run()) == "Pending Running Failed"


@pytest.mark.parametrize("address", [NOBODY, f"ray://{NOBODY}", "no address"])
def test_an_address_where_nobody_is(tmp_path: Path, address: str) -> None:
    """The flow run fails within seconds, where Ray itself tries for minutes, and the command names the address."""
    done = command(tmp_path, PROGRAM.format(arguments=f"address={address!r}"))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert f"The Ray cluster cannot be reached at {address}" in " ".join((done.stdout + done.stderr).split())
    assert sequence(only_flow_run()) == "Pending Running Failed"


def test_arguments_of_ray_that_do_not_fit(tmp_path: Path) -> None:
    """The flow run fails, and the message has what Ray says and where it comes from."""
    done = command(tmp_path, PROGRAM.format(arguments="init_kwargs={'num_cpus': -1}"))
    words = " ".join((done.stdout + done.stderr).split())
    assert "The Ray cluster cannot be started: ValueError" in words
    assert "Check `init_kwargs`" in words


@pytest.mark.contract("TR-26")
def test_arguments_that_do_not_fit() -> None:
    """They are refused when the runner is made, and options when the block is entered."""
    with pytest.raises(ValueError, match="not in `init_kwargs`"):
        RayTaskRunner(init_kwargs={"address": "auto"})
    with pytest.raises(TypeError, match="`address` must be text"):
        RayTaskRunner(6379)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="retries are the task's"), remote_options(max_retries=3):
        pass


def test_a_second_cluster(cluster: RayTaskRunner) -> None:
    """A program that is connected to one cluster cannot use another one."""
    with pytest.raises(ConfigurationError, match="is connected to the Ray cluster at"):
        RayTaskRunner(NOBODY).__enter__()


@pytest.mark.contract("TR-27")
def test_submitting_before_the_start() -> None:
    """It raises, and no run is made."""
    with pytest.raises(RuntimeError, match="not started"):
        RayTaskRunner().submit(echo, {"value": 1})
    assert task_runs() == []


@pytest.mark.contract("TR-27")
def test_a_result_that_takes_too_long(cluster: RayTaskRunner) -> None:
    """Waiting for it raises a TimeoutError, and leaving the runner is not held up by what could not begin."""
    with RayTaskRunner() as runner, remote_options(resources={"crane": 1}):
        future = runner.submit(echo, {"value": 1})
        with pytest.raises(TimeoutError):
            future.result(timeout=0.1)
    assert future.state.is_cancelled()
    assert task_runs() == []


# On the way to a worker and home


@pytest.mark.parametrize(
    "options", [{"nonsense": 3}, {"num_cpus": "two"}, {"num_cpus": -1}, {"resources": "a"}]
)
def test_options_that_do_not_fit(pool: RayTaskRunner, options: Any) -> None:
    """The run fails, and the message says that the options are to blame."""
    with remote_options(**options):
        error = error_of(pool, echo, value=1)
    assert isinstance(error, ConfigurationError)
    assert "Ray does not take these `remote_options`" in str(error)
    assert sequence() == "Pending Failed"


def test_workers_without_mainspring(pool: RayTaskRunner, tmp_path: Path) -> None:
    """The run fails with words that say so."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER.format(module="mainspring"))
    with remote_options(runtime_env={"env_vars": {"PYTHONPATH": str(tmp_path)}}):
        error = error_of(pool, echo, value=1)
    assert isinstance(error, ConfigurationError)
    assert "workers of the cluster have no mainspring" in str(error)
    assert sequence() == "Pending Failed"


def test_workers_of_another_version(pool: RayTaskRunner, tmp_path: Path) -> None:
    """The run fails, and the message has both versions."""
    (tmp_path / "sitecustomize.py").write_text("import mainspring\nmainspring.__version__ = '0.0.1'\n")
    paths = os.pathsep.join([str(tmp_path), PATHS])
    with remote_options(runtime_env={"env_vars": {"PYTHONPATH": paths}}):
        error = error_of(pool, echo, value=1)
    assert "has mainspring 0.0.1 on Python" in str(error)
    assert sequence() == "Pending Failed"


def test_a_module_that_workers_do_not_have(
    pool: RayTaskRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run fails, and the message names the module."""
    (tmp_path / "only_here.py").write_text("from mainspring import task\n@task\ndef work():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here  # type: ignore[import-not-found]

    error = error_of(pool, only_here.work)
    assert isinstance(error, SerializationError)
    assert "No module named 'only_here'" in str(error)
    assert sequence() == "Pending Failed"


def test_what_no_worker_can_take(pool: RayTaskRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits, as such a worker may come; a warning says what for."""
    monkeypatch.setattr(delays, "_TOLD_AFTER", 0.1)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    handler = logging.Handler()
    handler.emit = lambda record: lines.put(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("mainspring").addHandler(handler)
    try:
        with remote_options(num_cpus=64, resources={"crane": 1}):
            pool.submit(echo, {"value": 1})
        while "No worker has begun" not in (line := lines.get(timeout=LIMIT)):
            pass
    finally:
        logging.getLogger("mainspring").removeHandler(handler)
    assert "no node of the Ray cluster has the resources {'CPU': 64, 'crane': 1}" in line


@pytest.mark.parametrize("length", [1, BIG])
def test_a_result_that_cannot_be_made_again(pool: RayTaskRunner, length: int) -> None:
    """The run is Completed, and the future says why there is no result, whether or not that has stayed there."""
    future = pool.submit(make_foreign, {"length": length})
    with pytest.raises(SerializationError, match=r"cannot be made again in this process.*only_there"):
        future.result(timeout=LIMIT)
    assert only_task_run().state.is_completed()


# What the runner passes on


@pytest.mark.contract("TR-26")
def test_a_cluster_that_is_there(cluster: RayTaskRunner) -> None:
    """What the program is connected to is used, and stays."""
    for _ in range(2):
        with RayTaskRunner() as runner:
            assert value(runner.submit(process_id, {"_": None})) != os.getpid()
        assert ray.is_initialized()


@pytest.mark.contract("TR-26")
def test_remote_options(pool: RayTaskRunner) -> None:
    """They hold for what is submitted in their block, those inside of others add to them, and maps take them along."""
    with remote_options(runtime_env={"env_vars": {"MARK": "outer"}}):
        with remote_options(num_cpus=0.5):
            inner = pool.submit(read_mark, {})
            many = pool.map(read_mark_each, {"_": range(3)})
        assert value(inner) == "outer"
        assert many.result(timeout=LIMIT) == ["outer"] * 3
    assert value(pool.submit(read_mark, {})) is None


@pytest.mark.contract("TR-26")
def test_equality() -> None:
    """Runners are equal if they are made alike; a copy is one that is not started."""
    runner = RayTaskRunner(init_kwargs={"num_cpus": 2})
    assert runner == runner.duplicate() == pickle.loads(pickle.dumps(runner))
    assert runner != RayTaskRunner()


@pytest.mark.contract("TR-26")
def test_references_of_ray(pool: RayTaskRunner) -> None:
    """What a program has on the cluster itself is handed over as it is, wherever it is in the arguments."""
    native = ray.put(bytes(BIG))
    assert value(pool.submit(size, {"value": native})) == BIG
    assert value(pool.submit(echo, {"value": {"a": [ray.put(7)]}})) == {"a": [7]}


@pytest.mark.contract("TR-26")
def test_large_values(pool: RayTaskRunner) -> None:
    """Results go from task to task without coming here, and arguments of a map are copies, but go there once."""
    first = pool.submit(make, {"length": BIG})
    assert value(pool.submit(size, {"value": first})) == BIG
    assert not first.state.data.has_cached_object()
    assert pool.map(size_beside, {"value": unmapped(bytes(BIG)), "_": range(20)}).result(LIMIT) == [BIG] * 20
    given = [bytes(BIG)]
    assert pool.map(append, {"values": unmapped(given), "_": range(5)}).result(LIMIT) == [2] * 5


@pytest.mark.contract("TR-27")
def test_in_a_task_of_the_runner(pool: RayTaskRunner) -> None:
    """A runner inside of a task uses the cluster around, and no depth uses up its processors."""
    assert value(pool.submit(count_down, {"depth": 4})) == 4
    assert len(task_runs()) == 5
