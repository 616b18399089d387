"""What runs wait for, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring import clock, identifiers
from mainspring.cli.records import iso_time
from mainspring.cli.rendering import one_line

if TYPE_CHECKING:
    from mainspring.client import Client
    from mainspring.runs import FlowRun
    from mainspring.store.pauses import PauseRecord

__all__ = ["pause_records", "pauses_of", "tell_pauses"]

Fact = tuple[str, str]


def pauses_of(client: Client, run: FlowRun) -> list[PauseRecord]:
    """What waits for an answer in a flow run, or in its subflows."""
    runs = {pause.flow_run_key: client.store.read_run(pause.flow_run_key) for pause in _open(client, run)}
    return [
        pause
        for pause in _open(client, run)
        if (found := runs.get(pause.flow_run_key)) is not None
        and found.state.is_paused()
        and found.state.state_details.pause_key == pause.key
    ]


def _open(client: Client, run: FlowRun) -> list[PauseRecord]:
    if run.state.is_completed():
        return []
    return client.store.read_open_pauses(run.key)


def tell_pauses(pauses: list[PauseRecord]) -> Iterator[Fact]:
    """What a paused run waits for, for people."""
    for pause in pauses:
        until = f"until {clock.to_datetime(pause.expires).astimezone():%Y-%m-%d %H:%M:%S}"
        key = f", key {one_line(pause.key)}" if len(pauses) > 1 or not pause.key.startswith("#") else ""
        yield "waits", f"{until}{key}"
        if pause.schema is not None:
            yield "input", one_line(pause.schema)
        if pause.problem is not None:
            yield "refused", one_line(pause.problem)


def pause_records(pauses: list[PauseRecord]) -> list[dict[str, Any]]:
    """What a paused run waits for, as JSON."""
    return [
        {
            "key": pause.key,
            "flow_run_id": identifiers.to_uuid(pause.flow_run_key),
            "requested": iso_time(pause.requested),
            "expires": iso_time(pause.expires),
            "suspends": pause.suspends,
            "schema": None if pause.schema is None else msgspec.json.decode(pause.schema),
            "problem": pause.problem,
        }
        for pause in pauses
    ]
