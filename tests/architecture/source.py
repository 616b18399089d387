"""The package as its tests of architecture see it: modules, parsed, and what they import."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "mainspring"

Place = Literal["module", "typing", "function"]


@dataclass(frozen=True)
class Import:
    """One imported module, where the statement stands and on which line."""

    target: str
    place: Place
    line: int

    @property
    def is_own(self) -> bool:
        return self.target.partition(".")[0] == "mainspring"


@dataclass(frozen=True)
class Module:
    """One module of the package."""

    name: str
    path: Path

    @property
    def unit(self) -> str:
        """The top-level module or package it belongs to; `__init__` for the root."""
        return unit(self.name)

    @property
    def is_public(self) -> bool:
        return not any(part.startswith("_") for part in self.name.split("."))

    @cached_property
    def lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").splitlines()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse("\n".join(self.lines), filename=str(self.path))

    @cached_property
    def imports(self) -> list[Import]:
        return list(_imports(self.tree, self, "module"))

    def at(self, line: int) -> str:
        """The line as an editor understands it."""
        return f"{self.path.relative_to(ROOT)}:{line}"


def unit(name: str) -> str:
    """The top-level module or package of a dotted name inside mainspring."""
    return [*name.split("."), "__init__"][1]


def _imports(node: ast.AST, module: Module, place: Place) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import(names):
                yield from (Import(alias.name, place, child.lineno) for alias in names)
            case ast.ImportFrom(base, names, level):
                base = _absolute(base or "", module, level)
                for alias in names:
                    inner = f"{base}.{alias.name}"
                    yield Import(inner if inner in NAMES else base, place, child.lineno)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from _imports(child, module, "function")
            case ast.If(ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                for part in child.body:
                    yield from _imports(ast.Module([part], []), module, "typing")
                for part in child.orelse:
                    yield from _imports(ast.Module([part], []), module, place)
            case _:
                yield from _imports(child, module, place)


def _absolute(base: str, module: Module, level: int) -> str:
    if level == 0:
        return base
    package = module.name.split(".")
    package = package[: len(package) - level + (module.path.stem == "__init__")]
    return ".".join([*package, base] if base else package)


def _modules() -> Iterator[Module]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path)


MODULES = list(_modules())
NAMES = {module.name for module in MODULES}
