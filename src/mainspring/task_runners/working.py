"""What a worker process does with an order: it makes the run, and packs what that came to."""

from __future__ import annotations

from typing import Any

from mainspring._processes.channel import Kind, Packed, unpack
from mainspring._processes.portability import pack_error
from mainspring._processes.serving import Station
from mainspring.context import hydrated_context
from mainspring.task_runners.calls import Call
from mainspring.task_runners.orders import Order
from mainspring.task_runners.proceeds import Proceeds

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
    proceeds = Proceeds()
    context = {
        "cancel_event": station.cancelled,
        "step": order.step,
        "retries": order.retries,
        "losses": order.losses,
        "check": proceeds.check,
        "limit": station.tell_limit,
    }
    call = Call(task, order.run.key, parameters, None, None, context, order.run)
    with hydrated_context(station.context), station.at_work(order.audience):
        state = call.run()
    head, packed = proceeds.wrap(state)
    return Kind.DONE, head, packed
