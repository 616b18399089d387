"""What a run is made from: upstream runs are waited for, parameters resolved, and both noted as its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard
from uuid import UUID

from mainspring._core.traverse import ATOMS, is_atomic, transform, walk
from mainspring._imports import modules_on_use
from mainspring.annotations import allow_failure
from mainspring.exceptions import ParameterResolutionError, UpstreamTaskError
from mainspring.runs import TaskRunResult
from mainspring.states import is_state
from mainspring.states.state import is_untrackable

if TYPE_CHECKING:
    from mainspring._core.lineage import Lineage
    from mainspring.annotations import Annotation
    from mainspring.futures import RunFuture, base
    from mainspring.runs import RunInput, TaskRun
    from mainspring.states import State
else:
    base = modules_on_use("mainspring.futures", "base")

__all__ = [
    "collect_inputs",
    "find_unfinished",
    "is_among",
    "resolve_leaf",
    "resolve_parameters",
    "resolve_value",
    "resolve_wait_for",
    "upstreams_of",
]


def find_unfinished(value: Any) -> list[RunFuture[Any]]:
    """The futures in ``value`` that are not done, in the order in which they are met.

    Empty if it cannot be walked: whoever resolves it meets the same error where it is recorded.
    """
    if type(value) in ATOMS:
        return []
    try:
        return [node for node in walk(value) if _is_future(node) and not node.is_done()]
    except Exception:  # see above
        return []


def resolve_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """``parameters`` with futures and states at any depth replaced by their results, annotations removed.

    Raises:
        UpstreamTaskError: One of them did not complete.
        ParameterResolutionError: Something else went wrong in one parameter, which is named.
    """
    if is_atomic(parameters.values()):
        return dict(parameters)
    resolved: dict[str, Any] = {}
    for name, value in parameters.items():
        try:
            resolved[name] = resolve_value(value)
        except UpstreamTaskError:
            raise
        except Exception as error:
            raise ParameterResolutionError(
                f"Failed to resolve inputs in parameter {name!r}: {type(error).__name__}: {error}. If your"
                f" parameter type is not supported, use the `quote` annotation to skip its resolution."
            ) from error
    return resolved


def resolve_wait_for(wait_for: Any) -> None:
    """See that what a run waits for has completed.

    Raises:
        UpstreamTaskError: Something in it did not complete.
        ParameterResolutionError: It is no collection, or something else went wrong.
    """
    try:
        resolve_value(list(wait_for))
    except UpstreamTaskError:
        raise
    except Exception as error:
        raise ParameterResolutionError(
            f"Failed to resolve `wait_for`: {type(error).__name__}: {error}. Give it a list of futures and states."
        ) from error


def resolve_value(value: Any) -> Any:
    """``value`` with futures and states replaced by their results and annotations by their content.

    Raises:
        UpstreamTaskError: One of them did not complete.
    """
    return transform(value, resolve_leaf)


def resolve_leaf(leaf: object, around: tuple[Annotation[Any], ...]) -> Any:
    """What a leaf of a value is for a run: the result, if it is a future or a state.

    Args:
        leaf: The leaf.
        around: The annotations around it.

    Raises:
        UpstreamTaskError: It did not complete.
    """
    if _is_future(leaf):
        leaf.wait()
        state: State = leaf.state
        run: str | None = f"{leaf.noun.lower()} '{leaf.run_id}'"
        if state.is_completed():
            return leaf.result()
    elif is_state(leaf):
        state, run = leaf, _run_of(leaf)
        if state.is_completed():
            return state.result()
    else:
        return leaf
    failure_is_fine = any(isinstance(annotation, allow_failure) for annotation in around)
    if failure_is_fine and (state.is_failed() or state.name == "NotReady"):
        return state.result(raise_on_failure=False) if state.is_final() else None
    raise UpstreamTaskError(_describe_upstream(state, run))


def _run_of(state: State) -> str | None:
    run_id = state.state_details.task_run_id
    return None if run_id is None else f"task run '{run_id}'"


def _describe_upstream(state: State, run: str | None) -> str:
    run = "An upstream state" if run is None else f"Upstream {run}"
    said = f" It said: {state.message}" if state.message else ""
    return f"{run} did not reach a 'COMPLETED' state: it is {state.name} ({state.type.value}).{said}"


def collect_inputs(
    parameters: Mapping[str, Any],
    wait_for: Iterable[Any] | None,
    parents: Iterable[TaskRun],
    lineage: Lineage | None = None,
) -> dict[str, list[RunInput]]:
    """For each parameter, for ``wait_for`` and for the parents, what they came from (T-80 to T-87).

    Args:
        parameters: The arguments by parameter name, as they were given.
        wait_for: What the run waits for besides.
        parents: The task runs inside of which the new run is made.
        lineage: Which objects of the flow run came out of which task run.
    """
    sources: dict[RunInput, None] = {}
    for parent in parents:
        sources[TaskRunResult(id=parent.id)] = None
    inputs: dict[str, list[RunInput]] = {}
    for name, value in parameters.items():
        is_known = not is_untrackable(value)
        if is_known and type(value) in ATOMS:  # as most are, and few of these come from a run
            is_known = lineage is not None and lineage.origin_of(value) is not None
        inputs[name] = _sources(value, lineage, sources) if is_known else []
    if wait_for is not None:
        inputs["wait_for"] = _sources(wait_for, lineage, None)
    if sources:
        inputs["__parents__"] = list(sources)
    return inputs


def _sources(value: Any, lineage: Lineage | None, parents: dict[RunInput, None] | None) -> list[RunInput]:
    """`upstreams_of`, or nothing for a value that cannot be walked: its run is about to fail because of it."""
    try:
        return upstreams_of(value, lineage, parents)
    except Exception:  # raised again, and recorded, when the run resolves its inputs
        return []


def is_among(run_id: UUID, value: Any) -> bool:
    """True if a future or state in ``value`` is of the given task run."""
    return TaskRunResult(id=run_id) in upstreams_of(value)


def upstreams_of(
    value: Any, lineage: Lineage | None = None, parents: dict[RunInput, None] | None = None
) -> list[RunInput]:
    """What ``value`` came from: the runs of futures, states and known results in it, each once.

    Args:
        value: Any object.
        lineage: Knows the results.
        parents: Where to add the runs that are not over yet: generators that have just yielded something.
    """
    found: dict[RunInput, None] = {}
    for node in (value,) if type(value) in ATOMS else walk(value):
        if type(node) not in ATOMS and _is_future(node):
            if node.origin_key is not None:
                found[TaskRunResult(id=UUID(bytes=node.origin_key))] = None
        elif type(node) not in ATOMS and is_state(node):
            if node.state_details.task_run_id is not None:
                found[TaskRunResult(id=node.state_details.task_run_id)] = None
        elif lineage:
            origin = lineage.origin_of(node)
            if origin is not None:
                found[origin.source] = None
                if origin.running and parents is not None:
                    parents[origin.source] = None
    return list(found)


def _is_future(value: object) -> TypeGuard[RunFuture[Any]]:
    return issubclass(type(value), base.RunFuture)  # `isinstance` would ask the object
