"""Who is told of events, in which order, and what happens when somebody is slow, fails or goes away."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from mainspring._events import receivers
from mainspring.events import Event, Subscriber, emit_event, get_events_subscriber, subscribe
from mainspring.exceptions import ConfigurationError
from tests.events.listening import ABOUT, heard, names

MANY = 50


def emit(*numbers: int) -> None:
    for number in numbers:
        emit_event(f"shop.event-{number}", ABOUT)


def numbers(events: list[Event]) -> list[int]:
    return [int(event.event.rpartition("-")[2]) for event in events]


def start(function: Any, *args: Any) -> threading.Thread:
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    return thread


# What is wanted


@pytest.mark.contract("EV-1")
@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", "shop.ordered shop.paid bank.paid"),
        ("shop.", "shop.ordered shop.paid"),
        (["bank.", "shop.o"], "shop.ordered bank.paid"),
        ([], ""),
        ("paid", ""),
    ],
)
def test_filter_by_name(prefix: Any, expected: str) -> None:
    """A subscriber gets the events whose names begin as it wants, whichever kind of subscriber it is."""
    with get_events_subscriber(prefix) as subscriber, heard(prefix) as events:
        for name in ("shop.ordered", "shop.paid", "bank.paid"):
            emit_event(name, ABOUT)
    assert names(events) == expected
    assert list(subscriber) == events


@pytest.mark.contract("EV-1")
def test_filter_by_resource() -> None:
    """A subscriber gets the events in which a resource is involved, be it as a related one."""
    wanted = "shop.person.2"
    person = {"mainspring.resource.id": wanted, "mainspring.resource.role": "buyer"}
    with heard(resource=wanted) as events:
        emit_event("shop.ordered", ABOUT)
        emit_event("shop.ordered", ABOUT, related=[person])
        emit_event("shop.entered", {"mainspring.resource.id": wanted})
        emit_event("shop.entered", {"mainspring.resource.id": f"{wanted}0"})
    assert names(events) == "shop.ordered shop.entered"


# Callbacks


def test_a_callback_that_fails_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The failure is logged; the other subscribers are told, and the caller goes on."""

    def fail(event: Event) -> None:
        raise OSError("no line")

    with subscribe(fail), heard() as events:
        emit(1, 2)
    assert numbers(events) == [1, 2]
    assert [record.name for record in caplog.records] == ["mainspring.events"] * 2
    assert "failed on event shop.event-1" in caplog.text
    assert "no line" in caplog.text


def test_a_closed_subscription_is_told_no_more() -> None:
    """Closing ends it, twice does no harm, and no block is needed."""
    events: list[Event] = []
    subscription = subscribe(events.append)
    emit(1)
    subscription.close()
    subscription.close()
    emit(2)
    assert numbers(events) == [1]


def test_an_async_callback_is_refused() -> None:
    """Nobody would await it, so the mistake is named at once."""

    async def callback(event: Event) -> None: ...

    with pytest.raises(TypeError, match="async for"):
        subscribe(callback)


def test_what_cannot_be_subscribed() -> None:
    """A callback that cannot be called, and a queue of no size, are named at once."""
    with pytest.raises(TypeError, match="'print' cannot be called"):
        subscribe("print")  # type: ignore[arg-type]
    for capacity in (-1, 1.5, "3"):
        with pytest.raises(ConfigurationError, match="whole number of events"):
            get_events_subscriber(capacity=capacity)  # type: ignore[arg-type]


def test_a_callback_may_emit() -> None:
    """What a callback emits is told like everything else."""

    def answer(event: Event) -> None:
        if event.event == "shop.ordered":
            emit_event("shop.confirmed", ABOUT, follows=event)

    with heard() as events, subscribe(answer):
        ordered = emit_event("shop.ordered", ABOUT)
    assert names(events) == "shop.ordered shop.confirmed"
    assert ordered is not None
    assert events[1].follows == ordered.id


# Queues


@pytest.mark.contract("EV-25")
def test_a_queue_gives_what_was_emitted_while_it_was_open() -> None:
    """Events of the block come in their order, and iterating ends after the last one."""
    emit(0)
    with get_events_subscriber() as subscriber:
        emit(1, 2)
        assert next(subscriber).event == "shop.event-1"
        emit(3)
    emit(4)
    assert numbers(list(subscriber)) == [2, 3]
    assert list(subscriber) == []


def test_a_queue_is_opened_once() -> None:
    """Reading one that was never open would wait for ever, and opening one again would mix two blocks."""
    subscriber = get_events_subscriber()
    with pytest.raises(RuntimeError, match="not open yet"):
        next(subscriber)
    with subscriber:
        pass
    with pytest.raises(RuntimeError, match="was opened before"):
        subscriber.__enter__()


def test_a_reader_in_a_thread() -> None:
    """A reader waits for events, gets each one in order, and ends when the queue is closed."""
    got: list[Event] = []
    with get_events_subscriber(capacity=3) as subscriber:
        reader = start(lambda: got.extend(subscriber))
        emit(*range(MANY))
    reader.join()
    assert numbers(got) == list(range(MANY))


def test_several_readers_share() -> None:
    """Each event goes to one of the readers of a queue, and all of them come to the end."""
    got: list[list[Event]] = [[], []]
    with get_events_subscriber() as subscriber:
        readers = [start(lambda mine=mine: mine.extend(subscriber)) for mine in got]
        emit(*range(MANY))
    for reader in readers:
        reader.join()
    assert sorted(numbers([*got[0], *got[1]])) == list(range(MANY))


async def collect(subscriber: Subscriber) -> list[Event]:
    return [event async for event in subscriber]


async def read_while(subscriber: Subscriber, emitter: Any) -> list[int]:
    async with subscriber:
        reader = asyncio.create_task(collect(subscriber))
        await emitter()
    return numbers(await reader)


def test_an_async_reader() -> None:
    """An async loop waits for events of its own thread without blocking it, beyond any capacity."""

    async def emitter() -> None:
        for number in range(MANY):
            emit(number)
            await asyncio.sleep(0)

    assert asyncio.run(read_while(get_events_subscriber(capacity=1), emitter)) == list(range(MANY))


def test_an_async_reader_of_another_thread() -> None:
    """Events of other threads wake the event loop of the reader."""

    async def emitter() -> None:
        await asyncio.to_thread(emit, *range(MANY))

    assert asyncio.run(read_while(get_events_subscriber(capacity=3), emitter)) == list(range(MANY))


def test_a_cancelled_reader_takes_nothing_with_it() -> None:
    """Giving up waiting, as with a time limit, loses no event, and another reader gets it."""

    async def main() -> list[int]:
        async with get_events_subscriber() as subscriber:
            waiting = asyncio.create_task(subscriber.__anext__())
            await asyncio.sleep(0)
            waiting.cancel()
            emit(1)
            await asyncio.gather(waiting, return_exceptions=True)
        return numbers(await collect(subscriber))

    assert asyncio.run(main()) == [1]


def test_a_loop_that_is_gone_does_not_disturb() -> None:
    """A reader whose event loop was closed while it waited is no reason to fail."""
    subscriber = get_events_subscriber()
    loop = asyncio.new_event_loop()
    with subscriber:
        waiting = loop.create_task(subscriber.__anext__())
        loop.run_until_complete(asyncio.sleep(0))
        waiting.cancel()
        loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
        loop.close()
        emit(1)
    assert numbers(list(subscriber)) == [1]


# Back-pressure


def test_a_full_queue_slows_its_producer() -> None:
    """Whoever emits into a full queue waits until the reader has caught up, and nothing is lost."""
    emitted: list[int] = []

    def producer() -> None:
        for number in range(MANY):
            emit(number)
            emitted.append(number)

    with get_events_subscriber(capacity=3, patience=60) as subscriber:
        thread = start(producer)
        thread.join(0.2)
        for number in range(MANY):
            assert len(emitted) <= number + 3
            assert numbers([next(subscriber)]) == [number]
        thread.join()


def test_the_thread_that_reads_never_waits_for_itself() -> None:
    """Emitting in the thread of the reader does not wait, since nobody could make room meanwhile."""
    with get_events_subscriber(capacity=1, patience=3600) as subscriber:
        emit(*range(MANY))
        assert next(subscriber).event == "shop.event-0"
        emit(MANY)
    assert numbers(list(subscriber)) == list(range(1, MANY + 1))


def test_a_reader_that_takes_nothing_is_waited_for_once(caplog: pytest.LogCaptureFixture) -> None:
    """After its patience the queue grows, with one warning, and still loses nothing."""
    with get_events_subscriber(capacity=2, patience=0.01) as subscriber:
        start(emit, *range(MANY)).join()
    assert numbers(list(subscriber)) == list(range(MANY))
    (record,) = caplog.records
    assert "holds 3 events and has taken none for 0.01 seconds" in record.getMessage()


def test_closing_lets_producers_go() -> None:
    """Whoever waits for room goes on when the queue is closed."""
    with get_events_subscriber(capacity=1, patience=3600) as subscriber:
        thread = start(emit, *range(MANY))
        assert next(subscriber).event == "shop.event-0"
    thread.join()
    assert numbers(list(subscriber))[0] == 1


# The end of the process, and other processes


def output(program: str, folder: Path) -> str:
    """What a program prints that has several threads, by its own file."""
    path = folder / "program.py"
    path.write_text(textwrap.dedent(program))
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.contract("EV-10")
def test_pending_events_are_seen_before_the_process_ends(tmp_path: Path) -> None:
    """A reader in a daemon thread gets everything that was emitted before the process came to its end."""
    program = """
        import os, threading, time
        from mainspring.events import emit_event, get_events_subscriber

        subscriber = get_events_subscriber().__enter__()
        opened = threading.Event()

        def read():
            for event in subscriber:
                opened.set()
                time.sleep(0.005)
                os.write(1, f"{event.event} ".encode())  # a daemon thread must not hold the lock of stdout
            os.write(1, b"end")

        threading.Thread(target=read, daemon=True).start()
        emit_event("first", {"mainspring.resource.id": "x"})
        opened.wait()
        for number in range(20):
            emit_event(f"event-{number}", {"mainspring.resource.id": "x"})
    """
    lines = output(program, tmp_path).split()
    assert lines == ["first", *(f"event-{number}" for number in range(20)), "end"]


def test_a_forked_child_has_no_subscribers(tmp_path: Path) -> None:
    """The queues of a process have their readers in it, so in a forked child nobody is subscribed."""
    program = """
        import os
        from mainspring._events import receivers
        from mainspring.events import emit_event, get_events_subscriber, subscribe

        with get_events_subscriber(capacity=0, patience=3600), subscribe(print):
            child = os.fork()
            if child == 0:
                told = emit_event("x", {"mainspring.resource.id": "x"})
                os._exit(0 if told is not None and not receivers.active else 1)
            print(os.waitpid(child, 0)[1])
    """
    assert output(program, tmp_path) == "0\n"


def test_looking_costs_nothing_while_nobody_is_subscribed() -> None:
    """Engines look at one attribute, which is empty and false until somebody subscribes."""
    assert not receivers.active
    with heard():
        assert len(receivers.active) == 1
