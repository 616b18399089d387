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

An event loop that turns is not blocked: it was late, or its function takes its time to end, or ignores that it was
cancelled. It gets a moment more. Then its attempt is settled, too, but hooks are left to the loop where they belong.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from mainspring import _portal
from mainspring._cancel_scopes import CancelScope, Stop, StopKind, innermost_first, inside, live
from mainspring._engine.deadlines import call_at
from mainspring._engine.stopping import interrupt_all
from mainspring._engine.tracebacks import is_own
from mainspring._portal import finish
from mainspring.concurrency import release_left_over
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import RunCancelled
from mainspring.logging import engine_logs
from mainspring.transactions.settling import release

__all__ = ["GRACE", "GivenUp", "Overdue", "end_suspended"]

GRACE = 0.02
"""Seconds after the deadline in which a function may end by itself."""

REPORT = 0.1
"""Seconds after which an attempt that was settled, and goes on, is reported."""


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
        "_back",
        "_context",
        "_deadline",
        "_done",
        "_due",
        "_engine",
        "_is_alive",
        "_is_over",
        "_limit",
        "_lock",
        "_loop",
        "_problem",
        "is_taken",
        "thread",
    )

    def __init__(self, engine: Any, limit: Any, deadline: float) -> None:
        self._engine = engine
        self._limit = limit
        self._deadline = deadline
        self._loop: Any = engine.asyncio_task().get_loop() if limit.is_async else None
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._done: threading.Event | None = None  # set when an attempt that was taken is settled
        self._back: threading.Event | None = None  # set when the function has ended
        # An event loop that turns: its function hears of its end, and may do as it likes.
        self._is_alive = False
        self._is_over = False
        self._problem: BaseException | None = None
        self.is_taken = False
        self.thread = threading.get_ident()
        self._due = call_at(deadline + GRACE, self._begin)

    def end(self) -> None:
        """The function has ended. If the attempt was taken, wait until it is settled. May be called twice.

        Raises:
            GivenUp: Somebody else goes on with the run.
        """
        with self._lock:
            self._is_over = True
            if self._back is not None:
                self._back.set()
            if not self.is_taken:
                self._due.cancel()
                return
        assert self._done is not None
        self._done.wait()
        if self._engine.is_given_up:
            raise GivenUp
        if self._problem is not None:
            raise self._problem

    # In the thread that settles

    def _begin(self) -> None:
        if self._is_over:
            return
        try:
            threading.Thread(
                target=self._context.run, args=(self._work,), name="mainspring-settler", daemon=True
            ).start()
        except RuntimeError:
            # The system has no more threads to give, and this is the most urgent work there is.
            self._context.run(self._work)

    def _work(self) -> None:
        turned = threading.Event()
        self._back = back = threading.Event()
        if self._loop is not None:
            self._is_alive = self._call_loop(turned.set) and turned.wait(GRACE)
            if self._is_alive:
                back.wait(GRACE)
        with self._lock:
            if self._is_over:
                return
            self._done = done = threading.Event()
            self.is_taken = True
        noun, name = self._engine.subject.policy.noun, self._engine.run.name
        hands_over, logger = self._engine.hand_over is not None, self._engine.logger
        self._settle(done)
        if not back.wait(REPORT):  # else it has ended a moment later, which is not worth a word
            self._report(logger, f"{noun} {name!r}", hands_over, turned)

    def _call_loop(self, call: Any) -> bool:
        """Have the event loop call something; False if there is none any more."""
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            return False
        return True

    def _settle(self, done: threading.Event) -> None:
        engine = self._engine
        try:
            if engine.take():  # else the run around is overdue, too, and ends this one
                self._settle_attempt()
        except BaseException as problem:  # told to whoever waits for the run
            self._problem = problem
            if engine.hand_over is not None:
                engine.is_given_up = True
                engine.hand_over(False, problem)
        finally:
            done.set()
            _portal.close()

    def _settle_attempt(self) -> None:
        engine = self._engine
        scope: CancelScope = engine._cancel_scope
        error = self._limit.error or self._limit.expire()
        stop = Stop(StopKind.GIVEN_UP, f"{error} What it had begun was given up.")
        inner = [each for each in inside(scope) if each is not scope]
        scope.stop(stop)
        if self._is_alive:
            stuck: list[CancelScope] = []
            interrupt_all([each for each in inner if not each.is_same_place(scope)])
        else:
            stuck = [each for each in inner if each.thread == self.thread]
            interrupt_all([each for each in inner if each.thread != self.thread])
        for each in innermost_first(stuck):
            end_inner(each.engine, stop)
        self._end_attempt(error, stop)

    def _end_attempt(self, error: TimeoutError, stop: Stop) -> None:
        engine = self._engine
        enter_run(engine)
        engine.hands_on = True
        finish(engine.handle_timeout(error))
        release_left_over(engine.run.key)
        _roll_back(engine)
        goes_on = engine.is_running()
        hand_over: Callable[[bool, BaseException | None], object] | None = engine.hand_over
        is_handed_over = hand_over is not None and (engine.hands_on_attempts or not goes_on)
        if not goes_on and (is_handed_over or not self._is_alive):
            _end_run(engine)
        if hand_over is not None and is_handed_over:
            engine.is_given_up = True
            hand_over(goes_on, None)
        elif goes_on or self._is_alive:
            engine.return_to_thread()
            around = engine._cancel_scope.parent
            if goes_on and around is not None and around.is_given_up():
                end_inner(engine, stop)

    def _report(self, logger: Any, name: str, hands_over: bool, turned: threading.Event) -> None:
        """Say, once for each attempt, what blocks where."""
        if not engine_logs(30):
            return
        thread = next((each for each in threading.enumerate() if each.ident == self.thread), None)
        where = "its thread" if thread is None else f"thread {thread.name!r}"
        if self._is_alive:
            what = "it was cancelled, and goes on all the same."
        elif self._loop is not None and turned.is_set():
            return
        else:
            place = f"the event loop of {where}" if self._loop is not None else where
            what = f"{place} is blocked in {_place_in(self.thread)}."
        logger.warning(
            "%s did not end at its time limit of %g second(s): %s %s",
            name,
            self._limit.seconds,
            what,
            'Whatever comes of it is refused. `isolation="process"` lets such calls of tasks be ended for good.'
            if hands_over
            else "The run is settled, and its caller goes on when that call returns.",
        )
        if self._loop is not None and not self._is_alive:
            self._call_loop(partial(self._report_turn, logger, name))

    def _report_turn(self, logger: Any, name: str) -> None:
        late = time.monotonic() - self._deadline
        logger.warning("%s: its event loop was blocked for %.3g second(s) after the limit.", name, late)


def end_inner(engine: Any, stop: Stop) -> bool:
    """Settle a run that cannot do so itself: it ends with what is around it. False if somebody else sees to that."""
    if engine is None or not engine.take():
        return False
    contextvars.copy_context().run(_end_taken, engine, stop)
    return True


def _end_taken(engine: Any, stop: Stop) -> None:
    enter_run(engine)
    finish(engine.handle_crash(RunCancelled(stop.reason)))
    release_left_over(engine.run.key)
    _roll_back(engine)
    _end_run(engine)


def enter_run(engine: Any) -> None:
    """Be inside of a run from now on, but not of its attempt, in which nothing may begin any more."""
    active = engine._context
    if active is None:
        return
    context = active.model_copy(update={"scope": engine._cancel_scope.parent})
    if isinstance(context, FlowRunContext):
        TaskRunContext.activate(None)
        FlowRunContext.activate(context)
    else:
        TaskRunContext.activate(context)


def end_suspended(scope: CancelScope) -> None:
    """Settle generators that are suspended inside of a run which was cancelled: nobody may ever go on with them."""
    stop = scope.stopped()
    assert stop is not None
    suspended = [each for each in inside(scope) if each.is_suspended and each is not scope]
    for each in innermost_first(suspended):
        engine = each.engine
        if end_inner(engine, stop):
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
    frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]
    found: str | None = None
    for each, line in traceback.walk_stack(frame):
        code = each.f_code
        told = f"{code.co_qualname} ({code.co_filename}:{line})"
        found = found or told
        if not is_own(each) and "/lib/python" not in code.co_filename:
            return told
    return found or "code that cannot be seen"
