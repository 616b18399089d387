"""Thousands of seeds: ``python -m tests.simulation [NUMBER [FIRST]]``, 10,000 from 0 if nothing is said.

One process of each dies or fails, and not two as in the tests. All of them take some eight minutes on two processors
that have nothing else to do.
"""

from __future__ import annotations

import sys

from mainspring.testing import Faults, explore
from tests.simulation.test_seeds import PROGRAMS, program

number, first = (int(text) for text in (*sys.argv[1:], *("10000", "0")[len(sys.argv) - 1 :]))
for name, part in PROGRAMS.items():
    module = program(name)
    explored = explore(
        module.main, range(first, first + round(number * part)), faults=Faults(deaths=1), trace=module.trace
    )
    print(f"{name}: {explored.seeds:,} seeds, {explored.lives:,} processes, {explored.seconds:.0f} s")
    for kind, times in sorted(explored.faults.items()):
        print(f"    {kind}: {times:,}")
