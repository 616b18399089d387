"""What is around what in one run, seen from the user's code, and what a run does not need."""

import asyncio
import builtins
import inspect
import signal
import socket
from typing import Any

import pytest

from mainspring import clock, task
from mainspring.client import AsyncClient, Client, get_client
from mainspring.context import TaskRunContext
from mainspring.exceptions import UpstreamTaskError
from mainspring.logging import get_run_logger
from mainspring.states import Completed, Failed, State
from mainspring.task_engine import SyncTaskRunEngine
from mainspring.transactions import get_transaction
from tests.engine.clocks import JumpingClock
from tests.engine.history import messages, only_task_run, sequence
from tests.engine.scenarios import BoomError
from tests.engine.traces import Trace

PRINT = builtins.print


def seen() -> str:
    """What is around the code that asks: the run, its time limit, a transaction; in this order."""
    limit = signal.getitimer(signal.ITIMER_REAL)[0] > 0
    parts = {"run": TaskRunContext.get(), "limit": limit, "transaction": get_transaction()}
    return " ".join(name for name, there in parts.items() if there)


@pytest.mark.contract("E-24", "E-32", "X-8", "H-6", "H-7")
def test_what_is_around_what() -> None:
    """Names, conditions and hooks are inside of the run alone, the function also of limit and transaction.

    The transaction is committed within the attempt; hooks follow, then the finished message; then the client is gone.
    """
    trace = Trace()
    engine: Any = None

    def name() -> str:
        trace.add("name", seen())
        return "named"

    def hook(kind: str) -> Any:
        def call(*_: Any) -> None:
            trace.add(kind, seen())
            assert engine.client is not None

        call.__name__ = kind
        return call

    def condition(*_: Any) -> bool:
        trace.add("condition", seen())
        return True

    @task(
        retries=1,
        timeout_seconds=100,
        task_run_name=name,
        retry_condition_fn=condition,
        on_running=[hook("running")],
        on_commit=[hook("commit")],
        on_completion=[hook("completion")],
    )
    def work() -> None:
        trace.add("function", seen())
        if TaskRunContext.get().task_run.run_count == 1:  # type: ignore[union-attr]
            raise BoomError

    with trace.recording():
        engine = SyncTaskRunEngine[Any, Any](task=work)
        with engine.start():
            while engine.is_running():
                with engine.run_context(), engine.transaction_context() as transaction:
                    engine.call_task_fn(transaction)
    trace.add("after", seen())
    with pytest.raises(RuntimeError, match="not started"):
        engine.client  # noqa: B018
    told = [event if event[0] != "log" else ("log", event[2].split("(")[0]) for event in trace.events]
    wanted = ("name", "running", "function", "condition", "commit", "completion", "after")
    kept = [event for event in told if event[0] in wanted or event == ("log", "Finished in state Completed")]
    assert kept == [
        ("name", "run"),
        ("running", "run"),
        ("function", "run limit transaction"),
        ("condition", "run"),
        ("running", "run"),
        ("function", "run limit transaction"),
        ("commit", "run transaction"),
        ("completion", "run"),
        ("log", "Finished in state Completed"),
        ("after", ""),
    ]


@pytest.mark.contract("E-33", "E-34", "E-87")
def test_the_context_of_an_attempt() -> None:
    """Each attempt has a context of its own, later than the one before, with the live run and what was resolved."""
    contexts: list[Any] = []
    prints: list[Any] = []

    @task(retries=2, log_prints=True)
    def work(x: int) -> None:
        contexts.append(TaskRunContext.get())
        prints.append(builtins.print)
        print("hello", len(contexts))
        assert get_run_logger().extra["task_run_id"] == str(contexts[-1].task_run.id)  # type: ignore[union-attr,index]
        raise BoomError

    engine = SyncTaskRunEngine[Any, Any](task=work, parameters={"x": Completed(data=5)})
    with clock.use_clock(JumpingClock(tick=1)), engine.start():
        while engine.is_running():
            with engine.run_context(), engine.transaction_context() as transaction:
                engine.call_task_fn(transaction)
    assert len({id(context) for context in contexts}) == 3
    times = [context.start_time for context in contexts]
    assert times == sorted(set(times))
    assert all(context.task_run is engine.task_run and context.task is work for context in contexts)
    assert [context.parameters for context in contexts] == [{"x": 5}] * 3
    assert [message for message in messages() if "hello" in message] == ["hello 1", "hello 2", "hello 3"]
    assert PRINT not in prints
    assert builtins.print is PRINT
    assert engine.logger.extra["task_run_id"] == str(engine.task_run.id)  # type: ignore[union-attr]


@pytest.mark.contract("E-91", "W-11")
def test_jitter_is_reported() -> None:
    """The policy that is kept with a run has the factor, as it has the retries and their delays."""

    @task(retries=2, retry_delay_seconds=[1, 2.5], retry_jitter_factor=0.5)
    def work() -> None: ...

    work()
    assert only_task_run().empirical_policy == {
        "retries": 2,
        "retry_delay": [1.0, 2.5],
        "retry_jitter_factor": 0.5,
    }


@pytest.mark.contract("W-20")
def test_the_upstream_error_says_what_is_known() -> None:
    """It has the upstream's own message, its id if there is one, and says nothing of an id if there is none."""

    @task
    def work(x: Any) -> None: ...

    @task
    def fails() -> None:
        raise BoomError("the disk is full")

    with pytest.raises(UpstreamTaskError) as caught:
        work(Failed(message="by hand"))
    assert "by hand" in str(caught.value)
    assert "None" not in str(caught.value)
    state = fails(return_state=True)
    with pytest.raises(UpstreamTaskError) as caught:
        work(state)
    assert "the disk is full" in str(caught.value)
    assert str(state.state_details.task_run_id) in str(caught.value)


@pytest.mark.contract("W-27")
@pytest.mark.parametrize("is_async", [False, True])
def test_a_run_needs_no_network(is_async: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task runs and is recorded where nothing can be connected to."""

    @task(retries=1, on_completion=[lambda *_: None])
    def work() -> int:
        return 1

    @task(retries=1, on_completion=[lambda *_: None])
    async def awork() -> int:
        return 1

    async def main() -> int:  # the loop itself is made before: it wakes itself through a pair of sockets
        refuse()
        return await awork()

    def refuse() -> None:
        def no_network(*_: Any, **__: Any) -> None:
            raise AssertionError("a socket was opened")

        monkeypatch.setattr(socket, "socket", no_network)
        monkeypatch.setattr(socket, "create_connection", no_network)

    if is_async:
        assert asyncio.run(main()) == 1
    else:
        refuse()
        assert work() == 1
    assert sequence() == "Pending Running Completed"


@pytest.mark.contract("W-28")
def test_names_tell_what_has_to_be_awaited() -> None:
    """A plain name gives a value wherever it is called, its twin a coroutine; nobody looks at the caller."""

    @task
    def work() -> int:
        return 1

    async def main() -> list[Any]:
        state = work(return_state=True)
        coroutine = state.aresult()
        return [state.result(), await coroutine, get_client().read_task_runs()[0].state.name]

    assert asyncio.run(main()) == [1, 1, "Completed"]
    coroutine = Completed(data=2).aresult()
    assert inspect.iscoroutine(coroutine)
    coroutine.close()
    for kind in (State, Client, AsyncClient):
        for name, member in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_") and hasattr(kind, f"a{name}"):
                assert not inspect.iscoroutinefunction(member)
                assert inspect.iscoroutinefunction(getattr(kind, f"a{name}"))
