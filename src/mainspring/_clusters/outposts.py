"""What a worker does with a bundle: it calls functions, each in the context of its run, which is made elsewhere."""

from __future__ import annotations

import contextvars
import pickle
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, cast

from mainspring import _portal
from mainspring._cancel_scopes import CancelScope
from mainspring._clusters.diaries import Diary, borrowed_recorder
from mainspring._clusters.errands import Bundle, Errand, place_given
from mainspring._clusters.hearing import Hearing
from mainspring._clusters.parcels import Answer, Verdict, writable
from mainspring._engine.submissions import Outcome, Submission
from mainspring._engine.task_runs import TaskRunTimeoutError
from mainspring._engine.timeouts import AsyncTimeout, SyncTimeout
from mainspring._engine.workers import WorkerPool
from mainspring._processes.channel import pack_flat, unpack
from mainspring._processes.portability import pack_error, require_portable
from mainspring.context import TaskRunContext, hydrated_context
from mainspring.futures.promises import Promise
from mainspring.logging import enter_context
from mainspring.recording import Recorder, keep_run_lines, use_recorder

__all__ = ["run_errands"]

_lock = threading.Lock()
_pool: WorkerPool | None = None

Told = tuple[list[Answer], list[tuple[int, Any]], list[bytes | None]]
"""An answer for each call, what was heard meanwhile, and the history of each call, pickled."""


def run_errands(
    bundle: Bundle,
    remembered: Callable[[bytes], Any],
    inputs: Sequence[Any],
    wait: Callable[[Sequence[Promise]], None],
) -> Told:
    """Make the calls of a bundle; never raises what comes of one.

    Args:
        bundle: The bundle.
        remembered: Makes the object again that was pickled.
        inputs: The values of the cluster that the calls need.
        wait: Waits for the ends of the calls.
    """
    try:
        context, task = remembered(bundle.context), remembered(bundle.task)
    except BaseException as error:  # whatever importing a module of the user's does
        return [Answer(Verdict.REFUSED, *pack_error(error))], [], []
    hearing = Hearing()
    calls = [_Call(task, errand, inputs, bundle) for errand in bundle.errands]
    with borrowed_recorder() as recorder, use_recorder(recorder):
        with hearing.listen(bundle.audience, recorder), hydrated_context(context):
            keep_run_lines()
            wait([call.begin() for call in calls])
        # Only now is that over, too, which the functions have submitted and not waited for.
        histories = [call.close(recorder) for call in calls]
    return [call.answer for call in calls], hearing.messages, histories


class _Call:
    """One call.

    Attributes:
        answer: What it has come to, when it is over.
    """

    def __init__(self, task: Any, errand: Errand, inputs: Sequence[Any], bundle: Bundle) -> None:
        self._task = task
        self._errand = errand
        self._inputs = inputs
        self._diary = Diary(bundle.limits, bundle.reason)
        self.answer = Answer(Verdict.SKIPPED, None)

    def begin(self) -> Promise:
        """Have a thread make the call; comes to something when it is over."""
        promise = Promise()
        call = cast(Callable[[], Outcome], self._make)
        _workers().put(Submission(call, promise, partial(str, f"a call of task {self._task.name!r}")))
        return promise

    def _make(self) -> None:
        began = time.monotonic()
        try:
            with self._diary.kept():
                self.answer = self._answer()
        except BaseException as error:  # belongs to whoever waits for the answer
            self.answer = Answer(Verdict.RAISED, *pack_error(error))
        self.answer = self.answer._replace(seconds=time.monotonic() - began)

    def close(self, recorder: Recorder) -> bytes | None:
        """What was recorded inside of it, pickled; None if there is nothing."""
        history = self._diary.close(recorder)
        return None if history is None else pack_flat(history)

    def _answer(self) -> Answer:
        """What the function returns.

        Raises:
            BaseException: What it raises.
        """
        errand = self._errand
        try:
            fields, parameters = pickle.loads(errand.fields), unpack(writable(errand.content))
            if errand.leans:
                parameters = place_given(parameters, self._inputs, errand.first)
        except BaseException as error:  # whatever importing a module of the user's does
            return Answer(Verdict.REFUSED, *pack_error(error))
        scope, limit = CancelScope(None), None
        if errand.seconds is not None:
            scope.bound(time.monotonic() + errand.seconds)
            kind = AsyncTimeout if self._task.isasync else SyncTimeout
            limit = kind(errand.seconds, TaskRunTimeoutError, deadline=scope.deadline)
        context = TaskRunContext(self._task, **fields, parameters=parameters, cancel_event=threading.Event())
        context.scope = scope
        entered = enter_context(context)
        try:
            result = _call(self._task, parameters, limit)
        except TaskRunTimeoutError as error:
            if limit is None or error is not limit.error:
                raise
            return Answer(Verdict.LATE, None)
        finally:
            entered.__exit__(None, None, None)
        return Answer(Verdict.DONE, None, require_portable(result))


def _call(task: Any, parameters: dict[str, Any], limit: Any) -> Any:
    """What a function returns; of a generator what it yields, as a list, and what it returns.

    Raises:
        TaskRunTimeoutError: That of the limit: it took too long, or had no time left.
    """
    if limit is not None:
        limit.check()
    if task.isasync:
        return _portal.run(_acall(task, parameters, limit))
    with limit or nullcontext():
        called = task.arguments.call(parameters)
        if not task.isgenerator:
            return _portal.finish(called)
        values: list[Any] = []
        while True:
            try:
                values.append(next(called))
            except StopIteration as end:
                return values, end.value


async def _acall(task: Any, parameters: dict[str, Any], limit: Any) -> Any:
    """The same for a coroutine function or an async generator."""
    async with limit or nullcontext():
        called = task.arguments.call(parameters)
        if not task.isgenerator:
            return await called
        return [value async for value in called], None


def _workers() -> WorkerPool:
    """The threads of this process that make calls; one after the other while they are short."""
    global _pool
    with _lock:
        if _pool is None:
            _pool = contextvars.Context().run(WorkerPool, sys.maxsize, "mainspring-calls", _portal.close)
        return _pool
