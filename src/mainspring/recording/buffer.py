"""What was entered and is not committed yet, in its order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from mainspring.runs import FlowRun, Run, TaskRun
from mainspring.store.changes import CacheKey, Change, LogEntry
from mainspring.store.results import Attachment, KeptResult, Withdrawal

if TYPE_CHECKING:
    from mainspring.states import State
    from mainspring.store.events import StoredEvent
    from mainspring.store.protocol import Journal

__all__ = ["Batch", "Buffer"]

T = TypeVar("T")

_MOST_ATTEMPTS = 1_000


class Batch(msgspec.Struct, frozen=True):
    """What is written in one transaction.

    Args:
        changes: States, by the record of their run: of a run that is here twice, each is on its own.
        logs: Log lines.
        cache_keys: Cache keys of runs that have no changes.
        results: Results that come with no state.
        events: Events.
        unwritten: All results among them, by their keys.
        entered: The number of the last entry in it.
        page: The page of the journal that it settles, 0 for none.
    """

    changes: dict[Run, Change]
    logs: list[LogEntry]
    cache_keys: list[CacheKey]
    results: list[KeptResult]
    events: list[StoredEvent]
    unwritten: dict[str, KeptResult]
    entered: int
    page: int


class Buffer:
    """Collects what is entered, until it is taken to be committed. Not locked: one thread at a time uses it.

    Args:
        is_noted: There may be a journal, so it is kept in mind what is to be noted there.

    Attributes:
        entered: How many entries there were, ever.
        noted: The number of the last one that is safe because it is in a journal.
        events_length: Characters of the events that wait.
        unwritten: All results that wait, by their keys.
        withdrawn: Keys of withdrawals that wait, and the entry of each.
    """

    __slots__ = (
        "_attempts",
        "_fresh",
        "_is_noted",
        "_is_stuck",
        "_noted_keys",
        "_noted_logs",
        "_taken",
        "cache_keys",
        "changes",
        "entered",
        "events",
        "events_length",
        "logs",
        "noted",
        "results",
        "unwritten",
        "withdrawn",
    )

    def __init__(self, is_noted: bool = False) -> None:
        self._is_noted = is_noted
        self.changes: dict[Run, Change] = {}
        self.logs: list[LogEntry] = []
        self.cache_keys: list[CacheKey] = []
        self.results: list[KeptResult] = []
        self.events: list[StoredEvent] = []
        self.events_length = 0
        self.unwritten: dict[str, KeptResult] = {}
        self.withdrawn: dict[str, int] = {}
        self.entered = 0
        self.noted = 0
        self._fresh: dict[Run, Change] = {}  # what has changed since the journal was told
        self._noted_logs = self._noted_keys = 0
        self._attempts: dict[bytes, int] = {}  # of flow runs that have had more than one
        self._taken: Batch | None = None
        self._is_stuck = False  # what was taken last could not be committed

    def __len__(self) -> int:
        """The greatest number of entries of one kind."""
        return max(len(self.changes), len(self.logs), len(self.results), len(self.events))

    # Entering

    def add_state(self, run: Run, state: State, attachments: Sequence[Attachment]) -> int:
        """Add a state that a run has entered, and what is written with it; gives the number of the entry."""
        change = self.changes.get(run)
        if change is None:
            self.changes[run] = change = Change(run, [state], run.recorded)
        else:
            change.states.append(state)
        self.entered = ticket = self.entered + 1
        if attachments:
            change.attachments = [*change.attachments, *attachments]
            self._note_results(attachments)
        if self._is_noted:
            self._fresh[run] = change
            if run.run_count > 1 and run.__class__ is FlowRun:
                self._attempts[run.key] = run.run_count
                if len(self._attempts) > _MOST_ATTEMPTS:
                    del self._attempts[next(iter(self._attempts))]
        return ticket

    def add_log(self, entry: LogEntry) -> None:
        """Add a log line."""
        self.logs.append(entry)
        self.entered += 1

    def add_cache_key(self, run: Run, cache_key: CacheKey) -> None:
        """Add the cache key of a run."""
        change = self.changes.get(run)
        if change is None:
            self.cache_keys.append(cache_key)
        else:
            change.cache_key = cache_key
        self.entered += 1

    def add_event(self, event: StoredEvent) -> None:
        """Add an event."""
        self.events.append(event)
        self.events_length += len(event.content)
        self.entered += 1

    def add_results(self, results: Sequence[KeptResult]) -> int:
        """Add results that come with no state; gives the number of the entry."""
        self.results.extend(results)
        self.entered = ticket = self.entered + 1
        self._note_results(results)
        return ticket

    def _note_results(self, attachments: Sequence[Attachment]) -> None:
        for each in attachments:
            if isinstance(each, KeptResult):
                self.unwritten[each.key] = each
            elif isinstance(each, Withdrawal) and each.key is not None:
                self.withdrawn[each.key] = self.entered

    # The journal

    def note(self, journal: Journal) -> bool:
        """Note in a journal what was entered since it was told last, if it is of a kind that can be.

        Returns:
            False if it has to be committed.
        """
        if (
            self._is_stuck
            or self.results
            or self.events
            or not all(map(self._can_be_noted, self._fresh.values()))
        ):
            return False
        logs = self.logs[self._noted_logs :]
        cache_keys = self.cache_keys[self._noted_keys :]
        if not journal.note(self._fresh.values(), logs, cache_keys):
            return False
        self._fresh.clear()
        self._noted_logs += len(logs)
        self._noted_keys += len(cache_keys)
        self.noted = self.entered
        return True

    def _can_be_noted(self, change: Change) -> bool:
        """Whether nothing but the death of this process could have the store refuse a change.

        The run must be one that nobody has seen, and that is written for nobody else.
        """
        run = change.run
        if change.follows is not None or not isinstance(run, TaskRun) or run.on_behalf is not None:
            return False
        if not change.attachments:
            return True
        if run.flow_run_key is not None and self._attempts.get(run.flow_run_key, 0) > run.flow_run_run_count:
            return False  # its result comes too late
        return all(each.__class__ is KeptResult for each in change.attachments)

    # Writing

    def take(self, journal: Journal | None) -> Batch:
        """Take all of it out, to be committed; with a journal, turn its page."""
        page = 0 if journal is None else journal.turn()
        self._taken = batch = Batch(
            self.changes,
            self.logs,
            self.cache_keys,
            self.results,
            self.events,
            self.unwritten.copy() if self.unwritten else {},
            self.entered,
            page,
        )
        self.changes, self._fresh = {}, {}
        self.logs = []
        self._noted_logs = self._noted_keys = 0
        if batch.cache_keys:
            self.cache_keys = []
        if batch.results:
            self.results = []
        if batch.events:
            self.events, self.events_length = [], 0
        return batch

    def put_back(self) -> None:
        """Return, in front of what has come since, what was taken and could not be committed.

        It may be that `take` was interrupted, so that some of it is still here. Until the next batch is committed,
        nothing is noted: whoever waits is to learn that nothing can be.
        """
        self._is_stuck = True
        batch, self._taken = self._taken, None
        if batch is None:
            return
        if self.changes is not batch.changes:
            changes = batch.changes
            for run, later in self.changes.items():
                if run in changes:
                    changes[run].states.extend(later.states)
                    changes[run].attachments = [*changes[run].attachments, *later.attachments]
                    changes[run].cache_key = later.cache_key or changes[run].cache_key
                else:
                    changes[run] = later
            self.changes = changes
        self._fresh = self.changes.copy() if self._is_noted else {}
        self._noted_logs = self._noted_keys = 0
        self.logs = _before(batch.logs, self.logs)
        self.cache_keys = _before(batch.cache_keys, self.cache_keys)
        self.results = _before(batch.results, self.results)
        self.events = _before(batch.events, self.events)
        self.events_length = sum(len(event.content) for event in self.events)

    def forget(self, batch: Batch) -> None:
        """Forget a batch, which is committed."""
        for key, kept in batch.unwritten.items():
            if self.unwritten.get(key) is kept:
                del self.unwritten[key]
        if self.withdrawn:
            entered = batch.entered
            self.withdrawn = {key: ticket for key, ticket in self.withdrawn.items() if ticket > entered}
        self._taken, self._is_stuck = None, False

    def take_out(self, results: Sequence[KeptResult]) -> None:
        """Forget results that are not to be tried again."""
        given = set(map(id, results))
        self.results = [kept for kept in self.results if id(kept) not in given]
        for kept in results:
            if self.unwritten.get(kept.key) is kept:
                del self.unwritten[kept.key]


def _before(earlier: list[T], later: list[T]) -> list[T]:
    return later if later is earlier else earlier + later
