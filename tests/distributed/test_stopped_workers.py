"""A worker that stands still until the cluster gives it up, and comes back."""

import os
import signal
from pathlib import Path

import pytest

from mainspring.settings import temporary_settings
from tests.deaths.processes import until
from tests.distributed import work
from tests.distributed.servers import servers_of
from tests.durability.invariants import check_store
from tests.engine.history import only_task_run, sequence, states_of
from tests.runners.remote import notes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PATIENCE = 60


def test_what_comes_back_changes_nothing(tmp_path: Path) -> None:
    """Dask gives the run of a worker that stands still to another one; what the first one then returns is refused."""
    pytest.importorskip("distributed")
    from mainspring.integrations.dask import DaskTaskRunner

    with (
        temporary_settings({"home": tmp_path}),
        servers_of("dask", tmp_path, DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="4s") as servers,
        DaskTaskRunner(address=servers.address) as runner,
    ):
        future = runner.submit(work.linger, {"folder": tmp_path})
        until(lambda: len(notes(tmp_path)) == 1, "the run", PATIENCE)
        first = int(notes(tmp_path)[0].split()[1])
        os.kill(first, signal.SIGSTOP)
        try:
            until(lambda: len(notes(tmp_path)) == 2, "the next attempt", PATIENCE)
            (tmp_path / "end").touch()
            second = future.result(timeout=PATIENCE)
            assert second != first
            before = states_of(only_task_run())
        finally:
            os.kill(first, signal.SIGCONT)
        (stopped,) = [worker for worker in servers.others if worker.pid == first]
        until(lambda: f"over {first}" in notes(tmp_path), "the end of the first attempt", PATIENCE)
        until(lambda: stopped.poll() is not None, "the end of the first worker", PATIENCE)
        assert states_of(only_task_run()) == before
        assert sequence() == "Pending Running AwaitingRetry Retrying Completed"
        assert only_task_run().run_count == 2
        assert future.result() == second
        check_store(tmp_path / "mainspring.db")
