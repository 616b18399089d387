"""Futures: many at a time, dropped ones, and resolving."""

import gc
import logging
import threading
import time
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.annotations import quote
from mainspring.exceptions import UnfinishedRun
from mainspring.futures import FutureList, as_completed, resolve_futures_to_results, wait
from mainspring.settings import temporary_settings
from mainspring.states import Completed, Failed, Pending
from tests.engine.scenarios import BoomError
from tests.runners.making import made, settle


def dropped(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The lines about dropped futures: level and text."""
    gc.collect()
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if "garbage collected before it resolved" in record.getMessage()
    ]


@pytest.mark.contract("T-104", "FU-10")
def test_a_future_that_is_dropped_too_early(caplog: pytest.LogCaptureFixture) -> None:
    """A warning names the run; the run itself goes on."""
    gate, done = threading.Event(), threading.Event()

    @task
    def work() -> None:
        gate.wait(30)
        done.set()

    @flow
    def pipeline() -> str:
        run_id = str(work.submit().task_run_id)
        gate.set()
        assert done.wait(30)
        return run_id

    run_id = pipeline()
    ((level, text),) = dropped(caplog)
    assert level == "WARNING"
    assert run_id in text


@pytest.mark.contract("T-104", "FU-10")
def test_futures_that_may_be_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """One whose run is over may go without a word, whether it went well, failed or was cancelled."""
    cancelled = made()
    cancelled.wrapped_future.cancel()
    futures = [made(1), made(state=Failed(data=BoomError())), cancelled]
    del cancelled
    futures.clear()
    assert dropped(caplog) == []


@pytest.mark.contract("FU-10")
def test_dropped_futures_without_warnings(caplog: pytest.LogCaptureFixture) -> None:
    """With the setting off, the line is for debugging only."""
    caplog.set_level(logging.DEBUG)
    with temporary_settings({"tasks.runner.warn_of_dropped_futures": False}):
        made()
        assert [level for level, _ in dropped(caplog)] == ["DEBUG"]


@pytest.mark.contract("FU-26")
def test_a_list_fails_with_the_first_failure_in_time() -> None:
    """It is raised while others, before and after it in the list, have not ended."""
    hanging, failing, late = made(), made(), made()
    futures: FutureList[Any] = FutureList([hanging, failing, late])
    threading.Timer(0.01, lambda: settle(failing, state=Failed(data=BoomError("first")))).start()
    with pytest.raises(BoomError, match="first"):
        futures.result(timeout=30)
    assert not hanging.is_done()
    for future in (hanging, late):
        settle(future, 1)


@pytest.mark.contract("FU-26")
def test_a_list_that_returns_failures_waits_for_all() -> None:
    """With ``raise_on_failure=False`` a failure is a value like others."""
    slow = made()
    futures: FutureList[Any] = FutureList([made(state=Failed(data=BoomError())), slow])
    threading.Timer(0.01, lambda: settle(slow, 2)).start()
    first, second = futures.result(timeout=30, raise_on_failure=False)
    assert (type(first), second) == (BoomError, 2)


@pytest.mark.contract("FU-26")
def test_the_same_future_twice_in_a_list() -> None:
    """Its result is there twice, in place."""
    one, two = made(), made(2)
    futures: FutureList[Any] = FutureList([one, two, one])
    threading.Timer(0.01, lambda: settle(one, 1)).start()
    assert futures.result(timeout=30) == [1, 2, 1]
    assert FutureList([]).result(timeout=0) == []


@pytest.mark.contract("FU-26", "FU-29", "FU-16")
@pytest.mark.parametrize("in_worker", [False, True])
def test_a_list_that_runs_out_of_time(in_worker: bool) -> None:
    """Its own message counts what is missing, in every thread; no time left is enough for what is done."""
    hanging = made()
    futures: FutureList[Any] = FutureList([made(1), hanging, made(3)])
    errors: list[BaseException] = []

    def read() -> None:
        try:
            futures.result(timeout=0.01)
        except TimeoutError as error:
            errors.append(error)

    if in_worker:
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    else:
        read()
    (error,) = errors
    assert str(error) == "1 (of 3) futures unfinished within 0.01 second(s)"
    assert FutureList([made(1)]).result(timeout=0) == [1]
    settle(hanging, 2)


@pytest.mark.contract("FU-26")
def test_a_list_refuses_negative_times() -> None:
    """Nobody can wait for less than nothing."""
    with pytest.raises(ValueError, match="must be >= 0"):
        FutureList([made(1)]).result(timeout=-1)


@pytest.mark.contract("FU-29")
def test_as_completed_gives_up_by_itself() -> None:
    """It stops waiting when the time is over, in any thread, with nobody to interrupt it."""
    hanging = made()
    errors: list[str] = []

    def read() -> None:
        try:
            list(as_completed([hanging], timeout=0.01))
        except TimeoutError as error:
            errors.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    thread.join(30)
    assert errors == ["1 (of 1) futures unfinished"]
    settle(hanging, 1)


@pytest.mark.contract("FU-25", "FU-18")
def test_waiting_for_many_does_not_depend_on_their_order() -> None:
    """A future that hangs hides none of those that are done after it."""
    hanging = made()
    others = [made() for _ in range(5)]
    for future in others:
        threading.Timer(0.001, lambda future=future: settle(future, 1)).start()
    end = time.monotonic() + 30
    while len(wait([hanging, *others], timeout=0.02).done) < 5:
        assert time.monotonic() < end
    assert wait([hanging, *others], timeout=0).not_done == {hanging}
    settle(hanging, 1)


@pytest.mark.contract("FU-9")
def test_a_plain_value_in_a_wrapped_future() -> None:
    """It is returned as it is, and counts as completed."""
    future = made()
    future.wrapped_future.set_result(5)
    assert future.result() == 5
    assert future.state.is_completed()
    assert future.state.result() == 5


def test_an_interrupt_while_waiting_is_no_timeout() -> None:
    """What ends the waiting from outside is passed on as it is."""

    class Wrapped:
        def done(self) -> bool:
            return False

        def add_done_callback(self, callback: object) -> None:
            raise KeyboardInterrupt

    future = made(1)
    future.wrapped_future = Wrapped()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        future.result(timeout=1)
    future.wrapped_future = made(1).wrapped_future


def test_futures_resolved_to_results() -> None:
    """Futures at any depth become their results, what is quoted stays, and what did not complete raises."""
    value = [made(1), {"k": (made(state=Completed(data="x")), 2)}]
    assert resolve_futures_to_results(value) == [1, {"k": ("x", 2)}]
    for untouched in ([1, {"x": (2,)}], quote([made(1)])):
        assert resolve_futures_to_results(untouched) is untouched
    with pytest.raises(BoomError):
        resolve_futures_to_results([made(1), made(state=Failed(data=BoomError()))])
    with pytest.raises(UnfinishedRun):
        resolve_futures_to_results(made(state=Pending(name="NotReady")))
