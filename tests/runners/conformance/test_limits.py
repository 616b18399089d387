"""Concurrency limits: of tags, and of blocks inside of tasks."""

from pathlib import Path
from typing import Any

import pytest

from mainspring import tags, task, unmapped
from mainspring.client import get_client
from mainspring.concurrency.sync import concurrency
from mainspring.task_runners import TaskRunner
from tests.engine.history import task_runs
from tests.runners.conformance import tasks
from tests.runners.conformance.tasks import LIMIT, most_at_once, note, notes, settled, value

Runner = TaskRunner[Any]
MANY = 6


def slots_in_use(name: str) -> int:
    limit = get_client().read_concurrency_limit(name)
    assert limit is not None
    return limit.active_slots


@pytest.mark.contract("V-19", "E-67")
def test_a_limit_on_a_tag(pool: Runner, tmp_path: Path) -> None:
    """No more tasks with the tag go on than it allows, and its slots are free afterwards."""
    get_client().create_or_update_concurrency_limit("tag:db", 1)
    with tags("db"):
        futures = pool.map(tasks.work_alone, {"folder": unmapped(tmp_path), "number": range(MANY)})
    futures.result(timeout=3 * LIMIT)
    assert most_at_once(tmp_path) == 1
    assert len(notes(tmp_path)) == 2 * MANY
    assert slots_in_use("tag:db") == 0


@pytest.mark.contract("V-19", "CC-1")
@pytest.mark.needs("whole_runs")
def test_a_limit_inside_of_tasks(pool: Runner, tmp_path: Path) -> None:
    """No more are in the block than its limit allows, and its slots are free afterwards."""
    get_client().create_or_update_concurrency_limit("database", 1)
    parameters = {"folder": unmapped(tmp_path), "number": range(MANY), "name": unmapped("database")}
    pool.map(tasks.work_with_a_slot, parameters).result(timeout=3 * LIMIT)
    assert most_at_once(tmp_path) == 1
    assert len(notes(tmp_path)) == 2 * MANY
    assert slots_in_use("database") == 0


@pytest.mark.contract("E-67")
@pytest.mark.needs("whole_runs")
def test_a_slot_is_held_while_the_task_goes_on(pool: Runner) -> None:
    """The task itself sees it in use, by its own run."""
    get_client().create_or_update_concurrency_limit("tag:db", 1)

    @task(tags=["db"])
    def look() -> Any:
        return [holder.holder_id for holder in get_client().read_slot_holders("tag:db")]

    future = pool.submit(look, {})
    assert value(future) == [future.task_run_id]


@pytest.mark.contract("V-19")
def test_slots_of_tasks_that_fail(pool: Runner) -> None:
    """They are free, whether the task failed or was timed out."""
    get_client().create_or_update_concurrency_limit("tag:db", 1)
    with tags("db"):
        assert settled(pool.submit(tasks.fail, {"text": "no"})) == "Failed"
        late = pool.submit(tasks.sleep.with_options(timeout_seconds=0.1), {"seconds": LIMIT})
        assert settled(late) == "TimedOut"
        assert value(pool.submit(tasks.add, {"x": 1, "y": 1})) == 2
    assert slots_in_use("tag:db") == 0


@pytest.mark.needs("survives_deaths", "whole_runs")
def test_slots_of_a_process_that_dies(pool: Runner, tmp_path: Path) -> None:
    """Whoever waits for them gets them."""
    get_client().create_or_update_concurrency_limit("database", 1)

    @task
    def hold_and_die() -> None:
        import os

        with concurrency("database"):
            note(tmp_path, "held")
            os.kill(os.getpid(), 9)

    assert settled(pool.submit(hold_and_die, {})) == "Crashed"
    parameters = {"folder": tmp_path, "number": 1, "name": "database"}
    value(pool.submit(tasks.work_with_a_slot, parameters))
    assert notes(tmp_path) == ["held", "+", "-"]
    assert slots_in_use("database") == 0


@pytest.mark.contract("E-153")
def test_runs_that_wait_for_a_slot_complete(pool: Runner, tmp_path: Path) -> None:
    """Retries included, each is run to its end, and once."""
    get_client().create_or_update_concurrency_limit("tag:db", 1)
    with tags("db"):
        futures = [
            pool.submit(tasks.fail_until, {"folder": tmp_path, "attempt": attempt})
            for attempt in (1, 2, 1, 2)
        ]
        assert [value(future) for future in futures] == [1, 2, 1, 2]
    assert len(notes(tmp_path)) == 6
    assert sorted(run.run_count for run in task_runs()) == [1, 1, 2, 2]
