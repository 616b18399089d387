"""What ``mainspring limits`` does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from mainspring import clock, identifiers
from mainspring.cli.confirming import confirm
from mainspring.cli.histories import open_history
from mainspring.cli.records import iso_time, print_json
from mainspring.cli.rendering import Column, format_age, format_duration, one_line, open_console, show, table
from mainspring.client import open_client
from mainspring.clock import MICROSECONDS
from mainspring.concurrency import ConcurrencyLimit, SlotHolder
from mainspring.exceptions import MainspringError, ObjectNotFound

__all__ = ["complete_name", "list_all", "remove", "show_found", "write"]

_NO_LIMITS = "No concurrency limits. `mainspring limits set NAME N` creates one."

_LIMIT_COLUMNS = [
    Column("name", yields=True),
    Column("limit", right=True),
    Column("active"),
    Column("taken", right=True),
    Column("waiting", right=True),
    Column("decay", right=True),
    Column("average hold", right=True),
]
_HOLDER_COLUMNS = [
    Column("slots", right=True),
    Column("state"),
    Column("since"),
    Column("run", yields=True),
    Column("id"),
    Column("process"),
]


def list_all(as_json: bool) -> None:
    """Print all limits, by name.

    Raises:
        StoreError: The run store cannot be read.
    """
    with open_history() as client:
        found = [] if client is None else client.read_concurrency_limits()
    if as_json:
        print_json([_record(limit) for limit in found])
        return
    console = open_console()
    if not found:
        show(console, Text(_NO_LIMITS))
        return
    _show_limits(console, found)


def show_found(name: str, as_json: bool) -> None:
    """Print a limit with those who hold slots of it, or wait for some.

    Raises:
        ObjectNotFound: There is no limit of that name.
        StoreError: The run store cannot be read.
    """
    with open_history() as client:
        if client is None:
            raise _no_limit(name, [])
        limit = _find(client.read_concurrency_limits(), name)
        holders = client.read_slot_holders(name)
    if as_json:
        held = [_holder_record(each) for each in holders if each.acquired is not None]
        waiting = [_holder_record(each) for each in holders if each.acquired is None]
        print_json({**_record(limit), "holders": held, "waiting": waiting})
        return
    console = open_console()
    _show_limits(console, [limit])
    show(console, Text())
    if holders:
        show(console, table(console, _HOLDER_COLUMNS, [_holder_row(each) for each in holders]))
    else:
        show(console, Text("Nobody holds slots of it, and nobody waits for some."))


def write(name: str, limit: int, decay: float | None, active: bool | None, as_json: bool) -> None:
    """Create a limit or change one, and print it.

    Raises:
        ConfigurationError: It cannot be such a limit.
        StoreError: The run store cannot be made or written.
    """
    with open_client(create=True) as client:
        known = next((each for each in client.read_concurrency_limits() if each.name == name), None)
        if decay is None:
            decay = 0.0 if known is None else known.slot_decay_per_second
        if active is None:
            active = known is None or known.active
        written = client.create_or_update_concurrency_limit(name, limit, active, decay)
        written = client.read_concurrency_limit(name)
    if as_json:
        print_json(_record(written))
        return
    _show_limits(open_console(), [written])


def remove(name: str, yes: bool) -> None:
    """Delete a limit, once somebody has agreed.

    Raises:
        ObjectNotFound: There is no limit of that name.
        ConfigurationError: Nobody can be asked.
        StoreError: The run store cannot be written.
    """
    with open_history() as client:
        if client is None:
            raise _no_limit(name, [])
        limit = _find(client.read_concurrency_limits(), name)
        use = f"{limit.active_slots} of {limit.limit} slots taken, {limit.denied_slots} waited for"
        if not confirm(f"Delete the limit {one_line(name)} ({use})?", yes):
            return
        client.delete_concurrency_limit(name)
    show(open_console(), Text(f"Deleted the limit {one_line(name)}."))


def complete_name(incomplete: str) -> list[tuple[str, str]]:
    """Names of limits that begin with what was typed, each with how much of it is taken."""
    try:
        with open_history() as client:
            found = [] if client is None else client.read_concurrency_limits()
    except MainspringError:
        return []  # whoever runs the command is told
    return [
        (limit.name, f"{limit.active_slots} of {limit.limit} taken")
        for limit in found
        if limit.name.startswith(incomplete)
    ]


def _find(limits: Sequence[ConcurrencyLimit], name: str) -> ConcurrencyLimit:
    for limit in limits:
        if limit.name == name:
            return limit
    raise _no_limit(name, limits)


def _no_limit(name: str, limits: Sequence[ConcurrencyLimit]) -> ObjectNotFound:
    if not limits:
        return ObjectNotFound(
            f"There is no concurrency limit named {name!r}, nor any other. `mainspring limits set NAME N` creates one."
        )
    known = ", ".join(repr(limit.name) for limit in limits)
    return ObjectNotFound(f"There is no concurrency limit named {name!r}. The limits are: {known}.")


def _show_limits(console: Console, limits: Sequence[ConcurrencyLimit]) -> None:
    show(console, table(console, _LIMIT_COLUMNS, [_row(limit) for limit in limits]))


def _row(limit: ConcurrencyLimit) -> list[Text | str]:
    is_full = limit.active and limit.active_slots >= limit.limit
    return [
        Text(one_line(limit.name), "bold"),
        str(limit.limit),
        "yes" if limit.active else Text("no", "yellow"),
        Text(str(limit.active_slots), "yellow" if is_full else ""),
        Text(str(limit.denied_slots), "yellow" if limit.denied_slots else ""),
        f"{limit.slot_decay_per_second:g}/s" if limit.slot_decay_per_second else "",
        format_duration(round(limit.avg_slot_occupancy_seconds * MICROSECONDS)),
    ]


def _holder_row(holder: SlotHolder) -> list[Text | str]:
    is_held = holder.acquired is not None
    since = holder.requested if holder.acquired is None else holder.acquired
    kind = "" if holder.holder_type is None else holder.holder_type.replace("_", " ")
    return [
        str(holder.slots),
        Text("held", "cyan") if is_held else Text("waiting", "yellow"),
        format_age(since, clock.current().now()),
        one_line(holder.run_name) if holder.run_name is not None else kind or "outside of runs",
        "" if holder.holder_id is None else identifiers.shorten(holder.holder_id),
        "" if holder.pid is None else f"pid {holder.pid} on {one_line(holder.host or '')}",
    ]


def _record(limit: ConcurrencyLimit) -> dict[str, Any]:
    record: dict[str, Any] = msgspec.structs.asdict(limit)
    return record


def _holder_record(holder: SlotHolder) -> dict[str, Any]:
    return {
        "slots": holder.slots,
        "requested": iso_time(holder.requested),
        "acquired": iso_time(holder.acquired),
        "lease_expires": iso_time(holder.lease_expires),
        "holder_type": holder.holder_type,
        "holder_id": holder.holder_id,
        "run_name": holder.run_name,
        "host": holder.host,
        "pid": holder.pid,
    }
