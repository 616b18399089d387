"""Tasks on threads of this process."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from mainspring import _portal
from mainspring._imports import modules_on_use
from mainspring.settings import get_current_settings
from mainspring.task_runners.pooled import PooledTaskRunner

if TYPE_CHECKING:
    from mainspring._engine import submissions, trails
    from mainspring._engine.submissions import Outcome
    from mainspring.futures import turns
    from mainspring.runs import TaskRun
    from mainspring.task_runners.calls import Call
else:
    submissions, trails = modules_on_use("mainspring._engine", "submissions", "trails")
    turns = modules_on_use("mainspring.futures", "turns")

__all__ = ["ConcurrentTaskRunner", "ThreadPoolTaskRunner"]


class ThreadPoolTaskRunner(PooledTaskRunner):
    """Runs tasks on threads of this process, in copies of the submitter's context.

    A run whose inputs are not there yet waits without a thread. Threads are reused, and so is the event loop that
    each keeps for async tasks. Leaving the block cancels what has not begun and waits for what has.

    Args:
        max_workers: The most tasks that go on at a time. A task that waits for others lets them have its turn. When
            omitted, the setting ``tasks.runner.thread_pool_max_workers``; when that is unset too there is no limit.

    Raises:
        ValueError: ``max_workers`` is less than 1.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"`max_workers` must be at least 1; got {max_workers}.")
        super().__init__()
        self._given = max_workers

    @property
    def max_workers(self) -> int:
        """The most tasks that go on at a time; ``sys.maxsize`` if there is no limit."""
        return self._given or get_current_settings().tasks.runner.thread_pool_max_workers or sys.maxsize

    def duplicate(self) -> Self:
        """See `TaskRunner.duplicate`."""
        return type(self)(self._given)

    def leave_unused(self) -> bool:
        """See `TaskRunner.leave_unused`."""
        is_ours = type(self) is ThreadPoolTaskRunner  # what is derived from it may have more to do
        return is_ours and self._leave_without_pool()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ThreadPoolTaskRunner):
            return NotImplemented
        return self._given == other._given

    __hash__ = None  # type: ignore[assignment]

    def _carry(self, call: Call) -> Outcome:
        """See `PooledTaskRunner._carry`; short runs share a commit."""
        trail = trails.Trail(partial(self._hand_over, call))
        state = call.run(trail)
        if trail.run is None or trail.recorder is None:
            return state
        return submissions.Trailing(state, trail.run, trail.recorder)

    def _hand_over(
        self, call: Call, run: TaskRun, told: dict[str, Any] | None, problem: BaseException | None
    ) -> None:
        """Have another thread go on with a run whose thread is blocked, or tell what it has come to."""
        turn = turns.active_turn.get()
        assert turn is not None
        submission = turn.work
        if problem is not None:
            submission.promise.set_exception(problem)
            submission.give_up()
        elif told is None:
            submission.promise.set_result(run.state)
            submission.give_up()
        else:
            again = call._replace(record=run, context={**call.context, **told})
            submission.give_up(partial(self._carry, again))

    def _leave_thread(self) -> None:
        _portal.close()

    def __repr__(self) -> str:
        limit = "" if self._given is None else f"max_workers={self._given}"
        return f"ThreadPoolTaskRunner({limit})"


ConcurrentTaskRunner = ThreadPoolTaskRunner
