"""JSON for the columns that hold it: what was meant is kept, and nothing that users pass makes it fail.

Parameters of flow runs are any Python values. What JSON has no form for becomes the name of its type,
``"<DataFrame>"``. A value whose JSON is longer than `MAX_LENGTH` is shortened: texts to `MAX_TEXT` characters
and collections to `MAX_MEMBERS` members, each saying how much was left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

import msgspec

__all__ = ["MAX_LENGTH", "MAX_MEMBERS", "MAX_TEXT", "facts_to_json", "to_json", "to_plain", "well_formed"]

MAX_LENGTH = 65_536
MAX_TEXT = 1_000
MAX_MEMBERS = 100
_MAX_DEPTH = 8


def to_json(value: Mapping[str, Any] | Iterable[str]) -> str | None:
    """The JSON of ``value``; None if it is empty, or cannot be gone through. Never raises any other ``Exception``.

    Raises:
        RecursionError: The caller's stack is full. Later, from elsewhere, it will do.
    """
    if not value:
        return None
    try:
        if not _is_long(value):
            text = _encode(value)
            if len(text) <= MAX_LENGTH:
                return text.decode()
    except Exception:  # noqa: S110 - a foreign type may do anything, and so may its attributes
        pass
    try:
        return _encode(_plain_members(value, 1)).decode()
    except RecursionError:
        raise
    except Exception:  # a collection of the user's that cannot be gone through
        return None


def to_plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """``value`` as it comes back from the column: what JSON can hold, and placeholders. Raises as `to_json` does."""
    plain: dict[str, Any] = msgspec.json.decode(to_json(value) or "{}")
    return plain


def facts_to_json(value: Mapping[str, Any]) -> str | None:
    """The JSON of facts of our own, which must be read back in the same form; None if there are none.

    Raises:
        RecursionError: The caller's stack is full. Later, from elsewhere, it will do.
    """
    if not value:
        return None
    try:
        return _encode(value).decode()
    except RecursionError:
        raise
    except Exception:  # a name that UTF-8 cannot hold
        return to_json(value)


def well_formed(text: str) -> str:
    """The text with a question mark for each code point that UTF-8 cannot hold (lone surrogates)."""
    return text.encode("utf-8", "replace").decode()


def _is(value: Any, *kinds: type) -> bool:
    """``isinstance`` without what type checkers conclude: members of unknown type, each in its own way."""
    return isinstance(value, kinds)


def _is_long(value: Any) -> bool:
    """True if it shows at first sight; spares encoding a huge list only to throw the text away."""
    return _is(value, Mapping) and any(
        _is(member, str, list, tuple, dict) and len(member) > MAX_LENGTH for member in value.values()
    )


def _type_name(value: object) -> str:
    return well_formed(f"<{type(value).__name__}>")


def _substitute(value: Any) -> Any:
    """What the encoder asks for a value that it has no form for."""
    if _is(value, os.PathLike):
        return value.__fspath__()
    if _is(value, str):
        return str.__str__(value)
    if _is(value, Mapping):
        return dict(value)
    if _is(value, AbstractSet):
        return list(value)
    serializer: Any = getattr(value, "__pydantic_serializer__", None)
    if serializer is not None:  # a model knows what it is in JSON, and what of it is secret
        return serializer.to_python(value, mode="json", fallback=_type_name, warnings=False)
    return _type_name(value)


_encode = msgspec.json.Encoder(enc_hook=_substitute).encode


def _plain(value: Any, depth: int) -> Any:
    """A copy of bounded size that the encoder is certain to accept."""
    try:
        if _is(value, str):
            return _shortened(value)
        if _is(value, Mapping, list, tuple, AbstractSet):
            return _plain_members(value, depth + 1)
        text = _encode(value)
        if len(text) <= MAX_TEXT:
            return msgspec.Raw(text)
    except Exception:  # noqa: S110 - as above; the other members keep their form
        pass
    return _type_name(value)


def _plain_members(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return _type_name(value)
    left_out = len(value) - MAX_MEMBERS
    if _is(value, Mapping):
        some = islice(value.items(), MAX_MEMBERS)
        members = {_key(key): _plain(member, depth) for key, member in some}
        return members if left_out <= 0 else {**members, "...": f"<{left_out} more>"}
    items = [_plain(member, depth) for member in islice(value, MAX_MEMBERS)]
    return items if left_out <= 0 else [*items, f"<{left_out} more>"]


def _key(key: object) -> str:
    if isinstance(key, str):
        return _shortened(key)
    return _shortened(str(key)) if isinstance(key, int | float) else _type_name(key)


def _shortened(text: str) -> str:
    left_out = len(text) - MAX_TEXT
    if left_out > 0:
        text = f"{text[:MAX_TEXT]}... <{left_out} more>"
    return well_formed(text)
