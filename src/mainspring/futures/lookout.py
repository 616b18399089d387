"""Noticing the end of runs that are only known by their ids, in whatever process they go on.

A run of this process is noticed when it enters its final state, a flow run of another one when that rings the bell of
the store. For all the rest the history is read again and again: soon at first, then slower. One thread does this for
the whole process, and there is none while nobody waits.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from mainspring import _forks
from mainspring.states import TERMINAL_STATES, State
from mainspring.store.bells import RUNS

if TYPE_CHECKING:
    from mainspring.recording import Recorder
    from mainspring.runs import Run

__all__ = ["Lookout", "lookout"]

SOON = 0.005
"""Seconds until the history is read again for somebody who has just begun to wait."""

SLOW = 0.25
"""The most seconds between two readings."""

GROWTH = 1.5
"""How much longer each pause is than the one before."""

BURIAL = 4
"""Of so many slow readings, one looks for runs whose process has died, which nobody else may be there to do."""

Settle = Callable[[State], None]

_logger = logging.getLogger("mainspring.futures")


class Lookout:
    """Calls back when runs are over. Safe to use from any thread."""

    def __init__(self) -> None:
        self._stir = threading.Condition()  # around everything below; held for moments
        self._sought: dict[Recorder, dict[bytes, list[Settle]]] = {}
        self._ears: dict[Recorder, AbstractContextManager[None]] = {}
        self._thread: threading.Thread | None = None
        self._pause = SOON
        self._is_due = False

    def seek(self, recorder: Recorder, key: bytes, settle: Settle) -> None:
        """Have ``settle`` called with the final state of a run: at once and here if it is over, else in any thread.

        Args:
            recorder: Where the history of the run goes.
            key: The id of the run as 16 bytes.
            settle: Called once; must not raise.

        Raises:
            StoreError: The history cannot be read.
        """
        with self._stir:  # first of all, so that no end is missed between reading and listening
            self._sought.setdefault(recorder, {}).setdefault(key, []).append(settle)
            if recorder not in self._ears:
                self._ears[recorder] = ear = recorder.listen(self._note)
                ear.__enter__()
            self._pause = SOON
        try:
            state = final_state(recorder, key)
        except BaseException:
            self.forget(recorder, key, settle)
            raise
        if state is not None:
            if self.forget(recorder, key, settle):
                settle(state)
            return
        recorder.store.bell.listen(RUNS, self._hear)
        with self._stir:
            if self._thread is None and self._sought:
                self._thread = threading.Thread(target=self._watch, name="mainspring-lookout", daemon=True)
                self._thread.start()
            self._stir.notify_all()

    def forget(self, recorder: Recorder, key: bytes, settle: Settle) -> bool:
        """Do not call ``settle`` any more; False if it has been, or is about to be."""
        with self._stir:
            waiting = self._sought.get(recorder, {}).get(key, [])
            if settle not in waiting:
                return False
            waiting.remove(settle)
            if not waiting:
                self._drop(recorder, key)
            return True

    def _drop(self, recorder: Recorder, key: bytes) -> list[Settle]:
        """Take a run off the list, and listen no more if it was the last one; the condition is held."""
        runs = self._sought.get(recorder, {})
        waiting = runs.pop(key, [])
        if not runs and recorder in self._ears:
            del self._sought[recorder]
            self._ears.pop(recorder).__exit__(None, None, None)
            self._stir.notify_all()
        return waiting

    def _note(self, run: Run, state: State) -> None:
        """Look at once when a run that is sought ends here; called in its thread, before the state is on disk."""
        if state.type in TERMINAL_STATES:
            with self._stir:
                if any(run.key in runs for runs in self._sought.values()):
                    self._is_due = True
                    self._stir.notify_all()

    def _hear(self, name: str) -> None:
        """Look at once when another process says that a flow run, which ``name`` is the id of, is over."""
        with self._stir:
            key = bytes.fromhex(name)
            if not key or any(key in runs for runs in self._sought.values()):
                self._is_due = True
                self._stir.notify_all()

    # The thread

    def _watch(self) -> None:
        slow_looks = 0
        while True:
            with self._stir:
                if self._sought and not self._is_due:
                    self._stir.wait(self._pause)
                if not self._sought:
                    self._thread = None
                    return
                self._is_due = False
                self._pause = min(self._pause * GROWTH, SLOW)
                slow_looks = slow_looks + 1 if self._pause == SLOW else 0
                sought = [(recorder, list(runs)) for recorder, runs in self._sought.items()]
            for recorder, keys in sought:
                self._look(recorder, keys, slow_looks % BURIAL == BURIAL - 1)

    def _look(self, recorder: Recorder, keys: Iterable[bytes], buries: bool) -> None:
        try:
            if buries:
                recorder.store.settle_dead_owners()
            for key in keys:
                state = final_state(recorder, key)
                if state is not None:
                    with self._stir:
                        waiting = self._drop(recorder, key)
                    for settle in waiting:
                        settle(state)
        except Exception as error:  # others are waited for, too, and the next reading may go well
            _logger.debug("Runs that are waited for could not be read: %s", error)
            if recorder.is_closed:
                with self._stir:
                    for key in keys:
                        self._drop(recorder, key)


def final_state(recorder: Recorder, key: bytes) -> State | None:
    """The state of a run that is over, as other processes see it; None for any other, and for one nobody knows.

    Raises:
        StoreError: The history cannot be read.
    """
    run = read_run(recorder, key)
    return run.state if run is not None and run.state.is_final() else None


def read_run(recorder: Recorder, key: bytes) -> Any:
    """A run as other processes see it, None if nobody knows it.

    Raises:
        StoreError: The history cannot be read.
    """
    recorder.flush()
    return recorder.store.read_run(key)


@_forks.in_child
def _forget_inherited() -> None:
    """In a forked child: the thread is the parent's."""
    global _of_process
    _of_process = Lookout()


_of_process = Lookout()


def lookout() -> Lookout:
    """The one of this process."""
    return _of_process
