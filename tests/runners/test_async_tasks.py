"""Async tasks on threads: the event loop that a thread keeps, and code that has to run a coroutine from sync code."""

import asyncio
import contextvars
import gc
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from mainspring import _portal, flow, task
from mainspring.task_runners import ThreadPoolTaskRunner
from tests.engine.history import only_flow_run, sequence, task_runs
from tests.runners.making import eventually


@task
async def loop_of_mine() -> asyncio.AbstractEventLoop:
    await asyncio.sleep(0)
    return asyncio.get_running_loop()


@pytest.mark.contract("W-22", "TR-35", "X-23")
def test_a_thread_keeps_its_event_loop() -> None:
    """Async tasks that come to the same thread run on one loop, which is closed when the runner is left."""
    with ThreadPoolTaskRunner(max_workers=1) as runner:
        loops = {runner.submit(loop_of_mine, {}).result(timeout=30) for _ in range(20)}
        (loop,) = loops
        assert not loop.is_closed()
    assert loop.is_closed()


@pytest.mark.contract("W-22", "X-23")
def test_each_thread_has_its_own_event_loop() -> None:
    """Async tasks at the same time are on different threads and loops."""
    everybody = threading.Barrier(3)

    @task
    async def meet() -> Any:
        await asyncio.to_thread(everybody.wait, 30)
        return threading.get_ident(), asyncio.get_running_loop()

    with ThreadPoolTaskRunner() as runner:
        met = [future.result(timeout=30) for future in [runner.submit(meet, {}) for _ in range(3)]]
        assert len({thread for thread, _ in met}) == len({loop for _, loop in met}) == 3
    assert all(loop.is_closed() for _, loop in met)


@pytest.mark.contract("W-22")
def test_what_async_tasks_leave_behind_ends_with_the_runner() -> None:
    """Asyncio tasks that nobody waited for are cancelled, and async generators shut down; nothing leaks."""
    ended: list[str] = []
    kept: list[Any] = []

    async def background() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.append("task")
            raise

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append("generator")

    @task
    async def untidy() -> None:
        kept.append(asyncio.create_task(background()))
        generator = numbers()
        kept.append(generator)
        await anext(generator)
        await asyncio.sleep(0)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with ThreadPoolTaskRunner(max_workers=1) as runner:
            runner.submit(untidy, {}).result(timeout=30)
            assert ended == []
        assert sorted(ended) == ["generator", "task"]
        del runner
        kept.clear()
        gc.collect()
    assert [str(warning.message) for warning in caught if warning.category is ResourceWarning] == []


@pytest.mark.contract("W-22", "T-49", "TR-14")
def test_tasks_on_one_loop_do_not_see_each_others_variables() -> None:
    """Each has the context of its own submission, and what it sets is gone with it."""
    variable = contextvars.ContextVar("variable", default="unset")

    @task
    async def look(value: str) -> str:
        before = variable.get()
        variable.set(value)
        await asyncio.sleep(0)
        return before

    with ThreadPoolTaskRunner(max_workers=1) as runner:
        variable.set("mine")
        first = runner.submit(look, {"value": "first"})
        variable.set("later")
        second = runner.submit(look, {"value": "second"})
        assert [first.result(timeout=30), second.result(timeout=30)] == ["mine", "later"]
    assert variable.get() == "later"


@pytest.mark.contract("W-22")
def test_a_task_that_fails_leaves_the_loop_usable() -> None:
    """The next one on the same thread runs as if nothing had been."""

    @task
    async def broken() -> None:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        await asyncio.sleep(1)

    with ThreadPoolTaskRunner(max_workers=1) as runner:
        runner.submit(broken, {}).wait(30)
        assert not runner.submit(loop_of_mine, {}).result(timeout=30).is_closed()
    assert sequence(task_runs()[0]) == "Pending Running Crashed"


@pytest.mark.contract("X-22")
@pytest.mark.parametrize("is_async", [False, True])
def test_where_sync_tasks_run(is_async: bool) -> None:
    """One that is called runs in the caller's thread, under an event loop too; one that is submitted does not."""

    @task
    def where() -> int:
        return threading.get_ident()

    def body() -> None:
        assert where() == threading.get_ident()
        assert where.submit().result() != threading.get_ident()

    async def abody() -> None:
        body()

    asyncio.run(flow(abody)()) if is_async else flow(body)()


@pytest.mark.contract("X-24")
@pytest.mark.parametrize("is_submitted", [False, True])
def test_sync_code_that_needs_coroutines_inside_each_other(is_submitted: bool) -> None:
    """Async hooks of sync tasks run under a running loop, also when they call sync tasks with async hooks."""
    called: list[str] = []

    async def hook(task_: Any, run: Any, state: Any) -> None:
        await asyncio.sleep(0)
        called.append(task_.name)
        if task_.name == "outer":
            inner()

    @task(on_completion=[hook])
    def inner() -> None: ...

    @task(on_completion=[hook])
    def outer() -> None: ...

    @task
    async def around() -> None:
        outer()

    with ThreadPoolTaskRunner(max_workers=1) as runner:
        if is_submitted:
            runner.submit(around, {}).result(timeout=30)
        else:
            asyncio.run(around())
    assert called == ["outer", "inner"]


def test_closing_the_loop_of_a_thread() -> None:
    """It may be closed whether there is one or not, and the next coroutine gets another."""

    async def mine() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def work() -> None:
        _portal.close()
        first = _portal.run(mine())
        assert _portal.run(mine()) is first
        _portal.close()
        _portal.close()
        assert first.is_closed()
        second = _portal.run(mine())
        assert second is not first
        _portal.close()
        done.append(1)

    done: list[int] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


@pytest.mark.contract("V-28")
def test_sync_runs_need_no_event_loop() -> None:
    """A sync flow with called, retried, delayed and submitted tasks does not even import asyncio."""
    source = """
import sys
from mainspring import flow, task
calls = []
@task(retries=1, retry_delay_seconds=0.001)
def work(x):
    calls.append(1)
    if len(calls) == 1:
        raise ValueError
    return x
@flow
def pipeline():
    return work(1), work.submit(2).result()
assert pipeline() == (1, 2)
assert "asyncio" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", source], check=True, capture_output=True)


@pytest.mark.contract("X-30")
def test_a_flow_in_a_task_group_that_is_cancelled() -> None:
    """The flow run and the task run inside of it crash, and the cancellation stays anyio's."""

    @task
    async def work() -> None:
        started.set()
        await anyio.sleep(3600)

    @flow
    async def pipeline() -> None:
        await work()

    async def main() -> None:
        nonlocal started
        started = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(pipeline)
            await started.wait()
            group.cancel_scope.cancel()
        assert group.cancel_scope.cancelled_caught

    started: Any = None
    anyio.run(main)
    assert only_flow_run().state.is_crashed()
    assert "cancelled by the runtime environment" in (only_flow_run().state.message or "")
    assert sequence(task_runs()[0]) == "Pending Running Crashed"


@pytest.mark.contract("X-30")
def test_a_cancelled_flow_with_submitted_tasks() -> None:
    """What runs on threads comes to its end, what has not begun never does, and the flow crashes."""
    gate, running = threading.Event(), threading.Event()

    @task
    def work() -> None:
        running.set()
        gate.wait(30)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    async def pipeline() -> None:
        futures.extend(work.submit() for _ in range(3))
        await futures[0].wait_async()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(pipeline)
            await anyio.to_thread.run_sync(running.wait, 30)
            group.cancel_scope.cancel()

    def open_gate() -> None:
        assert eventually(lambda: futures and futures[-1].is_done())
        gate.set()

    futures: list[Any] = []
    opener = threading.Thread(target=open_gate)
    opener.start()
    anyio.run(main)
    opener.join()
    assert only_flow_run().state.is_crashed()
    assert [future.state.name for future in futures] == ["Completed", "Cancelled", "Cancelled"]
    assert [sequence(run) for run in task_runs()] == ["Pending Running Completed"]
