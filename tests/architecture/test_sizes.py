"""Nothing in the package is too long to be read at once."""

import ast
from collections.abc import Iterator

from tests.architecture.source import MODULES, Module

MODULE_LINES = 600
FUNCTION_LINES = 60

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(module: Module) -> Iterator[Function]:
    return (node for node in ast.walk(module.tree) if isinstance(node, Function))


def code_lines(module: Module, function: Function) -> int:
    """The lines from `def` to the end, without the docstring, blank lines and comments."""
    lines = set(range(function.lineno, (function.end_lineno or 0) + 1))
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        lines -= set(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    texts = (module.lines[line - 1].strip() for line in lines)
    return sum(bool(text) and not text.startswith("#") for text in texts)


def test_modules_are_short() -> None:
    """A module has at most 600 lines."""
    sizes = {module.at(1): len(module.lines) for module in MODULES}
    assert not {where: size for where, size in sizes.items() if size > MODULE_LINES}


def test_functions_are_short() -> None:
    """A function has at most 60 lines of code."""
    sizes = {
        f"{module.at(function.lineno)} {function.name}": code_lines(module, function)
        for module in MODULES
        for function in functions(module)
    }
    assert not {where: size for where, size in sizes.items() if size > FUNCTION_LINES}
