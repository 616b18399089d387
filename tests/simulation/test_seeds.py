"""What is simulated in every run of the tests: hundreds of seeds, those that have shown something, and one twice."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from mainspring.testing import Exploration, explore, simulate
from tests.simulation.regressions import REGRESSIONS, Regression

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("SIMULATED_SEEDS", "500"))
"""How many seeds in all; `python -m tests.simulation` takes thousands."""

PROGRAMS = {"everything": 0.6, "everything_async": 0.4}
"""The programs, and which part of the seeds is theirs."""

KINDS = {"task_raises", "statement_fails", "slow_commit", "duplicate_wakeup", "lost_lease", "death"}


def program(name: str) -> Any:
    return import_module(f"tests.simulation.programs.{name}")


@pytest.mark.timeout(540)
@pytest.mark.parametrize("name", PROGRAMS)
def test_no_seed_breaks_a_rule(name: str) -> None:
    """Retries, nested transactions, limits, a map and a subflow come to what they should, whatever goes wrong."""
    number = round(SEEDS * PROGRAMS[name])
    module = program(name)
    explored = explore(
        module.main, number, trace=module.trace, workers=1
    )  # there are other tests beside this one
    assert explored.seeds == number
    assert explored.lives > number
    if number >= 100:
        assert set(explored.faults) == KINDS


@pytest.mark.parametrize("known", REGRESSIONS, ids=lambda known: f"{known.program}-{known.seed}")
def test_what_was_found_stays_mended(known: Regression) -> None:
    """A seed that has shown a bug passes from then on."""
    module = program(known.program)
    assert isinstance(explore(module.main, [known.seed], trace=module.trace), Exploration)


REPLAYED = range(18, 18 + max(10, SEEDS // 20))
"""The seeds that are played in two processes, for each program: of the first ten some had two courses."""

_TELL = """
import os, random, sys, time

chance = random.Random(os.urandom(8))
if sys.argv[2] == "otherwise":
    # what no machine promises: when threads take turns, how long work takes, addresses, and the order of files
    sys.setswitchinterval(1e-6)

    class Listing(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __next__(self):
            if not self:
                raise StopIteration
            return self.pop(0)

    scandir, listdir = os.scandir, os.listdir
    time.process_time = lambda: 0.0
    os.scandir = lambda *args: Listing(chance.sample(each := list(scandir(*args)), len(each)))
    os.listdir = lambda *args: chance.sample(each := listdir(*args), len(each))
    holes = [bytearray(chance.randrange(600)) for _ in range(100_000)]
    chance.shuffle(holes)
    del holes[::2]

from importlib import import_module
from mainspring.testing import Faults, simulate

program = import_module("tests.simulation.programs." + sys.argv[1])
for seed in sys.argv[3:]:
    # more rivals than there would be, as they are what tells of process ids
    simulation = simulate(program.main, seed=int(seed), faults=Faults(lost_lease=0.005), trace=program.trace)
    print(f"seed {seed}:", *simulation.trace, sep="\\n")
"""


def tell(name: str, how: str, hash_seed: str) -> subprocess.Popen[str]:
    """A process that plays some seeds, and prints their traces."""
    return subprocess.Popen(
        [sys.executable, "-c", _TELL, name, how, *map(str, REPLAYED)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(540)
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_seed_gives_the_same_trace_in_every_process(name: str) -> None:
    """Byte for byte, whatever the process, its memory, its hashes of texts and the pace of its machine are."""
    processes = [tell(name, "as ever", "1"), tell(name, "otherwise", "2")]
    try:
        first, second = (process.communicate(timeout=500)[0].split("\n") for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert first.count("history:") == len(REPLAYED)
    for number, (one, other) in enumerate(zip_longest(first, second)):
        assert one == other, "\n".join(first[max(0, number - 5) : number])


def test_a_simulation_tells_what_it_was_like() -> None:
    """The trace has every point that was passed, and every state that was entered, each with its moment."""
    module = program("everything")
    simulation = simulate(module.main, seed=0, trace=module.trace, verify=True)
    assert simulation.returned
    assert simulation.value == simulate(module.main, seed=1, trace=module.trace).value
    assert any("store.commit" in line for line in simulation.trace)
    history = simulation.trace[simulation.trace.index("history:") :]
    assert any("Completed" in line and "main" in line for line in history)
