"""How a record lies in a file: one JSON object in two lines, of which the first describes the second.

::

    {"metadata":{"storage_key":"/data/results/3f","expiration":null,"serializer":{"type":"json"}},
    "result":"{\\"rows\\": 3}"}

So the file is JSON for everybody who reads it, and whether a result exists and still counts is told by the first line,
however long the second one is. ``result`` is the text that the serializer wrote. What is no text is written in base64,
and then there is ``"encoding":"base64"`` before it.

There is nothing after the last brace, so that no part of a file is a whole record.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec

from mainspring.exceptions import SerializationError

__all__ = ["join_record", "read_metadata", "split_record"]

_START = b'{"metadata":'
_HEAD_SIZE = 4096  # more than any usual first line, and one block of a file system
_GROWTH = 16

_encode = msgspec.json.encode


class _Record(msgspec.Struct):
    """A record in a file."""

    metadata: msgspec.Raw
    result: str
    encoding: str = ""


_decode = msgspec.json.Decoder(_Record).decode


class _FlatRecord(msgspec.Struct):
    """A record as it was written once, with everything in one object."""

    data: str
    serializer: Any
    expiration: str | None = None
    storage_key: str | None = None
    mainspring_version: str | None = None


def join_record(metadata: bytes, payload: bytes) -> bytes:
    """The bytes of a file.

    Args:
        metadata: The description, as a JSON object in one line.
        payload: What the serializer wrote.
    """
    encoding, text = b"", payload
    try:
        written = _encode(payload.decode())
    except UnicodeDecodeError:
        encoding, text = b'"encoding":"base64",', base64.b64encode(payload)
        written = b'"%b"' % text
    return b'%b%b,\n%b"result":%b}' % (_START, metadata, encoding, written)


def split_record(content: bytes) -> tuple[bytes, bytes]:
    """The metadata and the payload that a file was made from, or one in the old flat form.

    Raises:
        SerializationError: The content is no record, or not a whole one.
    """
    try:
        record = _decode(content)
        if record.encoding == "base64":
            return bytes(record.metadata), base64.b64decode(record.result, validate=True)
        if record.encoding:
            raise SerializationError(
                f"A stored result has the encoding {record.encoding!r}, which is not known."
            )
        return bytes(record.metadata), record.result.encode()
    except msgspec.ValidationError as error:
        return _split_flat(content, error)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise SerializationError(
            f"What is stored is no record of a result, or a damaged one: {error}."
        ) from error


def read_metadata(read_head: Callable[[int], bytes]) -> bytes:
    """The metadata of a file, read without what follows.

    Args:
        read_head: Reads so many bytes from the beginning of the file, or all if there are fewer.

    Raises:
        SerializationError: It is no record.
    """
    size = _HEAD_SIZE
    while True:
        head = read_head(size)
        end = head.find(b"\n")
        if head.startswith(_START) and end >= 0:
            return head[len(_START) : end].rstrip(b"\r").removesuffix(b",")
        if len(head) < size:  # all there is: JSON that somebody else laid out
            return split_record(head)[0]
        size *= _GROWTH


def _split_flat(content: bytes, reason: Exception) -> tuple[bytes, bytes]:
    try:
        record = msgspec.json.decode(content, type=_FlatRecord)
    except msgspec.DecodeError:
        raise SerializationError(f"What is stored is no record of a result: {reason}.") from reason
    description = msgspec.structs.asdict(record)
    payload = description.pop("data").encode()
    return _encode(description), payload
