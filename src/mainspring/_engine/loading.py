"""Finding a task or flow where it was defined: its module is imported, or its file loaded as one."""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeGuard

from mainspring._engine.subject import Subject
from mainspring._processes.flow_files import OWN_NAMES, add_folder
from mainspring.exceptions import EntrypointError
from mainspring.recording import current_recorder
from mainspring.runs import Run

__all__ = ["GUARD", "AnySubject", "find_subject", "is_subject", "load_file"]

AnySubject = Subject[..., Any]

GUARD = 'What a script does when it is started belongs below `if __name__ == "__main__":`.'


def find_subject(entrypoint: str, file: str | None, loads_files: bool = True) -> AnySubject:
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
    if not (is_subject(found, "flow") or is_subject(found, "task")):
        raise EntrypointError(f"{file or module_name} has no flow or task {path!r} any more.")
    return found


def is_subject(value: object, kind: Literal["task", "flow"]) -> TypeGuard[AnySubject]:
    """Whether a value is a flow or a task; their modules are above this one, which engines need."""
    return isinstance(value, Subject) and value.kind == kind


def load_file(path: Path) -> ModuleType:
    """Run the file as a module under its own name, so that other processes find what it defines."""
    add_folder(str(path.parent.resolve()))
    name = path.stem
    if name in sys.modules or name in sys.stdlib_module_names or "." in name:
        name = f"{OWN_NAMES}{name.replace('.', '_')}"
    spec = spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise EntrypointError(f"{path} is no Python file: its name has to end with '.py'.")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, SystemExit):
            raise EntrypointError(f"{path} called sys.exit() while it was loaded. {GUARD}") from None
        raise EntrypointError(f"{path} raised {type(error).__name__} while it was loaded.") from error
    return module


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
            f"{file or module_name} runs {ran[0].name!r} when it is imported, so that has been run now. {GUARD}"
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
    if module_name == "__main__" or module_name.startswith(OWN_NAMES):
        if path is None:
            raise EntrypointError(f"There is no file {file!r} any more.")
        return load_file(path)
    if path is not None:
        depth = module_name.count(".") + (path.name == "__init__.py")
        add_folder(str(path.parents[min(depth, len(path.parents) - 1)]))
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:
        where = "" if file is None else f" (from {file})"
        raise EntrypointError(
            f"The module {module_name!r}{where} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if path is None or _is_from(module, str(path)):
        return module
    return load_file(path)  # another module has the name here


def _import_by_name(module_name: str, file: str | None) -> ModuleType:
    """Import a module that can be imported here without further ado.

    Raises:
        EntrypointError: It cannot, or is another one than the one that is meant.
    """
    if module_name == "__main__" or module_name.startswith(OWN_NAMES):
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
