"""From ``FILE.py:flow``, the name of a module and of a flow in it, or the id of a recorded run, to the flow."""

from __future__ import annotations

import difflib
import sys
import threading
from collections.abc import Iterable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, TypeGuard
from uuid import UUID

from mainspring import clock
from mainspring._engine.flow_runs import read_flow_run
from mainspring._engine.subject import Subject
from mainspring.client import get_client
from mainspring.exceptions import EntrypointError, NotResumable
from mainspring.recording import current_recorder
from mainspring.runs import FlowRun, Resumption, Run

__all__ = [
    "AnyFlow",
    "FlowAndFlowRun",
    "find_flow",
    "find_subject",
    "flow_of",
    "load_flow",
    "load_flow_and_flow_run",
    "refusal",
]

AnyFlow = Subject[..., Any]

_OWN_NAMES = "__flow_file_"  # of modules whose file is called like another module
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
    module = _load(path)
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
    if not _is(found, "flow"):
        module_name, _, path = entrypoint.partition(":")
        raise EntrypointError(f"{file or module_name} has no flow {path!r} any more.")
    return found


def find_subject(entrypoint: str, file: str | None, loads_files: bool = True) -> AnyFlow:
    """The task or flow at a place that was noted.

    Args:
        entrypoint: ``module:name``.
        file: The file that the module came from, if it had one.
        loads_files: With False only modules count that are loaded already or can be imported by their name as they are.

    Raises:
        EntrypointError: It cannot be found, imported or loaded.
    """
    module_name, _, path = entrypoint.partition(":")
    module = _loaded_from(module_name, file)
    if module is None:
        module = _import_quietly(module_name, file, loads_files)
    try:
        found: object = attrgetter(path)(module)
    except AttributeError:
        found = None
    if not (_is(found, "flow") or _is(found, "task")):
        raise EntrypointError(f"{file or module_name} has no flow or task {path!r} any more.")
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


def _import_quietly(module_name: str, file: str | None, loads_files: bool) -> ModuleType:
    """Import a module that must not run flows when it is imported.

    Raises:
        EntrypointError: It did, or cannot be imported.
    """
    here, ran = threading.get_ident(), list[Run]()

    def note(run: Run, _: object) -> None:
        if threading.get_ident() == here:
            ran.append(run)

    with current_recorder().listen(note):
        module = _import(module_name, file) if loads_files else _import_by_name(module_name, file)
    if ran:
        raise EntrypointError(
            f"{file or module_name} runs {ran[0].name!r} when it is imported, so that has been run now. {_GUARD}"
        )
    return module


def _loaded_from(module_name: str, file: str | None) -> ModuleType | None:
    """The module, if it has been loaded from that file already, under any name."""
    if file is None:
        return sys.modules.get(module_name)
    for module in (sys.modules.get(module_name), *list(sys.modules.values())):
        if _is_from(module, file):
            return module
    return None


def _is_from(module: object, file: str) -> bool:
    own = getattr(module, "__file__", None)
    return isinstance(own, str) and own.endswith(Path(file).name) and str(Path(own).resolve()) == file


def _import(module_name: str, file: str | None) -> ModuleType:
    """Import a module by its name if that leads to the file, or the file is not there; else load the file.

    Raises:
        EntrypointError: Both failed.
    """
    path = None if file is None or not Path(file).is_file() else Path(file)
    if module_name == "__main__" or module_name.startswith(_OWN_NAMES):
        if path is None:
            raise EntrypointError(f"There is no file {file!r} any more.")
        return _load(path)
    if path is not None:
        depth = module_name.count(".") + (path.name == "__init__.py")
        root = str(path.parents[min(depth, len(path.parents) - 1)])
        if root not in sys.path:
            sys.path.insert(0, root)
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:
        where = "" if file is None else f" (from {file})"
        raise EntrypointError(
            f"The module {module_name!r}{where} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if path is None or _is_from(module, str(path)):
        return module
    return _load(path)  # another module has the name here


def _import_by_name(module_name: str, file: str | None) -> ModuleType:
    """Import a module that can be imported here without further ado.

    Raises:
        EntrypointError: It cannot, or is another one than the one that is meant.
    """
    if module_name == "__main__" or module_name.startswith(_OWN_NAMES):
        raise EntrypointError(f"{file or module_name} is a script, which is not loaded by itself.")
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:
        raise EntrypointError(
            f"The module {module_name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if file is not None and not _is_from(module, file):
        raise EntrypointError(f"The module {module_name!r} is another one here than {file}.")
    return module


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
    similar = difflib.get_close_matches(path.name, names, 1)
    return f" (did you mean {str(path.parent / similar[0])!r}?)" if similar else ""


def _load(path: Path) -> ModuleType:
    """Run the file as a module under its own name, so that other processes find what it defines."""
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = path.stem
    if name in sys.modules or name in sys.stdlib_module_names or "." in name:
        name = f"{_OWN_NAMES}{name.replace('.', '_')}"
    spec = spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise EntrypointError(f"{path} is no Python file: its name has to end with '.py'.")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, SystemExit):
            raise EntrypointError(f"{path} called sys.exit() while it was loaded. {_GUARD}") from None
        raise EntrypointError(f"{path} raised {type(error).__name__} while it was loaded.") from error
    return module


_GUARD = 'What a script does when it is started belongs below `if __name__ == "__main__":`.'


def _flows_in(module: ModuleType) -> dict[str, AnyFlow]:
    """The flows of a module by variable name, each once."""
    found: dict[str, AnyFlow] = {}
    for name, value in vars(module).items():
        if _is(value, "flow") and not any(value is flow for flow in found.values()):
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
                f" `mainspring runs show {run.id.hex[-8:]}`. {_GUARD}"
            )


def _named(path: Path, name: str, module: ModuleType, flows: dict[str, AnyFlow]) -> AnyFlow:
    found: object = getattr(module, name, None)
    if _is(found, "flow"):
        return found
    for flow in flows.values():
        if flow.name == name:
            return flow
    if _is(found, "task"):
        what = f"{name!r} in {path} is a task, not a flow. Call it from a flow"
    elif found is not None:
        what = f"{name!r} in {path} is no flow but a {type(found).__name__}. Put @flow on it"
    else:
        what = f"{path} has no flow {name!r}"
    raise EntrypointError(f"{what}{f'; it has {_choices(path, flows)}' if flows else ''}.")


def _choices(path: Path, flows: dict[str, AnyFlow]) -> str:
    return ", ".join(f"{path}:{name}" for name in flows)


def _is(value: object, kind: Literal["task", "flow"]) -> TypeGuard[AnyFlow]:
    """Whether a value is a flow or a task; their modules are above this one, which engines need."""
    return isinstance(value, Subject) and value.kind == kind
