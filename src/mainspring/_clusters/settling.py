"""What becomes of a run that was sent: an answer has come, or there will be none."""

from __future__ import annotations

from typing import Any

from mainspring._clusters.assignments import Assignment
from mainspring._clusters.parcels import Answer, Verdict, writable
from mainspring._clusters.protocol import ClusterGone, Failure, Ticket, WorkerLost
from mainspring._clusters.values import FarValue
from mainspring._processes.portability import unpack_error
from mainspring.exceptions import ConfigurationError, MainspringError, SerializationError, WorkerDied
from mainspring.states import State
from mainspring.states.conversion import describe_exception
from mainspring.task_engine import SyncTaskRunEngine
from mainspring.task_runners.losses import refuse
from mainspring.task_runners.proceeds import unwrap

__all__ = ["lose", "open_answer", "refusal_of", "refusal_of_parcel", "refuse_parcel"]


def open_answer(assignment: Assignment, answer: Answer, ticket: Ticket) -> State | None:
    """The final state of a run, by the answer to it; None if it is to be sent again.

    Raises:
        BaseException: What has ended more than the run.
    """
    run, task = assignment.lost.run, assignment.call.task
    if answer.verdict is Verdict.RAISED:
        raise unpack_error(answer.head, answer.packed or ())
    if answer.verdict is Verdict.REFUSED:
        error = refusal_of(task, unpack_error(answer.head, answer.packed or ()))
        return refuse(assignment.call, run, error)
    if answer.verdict is Verdict.TAKEN:
        return lose(assignment, WorkerLost(answer.head))
    if answer.packed is not None:
        state = unwrap(answer.head, writable(answer.packed), f"{run.name!r} ({run.id})")
    else:
        state, form, words = answer.head
        trace = words[2] if form == "error" else None
        state.keep(FarValue(ticket, assignment.number, run, trace))
    if state.is_completed():
        SyncTaskRunEngine[Any, Any](task=task, task_run=run).trace(state.data)
    return state


def lose(assignment: Assignment, failure: WorkerLost) -> State | None:
    """Record what became of a run whose worker is gone; None if it is to be attempted again.

    What nobody has begun has cost no attempt. It is sent again, but with values instead of references to what may be
    gone.
    """
    lost = assignment.lost
    if not isinstance(failure, ClusterGone) and assignment.is_untouched():
        try:
            assignment.fetch_inputs()
        except Exception as error:  # whatever making one of them again raises: the run cannot begin
            return refuse(assignment.call, lost.run, error)
        return None
    death = WorkerDied(str(failure))
    death.__cause__ = failure
    if lost.settle(death, assignment.leash, False, is_last=isinstance(failure, ClusterGone)):
        return None
    state = lost.run.state
    if state.is_crashed() and not state.has_data:  # somebody else was first to find the worker dead
        state.keep(WorkerDied(state.message or str(failure)))
    return state


def refuse_parcel(assignment: Assignment, failure: Failure) -> State:
    """Record that a run cannot be made, as its parcel could not be opened by a worker."""
    error = refusal_of_parcel(assignment.call.task, failure)
    return refuse(assignment.call, assignment.lost.run, error)


def refusal_of_parcel(task: Any, failure: Failure) -> MainspringError:
    """Why a task cannot be run whose parcel could not be opened by a worker."""
    if isinstance(failure, ModuleNotFoundError) and (failure.name or "").partition(".")[0] == "mainspring":
        return ConfigurationError(
            "The workers of the cluster have no mainspring. Install it there, in the same version as here."
        )
    return refusal_of(task, failure)


def refusal_of(task: Any, cause: BaseException) -> MainspringError:
    """Why a task cannot be run that could not be made again by a worker."""
    if isinstance(cause, MainspringError):
        return cause
    error = SerializationError(
        f"Task {task.name!r} or its arguments cannot be made again in a worker of the cluster:"
        f" {describe_exception(cause)}. Workers need the same packages and modules as this process."
    )
    error.__cause__ = cause
    return error
