"""The kill loop: a process dies at any point at which something becomes durable, and others go on with its run."""

import os
import random
from itertools import count

import pytest

from tests.durability.loops import Loop

PARTS = 3  # of a loop, for processes that run tests side by side
EXAMPLES = int(os.environ.get("DURABILITY_EXAMPLES", "20"))
MANY = 500  # more points than the large flow has; those that a process does not come to are left out

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + EXAMPLES)]


def kill(*points: int) -> list[dict[str, str]]:
    """The trials of processes of which each dies at a point of its own."""
    return [{"KILL_AT": str(point)} for point in points]


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("program", ["plain", "small", "small_async", "files"])
def test_killed_at_every_point(loop: Loop, program: str, part: int) -> None:
    """Wherever the process is killed, the run is gone on with: nothing is done twice, lost, or left half done."""
    for point in count(part + 1, PARTS):
        if not loop.play(program, *kill(point)).met:
            break
    assert loop.rounds > 1
    loop.check()


@pytest.mark.parametrize("program", ["small", "small_async", "files"])
def test_killed_again_while_going_on(loop: Loop, dice: random.Random, program: str) -> None:
    """The same holds if those who go on with the run are killed, too, once or twice, at any of their points."""
    for _ in range(EXAMPLES):
        points = (dice.randrange(1, 100), dice.randrange(1, 100), dice.randrange(1, 100))
        loop.play(program, *kill(*points[: dice.choice((2, 3))]))
    loop.check()


def test_killed_somewhere_in_a_large_flow(loop: Loop, dice: random.Random) -> None:
    """The same holds for deep nests, maps on threads, locked keys and large results, now and then with two deaths."""
    for _ in range(EXAMPLES):
        points = dice.randrange(1, MANY), dice.randrange(1, MANY)
        loop.play("large", *kill(*points[: dice.choice((1, 1, 2))]))
    loop.check()
