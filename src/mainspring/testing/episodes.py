"""One process of a simulation: what a forked child does, in a world that has taken the standard library over."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from mainspring.exceptions import MainspringError
from mainspring.recording import Recorder, close_recorders, current_recorder
from mainspring.resumption import resume_flow_run
from mainspring.store import open_store
from mainspring.testing import outside
from mainspring.testing.faults import Faults, InjectedError, Injector
from mainspring.testing.lives import Folder, finished, settle_in
from mainspring.testing.locks import enter_world
from mainspring.testing.outside import OutsideWorldError
from mainspring.testing.takeover import Takeover
from mainspring.testing.traces import Trace
from mainspring.testing.worlds import NANOSECONDS, SeededWorld

__all__ = ["EPOCH", "MODULES", "NOTES", "START", "Episode", "Plan", "chance", "live", "look"]

EPOCH = 1_893_456_000 * NANOSECONDS
"""The first of January 2030: what to add to the monotonic clock of a simulation for the wall clock."""

START = 1_000 * NANOSECONDS
"""The first moment of that clock."""

NOTES = "notes"
"""The file of the `Trace` in the folder of a simulation."""

MODULES = "modules"
"""The file with the names of the modules that its newest process has imported."""

_PATIENCE = 60.0
_OF_PATIENCE = 1 / 6  # told before the process is killed as hanging, which tells less
_PID = re.compile(r"\bpid \d+")
_FASTEST = 0.3  # how likely another strand runs after an operation, at most
_SLOWEST = 0.05  # how likely a strand takes its time there, at most


class Plan(NamedTuple):
    """What is simulated.

    Args:
        flow: The flow, or anything that calls some.
        args: What it is called with.
        kwargs: The same, by name.
        faults: What may go wrong.
        trace: What notes what user code sees; None for nothing.
        check: The user's check, called with the `Simulation` when all is over; it raises what it does not like, or
            returns False.
        patience: Seconds after which a process counts as hanging.
    """

    flow: Callable[..., Any]
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}
    faults: Faults = Faults()
    trace: Trace | None = None
    check: Callable[..., object] | None = None
    patience: float = _PATIENCE


class Episode(NamedTuple):
    """What a child needs to know."""

    plan: Plan
    seed: int
    number: int
    faults: Faults
    folder: Path
    run_id: UUID | None
    start: int
    looks_outside: bool


def chance(purpose: str) -> Random:
    """Numbers that are always the same for one purpose."""
    return Random(purpose)  # noqa: S311 - which is the point of it


class _Diary:
    """What is told of one process: to be written into the folder of the simulation when it ends, or dies."""

    def __init__(self, episode: Episode, world: SeededWorld) -> None:
        self._world = world
        self._folder = episode.folder
        self._lines = [f"process {episode.number} of seed {episode.seed}"]
        self._modules = set(sys.modules)
        self.findings: list[str] = []

    def note(self, what: str) -> None:
        """Add a line to the trace."""
        me = self._world.me()
        number = "-" if me is None else me.number
        self._lines.append(f"{(self._world.now - START) / NANOSECONDS:.6f} #{number} {what}")

    def close(self) -> None:
        """Write it out."""
        world = self._world
        self._lines.append(f"{world.steps} steps, {world.switches} times another thread ran")
        with (self._folder / "trace").open("a") as file:
            file.write("\n".join(self._lines) + "\n")
        with (self._folder / "findings").open("a") as file:
            file.writelines(f"{line}\n" for line in dict.fromkeys(self.findings))
        (self._folder / "clock").write_text(str(world.now))
        (self._folder / MODULES).write_text("\n".join(sys.modules.keys() - self._modules))


def live(episode: Episode) -> tuple[Any, str]:
    """Play one process; what the flow returned, and what it raised."""
    gc.disable()  # collections come when they like
    _move_in(episode)
    Recorder.journals_after = 1  # else so few tasks would make none, or a late one
    name = f"{episode.seed} {episode.number}"
    schedule = chance(f"{name} schedule")
    rate, lingering = (most * schedule.random() ** 2 for most in (_FASTEST, _SLOWEST))
    world = SeededWorld(schedule, episode.start, EPOCH, rate, lingering)
    world.patience = episode.plan.patience * _OF_PATIENCE
    diary = _Diary(episode, world)
    injector = Injector(
        world,
        episode.faults,
        chance(f"{name} faults"),
        diary.note,
        str(episode.folder),
        diary.close,
        lambda: _settle_as_rival(world),
    )
    enter_world(world)
    Takeover(chance(f"{name} chance")).begin()
    injector.install()
    result: list[Any] = [None, ""]

    def act() -> None:
        refused: list[OutsideWorldError] = []
        outside.watch(diary.findings.append, refused.append, names_calls=episode.looks_outside)
        injector.armed = True
        try:
            result[0] = _call(episode)
        # whatever the flow raises is told and judged
        except (Exception, asyncio.CancelledError) as error:
            result[1] = f"{type(error).__name__}: {error}"
        if refused:
            raise refused[0]
        diary.note(f"ends with {_same_everywhere(result[1], episode.folder) or 'a value'}")
        try:
            close_recorders()
        except MainspringError as error:
            if not episode.faults.statement_fails:
                raise
            diary.note(f"closing the run store met {error}")
        injector.armed = False

    try:
        world.run(act, "main")
    finally:
        diary.close()
    return _portable(result[0]), result[1]


def look() -> None:
    """What any process does that comes later: it opens the run store, and settles what the dead have left there."""
    current_recorder()


def _move_in(episode: Episode) -> None:
    """Have the files of this simulation be those of the process."""
    os.environ["MAINSPRING_DURABILITY"] = "journal" if episode.seed % 2 else "process"
    settle_in(Folder(episode.folder))
    if episode.plan.trace is not None:
        episode.plan.trace.redirect(episode.folder / NOTES)


def _same_everywhere(text: str, folder: Path) -> str:
    """A message without what is another in each process."""
    return _PID.sub("pid", text.replace(str(folder), ""))


def _call(episode: Episode) -> Any:
    if episode.run_id is not None:
        return resume_flow_run(episode.run_id, flow=_flow_of(episode.plan.flow))
    return finished(episode.plan.flow(*episode.plan.args, **episode.plan.kwargs))


def _portable(value: Any) -> Any:
    """The value as it can leave the process, with nothing in it that is different in each."""
    try:
        pickle.loads(pickle.dumps(value))
    except Exception:  # values of users raise what they like
        return f"<{type(value).__qualname__}, which cannot be pickled>"
    return value


def _flow_of(function: Any) -> Any:
    return function if hasattr(function, "fn") else None


def _settle_as_rival(world: SeededWorld) -> None:
    """What another host does that has heard nothing of this process for longer than its lease."""
    store = current_recorder().store
    with world.undisturbed():  # nobody renews it meanwhile, unless somebody is in the middle of a write
        world.now += round(store.lease_seconds * 1.01 * NANOSECONDS)
        try:
            other = open_store(store.url, create=False, host_id="a rival", lease_seconds=store.lease_seconds)
            other.settle_dead_owners()
            other.close()
        except (MainspringError, InjectedError):
            return  # it has met a fault of its own
