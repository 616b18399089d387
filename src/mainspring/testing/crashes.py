"""Is a flow safe to kill, wherever it is? It is killed everywhere, gone on with, and looked at.

::

    report = crash_everywhere(pay, check=charged_once)
"""

from __future__ import annotations

import os
import random
import selectors
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from mainspring.exceptions import ConfigurationError, ParameterBindError, ParameterTypeError
from mainspring.testing.blame import Culprit, culprit_of
from mainspring.testing.children import Child, Ending
from mainspring.testing.lives import Subject, place_of
from mainspring.testing.locks import active_world
from mainspring.testing.options import require_number, require_patience
from mainspring.testing.rounds import (
    Crash,
    CrashError,
    CrashRound,
    Plan,
    Trial,
    end_of,
    refuse_check,
)

__all__ = ["Crash", "CrashError", "CrashReport", "CrashRound", "crash_everywhere"]

_SAMPLES = 2  # of the points of a resumption, for each death before it
_SHOWN = 8  # rounds that failed, in a message


class CrashReport(NamedTuple):
    """What came of killing a flow everywhere.

    Args:
        flow: The name of the flow.
        points: So many points it passes if nothing happens to it.
        rounds: What was tried, in the order of the points.
    """

    flow: str
    points: int
    rounds: Sequence[CrashRound]

    @property
    def failed(self) -> list[CrashRound]:
        """The rounds in which something was wrong."""
        return [each for each in self.rounds if each.has_failed]

    @property
    def missed(self) -> list[CrashRound]:
        """The rounds without a death: no life came to its point."""
        return [each for each in self.rounds if not each.deaths]

    @property
    def culprit(self) -> Culprit | None:
        """The task to look at; None if all is well or no task explains it."""
        return culprit_of(self.rounds)

    def __str__(self) -> str:
        failed = f"{len(self.failed)} failed" if self.failed else "all held"
        missed = f" ({len(self.missed)} not reached)" if self.missed else ""
        died = len(self.rounds) - len(self.missed)
        return f"flow {self.flow!r}: {died} deaths at {self.points} points{missed}, {failed}"


def crash_everywhere(
    flow: Any,
    check: Callable[..., object] | None = None,
    *,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    prepare: Callable[[], object] | None = None,
    points: Iterable[int | Plan] | None = None,
    every: int = 1,
    most: int | None = None,
    deaths: int = 1,
    seed: int = 0,
    home: str | os.PathLike[str] | None = None,
    patience: float = 60.0,
    at_once: int = 2,
) -> CrashReport:
    """Kill a flow at each point at which it makes something durable, go on with it, and check what it has come to.

    The flow is called once in a process of its own, undisturbed, which counts the points: before and after each commit
    of its history, around each file of a result, and where a function has returned. Then, for each of them, a process
    calls the flow and dies there by SIGKILL, another one resumes the run, and a third one calls ``check``. If nothing
    can be resumed, because nothing was recorded yet or the flow keeps no results, the flow is called again.

    Each round has an empty home of mainspring and an empty working directory: what tasks do to files under relative
    paths is seen by the lives and the check of this round only. Processes are forked, so the flow need not be
    importable, and what they change in memory is lost. What is printed goes to a file of the round.

    Args:
        flow: The flow, of any kind.
        check: Raises, or returns False or a list of texts, if something is wrong. It may ask for ``run``, ``store``,
            ``result`` and ``folder``, or for ``crash``, which has all of them: see `Crash`. When omitted, the flow has
            to come to what it comes to undisturbed. That its run is completed, and its history is one that can have
            happened (`mainspring.testing.rules`), is checked anyway.
        args: The arguments of the flow.
        kwargs: More of them, by name.
        prepare: Called in the working directory of each round, before the flow is: to put files there.
        points: Only these; a tuple is for several deaths in a row. As `CrashRound.plan` has it, to replay one.
        every: Only each so-manieth point.
        most: At most so many points, spread over all.
        deaths: So many deaths in a row. For all but the first, two points are chosen by ``seed`` for each death before.
        seed: For these choices.
        home: A folder in which what rounds leave is kept, in a folder each; by default it is removed.
        patience: Seconds after which a life counts as hanging.
        at_once: So many rounds go on at a time.

    Returns:
        What was tried.

    Raises:
        CrashError: A round failed, or the flow fails undisturbed. It is an AssertionError.
        ConfigurationError: ``flow`` is no flow, the check asks for what is not there, or an option cannot work.
        ParameterTypeError: The flow cannot be called with these arguments.
        ChildError: This system cannot fork.
    """
    __tracebackhide__ = True  # of pytest: the message says it all
    if active_world() is not None:
        raise ConfigurationError(
            "crash_everywhere cannot begin in virtual time or in a simulation: its processes live in real time."
        )
    subject = _subject(flow, args, kwargs or {})
    if check is not None:
        refuse_check(check)
    _refuse_options(prepare, points, home, patience, every=every, most=most, deaths=deaths, at_once=at_once)
    folder = Path(tempfile.mkdtemp(prefix="mainspring-crashes-")) if home is None else Path(home).absolute()
    try:
        trial = Trial(subject, check, prepare, folder, patience)
        trial.undisturbed()
        plans = _plans(points, trial.points, every, most)
        rounds = _play(trial, plans, 1 if points is not None else deaths, random.Random(seed), at_once)  # noqa: S311
        report = CrashReport(flow.name, trial.points, sorted(rounds, key=lambda each: each.plan))
    finally:
        if home is None:
            shutil.rmtree(folder, ignore_errors=True)
    if report.failed:
        raise CrashError(_message(report, subject), report)
    if report.missed and points is not None:
        missed = report.missed[0]
        raise ConfigurationError(
            f"There is no point {missed.plan[0]}: the flow has passed {missed.passed} points and, undisturbed,"
            f" {trial.points}."
        )
    return report


def _subject(flow: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Subject:
    if getattr(flow, "kind", None) != "flow":
        raise ConfigurationError(f"crash_everywhere needs a flow, a function with `@flow`; got {flow!r}.")
    try:
        given = dict(kwargs)
        flow.take_options(given)
        flow.bind(tuple(args), given)
    except (ParameterBindError, TypeError) as error:
        raise ParameterTypeError(
            f"The flow {flow.name!r} cannot be called as it is to be: {error}. Give crash_everywhere its arguments:"
            f" args=(...) or kwargs={{...}}."
        ) from None
    return Subject(flow, args, kwargs)


def _refuse_options(prepare: Any, points: Any, home: Any, patience: Any, **numbers: Any) -> None:
    """Find out early that an option cannot work.

    Raises:
        ConfigurationError: One cannot.
    """
    for name, number in numbers.items():
        if (name, number) != ("most", None):
            require_number(name, number)
    require_patience(patience)
    if prepare is not None and not callable(prepare):
        raise ConfigurationError(f"prepare={prepare!r}: give a function without arguments.")
    if home is not None and not isinstance(home, str | os.PathLike):
        raise ConfigurationError(f"home={home!r}: give the path of a folder.")
    if points is not None and not isinstance(points, Iterable):
        raise ConfigurationError(f"points={points!r}: give a list of numbers, or of tuples of numbers.")


def _plans(points: Iterable[int | Plan] | None, passed: int, every: int, most: int | None) -> list[Plan]:
    if points is not None:
        given = cast(Iterable[Any], points)
        plans = [cast(Plan, tuple(each) if isinstance(each, tuple | list) else (each,)) for each in given]  # pyright: ignore[reportUnknownArgumentType]
        numbered = all(isinstance(each, int) and each > 0 for plan in plans for each in cast(Any, plan))
        if not plans or not numbered or not all(plans):
            raise ConfigurationError(f"points={plans!r}: points are numbered from 1.")
        return plans
    numbers = list(range(1, passed + 1, every))
    if most is not None and most < len(numbers):
        numbers = [numbers[index * len(numbers) // most] for index in range(most)]
    return [(number,) for number in numbers]


def _play(
    trial: Trial, plans: list[Plan], deaths: int, chance: random.Random, at_once: int
) -> list[CrashRound]:
    """Play all rounds, some at a time, and those that follow from them."""
    waiting = deque(plans)
    rounds: list[CrashRound] = []
    going_on: set[Child] = set()
    progress = _Progress(trial.subject.flow.name)
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or going_on:
                while waiting and len(going_on) < at_once:
                    plan = waiting.popleft()
                    # Its own children are given up before it is.
                    child = Child(partial(trial.play, plan), (len(plan) + 3) * (trial.patience + 10))
                    going_on.add(child)
                    selector.register(child, selectors.EVENT_READ, plan)
                for key, _ in selector.select():
                    selector.unregister(key.fileobj)
                    done: Any = key.fileobj
                    going_on.discard(done)
                    played = _round(done.end(), key.data)
                    rounds.append(played)
                    if len(played.plan) < deaths and played.passed and not played.has_failed:
                        numbers = range(1, played.passed + 1)
                        more = sorted(chance.sample(numbers, min(_SAMPLES, len(numbers))))
                        waiting.extend((*played.plan, number) for number in more)
                    progress.show(rounds, len(waiting) + len(going_on))
        finally:
            for child in going_on:
                child.kill()
            progress.end()
    return rounds


def _round(ending: Ending, plan: Plan) -> CrashRound:
    if isinstance(ending.value, CrashRound):
        return ending.value
    return CrashRound(plan, (), (), [f"the round could not be played: {end_of(ending)}"], 0)


class _Progress:
    """A line on the terminal that says how far it is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_shown = sys.stderr.isatty()

    def show(self, rounds: list[CrashRound], left: int) -> None:
        """Say how far it is."""
        failed = sum(each.has_failed for each in rounds)
        self._write(
            f"crash_everywhere {self._name}: {len(rounds)} of {len(rounds) + left} deaths, {failed} failed"
        )

    def end(self) -> None:
        """Leave the terminal as it was."""
        self._write("")

    def _write(self, text: str) -> None:
        if self._is_shown:
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()


def _message(report: CrashReport, subject: Subject) -> str:
    """Where it fails, who is to blame, and how to see one of it again."""
    failed = report.failed
    lines = [
        f"The flow {report.flow!r} is not safe to kill: {len(failed)} of {len(report.rounds)} deaths do harm."
    ]
    for each in failed[:_SHOWN]:
        where = ", then ".join(
            f"point {number}, {death}" for number, death in zip(each.plan, each.deaths, strict=False)
        )
        lines.append(f"  {where or f'plan {each.plan}'}:")
        lines += [f"    {problem}" for problem in each.problems]
        again = [f"{one.run!r} ({'had' if one.was_done else 'had not'} returned)" for one in each.repeated]
        if again:
            lines.append(f"    done once more: {', '.join(again)}")
    if len(failed) > _SHOWN:
        lines.append(f"  and {len(failed) - _SHOWN} more")
    culprit = report.culprit
    if culprit is not None:
        held = f" and in {culprit.held} of the others" if culprit.held else " and in no other"
        lines.append(
            f"Look at the task {culprit.task!r}, {culprit.place}: it was done once more in {culprit.failed} of these"
            f"{held}. A task that dies before its end is recorded is called again: let it notice that its effect is"
            f" there, for example by a key that is the same each time."
        )
    else:
        lines.append(
            f"No task explains it. Look at what the flow does outside of its tasks, {place_of(subject.flow.fn)}: that"
            f" is done in each life."
        )
    if not subject.flow.result_options.persists_in(None):
        lines.append(
            f"The flow keeps no results, so nothing can be resumed and each death has all of it done again:"
            f" `@flow(persist_result=True)` lets {report.flow!r} go on where it was."
        )
    plan = failed[0].plan
    lines.append(
        f"To see one again: crash_everywhere(..., points=[{plan[0] if len(plan) == 1 else plan}], home='somewhere')"
    )
    return "\n".join(lines)
