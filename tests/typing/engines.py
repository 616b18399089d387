"""What the type checkers infer about the engines when their loop is written by hand."""

from typing import Any, assert_type

from mainspring import State, Transaction, task
from mainspring.client import AsyncClient, Client
from mainspring.runs import TaskRun
from mainspring.task_engine import AsyncTaskRunEngine, SyncTaskRunEngine, run_task
from mainspring.transactions import AsyncTransaction


@task
def work(x: int) -> float:
    return float(x)


@task
async def awork(x: int) -> float:
    return float(x)


def by_hand() -> Any:
    engine = SyncTaskRunEngine[[int], float](task=work, parameters={"x": 1})
    with engine.start():
        assert_type(engine.client, Client)
        while engine.is_running():
            with engine.run_context(), engine.transaction_context() as txn:
                assert_type(txn, Transaction)
                engine.call_task_fn(txn)
    assert_type(engine.state, State)
    assert_type(engine.task_run, TaskRun | None)
    assert_type(engine.retries, int)
    return engine.result()


async def async_by_hand() -> Any:
    engine = AsyncTaskRunEngine[[int], float](task=awork, parameters={"x": 1})
    async with engine.start():
        assert_type(engine.client, AsyncClient)
        while engine.is_running():
            async with engine.run_context(), engine.transaction_context() as txn:
                assert_type(txn, AsyncTransaction)
                await engine.call_task_fn(txn)
    return await engine.result()


async def by_function() -> None:
    assert_type(run_task(work, parameters={"x": 1}), float)
    assert_type(run_task(work, parameters={"x": 1}, return_type="state"), State)
    assert_type(await run_task(awork, parameters={"x": 1}), float)
    assert_type(await run_task(awork, parameters={"x": 1}, return_type="state"), State)
