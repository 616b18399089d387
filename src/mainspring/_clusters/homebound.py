"""Runs of a runner whose workers do not reach the run store: they are made here, and only their functions over there.

Each is carried by a thread of this process, as by a runner with threads: retries, time limits, kept results, slots of
limits, transactions, hooks and history are all of this process.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from mainspring import _portal
from mainspring._clusters.assignments import Assignment
from mainspring._clusters.messengers import Messenger
from mainspring._clusters.protocol import Cluster
from mainspring._clusters.remote_calls import remote_call
from mainspring._engine.submissions import Outcome, Submission, Submissions, Trailing
from mainspring._engine.trails import Trail
from mainspring._engine.workers import WorkerPool
from mainspring._processes.relays import Inbox
from mainspring.context import current_scope
from mainspring.exceptions import ConfigurationError
from mainspring.task_runners.calls import Call

__all__ = ["Homebound"]

MORE = 2
"""Runs under way besides those that the cluster has slots for, so that it sees that there is more to do."""

SHORT = 256
"""Runs under way of tasks that are known to be short, at most, so that many go together."""


class Homebound:
    """Makes runs whose functions are called in a cluster. Safe to use from any thread.

    Args:
        cluster: The cluster.
        inbox: Is told what happens in workers.
        pack_task: Gives the pickle of a task.
    """

    def __init__(self, cluster: Cluster, inbox: Inbox, pack_task: Callable[[Any], bytes]) -> None:
        self._cluster = cluster
        self._messenger = Messenger(cluster, inbox, pack_task)
        self._lock = threading.Lock()
        self._under_way = 0
        self._pool = WorkerPool(sys.maxsize, "mainspring-homebound", _portal.close, sys.maxsize)
        self._submissions = Submissions(self._pool)
        self._has_limited = False

    def has_room(self, task: Any) -> bool:
        """Whether a run of a task may be taken now.

        What waits in a queue of the cluster has begun as far as anybody here can tell, and its time runs. So no more
        than what is worked on at once, if there is a limit on time.
        """
        at_work = min(self._pool.at_work, self._under_way)  # a thread is at work a little longer than its run
        if self._messenger.is_short(task):
            return at_work < SHORT
        if task.policy.is_limited:
            self._has_limited = True
        slots = self._cluster.slots()
        return at_work < slots + (0 if self._has_limited else MORE)

    def take(self, assignment: Assignment, on_over: Callable[[Assignment], object]) -> None:
        """Make a run whose inputs are there, or cancel it if it is too late for that.

        Args:
            assignment: The run.
            on_over: Called with it when it is settled.
        """
        call, lot = assignment.call, assignment.lot
        if lot.problem is not None:
            told: dict[str, Any] = {"refusal": lot.problem}
        elif lot.task.isolation is not None:
            told = {"refusal": _refuse_isolation(lot.task)}
        else:
            told = {"caller": remote_call(self._messenger, assignment)}
        call = call._replace(context={**call.context, **told})
        context = assignment.context
        scope = context.run(current_scope)
        submission = Submission(partial(_carry, call), assignment.promise, assignment.label, context, scope)
        with self._lock:
            self._under_way += 1
        if not self._submissions.add(submission, []):
            assignment.promise.take_back()
        assignment.promise.add_done_callback(partial(self._end, assignment, on_over))

    def _end(self, assignment: Assignment, on_over: Callable[[Assignment], object], _: object) -> None:
        with self._lock:
            self._under_way -= 1
        on_over(assignment)

    def cancel(self) -> None:
        """Take no more runs, and send no more calls."""
        self._submissions.cancel()
        self._messenger.cancel()

    def abandon(self) -> None:
        """After `cancel`: wait for nothing."""
        self._messenger.abandon()

    def join(self) -> None:
        """After `cancel`: wait until all runs are over."""
        self._pool.join()
        self._messenger.join()


def _carry(call: Call) -> Outcome:
    """Carry a run to its final state; short runs share a commit."""
    trail = Trail()
    state = call.run(trail)
    if trail.run is None or trail.recorder is None:
        return state
    return Trailing(state, trail.run, trail.recorder)


def _refuse_isolation(task: Any) -> ConfigurationError:
    return ConfigurationError(
        f'Task {task.name!r} with isolation="process" needs workers that reach the run store, which those of the'
        " cluster do not. Set MAINSPRING_DATABASE_URL to a PostgreSQL database that all of them reach, or use processes"
        " of this machine."
    )
