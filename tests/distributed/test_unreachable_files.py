"""A database in a file that workers do not see, as on another host: the runner finds out, and goes the other way."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow
from mainspring._clusters.reach import Database
from mainspring.recording import current_recorder
from tests.deaths.processes import until
from tests.distributed import apart
from tests.durability.invariants import check_store
from tests.engine.history import sequence, task_runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PATIENCE = 60
ROOT = Path(__file__).parents[2]


def _may_hide_files(folder: Path) -> bool:
    """Whether this system and this user can mount something that only one process sees."""
    if shutil.which("unshare") is None:
        return False
    hide = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0"', str(folder)]
    return subprocess.run(hide, capture_output=True, check=False).returncode == 0


@pytest.fixture
def scheduler(mainspring_home: Path, tmp_path: Path) -> Iterator[str]:
    """A Dask cluster with one worker that sees an empty folder in the place of the home of mainspring."""
    distributed = pytest.importorskip("distributed")
    if not _may_hide_files(tmp_path):
        pytest.skip("this user may not mount anything")
    mainspring_home.mkdir()
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as cluster:
        worker = [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            cluster.scheduler_address,
            "--nthreads=1",
        ]
        hidden = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            'mount -t tmpfs none "$0" && exec "$@"',
            str(mainspring_home),
        ]
        options = ["--no-nanny", "--no-dashboard", f"--local-directory={tmp_path}"]
        process = subprocess.Popen(
            [*hidden, *worker, *options], cwd=ROOT, env=_environment(), stderr=subprocess.DEVNULL
        )
        try:
            until(lambda: len(cluster.scheduler.workers) == 1, "the start of the worker")
            yield cluster.scheduler_address
        finally:
            process.kill()
            process.wait()


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}


def test_a_worker_that_does_not_see_the_file(
    scheduler: str, mainspring_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing fails or is made twice; one line says why runs are made here, and what to do."""
    from mainspring.integrations.dask import DaskTaskRunner

    @flow(task_runner=DaskTaskRunner(address=scheduler))
    def pipeline() -> list[int]:
        first = apart.inner.submit(1)
        after = apart.inner.submit(first)
        return [first.result(PATIENCE), after.result(PATIENCE), *apart.inner.map(range(20)).result(PATIENCE)]

    assert pipeline() == [2, 3, *range(1, 21)]
    assert [sequence(run) for run in task_runs()] == ["Pending Running Completed"] * 22
    told = [
        record.getMessage()
        for record in caplog.records
        if "do not reach the run store" in record.getMessage()
    ]
    assert len(told) == 1
    assert "PostgreSQL" in told[0]
    check_store(mainspring_home / "mainspring.db")


def test_another_file_in_the_place_of_a_database() -> None:
    """A database is known by its host and its file, not by its name."""
    database = Database.of(current_recorder().store)
    assert database.problem() is None
    assert database.file is not None
    assert database._replace(boot="another").problem() == "it is a file on another host"
    other: Any = (database.file[0], database.file[1] + 1)
    assert "another file" in str(database._replace(file=other).problem())
