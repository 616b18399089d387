"""From ``FILE.py:flow``, the name of a module and of a flow in it, or the id of a recorded run, to the flow."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from uuid import UUID

from mainspring import clock
from mainspring._engine.flow_runs import read_flow_run
from mainspring._engine.loading import GUARD, AnySubject, find_subject, is_subject, load_file
from mainspring.client import get_client
from mainspring.exceptions import EntrypointError, NotResumable
from mainspring.recording import current_recorder
from mainspring.runs import FlowRun, Resumption

__all__ = [
    "AnyFlow",
    "FlowAndFlowRun",
    "find_flow",
    "flow_of",
    "load_flow",
    "load_flow_and_flow_run",
    "refusal",
]

AnyFlow = AnySubject

_STORE_IN_USE = "mainspring.store.sqlite"  # imported when the first store is opened


def load_flow(target: str) -> AnyFlow:
    """The flow that ``FILE.py`` or ``FILE.py:flow`` names; its file is loaded, as a module.

    Without a name it is the only flow defined in the file, or the one whose variable is called like the file.

    Raises:
        EntrypointError: There is no such file or flow, or no one flow to choose, or loading the file failed,
            in which case the cause is the exception that came out of it.
    """
    path, name = _split(target)
    began = clock.current().now()
    module = load_file(path)
    flows = _flows_in(module)
    _refuse_what_ran_already(path, {flow.name for flow in flows.values()}, began)
    if name:
        return _named(path, name, module, flows)
    own = {key: flow for key, flow in flows.items() if flow.fn.__module__ == module.__name__}
    if len(own) == 1:
        return next(iter(own.values()))
    if path.stem in own:  # the flow that the file is named after
        return own[path.stem]
    if not own:
        raise EntrypointError(f"{path} defines no flow. Put @flow on the function that is to run.")
    raise EntrypointError(f"{path} defines {len(own)} flows. Say which one: {_choices(path, own)}.")


def find_flow(entrypoint: str, file: str | None) -> AnyFlow:
    """The flow at a place that was noted; its module is imported, or its file loaded, unless that was done already.

    Raises:
        EntrypointError: It cannot be found, imported or loaded.
    """
    found = find_subject(entrypoint, file)
    if not is_subject(found, "flow"):
        module_name, _, path = entrypoint.partition(":")
        raise EntrypointError(f"{file or module_name} has no flow {path!r} any more.")
    return found


class FlowAndFlowRun(NamedTuple):
    """A recorded run and the flow that it is of."""

    flow: AnyFlow
    flow_run: FlowRun


def load_flow_and_flow_run(flow_run_id: UUID | str) -> FlowAndFlowRun:
    """A flow run that keeps its results, whatever became of it, and its flow, whose module is imported if need be.

    Raises:
        NotResumable: It is not known where the flow is, or it is not there any more.
        ObjectNotFound: There is no such flow run.
    """
    recorder = current_recorder()
    recorder.flush()
    run = read_flow_run(recorder.store, flow_run_id)
    known = recorder.store.read_resumptions([run.key]).get(run.key)
    if known is None or known.entrypoint is None:
        unknown = known is None or known.problem is None
        reason = "was not noted" if unknown else f"is not known: {known and known.problem}"
        raise NotResumable(f"Flow run {run.name!r} ({run.id}) cannot be loaded: where its flow is {reason}.")
    return FlowAndFlowRun(flow_of(run, known), run)


def flow_of(run: FlowRun, known: Resumption) -> AnyFlow:
    """The flow at the place where it was when the run began.

    Raises:
        NotResumable: It is not there, or cannot be loaded.
    """
    assert known.entrypoint is not None
    try:
        return find_flow(known.entrypoint, known.file)
    except EntrypointError as error:
        raise refusal(
            run, f"its flow cannot be found. {error} Pass it: `resume_flow_run(id, flow=...)`"
        ) from error


def refusal(run: FlowRun, reason: str) -> NotResumable:
    """Why a flow run cannot be gone on with."""
    return NotResumable(f"Flow run {run.name!r} ({run.id}) cannot be resumed: {reason}.")


def _split(target: str) -> tuple[Path, str]:
    name = ""
    path = Path(target)
    if not path.exists() and ":" in target:
        file, _, name = target.rpartition(":")
        path = Path(file)
    if path.is_dir():
        raise EntrypointError(f"{path} is a directory. Name a Python file in it.")
    if not path.is_file():
        raise EntrypointError(f"There is no file {str(path)!r}{_similar_file(path)}.")
    return path, name


def _similar_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f": there is no directory {str(path.parent)!r}"
    names = [each.name for each in path.parent.glob("*.py")]
    from difflib import get_close_matches  # takes a millisecond, and only misspelt names need it

    similar = get_close_matches(path.name, names, 1)
    return f" (did you mean {str(path.parent / similar[0])!r}?)" if similar else ""


def _flows_in(module: ModuleType) -> dict[str, AnyFlow]:
    """The flows of a module by variable name, each once."""
    found: dict[str, AnyFlow] = {}
    for name, value in vars(module).items():
        if is_subject(value, "flow") and not any(value is flow for flow in found.values()):
            found[name] = value
    return found


def _refuse_what_ran_already(path: Path, names: Iterable[str], began: int) -> None:
    """A file that calls its flow when it is loaded would run it twice.

    Raises:
        EntrypointError: One of its flows ran while it was loaded.
    """
    if _STORE_IN_USE not in sys.modules:
        return  # nobody can have run anything
    for run in get_client().read_flow_runs(top_level=True, limit=20):
        if run.created_at >= began and run.flow_name in names:
            raise EntrypointError(
                f"{path} runs the flow {run.flow_name!r} when it is loaded, so it has run already: see"
                f" `mainspring runs show {run.id.hex[-8:]}`. {GUARD}"
            )


def _named(path: Path, name: str, module: ModuleType, flows: dict[str, AnyFlow]) -> AnyFlow:
    found: object = getattr(module, name, None)
    if is_subject(found, "flow"):
        return found
    for flow in flows.values():
        if flow.name == name:
            return flow
    if is_subject(found, "task"):
        what = f"{name!r} in {path} is a task, not a flow. Call it from a flow"
    elif found is not None:
        what = f"{name!r} in {path} is no flow but a {type(found).__name__}. Put @flow on it"
    else:
        what = f"{path} has no flow {name!r}"
    raise EntrypointError(f"{what}{f'; it has {_choices(path, flows)}' if flows else ''}.")


def _choices(path: Path, flows: dict[str, AnyFlow]) -> str:
    return ", ".join(f"{path}:{name}" for name in flows)
