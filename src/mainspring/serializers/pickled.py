"""Results as pickles: any Python object, for Python only."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import cache, lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring._imports import library_on_use, loaded
from mainspring.serializers.base import Serializer, load_library

if TYPE_CHECKING:
    import binascii
else:
    binascii = library_on_use("binascii")

__all__ = ["PickleSerializer"]

_DEFAULT_LIBRARY = "cloudpickle"
_START = b"\x80"  # of every pickle since protocol 2
_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})
_PROTOCOL = 5  # the highest one of `pickle`, which is not imported for that
_FEW = 64  # parts of a value; for more of them, what cloudpickle takes to begin with does not count

# Libraries that are imported, in whole: to find one takes less time than to see that.
_whole: dict[str, ModuleType] = {}


class PickleSerializer(Serializer[Any]):
    """Pickles, as base64 text. The default: it takes what Python can pickle, and functions and classes besides.

    Loading a pickle runs code that the pickle chooses. Load only what comes from where you trust.

    Args:
        picklelib: The import path of a module with ``dumps`` and ``loads``. It is looked up at each call.
        picklelib_version: The version that wrote. Left out, it is filled in when the configuration is written beside
            a result; where it differs from the version that reads, there is a warning. It does not count when
            serializers are compared.

    Raises:
        ConfigurationError: There is no such module, or it lacks one of the functions.
    """

    type: str = "pickle"
    picklelib: str = _DEFAULT_LIBRARY
    picklelib_version: str | None = None

    def __post_init__(self) -> None:
        if self.picklelib != _DEFAULT_LIBRARY:  # which is there, and takes a while to import
            load_library(self.picklelib, "dumps", "loads")

    def dumps(self, obj: Any) -> bytes:
        return binascii.b2a_base64(self._quickly(obj) or self._library().dumps(obj), newline=False)

    def dumps_binary(self, obj: Any) -> bytes:
        pickled: bytes = self._quickly(obj) or self._library().dumps(obj)
        # only a pickle that cannot be taken for base64 text may go without
        return pickled if pickled.startswith(_START) else binascii.b2a_base64(pickled, newline=False)

    def loads(self, blob: bytes) -> Any:
        pickled = blob if blob.startswith(_START) else binascii.a2b_base64(blob, strict_mode=True)
        return self._library().loads(pickled)

    def _quickly(self, obj: Any) -> bytes | None:
        """The pickle of a plain value, which both libraries write the same; None if there is more to see to."""
        if self.picklelib != _DEFAULT_LIBRARY or self.picklelib_version is not None or not _is_plain(obj):
            return None
        return _standard_dumps()(obj, _PROTOCOL)

    def configuration(self) -> dict[str, Any]:
        known = super().configuration()
        if self.picklelib_version is None:
            known["picklelib_version"] = _version(self._library())
        return known

    def dump_configuration(self) -> bytes:
        if type(self) is not PickleSerializer or self.picklelib_version is not None:
            return super().dump_configuration()
        if self.picklelib == _DEFAULT_LIBRARY:
            return _dumped_by_default()
        return _dumped(self.picklelib, _version(self._library()))

    def _library(self) -> ModuleType:
        name, wanted = self.picklelib, self.picklelib_version
        library = sys.modules.get(name)
        if library is None or library is not _whole.get(name):
            library = _whole[name] = loaded(name) or load_library(name, "dumps", "loads")
        present = None if wanted is None else getattr(library, "__version__", None)
        if present != wanted and isinstance(present, str):
            warnings.warn(
                f"A pickle of {self.picklelib} {wanted} meets version {present} here. If it does not load, or loads"
                " wrongly, install the version that wrote it.",
                stacklevel=3,  # who called dumps or loads
            )
        return library

    def _facts(self) -> tuple[Any, ...]:
        return self.type, self.picklelib


def _is_plain(value: Any) -> bool:
    """Whether a value is made of a few numbers, texts, lists, tuples and dicts, and of nothing else."""
    kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType] - of whatever value
    if kind is dict and len(value) < _FEW and _ATOMS.issuperset(map(type, value.values())):
        return _ATOMS.issuperset(map(type, value))
    parts = [value]
    for part in parts:  # which grow meanwhile
        kind = type(part)  # pyright: ignore[reportUnknownVariableType]
        if kind in _ATOMS:
            continue
        if kind is dict:
            parts += part
            parts += part.values()
        elif kind is list or kind is tuple:
            parts += part
        else:
            return False
        if len(parts) > _FEW:
            return False
    return True


@cache
def _standard_dumps() -> Callable[[Any, int], bytes]:
    import pickle  # a program whose results are not kept never needs it

    return pickle.dumps


@lru_cache(64)
def _dumped(picklelib: str, version: str | None) -> bytes:
    """What is written beside each result, and changes with the version alone."""
    return msgspec.json.encode(
        PickleSerializer(picklelib=picklelib, picklelib_version=version).configuration()
    )


@cache
def _dumped_by_default() -> bytes:
    """The same of the default library, of which there is one in a process."""
    return _dumped(_DEFAULT_LIBRARY, _version(load_library(_DEFAULT_LIBRARY, "dumps", "loads")))


def _version(library: ModuleType) -> str | None:
    version = getattr(library, "__version__", None)
    return version if isinstance(version, str) else None
