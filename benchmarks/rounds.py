"""Cases of many families, round by round: a slow moment of the machine spoils one round of all, and no case.

Of each case and of each unit the fastest round counts. A round of a case begins with some calls that are not timed,
for what is new: a database that is opened, a thread or a process that is started.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.cases import Case, Family, Turn
from benchmarks.measuring import Figure, Meter, Unmeasurable
from mainspring.recording import close_recorders
from mainspring.settings import temporary_settings

__all__ = ["Progress", "steps_of", "take_rounds"]

Progress = Callable[[str], None]
"""Told what comes next."""

WARMING = 20
"""What part of the calls of a turn is made before it."""


class Taken(NamedTuple):
    """The seconds per call that each round of a case took, and why there are no more."""

    seconds: list[float]
    problems: list[str]


def steps_of(families: Mapping[str, Family], rounds: int) -> int:
    """How often progress will be told of."""
    units = {family.unit.name for family in families.values()}
    return rounds * (len(units) + sum(len(family.cases) for family in families.values()))


def take_rounds(
    families: Mapping[str, Family], meter: Meter, home: Path, progress: Progress = lambda _: None
) -> dict[str, list[Figure]]:
    """The figures of each family, the first of which is its unit."""
    units = {family.unit.name: Taken([], []) for family in families.values()}
    taken = {(name, case.name): Taken([], []) for name, family in families.items() for case in family.cases}
    for number in range(meter.rounds):
        waiting = set(units)
        for name, family in families.items():
            of_family = {case: taken[name, case.name] for case in family.cases}
            if family.unit.name in waiting:
                waiting.discard(family.unit.name)
                of_family = {family.unit: units[family.unit.name], **of_family}
            try:
                with family.around(home / name):
                    for case, of_case in of_family.items():
                        progress(f"round {number + 1} of {meter.rounds}: {name}: {case.name}")
                        take_turn(case, of_case, meter, home / name)
            except Unmeasurable as reason:
                for case in family.cases:
                    of_family[case].problems.append(str(reason))
            finally:
                close_recorders()
    return {
        name: [
            figure(family.unit, units[family.unit.name], units[family.unit.name]),
            *(figure(case, taken[name, case.name], units[family.unit.name]) for case in family.cases),
        ]
        for name, family in families.items()
    }


def take_turn(case: Case, taken: Taken, meter: Meter, home: Path) -> None:
    """One round of one case; one that failed before is left alone."""
    if taken.problems:
        return
    calls = max(1, min(meter.calls // case.share, case.at_most or meter.calls))
    with temporary_settings({"home": home / case.durability, "durability": case.durability}):
        try:
            case.take(Turn(max(1, calls // WARMING), home))
            taken.seconds.append(case.take(Turn(calls, home)))
        except Unmeasurable:
            raise
        except Exception as error:  # whatever it is, the others are to be measured: the table will tell of it
            taken.problems.append(f"{type(error).__name__}: {error}")


def figure(case: Case, taken: Taken, of_unit: Taken) -> Figure:
    """What the rounds of a case come to."""
    seconds, problems = taken
    unit = min(of_unit.seconds, default=1.0)
    if problems or not (seconds and of_unit.seconds):
        problem = (problems or of_unit.problems or ["There was no round."])[0]
        return Figure(case.name, None, unit, case.budget, problem, rounds=tuple(seconds))
    return Figure(case.name, min(seconds), unit, case.budget, rounds=tuple(seconds))
