"""Buffering what runs enter, and writing it to one store, in order, as cheaply as possible."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from mainspring import points
from mainspring._core import transitions
from mainspring._events import receivers
from mainspring._imports import modules_on_use
from mainspring.exceptions import SupersededRun
from mainspring.logging import get_logger
from mainspring.recording.buffer import Buffer
from mainspring.runs import FlowRun, Run, TaskRun
from mainspring.states import State, StateType
from mainspring.store.bells import RUNS
from mainspring.store.reading import remove_unused_files
from mainspring.supervision import Supervisor, tell_finders

if TYPE_CHECKING:
    from mainspring._events import state_changes
    from mainspring.store.changes import CacheKey, Change, Durability, LogEntry
    from mainspring.store.events import StoredEvent
    from mainspring.store.losses import LossListener
    from mainspring.store.protocol import Journal, RunStore
    from mainspring.store.results import Attachment, KeptResult
else:
    state_changes = modules_on_use("mainspring._events", "state_changes")

__all__ = ["Listener", "Recorder"]

VISIBLE_AFTER = 0.03
"""Seconds until a run that is still going can be seen in the store."""

RELAXED_LAG = 0.005
"""Seconds by which history may trail under durability ``relaxed``."""

CAPACITY = 5_000
"""Runs, log lines, results and events that may wait; a producer that finds the buffer full writes it out itself."""

EVENTS_LENGTH = 16_000_000
"""Characters of events that may wait, likewise."""

TRAIL = 0.002
"""Seconds after which a run of a pool that is over waits for no others to share a commit with."""

LONGEST_TRAIL = 64
"""Runs that share a commit, at most."""

OVERDUE = 0.005
"""Seconds after which the background thread sees to those whose thread has gone on to long work."""

IDLE_ROUNDS = 30
"""Turns without work after which the background thread waits to be woken instead of looking."""

_BEFORE_NEXT_TRY = 1_000
"""Commits after which it is tried again, if it cannot be made."""

_GOES_ON = frozenset({StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING})

Listener = Callable[[Run, State], None]

_logger = get_logger("recording")


class Recorder:
    """Buffers what runs enter and writes it to one store. Safe to use from any thread.

    Args:
        store: Where history goes; the recorder closes it.
        durability: With ``relaxed``, final states do not wait for their commit: ``waits`` is False. With ``journal``,
            those that nobody else has to do with are noted, and committed later.
    """

    journals_after: ClassVar[int] = 16
    """Commits of single tasks after which a journal is worth its files."""

    def __init__(self, store: RunStore, durability: Durability = "process") -> None:
        self.store = store
        self.waits = durability != "relaxed"
        self._journals = durability == "journal"
        self._interval = VISIBLE_AFTER if self.waits else RELAXED_LAG
        self._buffer_lock = threading.Lock()  # held for moments, around the buffer
        self._write_lock = threading.Lock()  # held for a commit, by the thread that writes for all
        self._buffer = Buffer(is_noted=durability == "journal")
        self._journal: Journal | None = None
        self._spared = 0  # commits that a journal would have spared
        self._written = 0
        self._refused: set[Run] = set()
        self._trail: list[tuple[Run, Callable[[BaseException | None], object]]] = []
        self._trail_since = 0.0
        self._has_trail = False  # lately
        self._has_unused = False  # files of results that were replaced or rolled back, perhaps
        self._over: deque[bytes] = deque()  # flow runs that others may be waiting for, and have not heard of
        self._listeners: tuple[Listener, ...] = ()
        self._wake = threading.Event()
        self._idle = True
        self._closing = threading.Event()
        self._flusher: threading.Thread | None = None
        self._live: dict[bytes, Run] = {}  # what was written of this process, and is not over
        self._losses = store.losses
        store.losses.live = self._live
        self.supervisor = Supervisor(store, self._has_live, self._bury)
        store.on_holding = self.supervisor.attend

    # Recording

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
        """Make ``state`` the state of ``run``, record it, and tell the subscribers of events.

        Args:
            run: The run.
            state: The state; if it is the run's state already, that is its first one.
            wait: Return only when it is durable, as a final state must be before anybody sees the result.
            confirm: Return only when the store has accepted it, whatever the durability.
            attachments: What is to be written in the same commit, if the state is accepted.
            unless: Asked at a moment when nobody else can enter a state; with yes as its answer nothing is done.

        Returns:
            False if nothing was done.

        Raises:
            SupersededRun: The store refused the state: the run was settled by somebody else.
            OwnershipLost: It was, because this process counted as dead.
            StoreError: It cannot be written. It stays buffered and is tried again.
        """
        with self._buffer_lock:
            before = run.state
            if before is not state:
                if unless is not None and unless(state):
                    return False
                transitions.enter(run, state)
            if self._losses.any and (refusal := self._losses.refusal(run)) is not None:
                raise refusal
            ticket = self._buffer.add_state(run, state, attachments)
        if self._listeners:
            self.tell_listeners(run, state)
        if confirm or (wait and self.waits):
            if confirm or not self._journals:
                self._commit(ticket)
            else:
                self._secure(ticket)
            if self._refused and run in self._refused:
                raise self._refusal(run, state)
        elif self._idle or ticket - self._written >= CAPACITY:  # told here, as most states need nothing done
            self._leave_to_flusher()
        if receivers.active:
            state_changes.emit_run_state_change_event(run, None if before is state else before, state)
        return True

    def claim(self, runs: Mapping[Run, Sequence[Attachment]]) -> set[bytes]:
        """Begin the histories of some runs, each of which others may try to begin as well; one commit for all.

        Args:
            runs: The runs, and what is to be written with each.

        Returns:
            The ids of those that somebody else has begun.

        Raises:
            StoreError: They cannot be written. They stay buffered and are tried again.
        """
        for run, attachments in runs.items():
            run.state = run.state.again()  # the store must not take what others have written of it for ours
            run.claim(run.state)
            self.enter(run, run.state, wait=False, attachments=attachments)
        self.flush()
        taken = self._refused.intersection(runs)
        self._refused -= taken
        return {run.key for run in taken}

    def trail(self, run: Run, began: float, settle: Callable[[BaseException | None], object]) -> bool:
        """Have ``settle`` called once the states of a run are durable: the commit is one for many runs.

        It is called by `settle`, in a thread that may wait.

        Args:
            run: The run, which has entered its final state without waiting.
            began: When its work began, by ``time.monotonic()``. Long work waits for no other.
            settle: Gets None, or why the states are not durable.

        Returns:
            True if it is time to call `settle`.
        """
        with self._buffer_lock:
            if not self._trail:
                self._trail_since = began
                self._has_trail = True
            self._trail.append((run, settle))
            count = len(self._trail)
        return count >= LONGEST_TRAIL or time.monotonic() - self._trail_since >= TRAIL

    def settle(self) -> None:
        """Write out what `trail` was told of, and tell everybody."""
        with self._buffer_lock:
            trail, self._trail = self._trail, []
            entered = self._buffer.entered
        if not trail:
            return
        problem: BaseException | None = None
        try:
            self._secure(entered)
        except BaseException as error:  # belongs to whoever asks for the results
            problem = error
        for run, settle in trail:
            settle(problem or (self._refusal(run, run.state) if run in self._refused else None))

    def has(self, run: Run) -> bool:
        """True if the history of ``run`` has begun: a state of it is on disk or in the buffer."""
        return run.recorded is not None or run in self._buffer.changes

    def is_superseded(self, run: Run) -> bool:
        """True if somebody else has settled a run or goes on with its flow run, so that its result will be refused.

        Raises:
            StoreError: The store cannot be read.
        """
        if isinstance(run, TaskRun) and run.flow_run_key is not None and run.flow_run_run_count:
            around = self.store.read_run(run.flow_run_key)
            if around is not None and around.run_count > run.flow_run_run_count:
                return True
        if run.recorded is None:  # nobody else has seen it
            return False
        found = self.store.read_run(run.key)
        return found is not None and found.state.key != run.recorded

    def log(self, entry: LogEntry) -> None:
        """Record a log line; it is written with the next commit or within `VISIBLE_AFTER`."""
        with self._buffer_lock:
            self._buffer.add_log(entry)
        self._leave_to_flusher()

    def note_cache_key(self, run: Run, cache_key: CacheKey) -> None:
        """Record how a run that goes on looks for a kept result; it is written with the next commit."""
        with self._buffer_lock:
            self._buffer.add_cache_key(run, cache_key)

    def keep_event(self, event: StoredEvent) -> None:
        """Record an event; it is written with the next commit or within `VISIBLE_AFTER`.

        Waits for nothing but, when too many events wait to be written, for the store.

        Raises:
            StoreError: They cannot be written now. The event stays buffered.
        """
        with self._buffer_lock:
            self._buffer.add_event(event)
        if self._buffer.events_length > EVENTS_LENGTH:
            self.flush()
        else:
            self._leave_to_flusher()

    # Results

    def keep_results(self, results: Sequence[KeptResult], *, wait: bool = True) -> None:
        """Keep results that come with no state of a run: all of them, or none.

        Args:
            results: The results; each replaces what is kept under its key.
            wait: Return only when they are as durable as final states are.

        Raises:
            OwnershipLost: They belong to a run that this process has lost.
            StoreError: They cannot be written. Unlike all else they are not tried again: whoever gets the error may
                go on as if they were not there.
        """
        if self._losses.any:
            self._losses.check("A result", [kept.run_key for kept in results])
        with self._buffer_lock:
            ticket = self._buffer.add_results(results)
        if wait and self.waits:
            self._commit(ticket, results)
        else:
            self._leave_to_flusher()

    def read_result(self, key: str) -> KeptResult | None:
        """What is kept under a key, on disk or still in the buffer.

        Raises:
            StoreError: The store cannot be read.
        """
        if self._buffer.withdrawn:
            self._commit(self._buffer.withdrawn.get(key, 0))
        return self._buffer.unwritten.get(key) or self.store.read_result(key)

    def delete_result(self, key: str) -> bool:
        """Forget what is kept under a key; False if there is nothing. Raises as `flush` does."""
        self.flush()
        self.note_unused_files()
        return self.store.delete_result(key)

    def note_unused_files(self) -> None:
        """Have the background thread remove files of results that do not count any more."""
        self._has_unused = True
        self._leave_to_flusher()

    def _remove_unused_files(self) -> None:
        self._has_unused = False
        remove_unused_files(self.store)

    def flush(self) -> None:
        """Write everything buffered so far.

        Raises:
            StoreError: It cannot be written. It stays buffered.
        """
        self._commit(self._buffer.entered)

    def commit_noted(self) -> None:
        """Commit what was noted in the journal, as others are about to be told of it; nothing where there is none.

        Raises:
            StoreError: It cannot be written. It stays buffered.
        """
        if self._journal is not None:
            self.flush()

    @contextmanager
    def listen(self, listener: Listener) -> Generator[None]:
        """Call ``listener`` for each state entered inside the block, in the entering thread."""
        with self._buffer_lock:
            self._listeners = (*self._listeners, listener)
        try:
            yield
        finally:
            with self._buffer_lock:
                self._listeners = tuple(known for known in self._listeners if known != listener)

    @property
    def is_closed(self) -> bool:
        """True once `close` was called: whoever uses it from then on gets errors."""
        return self._closing.is_set()

    @property
    def is_listened_to(self) -> bool:
        """True inside of a block of `listen`, of any thread."""
        return bool(self._listeners)

    def tell_listeners(self, run: Run, state: State) -> None:
        """Tell them of a state that was entered and recorded in another process."""
        for listener in self._listeners:
            listener(run, state)

    # Life and death

    def on_ownership_lost(self, listener: LossListener) -> None:
        """Call ``listener`` with the runs that were going on here if this process was taken for dead.

        It is called in the thread that finds out, and must neither raise nor take long.
        """
        self._losses.listen(listener)

    def _has_live(self) -> bool:
        return bool(self._live)

    def _bury(self) -> None:
        tell_finders(self)

    def close(self) -> None:
        """Write what is left, stop the background thread and close the store. May be called twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._wake.set()
        self.supervisor.close()
        if self._flusher is not None:
            self._flusher.join()
        try:
            self.settle()
            self.flush()
            self._ring()
            if self._has_unused:
                self._remove_unused_files()
        finally:
            self.store.close()

    # Writing

    def _secure(self, ticket: int) -> None:
        """Have what was entered survive the death of this process: by the journal if it can, else by a commit."""
        journal = self._journal
        if journal is None:
            self._commit(ticket)
            if self._journals:
                self._consider_journal()
            return
        with self._buffer_lock:
            is_safe = ticket <= self._buffer.noted or (journal.is_open and self._buffer.note(journal))
        if is_safe:
            self._leave_to_flusher()
        else:
            self._commit(ticket)

    def _consider_journal(self) -> None:
        """Open a journal once it is worth its files."""
        self._spared += 1
        if self._spared >= self.journals_after:
            with self._write_lock:
                if self._journal is None and self._spared >= self.journals_after:
                    self._spared = -_BEFORE_NEXT_TRY
                    self._journal = self.store.open_journal()
            if self._journal is not None:
                self._interval = RELAXED_LAG

    def _commit(self, ticket: int, revocable: Sequence[KeptResult] = ()) -> None:
        with self._write_lock:
            if self._written < ticket:  # else the thread before us wrote for us
                try:
                    self._write()
                except BaseException:
                    if revocable:
                        with self._buffer_lock:
                            self._buffer.take_out(revocable)  # before anybody else can write them
                    raise

    def _write(self) -> None:
        """Write out the buffer; the write lock is held. An interrupt at any point loses nothing."""
        journal = self._journal
        if journal is not None and not journal.is_open:  # it was of an ownership that was lost
            self._journal, self._spared, journal = None, 0, None
        try:
            with self._buffer_lock:
                batch = self._buffer.take(journal)
                changes = batch.changes
                has_attachments = False
                for run, change in changes.items():
                    state = change.states[-1]
                    run.recorded = state.key
                    if state.type in _GOES_ON:
                        self._live[run.key] = run
                    if change.attachments:
                        has_attachments = True
            refused = self.store.write(
                list(changes.values()),
                batch.logs,
                batch.cache_keys,
                batch.results,
                batch.events,
                batch.page,
            )
        except BaseException:
            with self._buffer_lock:
                self._buffer.put_back()
            raise
        self._written = batch.entered
        with self._buffer_lock:
            if batch.page and journal is not None:
                journal.settle()
            self._buffer.forget(batch)
        self._note_ends(changes)
        if has_attachments or batch.results:
            # What they replace, or they themselves if refused, may have been in a file.
            self._has_unused = True
        for change in refused:
            self._refused.add(change.run)
            self._forget(change.run)

    def _note_ends(self, changes: dict[Run, Change]) -> None:
        """What is over, and written, needs nobody who looks after it; nor does what will never begin."""
        live = self._live
        for run, change in changes.items():
            if run.__class__ is FlowRun and change.states[-1].is_final():
                self._over.append(run.key)
            if run.key in live and not _goes_on(change.states[-1]):
                self._forget(run)

    def _forget(self, run: Run) -> None:
        if self._live.get(run.key) is run:
            del self._live[run.key]

    def _refusal(self, run: Run, state: State) -> SupersededRun:
        self._refused.discard(run)
        lost = self._losses.refusal(run) if self._losses.any else None
        return lost or SupersededRun(
            f"The state {state} of {type(run).__name__} {run.name!r} ({run.id}) was refused: the store holds a"
            f" newer state from somebody else, so this attempt no longer counts. See `mainspring runs show"
            f" {run.id}`."
        )

    # The background thread

    def _is_waiting(self) -> bool:
        """Whether there is anything that does not wait for a commit of somebody else."""
        return bool(self._buffer or self._trail)

    def _leave_to_flusher(self) -> None:
        buffer = self._buffer
        # There are more entries than there are of any kind, and to count those takes longer.
        if buffer.entered - self._written >= CAPACITY and len(buffer) >= CAPACITY:
            self.flush()
        elif self._idle and not self._closing.is_set():
            self._idle = False
            with self._buffer_lock:
                if self._flusher is None:
                    self._flusher = threading.Thread(
                        target=self._flush_regularly, name="mainspring-recorder", daemon=True
                    )
                    self._flusher.start()
            self._wake.set()

    def _flush_regularly(self) -> None:
        complained = False
        rounds = 0
        while not self._closing.is_set():
            if rounds >= IDLE_ROUNDS:
                self._wake.clear()
                self._idle = True
                if not self._is_waiting():
                    self._wake.wait()
                self._idle = False
                rounds = 0
                continue
            self._rest()
            rounds += 1
            try:
                if points.observer is not None:
                    points.observer("recorder.turn", self.store)
                if self._is_waiting():
                    rounds = 0
                    self.flush()
                if self._live:
                    self.supervisor.attend()
                self._ring()
                if self._has_unused:
                    self._remove_unused_files()
                self.store.checkpoint()
                complained = False
            except Exception as error:
                # Nothing is lost: it stays buffered, and whoever commits next gets the error itself.
                if not complained:
                    _logger.warning("History cannot be written now and will be tried again: %s", error)
                complained = True

    def _ring(self) -> None:
        """Wake those in other processes who wait for the end of flow runs."""
        while self._over:
            self.store.bell.ring(RUNS, self._over.popleft().hex())

    def _rest(self) -> None:
        """Wait until the next turn. Meanwhile, runs are settled whose thread has gone on to long work.

        That happens in a thread of its own, as whoever waits for them may do anything then.
        """
        end = time.monotonic() + self._interval
        while not self._closing.is_set() and (left := end - time.monotonic()) > 0:
            self._closing.wait(min(left, OVERDUE) if self._has_trail else left)
            if self._trail and time.monotonic() - self._trail_since >= OVERDUE:
                threading.Thread(target=self.settle, name="mainspring-settler", daemon=True).start()
        self._has_trail = bool(self._trail)


def _goes_on(state: State) -> bool:
    """Whether a process carries a run in this state out, or waits with it."""
    if state.type is StateType.PAUSED:
        return not state.state_details.pause_reschedule
    return state.type in _GOES_ON and state.name != "NotReady"
