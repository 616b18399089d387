"""What the package offers, and what importing it costs."""

import ast
import importlib
import inspect
import subprocess
import sys

import pytest

import mainspring
from tests.architecture.source import MODULES, Module

ROOT_EXPORTS = [
    "Flow",
    "State",
    "Task",
    "Transaction",
    "__version__",
    "allow_failure",
    "apause_flow_run",
    "aresume_flow_run",
    "asuspend_flow_run",
    "flow",
    "get_client",
    "get_run_logger",
    "pause_flow_run",
    "resume_flow_run",
    "suspend_flow_run",
    "tags",
    "task",
    "unmapped",
]

# Loaded when first used, never by `import mainspring`.
LAZY = {
    "cloudpickle",
    "mainspring.cli",
    "mainspring.task_engine",
    "pydantic",
    "rich",
    "sqlite3",
    "typer",
}

for_each_public_module = pytest.mark.parametrize(
    "module", [pytest.param(module, id=module.name) for module in MODULES if module.is_public]
)


def exports(module: Module) -> list[str]:
    """The names in `__all__`, read from the source, so that they are known to be literals."""
    for node in module.tree.body:
        match node:
            case ast.Assign([ast.Name("__all__")], ast.List(items)) | ast.AnnAssign(
                ast.Name("__all__"), _, ast.List(items)
            ):
                names = [item.value for item in items if isinstance(item, ast.Constant)]
                assert len(names) == len(items), f"{module.at(node.lineno)}: not a literal"
                return names
    pytest.fail(f"{module.at(1)}: no literal `__all__ = [...]`")


def imported(module: Module) -> object:
    try:
        return importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if module.name.startswith(("mainspring.integrations.", "mainspring.server")):
            pytest.skip(f"needs an extra that is not installed: {error.name}")
        raise


@for_each_public_module
def test_exports_are_public(module: Module) -> None:
    """`__all__` is a literal list of public names, each once; the linter keeps its order."""
    names = exports(module)
    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith("_")] in ([], ["__version__"])


@for_each_public_module
def test_exports_exist_and_are_ours(module: Module) -> None:
    """Each name in `__all__` exists; a class or function says that it comes from mainspring."""
    namespace = imported(module)
    objects = {name: getattr(namespace, name) for name in exports(module)}
    homes = {
        name: found.__module__
        for name, found in objects.items()
        if (inspect.isclass(found) or inspect.isroutine(found)) and found.__module__
    }
    assert not {name: home for name, home in homes.items() if home.split(".")[0] != "mainspring"}


def test_root_exports_are_pinned() -> None:
    """The root offers exactly this; a change is a decision, so it is written down twice."""
    assert mainspring.__all__ == ROOT_EXPORTS


def test_import_is_lazy() -> None:
    """`import mainspring` loads neither engines nor databases nor the command line."""
    program = "import sys, mainspring; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert not LAZY & set(done.stdout.split())
