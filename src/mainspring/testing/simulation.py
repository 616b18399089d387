"""One run of a flow in a world where a seed decides what happens: who runs when, what time it is, and what goes wrong.

Each process of the simulation is a forked child in which a `SeededWorld` has taken the standard library over. If it
dies, or ends with an error, another one goes on with the run where that was left, on the same files; the last one meets
no faults. So whatever the seed had in store, the flow comes to its end, and the store has to be in order.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Self
from uuid import UUID

from mainspring.exceptions import ConfigurationError
from mainspring.store import open_store
from mainspring.testing import rules
from mainspring.testing.children import ChildError, Ending, run_in_child
from mainspring.testing.episodes import EPOCH, MODULES, NOTES, START, Episode, Plan, chance, live, look
from mainspring.testing.faults import FAULT_WORDS, NO_FAULTS, Faults
from mainspring.testing.lives import Folder
from mainspring.testing.takeover import look_around
from mainspring.testing.traces import Trace
from mainspring.testing.worlds import NANOSECONDS

__all__ = ["Simulation", "Stage", "play", "require_playable"]

_HISTORY = (
    "SELECT r.name, s.position, s.name, s.timestamp, s.attempt FROM states AS s JOIN"
    " (SELECT id, name FROM flow_runs UNION ALL SELECT id, name FROM task_runs) AS r ON r.id = s.run_id"
    " ORDER BY s.timestamp, r.id, s.position"
)


class Simulation(NamedTuple):
    """What came of a simulation.

    Args:
        seed: The seed.
        value: What the flow returned; a list for a generator, and a text for what cannot be pickled.
        returned: Whether it has: it may die after it has completed, too.
        error: What it raised in the end, as a text; empty if it has returned.
        trace: What happened, line by line; the same for the same seed.
        lives: How many processes there were.
        met: The faults that it met.
        kinds: The same, in one word each.
        problems: What is wrong.
        findings: What the flow takes from outside, which the seed does not decide.
        home: The folder of the run store: while the user's check is called, and afterwards if something was wrong.
        output: What was written to the terminal.
    """

    seed: int
    value: Any
    returned: bool
    error: str
    trace: tuple[str, ...]
    lives: int
    met: tuple[str, ...]
    kinds: tuple[str, ...]
    problems: tuple[str, ...]
    findings: tuple[str, ...]
    home: Path
    output: str


class Stage:
    """Where simulations are played: a folder in memory, if the system has one, and an empty run store to begin with.

    Use it as a context manager.
    """

    def __init__(self) -> None:
        memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
        where = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
        self._folder = Path(tempfile.mkdtemp(prefix="mainspring-simulation-", dir=where))
        self._template = self._folder / "template.db"

    def __enter__(self) -> Self:
        def make() -> None:
            open_store(f"sqlite:///{self._template}", create=True).close()

        ending = run_in_child(make)
        if ending.error is not None:
            raise ending.error
        return self

    def __exit__(self, *exc: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def scene(self, seed: int) -> Generator[Path]:
        """An empty folder with a run store in its ``home``, and a ``work`` in which the flow is called."""
        folder = Path(tempfile.mkdtemp(prefix=f"seed-{seed}-", dir=self._folder))
        Folder(folder).make()
        shutil.copyfile(self._template, folder / "home" / "mainspring.db")
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def play(
    plan: Plan,
    seed: int,
    stage: Stage,
    audit: bool = False,
    judge: Callable[[Simulation], Iterable[str]] | None = None,
) -> Simulation:
    """Simulate a flow with one seed.

    Args:
        plan: What is simulated.
        seed: The seed.
        stage: Where.
        audit: Whether to look for what the flow takes from outside, which makes it slower, and to import here what was
            imported there.
        judge: Says what else is wrong, before the files are removed.
    """
    with stage.scene(seed) as folder:
        simulation = _play(plan, seed, folder, audit)
        if audit:
            _import_beforehand(_lines(folder / MODULES))
        database = folder / "home" / "mainspring.db"
        problems = list(simulation.problems)
        if not problems:
            problems += rules.problems(database, results=True, trace=plan.trace and Trace(folder / NOTES))
        simulation = simulation._replace(
            trace=(*simulation.trace, "history:", *_history(database)), problems=tuple(problems)
        )
        if plan.check is not None and not problems:
            simulation = simulation._replace(problems=tuple(_problems_of_check(plan.check, simulation)))
        if judge is not None and not simulation.problems:
            simulation = simulation._replace(problems=tuple(judge(simulation)))
        if simulation.problems:
            simulation = simulation._replace(home=_keep(folder, simulation))
    return simulation


def _import_beforehand(names: Iterable[str]) -> None:
    """Import what simulated processes import, as far as it is no code of users: else each has to do it again."""
    for name in sorted(names):
        package = name.partition(".")[0]
        if package in ("cloudpickle", "mainspring") or package in sys.stdlib_module_names:
            with suppress(ImportError):
                import_module(name)
    look_around()


def _keep(folder: Path, simulation: Simulation) -> Path:
    """Keep the files of a simulation in which something is wrong, with its trace; where they are."""
    kept = Path(tempfile.mkdtemp(prefix=f"mainspring-seed-{simulation.seed}-"))
    shutil.copytree(folder, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.unready", "*.bell"))
    (kept / "trace").write_text("\n".join(simulation.trace) + "\n")
    return kept / "home"


def _play(plan: Plan, seed: int, folder: Path, audit: bool) -> Simulation:
    profile = _profile(plan.faults, seed)
    database = folder / "home" / "mainspring.db"
    start = START
    problems: list[str] = []
    value: Any = None
    error = ""
    returned = False
    number = 0
    while True:
        number += 1
        is_last = number > profile.deaths
        episode = Episode(
            plan,
            seed,
            number,
            NO_FAULTS if is_last else profile,
            folder,
            _unfinished(database),
            start,
            audit and number == 1,
        )
        try:
            ending = run_in_child(lambda episode=episode: live(episode), plan.patience)  # type: ignore[misc]
        except ChildError as hangs:
            problems.append(str(hangs))
            break
        start = _read_clock(folder, start) + chance(f"{seed} {number} pause").randrange(60 * NANOSECONDS)
        if ending.was_killed:
            if _has_completed(database):
                error = ""
                _settle_last(episode, start)
                break
            continue
        problem = _problem_of_ending(ending, number)
        if problem:
            problems.append(problem)
            break
        value, error = ending.value
        if not error or is_last:
            returned = not error
            break
        if _has_completed(database):  # the error came later, and is none of the flow
            error = ""
            break
    lines, output = _lines(folder / "trace"), Folder(folder).output
    return Simulation(
        seed,
        value,
        returned,
        error,
        tuple(lines),
        number,
        tuple(line.split(maxsplit=2)[2] for line in lines if _fault_in(line)),
        tuple(kind for line in lines if (kind := _fault_in(line))),
        tuple(problems),
        tuple(dict.fromkeys(_lines(folder / "findings"))),
        folder / "home",
        output.read_text(errors="replace") if output.exists() else "",
    )


def _settle_last(episode: Episode, start: int) -> None:
    """Have another process look at what one that has died at the very end has left."""
    visit = episode._replace(
        plan=Plan(look), number=episode.number + 1, faults=NO_FAULTS, start=start, run_id=None
    )
    run_in_child(lambda: live(visit), episode.plan.patience)


def _fault_in(line: str) -> str:
    """The kind of fault that a line of the trace tells of; empty for none."""
    return next((kind for kind, words in FAULT_WORDS.items() if words in line), "")


def _profile(faults: Faults, seed: int) -> Faults:
    """The faults of one seed: some kinds often, others not at all, so that seeds are unlike one another."""
    random = chance(f"{seed} profile")
    rates = {
        name: min(1.0, rate * 10 ** random.uniform(-1, 1)) if random.random() < 0.6 else 0.0
        for name, rate in faults._asdict().items()
        if name != "deaths"
    }
    return Faults(**rates, deaths=faults.deaths)


def _problem_of_ending(ending: Ending, number: int) -> str:
    """What is wrong with how a process ended that was not killed by a fault; empty for nothing."""
    if ending.code != 0:
        return f"process {number} ended with {ending.code}"
    if ending.error is not None:
        return f"process {number}: {type(ending.error).__name__}: {ending.error}\n{ending.trace}"
    return ""


def _problems_of_check(check: Callable[..., object], simulation: Simulation) -> Iterator[str]:
    try:
        if check(simulation) is False:
            yield "the check returns False"
    except (KeyboardInterrupt, SystemExit):
        raise
    except (
        BaseException
    ) as error:  # whatever the user's check raises is what it found; what pytest.fail raises, too
        yield f"the check raises {type(error).__name__}: {error}"


# What is in the files


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _read_clock(folder: Path, default: int) -> int:
    path = folder / "clock"
    return int(path.read_text()) if path.exists() else default


def _outermost(database: Path) -> Sequence[tuple[bytes, str, int]]:
    query = (
        "SELECT id, state_type,"
        " EXISTS (SELECT 1 FROM resumptions AS r WHERE r.flow_run_id = f.id AND r.problem IS NULL)"
        " FROM flow_runs AS f WHERE parent_task_run_id IS NULL ORDER BY id"
    )
    with closing(sqlite3.connect(database)) as db:
        return db.execute(query).fetchall()


def _unfinished(database: Path) -> UUID | None:
    """The run that the next process is to go on with."""
    for key, state, is_resumable in reversed(_outermost(database)):
        if state != "COMPLETED" and is_resumable:
            return UUID(bytes=key)
    return None


def _has_completed(database: Path) -> bool:
    found = [state for _, state, is_resumable in _outermost(database) if is_resumable]
    return bool(found) and found[-1] == "COMPLETED"


def _history(database: Path) -> Iterator[str]:
    with closing(sqlite3.connect(database)) as db:
        for name, position, state, timestamp, attempt in db.execute(_HISTORY):
            yield f"{(timestamp * 1000 - EPOCH - START) / NANOSECONDS:.6f} {name} {position} {state} {attempt}"


def require_playable(flow: object) -> None:
    """Refuse what cannot be simulated.

    Raises:
        ConfigurationError: It cannot be called, or this system cannot do it.
    """
    if not callable(flow):
        raise ConfigurationError(f"simulate wants a flow, or a function that calls some, and not {flow!r}.")
    if sys.platform == "win32":
        raise ConfigurationError(
            "Simulations fork processes, which Windows cannot: run them on Linux or macOS."
        )
