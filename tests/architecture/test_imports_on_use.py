"""What is imported on use says so twice, to Python and to type checkers: both say the same."""

import ast
import sys
from collections.abc import Iterator

import pytest

from tests.architecture.source import MODULES, NAMES, Module


def calls(module: Module, function: str) -> Iterator[ast.Call]:
    """The calls of a function in a module."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(ast.Name(name)) if name == function:
                yield node


def for_type_checkers(module: Module) -> set[str]:
    """The full names of what a module imports for type checkers only."""
    return {
        f"{statement.module}.{alias.name}" if isinstance(statement, ast.ImportFrom) else alias.name
        for node in module.tree.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        if isinstance(statement, ast.ImportFrom | ast.Import)
        for alias in statement.names
    }


def using(function: str) -> list[object]:
    return [
        pytest.param(module, id=module.name)
        for module in MODULES
        if module.name != "mainspring._imports" and any(calls(module, function))
    ]


@pytest.mark.parametrize("module", using("modules_on_use"))
def test_modules_on_use_are_there(module: Module) -> None:
    """A module that is imported on use exists, and is imported for type checkers."""
    for call in calls(module, "modules_on_use"):
        package, *names = [ast.literal_eval(argument) for argument in call.args]
        assert {f"{package}.{name}" for name in names} <= NAMES & for_type_checkers(module)


@pytest.mark.parametrize("module", using("library_on_use"))
def test_libraries_on_use_are_there(module: Module) -> None:
    """A module of the standard library that is imported on use is one, and is imported for type checkers."""
    for call in calls(module, "library_on_use"):
        (name,) = [ast.literal_eval(argument) for argument in call.args]
        assert {name} <= sys.stdlib_module_names & for_type_checkers(module)


@pytest.mark.parametrize("module", using("names_on_use"))
def test_names_on_use_are_exported(module: Module) -> None:
    """The table of names that are imported on use is what type checkers see, and is exported."""
    (call,) = calls(module, "names_on_use")
    homes: dict[str, list[str]] = ast.literal_eval(call.args[1])
    found = {
        f"{module.name if home.startswith('.') else ''}{home}.{name}"
        for home, names in homes.items()
        for name in names
    }
    assert found <= for_type_checkers(module)
    exported = {name for names in homes.values() for name in names}
    (assigned,) = (
        node.value
        for node in module.tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    assert exported <= set(ast.literal_eval(assigned))
