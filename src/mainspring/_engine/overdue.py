"""Attempts that do not end at their deadline: another thread settles them, and what comes of them counts no more.

A limit first tries to end the function of the run, by an alarm, an exception or a cancellation. A call that blocks
hears of none of these, and a function may ignore them. So a moment after the deadline the attempt is taken from its
thread:

1. it is recorded as timed out, its transaction is rolled back, and what it holds of limits and locks is free;
2. if its thread is one of a task runner, whoever waits for the run gets its outcome, the runner has another thread in
   its place, and that goes on with the run if a retry is left;
3. the thread that was given up learns of it when its function ends, and leaves without a word. In other threads, the
   caller is in there: it goes on then, with the outcome that was recorded.

From 1 on, the engine belongs to the thread that settles. States that are entered by any other are refused.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import traceback
from functools import partial
from typing import Any

from mainspring._cancel_scopes import CancelScope, Stop, StopKind, inside, live
from mainspring._engine.deadlines import call_at
from mainspring._engine.stopping import interrupt_all
from mainspring._engine.tracebacks import is_own
from mainspring._portal import finish
from mainspring.concurrency import release_left_over
from mainspring.exceptions import RunCancelled
from mainspring.logging import engine_logs
from mainspring.transactions.settling import release

__all__ = ["GRACE", "GivenUp", "Overdue", "end_suspended"]

GRACE = 0.02
"""Seconds after the deadline in which a function may end by itself."""


_NOBODY = 0
"""No thread has this number: nobody enters states of a run any more."""


class GivenUp(BaseException):
    """Leaves a thread whose run was taken from it and goes on, or has ended, elsewhere."""


class Overdue:
    """Watches one attempt whose limit its function may not notice.

    To be made in the thread of the attempt, in its context.

    Args:
        engine: The engine of the run.
        limit: The limit; its ``error`` says that it has expired.
        deadline: When it expires, by the monotonic clock.
    """

    __slots__ = (
        "_context",
        "_done",
        "_due",
        "_engine",
        "_is_over",
        "_limit",
        "_lock",
        "_problem",
        "is_taken",
        "thread",
    )

    def __init__(self, engine: Any, limit: Any, deadline: float) -> None:
        self._engine = engine
        self._limit = limit
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._is_over = False
        self._problem: BaseException | None = None
        self.is_taken = False
        self.thread = threading.get_ident()
        self._due = call_at(deadline + GRACE, self._take)

    def end(self) -> None:
        """The function has ended. If the attempt was taken, wait until it is settled. May be called twice.

        Raises:
            GivenUp: Somebody else goes on with the run.
        """
        with self._lock:
            if not self.is_taken:
                self._is_over = True
                self._due.cancel()
                return
        self._done.wait()
        if self._engine.is_given_up:
            raise GivenUp
        if self._problem is not None:
            raise self._problem

    # In the thread that settles

    def _take(self) -> None:
        with self._lock:
            if self._is_over:
                return
            self.is_taken = True
        try:
            work = partial(self._context.run, self._settle)
            threading.Thread(target=work, name="mainspring-settler", daemon=True).start()
        except (
            RuntimeError
        ):  # the system has no more threads to give, and this is the most urgent work there is
            self._context.run(self._settle)

    def _settle(self) -> None:
        engine = self._engine
        try:
            scope: CancelScope = engine._cancel_scope
            engine.settler = threading.get_ident()
            error = self._limit.error or self._limit.expire()
            stop = Stop(StopKind.GIVEN_UP, f"{error} What it had begun was given up.")
            inner = [each for each in inside(scope) if each is not scope]
            stuck = [each for each in inner if each.thread == self.thread]
            for each in stuck:
                each.engine.settler = engine.settler
            scope.stop(stop)
            interrupt_all([each for each in inner if each.thread != self.thread])
            self._report()
            for each in sorted(stuck, key=lambda each: -sum(1 for _ in each.around())):
                _end_inner(each.engine, stop)
            self._end_attempt(error)
        except BaseException as problem:  # told to whoever waits for the run
            self._problem = problem
            if engine.hand_over is not None:
                engine.is_given_up = True
                engine.hand_over(None, problem)
        finally:
            self._done.set()

    def _end_attempt(self, error: TimeoutError) -> None:
        engine = self._engine
        engine.hands_on = True
        finish(engine.handle_timeout(error))
        release_left_over(engine.run.key)
        _roll_back(engine)
        goes_on = engine.is_running()
        if not goes_on:
            _end_run(engine)
        if engine.hand_over is not None:
            engine.is_given_up = True
            engine.hand_over(engine.retries if goes_on else None, None)
        elif goes_on:
            engine.hands_on, engine.settler = False, None

    def _report(self) -> None:
        """Say, once for each attempt, what blocks where."""
        engine = self._engine
        if not engine_logs(30):
            return
        thread = next((each for each in threading.enumerate() if each.ident == self.thread), None)
        name = "its thread" if thread is None else f"thread {thread.name!r}"
        is_async = self._limit.is_async
        engine.logger.warning(
            "%s %r did not end at its time limit of %g second(s): %s is blocked in %s. %s",
            engine.subject.policy.noun,
            engine.run.name,
            self._limit.seconds,
            f"the event loop of {name}" if is_async else name,
            _place_in(self.thread),
            'Whatever comes of it is refused. `isolation="process"` lets such calls be ended for good.'
            if engine.hand_over is not None
            else "The run is recorded as timed out, and its caller goes on when that call returns.",
        )


def _end_inner(engine: Any, stop: Stop) -> None:
    """Settle a run from outside, which ends with what is around it."""
    finish(engine.handle_crash(RunCancelled(stop.reason)))
    release_left_over(engine.run.key)
    _roll_back(engine)
    _end_run(engine)


def end_suspended(scope: CancelScope) -> None:
    """Settle generators that are suspended inside of a run which was cancelled: nobody may ever go on with them."""
    stop = scope.stopped()
    assert stop is not None
    suspended = [each for each in inside(scope) if each.is_suspended and each is not scope]
    for each in sorted(suspended, key=lambda each: -sum(1 for _ in each.around())):
        engine = each.engine
        if engine is not None:
            engine.settler = threading.get_ident()
            _end_inner(engine, stop)
            engine.settler = _NOBODY  # whoever resumes or closes it learns of it
            live.pop(engine.run.key, None)


def _roll_back(engine: Any) -> None:
    """Roll back the transaction of an attempt, and free its key."""
    txn = getattr(engine, "_transaction", None)
    if txn is not None and not txn.is_pending():
        finish(txn.rollback())
        release(txn)


def _end_run(engine: Any) -> None:
    """What follows the final state of a run, whose thread will not do it."""
    try:
        finish(engine.call_hooks())
    finally:
        engine.log_finished_message()


def _place_in(thread: int) -> str:
    """Where the code of a user is that a thread is in."""
    frame = sys._current_frames().get(thread)
    found: str | None = None
    for each, line in traceback.walk_stack(frame):
        code = each.f_code
        told = f"{code.co_qualname} ({code.co_filename}:{line})"
        found = found or told
        if not is_own(each) and "/lib/python" not in code.co_filename:
            return told
    return found or "code that cannot be seen"
