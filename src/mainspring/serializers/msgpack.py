"""Results as MessagePack: small and quick for plain data."""

from __future__ import annotations

from typing import Any

import msgspec

from mainspring.serializers.base import Serializer
from mainspring.serializers.objects import JSON_SCALARS, from_plain, to_plain

__all__ = ["MessagePackSerializer"]

_SCALARS = JSON_SCALARS | {bytes}
_SMALL_SCALARS = _SCALARS - {int}


class MessagePackSerializer(Serializer[Any]):
    """MessagePack, a binary form of JSON, with the same forms for Python objects as `JSONSerializer`.

    Unlike JSON it keeps every type, also tuples and keys that are no texts, and has bytes as they are.
    """

    type: str = "msgpack"

    def dumps(self, obj: Any) -> bytes:
        try:
            return msgspec.msgpack.encode(to_plain(obj, _SCALARS))
        except OverflowError:  # an integer of more than 64 bits: write them all as texts
            return msgspec.msgpack.encode(to_plain(obj, _SMALL_SCALARS))

    def loads(self, blob: bytes) -> Any:
        return from_plain(msgspec.msgpack.decode(blob, strict=True), _SCALARS)
