"""What goes to and from a worker process: values as bytes, in frames, over a pair of sockets.

A frame has a kind, a small head that is always understood, and perhaps a value that is packed: its pickle, and the
buffers of arrays in it, which are neither copied into the pickle nor out of it.
"""

from __future__ import annotations

import pickle
import socket
import struct
import threading
from collections.abc import Sequence
from enum import IntEnum
from importlib import import_module
from io import BytesIO
from typing import Any, NamedTuple, cast

__all__ = ["Channel", "Frame", "Kind", "Packed", "pack", "pack_flat", "unpack"]

Packed = Sequence[Any]
"""The pickle of a value, then its buffers."""

_START = struct.Struct("!BI")  # kind, number of parts
_JOINED = 65_536  # bytes up to which a frame is sent in one piece


class Kind(IntEnum):
    """What a frame says.

    To the worker: SETUP (what holds for all calls), CALL, CANCEL (nothing is to begin any more), EXIT. From the worker:
    READY or UNREADY (the end of the setup), DONE (a run came to a state), RAISED (an exception that ends more than
    the run), REFUSED (the call could not be read), LOG, EVENT, STATE (what happened meanwhile).
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
    # on use: it costs more than most programs need
    cloudpickle = cast(Any, import_module("cloudpickle"))
    file, buffers = BytesIO(), list[pickle.PickleBuffer]()
    cloudpickle.CloudPickler(file, protocol=5, buffer_callback=buffers.append).dump(value)
    return [file.getbuffer(), *(buffer.raw() for buffer in buffers)]


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


class Channel:
    """One end of the connection between a runner and a worker. Frames are sent by any thread, received by one."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()

    def fileno(self) -> int:
        """The descriptor, for polling."""
        return self._socket.fileno()

    def send(self, kind: Kind, head: Any = None, packed: Packed = ()) -> None:
        """Send a frame; blocks until it is on its way.

        Raises:
            OSError: Nobody is there to receive it.
        """
        parts = [pickle.dumps(head, 5), *packed]
        sizes = [len(part) for part in parts]
        start = _START.pack(kind, len(parts)) + struct.pack(f"!{len(sizes)}Q", *sizes)
        with self._sending:
            if sum(sizes) <= _JOINED:
                self._socket.sendall(b"".join([start, *parts]))
                return
            for part in (start, *parts):
                self._socket.sendall(part)

    def receive(self) -> Frame:
        """Wait for a frame.

        Raises:
            EOFError: There will be no more: the other side is gone.
        """
        kind, count = _START.unpack(self._read(_START.size))
        sizes = struct.unpack(f"!{count}Q", self._read(8 * count))
        head, *packed = [self._read(size) for size in sizes]
        return Frame(Kind(kind), pickle.loads(head), packed)

    def give_up_after(self, seconds: float) -> None:
        """Let nothing take longer than this from now on."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        """Close this end, which ends the worker. May be called twice."""
        self._socket.close()

    def _read(self, size: int) -> bytearray:
        """So many bytes, in memory of its own that may be written to, as arrays made of it may be."""
        content = bytearray(size)
        with memoryview(content) as view:
            done = 0
            while done < size:
                try:
                    read = self._socket.recv_into(view[done:], 0, socket.MSG_WAITALL)
                except TimeoutError:
                    raise
                except OSError as error:
                    raise EOFError from error
                if not read:
                    raise EOFError
                done += read
        return content
