"""Large arguments: each goes to the cluster once, as a value of its own there, and not inside of every parcel."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from mainspring._clusters.parcels import Given, beside, writable
from mainspring._core.traverse import is_atomic
from mainspring._processes.channel import Packed, pack, unpack
from mainspring.annotations import quote

__all__ = ["LARGE", "Deposit", "Deposits"]

LARGE = 100_000
"""Bytes of its pickle from which on an argument is large."""

_TRIES = 10
"""How often the arguments of a map are brought to the cluster, at most."""


class Deposit:
    """One argument, packed, as a value of the cluster.

    Args:
        parts: The pickle, and the buffers beside it.
    """

    __slots__ = ("parts",)

    def __init__(self, parts: Packed) -> None:
        self.parts = list(parts)

    def __sizeof__(self) -> int:
        """What a cluster is told about how much memory this takes."""
        return 64 + self.size

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Its parts go beside the pickle, without being copied, where that is possible."""
        return type(self), (beside(self.parts, protocol),)

    @property
    def size(self) -> int:
        """The number of bytes."""
        return sum(map(len, self.parts))

    def open(self) -> Any:
        """The argument: another object each time, in memory that may be written to, as the run may do so."""
        return unpack(writable(self.parts))


class Deposits:
    """The large arguments of one run, or of all runs of a map. Used by one thread at a time."""

    def __init__(self) -> None:
        # By identity, with the value, which keeps its identity by that.
        self._known: dict[int, tuple[Any, Any]] = {}
        self._try = 1

    def place(self, given: Mapping[str, Any], number: Callable[[Any], int]) -> dict[str, Any]:
        """Arguments with a `Given` in the place of each that is on the cluster already.

        Args:
            given: The arguments as they were submitted.
            number: Gives the number that a value of the cluster has in the parcel.
        """
        placed = dict(given)
        for name, value in given.items() if self._known else ():
            known = self._known.get(id(value))
            if known is not None:
                placed[name] = Given(number(known[1]))
        return placed

    def pack(
        self,
        given: Mapping[str, Any],
        parameters: Mapping[str, Any],
        far: Collection[str],
        put: Callable[[Deposit], Any],
        number: Callable[[Any], int],
    ) -> tuple[Packed, bool]:
        """Arguments as bytes, without those that are large, and whether they lean on anything on the cluster.

        Args:
            given: The arguments as they were submitted.
            parameters: The same as they are to be packed.
            far: The names of those that have a `Far` or a value of the cluster in them; all others are resolved.
            put: Brings one to the cluster; gives what the cluster calls it, or None if it cannot be kept there.
            number: Gives the number that a value of the cluster has in the parcel.

        Raises:
            Exception: Whatever a part of them raises that cannot be pickled.
        """
        leans = bool(far) or any(type(value) is Given for value in parameters.values())
        if leans:
            parameters = {
                name: value if name in far else _sealed(value) for name, value in parameters.items()
            }
        packed = pack(parameters)
        if sum(map(len, packed)) <= LARGE:
            return packed, leans
        kept: dict[str, Any] = {}
        for name, value in parameters.items():
            if name in far or type(value) is Given:
                kept[name] = value
                continue
            kept[name] = _sealed(value)
            deposit = Deposit(pack(kept[name]))
            native = put(deposit) if deposit.size > LARGE else None
            if native is not None:
                self._known[id(given[name])] = given[name], native
                kept[name] = Given(number(native))
        return pack(kept), True

    def current(self) -> int:
        """Which time it is that they are on the cluster; 0 if none is there."""
        return self._try if self._known else 0

    def forget(self, which: int) -> bool:
        """Take those as lost that were there at a time; True if they are brought to the cluster once more."""
        if which and which == self._try:
            self._known.clear()
            self._try += 1
        return 0 < which < _TRIES


def _sealed(value: Any) -> Any:
    """An argument that is resolved, so that whoever makes the run leaves it as it is."""
    return value if type(value) in (Given, quote) or is_atomic((value,)) else quote(value)
