"""What a worker process does with an order: it makes the run, and packs what that came to."""

from __future__ import annotations

from copy import copy
from typing import Any

from mainspring._core.traverse import is_atomic
from mainspring._processes.channel import Kind, Packed, pack, unpack
from mainspring._processes.portability import pack_error, require_portable
from mainspring._processes.relays import bare
from mainspring._processes.serving import Station
from mainspring.context import hydrated_context
from mainspring.states import State, is_stored
from mainspring.task_runners.calls import Call
from mainspring.task_runners.orders import Order

__all__ = ["run_order"]


def run_order(station: Station, order: Order, packed: Packed) -> tuple[Kind, Any, Packed]:
    """Make a run; gives its state.

    Raises:
        BaseException: What ends more than the run, or cannot be taken home.
    """
    order = Order(*order)
    try:
        station.open_context(order.context)
        task, parameters = unpack(packed)
    except BaseException as error:  # whatever importing a module of the user's does
        return Kind.REFUSED, *pack_error(error)
    parcel = _Parcel()
    context = {
        "cancel_event": station.cancelled,
        "step": order.step,
        "retries": order.retries,
        "losses": order.losses,
        "check": parcel.check,
        "limit": station.tell_limit,
    }
    call = Call(task, order.run.key, parameters, None, None, context, order.run)
    with hydrated_context(station.context), station.at_work(order.audience):
        state = call.run()
    head, packed = parcel.wrap(state)
    return Kind.DONE, head, packed


class _Parcel:
    """What a run came to, on its way home. A result is packed before its run is completed, and only once."""

    def __init__(self) -> None:
        self._value: Any = None
        self._packed: Packed | None = None

    def check(self, value: Any) -> None:
        """Pack a result.

        Raises:
            SerializationError: It cannot be pickled.
        """
        if not is_atomic((value,)):
            self._packed = require_portable(value)
            self._value = value

    def wrap(self, state: State) -> tuple[tuple[State, str, Any], Packed]:
        """The head and the value of the answer: the state, what the value is, and words about it.

        Raises:
            SerializationError: What the state holds cannot be pickled.
        """
        if not state.has_data:
            return (state, "none", None), ()
        data = state.data
        if is_stored(data):
            return self._wrap_stored(state, data)
        if isinstance(data, BaseException):
            words, packed = pack_error(data)
            return (bare(state), "error", words), packed
        if self._packed is not None and data is self._value:
            return (bare(state), "value", None), self._packed
        return (bare(state), "value", None), require_portable(data)

    @staticmethod
    def _wrap_stored(state: State, data: Any) -> tuple[tuple[State, str, Any], Packed]:
        """A result that is kept goes along with its record; if it cannot, whoever wants it reads it."""
        error = data.get() if state.is_failed() and data.has_cached_object() else None
        words = pack_error(error)[0] if isinstance(error, BaseException) else None
        try:
            packed = pack(data)
            if words is not None:
                unpack(packed)
        except Exception:  # whatever the class of an exception does when it is made again
            packed = pack(getattr(data, "metadata", data))
        return (bare(copy(state)), "record", words), packed
