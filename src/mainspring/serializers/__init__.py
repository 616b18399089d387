"""Serializers: what turns results into bytes and back.

::

    Serializer(type="json").dumps({"rows": 3})     # b'{"rows": 3}'

A serializer is a small immutable object: a type and some options. Its configuration is written beside each result,
and reading uses what is written there, so changing a default never makes an old result unreadable.

``base``        `Serializer`, the registry of types, and the stand-in for types that are not known here
``pickled``     any Python object (the default): ``"pickle"``
``json``        what other programs can read: ``"json"``
``objects``     the JSON form of Python objects, and which classes have one
``msgpack``     small and quick for plain data: ``"msgpack"``
``arrow``       data frames and Arrow tables, for every program that reads Arrow: ``"arrow"``
``pandas_tables``  frames of pandas as Arrow tables, with nothing changed
``compressed``  any of them, compressed: ``"zstd"``, ``"lz4"``, ``"compressed"``, ``"compressed/pickle"``,
                ``"compressed/json"``

Whoever can write into a result storage decides what reading does: unpickling runs code, and the configuration that
is written beside a result names modules. Keep results where only people and programs you trust can write.
"""

from typing import TYPE_CHECKING

from mainspring._imports import names_on_use

if TYPE_CHECKING:
    from mainspring.serializers.arrow import ArrowSerializer
    from mainspring.serializers.base import Serializer, UnknownSerializer
    from mainspring.serializers.compressed import (
        CompressedJSONSerializer,
        CompressedPickleSerializer,
        CompressedSerializer,
        LZ4Serializer,
        ZstdSerializer,
    )
    from mainspring.serializers.json import JSONSerializer
    from mainspring.serializers.msgpack import MessagePackSerializer
    from mainspring.serializers.objects import (
        json_object_decoder,
        json_object_encoder,
        register_json_type,
    )
    from mainspring.serializers.pickled import PickleSerializer

__all__ = [
    "ArrowSerializer",
    "CompressedJSONSerializer",
    "CompressedPickleSerializer",
    "CompressedSerializer",
    "JSONSerializer",
    "LZ4Serializer",
    "MessagePackSerializer",
    "PickleSerializer",
    "Serializer",
    "UnknownSerializer",
    "ZstdSerializer",
    "json_object_decoder",
    "json_object_encoder",
    "register_json_type",
]

__getattr__, __dir__ = names_on_use(
    __name__,
    {
        ".arrow": ["ArrowSerializer"],
        ".base": ["Serializer", "UnknownSerializer"],
        ".compressed": [
            "CompressedJSONSerializer",
            "CompressedPickleSerializer",
            "CompressedSerializer",
            "LZ4Serializer",
            "ZstdSerializer",
        ],
        ".json": ["JSONSerializer"],
        ".msgpack": ["MessagePackSerializer"],
        ".objects": ["json_object_decoder", "json_object_encoder", "register_json_type"],
        ".pickled": ["PickleSerializer"],
    },
)
