"""What is imported when it is used for the first time, and what has been imported by now.

A program that runs one task needs a third of the package. The rest is named where it is used, as everything is, but
imported by whoever uses it first: names that packages export with `names_on_use`, modules with `modules_on_use`, and
those of the standard library that take long with `library_on_use`. Type checkers see an import beside it, so names are
checked, and layers are.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module

from mainspring._stacks import give_back_room, make_room

TYPE_CHECKING = False
"""As in `typing`, which takes four times as long to import as all else that ``import mainspring`` does."""

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

__all__ = ["library_on_use", "load", "loaded", "modules_on_use", "names_on_use"]


def load(name: str) -> Any:
    """Import a module, without collecting garbage meanwhile or because of it.

    Nothing of what is loaded is garbage, and looking for that takes a tenth of the time.

    Args:
        name: Its full name.
    """
    if name in sys.modules or not gc.isenabled():
        return _import(name)
    gc.disable()
    try:
        return _import(name)
    finally:
        if not gc.get_freeze_count():  # else somebody wants what he has frozen to stay so
            gc.freeze()
            gc.unfreeze()  # together they put all objects among the oldest, as if they had been looked at
        gc.enable()


def _import(name: str) -> Any:
    """Import a module, however little is left of the stack.

    Something may be used for the first time to end what has come to a `RecursionError`.
    """
    try:
        return import_module(name)
    except RecursionError as error:
        make_room(error)
        try:
            return import_module(name)
        finally:
            give_back_room()


def loaded(name: str) -> Any:
    """The module, if it is imported; None if not, and while some thread is about to import it.

    A module is in ``sys.modules`` from the beginning of its import on, with hardly anything in it. Until the end of
    the import nobody has anything of it, so to its users it is the same as one that nobody has asked for. Does not
    wait, and may be called from any thread.

    Args:
        name: Its full name.
    """
    module: Any = sys.modules.get(name)
    if module is None or getattr(getattr(module, "__spec__", None), "_initializing", False):
        return None
    return module


def names_on_use(
    package: str, homes: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's ``__getattr__`` and ``__dir__``: its exports are imported when they are used for the first time.

    Args:
        package: Its full name.
        homes: By module, the names that the package exports from there; a module of the package itself is named by
            the last part of its name only, with a dot before.
    """
    module_of = {name: module for module, names in homes.items() for name in names}
    namespace = vars(sys.modules[package])

    def getattr_(name: str) -> Any:
        home = module_of.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = namespace[name] = getattr(load(f"{package}{home}" if home[0] == "." else home), name)
        return value

    def dir_() -> list[str]:
        return [*namespace["__all__"]]

    return getattr_, dir_


def modules_on_use(package: str, *names: str) -> Any:
    """What stands for modules of a package, and imports each when something of it is used for the first time.

    Args:
        package: The full name of the package they are in.
        *names: Their names in it; for one, what stands for it is returned alone.
    """
    stand_ins = tuple(_OnUse(f"{package}.{name}") for name in names)
    return stand_ins if len(names) > 1 else stand_ins[0]


def library_on_use(name: str) -> Any:
    """What stands for a module of the standard library; see `modules_on_use`.

    Args:
        name: Its full name.
    """
    return _OnUse(name)


class _OnUse:
    """Stands for a module that is not imported until something of it is used."""

    __slots__ = ("__dict__", "_name")

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        module = load(self._name)
        self.__dict__ = (
            module.__dict__
        )  # from now on this is as quick as the module, and the same for whoever patches it
        return getattr(module, name)

    def __repr__(self) -> str:
        return f"<module {self._name!r}, imported on use>"
