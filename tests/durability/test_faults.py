"""The fault loop: any statement of the store and any write of the storage fails, and that is told or got over."""

import os
import random

import pytest

from tests.durability.loops import Loop, Trial
from tests.durability.points import DATABASE_FAULTS, STORAGE_FAULTS

PARTS = 3
EXAMPLES = int(os.environ.get("DURABILITY_EXAMPLES", "12"))
RECOVERY = 80  # within so many statements a resume finishes what was decided
IS_LONG = EXAMPLES >= 100  # else every other statement is tried
LASTING = pytest.mark.parametrize("lasts", [False, True], ids=["once", "lasting"])

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + EXAMPLES)]


def fault(kind: str, at: int, lasts: bool) -> Trial:
    """What is to happen to a process of which one statement or write fails, or all from one on."""
    return {"FAULT": kind, "FAULT_AT": str(at), **({"FAULT_LASTS": "1"} if lasts else {})}


@pytest.mark.contract("TX-27", "TX-28", "TX-71")
@LASTING
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("program", ["small"])
def test_every_statement_fails(loop: Loop, dice: random.Random, program: str, part: int, lasts: bool) -> None:
    """Whichever statement fails, the process ends with a clear error or without one, and the run is gone on with."""
    kinds = [*DATABASE_FAULTS]
    dice.shuffle(kinds)

    start, step = part + 1, PARTS
    if not IS_LONG:
        start, step = start + PARTS * dice.randrange(2), 2 * PARTS

    def trial(at: int) -> Trial:
        return fault(kinds[at // step % len(kinds)], at, lasts)

    loop.play_all(program, "statements", start, step, trial)
    loop.check()


@pytest.mark.contract("TX-27", "TX-71")
@LASTING
@pytest.mark.parametrize("kind", STORAGE_FAULTS)
def test_every_write_fails(loop: Loop, kind: str, lasts: bool) -> None:
    """The same holds for each write of a result, and each renaming."""
    loop.play_all("files", "writes", 1, 1, lambda at: fault(kind, at, lasts))
    loop.check()


@pytest.mark.contract("TX-27", "TX-33")
@LASTING
def test_faults_while_going_on(loop: Loop, dice: random.Random, lasts: bool) -> None:
    """The same holds for a process that goes on with the run of one that was killed."""
    points, statements = loop.passed("small", "points"), loop.passed("small", "statements")
    for _ in range(EXAMPLES):
        death, at = dice.randint(1, points), dice.randint(1, dice.choice((RECOVERY, statements)))
        loop.play("small", {"KILL_AT": str(death)}, fault(dice.choice([*DATABASE_FAULTS]), at, lasts))
    loop.check()


@LASTING
def test_faults_in_a_large_flow(loop: Loop, dice: random.Random, lasts: bool) -> None:
    """The same holds somewhere in a large flow, with threads that share their commits."""
    statements, writes = (loop.passed("large", kind) for kind in ("statements", "writes"))
    for _ in range(EXAMPLES // 2):
        kind = dice.choice([*DATABASE_FAULTS, *STORAGE_FAULTS])
        loop.play(
            "large", fault(kind, dice.randint(1, writes if kind in STORAGE_FAULTS else statements), lasts)
        )
    loop.check()
