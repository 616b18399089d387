"""One round: a flow is killed, gone on with, and looked at when it has come to its end."""

from __future__ import annotations

import inspect
import pickle
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from mainspring.exceptions import ConfigurationError, MainspringError
from mainspring.recording import close_recorders, current_recorder
from mainspring.runs import FlowRun
from mainspring.store.protocol import RunStore
from mainspring.testing import rules
from mainspring.testing.blame import Repeated, repeated_in
from mainspring.testing.children import ChildError, Ending, HungError, run_in_child
from mainspring.testing.lives import (
    UNKNOWN,
    Diary,
    Died,
    Entry,
    Folder,
    Lived,
    Subject,
    find_run,
    finished,
    live,
    settle_in,
)

__all__ = ["Crash", "CrashError", "CrashRound", "Plan", "Trial", "end_of", "refuse_check"]

Plan = tuple[int, ...]
"""At which point each life ends, but for the last one, which comes to its end."""


_TRIES = 3
_OUTPUT = 2_000  # characters of what a flow printed, in a message
_ASKABLE = ("run", "store", "result", "folder", "crash")


class CrashError(MainspringError, AssertionError):
    """A flow is not safe to kill; the message says where, and which task is to blame.

    Args:
        message: The message.
        report: What was found, a `CrashReport`; None if the flow could not be tried.
    """

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class Crash(NamedTuple):
    """What a check may look at, after the flow has come to its end.

    Args:
        run: The flow run, as it is recorded.
        store: The run store.
        result: What the flow has come to; None if that is not known any more.
        folder: The folder in which the flow has worked, which is the current one.
        deaths: Where it was killed, in words.
    """

    run: FlowRun
    store: RunStore
    result: Any
    folder: Path
    deaths: Sequence[str]


class CrashRound(NamedTuple):
    """One flow run that was killed once or more, and came to its end.

    Args:
        plan: The numbers of the points, one for each death: for ``points`` of `crash_everywhere`.
        deaths: These points in words; fewer than planned if a life came to its end before it was there, in each
            of three tries.
        repeated: The task runs whose functions were called again.
        problems: What is wrong, a text each; empty if nothing is.
        passed: So many points the last life has passed.
    """

    plan: Plan
    deaths: Sequence[str]
    repeated: Sequence[Repeated]
    problems: Sequence[str]
    passed: int

    @property
    def has_failed(self) -> bool:
        """Whether anything is wrong."""
        return bool(self.problems)


def refuse_check(check: Any) -> None:
    """Find out early that a check cannot be called.

    Raises:
        ConfigurationError: It asks for what there is not.
    """
    if not callable(check):
        raise ConfigurationError(f"The check must be a function; got {check!r}.")
    for parameter in inspect.signature(check).parameters.values():
        can_be_left = parameter.default is not parameter.empty or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if parameter.name not in _ASKABLE and not can_be_left:
            raise ConfigurationError(
                f"The check asks for {parameter.name!r}, which there is not. It may ask for {', '.join(_ASKABLE)}."
            )


class Trial:
    """What all rounds have in common.

    Attributes:
        points: So many points the flow passes.
        value: What it comes to undisturbed, pickled.
        diary: What it does on the way.
    """

    def __init__(
        self,
        subject: Subject,
        check: Callable[..., object] | None,
        prepare: Callable[[], object] | None,
        folder: Path,
        patience: float,
    ) -> None:
        self.subject = subject
        self.check = check
        self.prepare = prepare
        self.folder = folder
        self.patience = patience
        self.diary: Sequence[Entry] = ()
        self.points = 0
        self.value = UNKNOWN

    def undisturbed(self) -> None:
        """Run the flow without a death, and check it.

        Raises:
            CrashError: Something is wrong already, or what the flow comes to cannot tell whether deaths do harm.
        """
        name = self.subject.flow.name
        folder = self._new_folder("undisturbed")
        ending = self._live_undisturbed(folder)
        if ending.code or ending.error is not None:
            raise CrashError(
                f"The flow {name!r} fails if nothing happens to it, so there is nothing to be learned from killing it:"
                f" {end_of(ending)}{_printed(folder)}"
            )
        self.value = ending.value
        self.diary = Diary.read(folder.diary)
        self.points = _passed(folder)
        if not self.points:
            raise CrashError(
                f"The flow {name!r} passes no point at which it makes something durable. Does it use a run store in"
                f" memory, or settings of its own?"
            )
        problems = self._problems(folder, ending)
        if problems:
            raise CrashError(
                f"The check of the flow {name!r} fails if nothing happens to it: {'; '.join(problems)}"
            )
        if self.check is None:
            again = self._live_undisturbed(self._new_folder("undisturbed-again"))
            if other := self._other_result(again.value):
                raise CrashError(
                    f"The flow {name!r} does not come to the same each time, though nothing happens to it, so that"
                    f" cannot tell whether a death does harm: {'; '.join(other)} the first time. Give a check."
                )

    def _live_undisturbed(self, folder: Folder) -> Ending:
        try:
            return run_in_child(partial(live, self.subject, folder, 0, 0), self.patience)
        except HungError as error:
            raise CrashError(
                f"The flow {self.subject.flow.name!r} does not end within {self.patience:g} seconds if nothing happens"
                " to it. Delays of retries and other waits take their time here: shorten them for the test, or give"
                f" more patience.{_printed(folder)}"
            ) from error

    def play(self, plan: Plan) -> CrashRound:
        """One round, in a process of its own that has nothing else to do.

        A life that did not come to its point is lived again: a thread in the background was quick, and has committed
        with its own what another one would have.
        """
        for _ in range(_TRIES - 1):
            played = self._play_once(plan)
            if len(played.deaths) == len(plan) or played.has_failed:
                return played
        return self._play_once(plan)

    def _play_once(self, plan: Plan) -> CrashRound:
        folder = self._new_folder("-".join(["round", *map(str, plan)]))
        ending = Ending(0)
        problems: list[str] = []
        for life, kill_at in enumerate((*plan, 0)):
            try:
                ending = run_in_child(partial(live, self.subject, folder, life, kill_at), self.patience)
            except ChildError as error:
                problems.append(
                    f"{str(error).removesuffix(' Where its threads were is above.')}{_printed(folder)}"
                )
                break
            if not (ending.was_killed and kill_at):
                break
        diary = Diary.read(folder.diary)
        deaths = [entry.where for entry in diary if isinstance(entry, Died)]
        if not problems:
            problems += self._problems(folder, ending)
        return CrashRound(plan, deaths, repeated_in(diary, self.diary), problems, _passed(folder))

    def _new_folder(self, name: str) -> Folder:
        folder = Folder(self.folder / name)
        shutil.rmtree(folder.path, ignore_errors=True)
        folder.make()
        if self.prepare is not None:
            ending = run_in_child(partial(_prepare, self.prepare, folder), self.patience)
            if ending.error is not None:
                raise CrashError(f"prepare() failed: {end_of(ending)}")
        return folder

    def _problems(self, folder: Folder, ending: Ending) -> list[str]:
        if ending.error is not None:
            return [f"going on with it raised {end_of(ending)}"]
        if ending.code:
            return [f"the process ended with code {ending.code}{_printed(folder)}"]
        checked = run_in_child(partial(self._look, folder, ending.value), self.patience)
        if checked.error is not None or checked.code:
            return [f"the check could not be made: {end_of(checked)}"]
        found: list[str] = checked.value
        return found

    def _look(self, folder: Folder, content: bytes) -> list[str]:
        """Check a round that is over, in a process of its own."""
        settle_in(folder)
        run = find_run(self.subject)
        if run is None:
            return ["there is no flow run in the run store"]
        value = None if content == UNKNOWN else pickle.loads(content)
        deaths = [entry.where for entry in Diary.read(folder.diary) if isinstance(entry, Died)]
        crash = Crash(run, current_recorder().store, value, folder.work, deaths)
        problems = (
            [] if run.state.is_completed() else [f"the flow run is {run.state.name}, and not Completed"]
        )
        problems += rules.problems(crash.store)
        problems += self._other_result(content) if self.check is None else _told(self.check, crash)
        close_recorders()
        return problems

    def _other_result(self, content: bytes) -> list[str]:
        if UNKNOWN in (content, self.value) or content == self.value:
            return []
        value, expected = pickle.loads(content), pickle.loads(self.value)
        return (
            [] if _are_alike(value, expected) else [f"it came to {value!r}, and undisturbed to {expected!r}"]
        )


def _are_alike(one: Any, other: Any) -> bool:
    """Whether two values of different processes are equal or, if their class says nothing of that, look the same."""
    try:
        if one == other:
            return True
    except Exception:  # of values that cannot be compared with yes or no, such as arrays
        return repr(one) == repr(other)
    if any(cast(Any, type(each)).__eq__ is not object.__eq__ for each in (one, other)):
        return False
    names = [f"{type(each).__module__}.{type(each).__qualname__}" for each in (one, other)]
    return names[0] == names[1] and getattr(one, "__dict__", None) == getattr(other, "__dict__", one)


def _prepare(prepare: Callable[[], object], folder: Folder) -> None:
    settle_in(folder)
    prepare()


def _told(check: Callable[..., object], crash: Crash) -> list[str]:
    """What a check has to say."""
    known: dict[str, Any] = {**crash._asdict(), "crash": crash}
    wanted = {name: known[name] for name in inspect.signature(check).parameters if name in _ASKABLE}
    try:
        told = finished(check(**wanted))
    except Exception as error:  # this is how checks say no
        return [f"{type(error).__name__}: {error}"]
    if told is False:
        return [f"{getattr(check, '__name__', 'the check')} says no"]
    return [str(each) for each in cast("Iterable[object]", told)] if isinstance(told, list | tuple) else []


def _passed(folder: Folder) -> int:
    lived = [entry.passed for entry in Diary.read(folder.diary) if isinstance(entry, Lived)]
    return lived[-1] if lived else 0


def end_of(ending: Ending) -> str:
    """How a process ended, in words."""
    if ending.error is None:
        return f"its process ended with code {ending.code}"
    return f"{type(ending.error).__name__}: {ending.error}"


def _printed(folder: Folder) -> str:
    text = folder.output.read_text(errors="replace")[-_OUTPUT:].strip() if folder.output.exists() else ""
    return f"\nIt has printed:\n{text}" if text else ""
