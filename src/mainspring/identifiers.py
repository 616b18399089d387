"""Ids of runs and states: time-ordered UUIDs (version 7) and how people shorten them.

Inside the engine an id is its 16 bytes, which is what the store keeps; it becomes a ``uuid.UUID`` when
somebody reads the ``id`` of a record. Time order keeps the store's indexes compact, since new rows always
come last. It also means that ids made close together begin alike, so an id may be shortened from either side.
"""

from __future__ import annotations

import os
import time
from _random import Random  # what `random` adds to it takes longer to import than all else in here
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from struct import Struct
from typing import Protocol
from uuid import UUID

from mainspring.exceptions import ConfigurationError

__all__ = [
    "IdSource",
    "SystemIdSource",
    "new_id",
    "shorten",
    "to_bytes",
    "to_text",
    "to_uuid",
    "use_id_source",
]

SHORT_LENGTH = 8
_joined = Struct(">QQ").pack  # two halves, as larger numbers take longer


class IdSource(Protocol):
    """Where new ids and every other random number of the engine come from."""

    def new(self) -> bytes:
        """A fresh id, 16 bytes, greater than those made in earlier milliseconds."""
        ...

    def uniform(self) -> float:
        """A random number in [0, 1), for retry jitter."""
        ...


class SystemIdSource:
    """Ids from the wall clock and a generator seeded by the operating system, anew in forked children."""

    def __init__(self) -> None:
        self._random = Random()
        self.seed = self._random.seed
        os.register_at_fork(after_in_child=self.seed)

    def new(self) -> bytes:
        """See :meth:`IdSource.new`."""
        # 48 bits of milliseconds, version 7, 12 bits of fractions, variant, 62 random bits (RFC 9562)
        milliseconds, rest = divmod(time.time_ns(), 1_000_000)
        return _joined(
            milliseconds << 16 | 0x7000 | rest * 4096 // 1_000_000,
            0x8000_0000_0000_0000 | self._random.getrandbits(62),
        )

    def uniform(self) -> float:
        """See :meth:`IdSource.uniform`."""
        return self._random.random()


_current: ContextVar[IdSource] = ContextVar("mainspring_ids", default=SystemIdSource())  # noqa: B039

current = _current.get


def new_id() -> bytes:
    """A fresh id from the source of the calling context."""
    return _current.get().new()


@contextmanager
def use_id_source(source: IdSource) -> Generator[IdSource]:
    """Take new ids and random numbers from ``source`` inside the block."""
    token = _current.set(source)
    try:
        yield source
    finally:
        _current.reset(token)


def to_uuid(key: bytes | None) -> UUID | None:
    """The UUID of an id's 16 bytes, None for None."""
    return None if key is None else UUID(bytes=key)


def to_text(key: bytes) -> str:
    """What ``str`` makes of the UUID of an id's 16 bytes, in a fraction of the time."""
    digits = key.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def to_bytes(key: UUID | str | bytes) -> bytes:
    """The 16 bytes of an id given in any form.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(key, bytes):
        return key
    try:
        return (key if isinstance(key, UUID) else UUID(key)).bytes
    except (ValueError, TypeError, AttributeError):
        raise ConfigurationError(
            f"{key!r} is no id: give a UUID, or all of one as text. `find_run` of a client takes a part of one."
        ) from None


def shorten(key: UUID | bytes, length: int = SHORT_LENGTH) -> str:
    """The last ``length`` hexadecimal digits of an id: its random end, which tells ids apart."""
    return (key.hex if isinstance(key, UUID) else key.hex())[-length:]
