"""Secrets in settings: the passwords in addresses, and texts without them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, cast
from urllib.parse import unquote

import msgspec

from mainspring.settings.values import to_plain

__all__ = ["MASK", "Secrets", "secrets_of", "without_secrets"]

MASK = "***"
"""What stands where a secret stood."""

DISTINCTIVE = 6
"""So long is a password that is hidden wherever it occurs; a shorter one only inside an address."""

_IN_ADDRESS = r"(?i)://[^:/?#@\s]*:([^/?#\s]+)@|[?&](?:ssl)?password=([^&#\s]+)"


class Secrets:
    """Some secrets, ready to be found in texts. Immutable and safe to share between threads.

    A password is masked where it stands in an address, and everywhere else too if it is long enough and no part
    of the address around it: with the password ``postgres`` every mention of the database would be masked.

    Args:
        texts: Texts that may hold addresses with passwords.
    """

    __slots__ = ("_pattern",)

    def __init__(self, texts: Iterable[str]) -> None:
        shapes = {shape for text in texts for shape in _shapes(text)}
        longest_first = sorted(shapes, key=lambda shape: (-len(shape), shape))
        self._pattern = re.compile("|".join(longest_first)) if shapes else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def in_text(self, text: str) -> bool:
        """Whether there is a secret in ``text``."""
        return self._pattern is not None and self._pattern.search(text) is not None

    def mask(self, text: str) -> str:
        """``text`` with `MASK` for each secret in it."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)


def secrets_of(settings: msgspec.Struct) -> Secrets:
    """The secrets in settings. Cheap for the settings that were asked about last."""
    global _latest
    known, secrets = _latest
    if known is not settings or secrets is None:
        secrets = Secrets(_texts(to_plain(settings)))
        _latest = (settings, secrets)
    return secrets


_latest: tuple[msgspec.Struct | None, Secrets | None] = (None, None)


def without_secrets(settings: msgspec.Struct, plain: Any) -> Any:
    """A copy of plain data, made of dicts, lists and texts, with the secrets of ``settings`` masked."""
    secrets = secrets_of(settings)

    def masked(value: Any) -> Any:
        if isinstance(value, str):
            return secrets.mask(value)
        if isinstance(value, dict):
            return {name: masked(each) for name, each in cast("dict[str, Any]", value).items()}
        if isinstance(value, list):
            return [masked(each) for each in cast("list[object]", value)]
        return value

    return masked(plain)


def _texts(plain: Any) -> Iterator[str]:
    if isinstance(plain, str):
        yield plain
    elif isinstance(plain, dict):
        for each in cast("dict[str, Any]", plain).values():
            yield from _texts(each)
    elif isinstance(plain, list):
        for each in cast("list[object]", plain):
            yield from _texts(each)


def _shapes(text: str) -> Iterator[str]:
    """Patterns for the passwords in ``text``, as they are, decoded, and as ``repr`` shows them."""
    for match in re.finditer(_IN_ADDRESS, text):
        password = match[1] or match[2]
        start, end = match.span(1 if match[1] else 2)
        around = unquote(text[:start] + text[end:])
        for plain in {password, unquote(password)}:
            for shown in {plain, repr(plain)[1:-1]}:
                form = re.escape(shown)
                yield rf"(?<=:){form}(?=@)"
                yield rf"(?<=password=){form}"
                if len(plain) >= DISTINCTIVE and plain not in around:
                    yield form
