"""Results as JSON: what other programs can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from mainspring._imports import loaded
from mainspring.annotations import NotSet
from mainspring.exceptions import ConfigurationError
from mainspring.serializers.base import Serializer, find_object, load_library
from mainspring.serializers.objects import json_object_decoder

__all__ = ["JSONSerializer"]

_ENCODER = "mainspring.serializers.json_object_encoder"
_DECODER = "mainspring.serializers.json_object_decoder"
_NONE: Mapping[str, Any] = MappingProxyType({})


class JSONSerializer(Serializer[Any]):
    """JSON, with Python objects in a form that says what they were made from (see `json_object_encoder`).

    Plain data follows the rules of JSON: tuples come back as lists, keys of dicts as texts, and what is derived from
    a text or a number, such as ``numpy.float64``, as that.

    Args:
        jsonlib: The import path of a module with ``dumps`` and ``loads``, for example ``orjson``.
        object_encoder: The import path of the function that is called for what the library has no form for, as its
            argument ``default``. None passes no such argument.
        object_decoder: The import path of the function that is called with each dict, as the argument
            ``object_hook``. None passes no such argument, as ``orjson`` needs it.
        dumps_kwargs: Further arguments for ``dumps``.
        loads_kwargs: Further arguments for ``loads``.
        strict: Loading imports no module, and refuses a class that is not there. Use it directly for data from where
            you do not trust. For results in a storage it protects from mistakes only: the option is read from there.

    Raises:
        ConfigurationError: A module or function is not there, or an argument is one that we pass ourselves.
    """

    type: str = "json"
    jsonlib: str = "json"
    object_encoder: str | None = _ENCODER
    object_decoder: str | None = _DECODER
    dumps_kwargs: Mapping[str, Any] = _NONE
    loads_kwargs: Mapping[str, Any] = _NONE
    strict: bool = False

    def __post_init__(self) -> None:
        load_library(self.jsonlib, "dumps", "loads")
        for option, argument in (("dumps_kwargs", "default"), ("loads_kwargs", "object_hook")):
            kwargs: Mapping[str, Any] = getattr(self, option)
            if argument in kwargs:
                instead = "object_encoder" if argument == "default" else "object_decoder"
                raise ConfigurationError(f"{option!r} cannot contain {argument!r}. Use {instead!r} for it.")
            object.__setattr__(self, option, dict(kwargs))
        for path in (self.object_encoder, self.object_decoder):
            if path not in (None, _ENCODER, _DECODER):
                _function(path)

    def dumps(self, obj: Any) -> bytes:
        library = loaded(self.jsonlib) or load_library(self.jsonlib)
        if self.object_encoder is None:
            written = library.dumps(obj, **self.dumps_kwargs)
        else:
            written = library.dumps(obj, default=_function(self.object_encoder), **self.dumps_kwargs)
        return written.encode() if isinstance(written, str) else written

    def loads(self, blob: bytes) -> Any:
        library = loaded(self.jsonlib) or load_library(self.jsonlib)
        text = blob.decode()
        if self.object_decoder is None:
            return library.loads(text, **self.loads_kwargs)
        decode = _function(self.object_decoder)
        if self.strict and decode is json_object_decoder:
            decode = partial(json_object_decoder, strict=True)
        return library.loads(text, object_hook=decode, **self.loads_kwargs)


def _function(path: Any) -> Callable[..., Any]:
    found = find_object(path) if isinstance(path, str) else NotSet
    if found is NotSet or not callable(found):
        raise ConfigurationError(f"There is no function with the import path {path!r}.")
    return found
