"""What goes to and from a worker process: values as bytes, in frames, over a pair of sockets.

A frame has a kind, a small head that is always understood, and perhaps a value that is packed: its pickle, and the
buffers of arrays in it, which are neither copied into the pickle nor out of it.
"""

from __future__ import annotations

import pickle
import select
import socket
import struct
import threading
from collections.abc import Sequence
from enum import IntEnum
from importlib import import_module
from io import BytesIO
from typing import Any, NamedTuple, Protocol, cast

__all__ = ["Channel", "Frame", "Kind", "Packed", "Patience", "pack", "pack_flat", "unpack"]

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
"""Types of values of which pickle knows all there is to know."""

Packed = Sequence[Any]
"""The pickle of a value, then its buffers."""

_START = struct.Struct("!BI")  # kind, number of parts
_JOINED = 65_536  # bytes up to which a frame is sent in one piece


class Kind(IntEnum):
    """What a frame says.

    To the worker: SETUP (what holds for all calls), CALL, INTERRUPT (the call is to end), CANCEL (nothing is to begin
    any more), EXIT. From the worker: READY or UNREADY (the end of the setup), DONE (what the call came to), RAISED
    (the exception that came out), REFUSED (the call could not be read), LOG, EVENT, STATE (what happened meanwhile),
    LIMIT (until when what goes on now may take, or that it is over).
    """

    SETUP = 1
    CALL = 2
    CANCEL = 3
    EXIT = 4
    READY = 5
    UNREADY = 6
    DONE = 7
    RAISED = 8
    REFUSED = 9
    LOG = 10
    EVENT = 11
    STATE = 12
    INTERRUPT = 13
    LIMIT = 14


class Frame(NamedTuple):
    """A frame that has come."""

    kind: Kind
    head: Any
    packed: Packed


def pack(value: Any) -> Packed:
    """A value as bytes.

    Raises:
        Exception: Whatever a part of the value raises that cannot be pickled.
    """
    if type(value) in _PLAIN or (type(value) is dict and _has_plain(value)):
        return [pickle.dumps(value, 5)]  # which takes a fraction of the time
    # on use: it costs more than most programs need
    cloudpickle = cast(Any, import_module("cloudpickle"))
    file, buffers = BytesIO(), list[pickle.PickleBuffer]()
    cloudpickle.CloudPickler(file, protocol=5, buffer_callback=buffers.append).dump(value)
    return [file.getvalue(), *(buffer.raw() for buffer in buffers)]


def _has_plain(value: Any) -> bool:
    return all(type(key) in _PLAIN and type(each) in _PLAIN for key, each in value.items())


def pack_flat(value: Any) -> bytes:
    """A value as one piece of bytes, for `pickle.loads`. Raises as `pack` does."""
    flat: bytes = cast(Any, import_module("cloudpickle")).dumps(value, protocol=5)
    return flat


def unpack(packed: Packed) -> Any:
    """The value that was packed.

    Raises:
        Exception: Whatever making it again raises.
    """
    content, *buffers = packed
    return pickle.loads(content, buffers=buffers)


class Patience(Protocol):
    """How long somebody is ready to wait for the other side."""

    def wait(self, channel: Channel, events: int) -> None:
        """Wait until the channel is ready for events of ``select.poll``; raises when that is enough."""
        ...


class Channel:
    """One end of the connection between a process and its worker. Frames are sent by any thread, received by one."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()

    def fileno(self) -> int:
        """The descriptor, for polling."""
        return self._socket.fileno()

    def send(
        self, kind: Kind, head: Any = None, packed: Packed = (), patience: Patience | None = None
    ) -> None:
        """Send a frame; blocks until it is on its way, or for as long as there is patience.

        Raises:
            OSError: Nobody is there to receive it.
        """
        parts = [pickle.dumps(head, 5), *packed]
        sizes = [len(part) for part in parts]
        start = _START.pack(kind, len(parts)) + struct.pack(f"!{len(sizes)}Q", *sizes)
        with self._sending:
            if sum(sizes) <= _JOINED:
                self._write(b"".join([start, *parts]), patience)
                return
            for part in (start, *parts):
                self._write(part, patience)

    def receive(self, patience: Patience | None = None) -> Frame:
        """Wait for a frame, or for as long as there is patience.

        Raises:
            EOFError: There will be no more: the other side is gone.
        """
        kind, count = _START.unpack(self._read(_START.size, patience))
        sizes = struct.unpack(f"!{count}Q", self._read(8 * count, patience))
        head, *packed = [self._read(size, patience) for size in sizes]
        return Frame(Kind(kind), pickle.loads(head), packed)

    def give_up_after(self, seconds: float) -> None:
        """Let nothing take longer than this from now on."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        """Close this end, which ends the worker. May be called twice."""
        self._socket.close()

    def _write(self, part: Any, patience: Patience | None) -> None:
        if patience is None:
            self._socket.sendall(part)
            return
        with memoryview(part) as view:
            done = 0
            while done < len(view):
                try:
                    done += self._socket.send(view[done:], socket.MSG_DONTWAIT)
                except BlockingIOError:
                    patience.wait(self, select.POLLOUT)

    def _read(self, size: int, patience: Patience | None) -> bytearray:
        """So many bytes, in memory of its own that may be written to, as arrays made of it may be."""
        content = bytearray(size)
        flags = socket.MSG_WAITALL if patience is None else socket.MSG_DONTWAIT
        with memoryview(content) as view:
            done = 0
            while done < size:
                try:
                    read = self._socket.recv_into(view[done:], 0, flags)
                except TimeoutError:
                    raise
                except BlockingIOError:
                    assert patience is not None
                    patience.wait(self, select.POLLIN)
                    continue
                except OSError as error:
                    raise EOFError from error
                if not read:
                    raise EOFError
                done += read
        return content
