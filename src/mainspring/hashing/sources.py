"""The text of functions, and what their code refers to."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache, partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from mainspring.exceptions import HashError
from mainspring.hashing.digests import content_hash
from mainspring.hashing.walk import full_name, type_of

__all__ = ["references_of", "source_of"]

FOREIGN = sys.stdlib_module_names | {__name__.partition(".")[0]}
INSTALLED = ("site-packages", "dist-packages")


def source_of(fn: Callable[..., Any]) -> str:
    """The source text of a function, with its decorators and comments, without indentation.

    A callable object has that of its class, a `functools.partial` that of its function and a hash of its arguments.
    Where no source can be found, and for lambdas, of which a line may hold several, the compiled code stands for it.

    Args:
        fn: Any callable.

    Returns:
        Text that differs whenever the code differs. Read it when the function is defined: Python takes it from the
        file as that is now.
    """
    if isinstance(fn, partial):
        try:
            arguments = content_hash((fn.args, fn.keywords), "partial")
        except HashError:  # such arguments stay what they are as long as the partial does
            arguments = "unknown"
        return f"{source_of(fn.func)}\n# partial {arguments}"
    subject: Any = inspect.unwrap(getattr(fn, "__func__", fn))
    if not isinstance(subject, FunctionType | type) and not inspect.isbuiltin(subject):
        subject = type_of(subject)
    if getattr(subject, "__name__", "") != "<lambda>":
        try:
            return _clean(inspect.getsource(subject))
        except (OSError, TypeError, SyntaxError, IndentationError):
            pass  # typed at a prompt, made by exec, compiled, unpickled, or in a file that has changed
    return _compiled(subject)


def references_of(fn: Callable[..., Any], exclude: Collection[str] = ()) -> dict[str, str]:
    """What the result of a function may depend on besides its arguments: hashes by name.

    These are its own code, what it has from functions around it, and the global names it uses. Own functions, classes
    and modules among them are followed in turn; of the standard library and of installed packages, name and version
    count.

    Args:
        fn: The function, or a callable object.
        exclude: Names to leave out.

    Returns:
        Hashes by ``"module.function"`` and ``"module.function.name"``.

    Raises:
        HashError: A global value cannot be hashed. Exclude its name, or pass it as an argument.
    """
    found: list[tuple[str, str]] = []
    waiting: list[Any] = [fn]
    seen: dict[int, Any] = {}
    while waiting:
        subject: Any = _function_in(waiting.pop())
        if not isinstance(subject, FunctionType | type):
            subject = type_of(subject)
        if id(subject) in seen:
            continue
        seen[id(subject)] = subject
        if isinstance(subject, type):
            found.append((full_name(subject), content_hash(source_of(subject))))
            members = map(_function_in, vars(subject).values())
            waiting += [base for base in subject.__bases__ if _is_own(base)]
            waiting += [member for member in members if isinstance(member, FunctionType)]
            continue
        found.append((full_name(subject), _code_hash(subject)))
        for name, value in _used(subject):
            target = _function_in(value)
            if name.partition(".")[0] in exclude:
                continue
            if isinstance(target, FunctionType | type) and _is_own(target):
                waiting.append(target)
            else:
                place = f"{full_name(subject)}.{name}"
                found.append((place, _stand_in(target) or content_hash(target, place)))
    return _numbered(found)


def _numbered(found: list[tuple[str, str]]) -> dict[str, str]:
    """A dict in the order of the names; what has the same name as another gets a number."""
    hashes: dict[str, str] = {}
    for name, digest in sorted(found):
        count, place = 1, name
        while place in hashes:
            count += 1
            place = f"{name}#{count}"
        hashes[place] = digest
    return hashes


def _clean(source: str) -> str:
    """The same text wherever it was indented and however its lines end."""
    lines = textwrap.dedent(source).expandtabs().splitlines()
    return "\n".join(line.rstrip() for line in lines).strip()


def _compiled(subject: Any) -> str:
    """What stands for the source of something that has none."""
    name = getattr(subject, "__qualname__", type(subject).__qualname__)
    if isinstance(subject, FunctionType):
        return f"# compiled {name} {content_hash(subject.__code__)}"
    if isinstance(subject, type):
        members = {key: _function_in(member) for key, member in vars(subject).items()}
        codes = {key: member.__code__ for key, member in members.items() if isinstance(member, FunctionType)}
        return f"# compiled {name} {content_hash(codes)}"
    return f"# builtin {full_name(subject)}"


def _code_hash(fn: FunctionType) -> str:
    return content_hash((fn.__code__, fn.__defaults__, fn.__kwdefaults__), full_name(fn))


def _function_in(value: Any) -> Any:
    """The function in a method, a task, a property or a cache, if there is one; else the value."""
    if isinstance(value, type | ModuleType | FunctionType):
        return value
    for attribute in ("__func__", "fget", "__wrapped__", "fn", "func"):
        inner = inspect.getattr_static(value, attribute, None)
        if inner is not None and isinstance(inner := getattr(value, attribute, None), FunctionType):
            return inner
    return value


def _used(fn: FunctionType) -> Iterator[tuple[str, Any]]:
    """The global names and the names of outer functions that the code uses, with what they stand for."""
    for name, cell in sorted(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True)):
        try:
            yield name, cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    names = set(_names(fn.__code__))
    for name in sorted(names & fn.__globals__.keys()):
        value = fn.__globals__[name]
        yield name, value
        if isinstance(value, ModuleType) and _is_own(value):
            for inner in sorted(names & vars(value).keys()):
                yield f"{name}.{inner}", vars(value)[inner]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_own(value: Any) -> bool:
    """Whether code is the user's, and neither of the standard library nor installed."""
    name = (
        value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or "builtins"
    )
    return name == "__main__" or not _is_foreign(name.partition(".")[0])


@lru_cache(1024)
def _is_foreign(package: str) -> bool:
    """Whether a top-level package came with Python, or lies where packages are installed."""
    file = getattr(sys.modules.get(package), "__file__", None)
    if package in FOREIGN or file is None:
        return package in FOREIGN
    path = Path(file)
    home = path.parents[1] if path.stem == "__init__" else path.parent
    return home.name in INSTALLED or any(home.glob("*.dist-info"))


def _stand_in(value: Any) -> str | None:
    """Name and version of what is not looked into: modules, and functions and classes of others."""
    if isinstance(value, ModuleType):
        name = value.__name__
    elif isinstance(value, FunctionType | type) or inspect.isbuiltin(value):
        name = full_name(value)
    else:
        return None
    package: Any = sys.modules.get(name.partition(".")[0])
    return f"{name} {getattr(package, '__version__', '')}".rstrip()
