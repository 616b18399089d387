"""The kill loop: a process dies at any point at which something becomes durable, and others go on with its run."""

import os
import random
from pathlib import Path

import pytest

from tests.durability.loops import Loop, Trial
from tests.durability.nursery import Strangers

PARTS = 3  # of a loop, for processes that run tests side by side
EXAMPLES = int(os.environ.get("DURABILITY_EXAMPLES", "12"))
RECOVERY = 30  # within so many points a resume finishes what was decided; most of what can go wrong is there

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + EXAMPLES)]


def kill(point: int) -> Trial:
    """What is to happen to a process that dies at a point."""
    return {"KILL_AT": str(point)}


@pytest.mark.contract("TX-26", "TX-32", "TX-37", "TX-71")
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("program", ["plain", "small", "small_async", "files"])
def test_killed_at_every_point(loop: Loop, program: str, part: int) -> None:
    """Wherever the process is killed, the run is gone on with: nothing is done twice, lost, or left half done."""
    loop.play_all(program, "points", part + 1, PARTS, kill)
    loop.check()


@pytest.mark.contract("TX-26", "TX-32")
@pytest.mark.parametrize("program", ["plain", "small_async"])
def test_killed_with_a_journal(loop: Loop, program: str) -> None:
    """The same holds if short tasks are noted in a journal, and committed later."""
    loop.play_all(
        program, "points", 2, PARTS, lambda point: {"MAINSPRING_DURABILITY": "journal", **kill(point)}
    )
    loop.check()


@pytest.mark.contract("TX-26", "TX-32")
@pytest.mark.parametrize("program", ["small", "small_async", "files"])
def test_killed_again_while_going_on(loop: Loop, dice: random.Random, program: str) -> None:
    """The same holds if those who go on with the run are killed, too, once or twice, at any of their points."""
    points = loop.passed(program, "points")
    for _ in range(EXAMPLES):
        later = [dice.randint(1, dice.choice((RECOVERY, points))) for _ in range(dice.choice((1, 2)))]
        loop.play(program, *map(kill, (dice.randint(1, points), *later)))
    loop.check()


@pytest.mark.contract("TX-26", "TX-32", "TX-64")
def test_killed_somewhere_in_a_large_flow(loop: Loop, dice: random.Random) -> None:
    """The same holds for deep nests, maps on threads, locked keys and large results, now and then with two deaths."""
    points = loop.passed("large", "points")
    for _ in range(EXAMPLES):
        loop.play("large", *(kill(dice.randint(1, points)) for _ in range(dice.choice((1, 1, 2)))))
    loop.check()


def test_steps_that_are_not_asked_for_again(loop: Loop) -> None:
    """What had completed in a block that was not committed, and is not asked for again, is undone."""
    loop.play_all("changed", "points", 1, 1, lambda point: {"ASKED": "old", **kill(point)})
    loop.check()


def test_strangers_go_on(folder: Path, dice: random.Random) -> None:
    """An interpreter that knows nothing but the id of the run finds the flow, its tasks and its hooks by itself."""
    loop = Loop(Strangers(), folder)
    for _ in range(max(3, EXAMPLES // 4)):
        loop.play("small", kill(dice.randrange(8, 90)))
    loop.check()
