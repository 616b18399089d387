"""Simulating flows with one seed and with many: what is refused, what is found, and how to see it again."""

import asyncio
import io
import multiprocessing
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.exceptions import ConfigurationError, MainspringError
from mainspring.testing import (
    NO_FAULTS,
    Faults,
    Simulation,
    SimulationError,
    SimulationWarning,
    Trace,
    explore,
    simulate,
)
from mainspring.testing.locks import enter_world, leave_world
from tests.testing.seeded import bare_world

DEADLY = NO_FAULTS._replace(death=0.05, deaths=2)
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def kept_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failing simulations leave is removed with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@task
def add(number: int) -> int:
    time.sleep(number)
    return number + 1


@flow(persist_result=True)
def adding(count: int = 3) -> int:
    return sum(add.map(range(count)).result())


# What is refused


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"seed": -1}, "The seed -1 is none"),
    ({"seed": "one"}, "The seed 'one' is none"),
    ({"seed": 1.5}, "The seed 1.5 is none"),
    ({"faults": 0.5}, "faults=0.5: give Faults"),
    ({"faults": Faults(death=2)}, "Faults(death=2): give a likelihood from 0 to 1"),
    ({"faults": Faults(task_raises=-0.1)}, "Faults(task_raises=-0.1)"),
    ({"faults": Faults(slow_commit="often")}, "Faults(slow_commit='often')"),  # type: ignore[arg-type]
    ({"faults": Faults(deaths=1.5)}, "Faults(deaths=1.5): give a number of processes"),  # type: ignore[arg-type]
    ({"faults": NO_FAULTS._replace(death=0.1)}, "with deaths=0 there is no process"),
    ({"check": "value == 6"}, "check='value == 6': give a function"),
    ({"trace": "a trace"}, "trace='a trace': give a Trace"),
    ({"args": 3}, "args=3: give a list"),
    ({"args": "3"}, "args='3': give a list"),
    ({"kwargs": 3}, "kwargs=3: give a dict"),
    ({"args": (1, 2)}, "adding cannot be called with args=(1, 2)"),
    ({"kwargs": {"number": 1}}, "adding cannot be called with args=(), kwargs={'number': 1}"),
    ({"patience": 0}, "patience=0: give seconds"),
    ({"patience": "long"}, "patience='long': give seconds"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_simulate_refuses(options: dict[str, Any], message: str) -> None:
    """What cannot be used is refused before anything is done, and the message says what to give."""
    with pytest.raises(ConfigurationError) as raised:
        simulate(adding, **{"seed": 0, **options})
    assert message in str(raised.value)


SEEDS: list[tuple[dict[str, Any], str]] = [
    ({"seeds": 0}, "No seeds are given"),
    ({"seeds": []}, "No seeds are given"),
    ({"seeds": -3}, "No seeds are given"),
    ({"seeds": None}, "seeds=None: give how many, or which"),
    ({"seeds": 2.5}, "seeds=2.5: give how many, or which"),
    ({"seeds": [1, -2]}, "The seed -2 is none"),
    ({"workers": 0}, "workers=0: give a number of processes"),
    ({"workers": -1}, "workers=-1"),
    ({"workers": "two"}, "workers='two'"),
]


@pytest.mark.parametrize(("options", "message"), SEEDS, ids=[message for _, message in SEEDS])
def test_explore_refuses(options: dict[str, Any], message: str) -> None:
    """So it is with many seeds."""
    with pytest.raises(ConfigurationError) as raised:
        explore(adding, **options)
    assert message in str(raised.value)


@pytest.mark.parametrize("thing", [None, 3, "adding"])
def test_what_is_no_flow_is_refused(thing: Any) -> None:
    """Something that cannot be called is no flow."""
    with pytest.raises(ConfigurationError, match="simulate wants a flow, or a function that calls some"):
        simulate(thing, seed=0)


def test_not_in_a_run() -> None:
    """A flow or task cannot simulate another one."""

    @task
    def in_a_task() -> Any:
        return simulate(adding, seed=0)

    @flow
    def in_a_flow() -> Any:
        return explore(adding, 1)

    for run in (in_a_task, in_a_flow):
        with pytest.raises(ConfigurationError, match="A simulation cannot begin in a run"):
            run()


def test_not_in_a_world() -> None:
    """A simulation cannot begin in another one, nor in virtual time."""
    enter_world(bare_world())
    try:
        with pytest.raises(ConfigurationError, match="cannot begin in virtual time or in another simulation"):
            simulate(adding, seed=0)
    finally:
        leave_world()


# What is simulated


def test_simulation_tells_what_came_of_it() -> None:
    """A simulation has the value, the trace, and how many processes there were."""
    found = simulate(adding, seed=1, args=[4], faults=NO_FAULTS)
    assert found.value == 10
    assert (found.seed, found.returned, found.error, found.lives) == (1, True, "", 1)
    assert (found.met, found.kinds, found.problems, found.findings) == ((), (), (), ())
    assert found.trace[0] == "process 1 of seed 1"
    assert "history:" in found.trace


@flow
async def adding_async() -> list[int]:
    async def slow(number: int) -> int:
        await asyncio.sleep(3600)
        return number

    return await asyncio.gather(slow(1), slow(2))


@flow(persist_result=True)
def yielding() -> Iterator[int]:
    yield 1
    yield add(1)


@flow(persist_result=True)
async def yielding_async() -> AsyncIterator[int]:
    yield 1
    yield add(1)


def plain() -> int:
    return adding() + adding(1)


@flow
def making_a_function() -> Any:
    return lambda: 0


KINDS = [
    (adding_async, [1, 2]),
    (yielding, [1, 2]),
    (yielding_async, [1, 2]),
    (plain, 7),
    (add, 1),
    (making_a_function, "<function, which cannot be pickled>"),
]


@pytest.mark.parametrize(("kind", "value"), KINDS, ids=[kind.__name__ for kind, _ in KINDS])
def test_kinds_of_flows(kind: Any, value: Any) -> None:
    """Flows of all kinds can be simulated, tasks and plain functions too; what they yield is a list."""
    found = simulate(kind, seed=1, args=[0] if kind is add else [], faults=Faults(death=0, lost_lease=0))
    assert found.value == value


def test_flow_that_always_fails_is_told() -> None:
    """A flow that fails without any fault is told: it may be the test that is wrong."""

    @flow
    def missing() -> str:
        return Path("input.csv").read_text()

    with pytest.warns(SimulationWarning, match="Without faults missing raises FileNotFoundError"):
        found = simulate(missing, seed=0, faults=NO_FAULTS)
    assert not found.returned
    assert found.error.startswith("FileNotFoundError")


def test_deaths_are_met_and_gone_on_from() -> None:
    """Processes that die are followed by others, which finish what was left."""
    found = explore(adding, 8, faults=DEADLY)
    assert found.seeds == 8
    assert found.lives > 8
    assert found.faults == {"death": found.lives - 8}


# What is wrong


def refuses(simulation: Simulation) -> None:
    assert simulation.value == 7, "seven is wanted"


def test_message_says_all(tmp_path: Path) -> None:
    """The message of a failing seed says what is wrong, what it met, how to see it again, and where the files are."""
    with pytest.raises(SimulationError) as raised:
        simulate(adding, seed=7, faults=NO_FAULTS._replace(slow_commit=1.0, deaths=1), check=refuses)
    message = str(raised.value)
    assert "Seed 7 shows what is wrong with adding:" in message
    assert "the check raises AssertionError: seven is wanted" in message
    assert "It met: the commit takes" in message
    assert "See it again with simulate(adding, seed=7)" in message
    home = raised.value.simulation.home
    assert str(home.parent) in message
    assert home.is_relative_to(tmp_path)
    assert (home / "mainspring.db").is_file()
    assert (home.parent / "trace").read_text().splitlines() == list(raised.value.simulation.trace)
    assert isinstance(raised.value, AssertionError)


def test_nothing_is_left_of_what_went_well(tmp_path: Path) -> None:
    """A simulation that went well leaves no files."""
    found = simulate(adding, seed=1, faults=NO_FAULTS)
    assert not found.home.exists()
    assert list(tmp_path.iterdir()) == []


def test_see_it_again() -> None:
    """The seed that a message names shows the same again, line by line."""
    with pytest.raises(SimulationError) as raised:
        explore(adding, 20, check=lambda found: "death" not in found.kinds, faults=DEADLY)
    first = raised.value.simulation
    with pytest.raises(SimulationError) as raised:
        simulate(
            adding,
            seed=first.seed,
            check=lambda found: "death" not in found.kinds,
            faults=DEADLY,
        )
    assert raised.value.simulation.trace == first.trace
    assert "the check returns False" in str(raised.value)


def test_without_faults_it_is_told_as_such() -> None:
    """What is wrong already without faults is not blamed on a seed."""

    @flow
    def hanging() -> None:
        import threading

        threading.Event().wait()

    with pytest.raises(SimulationError, match="Without faults, this is wrong with hanging:") as raised:
        explore(hanging, 3)
    assert "simulate(hanging, seed=0, faults=NO_FAULTS)" in str(raised.value)


@task
def append() -> int:
    with Path("ledger").open("a") as ledger:
        ledger.write("x")
    return Path("ledger").stat().st_size


@flow(persist_result=True)
def appending() -> int:
    return append()


def test_another_value_is_found() -> None:
    """A flow that comes to something else when it is killed and gone on with is found without any check."""
    with pytest.raises(SimulationError, match="it returns 2, and without faults 1") as raised:
        explore(appending, 60, faults=DEADLY)
    assert (raised.value.simulation.home.parent / "work" / "ledger").read_text() == "xx"


@task
def book(amount: int) -> None:
    with closing(sqlite3.connect("bank.db")) as bank, bank:
        (balance,) = bank.execute("SELECT balance FROM account").fetchone()
        bank.execute("UPDATE account SET balance = ?", [balance + amount])


@flow(persist_result=True)
def booking() -> int:
    with closing(sqlite3.connect("bank.db")) as bank, bank:
        bank.execute("CREATE TABLE account (balance INTEGER)")
        bank.execute("INSERT INTO account VALUES (0)")
    book.map([100, 20, 3]).result()
    with closing(sqlite3.connect("bank.db")) as bank:
        return int(bank.execute("SELECT balance FROM account").fetchone()[0])


def test_races_of_quick_tasks_are_found() -> None:
    """Tasks that lose what others write between two statements are found, however short they are."""
    with pytest.raises(SimulationError, match="the check returns False"):
        explore(booking, 100, check=lambda found: found.value == 123, faults=NO_FAULTS)


def test_skip_and_fail_of_pytest_count() -> None:
    """What pytest raises in a check is found like any other exception."""
    with pytest.raises(SimulationError, match="the check raises Failed: no"):
        explore(adding, 2, check=lambda found: pytest.fail("no"), faults=NO_FAULTS)


# Many seeds


@pytest.mark.parametrize("workers", [1, 2])
def test_first_failing_seed_stops_it(tmp_path: Path, workers: int) -> None:
    """Nothing more is simulated after a seed that shows what is wrong, and no process is left."""
    seen = tmp_path / "seen"

    def check(simulation: Simulation) -> bool:
        with seen.open("a") as file:
            file.write(f"{simulation.seed}\n")
        return simulation.seed != 1

    before = set(multiprocessing.active_children())  # other tests may have a pool that is kept
    with pytest.raises(SimulationError, match="Seed 1 shows what is wrong") as raised:
        explore(adding, 200, check=check, workers=workers, faults=NO_FAULTS)
    assert set(multiprocessing.active_children()) <= before
    seeds = [int(line) for line in seen.read_text().split()]
    if workers == 1:
        assert [*dict.fromkeys(seeds)] == [0, 1]
    else:
        assert len(seeds) < 100
    assert raised.value.simulation.seed == 1


def test_seeds_may_be_chosen() -> None:
    """Seeds are given as numbers, too, from any iterable."""
    found = explore(adding, (seed for seed in (3, 5)), faults=NO_FAULTS, workers=8)
    assert (found.seeds, found.lives, found.faults) == (2, 2, {})
    assert found.seconds > 0


def test_first_seed_is_simulated_twice(tmp_path: Path) -> None:
    """A course that seeds do not decide is found by exploring, too."""

    @flow
    def counting(path: str) -> int:
        with Path(path).open("a") as file:
            file.write(".")
        time.sleep(Path(path).stat().st_size)
        return 0

    with pytest.raises(SimulationError, match="the same seed took two courses"):
        explore(counting, 4, args=[str(tmp_path / "calls")], faults=NO_FAULTS)


def test_dead_worker_is_told() -> None:
    """Seeds that nothing is known of are not taken for good ones."""
    with pytest.raises(MainspringError, match=r"ended with \[9\] before it was done with its seeds"):
        explore(adding, 3, check=lambda found: os._exit(9), faults=NO_FAULTS)


def test_progress_is_for_terminals(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How far it is, is shown on a terminal and nowhere else."""
    explore(adding, 2, faults=NO_FAULTS)
    assert capfd.readouterr() == ("", "")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    explore(adding, 2, faults=NO_FAULTS)
    assert "Seeds" in terminal.getvalue()
    assert "100%" in terminal.getvalue()


def test_trace_is_compared_with_the_history() -> None:
    """A trace notes in a file of each simulation, and that of the test stays empty."""
    trace = Trace()

    @task
    @trace.function
    def traced() -> int:
        return 1

    @flow(persist_result=True)
    @trace.function
    def main() -> int:
        return traced()

    assert simulate(main, seed=0, trace=trace).value == 1
    assert trace.notes == []


PROGRAM = """
import everything
from mainspring.testing import simulate
print(*simulate(everything.main, seed=int(sys.argv[1]), trace=everything.trace).trace, sep="\\n")
"""


@pytest.mark.slow
def test_seed_decides_in_every_process(mainspring_home: Path) -> None:
    """The same seed takes the same course, byte for byte, in processes with other hashes of texts."""
    traces = [
        subprocess.run(
            [sys.executable, "-c", f"import sys\n{PROGRAM}", "4"],
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": os.pathsep.join([str(ROOT / "tests/simulation/programs"), *sys.path]),
            },
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert traces[0] == traces[1]
    assert len(traces[0].splitlines()) > 100


@flow
def drawing_lots() -> float:
    return random.random()


def test_what_is_not_compared_is_told() -> None:
    """If what comes out is another with each seed, nothing but a check can tell, and that is said."""
    with pytest.warns(SimulationWarning, match="is not compared"):
        assert not explore(drawing_lots, 2, workers=1).is_compared
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not explore(drawing_lots, 2, workers=1, check=lambda _: None).is_compared
        assert explore(holding, 2, workers=1).is_compared


@flow
def holding() -> int:
    return 1


lock = threading.Lock()
taken: list[str] = []


@task
def claim(name: str) -> None:
    """Look and take in two steps, though each is locked."""
    with lock:
        is_free = name not in taken
    if is_free:
        with lock:
            taken.append(name)


@flow
def claiming() -> int:
    taken.clear()
    claim.map(["a"] * 4).result()
    return len(taken)


@pytest.mark.slow
def test_a_race_between_two_locks_is_found() -> None:
    """Threads take their time now and then wherever they lock, so short work of different threads overlaps."""

    def taken_once(simulation: Simulation) -> None:
        assert simulation.value == 1

    with pytest.raises(SimulationError, match="the check"):
        explore(claiming, 400, faults=NO_FAULTS, check=taken_once)


@task
def write_down(letter: str) -> None:
    with Path("log").open("a") as file:
        file.write(letter)


@flow(persist_result=True)
def logging_twice() -> str:
    for letter in "abc":
        write_down(letter)
    return Path("log").read_text()


def test_a_death_that_does_harm_says_where_to_look() -> None:
    """A seed shows that a task was done twice, and `crash_everywhere` says which."""
    with pytest.raises(SimulationError, match=r"crash_everywhere\(logging_twice\) names it"):
        explore(logging_twice, 100, faults=DEADLY)


OF_A_PROJECT = """
from mainspring import flow, task
from mainspring.settings import get_current_settings
from mainspring.testing import simulate

@task
def count():
    import beside
    print("counted", beside.NUMBER)
    return beside.NUMBER, get_current_settings().tasks.default_retries

@flow
def main():
    return count()

simulation = simulate(main, seed=1)
print(simulation.value, simulation.output.split())
"""


def test_what_lies_beside_the_program(mainspring_home: Path, tmp_path: Path) -> None:
    """Modules are found, settings of the project hold, and what is printed is told, as if nothing was simulated."""
    (tmp_path / "beside.py").write_text("NUMBER = 7\n")
    (tmp_path / "pyproject.toml").write_text("[tool.mainspring.tasks]\ndefault_retries = 2\n")
    done = subprocess.run(
        [sys.executable, "-c", OF_A_PROJECT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == "(7, 2) ['counted', '7']\n", done.stderr
