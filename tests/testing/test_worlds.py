"""The scheduler of simulations: who runs when, and what time it is, is decided by the seed and by nothing else."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from mainspring.exceptions import MainspringError
from mainspring.testing.worlds import NANOSECONDS, SeededWorld, StandstillError, Strand
from tests.testing.seeded import START, bare_world, in_child

_real_sleep = time.sleep


def run(function: Callable[[SeededWorld], Any], seed: int = 0, rate: float = 0.3) -> Any:
    """What a function returns as the first strand of a world."""

    def live() -> Any:
        world = bare_world(seed, rate)
        found: list[Any] = []
        world.run(lambda: found.append(function(world)), "main")
        return found[0]

    return in_child(live)


def all_end(world: SeededWorld, strands: list[Strand]) -> None:
    for strand in strands:
        world.wait_for_end(strand, None)


def course(world: SeededWorld) -> list[int]:
    """The order in which four strands take five steps each."""
    order: list[int] = []

    def live(number: int) -> None:
        for _ in range(5):
            order.append(number)
            world.pause()

    all_end(world, [world.spawn(live, (number,), {}, f"strand {number}") for number in range(4)])
    return order


def test_one_runs_at_a_time() -> None:
    """Between two operations a strand is alone, however long it takes in real time."""

    def count(world: SeededWorld) -> int:
        inside: list[int] = []
        most: list[int] = []

        def live() -> None:
            for _ in range(20):
                inside.append(1)
                _real_sleep(0.0001)
                most.append(len(inside))
                inside.pop()
                world.pause()

        all_end(world, [world.spawn(live, (), {}, "a strand") for _ in range(4)])
        return max(most)

    assert run(count, rate=1.0) == 1


@pytest.mark.parametrize("seed", range(5))
def test_same_seed_same_order(seed: int) -> None:
    """A seed gives one order of strands, whenever it is asked for."""
    assert run(course, seed) == run(course, seed)


def test_seeds_give_different_orders() -> None:
    """Seeds are unlike one another."""
    assert len({tuple(run(course, seed)) for seed in range(8)}) == 8


def test_rate_of_zero_never_switches() -> None:
    """A strand of a world with the rate 0 goes on until it waits for something."""
    order = run(course, rate=0.0)
    assert [order[index : index + 5] for index in range(0, 20, 5)] == [
        [each] * 5 for each in dict.fromkeys(order)
    ]


def test_park_waits_for_unpark() -> None:
    """A parked strand goes on when it is unparked, and knows that it was not the deadline."""

    def meet(world: SeededWorld) -> list[Any]:
        told: list[Any] = []

        def live() -> None:
            told.append("waits")
            told.append(world.park(world.now + 10 * NANOSECONDS, "waits for a test"))

        strand = world.spawn(live, (), {}, "a strand")
        while not strand.is_parked:
            world.pause()
        told.append("unparks")
        world.unpark(strand)
        all_end(world, [strand])
        return [*told, world.now - START < NANOSECONDS]

    assert run(meet) == ["waits", "unparks", True, True]


def test_unpark_before_park_is_kept() -> None:
    """Who is unparked before it parks does not wait, but only once."""

    def meet(world: SeededWorld) -> list[bool]:
        me = world.me()
        assert me is not None
        world.unpark(me)
        world.unpark(me)
        deadline = world.now + NANOSECONDS
        return [world.park(deadline, "waits for a test"), world.park(deadline, "waits for a test")]

    assert run(meet) == [True, False]


def test_deadlines_come_in_order() -> None:
    """Strands that wait for a time go on in the order of these times, and the clock jumps from one to the next."""

    def wait(world: SeededWorld) -> list[tuple[int, int]]:
        told: list[tuple[int, int]] = []

        def live(hours: int) -> None:
            world.sleep(hours * 3600)
            told.append((hours, round((world.now - START) / NANOSECONDS / 3600)))

        all_end(world, [world.spawn(live, (hours,), {}, "a strand") for hours in (3, 1, 24, 2)])
        return told

    begun = time.monotonic()
    assert run(wait) == [(1, 1), (2, 2), (3, 3), (24, 24)]
    assert time.monotonic() - begun < 60


def test_looks_at_the_clock_move_it() -> None:
    """Who waits for a moment by looking at the clock again and again gets there."""

    def look(world: SeededWorld) -> int:
        looks = 0
        while world.read() < START + NANOSECONDS // 100:
            looks += 1
        return looks

    assert 0 < run(look) < 100_000


def test_waiting_for_an_end_may_have_a_deadline() -> None:
    """Waiting for the end of a strand has a deadline of its own."""

    def wait(world: SeededWorld) -> tuple[bool, int, bool]:
        strand = world.spawn(lambda: world.sleep(100), (), {}, "a strand")
        early = world.wait_for_end(strand, world.now + 10 * NANOSECONDS)
        then = (world.now - START) // NANOSECONDS
        return early, then, world.wait_for_end(strand, None)

    assert run(wait) == (False, 10, True)


def test_housekeepers_do_not_make_an_hour_long() -> None:
    """Threads that look after something every 100 ms look some times while all others wait for an hour, not 36,000."""

    def wait(world: SeededWorld) -> tuple[int, int]:
        looks: list[int] = []

        def keep_house() -> None:
            while True:
                looks.append(world.now)
                world.park(world.now + NANOSECONDS // 10, "keeps house")

        world.spawn(keep_house, (), {}, "mainspring-supervisor")
        world.sleep(3600)
        return len(looks), (world.now - START) // NANOSECONDS

    looks, seconds = run(wait)
    assert 1 < looks < 100
    assert seconds == 3600


def test_housekeepers_may_help() -> None:
    """If nobody else waits for a time, housekeepers go on looking: what they find may be what others wait for."""

    def wait(world: SeededWorld) -> int:
        me = world.me()
        assert me is not None

        def keep_house() -> None:
            for _ in range(600):
                world.park(world.now + NANOSECONDS // 10, "keeps house")
            world.unpark(me)

        world.spawn(keep_house, (), {}, "mainspring-supervisor")
        world.park(None, "waits for a lease to expire")
        return (world.now - START) // NANOSECONDS

    assert run(wait) == 60


def test_deadlock_is_told() -> None:
    """If nobody can go on, the message says who waits for what, and in which line."""

    def lock_up(world: SeededWorld) -> None:
        def wait_for_ever() -> None:
            world.park(None, "waits for godot")

        world.spawn(wait_for_ever, (), {}, "estragon")
        world.park(None, "waits, too")

    with pytest.raises(StandstillError) as raised:
        run(lock_up)
    message = str(raised.value)
    assert "#0 (main): waits, too" in message
    assert "#1 (estragon): waits for godot" in message
    assert f"{__file__}:" in message
    assert "in wait_for_ever" in message


def test_housekeepers_alone_are_a_deadlock() -> None:
    """A world in which only housekeepers go on for ever has come to its end, too."""

    def lock_up(world: SeededWorld) -> None:
        def keep_house() -> None:
            while True:
                world.park(world.now + NANOSECONDS // 10, "keeps house")

        world.spawn(keep_house, (), {}, "mainspring-slots")
        world.park(None, "waits for godot")

    with pytest.raises(StandstillError, match="waits for godot"):
        run(lock_up)


def test_stuck_strand_is_told() -> None:
    """A strand that waits for what is not of the world is named, with the line in which it is."""

    def wait_outside(world: SeededWorld) -> None:
        world.patience = 0.3
        world.sleep(1)
        while True:
            _real_sleep(0.01)

    def live() -> None:
        world = bare_world()
        world.patience = 0.3
        world.run(lambda: wait_outside(world), "main")

    with pytest.raises(MainspringError, match=r"has not come back for 0\.3 seconds") as raised:
        in_child(live)
    assert "#0 (main)" in str(raised.value)
    assert "in wait_outside" in str(raised.value)


def test_what_the_first_raises_is_raised() -> None:
    """What the function of a world raises comes out of `run`."""

    def fail(world: SeededWorld) -> None:
        world.sleep(1)
        raise LookupError("nothing here")

    with pytest.raises(LookupError, match="nothing here"):
        run(fail)


def test_interruption_is_delivered_when_asked_for() -> None:
    """What a strand raises in another one comes out where that one asks for it, once, and not before."""

    def interrupt(world: SeededWorld) -> list[str]:
        told: list[str] = []

        def live() -> None:
            world.park(None, "waits for a test")
            told.append("goes on")
            try:
                world.deliver()
            except KeyboardInterrupt:
                told.append("is interrupted")
            world.deliver()
            told.append("ends")

        strand = world.spawn(live, (), {}, "a strand")
        while not strand.is_parked:
            world.pause()
        assert world.interrupt(strand.ident, KeyboardInterrupt)
        world.unpark(strand)
        all_end(world, [strand])
        return told

    assert run(interrupt) == ["goes on", "is interrupted", "ends"]


def test_interruption_ends_a_sleep() -> None:
    """Who is interrupted in a sleep raises when that is over."""

    def interrupt(world: SeededWorld) -> list[str]:
        told: list[str] = []

        def live() -> None:
            try:
                world.sleep(10)
            except KeyboardInterrupt:
                told.append("is interrupted")

        strand = world.spawn(live, (), {}, "a strand")
        world.sleep(1)
        world.interrupt(strand.ident, KeyboardInterrupt)
        all_end(world, [strand])
        return told

    assert run(interrupt) == ["is interrupted"]


def test_interruption_of_outsiders_is_refused() -> None:
    """A thread that is not of the world is not interrupted by it, and an interruption can be taken back."""

    def interrupt(world: SeededWorld) -> bool:
        me = world.me()
        assert me is not None
        world.interrupt(me.ident, KeyboardInterrupt)
        world.interrupt(me.ident, None)
        world.deliver()
        return world.interrupt(-1, KeyboardInterrupt)

    assert run(interrupt) is False


def test_undisturbed_block_is_one_step() -> None:
    """No other strand runs in an undisturbed block, however often it could."""

    def work(world: SeededWorld) -> list[int]:
        order: list[int] = []

        def live(number: int) -> None:
            with world.undisturbed():
                for _ in range(10):
                    order.append(number)
                    world.pause()

        all_end(world, [world.spawn(live, (number,), {}, "a strand") for number in range(3)])
        return order

    order = run(work, rate=1.0)
    assert [order[index : index + 10] for index in (0, 10, 20)] == [
        [each] * 10 for each in dict.fromkeys(order)
    ]


def test_who_parks_in_an_undisturbed_block_lets_others_run() -> None:
    """An undisturbed block that waits does not keep the world from going on."""

    def work(world: SeededWorld) -> list[str]:
        told: list[str] = []
        strand = world.spawn(lambda: told.append("the other"), (), {}, "a strand")
        with world.undisturbed():
            world.park(world.now + NANOSECONDS, "waits for a test")
            told.append("this one")
        all_end(world, [strand])
        return told

    assert run(work, rate=0.0) == ["the other", "this one"]


def test_threads_from_elsewhere_are_not_of_the_world() -> None:
    """A thread that the world has not begun has no strand."""

    def ask(world: SeededWorld) -> bool:
        return world.me() is not None

    assert run(ask)
    assert bare_world().me() is None
