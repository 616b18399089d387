"""History of what goes on in a worker that does not reach the run store: it is noted there, and written at home.

What runs inside of a function there has a run store of its own, in memory, so it works as anywhere. Nothing can be
decided in it that concerns others: limits, locks and pauses are refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from pathlib import Path
from typing import Any, NoReturn, cast

from mainspring._clusters.errands import History
from mainspring.annotations import NotSet
from mainspring.exceptions import ConfigurationError
from mainspring.recording import Recorder
from mainspring.runs import FlowRun, Run, TaskRun
from mainspring.states import Crashed, State, is_stored
from mainspring.store.addresses import open_store
from mainspring.store.events import StoredEvent
from mainspring.store.limits import SlotAnswer, SlotRequest
from mainspring.store.protocol import CacheKey, Change, LogEntry, RunStore
from mainspring.store.results import Attachment, KeptResult, StagedStep

__all__ = ["Diary", "borrowed_recorder", "bring_home"]

_RETIRED_AFTER = 2_000
"""Runs after which a private run store has been used enough: the next calls get a new one."""

_active: ContextVar[Diary | None] = ContextVar("mainspring_diary", default=None)


# Over there


class Diary:
    """What is recorded inside of one call. Safe to use from any thread.

    Args:
        limits: The names of the limits that there are at home.
        reason: Why the run store at home cannot be reached.
    """

    def __init__(self, limits: frozenset[str], reason: str) -> None:
        self.limits = limits
        self.reason = reason
        self._lock = threading.Lock()
        self._runs: dict[bytes, tuple[Run, list[State]]] = {}
        self._keys: dict[str, None] = {}
        self._logs: list[LogEntry] = []
        self._cache_keys: list[CacheKey] = []
        self._events: list[StoredEvent] = []

    @contextmanager
    def kept(self) -> Generator[None]:
        """The block in which this is the diary, also for threads that get a copy of its context."""
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)

    def note_state(self, run: Run, state: State) -> None:
        """Note a state that a run has entered."""
        with self._lock:
            known = self._runs.get(run.key)
            states = [] if known is None else known[1]
            states.append(_noted(state))
            self._runs[run.key] = run, states

    def note_results(self, attachments: Iterable[Attachment]) -> None:
        """Note under which keys something may have been kept."""
        with self._lock:
            for each in attachments:
                if isinstance(each, KeptResult | StagedStep) and each.key is not None:
                    self._keys[each.key] = None

    def note_line(self, entry: LogEntry) -> None:
        """Note a log line."""
        self._logs.append(entry)

    def note_cache_key(self, cache_key: CacheKey) -> None:
        """Note how a run looks for a kept result."""
        self._cache_keys.append(cache_key)

    def note_event(self, event: StoredEvent) -> None:
        """Note an event."""
        self._events.append(event)

    def close(self, recorder: Recorder) -> History | None:
        """What there is to be brought home; None if there is nothing.

        Args:
            recorder: Has kept the results.

        Raises:
            OSError: The file of one cannot be read.
        """
        with self._lock:
            runs = [_told(run, states) for run, states in self._runs.values()]
            keys = list(self._keys)
        found = (recorder.read_result(key) for key in keys)
        results = [row for row in found if row is not None]
        files = {row.file: Path(row.file).read_bytes() for row in results if row.file is not None}
        history = History(runs, results, files, self._logs, self._cache_keys, self._events)
        return history if any(history) else None


def _noted(state: State) -> State:
    """A state as it goes home: without what its run came to, but with where that is kept."""
    noted = copy(state)
    data = state.data if state.has_data else None
    noted.forget(getattr(data, "metadata", NotSet) if is_stored(data) else NotSet)
    return noted


def _told(run: Run, states: list[State]) -> tuple[TaskRun | FlowRun, list[State]]:
    """A run as it is now; it is over, as nobody at home can see to it."""
    told = cast("TaskRun | FlowRun", copy(run))
    told.recorded = None
    last = states[-1]
    if not last.is_final() and last.name != "NotReady":
        crashed = Crashed(
            message="The function around it returned in a worker of the cluster while it still went on there."
        )
        told.claim(crashed)
        told.ended_at = crashed.at
        states = [*states, crashed]
    told.state = states[-1]
    return told, states


class _DiaryRecorder(Recorder):
    """Records to a private store, and has everything noted in the diary of the context."""

    def __init__(self, store: RunStore) -> None:
        super().__init__(store)
        self.users = 0
        self.runs = 0

    def enter(
        self,
        run: Run,
        state: State,
        *,
        wait: bool,
        confirm: bool = False,
        attachments: Sequence[Attachment] = (),
        unless: Callable[[State], bool] | None = None,
    ) -> bool:
        is_entered = super().enter(
            run, state, wait=wait, confirm=confirm, attachments=attachments, unless=unless
        )
        diary = _active.get()
        if is_entered and diary is not None:
            self.runs += state.is_final()
            diary.note_state(run, state)
            diary.note_results(attachments)
        return is_entered

    def keep_results(self, results: Sequence[KeptResult], *, wait: bool = True) -> None:
        super().keep_results(results, wait=wait)
        diary = _active.get()
        if diary is not None:
            diary.note_results(results)

    def note_cache_key(self, run: Run, cache_key: CacheKey) -> None:
        super().note_cache_key(run, cache_key)
        diary = _active.get()
        if diary is not None:
            diary.note_cache_key(cache_key)

    def log(self, entry: LogEntry) -> None:
        diary = _active.get()
        if diary is not None:
            diary.note_line(entry)

    def keep_event(self, event: StoredEvent) -> None:
        diary = _active.get()
        if diary is not None:
            diary.note_event(event)


_REFUSED: Mapping[str, str] = {
    "add_limit": "A limit cannot be changed",
    "change_limit": "A limit cannot be changed",
    "delete_limit": "A limit cannot be changed",
    "put_limit": "A limit cannot be changed",
    "read_limits": "Limits cannot be read",
    "read_slot_holders": "Limits cannot be read",
    "release_some_slots": "Slots of a limit cannot be given back",
    "take_lock": "A lock cannot be taken",
    "open_pause": "A run cannot wait for somebody",
    "request_cancellation": "A run cannot be cancelled",
    "request_suspension": "A flow run cannot be suspended",
}


class _PrivateStore:
    """A run store in memory that refuses to decide what concerns others."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self.on_holding: Callable[[], object] | None = None

    def __getattr__(self, name: str) -> Any:
        if name in _REFUSED:
            return _refuse_call(_REFUSED[name])
        return getattr(self._store, name)

    def take_slots(self, request: SlotRequest, now: int, wait_until: int | None) -> SlotAnswer:
        """Grant what nothing limits."""
        diary = _active.get()
        limited = diary is not None and diary.limits.intersection(request.names)
        if limited:
            raise _refusal(f"Slots of {', '.join(sorted(limited))} cannot be taken")
        return self._store.take_slots(request, now, wait_until)


def _refuse_call(what: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise _refusal(what)

    return refuse


def _refusal(what: str) -> ConfigurationError:
    diary = _active.get()
    reason = "" if diary is None else f": {diary.reason}"
    return ConfigurationError(
        f"{what} in a worker of a cluster that does not reach the run store{reason}. Set MAINSPRING_DATABASE_URL to a"
        " PostgreSQL database that all workers reach, or do this outside of tasks that the cluster runs."
    )


_lock = threading.Lock()
_current: _DiaryRecorder | None = None


@contextmanager
def borrowed_recorder() -> Generator[Recorder]:
    """A recorder with a private run store. Calls share it until it has been used enough."""
    global _current
    unused: _DiaryRecorder | None = None
    with _lock:
        recorder = _current
        if recorder is None or recorder.runs >= _RETIRED_AFTER:
            unused = None if recorder is None or recorder.users else recorder
            store = cast(RunStore, _PrivateStore(open_store("sqlite://", "relaxed")))
            recorder = _current = _DiaryRecorder(store)
        recorder.users += 1
    if unused is not None:
        unused.close()
    try:
        yield recorder
    finally:
        with _lock:
            recorder.users -= 1
            is_retired = recorder is not _current and not recorder.users
        if is_retired:
            recorder.close()


# At home


def bring_home(history: History, recorder: Recorder) -> None:
    """Write what was recorded inside of a call.

    Raises:
        StoreError: It cannot be written.
        OSError: The file of a large result cannot be written.
    """
    for entry in history.logs:
        recorder.log(entry)
    for event in history.events:
        recorder.keep_event(event)
    if not history.runs and not history.results:
        return
    for name, content in history.files.items():
        path = Path(name)
        if not path.exists():  # it is another host's
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    of_runs: dict[bytes | None, list[KeptResult]] = {}
    known = {run.key for run, _ in history.runs}
    for result in history.results:
        of_runs.setdefault(result.run_key if result.run_key in known else None, []).append(result)
    changes = [Change(run, list(states), None, of_runs.get(run.key, ())) for run, states in history.runs]
    recorder.store.write(changes, (), history.cache_keys, of_runs.get(None, ()))
