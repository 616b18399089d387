"""What becomes of a run whose worker process has died, or was killed because the run did not end."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import Any

from mainspring._cancel_scopes import StopKind
from mainspring._engine.timeouts import SyncTimeout
from mainspring._processes.leashes import SLACK, Leash
from mainspring.context import current_scope
from mainspring.context.stopping import shielded
from mainspring.exceptions import RunCancelled, SupersededRun, WorkerDied
from mainspring.recording import current_recorder
from mainspring.runs import TaskRun
from mainspring.states import State
from mainspring.task_engine import SyncTaskRunEngine
from mainspring.task_runners.calls import Call

__all__ = ["Losses", "refuse"]


class Losses:
    """The attempts of a run that were lost with their workers.

    Args:
        call: What was submitted.
        run: The run.

    Attributes:
        run: The run as it was last recorded: as a worker has left it.
        count: How many of the losses were made good by ``retry_on_crash``.
        retries: How many retries were granted here and by workers that are dead.
    """

    def __init__(self, call: Call, run: TaskRun) -> None:
        self.call = call
        self.run = run
        self.count = 0
        self.retries = 0

    def settle(self, death: WorkerDied | None, leash: Leash, is_over: bool, *, is_last: bool = False) -> bool:
        """Record what became of the attempt; True if there is to be another one.

        Args:
            death: How the worker died; None if there was none yet.
            leash: How long the attempt was allowed to take, and whether it was told to end.
            is_over: It was killed for that.
            is_last: There can be no other attempt.
        """
        recorder = current_recorder()
        while True:
            found = recorder.store.read_run(self.run.key)
            self.run = run = found if isinstance(found, TaskRun) else self.run
            context = {"retries": 0, "losses": self.count}
            engine = SyncTaskRunEngine[Any, Any](
                task=self.call.task, parameters=self.call.parameters, task_run=run, context=context
            )
            before, is_granted = run.state, False
            error = self._cause(engine, death, leash, is_over)
            try:
                with _begun_in_time(), engine.initialize_run():
                    if is_last and not isinstance(error, RunCancelled):
                        engine.handle_crash(error)  # if nobody was first to record it
                    else:
                        is_granted = engine.handle_loss(error)
                    if not is_granted and (run.state is not before or run.state.is_crashed()):
                        engine.call_hooks()
            except (
                SupersededRun
            ):  # somebody has found the worker dead at the same time: see what that has come to
                continue
            break
        recorder.store.settle_dead_owners()  # what ran inside of the run
        self.count = engine.losses
        self.retries = max(run.run_count - self.count, 0)
        return is_granted

    @staticmethod
    def _cause(engine: Any, death: WorkerDied | None, leash: Leash, is_over: bool) -> BaseException:
        stop, now = leash.stop, time.monotonic()
        if stop is not None and stop.kind is StopKind.CANCELLED:
            return RunCancelled(stop.reason)
        if not is_over:
            assert death is not None
            return death
        if leash.limit is not None and now >= leash.limit:
            seconds, words, is_last = leash.facts
            engine._limit = limit = SyncTimeout(seconds, engine.timeout_error, engine, words, is_last)
            return limit.expire()
        if leash.deadline is not None and now >= leash.deadline - SLACK:
            return TimeoutError("The run around it had no more time.")
        return RunCancelled("" if stop is None else stop.reason)


@contextmanager
def _begun_in_time() -> Generator[None]:
    """Around the record of what had begun before the run around it was given up: that it is over is no late news."""
    scope = current_scope()
    with shielded() if scope is not None and scope.is_given_up() else nullcontext():
        yield


def refuse(call: Call, run: TaskRun, error: Exception) -> State:
    """Record here that a run cannot begin."""
    return call._replace(record=run, context={**call.context, "refusal": error}).run()
