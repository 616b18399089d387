"""The thread runner: its size, what it logs and warns about, what it keeps."""

import asyncio
import gc
import logging
import pickle
import threading
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.exceptions import ConfigurationError
from mainspring.settings import get_current_settings, reload_settings, temporary_settings
from mainspring.task_runners import ThreadPoolTaskRunner
from tests.engine.history import only_flow_run

SETTING = "tasks.runner.thread_pool_max_workers"


@task
def double(x: Any) -> Any:
    return x * 2


def together(runner: ThreadPoolTaskRunner, tasks: int) -> int:
    """How many tasks a runner had running at a time, at most."""
    lock, now, most = threading.Lock(), [0], [0]
    gate = threading.Event()

    @task
    def count() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        gate.wait(0.05)
        with lock:
            now[0] -= 1

    with runner:
        for future in [runner.submit(count, {}) for _ in range(tasks)]:
            future.result(timeout=30)
    return most[0]


def test_there_is_no_pool_before_the_first_run() -> None:
    """A runner that nothing is submitted to makes none; one that was left or cancelled before takes no runs, either."""
    runner = ThreadPoolTaskRunner()
    with runner:
        assert runner._pool is None
        assert runner.submit(double, {"x": 1}).result() == 2
        assert runner._pool is not None
    with runner:
        pass
    with pytest.raises(RuntimeError, match="not started"):
        runner.submit(double, {"x": 1})
    with runner:
        runner.cancel_all()
        with pytest.raises(RuntimeError, match="takes no more runs"):
            runner.submit(double, {"x": 1})


def test_an_async_flow_that_submits_nothing_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves its runner in the event loop, as that waits for nothing; what has begun is waited for in a thread."""
    left: list[object] = []

    async def by_thread(call: Any) -> None:
        left.append(call)
        call()

    monkeypatch.setattr("mainspring.futures.turns.by_thread", by_thread)

    @flow
    async def pipeline(submits: bool) -> None:
        if submits:
            double.submit(1)

    asyncio.run(pipeline(False))
    assert left == []
    asyncio.run(pipeline(True))
    assert len(left) == 1


def test_a_runner_of_a_user_is_left_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a derived class does when it is left may take long."""
    threads: list[int] = []

    class Mine(ThreadPoolTaskRunner):
        def __exit__(self, *_: object) -> None:
            threads.append(threading.get_ident())
            super().__exit__(None, None, None)

    @flow(task_runner=Mine())
    async def pipeline() -> None:
        pass

    asyncio.run(pipeline())
    assert threads
    assert threads[0] != threading.get_ident()


@pytest.mark.contract("TR-13")
def test_the_size_comes_from_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the runner says itself wins over the setting; without either there is no limit."""
    unlimited = ThreadPoolTaskRunner().max_workers
    assert unlimited > 1_000_000
    with temporary_settings({SETTING: 2}):
        assert ThreadPoolTaskRunner().max_workers == 2
        assert ThreadPoolTaskRunner(max_workers=3).max_workers == 3
        assert together(ThreadPoolTaskRunner(), 6) == 2
    monkeypatch.setenv("MAINSPRING_TASKS_RUNNER_THREAD_POOL_MAX_WORKERS", "1")
    reload_settings()
    assert get_current_settings().tasks.runner.thread_pool_max_workers == 1
    assert together(ThreadPoolTaskRunner(), 3) == 1


@pytest.mark.contract("TR-13")
def test_the_setting_holds_for_flows_that_name_no_runner() -> None:
    """It counts when the flow runs, not when it is defined, and a flow's own runner keeps its size."""
    sizes: list[int] = []

    @task
    def look() -> None: ...

    def body() -> None:
        from mainspring.context import FlowRunContext

        context = FlowRunContext.get()
        assert context is not None
        sizes.append(context.task_runner.max_workers)

    plain, own = flow(body), flow(task_runner=ThreadPoolTaskRunner(max_workers=4))(body)
    with temporary_settings({SETTING: 2}):
        plain()
        own()
    assert sizes == [2, 4]


@pytest.mark.parametrize("workers", [0, -3])
def test_a_size_that_cannot_work(workers: int) -> None:
    """A pool without threads is refused in the settings, too."""
    with (
        pytest.raises(ConfigurationError, match="thread_pool_max_workers"),
        temporary_settings({SETTING: workers}),
    ):
        pass


@pytest.mark.contract("TR-18")
def test_submitting_is_logged_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    """The line is the flow run's; by default there is none."""

    @flow
    def pipeline() -> None:
        double.submit(1).result()

    def lines() -> list[logging.LogRecord]:
        return [record for record in caplog.records if "Submitting a run of task 'double'" in record.message]

    pipeline()
    assert lines() == []
    with temporary_settings({"logging.internal_level": "DEBUG"}):
        logging.getLogger("mainspring.flow_runs").setLevel(logging.DEBUG)
        pipeline()
    (line,) = lines()
    assert (line.levelname, line.name) == ("DEBUG", "mainspring.flow_runs")
    assert line.__dict__["flow_name"] == "pipeline"


@pytest.mark.contract("TR-36")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_pool_whose_own_threads_submit(workers: int) -> None:
    """Whoever waits for what it has submitted lends its turn, and goes on when there is one: no deadlock, no crowd."""
    together: list[int] = []
    now, lock = [0], threading.Lock()

    @task
    def nest(depth: int) -> int:
        with lock:
            now[0] += 1
            together.append(now[0])
            now[0] -= 1
        if not depth:
            return 1
        return sum(
            future.result() for future in [runner.submit(nest, {"depth": depth - 1}) for _ in range(2)]
        )

    with ThreadPoolTaskRunner(workers) as runner:
        assert runner.submit(nest, {"depth": 4}).result(timeout=30) == 16
    assert max(together) <= workers


@pytest.mark.contract("TR-32")
def test_a_runner_can_be_pickled() -> None:
    """Also one that is started: what comes back is equal and not started."""
    runner = ThreadPoolTaskRunner(max_workers=3)
    with runner:
        runner.submit(double, {"x": 1}).result(timeout=30)
        copies = [pickle.loads(pickle.dumps(runner))]
    copies.append(pickle.loads(pickle.dumps(runner)))
    for copy in copies:
        assert copy == runner
        assert copy.logger is runner.logger
        with pytest.raises(RuntimeError, match="not started"):
            copy.submit(double, {"x": 1})
        with copy:
            assert copy.submit(double, {"x": 2}).result(timeout=30) == 4


@pytest.mark.contract("TR-34")
def test_runs_that_are_over_leave_no_cancel_events() -> None:
    """What the runner keeps does not grow with the number of submissions."""

    def events() -> int:
        gc.collect()
        return sum(type(each) is threading.Event for each in gc.get_objects())

    with ThreadPoolTaskRunner(max_workers=2) as runner:
        for _ in range(10):
            runner.submit(double, {"x": 1}).result(timeout=30)
        before = events()
        for _ in range(200):
            runner.submit(double, {"x": 1}).result(timeout=30)
        assert events() < before + 20


@pytest.mark.contract("TR-16", "T-50")
def test_submitting_while_the_runner_is_left() -> None:
    """A task that is waited for at the end of its flow cannot start others, and is told so."""
    gate, running = threading.Event(), threading.Event()
    errors: list[str] = []

    @task
    def parent() -> None:
        running.set()
        gate.wait(30)
        try:
            double.submit(1)
        except RuntimeError as error:
            errors.append(str(error))

    @flow
    def pipeline() -> None:
        futures.append(parent.submit())
        running.wait(30)
        threading.Timer(0.02, gate.set).start()

    futures: list[Any] = []
    pipeline()
    assert only_flow_run().state.is_completed()
    (error,) = errors
    assert "takes no more runs" in error
    assert "'double' was not submitted" in error


def test_runs_that_are_over_leave_no_circles() -> None:
    """What a submitted run is made of goes when it is over, without the help of the garbage collector."""

    @flow
    def submitting() -> list[str]:
        gc.collect()
        gc.disable()
        try:
            for future in [double.submit(1) for _ in range(50)]:
                future.wait()
            double.map(range(50)).wait()
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            return [type(each).__name__ for each in gc.garbage]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    garbage = submitting()
    assert garbage.count("Submission") < 10
    assert garbage.count("Turn") < 10
