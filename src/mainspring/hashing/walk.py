"""The walk over a value: what is built in, and the rules that everything follows.

See :mod:`mainspring.hashing.canonical` for what comes out, and for all other types.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import CodeType, MappingProxyType
from typing import Any
from uuid import UUID

__all__ = [
    "SCALARS",
    "Algorithm",
    "Cycle",
    "Refused",
    "Walk",
    "folded",
    "full_name",
    "packed",
    "text_of",
    "type_of",
]

FOLD = 96  # bytes; longer encodings are replaced by a digest of them
UNIFORM = 16  # items; longer sequences of one plain type are encoded in one go
ENTANGLED = 20_000  # parts of sets inside cycles that are looked at before giving up

Algorithm = Callable[..., Any]  # like hashlib.sha256: takes bytes, gives an object with digest()


class Cycle(Exception):  # noqa: N818 - a signal to start again, never seen outside
    """The value contains itself."""


class Refused(Exception):  # noqa: N818 - becomes a HashError when the whole path is known
    """A part cannot be hashed. ``path`` is collected from the inside out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []


class Walk:
    """One walk over one value.

    ``seen`` maps ids to what was visited, which is kept alive so that no id is used again, and to its encoding: None
    while it is still being walked. In a numbered walk the encoding is a number from the start, so a part that is
    found again is a reference to its first place.

    Args:
        algorithm: The hash function for what is long.
        effort: Makes it a numbered walk: counts the members of sets, over all walks that share it.
    """

    __slots__ = ("algorithm", "effort", "seen")

    def __init__(self, algorithm: Algorithm, effort: list[int] | None = None) -> None:
        self.algorithm = algorithm
        self.effort = effort
        self.seen: dict[int, tuple[Any, bytes | None]] = {}

    def encode(self, value: Any) -> bytes:
        """The encoding of any value: of constant or of at most `FOLD` bytes."""
        kind = type_of(value)
        plain = SCALARS.get(kind)
        if plain is not None:
            return plain(value)
        if kind is str:
            return text_of(value, self.algorithm)
        if kind is bytes:
            return b"b%d:%b" % (len(value), value) if len(value) < FOLD else b"B" + self.digest(value)
        identity = id(value)
        seen = self.seen.get(identity)
        if seen is not None:
            if seen[1] is None:
                raise Cycle
            return seen[1]
        if self.effort is None:
            self.seen[identity] = (value, None)
        elif kind not in IMMUTABLE:
            self.seen[identity] = (value, b"@%d;" % len(self.seen))
        known = CONTAINERS.get(kind)
        encoded = known(self, value) if known is not None else self.other(value, kind)
        if self.effort is None:
            if encoded[:1] == b"#":
                self.seen[identity] = (value, encoded)
            else:
                del self.seen[identity]  # what is short is quicker encoded again than kept
        return encoded

    def digest(self, data: Any) -> bytes:
        """The digest of bytes or of a contiguous buffer, without a copy; long ones leave the GIL alone."""
        digest: bytes = self.algorithm(data).digest()
        return digest

    def fold(self, letter: bytes, parts: list[bytes]) -> bytes:
        """Parts joined behind a letter and their number, or the digest of that."""
        return folded(letter, parts, self.algorithm)

    # Containers

    def sequence(self, value: Iterable[Any], letter: bytes = b"[") -> bytes:
        """Items in their order."""
        items: Any = value
        if len(items) > UNIFORM and (uniform := self.uniform(items)):
            return b"#" + self.digest(letter + uniform)
        parts: list[bytes] = []
        try:
            for item in items:
                parts.append(self.encode(item))
        except Refused as refused:
            refused.path.append(f"[{len(parts)}]")
            raise
        return self.fold(letter, parts)

    def fixed(self, value: tuple[Any, ...]) -> bytes:
        return self.sequence(value, b"(")

    def uniform(self, items: Any) -> bytes | None:
        """Many numbers or texts at once, None if the items are of several or of other types."""
        kinds = set(map(type, items))
        if len(kinds) > 1:
            return None
        from array import array  # a library that takes milliseconds to load

        if float in kinds:
            return b"f#" + self.digest(_little_endian(array("d", items)))
        if int in kinds:
            try:
                return b"i#" + self.digest(_little_endian(array("q", items)))
            except OverflowError:
                return None
        if str in kinds:
            lengths = _little_endian(array("Q", map(len, items)))
            texts = "".join(items).encode("utf-8", "surrogatepass")
            return b"s#" + self.digest(lengths) + self.digest(texts)
        return None

    def mapping(self, value: Mapping[Any, Any]) -> bytes:
        """Items in the order of their keys."""
        if set(map(type, value)) <= {str}:
            return self.named("{", sorted(value), value.__getitem__, "[{!r}]")
        keys = list(value)
        encoded = self.detached(keys)
        parts: list[bytes] = []
        for key, index in sorted(zip(encoded, range(len(keys)), strict=True)):
            parts.append(key)
            try:
                parts.append(self.encode(value[keys[index]]))
            except Refused as refused:
                refused.path.append(f"[{keys[index]!r}]")
                raise
        return self.fold(b"{", parts)

    def named(self, letter: str, names: Iterable[str], get: Callable[[str], Any], place: str) -> bytes:
        """Values with their names; ``place`` says how to write one of them in a path."""
        parts: list[bytes] = []
        name = ""
        try:
            for name in names:
                text = name.encode("utf-8", "surrogatepass")
                parts.append(b"s%d:%b" % (len(text), text))
                parts.append(self.encode(get(name)))
        except Refused as refused:
            refused.path.append(place.format(name))
            raise
        return self.fold(letter.encode(), parts)

    def members(self, value: Iterable[Any], letter: bytes = b"<") -> bytes:
        """Members in the order of their encodings."""
        return self.fold(letter, sorted(self.detached(value)))

    def frozen(self, value: frozenset[Any]) -> bytes:
        return self.members(value, b">")

    def detached(self, members: Iterable[Any]) -> list[bytes]:
        """The encodings of what has no order: none depends on which of the others came first."""
        if self.effort is None:
            return [self.encode(member) for member in members]
        encodings: list[bytes] = []
        for member in members:
            walk = type(self)(self.algorithm, self.effort)
            walk.seen.update(self.seen)
            self.effort[0] += 1
            if self.effort[0] > ENTANGLED:
                raise Refused("its parts refer to each other through sets in too many ways.")
            encodings.append(walk.encode(member))
        return encodings

    def record(self, value: Any, names: Iterable[str]) -> bytes:
        """Those fields of a dataclass, model, struct or named tuple that are set."""
        present = [name for name in names if hasattr(value, name)]
        fields = self.named("{", present, lambda name: getattr(value, name), ".{}")
        return self.fold(b"D", [packed(full_name(type_of(value))), fields])

    def other(self, value: Any, kind: type) -> bytes:
        """A value of a type that is not built in."""
        raise NotImplementedError


def folded(letter: bytes, parts: list[bytes], algorithm: Algorithm) -> bytes:
    """See `Walk.fold`."""
    joined = b"%b%d:%b" % (letter, len(parts), b"".join(parts))
    return joined if len(joined) < FOLD else b"#" + algorithm(joined).digest()


def text_of(value: str, algorithm: Algorithm) -> bytes:
    """The encoding of a text of any length."""
    data = value.encode("utf-8", "surrogatepass")
    return b"s%d:%b" % (len(data), data) if len(data) < FOLD else b"S" + algorithm(data).digest()


def packed(text: str) -> bytes:
    """The encoding of a short text, such as a name."""
    data = text.encode("utf-8", "surrogatepass")
    return b"s%d:%b" % (len(data), data)


def full_name(thing: Any) -> str:
    """The full name of a class or function."""
    return f"{getattr(thing, '__module__', None) or 'builtins'}.{thing.__qualname__}"


def _little_endian(numbers: Any) -> Any:
    if struct.pack("=H", 1) == b"\0\1":
        numbers.byteswap()
    return numbers


# What encodes which type


def _moment(walk: Walk, value: datetime | time) -> bytes:
    parts = [packed(full_name(type_of(value))), packed(value.isoformat()), b"1" if value.fold else b"0"]
    return walk.fold(b"d", [*parts, walk.encode(value.tzinfo)])


def _buffer(walk: Walk, value: memoryview) -> bytes:
    flat = value.cast("B") if value.c_contiguous and value.nbytes else value.tobytes()
    return b"#" + walk.digest(
        walk.fold(b"m", [packed(value.format), walk.encode(value.shape), walk.digest(flat)])
    )


def _bytearray(walk: Walk, value: bytearray) -> bytes:
    return b"y%d:%b" % (len(value), bytes(value)) if len(value) < FOLD else b"Y" + walk.digest(value)


def _float(value: float) -> bytes:
    return b"f" + _DOUBLE(value)


def _complex(value: complex) -> bytes:
    return b"c" + _DOUBLE(value.real) + _DOUBLE(value.imag)


_DOUBLE = struct.Struct("<d").pack

SCALARS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"N",
    bool: lambda value: b"t" if value else b"n",
    int: lambda value: b"i%x;" % value,
    float: _float,
    complex: _complex,
    type(...): lambda _: b".",
    type(NotImplemented): lambda _: b"!",
    Decimal: lambda value: b"E" + packed(str(value)),
    UUID: lambda value: b"u" + value.bytes,
    date: lambda value: b"a" + packed(value.isoformat()),
    timedelta: lambda value: b"l%x;%x;%x;" % (value.days, value.seconds, value.microseconds),
    range: lambda value: b"r%x;%x;%x;" % (value.start, value.stop, value.step),
}

CONTAINERS: dict[type, Callable[[Any, Any], bytes]] = {
    list: Walk.sequence,
    tuple: Walk.fixed,
    dict: Walk.mapping,
    set: Walk.members,
    frozenset: Walk.frozen,
    datetime: _moment,
    time: _moment,
    timezone: lambda walk, value: walk.fold(b"z", [packed(str(value)), walk.encode(value.utcoffset(None))]),
    bytearray: _bytearray,
    memoryview: _buffer,
    slice: lambda walk, value: walk.fold(b"q", [walk.encode((value.start, value.stop, value.step))]),
    MappingProxyType: lambda walk, value: walk.fold(b"x", [walk.mapping(value)]),
}

# Not numbered, since whether two equal ones are the same object is up to the interpreter. A cycle through one of them
# goes through something else as well.
IMMUTABLE = frozenset({tuple, frozenset, datetime, time, timezone, slice, CodeType})


def type_of(value: object) -> Any:
    """The type of ``value``, without the claim that nothing is known of its members."""
    return type(value)
