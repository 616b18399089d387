"""Results compressed: any serializer, with its output made smaller by a compression library."""

from __future__ import annotations

import base64
from typing import Any

from mainspring.serializers.base import Serializer, load_library
from mainspring.serializers.json import JSONSerializer
from mainspring.serializers.pickled import PickleSerializer

__all__ = ["CompressedJSONSerializer", "CompressedPickleSerializer", "CompressedSerializer"]


class CompressedSerializer(Serializer[Any]):
    """Another serializer's output, compressed, as base64 text.

    Args:
        serializer: The serializer whose output is compressed: itself, its type, or a mapping of its configuration.
        compressionlib: The import path of a module with ``compress`` and ``decompress``: ``lzma`` for small results,
            ``zlib`` or ``bz2``; ``zstandard`` or ``lz4.frame``, which are much quicker, where installed.

    Raises:
        ConfigurationError: There is no such module, or it lacks one of the functions.
    """

    type: str = "compressed"
    serializer: Serializer[Any]
    compressionlib: str = "lzma"

    def __post_init__(self) -> None:
        object.__setattr__(self, "serializer", Serializer.convert(self.serializer))
        load_library(self.compressionlib, "compress", "decompress")

    def dumps(self, obj: Any) -> bytes:
        library = load_library(self.compressionlib)
        return base64.b64encode(library.compress(self.serializer.dumps(obj)))

    def loads(self, blob: bytes) -> Any:
        library = load_library(self.compressionlib)
        return self.serializer.loads(library.decompress(base64.b64decode(blob, validate=True)))


class CompressedPickleSerializer(CompressedSerializer):
    """Compressed pickles; see `CompressedSerializer` and `PickleSerializer`."""

    type: str = "compressed/pickle"
    serializer: Serializer[Any] = PickleSerializer()


class CompressedJSONSerializer(CompressedSerializer):
    """Compressed JSON; see `CompressedSerializer` and `JSONSerializer`."""

    type: str = "compressed/json"
    serializer: Serializer[Any] = JSONSerializer()
