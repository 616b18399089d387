"""What may go wrong in a simulation, and how it is made to."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, cast

from mainspring import points
from mainspring.exceptions import ConfigurationError
from mainspring.testing.children import die
from mainspring.testing.locks import active_world
from mainspring.testing.worlds import NANOSECONDS, SeededWorld

__all__ = ["FAULT_WORDS", "NO_FAULTS", "Faults", "InjectedError", "Injector"]


class InjectedError(Exception):
    """What a task raises when the simulation has it fail."""


class Faults(NamedTuple):
    """How likely what goes wrong, each time that it could; 0 for never.

    Args:
        task_raises: A call of a task's function raises an `InjectedError`.
        statement_fails: A statement to the database of the run store fails: it is full, broken, or cannot be locked.
        slow_commit: A commit takes between a millisecond and ten seconds. All in a life together take no longer than
            20 seconds, as leases of slots would expire after a minute.
        duplicate_wakeup: Whoever waits for a condition is woken for nothing, or all are in the place of one.
        lost_lease: At a point, another host finds that the lease of this process has expired, and settles its runs. At
            most once in a life.
        death: The process dies at a point.
        deaths: At most so many processes die or end with an error; then one goes on in peace. So 0 is only for
            `NO_FAULTS`: to have one kind of fault alone, take ``NO_FAULTS._replace(death=0.01, deaths=2)``.
    """

    task_raises: float = 0.02
    statement_fails: float = 0.0005
    slow_commit: float = 0.02
    duplicate_wakeup: float = 0.02
    lost_lease: float = 0.0002
    death: float = 0.002
    deaths: int = 2

    def check(self) -> None:
        """Refuse what is no likelihood.

        Raises:
            ConfigurationError: Some number is out of range.
        """
        for name, value in self._asdict().items():
            wrong = not isinstance(value, int | float) or value < 0 or (name != "deaths" and value > 1)
            if wrong or (name == "deaths" and not isinstance(value, int)):
                expected = "a number of processes" if name == "deaths" else "a likelihood from 0 to 1"
                raise ConfigurationError(f"Faults({name}={value!r}): give {expected}.")
        if not self.deaths and any(self):
            raise ConfigurationError(
                f"{self}: with deaths=0 there is no process in which something may go wrong. Give deaths=1, or more."
            )


FAULT_WORDS = {
    "task_raises": "the task raises",
    "statement_fails": "the statement fails",
    "slow_commit": "the commit takes",
    "duplicate_wakeup": "for nothing",
    "lost_lease": "another host finds",
    "death": "dies at",
}
"""By what a fault is known in a trace."""

NO_FAULTS = Faults(0, 0, 0, 0, 0, 0, 0)

_STATEMENT_FAULTS = (
    (sqlite3.SQLITE_BUSY, "SQLITE_BUSY", "database is locked"),
    (sqlite3.SQLITE_FULL, "SQLITE_FULL", "database or disk is full"),
    (sqlite3.SQLITE_IOERR, "SQLITE_IOERR", "disk I/O error"),
)
_NOT_FAILING = ("ROLLBACK", "PRAGMA")
_LABEL = 70
_CALL_TAKES_TIME = 0.5
_SEQUENCES = (tuple, list)
_TEXTS = (str, Path)


class Injector:
    """Looks on at all points of one process: notes them, lets others run there, and makes something go wrong.

    Args:
        world: Where the process runs.
        faults: What may go wrong.
        random: Where chance comes from: not that of the scheduler, so that they do not disturb one another.
        note: Takes a line of the trace.
        folder: What is left out of the trace: where the files of this simulation are.
        farewell: Called before the process dies.
        rival: What another host does that finds our lease expired.
    """

    def __init__(
        self,
        world: SeededWorld,
        faults: Faults,
        random: Random,
        note: Callable[[str], object],
        folder: str,
        farewell: Callable[[], object],
        rival: Callable[[], object],
    ) -> None:
        self._world = world
        self._faults = faults
        self._chance = random.random
        self._random = random
        self._note = note
        self._folder = folder
        self._farewell = farewell
        self._rival = rival
        self._has_rival = False
        self._slowness = 20.0
        self._texts: dict[str, str] = {}
        self.armed = False

    def install(self) -> None:
        """Begin to look on."""
        points.observer = self.observe
        if self._faults.duplicate_wakeup:
            self._double_wakeups()

    def observe(self, name: str, about: object) -> None:
        """See `mainspring.points.Observer`."""
        if self._world.me() is None:
            return
        self._note(f"{name} {self._told(about) if type(about) is str else self._label(about)}")
        if self.armed:
            self._disturb(name, about)
        if name == "task.call":
            self._world.dawdle(_CALL_TAKES_TIME)
        else:
            self._world.pause()

    def _disturb(self, name: str, about: object) -> None:
        faults = self._faults
        if self._chance() < faults.death:
            self._note(f"dies at {name}")
            self._farewell()
            die()
        if not self._has_rival and self._chance() < faults.lost_lease:
            self._has_rival = True
            self._note("another host finds the lease expired")
            threading.Thread(target=self._rival, name="a rival", daemon=True).start()
        if name == "task.call" and self._chance() < faults.task_raises:
            self._note("the task raises")
            raise InjectedError("The simulation has this task fail.")
        if name == "store.commit" and self._chance() < faults.slow_commit:
            seconds = min(10 ** self._random.uniform(-3, 1), self._slowness)
            self._slowness -= seconds
            self._note(f"the commit takes {seconds:.3f} s")
            self._world.park(self._world.now + round(seconds * NANOSECONDS), "is slow to commit")
        if name == "store.statement" and self._chance() < faults.statement_fails:
            self._fail(str(about))

    def _fail(self, statement: str) -> None:
        if statement.lstrip().upper().startswith(_NOT_FAILING):
            return
        code, symbol, message = self._random.choice(_STATEMENT_FAULTS)
        self._note(f"the statement fails: {message}")
        error = sqlite3.OperationalError(message)
        error.sqlite_errorcode, error.sqlite_errorname = code, symbol
        raise error

    def _double_wakeups(self) -> None:
        wait, notify = threading.Condition.wait, threading.Condition.notify
        of_event = threading.Event.wait.__code__

        def waits(condition: Any, timeout: float | None = None) -> bool:
            # an event is not looked at again by whoever waits for it, and real ones never need that
            caller = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
            is_event = caller.f_code is of_event
            if not is_event and self._hits():
                self._note("is woken for nothing")
                saved = condition._release_save()
                try:
                    self._world.pause()
                finally:
                    condition._acquire_restore(saved)
                return True
            return wait(condition, timeout)

        def notifies(condition: Any, n: int = 1) -> None:
            if self._hits():
                self._note("all are woken")
                n = sys.maxsize
            notify(condition, n)

        threading.Condition.wait = waits  # type: ignore[method-assign, assignment]
        threading.Condition.notify = notifies  # type: ignore[method-assign, assignment]

    def _label(self, about: object) -> str:
        """What a point is about, in a way that is the same in every process."""
        if isinstance(about, _SEQUENCES):
            first = cast(Sequence[object], about)[:3]
            return " ".join([label for each in first if (label := self._label(each))])
        if isinstance(about, _TEXTS):
            return self._told(str(about))
        name = getattr(about, "name", None) or getattr(about, "__name__", None)
        return name if isinstance(name, str) else ""

    def _told(self, text: str) -> str:
        """A text as it is told; statements come again and again."""
        told = self._texts.get(text)
        if told is None:
            told = " ".join(text.replace(self._folder, "").split())
            told = told if len(told) <= _LABEL else f"{told[:_LABEL]}..."
            self._texts[text] = told
        return told

    def _hits(self) -> bool:
        return (
            self.armed
            and active_world() is self._world
            and self._world.me() is not None
            and self._chance() < self._faults.duplicate_wakeup
        )
