"""One life of a process that runs a flow: it numbers the points that it passes, and dies at one of them.

A flow that is killed and gone on with has several lives, each in a process of its own, which have a folder in common:
the home of mainspring, the folder in which they work, and a diary of what they did, which survives them.
"""

from __future__ import annotations

import inspect
import itertools
import os
import pickle
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import msgspec

from mainspring import points
from mainspring._engine.steps import scope_of
from mainspring.client import Client
from mainspring.context import TaskRunContext
from mainspring.exceptions import MissingResult
from mainspring.recording import close_recorders, current_recorder
from mainspring.resumption import resume_flow_run
from mainspring.runs import FlowRun
from mainspring.settings import reload_settings
from mainspring.store.protocol import Change
from mainspring.store.sql.writing import Writing
from mainspring.testing.children import die

__all__ = [
    "UNKNOWN",
    "Called",
    "Diary",
    "Died",
    "Entry",
    "Folder",
    "Lived",
    "Subject",
    "find_run",
    "finished",
    "live",
    "place_of",
    "settle_in",
]

UNKNOWN = b""
"""What a flow returned where that cannot be told."""

_SENTENCES = {
    "store.commit": "before commit of {}",
    "store.committed": "after commit of {}",
    "journal.note": "before {} is noted",
    "journal.noted": "after {} was noted",
    "file.write": "before the writing of {}",
    "file.half_written": "half-way in the writing of {}",
    "file.written": "after the writing of {}",
    "file.rename": "before {} gets its name",
    "file.renamed": "after {} got its name",
    "file.remove": "before the removal of {}",
    "file.removed": "after the removal of {}",
    "task.returned": "after {} returned",
    "flow.returned": "after {} returned",
}
"""The points at which a process may die: around whatever is durable, and where a function has done what it does."""

_BACKGROUND = ("mainspring-recorder", "mainspring-supervisor")
"""Threads that write when it is time to: what they pass is not numbered, as it would be another number each time."""

_SHOWN = 2  # of the states that a commit writes


class Subject(NamedTuple):
    """What is called: a flow and its arguments."""

    flow: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    def call(self) -> Any:
        """Call the flow, and wait for what it comes to."""
        return finished(self.flow(*self.args, **self.kwargs))


def finished(made: Any) -> Any:
    """What something comes to that was called, of whatever kind; of a generator it is the list of all."""
    if inspect.isawaitable(made):
        return _run(made)
    if inspect.isasyncgen(made):
        return _run(_collected(made))
    return list(cast("Any", made)) if inspect.isgenerator(made) else made


def _run(awaitable: Any) -> Any:
    import asyncio  # only for async flows

    return asyncio.run(_awaited(awaitable))


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


async def _collected(values: Any) -> list[Any]:
    return [value async for value in values]


class Folder(NamedTuple):
    """Where the lives of one flow leave their traces."""

    path: Path

    @property
    def home(self) -> Path:
        """The home of mainspring."""
        return self.path / "home"

    @property
    def work(self) -> Path:
        """The working directory of the flow."""
        return self.path / "work"

    @property
    def diary(self) -> Path:
        """What was passed, a line for each event."""
        return self.path / "diary.jsonl"

    @property
    def output(self) -> Path:
        """What was printed and logged."""
        return self.path / "output.txt"

    def make(self) -> None:
        """Make the folders."""
        self.home.mkdir(parents=True)
        self.work.mkdir()


class Died(msgspec.Struct, frozen=True, tag=True):
    """Where a life ended.

    Args:
        life: Which one, from 0.
        number: The number of the point.
        name: Its name in `mainspring.points.POINTS`.
        where: The point in words.
    """

    life: int
    number: int
    name: str
    where: str


class Called(msgspec.Struct, frozen=True, tag=True):
    """The function of a task was called, or has returned.

    Args:
        life: In which life.
        task: The name of the task.
        run: The name of the task run.
        call: What tells this call from others in each life: what is around it, the task, and its inputs.
        place: File and line of the function.
        is_done: It has returned.
    """

    life: int
    task: str
    run: str
    call: str
    place: str
    is_done: bool = False


class Lived(msgspec.Struct, frozen=True, tag=True):
    """A life that came to its end.

    Args:
        life: Which one, from 0.
        how: The flow was called, its run was resumed, or found to be over.
        passed: So many points at which it might have died.
    """

    life: int
    how: Literal["called", "resumed", "over"]
    passed: int


Entry = Died | Called | Lived
"""What is in a diary."""

_reader = msgspec.json.Decoder(Entry)


class Diary:
    """What lives write down, whatever ends them. Safe to use from any thread."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def note(self, entry: Entry) -> None:
        """Write an entry; it survives the process from then on."""
        os.write(self._fd, msgspec.json.encode(entry) + b"\n")

    @staticmethod
    def read(path: Path) -> list[Entry]:
        """All entries, in their order."""
        return [_reader.decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []


class _Watch:
    """The observer of a life."""

    def __init__(self, life: int, kill_at: int, diary: Diary) -> None:
        self._life = life
        self._kill_at = kill_at
        self._diary = diary
        self._numbers = itertools.count(1)
        self._pid = os.getpid()
        self.passed = 0

    def __call__(self, name: str, about: object) -> None:
        if os.getpid() != self._pid:  # a worker process of the flow
            return
        if name in ("task.call", "task.returned"):
            task, run = cast(Any, about)
            place = place_of(task.fn)
            call = scope_of(TaskRunContext.get())
            self._diary.note(Called(self._life, task.name, run.name, call, place, name == "task.returned"))
        if name not in _SENTENCES or not _belongs_to_flow(name, about):
            return
        if threading.current_thread().name in _BACKGROUND:
            return
        number = next(self._numbers)
        self.passed = max(self.passed, number)
        if number == self._kill_at:
            self._diary.note(Died(self._life, number, name, _SENTENCES[name].format(_shown(name, about))))
            die()


def place_of(function: Any) -> str:
    """File and line of a function."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return "" if code is None else f"{code.co_filename}:{code.co_firstlineno}"


def _belongs_to_flow(name: str, about: object) -> bool:
    """Whether a point is one of the flow, and not of how a process comes and goes."""
    if name.startswith("store."):
        return isinstance(about, tuple)
    return not (name.startswith("file.") and str(about).endswith((".lock", ".journal")))


def _shown(name: str, about: Any) -> str:
    """What a point is about, in words."""
    if name.startswith("file."):
        return f"the file {Path(about).name}"
    if name.startswith("journal."):
        return _shown_changes(about)
    if not name.startswith("store."):
        return f"{'flow ' if name.startswith('flow.') else ''}{about[1].name!r}"
    work, args = about
    for writing in args:
        if isinstance(writing, Writing):
            return _shown_writing(writing)
    return str(work.__name__).strip("_").replace("_", " ")


def _shown_writing(writing: Writing) -> str:
    if writing.changes:
        return _shown_changes(writing.changes)
    kinds = {"results": writing.results, "lines of the log": writing.logs, "events": writing.events}
    return " and ".join(kind for kind, rows in kinds.items() if rows) or "notes"


def _shown_changes(changes: Collection[Change]) -> str:
    states = [f"{change.states[-1].name} of {change.run.name!r}" for change in changes]
    if len(states) > _SHOWN:
        states[_SHOWN:] = [f"{len(states) - _SHOWN} more"]
    return " and ".join([", ".join(states[:-1]), states[-1]]) if len(states) > 1 else states[0]


def settle_in(folder: Folder) -> None:
    """Have this process use the home of a folder, work in it, and print into it."""
    sys.path[:] = [os.path.abspath(each) for each in sys.path]  # noqa: PTH100 - of texts, one of which may be ""
    os.environ["MAINSPRING_HOME"] = str(folder.home)
    os.environ["MAINSPRING_DATABASE_URL"] = f"sqlite:///{folder.home / 'mainspring.db'}"
    reload_settings(tell=False)  # before there is another working directory, as files of settings are in that
    os.chdir(folder.work)
    fd = os.open(folder.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    sys.stdout = sys.stderr = os.fdopen(fd, "w", buffering=1)


def live(subject: Subject, folder: Folder, life: int, kill_at: int) -> bytes:
    """Run a flow in this process, or go on with its run, perhaps to die on the way.

    Args:
        subject: What is called.
        folder: Where.
        life: How many lives there were before.
        kill_at: The number of the point at which to die; 0 for none.

    Returns:
        What the flow came to, pickled; `UNKNOWN` if that is not known or cannot be pickled.
    """
    settle_in(folder)
    diary = Diary(folder.diary)
    watch = _Watch(life, kill_at, diary)
    points.observer = watch
    try:
        how, value = _go_on(subject) if life else ("called", subject.call())
        close_recorders()
    finally:
        points.observer = None
    diary.note(Lived(life, cast(Any, how), watch.passed))
    return _packed(value)


def _go_on(subject: Subject) -> tuple[str, Any]:
    """Do what is to be done after a death: resume the run, or call the flow again if nothing can be resumed."""
    store = current_recorder().store
    store.settle_dead_owners()
    run = find_run(subject)
    if run is None:
        return "called", subject.call()
    if run.state.is_completed():
        if subject.flow.isgenerator:  # what it has yielded is kept by nobody
            return "over", UNKNOWN
        try:
            return "over", run.state.result()
        except MissingResult:
            return "over", UNKNOWN
    if run.key not in store.read_resumptions([run.key]):  # it ended before it began, so it has done nothing
        return "called", subject.call()
    return "resumed", resume_flow_run(run.id, flow=subject.flow)


def find_run(subject: Subject) -> FlowRun | None:
    """The newest run of the flow in the current run store that nobody has called from another flow."""
    runs = Client(current_recorder().store).read_flow_runs(top_level=True)
    return next((run for run in runs if run.flow_name == subject.flow.name), None)


def _packed(value: Any) -> bytes:
    content: bytes = UNKNOWN
    if value is not UNKNOWN:
        with suppress(Exception):  # values of users raise what they like
            packed = cast(Any, import_module("cloudpickle")).dumps(value)
            pickle.loads(packed)
            content = packed
    return content
