"""One round of the loops: a program is run, dies or meets a fault, is resumed, and everything is checked."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from tests.durability.accounts import Account, Plan
from tests.durability.child import PROGRAMS
from tests.durability.invariants import problems_of
from tests.durability.journal import read
from tests.durability.nursery import Ending, Parent

__all__ = ["Loop", "Round", "Standing", "Trial", "standing_of"]

Trial = Mapping[str, str]
"""What is to happen to a process, as `points` wants it in its environment; nothing if it is empty."""

_OWN = "mainspring.exceptions.MainspringError"
_NOT_RESUMABLE = "mainspring.exceptions.NotResumable"


class Standing(NamedTuple):
    """How far a program has come.

    Args:
        run_id: The run to be resumed; None if there is none yet.
        is_over: Whether the run has completed.
        unresumable: Runs that cannot be resumed, as they ended before they began.
    """

    run_id: str | None
    is_over: bool
    unresumable: Sequence[str]


def standing_of(database: Path) -> Standing:
    """What the store says of the flow runs that nobody has called from a flow."""
    query = (
        "SELECT id, state_type, EXISTS (SELECT 1 FROM resumptions AS r WHERE r.flow_run_id = f.id)"
        " FROM flow_runs AS f WHERE parent_task_run_id IS NULL ORDER BY id"
    )
    rows: list[tuple[bytes, str, int]] = []
    if database.exists():
        db = sqlite3.connect(database)
        try:
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'flow_runs'").fetchone():
                rows = db.execute(query).fetchall()
        finally:
            db.close()
    resumable = [(str(UUID(bytes=key)), state) for key, state, is_resumable in rows if is_resumable]
    unresumable = [str(UUID(bytes=key)) for key, _, is_resumable in rows if not is_resumable]
    if not resumable:
        return Standing(None, False, unresumable)
    ((run_id, state),) = resumable
    return Standing(run_id, state == "COMPLETED", unresumable)


class Round:
    """One life of a program, over several processes.

    Args:
        nursery: Where the processes come from.
        program: The name of a module in `child.PROGRAMS`.
        folder: For all files of the round.
    """

    def __init__(self, nursery: Parent, program: str, folder: Path) -> None:
        self.nursery = nursery
        self.program = program
        self.folder = folder
        self.database = folder / "home" / "mainspring.db"
        self.endings: list[Ending] = []
        self.problems: list[str] = []

    def play(self, *trials: Trial) -> None:
        """Let a process run the program, and others go on with it: one for each trial, and one that meets none.

        What is wrong is noted on the way.
        """
        for trial in (*trials, {}):
            standing = standing_of(self.database)
            if standing.is_over:
                break
            self._check_before_the_beginning(standing)
            ending = self._bear(standing.run_id, trial)
            self.problems += self._problems_of_ending(ending, trial)
            if self.database.exists() and standing_of(self.database).run_id is not None:
                self.problems += problems_of(self.database, is_over=False)
        self.problems += self._problems_of_end()

    def _bear(self, run_id: str | None, trial: Trial) -> Ending:
        ending = self.nursery.bear(self.program, self.folder, run_id, **trial)
        self.endings.append(ending)
        return ending

    def _check_before_the_beginning(self, standing: Standing) -> None:
        """A run that ended before it began cannot be resumed, and nothing of it is there."""
        if standing.run_id is not None:
            return
        for run_id in standing.unresumable:
            refusal = self._bear(run_id, {})
            if refusal.error is None or _NOT_RESUMABLE not in refusal.error["kinds"]:
                self.problems.append(
                    f"resuming what had not begun ended with {refusal.code} {refusal.answer}"
                )
            self.endings.pop()
        if standing.unresumable:
            db = sqlite3.connect(self.database)
            (steps,) = db.execute("SELECT count(*) FROM task_runs WHERE state_type = 'COMPLETED'").fetchone()
            db.close()
            if steps:
                self.problems.append(f"{steps} steps had completed in a run that had not begun")

    def _problems_of_ending(self, ending: Ending, trial: Trial) -> Iterator[str]:
        """A process ends with a value, dies as it is told to, or tells a fault clearly."""
        if ending.was_killed and ending.met:
            return
        error = ending.error
        if error is None and ending.code == 0:
            return
        if error is None or not ending.met:
            yield f"a process ended with {ending.code} after {trial} {ending.met}: {error} {ending.output}"
        elif _OWN not in error["kinds"]:
            yield f"after {ending.met[0]} came out {error['kinds'][0]}, which is no error of ours: {error['message']}"
        elif not error["message"] or "\n" in error["message"]:
            yield f"after {ending.met[0]} the error is not told in one line: {error['message']!r}"

    def _problems_of_end(self) -> Iterator[str]:
        if not self.database.exists():
            yield "there is no store"
            return
        standing = standing_of(self.database)
        if not standing.is_over:
            yield "the flow run has not completed"
        value = self.endings[-1].answer.get("value")
        expected = self.module.VALUE
        if value is not None and value != expected:
            yield f"the value is {value}, not {expected}"
        yield from problems_of(self.database, keeps_all=not self.faulty)
        journal = self.folder / "journal"
        problems: list[str] = []
        for plan in Plan.all_of(self.module, len(self.endings)):
            problems = list(Account(plan, journal, self.database, self.killed, self.faulty).problems())
            if not problems:
                break
        yield from problems
        if not self.faulty:
            yield from self._wrong_files()

    def _wrong_files(self) -> Iterator[str]:
        """Folders that hold more than what is kept; what was being written at a death does not count."""
        for name, number in getattr(self.module, "FILES", {}).items():
            files = [path for path in (self.folder / name).iterdir() if not path.name.startswith(".")]
            if len(files) != number:
                yield f"{len(files)} files are in {name}, not {number}"

    @property
    def module(self) -> Any:
        """The program."""
        return import_module(f"{PROGRAMS}.{self.program}")

    @property
    def killed(self) -> set[int]:
        """The processes that were killed."""
        return {ending.pid for ending in self.endings if ending.was_killed}

    @property
    def faulty(self) -> set[int]:
        """The processes that have met a fault."""
        return {ending.pid for ending in self.endings if ending.met and not ending.was_killed}

    @property
    def met(self) -> bool:
        """Whether the first process has met what it was to meet."""
        return bool(self.endings[0].met)

    def story(self) -> str:
        """What happened, for people."""
        lines = [f"program {self.program} in {self.folder}"]
        for ending in self.endings:
            lines.append(f"pid {ending.pid} ended with {ending.code}: {ending.answer or 'no answer'}")
            lines += [f"    {event}" for event in ending.told()]
            lines += [f"    {line}" for line in ending.output.splitlines()]
        lines += ["journal:", *(f"    {' '.join(map(str, line))}" for line in read(self.folder / "journal"))]
        lines += ["runs:", *(f"    {line}" for line in self._runs())]
        lines += ["problems:", *(f"    {problem}" for problem in self.problems)]
        return "\n".join(lines)

    def _runs(self) -> Iterator[str]:
        if standing_of(self.database).run_id is None:
            return
        db = sqlite3.connect(self.database)
        query = (
            "SELECT r.id, r.{}, (SELECT group_concat(name, ' ') FROM (SELECT name FROM states WHERE run_id = r.id"
            " ORDER BY position)) FROM {}_runs AS r ORDER BY id"
        )
        for kind, key in (("flow", "flow_name"), ("task", "task_key")):
            for run, name, states in db.execute(query.format(key, kind)):
                yield f"{kind} {UUID(bytes=run)} {name}: {states}"
        for (message,) in db.execute("SELECT message FROM logs WHERE level >= 30 ORDER BY id"):
            yield f"log {message}"
        db.close()


class Loop:
    """Many rounds, and what went wrong in them.

    Args:
        nursery: Where the processes come from.
        folder: For the folders of the rounds, which are removed.
    """

    def __init__(self, nursery: Parent, folder: Path) -> None:
        self.nursery = nursery
        self.folder = folder
        self.rounds = 0
        self._failed: list[str] = []
        self._first_story = ""

    def play(self, program: str, *trials: Trial) -> Round:
        """One round; whether it went well counts in the end."""
        self.rounds += 1
        played = Round(self.nursery, program, self.folder / str(self.rounds))
        played.play(*trials)
        if played.problems:
            self._first_story = self._first_story or played.story()
            where = "; ".join(ending.met[0].split(" ", 2)[2] for ending in played.endings if ending.met)
            self._failed.append(f"{program} {where}: {' | '.join(played.problems)}")
        shutil.rmtree(played.folder)
        return played

    def play_all(self, program: str, kind: str, start: int, step: int, trial: Callable[[int], Trial]) -> None:
        """A round for the first of all points, statements or writes that pass, and for each that is a step further.

        Some more may pass in one round than in another, when the background thread writes at another moment. So the
        rounds go on until nothing is met beyond of what has passed in peace.

        Args:
            program: The program.
            kind: What is counted, see `points`.
            start: Which one is the first, from 1.
            step: How many are left out from one to the next, for several loops that share the work.
            trial: What is to happen at the number that it is given.
        """
        passed = self.passed(program, kind)
        for number in count(start, step):
            if not self.play(program, trial(number)).met and number >= passed:
                break

    def passed(self, program: str, kind: str) -> int:
        """How many points, statements or writes pass if nothing happens."""
        return self.play(program).endings[0].passed(kind)

    def check(self) -> None:
        """Fail if there was a problem in any round: tell all, and one of them in full."""
        failed = "\n".join(self._failed)
        assert not self._failed, (
            f"{len(self._failed)} of {self.rounds} rounds\n{failed}\n\n{self._first_story}"
        )
