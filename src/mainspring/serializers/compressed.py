"""Results compressed: any serializer, with its output made smaller by a compression library."""

from __future__ import annotations

import base64
import sys
from types import ModuleType
from typing import Any

from mainspring.serializers.base import Serializer, load_library
from mainspring.serializers.json import JSONSerializer
from mainspring.serializers.pickled import PickleSerializer

__all__ = [
    "CompressedJSONSerializer",
    "CompressedPickleSerializer",
    "CompressedSerializer",
    "LZ4Serializer",
    "ZstdSerializer",
]

_MODULES = {
    "lz4": "lz4.frame",
    "zstd": "compression.zstd" if sys.version_info >= (3, 14) else "zstandard",
}
"""The module for each format that has a name; any of them reads what another one wrote."""


class CompressedSerializer(Serializer[Any]):
    """Another serializer's output, compressed, as base64 text.

    Args:
        serializer: The serializer whose output is compressed: itself, its type, or a mapping of its configuration.
        compressionlib: ``zstd`` or ``lz4``, which are quick, or the import path of a module with ``compress`` and
            ``decompress``: ``zlib``, ``bz2``, or ``lzma``, which takes so long that it is for small results. ``lz4``
            needs the extra of this name, and ``zstd`` too before Python 3.14, which has it in its standard library.

    Raises:
        ConfigurationError: There is no such module, or it lacks one of the functions. If an extra brings it, the
            message says how to install it.
    """

    type: str = "compressed"
    serializer: Serializer[Any]
    compressionlib: str = "lzma"

    def __post_init__(self) -> None:
        object.__setattr__(self, "serializer", Serializer.convert(self.serializer))
        self._library()

    def dumps(self, obj: Any) -> bytes:
        return base64.b64encode(self._library().compress(self.serializer.dumps_binary(obj)))

    def loads(self, blob: bytes) -> Any:
        return self.serializer.loads(self._library().decompress(base64.b64decode(blob, validate=True)))

    def _library(self) -> ModuleType:
        path = _MODULES.get(str(self.compressionlib), self.compressionlib)
        return load_library(path, "compress", "decompress")


class CompressedPickleSerializer(CompressedSerializer):
    """Compressed pickles; see `CompressedSerializer` and `PickleSerializer`."""

    type: str = "compressed/pickle"
    serializer: Serializer[Any] = PickleSerializer()


class CompressedJSONSerializer(CompressedSerializer):
    """Compressed JSON; see `CompressedSerializer` and `JSONSerializer`."""

    type: str = "compressed/json"
    serializer: Serializer[Any] = JSONSerializer()


class ZstdSerializer(CompressedSerializer):
    """Another serializer's output, pickles by default, compressed with zstd: small and quick.

    Args:
        serializer: As for `CompressedSerializer`.
    """

    type: str = "zstd"
    serializer: Serializer[Any] = PickleSerializer()
    compressionlib: str = "zstd"


class LZ4Serializer(CompressedSerializer):
    """Another serializer's output, pickles by default, compressed with lz4: the quickest, and not as small.

    Args:
        serializer: As for `CompressedSerializer`.
    """

    type: str = "lz4"
    serializer: Serializer[Any] = PickleSerializer()
    compressionlib: str = "lz4"
