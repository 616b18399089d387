"""Isolated calls that are told to stop: they end in order if they can, and are killed if not."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mainspring import _portal
from mainspring._cancel_scopes import Stop, StopKind, live
from mainspring._interruption import interrupt
from mainspring.exceptions import CancelledRun, RunCancelled
from mainspring.timeouts import timeout
from tests.engine.history import sequence, task_runs
from tests.isolation import subjects
from tests.runners.making import eventually
from tests.runners.remote import notes
from tests.runners.test_process_ends import is_running


class Unexpected(BaseException):
    """What a thread may be interrupted by."""


@pytest.fixture(autouse=True)
def warm() -> None:
    """There is a process before anything is told to stop."""
    subjects.process_id()


@contextmanager
def meanwhile(folder: Path, act: Callable[[], object]) -> Iterator[None]:
    """Do something in another thread when the task in the block has begun."""

    def work() -> None:
        assert eventually(lambda: notes(folder), 20)
        time.sleep(0.05)
        act()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def stop(kind: StopKind = StopKind.CANCELLED) -> None:
    for scope in list(live.values()):
        scope.stop(Stop(kind, "Somebody has cancelled it."))


def test_a_call_that_ends_in_order(tmp_path: Path) -> None:
    """The function is interrupted, knows that it was cancelled, and tidies up; its process is kept."""
    before = subjects.process_id()
    with meanwhile(tmp_path, stop), pytest.raises(CancelledRun, match="Somebody has cancelled it"):
        subjects.tidy_up(tmp_path)
    assert notes(tmp_path) == ["begun", "ended True"]
    assert sequence(task_runs("tidy_up")[0]) == "Pending Running Cancelling Cancelled"
    assert is_running(before)


def test_an_async_call_that_ends_in_order(tmp_path: Path) -> None:
    """Its coroutine is cancelled."""
    with meanwhile(tmp_path, stop), pytest.raises(CancelledRun, match="Somebody has cancelled it"):
        asyncio.run(subjects.sleep_long(tmp_path))
    assert notes(tmp_path) == ["begun", "ended"]


@pytest.mark.parametrize("how", ["hold_the_interpreter", "swallow_everything"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_call_that_does_not_end(tmp_path: Path, how: str, is_async: bool) -> None:
    """It is killed a moment later."""
    began = time.monotonic()
    call = subjects.block_the_loop if is_async else subjects.go_on
    with meanwhile(tmp_path, stop), pytest.raises(CancelledRun, match="Somebody has cancelled it"):
        _portal.finish(call(how, tmp_path))
    assert time.monotonic() - began < 20
    (pid,) = notes(tmp_path)
    assert eventually(lambda: not is_running(int(pid)), 20)


@pytest.mark.parametrize("kind", [StopKind.GIVEN_UP, StopKind.LOST])
def test_a_call_that_nobody_waits_for(tmp_path: Path, kind: StopKind) -> None:
    """If the run counts no more there is nothing to be tidied up: the process is killed at once."""
    with meanwhile(tmp_path, lambda: stop(kind)), pytest.raises(RunCancelled):
        subjects.tidy_up(tmp_path)
    assert notes(tmp_path) == ["begun"]


def test_nothing_is_written_after_a_cancellation(tmp_path: Path) -> None:
    """Once the run is over its function does nothing more."""
    with meanwhile(tmp_path, stop), pytest.raises(CancelledRun):
        subjects.write_on(tmp_path)
    written = len(notes(tmp_path))
    time.sleep(0.1)
    assert len(notes(tmp_path)) == written


def test_a_run_that_waits_for_a_process(one_worker: None, tmp_path: Path) -> None:
    """Its wait ends."""
    subjects.process_id()
    before = set(live.values())

    def keep_busy() -> None:
        with pytest.raises(CancelledRun, match="This one, too"):
            subjects.tidy_up(tmp_path)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    assert eventually(lambda: notes(tmp_path), 20)
    (other,) = set(live.values()) - before

    def stop_the_other() -> None:
        assert eventually(lambda: len(live) == 2 + len(before), 20)
        for scope in set(live.values()) - before:
            if scope is not other:
                scope.stop(Stop(StopKind.CANCELLED, "Somebody has cancelled it."))

    with meanwhile(tmp_path, stop_the_other), pytest.raises(CancelledRun):
        subjects.add(1)
    assert other.stop(Stop(StopKind.CANCELLED, "This one, too."))
    busy.join()


def test_an_asyncio_cancellation(tmp_path: Path) -> None:
    """Whoever awaits the call goes on at once, and the process is killed."""

    async def main() -> None:
        call = asyncio.ensure_future(subjects.block_the_loop("hold_the_interpreter", tmp_path))
        await asyncio.to_thread(eventually, lambda: notes(tmp_path), 20)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(main())
    (pid,) = notes(tmp_path)
    assert eventually(lambda: not is_running(int(pid)), 20)


def test_an_interrupt_from_the_keyboard(tmp_path: Path) -> None:
    """It crashes the run, and the process is killed."""
    with (
        meanwhile(tmp_path, lambda: os.kill(os.getpid(), signal.SIGINT)),
        pytest.raises(KeyboardInterrupt),
    ):
        subjects.go_on("hold_the_interpreter", tmp_path)
    (pid,) = notes(tmp_path)
    assert not is_running(int(pid))
    assert task_runs("go_on")[0].state.name == "Crashed"


def test_an_exception_of_another_thread(tmp_path: Path) -> None:
    """It is met within a moment, and the process is killed."""
    main = threading.get_ident()
    with meanwhile(tmp_path, lambda: interrupt(main, Unexpected)), pytest.raises(Unexpected):
        subjects.go_on("hold_the_interpreter", tmp_path)
    (pid,) = notes(tmp_path)
    assert not is_running(int(pid))


def test_a_time_limit_of_a_block_around(tmp_path: Path) -> None:
    """An alarm of the block ends the call in it."""
    with pytest.raises(TimeoutError), timeout(0.5):
        subjects.go_on("hold_the_interpreter", tmp_path)
    (pid,) = notes(tmp_path)
    assert not is_running(int(pid))
