"""Hashes of texts, files and values."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from os import PathLike
from typing import Any

from mainspring.exceptions import HashError
from mainspring.hashing.canonical import encode, encode_items
from mainspring.hashing.walk import Algorithm, text_of

__all__ = ["content_hash", "content_hashes", "file_hash", "hash_objects", "items_hash", "stable_hash"]

KEY_LENGTH = 32  # hexadecimal digits: 128 bits, so accidents do not happen


def md5(data: Any = b"") -> Any:
    """MD5, declared as no matter of security, so that restricted systems have it, too."""
    import hashlib  # on use: OpenSSL takes milliseconds to load

    return hashlib.md5(data, usedforsecurity=False)


def _own_sha256() -> Algorithm:
    """The SHA-256 that Python has itself; that of `hashlib` where it has none."""
    for name in ("_sha2", "_sha256"):  # from Python 3.12 on, and before
        with suppress(ImportError):
            algorithm: Algorithm = import_module(name).sha256
            return algorithm
    return _openssl_sha256()


@cache
def _openssl_sha256() -> Algorithm:
    from hashlib import sha256  # likewise

    return sha256


_short_sha256 = _own_sha256()
_SHORT = 256  # bytes up to which it takes less time than OpenSSL, whose instructions are quicker, takes to begin with


def _sha256(data: Any) -> Any:
    """SHA-256 of bytes or a buffer."""
    return _short_sha256(data) if type(data) is bytes and len(data) <= _SHORT else _openssl_sha256()(data)


def _digits(encoded: bytes) -> str:
    """The hash of an encoding, which is short."""
    digest: str = _short_sha256(encoded).hexdigest()
    return digest[:KEY_LENGTH]


def stable_hash(*args: str | bytes, hash_algo: Algorithm = md5) -> str:
    """The hash of texts, one after the other; the same in every process.

    Args:
        args: Texts, which count as UTF-8, and bytes.
        hash_algo: The hash function, like ``hashlib.sha256``.

    Returns:
        Hexadecimal digits.
    """
    hasher = hash_algo()
    for part in args:
        hasher.update(part.encode() if isinstance(part, str) else part)
    digest: str = hasher.hexdigest()
    return digest


def file_hash(path: str | PathLike[str], hash_algo: Algorithm = md5) -> str:
    """The hash of what a file holds; reads it in pieces.

    Args:
        path: The file.
        hash_algo: The hash function, like ``hashlib.sha256``.

    Returns:
        Hexadecimal digits.

    Raises:
        FileNotFoundError: There is no such file.
    """
    import hashlib

    with open(path, "rb") as file:  # noqa: PTH123 - takes what `open` takes
        return hashlib.file_digest(file, hash_algo).hexdigest()


def hash_objects(
    *args: Any, hash_algo: Algorithm = md5, raise_on_failure: bool = False, **kwargs: Any
) -> str | None:
    """The hash of values by their content; the same in every process, on every machine, with every hash seed.

    Values of different types are different: ``1``, ``"1"``, ``1.0`` and ``True`` have four hashes. The order of dicts
    and sets does not count, that of lists does. An array counts by type, shape and elements, a path by its text, a
    function by name and code (so the version of Python counts as well).

    Args:
        args: Any values.
        hash_algo: The hash function, like ``hashlib.sha256``.
        raise_on_failure: Raise instead of returning None.
        kwargs: More values, which count together with their names.

    Returns:
        Hexadecimal digits; None if a value cannot be hashed.

    Raises:
        HashError: A value cannot be hashed, and ``raise_on_failure`` is set. It says which part, and why.
    """
    try:
        parts = [encode(value, hash_algo, f"args[{index}]") for index, value in enumerate(args)]
        if kwargs:
            parts.append(encode(kwargs, hash_algo, "kwargs"))
    except HashError:
        if raise_on_failure:
            raise
        return None
    head = b"%d:%d:" % (len(args), len(kwargs))
    digest: str = hash_algo(head + b"".join(parts)).hexdigest()
    return digest


def content_hash(value: Any, name: str = "value") -> str:
    """The hash of one value by its content, as cache keys use it: 32 hexadecimal digits of SHA-256.

    SHA-256, since processors have instructions for it: of what the standard library has, nothing that is safe against
    collisions is quicker on large arrays.

    Args:
        value: Any value.
        name: What to call it in messages.

    Raises:
        HashError: It cannot be hashed. The message says which part, and why.
    """
    is_text = type(value) is str  # as the parts of most keys are
    return _digits(text_of(value, _sha256) if is_text else encode(value, _sha256, name))


def items_hash(values: Mapping[str, Any], name: str = "values") -> str:
    """`content_hash` of a dict whose keys are texts, for less; raises as that does.

    Args:
        values: Any values by name.
        name: What to call them in messages.
    """
    return _digits(encode_items(values, _sha256, name)[0])


def content_hashes(
    values: Mapping[str, Any], name: str = "values", prefix: str = ""
) -> tuple[str, dict[str, str]]:
    """`content_hash` of a dict and of each of its values, for hardly more than the first of these costs.

    Args:
        values: Any values by name.
        name: What to call them in messages.
        prefix: What to put before each name in the answer.

    Returns:
        The hash of the dict, and the hashes of its values by their sorted names.

    Raises:
        HashError: A value cannot be hashed. The message says which part, and why.
    """
    whole, items = encode_items(values, _sha256, name)
    return _digits(whole), {prefix + key: _digits(encoded) for key, encoded in items.items()}
