"""The thread that knows what is due when."""

import os
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring._engine import deadlines
from mainspring._engine.deadlines import FEW, DueCall, call_at

PATIENCE = 20.0


class Standing(threading.Thread):
    """A thread that was never started: the test takes the calls itself."""


def standing_queue(patched: pytest.MonkeyPatch) -> deadlines._Queue:
    """A queue whose thread does nothing, in place of that of the process."""
    queue = deadlines._Queue()
    queue._thread = Standing()
    patched.setattr(deadlines, "_queue", queue)
    return queue


def take_all(queue: deadlines._Queue) -> list[Callable[[], object]]:
    """What the queue gives, until it is empty."""
    found = []
    while queue._calls:
        with queue._due:
            call = queue._next()
        if call is not None:
            found.append(call)
    return found


@given(st.lists(st.tuples(st.integers(-50, 0), st.booleans())), st.randoms(use_true_random=False))
def test_what_is_due_is_called_in_its_order(plan: list[tuple[int, bool]], random: object) -> None:
    """Whatever was called off, in whatever order: the rest is called once, soonest first, equal ones as they came."""
    with pytest.MonkeyPatch.context() as patched:
        queue = standing_queue(patched)
        calls: list[tuple[int, int]] = []
        dues: list[tuple[DueCall, bool]] = []
        for number, (when, is_wanted) in enumerate(plan):
            dues.append((call_at(float(when), lambda key=(when, number): calls.append(key)), is_wanted))  # type: ignore[misc]
        for due, is_wanted in dues:
            if not is_wanted:
                due.cancel()
                due.cancel()
        for call in take_all(queue):
            call()
    wanted = [(when, number) for number, (when, is_wanted) in enumerate(plan) if is_wanted]
    assert calls == sorted(wanted)


def test_what_was_called_off_does_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many deadlines there were, the queue is about as long as those that still count."""
    queue = standing_queue(monkeypatch)
    later = time.monotonic() + 1000
    kept = [call_at(later, lambda: None) for _ in range(10)]
    for number in range(5000):
        call_at(later + number, lambda: None).cancel()
        assert len(queue._calls) <= len(kept) + 2 * FEW + 2


def test_who_comes_later_wakes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread sleeps until the first deadline, though it was called off; only a sooner one has it look again."""
    queue = standing_queue(monkeypatch)
    woken: list[bool] = []
    monkeypatch.setattr(queue._due, "notify", lambda: woken.append(True))
    first = time.monotonic() + 1000
    waits: list[float] = []
    call_at(first, lambda: None).cancel()
    monkeypatch.setattr(queue._due, "wait", lambda _: waits.append(queue._wakes_at))
    with queue._due:
        assert queue._next() is None
    assert waits == [first]
    queue._wakes_at = first  # it is asleep
    for number in range(10):
        call_at(first + number, lambda: None).cancel()
    assert not woken
    call_at(first - 1, lambda: None)
    assert woken == [True]


def test_a_call_that_fails_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The thread reports it, and goes on with what is due next."""
    over = threading.Event()

    def fail() -> None:
        raise ValueError("not today")

    call_at(time.monotonic(), fail)
    call_at(time.monotonic() + 0.001, over.set)
    assert over.wait(PATIENCE)
    assert "What was due could not be done" in caplog.text


def test_a_sooner_deadline_overtakes_the_one_that_is_waited_for() -> None:
    """The thread looks again when something comes that is due earlier."""
    over = threading.Event()
    late = call_at(time.monotonic() + 1000, lambda: None)
    call_at(time.monotonic(), over.set)
    assert over.wait(PATIENCE)
    late.cancel()


def test_a_forked_child_has_deadlines_of_its_own() -> None:
    """It can call off what its parent has asked for, and be called itself, although the thread is not there."""
    inherited = call_at(time.monotonic() + 1000, lambda: None)
    with deadlines._queue._due:  # somebody holds the lock in the very moment of the fork
        child = os.fork()
        if child == 0:
            over = threading.Event()
            inherited.cancel()
            call_at(time.monotonic(), over.set)
            os._exit(0 if over.wait(PATIENCE) else 1)
    _, status = os.waitpid(child, 0)
    inherited.cancel()
    assert status == 0
