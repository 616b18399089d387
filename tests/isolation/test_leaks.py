"""Many timeouts, cancellations and deaths: nothing of them is left."""

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest

from mainspring._cancel_scopes import Stop, StopKind, live
from mainspring._engine.isolation import _shared
from mainspring.exceptions import RunCancelled, WorkerDied
from mainspring.task_engine import TaskRunTimeoutError
from tests.engine.history import query
from tests.isolation import subjects
from tests.runners.making import eventually

TIMES = int(os.environ.get("TEST_ENDS") or 10)  # of each kind


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> int:
    """Processes that this one has started, dead ones that nobody has asked about included."""
    return len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def time_out() -> None:
    with pytest.raises(TaskRunTimeoutError):
        subjects.go_on.with_options(timeout_seconds=0.05)("spin")


def time_out_in_a_thread() -> None:
    thread = threading.Thread(target=time_out)
    thread.start()
    thread.join()


def time_out_in_a_loop() -> None:
    limited = subjects.block_the_loop.with_options(timeout_seconds=0.05)
    with pytest.raises(TaskRunTimeoutError):
        asyncio.run(limited("spin"))


def cancel() -> None:
    def stop() -> None:
        assert eventually(lambda: live, 20)
        time.sleep(0.01)
        for scope in list(live.values()):
            scope.stop(Stop(StopKind.GIVEN_UP, "That is enough."))

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(RunCancelled):
        subjects.go_on("spin")
    thread.join()


def die() -> None:
    with pytest.raises(WorkerDied):
        subjects.die_by("kill")


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * TIMES)
def test_nothing_is_left(one_worker: None) -> None:
    """Descriptors, processes, threads and scopes are as many as before, and no run goes on."""
    ends = [time_out, time_out_in_a_thread, time_out_in_a_loop, cancel, die]
    for end in ends:
        end()
    subjects.process_id()
    threads, before, processes = threading.active_count(), descriptors(), children()
    for _ in range(TIMES):
        for end in ends:
            end()
    subjects.process_id()
    assert eventually(lambda: threading.active_count() <= threads, 20)
    assert eventually(lambda: children() <= processes, 20)
    assert eventually(lambda: descriptors() <= before, 20)
    assert not live
    assert _shared._crew is not None
    assert len(_shared._crew._all) == 1
    unfinished = "SELECT count(*) FROM task_runs WHERE state_type IN ('PENDING', 'RUNNING', 'SCHEDULED')"
    assert query(unfinished) == [(0,)]
