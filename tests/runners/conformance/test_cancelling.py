"""Runs that are cancelled while they go on or wait: nothing of them goes on afterwards."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mainspring import flow, unmapped
from mainspring.exceptions import CancelledRun
from mainspring.task_runners import TaskRunner
from tests.engine.history import flow_runs, only_flow_run, task_runs
from tests.engine.stopping import Canceller, until
from tests.runners import remote
from tests.runners.conformance import tasks
from tests.runners.conformance.kinds import AT_ONCE, Traits
from tests.runners.conformance.tasks import Kept, note, notes, settled, value

Runner = TaskRunner[Any]


@contextmanager
def cancelling(run_id: Callable[[], UUID | None]) -> Iterator[None]:
    """Have a run cancelled as soon as there is one to cancel, while the block goes on."""
    canceller = Canceller()
    found: list[UUID] = []

    def look() -> None:
        until(lambda: found.extend(filter(None, [run_id()])) or found)
        canceller.begin(found[0])

    looker = threading.Thread(target=look)
    looker.start()
    try:
        with canceller.at_work():
            yield
    finally:
        looker.join()


def begun(folder: Path) -> list[str]:
    return [line for line in notes(folder) if line.startswith("begin")]


def first_of(folder: Path) -> UUID | None:
    """The first task run, once its function has begun and it can be seen."""
    runs = task_runs() if begun(folder) else []
    return runs[0].id if runs else None


def ended(folder: Path) -> list[str]:
    return [line for line in notes(folder) if line.startswith("end")]


@pytest.mark.contract("F-46", "X-29")
@pytest.mark.needs("whole_runs")
def test_cancelling_the_flow_run(runner: Runner, traits: Traits, tmp_path: Path) -> None:
    """Tasks that go on are ended before the flow run is Cancelled, and those that wait never begin."""
    futures = Kept()
    size = AT_ONCE if traits.at_once else 1

    @flow(task_runner=runner)
    def pipeline() -> None:
        for number in range(5):
            futures.append(tasks.begin_and_linger.submit(tmp_path, number))
        futures.append(tasks.begin_and_linger.submit(tmp_path, futures[0]))
        futures.extend(tasks.begin_and_linger.map(unmapped(tmp_path), range(3)))
        for future in futures:
            future.wait()

    def ready() -> UUID | None:
        runs = flow_runs() if len(begun(tmp_path)) >= size else []
        return runs[0].id if runs else None

    with cancelling(ready), pytest.raises(CancelledRun):
        pipeline()
    root = only_flow_run()
    assert root.state.name == "Cancelled"
    assert root.ended_at is not None
    assert len(begun(tmp_path)) == len(ended(tmp_path)) == size == len(notes(tmp_path)) / 2
    assert {future.state.name for future in futures} <= {"Cancelled"}
    assert {run.state.name for run in task_runs()} == {"Cancelled"}
    assert all((run.ended_at or 0) <= root.ended_at for run in task_runs())


@pytest.mark.contract("X-29")
@pytest.mark.needs("whole_runs")
def test_cancelling_one_task_run(pool: Runner, tmp_path: Path) -> None:
    """It ends, its future raises CancelledRun, and the runner is as good as before."""
    with cancelling(lambda: first_of(tmp_path)):
        future = pool.submit(tasks.begin_and_linger, {"folder": tmp_path, "name": "one"})
        assert settled(future) == "Cancelled"
    with pytest.raises(CancelledRun):
        value(future)
    assert notes(tmp_path) == ["begin one", "end one"]
    assert [value(pool.submit(tasks.add, {"x": x, "y": 1})) for x in range(4)] == [1, 2, 3, 4]


@pytest.mark.contract("X-29", "T-45")
@pytest.mark.needs("whole_runs")
def test_what_waits_for_a_cancelled_run(pool: Runner, tmp_path: Path) -> None:
    """It never begins, like what waits for a run that has failed."""
    with cancelling(lambda: first_of(tmp_path)):
        first = pool.submit(tasks.begin_and_linger, {"folder": tmp_path, "name": "one"})
        then = pool.submit(tasks.note_down, {"folder": tmp_path, "what": first})
        assert settled(then) == "NotReady"
    assert notes(tmp_path) == ["begin one", "end one"]


@pytest.mark.contract("X-29")
def test_a_cancelled_run_is_not_retried(pool: Runner, tmp_path: Path) -> None:
    """Whatever retries it has left."""
    with cancelling(lambda: first_of(tmp_path)):
        stubborn = tasks.begin_and_linger.with_options(retries=3)
        assert settled(pool.submit(stubborn, {"folder": tmp_path, "name": "one"})) == "Cancelled"
    assert begun(tmp_path) == ["begin one"]


@pytest.mark.contract("H-2")
@pytest.mark.needs("whole_runs")
def test_hooks_for_a_cancellation(pool: Runner, tmp_path: Path) -> None:
    """They are called once, when the run is Cancelled."""

    def hook(task_: Any, run: Any, state: Any) -> None:
        note(tmp_path, f"hook {state.name}")

    with cancelling(lambda: first_of(tmp_path)):
        hooked = tasks.begin_and_linger.with_options(on_cancellation=[hook])
        assert settled(pool.submit(hooked, {"folder": tmp_path, "name": "one"})) == "Cancelled"
    assert notes(tmp_path) == ["begin one", "end one", "hook Cancelled"]


@pytest.mark.contract("TR-17", "T-50")
@pytest.mark.needs("at_once", "whole_runs")
def test_cancelling_all(runner: Runner, tmp_path: Path) -> None:
    """What has not begun is Cancelled, what has is told and may go on, and nothing more is taken."""
    with runner:
        first = runner.submit(remote.wait_for_cancellation, {"folder": tmp_path})
        until((tmp_path / "begun").exists)
        waiting = runner.submit(tasks.note_down, {"folder": tmp_path, "what": first})
        runner.cancel_all()
        assert value(first) is True
        assert settled(waiting) == "Cancelled"
        with pytest.raises(RuntimeError, match="takes no more runs"):
            runner.submit(tasks.add, {"x": 1, "y": 1})
        with pytest.raises(RuntimeError, match="takes no more runs"):
            runner.map(tasks.add, {"x": [1]})
    assert notes(tmp_path) == []
    assert len(task_runs()) == 1
