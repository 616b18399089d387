"""Submitted runs on their way to a thread: those whose inputs are not there yet wait without one."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from mainspring import points
from mainspring._cancel_scopes import CancelScope
from mainspring._core.traverse import is_atomic
from mainspring._engine.inputs import find_unfinished
from mainspring._engine.workers import Series
from mainspring._imports import modules_on_use
from mainspring.context import current_scope
from mainspring.futures.turns import active_turn
from mainspring.states import State

if TYPE_CHECKING:
    from mainspring._core import circles
    from mainspring._core.circles import Needs
    from mainspring._engine.workers import WorkerPool
    from mainspring.futures import RunFuture
    from mainspring.futures.promises import Promise
    from mainspring.futures.turns import Turn
    from mainspring.recording import Recorder
    from mainspring.runs import TaskRun
else:
    circles = modules_on_use("mainspring._core", "circles")

__all__ = [
    "Outcome",
    "Prepared",
    "Submission",
    "SubmissionSeries",
    "Submissions",
    "Trailing",
    "unfinished_inputs",
]

T = TypeVar("T")


def unfinished_inputs(parameters: Mapping[str, Any], wait_for: Iterable[Any] | None) -> list[RunFuture[Any]]:
    """The futures that a run with these inputs has to wait for."""
    if wait_for is None and is_atomic(parameters.values()):
        return []
    try:
        return find_unfinished((parameters, wait_for))
    except Exception:  # a value that cannot be walked: the run itself meets it again, and records it
        return []


class Trailing(msgspec.Struct, frozen=True):
    """What a call has come to, if that is not durable yet.

    Args:
        state: The final state of the run.
        run: The run.
        recorder: What makes it durable.
    """

    state: State
    run: TaskRun
    recorder: Recorder

    def settle_later(self, promise: Promise, began: float, turn: Turn | None) -> None:
        """Settle a promise when the state is durable.

        Args:
            promise: The promise.
            began: When the call began, by ``time.monotonic()``.
            turn: Of the calling thread; what is left to be settled is, when it has nothing else to do.
        """

        def settle(problem: BaseException | None) -> None:
            if problem is None:
                promise.set_result(self.state)
            else:
                promise.set_exception(problem)

        if self.recorder.trail(self.run, began, settle) or turn is None:
            self.recorder.settle()
        else:
            turn.rest = self.recorder.settle


Outcome = State | Trailing


class Submission:
    """One call to be made in some thread, in the context in which the submission is made.

    Args:
        call: What is called; comes to the final state of a run. Its text is what people call it.
        promise: What comes to that state.
        context: Instead of a copy of the context that is active here.
        scope: What bounds the call in that context.
    """

    __slots__ = ("_call", "_context", "_scope", "at_give_up", "inputs", "label", "missing", "promise", "turn")

    def __init__(
        self,
        call: Callable[[], Outcome],
        promise: Promise,
        label: Callable[[], str],
        context: contextvars.Context | None = None,
        scope: CancelScope | None = None,
    ) -> None:
        self._call: Callable[[], Outcome] | None = call
        if context is None:
            context, scope = contextvars.copy_context(), current_scope()
        self._context, self._scope = context, scope
        self.promise = promise
        self.label = label
        self.inputs: list[RunFuture[Any]] = []
        self.missing = 0
        self.turn: Turn | None = None
        self.at_give_up: Callable[[Submission], object] | None = None
        promise.work = self

    def __call__(self) -> None:
        """Make the call, unless it was cancelled, and settle the promise."""
        call, self._call = self._call, None  # callbacks on other futures hold on to this object
        context, self._context = self._context, _NO_CONTEXT
        scope, self._scope = self._scope, None
        promise = self.promise
        if call is None:
            return
        if scope is not None and scope.stopped() is not None:  # what it would be part of ends
            promise.cancel()
        elif promise.begin() or promise.running():  # who has submitted it may have begun it
            self._make(call, context)

    def _make(self, call: Callable[[], Outcome], context: contextvars.Context) -> None:
        promise, turn = self.promise, active_turn.get()
        if turn is not None:
            turn.label, turn.work = self.label, self
            self.turn = turn
        began = time.monotonic()
        try:
            if points.observer is not None:
                points.observer("submission.start", self.label)
            outcome = context.run(_in_turn, turn, call)
        except BaseException as error:  # belongs to whoever asks for the result
            if turn is None or not turn.is_given_up:
                promise.set_exception(error)
            del call  # the traceback leads here: without this, it would keep the arguments alive
        else:
            if turn is not None and turn.is_given_up:
                pass  # it is too late
            elif type(outcome) is not Trailing:
                promise.set_result(outcome)
            else:
                outcome.settle_later(promise, began, turn)

    def settle(self, engine: Any, goes_on: bool, problem: BaseException | None) -> None:
        """Do without the thread whose run another thread has settled for good; see `BoundedRun.hand_over`."""
        if problem is None:
            self.promise.set_result(engine.run.state)
        else:
            self.promise.set_exception(problem)
        self.give_up()

    def give_up(self, rest: Callable[[], Outcome] | None = None) -> None:
        """Do without the thread that makes the call, as it does not come back. Not called in that thread.

        Args:
            rest: What is left to be done, by another thread; None if the promise is settled.
        """
        turn = self.turn
        assert turn is not None
        if self.at_give_up is not None:
            self.at_give_up(self)
        turn.pool.give_up(
            turn, None if rest is None else partial(self._make, rest, contextvars.copy_context())
        )

    def needs(self) -> Needs:
        """See `futures.promises.Work.needs`."""
        if self.turn is not None:
            return circles.Needs([self.turn])
        return circles.Needs([future for future in self.inputs if not future.is_done()])

    def cancel(self) -> None:
        """Settle the promise of a call that will not be made."""
        self._call, self._context, self._scope = None, _NO_CONTEXT, None
        self.promise.cancel()


_NO_CONTEXT = contextvars.Context()


def _in_turn(turn: Turn | None, call: Callable[[], T]) -> T:
    active_turn.set(turn)
    return call()


Prepared = tuple[Callable[[], Outcome], list["RunFuture[Any]"], Callable[[], str]]
"""A call that is ready to be made when some inputs are there: the call, these inputs, and what people call it."""


class Submissions:
    """Hands submissions to a pool as soon as their inputs are there. Safe to use from any thread."""

    __slots__ = ("_closed", "_lock", "_waiting", "pool")

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool
        self._lock = threading.Lock()
        self._waiting: dict[Submission, None] = {}  # in the order in which they came
        self._closed = False

    def add(self, submission: Submission, inputs: list[RunFuture[Any]]) -> bool:
        """Have the call made when all inputs are done; False if it is too late for that.

        Args:
            submission: The call.
            inputs: Futures that were not done a moment ago.
        """
        if not inputs:
            return self.pool.put(submission)
        submission.inputs = inputs
        submission.missing = len(inputs) + 1  # one for this method, so that nothing begins before its end
        with self._lock:
            if self._closed:
                return False
            self._waiting[submission] = None
        count = partial(self._count, submission)
        for future in inputs:
            future.add_done_callback(count)
        count(None)
        return True

    def add_series(
        self, promises: list[Promise], prepare: Callable[[int], Prepared], at_once: int
    ) -> SubmissionSeries | None:
        """Have many calls made, each of which is prepared when there is a thread for it; None if it is too late.

        Args:
            promises: What comes to the final state of each.
            prepare: Prepares the call with a number; called once for each, in their order.
            at_once: How many may be under way at a time, those that wait for inputs included.
        """
        series = SubmissionSeries(self, promises, prepare, at_once)
        return series if self.pool.put(series.parts) else None

    def cancel(self) -> None:
        """Cancel what has not begun, and take no more."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, {}
        for work in (*self.pool.close(), *waiting):
            if isinstance(work, Series):
                work = work.work
                assert isinstance(work, SubmissionSeries)
            else:
                assert isinstance(work, Submission)
            work.cancel()

    def _count(self, submission: Submission, _: object) -> None:
        """Note that one more input is done; the last one brings the call on its way."""
        with self._lock:
            submission.missing -= 1
            if submission.missing or submission not in self._waiting:
                return
            del self._waiting[submission]
            submission.inputs = []
        if not self.pool.put(submission):
            submission.cancel()


class SubmissionSeries:
    """Many calls that are like each other, made one after the other; the arguments are those of `add_series`."""

    __slots__ = (
        "_context",
        "_lock",
        "_next",
        "_prepare",
        "_promises",
        "_scope",
        "_submissions",
        "_under_way",
        "parts",
    )

    def __init__(
        self,
        submissions: Submissions,
        promises: list[Promise],
        prepare: Callable[[int], Prepared],
        at_once: int,
    ) -> None:
        self._submissions = submissions
        self._promises: list[Promise | None] = list(promises)
        self._prepare = prepare
        self._context, self._scope = contextvars.copy_context(), current_scope()
        self._lock = threading.Lock()  # calls are prepared in their order, which tells equal ones apart
        self._next = 0
        self._under_way: dict[Submission, None] = {}
        self.parts = Series(self, len(promises), at_once)
        for promise in promises:
            promise.work = self

    def __call__(self) -> None:
        """Prepare the next call, and make it if its inputs are there."""
        prepared = self._prepare_next()
        if prepared is None:
            return
        submission, inputs = prepared
        self._under_way[submission] = None
        if not inputs:
            submission.at_give_up = self._give_up
            submission()
            turn = active_turn.get()
            if turn is None or not turn.is_given_up:  # else it goes on elsewhere
                self._under_way.pop(submission, None)
        else:
            turn = active_turn.get()
            assert turn is not None
            turn.goes_on = True
            submission.promise.add_done_callback(partial(self._end, submission))
            if not self._submissions.add(submission, inputs):
                submission.cancel()

    def needs(self) -> Needs:
        """What has to be over before the calls that are not prepared yet can be; see `futures.promises.Work.needs`."""
        under_way = list(self._under_way)
        return (
            circles.Needs(under_way, any_of=True) if len(under_way) >= self.parts.at_once else circles.Needs()
        )

    def label(self) -> str:
        """What people call the calls that are not prepared yet."""
        return f"an element of a map that has {self.parts.at_once} under way, which is as many as it may"

    def cancel(self) -> None:
        """Settle the promises of the calls that will not be made."""
        with self._lock:
            left = self._promises[self._next :]
            self._next = len(self._promises)
        for promise in left:
            if promise is not None:
                promise.cancel()

    def _prepare_next(self) -> tuple[Submission, list[RunFuture[Any]]] | None:
        """The next call and the inputs that it waits for; None if there is none to be made."""
        context = self._context.copy()
        with self._lock:
            number = self._next
            if number == len(self._promises):  # all were cancelled when a thread had just come for the next
                return None
            self._next += 1
            promise, self._promises[number] = self._promises[number], None
            assert promise is not None
            if promise.done():  # cancelled
                return None
            try:
                prepare = partial(self._prepare, number)
                call, inputs, label = context.run(_in_turn, active_turn.get(), prepare)
            except BaseException as failure:  # belongs to whoever asks for the result
                error = failure
            else:
                return Submission(call, promise, label, context, self._scope), inputs
        promise.set_exception(error)  # not under the lock: somebody may be called who needs it
        del error  # the traceback leads here
        return None

    def _give_up(self, submission: Submission) -> None:
        """The part that a call is goes on without the thread that has begun it."""
        assert submission.turn is not None
        submission.at_give_up = None
        submission.turn.goes_on = True
        submission.promise.add_done_callback(partial(self._end, submission))

    def _end(self, submission: Submission, _: object) -> None:
        self._under_way.pop(submission, None)
        self._submissions.pool.end_part(self.parts)
