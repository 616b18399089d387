"""One submitted run: its future, its value, its state, and the ways to wait for it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.futures import as_completed, wait
from mainspring.task_runners import TaskRunner
from tests.engine.history import only_task_run, query, sequence, task_runs
from tests.runners import remote
from tests.runners.conformance import tasks
from tests.runners.conformance.kinds import AT_ONCE
from tests.runners.conformance.tasks import LIMIT, settled, value
from tests.runners.making import eventually

Runner = TaskRunner[Any]


@pytest.mark.contract("TR-4", "TR-6", "T-42")
def test_a_run_has_the_id_of_its_future(pool: Runner) -> None:
    """The future gives the value, and the run is recorded under the id that the future had from the beginning."""
    future = pool.submit(tasks.add, {"x": 1, "y": 2})
    assert value(future) == 3
    assert (only_task_run().id, future.state.name) == (future.task_run_id, "Completed")
    assert sequence() == "Pending Running Completed"


@pytest.mark.contract("FU-1", "T-102")
@pytest.mark.needs("at_once")
def test_waiting_ends_after_its_time(pool: Runner, tmp_path: Path) -> None:
    """A future that is not done in time raises TimeoutError from `result`, and nothing from `wait`; the run goes on."""
    future = pool.submit(tasks.begin_and_wait, {"folder": tmp_path, "name": "late", "go": "go"})
    for timeout in (0, 0.05):
        with pytest.raises(TimeoutError):
            future.result(timeout=timeout)
        future.wait(timeout=timeout)
    with pytest.raises(TimeoutError):
        asyncio.run(future.result_async(timeout=0.05))
    assert not future.is_done()
    (tmp_path / "go").touch()
    assert value(future) == "late"
    assert future.is_done()


@pytest.mark.contract("E-75", "FU-3")
def test_a_failure_is_raised_or_given(pool: Runner) -> None:
    """The exception has its class and text; with ``raise_on_failure=False`` it is the result."""
    future = pool.submit(tasks.fail, {"text": "nothing there"})
    with pytest.raises(LookupError, match="nothing there"):
        value(future)
    given = future.result(timeout=LIMIT, raise_on_failure=False)
    assert (type(given), str(given)) == (LookupError, "nothing there")
    assert future.state.is_failed()
    assert sequence() == "Pending Running Failed"


@pytest.mark.contract("G-16", "TR-15", "X-23")
@pytest.mark.parametrize(
    ("work", "parameter", "outcome"),
    [
        (remote.wait_and_add, "x", 4),
        (remote.count, "limit", [0, 1, 2]),
        (remote.count_later, "limit", [0, 1, 2]),
    ],
    ids=["async", "generator", "async generator"],
)
def test_all_kinds_of_functions(pool: Runner, work: Any, parameter: str, outcome: Any) -> None:
    """Coroutines are awaited, generators collected."""
    assert value(pool.submit(work, {parameter: 3})) == outcome
    assert sequence() == "Pending Running Completed"


def test_a_task_that_was_made_in_a_function(pool: Runner) -> None:
    """It takes along what it refers to."""
    offset = 5

    @task
    def local(x: int) -> int:
        return x + offset

    assert value(pool.submit(local, {"x": 1})) == 6


@pytest.mark.contract("T-44", "T-42")
def test_submitting_in_a_flow(runner: Runner) -> None:
    """Tasks are submitted to a copy of the flow's runner, methods too; ``return_state=True`` gives final states."""

    @flow(task_runner=runner)
    def pipeline() -> Any:
        future = tasks.add.submit(1, y=2)
        failed = tasks.fail.submit(return_state=True)
        method = tasks.Adder(5).add_to.submit(1)
        return [future.result(), failed.name, method.result(), tasks.echo.submit(4, return_state=True).name]

    assert pipeline() == [3, "Failed", 6, "Completed"]
    assert len({run.flow_run_id for run in task_runs()}) == 1


@pytest.mark.contract("T-42")
def test_submitting_in_an_async_flow(runner: Runner) -> None:
    """Futures are awaited, sync tasks and async ones alike."""

    @flow(task_runner=runner)
    async def pipeline() -> Any:
        first, second = tasks.add.submit(1), tasks.add_later.submit(1)
        return [await first, await second, await tasks.add.map([2, 3])]

    assert asyncio.run(pipeline()) == [2, 2, [3, 4]]


@pytest.mark.contract("TR-4")
@pytest.mark.needs("at_once")
def test_tasks_are_at_work_at_the_same_time(pool: Runner, tmp_path: Path) -> None:
    """Two tasks that wait for each other finish."""
    meeting = remote.Meeting(tmp_path, 2)
    futures = [pool.submit(remote.attend, {"meeting": meeting, "name": name}) for name in range(2)]
    assert [value(future)[0] for future in futures] == [True, True]


@pytest.mark.contract("T-103", "FU-18")
@pytest.mark.needs("at_once")
def test_waiting_for_several(pool: Runner, tmp_path: Path) -> None:
    """`wait` tells which are done and which are not, `as_completed` gives them in the order in which they are done."""
    slow = pool.submit(tasks.begin_and_wait, {"folder": tmp_path, "name": "slow", "go": "go"})
    quick = pool.submit(tasks.echo, {"value": "quick"})
    order = as_completed([slow, quick], timeout=3 * LIMIT)
    assert next(order) is quick
    done, not_done = wait([slow, quick], timeout=0)
    assert (set(done), set(not_done)) == ({quick}, {slow})
    (tmp_path / "go").touch()
    assert [future.result() for future in order] == ["slow"]
    done, not_done = wait([slow, quick], timeout=LIMIT)
    assert (set(done), set(not_done)) == ({quick, slow}, set())


def test_history_is_on_disk_before_the_result(pool: Runner) -> None:
    """Whoever has the value, or is called back, finds the final state in the database."""
    seen: list[Any] = []

    def look(future: Any) -> None:
        seen.append(query("SELECT state_type FROM task_runs WHERE id = ?", future.task_run_id.bytes))

    for x in range(10):
        future = pool.submit(tasks.add, {"x": x, "y": 1})
        future.add_done_callback(look)
        value(future)
        look(future)
    assert eventually(lambda: len(seen) == 20)
    assert seen == [[("COMPLETED",)]] * 20


@pytest.mark.contract("FU-8")
@pytest.mark.needs("at_once")
def test_cancelling_a_future(pool: Runner, tmp_path: Path) -> None:
    """What has not begun never does, and what waits for an input has not begun; what goes on is not touched."""
    begun = [
        pool.submit(tasks.begin_and_wait, {"folder": tmp_path, "name": x, "go": "go"}) for x in range(AT_ONCE)
    ]
    assert eventually(lambda: len(tasks.notes(tmp_path)) == AT_ONCE)
    waiting = pool.submit(tasks.note_down, {"folder": tmp_path, "what": "queued"}, wait_for=begun)
    assert waiting.cancel()
    (tmp_path / "go").touch()
    assert [settled(future) for future in begun] == ["Completed"] * AT_ONCE
    assert settled(waiting) == "Cancelled"
    assert not begun[0].cancel()
    assert "queued" not in tasks.notes(tmp_path)
    assert len(task_runs()) == AT_ONCE


def test_an_exit_in_a_task(pool: Runner) -> None:
    """``sys.exit`` crashes the run, is what its future raises, and the runner is as good as before."""
    with pytest.raises(SystemExit):
        value(pool.submit(remote.leave, {"how": "exit"}))
    assert sequence() == "Pending Running Crashed"
    assert value(pool.submit(tasks.add, {"x": 1, "y": 1})) == 2
