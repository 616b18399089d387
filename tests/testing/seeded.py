"""Functions in a simulated world, in a process of their own, so that that of the tests stays as it is."""

from collections.abc import Callable
from random import Random
from typing import Any

from mainspring.testing.children import run_in_child
from mainspring.testing.locks import enter_world
from mainspring.testing.takeover import Takeover
from mainspring.testing.worlds import NANOSECONDS, SeededWorld

START = 1_000 * NANOSECONDS
EPOCH = 1_893_456_000 * NANOSECONDS


def bare_world(seed: int = 0, rate: float = 0.3) -> SeededWorld:
    """A world that nothing is made of yet."""
    return SeededWorld(Random(seed), START, EPOCH, rate)


def in_child(function: Callable[[], Any]) -> Any:
    """What a function returns in a forked child; what it raises is raised here."""
    ending = run_in_child(function)
    if ending.error is not None:
        raise ending.error
    assert ending.code == 0
    return ending.value


def in_world(function: Callable[[], Any], seed: int = 0, rate: float = 0.3) -> Any:
    """What a function returns as the first strand of a world that has taken the standard library over."""

    def live() -> Any:
        world = bare_world(seed, rate)
        found: list[Any] = []
        enter_world(world)
        Takeover(Random(seed)).begin()
        world.run(lambda: found.append(function()), "main")
        return found[0]

    return in_child(live)
