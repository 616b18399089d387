"""Futures of runs that are known by their ids, in this process and in others."""

import asyncio
import logging
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from mainspring import flow, futures, task
from mainspring.exceptions import FailedRun, MissingResult
from mainspring.flow_engine import run_flow
from mainspring.futures import DistributedFuture, FlowRunFuture, FutureList, as_completed, lookout, wait
from mainspring.recording import close_recorders, current_recorder
from mainspring.task_engine import run_task
from tests.engine.scenarios import BoomError
from tests.runners.making import eventually
from tests.runners.programs import Program

SLOW_TASK = """
@task(persist_result=True)
def work():
    ids()
    wait()
    return 42

work()
"""
SLOW_FLOW = """
@flow(persist_result=True)
def pipeline():
    ids()
    wait()
    return [42]

pipeline()
"""


@task(persist_result=True)
def answer() -> int:
    return 42


@task
def fleeting() -> int:
    return 42


def run_with_id(subject: Any = answer) -> UUID:
    """Run a task under an id that is known, and return that."""
    run_id = uuid4()
    run_task(subject, run_id, return_type="state")
    return run_id


class Gated:
    """A task that runs in a thread of its own, under a known id, until it is told to end."""

    def __init__(self, error: Exception | None = None, **options: Any) -> None:
        self.id = uuid4()
        self._gate = threading.Event()
        self._begun = threading.Event()

        def work() -> int:
            self._begun.set()
            self._gate.wait(30)
            if error is not None:
                raise error
            return 42

        subject = task(persist_result=True, **options)(work)
        arguments = {"task_run_id": self.id, "return_type": "state"}
        self._thread = threading.Thread(target=run_task, args=(subject,), kwargs=arguments)
        self._thread.start()
        self._begun.wait(30)

    def end(self) -> None:
        """Let it end, and wait for that."""
        self._gate.set()
        self._thread.join()


@pytest.fixture
def gated() -> Iterator[Gated]:
    """A task run that goes on as long as the test does not end it."""
    run = Gated()
    yield run
    run.end()


# What they are


@pytest.mark.contract("FU-11")
def test_futures_of_one_run_are_equal() -> None:
    """Equality and hash are those of the id, in whatever form it was given."""
    run_id = uuid4()
    one, other = DistributedFuture[int](run_id), DistributedFuture[int](str(run_id))
    assert one == other
    assert len({one, other, DistributedFuture(uuid4())}) == 2
    assert one != "something else"
    assert one.task_run_id == run_id


@pytest.mark.contract("FU-1", "N-4")
def test_what_there_is() -> None:
    """The module offers the futures of all kinds, waiting for many, and values without futures."""
    names = "Future ConcurrentFuture DistributedFuture FlowRunFuture FutureList wait as_completed"
    names += " DoneAndNotDoneFutures resolve_futures_to_states resolve_futures_to_results"
    assert set(names.split()) <= set(futures.__all__)


@pytest.mark.parametrize("kind", [DistributedFuture, FlowRunFuture])
def test_a_handle_travels(kind: Any) -> None:
    """It can be sent to other processes, as what counts is the id."""
    future = kind(uuid4())
    assert pickle.loads(pickle.dumps(future)).run_id == future.run_id


@pytest.mark.contract("FU-3", "FU-12")
def test_a_run_that_is_over() -> None:
    """Its state is known at once, and nobody has to wait."""
    future = DistributedFuture[int](run_with_id())
    assert future.state.is_completed()
    future.wait()
    assert future.result(timeout=0) == 42
    assert future.is_done()


@pytest.mark.contract("FU-3")
def test_a_run_that_nobody_knows() -> None:
    """It counts as pending."""
    assert DistributedFuture(uuid4()).state.is_pending()
    assert FlowRunFuture(uuid4()).state.is_pending()


@pytest.mark.contract("FU-3", "FU-4", "FU-5")
@pytest.mark.parametrize("kind", [DistributedFuture, FlowRunFuture])
def test_a_run_that_never_appears(kind: Any) -> None:
    """Waiting gives up in time and tells nothing; asking for the result names the run and the time."""
    future = kind(uuid4())
    future.wait(0.02)
    assert not future.is_done()
    with pytest.raises(TimeoutError, match=rf"run {future.run_id} did not complete within 0.02 second\(s\)"):
        future.result(timeout=0.02)


@pytest.mark.contract("FU-13")
def test_a_result_that_is_not_kept() -> None:
    """It cannot be had from elsewhere, not even in the process that has computed it."""
    future = DistributedFuture[int](run_with_id(fleeting))
    with pytest.raises(MissingResult):
        future.result()


@pytest.mark.contract("FU-6", "FU-11")
def test_a_failed_run() -> None:
    """Its exception is raised, or returned if it is asked for."""
    run = Gated(BoomError("kept"))
    future = DistributedFuture[int](run.id)
    run.end()
    with pytest.raises(BoomError, match="kept"):
        future.result()
    assert isinstance(future.result(raise_on_failure=False), BoomError)


# Runs of this process


@pytest.mark.contract("FU-11", "FU-12")
def test_the_end_of_a_run_here(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits is woken by it: nobody has to read the history again and again."""
    monkeypatch.setattr(lookout, "SOON", 60)
    future = DistributedFuture[int](gated.id)
    assert future.state.is_running()
    ending = threading.Timer(0.01, gated.end)
    ending.start()
    future.wait(30)
    ending.join()
    assert future.is_done()
    assert future.result() == 42


@pytest.mark.contract("FU-12", "FU-30")
@pytest.mark.parametrize("name", ["Cached", "TimedOut"])
def test_final_states_of_any_name(name: str) -> None:
    """What counts is the type of the state: names of all kinds wake those that wait."""
    if name == "Cached":
        cached = task(persist_result=True, result_storage_key="one", cache_result_in_memory=False)(lambda: 42)
        run_task(cached)
        run_id = uuid4()
        future = DistributedFuture[int](run_id)
        threading.Timer(0.02, run_task, (cached, run_id)).start()
        future.wait(30)
        assert future.result() == 42
    else:
        slow = task(timeout_seconds=0.02)(lambda: time.sleep(0.05))
        run_id = uuid4()
        future = DistributedFuture(run_id)
        options = {"task_run_id": run_id, "return_type": "state"}
        threading.Timer(0.01, run_task, (slow,), options).start()
        future.wait(30)
        with pytest.raises(FailedRun, match="exceeded timeout"):
            future.result()
    assert future.state.name == name


@pytest.mark.contract("FU-11")
def test_waiting_in_async_code(gated: Gated) -> None:
    """The event loop goes on meanwhile; giving up tells nothing."""
    future = DistributedFuture[int](gated.id)

    async def main() -> int:
        await future.wait_async(0.01)
        assert not future.is_done()
        with pytest.raises(TimeoutError, match=str(gated.id)):
            await future.result_async(timeout=0.01)
        ending = asyncio.get_running_loop().run_in_executor(None, gated.end)
        value = await future.result_async(timeout=30)
        await ending
        return value

    assert asyncio.run(main()) == 42


@pytest.mark.contract("FU-14")
def test_callbacks(gated: Gated) -> None:
    """Each is called once, in the order in which they came, with the future; one that fails stops no other."""
    future = DistributedFuture[int](gated.id)
    calls: list[Any] = []
    called = threading.Event()

    def fail(_: object) -> None:
        calls.append("fails")
        raise BoomError

    future.add_done_callback(lambda which: calls.append(which is future))
    future.add_done_callback(fail)
    future.add_done_callback(lambda _: calls.append("third"))
    future.add_done_callback(lambda _: called.set())
    assert calls == []
    gated.end()
    assert called.wait(30)
    assert calls == [True, "fails", "third"]
    future.add_done_callback(lambda _: calls.append("late"))
    assert calls[3:] == ["late"]


@pytest.mark.contract("FU-14")
def test_a_callback_on_a_run_that_is_over() -> None:
    """It is called before the registration returns."""
    calls: list[Any] = []
    DistributedFuture[int](run_with_id()).add_done_callback(calls.append)
    assert len(calls) == 1


@pytest.mark.contract("FU-11", "FU-16", "FU-18", "FU-19")
def test_many_at_once(gated: Gated) -> None:
    """They work where other futures do, also beside them."""
    over, hanging = DistributedFuture[int](run_with_id()), DistributedFuture[int](gated.id)
    assert wait([over, hanging], timeout=0.01) == ({over}, {hanging})
    threading.Timer(0.01, gated.end).start()
    assert list(as_completed([hanging, over], timeout=30)) == [over, hanging]
    assert FutureList([hanging, over]).result(timeout=30) == [42, 42]


@pytest.mark.contract("FU-11")
def test_as_input_of_tasks_and_flows(gated: Gated) -> None:
    """They are waited for and replaced by their results, as arguments and in what flows return."""

    @task
    def double(x: int) -> int:
        return 2 * x

    @flow
    def pipeline(x: int) -> Any:
        assert double(DistributedFuture(gated.id)) == 84  # type: ignore[arg-type]
        return double.submit(x, wait_for=[DistributedFuture(gated.id)]), DistributedFuture(gated.id)

    threading.Timer(0.01, gated.end).start()
    states = pipeline(DistributedFuture(gated.id))  # type: ignore[arg-type]
    assert [state.result() for state in states] == [84, 42]


@pytest.mark.contract("FU-28")
def test_a_flow_run() -> None:
    """Any flow run of the history has a future, by its id."""

    @flow(persist_result=True)
    def pipeline() -> list[int]:
        return [42]

    state = run_flow(pipeline, return_type="state")
    future = FlowRunFuture[list[int]](state.state_details.flow_run_id)
    assert future.flow_run_id == state.state_details.flow_run_id
    assert future.result() == [42]
    assert asyncio.run(future.aresult()) == [42]
    calls: list[Any] = []
    future.add_done_callback(calls.append)
    assert calls == [future]


# Runs of other processes


@pytest.mark.contract("FU-11", "FU-12", "FU-31")
def test_a_task_run_of_another_process(tmp_path: Path) -> None:
    """Its end is found in the history, and its result where it was kept."""
    with Program(tmp_path, SLOW_TASK) as program:
        future = DistributedFuture[int](program.read())
        assert eventually(lambda: future.state.is_running())
        future.wait(0.02)
        assert not future.is_done()
        program.go_on()
        assert future.result(timeout=30) == 42


@pytest.mark.contract("FU-28", "FU-31")
def test_a_flow_run_of_another_process(tmp_path: Path) -> None:
    """The same for flow runs, and in async code."""
    with Program(tmp_path, SLOW_FLOW) as program:
        future = FlowRunFuture[list[int]](program.read())
        calls: list[Any] = []
        future.add_done_callback(calls.append)
        program.go_on()
        assert asyncio.run(future.aresult(timeout=30)) == [42]
        assert eventually(lambda: calls == [future])


@pytest.mark.contract("FU-31")
def test_a_run_whose_process_dies(tmp_path: Path) -> None:
    """Whoever waits for it sees to it that it is found dead."""
    with Program(tmp_path, SLOW_FLOW) as program:
        future = FlowRunFuture[Any](program.read())
        assert eventually(lambda: future.state.is_running())
        program.kill()
        future.wait(30)
        assert future.state.is_crashed()


@pytest.mark.contract("FU-28")
def test_a_run_that_is_resumed_elsewhere(tmp_path: Path) -> None:
    """While another process goes on with it, it is not over, and then it is what that has made of it."""
    text = """
    import os
    from pathlib import Path
    from mainspring import resume_flow_run

    @flow(persist_result=True)
    def pipeline():
        if not Path(__file__).with_name("failed").exists():
            Path(__file__).with_name("failed").touch()
            ids()
            raise ValueError
        ids()
        wait()
        return [42]

    if __name__ == "__main__":
        try:
            pipeline()
        except ValueError:
            wait()
            resume_flow_run(sys.stdin.readline().strip())
    """
    with Program(tmp_path, text) as program:
        run_id = program.read()
        failed = FlowRunFuture[Any](run_id)
        failed.wait(30)
        assert failed.state.is_failed()
        program.go_on()
        assert program.process.stdin is not None
        program.process.stdin.write(f"{run_id}\n")
        program.process.stdin.flush()
        assert program.read() == run_id
        future = FlowRunFuture[Any](run_id)
        assert eventually(lambda: future.state.is_running())
        program.go_on()
        assert future.result(timeout=30) == [42]
        assert failed.state.is_failed()


# The thread


def lookouts() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mainspring-lookout"]


@pytest.mark.contract("FU-18", "FU-31")
@pytest.mark.parametrize(
    "give_up", [wait, lambda futures, timeout: next(as_completed(futures, timeout), None)]
)
def test_nobody_looks_for_runs_that_nobody_waits_for(give_up: Any) -> None:
    """Who gives up on waiting for many is forgotten by all of them, as if it had waited for each alone."""
    futures: list[DistributedFuture[Any]] = [DistributedFuture(uuid4()) for _ in range(3)]
    try:
        give_up(futures, timeout=0.01)
    except TimeoutError:
        pass
    assert [future._callbacks for future in futures] == [[], [], []]
    assert eventually(lambda: not lookouts())


def test_one_thread_for_all_that_wait(gated: Gated) -> None:
    """However many futures there are, one thread looks for their ends, and it ends with the last of them."""
    handles = [DistributedFuture[int](gated.id) for _ in range(5)] + [DistributedFuture(uuid4())]
    threads = [threading.Thread(target=future.wait, args=(0.1,)) for future in handles]
    for thread in threads:
        thread.start()
    assert eventually(lambda: len(lookouts()) == 1)
    for thread in threads:
        thread.join()
    assert eventually(lambda: lookouts() == [])
    assert not current_recorder()._listeners


def test_a_history_that_cannot_be_read(
    gated: Gated, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A reading that fails is made again later, and nobody is told of a failure."""
    caplog.set_level(logging.DEBUG, "mainspring.futures")
    future = DistributedFuture[int](gated.id)
    failed = threading.Event()
    store = current_recorder().store
    read, is_first = store.read_run, [True]

    def fail_once(key: bytes) -> Any:
        if threading.current_thread() in lookouts() and is_first:
            is_first.clear()
            failed.set()
            raise BoomError("cannot be read")
        return read(key)

    monkeypatch.setattr(store, "read_run", fail_once)
    waiting = threading.Thread(target=future.wait, args=(30,))
    waiting.start()
    assert failed.wait(30)
    gated.end()
    waiting.join()
    assert future.is_done()
    assert any("could not be read" in record.getMessage() for record in caplog.records)


def test_a_store_that_is_closed_while_somebody_waits(tmp_path: Path) -> None:
    """They go on waiting by the one that is opened next."""
    with Program(tmp_path, SLOW_TASK) as program:
        future = DistributedFuture[int](program.read())
        waiting = threading.Thread(target=future.wait, args=(60,))
        waiting.start()
        assert eventually(lambda: lookouts() != [])
        close_recorders()
        program.go_on()
        assert program.finish() == 0
        waiting.join()
        assert future.result(timeout=0) == 42
