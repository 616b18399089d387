"""Following what happens in all processes that share a run store."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.client import AsyncClient, Client, EventStream, _following, get_client
from mainspring.events import Event, emit_event, events_of, get_events_subscriber
from mainspring.exceptions import ConfigurationError, ObjectNotFound
from mainspring.filters import ALL
from mainspring.identifiers import new_id, to_uuid
from mainspring.settings import temporary_settings
from tests.events.listening import ABOUT

PRELUDE = """
import sys
from mainspring import flow, task
from mainspring.events import emit_event

@task
def work(number):
    emit_event("shop.worked", {"mainspring.resource.id": f"shop.{number}"}, payload={"number": number})

def ready():
    print("ready", flush=True)
    sys.stdin.readline()
"""
DEADLINE = 60.0


@task
def load(x: int) -> int:
    emit_event("shop.loaded", ABOUT, payload={"x": x})
    return x


@flow
def shop(count: int = 2) -> None:
    for x in range(count):
        load(x)


@contextmanager
def program(text: str) -> Iterator[subprocess.Popen[str]]:
    """Another process, which has printed "ready" and waits for a line."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(text)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def read_until(stream: EventStream, is_enough: Callable[[list[Event]], bool]) -> list[Event]:
    """The events of a stream up to where it is enough; the stream is closed if that takes too long."""
    found: list[Event] = []
    alarm = threading.Timer(DEADLINE, stream.close)
    alarm.start()
    try:
        for event in stream:
            found.append(event)
            if is_enough(found):
                return found
    finally:
        alarm.cancel()
    pytest.fail(f"there were only {len(found)} events: {[event.event for event in found[-20:]]}")


def names(events: list[Event]) -> list[str]:
    return [event.event for event in events]


# Reading


@pytest.mark.contract("EV-1", "EV-29")
def test_what_has_happened() -> None:
    """A client reads the events of states and those that programs emitted; with a limit the newest of them."""
    shop()
    client = get_client()
    (run,) = client.read_flow_runs()
    found = client.read_events(limit=ALL)
    assert len(found) == 3 + 2 * 4
    assert [event for event in found if event.resource.id == f"mainspring.flow-run.{run.id}"] == events_of(
        run, client.read_flow_run_states(run.id)
    )
    assert client.read_events(limit=2) == found[-2:]
    assert names(client.read_events("shop.")) == ["shop.loaded"] * 2
    assert client.read_events(since=timedelta(hours=1), until=timedelta(0), limit=ALL) == found
    assert client.read_events(since=timedelta.max, until=timedelta.min) == found
    assert client.read_events(until=timedelta(hours=1)) == []
    assert client.read_events(since=datetime.now(UTC) + timedelta(hours=1)) == []
    assert asyncio.run(AsyncClient(client.store).read_events("shop.", run_id=run.id)) == [
        event for event in found if event.event == "shop.loaded"
    ]


def test_a_run_that_is_not_there() -> None:
    """Events of an unknown run are an error, when asked for and when followed."""
    client = get_client()
    unknown = to_uuid(new_id())
    with pytest.raises(ObjectNotFound, match=f"no run with the id {unknown}"):
        client.read_events(run_id=unknown)
    with pytest.raises(ObjectNotFound, match=f"no run with the id {unknown}"):
        client.follow_events(run_id=unknown)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"since": "yesterday"}, "since='yesterday' cannot work: give a datetime, or how long ago"),
        ({"prefix": 5}, "prefix cannot be 5: give a list of texts"),
        ({"run_id": "7fee5de5"}, "'7fee5de5' is no id: give a UUID"),
    ],
)
def test_what_cannot_be_asked_for(options: dict[str, Any], message: str) -> None:
    """Times, names and ids that are none are refused, when events are read and when they are followed."""
    with pytest.raises(ConfigurationError, match=message):
        get_client().read_events(**options)
    with pytest.raises(ConfigurationError, match=message):
        get_client().follow_events(**options)


def test_a_limit_that_is_none() -> None:
    """The limit of events is a whole number, as that of runs is."""
    with pytest.raises(ConfigurationError, match="limit=-1 cannot work"):
        get_client().read_events(limit=-1)


@pytest.mark.contract("EV-2", "EV-28")
def test_emitted_events_are_there_with_the_final_state() -> None:
    """What a run has emitted is on disk when its final state is."""

    @task
    def emit() -> None:
        for number in range(10):
            emit_event("shop.counted", ABOUT, payload={"number": number})

    emit()
    store = get_client().store
    numbers = [event.payload["number"] for event in Client(store).read_events("shop.")]
    assert numbers == list(range(10))


def test_subscribers_and_the_store_hear_the_same() -> None:
    """A subscriber of the process gets the very events that whoever follows the store gets."""
    with get_events_subscriber() as subscriber, get_client().follow_events() as stream:
        shop()
        subscriber.close()
        here = list(subscriber)
        everywhere = read_until(stream, lambda found: len(found) == len(here))
    assert sorted(here, key=lambda event: event.id) == sorted(everywhere, key=lambda event: event.id)


def test_a_program_that_keeps_no_events() -> None:
    """With the setting off an emitted event is not kept, but whoever is subscribed is told of it."""
    with temporary_settings({"events.enabled": False}), get_events_subscriber("shop.") as subscriber:
        shop()
    assert len(list(subscriber)) == 2
    assert get_client().read_events("shop.") == []


# Following


@pytest.mark.parametrize("since", [None, timedelta(hours=1)])
def test_from_where(since: timedelta | None) -> None:
    """A follower begins now, or with what has happened since some moment, and goes on with what happens then."""
    shop(1)
    with get_client().follow_events(since=since) as stream:
        past = read_until(stream, lambda found: len(found) == 7) if since else []
        shop(1)
        news = read_until(stream, lambda found: found[-1].event == "mainspring.flow-run.Completed")
    assert len(news) == 7
    assert not {event.id for event in news} & {event.id for event in past}


def test_without_waiting() -> None:
    """Whoever does not want to wait gets what there is."""
    shop()
    client = get_client()
    with client.follow_events(follow=False) as stream:
        assert list(stream) == client.read_events(limit=ALL)
    with client.follow_events("shop.", since=timedelta(hours=1), follow=False) as stream:
        assert len(list(stream)) == 2


def test_what_is_wanted() -> None:
    """A follower gets what happens in one run and everything inside of it, subflows included, under some names."""

    @flow
    def around() -> None:
        shop(1)

    client = get_client()
    around()
    (outer,) = client.read_flow_runs(top_level=True)
    shop(1)
    with (
        client.follow_events(run_id=outer.id, since=timedelta(hours=1), follow=False) as everything,
        client.follow_events(
            ["shop.", "mainspring.flow-run.C"], run_id=outer.id, since=timedelta(hours=1), follow=False
        ) as some,
    ):
        assert len(list(everything)) == 3 + 3 + 3 + 3 + 1  # two flows, two tasks, an emitted event
        assert names(list(some)) == ["shop.loaded", *["mainspring.flow-run.Completed"] * 2]


def test_a_run_that_goes_on() -> None:
    """What begins inside of a followed run is followed, too, however deep."""
    begun, told = threading.Event(), threading.Event()

    @flow
    def around() -> None:
        begun.set()
        assert told.wait(DEADLINE)
        shop(1)

    client = get_client()
    thread = threading.Thread(target=around, daemon=True)
    thread.start()
    assert begun.wait(DEADLINE)
    runs = client.read_flow_runs()
    while not runs:
        runs = client.read_flow_runs()
    with client.follow_events(run_id=runs[0].id) as stream:
        told.set()
        shop(1)
        found = read_until(stream, lambda found: names(found).count("mainspring.flow-run.Completed") == 2)
    thread.join(DEADLINE)
    assert names(found).count("shop.loaded") == 1
    assert names(found).count("mainspring.task-run.Completed") == 2


def test_async_following() -> None:
    """Async code follows with `async for`, while its loop goes on."""

    async def main() -> list[str]:
        found: list[str] = []
        async with await AsyncClient(get_client().store).follow_events("shop.") as stream:
            running = asyncio.create_task(asyncio.to_thread(shop))
            async for event in stream:
                found.append(event.event)
                if len(found) == 2:
                    break
            await running
        return found

    assert asyncio.run(asyncio.wait_for(main(), DEADLINE)) == ["shop.loaded"] * 2


def test_closing_ends_the_loop() -> None:
    """A loop that waits ends when another thread closes the stream, and writers note nothing any more."""
    client = get_client()
    with client.follow_events() as stream:
        threading.Timer(0.05, stream.close).start()
        assert list(stream) == []
    shop(1)
    follower = client.store.start_following(new_id(), 1_000_000)
    assert client.store.read_unseen(follower) == set()
    client.store.stop_following(follower)


def test_a_stream_is_used_once() -> None:
    """A stream must be open to be read, and is opened once."""
    stream = get_client().follow_events()
    with pytest.raises(RuntimeError, match="not followed yet"):
        next(stream)
    with stream:
        pass
    with pytest.raises(RuntimeError, match="followed before"), stream:
        pass


def test_a_reader_that_was_away_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was committed while writers cared for it no more is read by time, and nothing comes twice."""
    monkeypatch.setattr(_following, "LEASE", 1)
    monkeypatch.setattr(_following, "RENEW_SECONDS", 0.02)
    monkeypatch.setattr(_following, "IDLE_SECONDS", 0.0)
    with get_client().follow_events("shop.") as stream:
        shop(3)
        found = read_until(stream, lambda found: len(found) == 3)
        shop(2)
        found += read_until(stream, lambda found: len(found) == 2)
    assert len({event.id for event in found}) == 5


# Across processes


@pytest.mark.contract("EV-21", "EV-24", "EV-26")
def test_another_process_with_a_backlog() -> None:
    """Of two thousand events of another process none is lost and none comes twice; those of a run keep their order."""
    with (
        program("ready()\nfor number in range(500): work(number)") as process,
        get_client().follow_events() as stream,
    ):
        go(process)
        process.wait(DEADLINE)  # nobody has read anything by now
        found = read_until(stream, lambda found: len(found) == 2_000)
    assert len({event.id for event in found}) == 2_000
    assert [event.payload["number"] for event in found if event.event == "shop.worked"] == list(range(500))
    runs: dict[str, list[Event]] = {}
    for event in found:
        if event.event.startswith("mainspring.task-run."):
            runs.setdefault(event.resource.id, []).append(event)
    assert len(runs) == 500
    for events in runs.values():
        assert [event.follows for event in events] == [None, events[0].id, events[1].id]
        assert [event.event.rpartition(".")[2] for event in events] == ["Pending", "Running", "Completed"]


def test_another_process_while_it_writes() -> None:
    """A follower that begins in the past while others write gets everything once."""
    with program(
        "for number in range(100): work(number)\nready()\nfor number in range(100, 400): work(number)"
    ) as p:
        go(p)
        with get_client().follow_events(since=timedelta(hours=1)) as stream:
            found = read_until(stream, lambda found: len(found) == 1_600)
    assert len({event.id for event in found}) == 1_600
    numbers = [event.payload["number"] for event in found if event.event == "shop.worked"]
    assert sorted(numbers) == list(range(400))


def test_many_processes() -> None:
    """Processes that commit in between one another hide nothing from a follower."""
    text = "ready()\nfor number in range(100): work(number)"
    with (
        program(text) as first,
        program(text) as second,
        program(text) as third,
        get_client().follow_events("shop.") as stream,
    ):
        for process in (first, second, third):
            go(process)
        found = read_until(stream, lambda found: len(found) == 300)
    assert len({event.id for event in found}) == 300


def test_a_killed_process() -> None:
    """Whoever follows gets to know that a run has crashed, though nobody else looks."""
    text = """
    @flow
    def hang():
        ready()

    hang()
    """
    with get_client().follow_events() as stream, program(text) as process:
        begun = read_until(stream, lambda found: found[-1].event == "mainspring.flow-run.Running")
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE)
        ended = read_until(stream, lambda found: found[-1].event == "mainspring.flow-run.Crashed")
    assert names(begun + ended) == [
        f"mainspring.flow-run.{name}" for name in ("Pending", "Running", "Crashed")
    ]


def test_a_killed_follower(mainspring_home: Path) -> None:
    """A follower that is killed hinders nobody, and the next one misses nothing."""
    text = """
    from mainspring import get_client
    with get_client().follow_events() as stream:
        ready()
    """
    with program(text) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE)
    with get_client().follow_events() as stream:
        shop(1)
        assert len(read_until(stream, lambda found: len(found) == 7)) == 7
