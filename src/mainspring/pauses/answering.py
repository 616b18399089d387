"""Giving a paused flow run what it waits for: checked before anything is changed, and then for good."""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any, NamedTuple
from uuid import UUID

from mainspring import clock
from mainspring.annotations import NotSet
from mainspring.entrypoints import refusal
from mainspring.exceptions import FlowPauseTimeout, NotPausedError, NotResumable, ParameterTypeError
from mainspring.pauses.inputs import load_type, pack
from mainspring.pauses.waiters import waiter_of
from mainspring.recording import current_recorder
from mainspring.runs import FlowRun, TaskRun
from mainspring.store.pauses import PauseRecord
from mainspring.store.protocol import RunStore

__all__ = [
    "Answer",
    "find_pause",
    "give",
    "goes_on_elsewhere",
    "is_in_hand",
    "is_over_for",
    "prepare",
    "refuse_input",
    "root_key_of",
    "subflow_refusal",
    "tell",
]

ACCEPTANCE = 10.0
"""The most seconds to wait until the process of a run has taken its input."""

_FIRST_LOOK = 0.005
_LAST_LOOK = 0.1


class Answer(NamedTuple):
    """What is to be given to a pause."""

    pause: PauseRecord
    content: str | bytes | None


def root_key_of(run: FlowRun) -> bytes:
    """The outermost flow run around a flow run."""
    recorder = current_recorder()
    key, parent = run.key, run.parent_task_run_key
    if parent is not None:
        recorder.flush()
    while parent is not None:
        stand_in = recorder.store.read_run(parent)
        if not isinstance(stand_in, TaskRun) or stand_in.flow_run_key is None:
            break
        around = recorder.store.read_run(stand_in.flow_run_key)
        key = stand_in.flow_run_key
        parent = around.parent_task_run_key if isinstance(around, FlowRun) else None
    return key


def is_over_for(pause: PauseRecord, now: int) -> bool:
    """Whether it is too late for an answer."""
    return now >= pause.expires


def find_pause(store: RunStore, run: FlowRun, key: str | None) -> PauseRecord | None:
    """What waits for an answer in a flow run or its subflows; None if nothing does.

    Args:
        store: Where the history is.
        run: The outermost flow run.
        key: Which one, if there are several: its key, or the id of the run that waits.

    Raises:
        NotResumable: There are several, or none with the key.
    """
    waiting = [pause for pause in store.read_open_pauses(run.key) if _is_waiting(store, run, pause)]
    if key is None and len(waiting) < 2:
        return waiting[0] if waiting else None
    found = [pause for pause in waiting if key in (pause.key, str(UUID(bytes=pause.flow_run_key)))]
    if len(found) == 1:
        return found[0]
    keys = ", ".join(f"{pause.key!r} of {UUID(bytes=pause.flow_run_key)}" for pause in waiting) or "none"
    if key is None:
        raise refusal(run, f"several pauses wait in it. Say which one by its key or flow run: {keys}")
    raise refusal(
        run,
        f"{'several pauses wait' if found else 'no pause waits'} in it with the key {key!r}: there are {keys}",
    )


def _is_waiting(store: RunStore, root: FlowRun, pause: PauseRecord) -> bool:
    run = root if pause.flow_run_key == root.key else store.read_run(pause.flow_run_key)
    return run is not None and run.state.is_paused() and run.state.state_details.pause_key == pause.key


def goes_on_elsewhere(store: RunStore, pause: PauseRecord) -> bool:
    """Whether the run has stayed in its process, and that is alive: it goes on there."""
    return not pause.suspends and is_in_hand(store, pause.flow_run_key)


def is_in_hand(store: RunStore, run_key: bytes) -> bool:
    """Whether a process that is alive waits in a paused run."""
    holder = store.read_holder(run_key)
    return holder == "others" or (holder == "us" and waiter_of(run_key) is not None)


def prepare(run: FlowRun, pause: PauseRecord, run_input: Any, main: ModuleType | None) -> Answer:
    """Check an input; nothing is changed.

    Args:
        run: The outermost flow run.
        pause: What waits.
        run_input: The input, None for none.
        main: The module of the flow, if it was loaded: it may have been the main program.

    Raises:
        FlowPauseTimeout: It is too late.
        ParameterTypeError: The input is not what is waited for.
        NotResumable: An input is missing, or none is wanted.
        SerializationError: The input cannot be passed on.
    """
    if is_over_for(pause, clock.current().now()):
        until = clock.to_datetime(pause.expires)
        raise FlowPauseTimeout(
            f"Flow run {run.name!r} ({run.id}) cannot be resumed any more: it has waited until"
            f" {until:%Y-%m-%d %H:%M:%S} UTC."
        )
    if pause.schema is None:
        if run_input is not None:
            raise NotPausedError(
                f"Flow run {run.name!r} ({run.id}) cannot be resumed with an input: it waits for none."
                f" Resume it without."
            )
        return Answer(pause, None)
    expected = load_type(pause.type, main)
    if run_input is None:
        run_input = NotSet if expected is None else expected.default()
        if run_input is NotSet:
            raise refusal(
                run, f"it waits for an input: give it `run_input`, of the JSON schema {pause.schema}"
            )
    try:
        value = run_input if expected is None else expected.convert(run_input)
    except ParameterTypeError as error:
        raise ParameterTypeError(
            f"Flow run {run.name!r} ({run.id}) cannot be resumed with this input. {error}"
        ) from error.__cause__
    return Answer(pause, pack(value, expected))


def give(store: RunStore, run: FlowRun, answer: Answer) -> None:
    """Answer a pause for good.

    Raises:
        NotPausedError: Somebody else has done so, or it was too late.
    """
    pause = answer.pause
    if not store.answer_pause(pause.flow_run_key, pause.key, clock.current().now(), answer.content):
        raise NotPausedError(
            f"Flow run {run.name!r} ({run.id}) is not resumed: somebody else has resumed it, or it waits no more."
        )


def tell(store: RunStore, run: FlowRun, answer: Answer) -> None:
    """Answer a pause of a run that goes on in its own process, and wait for some time until that has taken it.

    Raises:
        NotPausedError: Somebody else has answered it, or it was too late.
        ParameterTypeError: The process has refused the input, and waits for another one.
    """
    pause = answer.pause
    paused = store.read_run(pause.flow_run_key)
    give(store, run, answer)
    waiter = waiter_of(pause.flow_run_key)
    if waiter is not None:
        waiter.wake()
        if waiter.is_in_this_thread():  # which is the one that has to take it
            return
    end, look = time.monotonic() + ACCEPTANCE, _FIRST_LOOK
    while time.monotonic() < end:
        found = store.read_pause(pause.flow_run_key, pause.key)
        if found is not None and found.problem is not None:
            raise ParameterTypeError(found.problem)
        now = store.read_run(pause.flow_run_key)
        if paused is None or now is None or now.state.key != paused.state.key:
            return
        time.sleep(look)
        look = min(2 * look, _LAST_LOOK)


def refuse_input(run: FlowRun, run_input: Any) -> None:
    """Refuse an input for a run in which nothing waits.

    Raises:
        NotPausedError: There is one.
    """
    if run_input is not None:
        raise NotPausedError(
            f"Flow run {run.name!r} ({run.id}) cannot be resumed with an input: nothing in it waits for one. It is"
            f" {run.state.name}."
        )


def subflow_refusal(run: FlowRun) -> NotResumable:
    """Why the run of a subflow is not resumed by its own id."""
    root = UUID(bytes=root_key_of(run))
    return refusal(run, f"it is the run of a subflow. Resume the run that has called it: {root}")
