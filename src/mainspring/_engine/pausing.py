"""Flow runs that are left, or stand still, until somebody resumes them: the states of that."""

from __future__ import annotations

import threading

import msgspec

from mainspring._core.transitions import Move, next_state
from mainspring._engine.resumable import ResumableFlowRun
from mainspring.exceptions import NotSuspendable, Pause
from mainspring.runs import FlowRun
from mainspring.states import State, is_state

__all__ = ["PausableFlowRun"]


class PausableFlowRun(ResumableFlowRun):
    """The part of flow engines that is about pauses."""

    def pause(self, state: State) -> None:
        """Enter a paused state while the function waits; others see it on return.

        Args:
            state: What is to be known about it.

        Raises:
            SupersededRun: Somebody else goes on with the run.
        """
        self._enter_like(state, Move.PAUSE)

    def _enter_like(self, state: State, move: Move) -> State:
        details = msgspec.structs.replace(state.state_details)
        return self._enter(
            next_state(self.run, move, self._now(), state.message, details=details), confirm=True
        )

    def go_on(self, confirm: bool = True) -> None:
        """Let the attempt go on after a pause: it is the same one, and the steps that it has made are its own.

        Args:
            confirm: Find out whether somebody else goes on with the run instead.

        Raises:
            SupersededRun: Somebody does.
        """
        if self.run.state.is_paused():
            self._enter(next_state(self.run, Move.GO_ON, self._now()), confirm)

    def note_pause(self, signal: Pause) -> None:
        """Enter the suspended state that a signal brings along; the run around gets one of its own from it."""
        state = signal.state
        if not is_state(state) or not state.is_paused() or not state.state_details.pause_reschedule:
            return
        if not self.run.state.is_running():
            return
        signal.state = self._enter_like(state, Move.SUSPEND)
        if self._stand_in is None:
            self._recorder.store.drop_suspension(self.run.key)

    def wanted_pause(self) -> Pause | None:
        """The signal to be thrown into a generator that goes on, if somebody has asked for it."""
        watch = self._scope.context.suspension
        if watch is None:
            return None
        watch.thread = threading.get_ident()  # the consumer may be another one by now
        try:
            watch.check()
        except Pause as signal:
            return signal
        return None

    def is_left_suspended(self) -> bool:
        """Whether the outermost run has been left, to be gone on with later: whoever wants its state gets that."""
        return self._stand_in is None and self.run is not None and self.run.state.is_paused()

    def require_resumable(self) -> None:
        """Make sure that somebody could go on with the run if it was left now.

        Raises:
            NotSuspendable: Nobody could.
        """
        run = self.run
        assert isinstance(run, FlowRun)
        if not self._keeps_result:
            problem = "it keeps no results, so nobody could go on with it. Use `@flow(persist_result=True)`"
        elif self._root()[0] is None:
            problem = (
                "the flow around it keeps no results. Use `@flow(persist_result=True)` for that one, too"
            )
        elif run.resumption is None:
            problem = "it is not known how to go on with it"
        elif self._stand_in is None and run.resumption.parameters is None:
            problem = run.resumption.problem or "it is not known how to go on with it"
        elif self._stand_in is not None and run.resumption.step is None:
            problem = "its inputs do not tell it from other subflows, so nobody could find it again"
        else:
            return
        raise NotSuspendable(f"Flow run {run.name!r} ({run.id}) cannot be suspended: {problem}.")
