"""The path of a run through its states, read from the history and compared with what a test expects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, NamedTuple, cast
from uuid import UUID

from mainspring import identifiers
from mainspring.client import Client, get_client
from mainspring.exceptions import ObjectNotFound
from mainspring.futures import RunFuture
from mainspring.runs import Run
from mainspring.states import State

__all__ = ["Path", "assert_states", "key_of_run", "read_path"]

_MICROSECONDS = 1_000_000
_NOTHING = "-"


class Path(NamedTuple):
    """A run with all of its states, oldest first."""

    run: Run
    states: list[State]


def assert_states(run: Any, expected: Sequence[str]) -> None:
    """Check the whole path of a run: the names of all states that it went through, in order.

    Args:
        run: A run, its id, one of its states, or its future, which is waited for.
        expected: The names, for example ``["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"]``.

    Raises:
        AssertionError: It is another path: the message has both side by side, with times, attempts and reasons.
        ObjectNotFound: There is no such run.
        TypeError: ``run`` or ``expected`` is nothing of this.
    """
    __tracebackhide__ = True
    wanted = _names(expected)
    found = read_path(run)
    if [state.name for state in found.states] != wanted:
        raise AssertionError(_difference(found, wanted))


def read_path(run: Any) -> Path:
    """A run as the history has it, with all of its states.

    Args:
        run: As for `assert_states`.

    Raises:
        ObjectNotFound: There is no such run.
        TypeError: ``run`` is nothing of this.
    """
    client = get_client()
    if isinstance(run, State):
        return _path_of_state(client, run)
    if isinstance(run, RunFuture):
        run.wait()
        client = get_client()  # which shows what has come meanwhile
    return _path(client, UUID(bytes=key_of_run(run)))


def key_of_run(run: Any) -> bytes:
    """The id, as 16 bytes, of what was given as a run.

    Raises:
        ObjectNotFound: It is a state that no recorded run has.
        TypeError: It is no run.
    """
    if isinstance(run, Run):
        return run.key
    if isinstance(run, RunFuture):
        return run.run_key
    if isinstance(run, State):
        return read_path(run).run.key
    if isinstance(run, UUID | str):
        return identifiers.to_bytes(run)
    raise TypeError(
        f"Expected a run, its id, one of its states or its future; got {type(run).__name__}: {run!r}. A call gives its"
        " state with `return_state=True`."
    )


def _path(client: Client, run_id: UUID) -> Path:
    try:
        return Path(client.read_task_run(run_id), client.read_task_run_states(run_id))
    except ObjectNotFound:
        pass
    try:
        return Path(client.read_flow_run(run_id), client.read_flow_run_states(run_id))
    except ObjectNotFound:
        raise ObjectNotFound(
            f"There is no run {run_id} in the history of this test, {client.store.address}."
        ) from None


def _path_of_state(client: Client, state: State) -> Path:
    """The state of a subflow run has the id of a task run, too, so the ids alone do not tell."""
    details = state.state_details
    for run_id in (details.task_run_id, details.flow_run_id):
        if run_id is not None:
            path = _path(client, run_id)
            if any(each.key == state.key for each in path.states):
                return path
    raise ObjectNotFound(f"No run in the history of this test, {client.store.address}, has entered {state}.")


def _names(expected: Any) -> list[str]:
    if isinstance(expected, str) or not isinstance(expected, Iterable):
        raise TypeError(f"Expected a list of names of states; got {expected!r}.")
    names = list(cast(Any, expected))
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"Expected names of states as texts; got {name!r} among {names!r}.")
    return names


def _difference(path: Path, wanted: list[str]) -> str:
    run, states = path
    kind = type(run).__name__.replace("Run", " run").lower()
    rows = list(_rows(states, wanted))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)), row[4]])
        for row in rows
    ]
    title = f"The {kind} {run.name!r} ({run.id}) went another way than expected:"
    return "\n".join([title, "", *(f"  {line.rstrip()}" for line in lines)])


def _rows(states: list[State], wanted: list[str]) -> Iterator[tuple[str, str, str, str, str]]:
    """Mark, expected name, recorded name, when, and what else is known."""
    yield " ", "expected", "recorded", "after", ""
    names = [state.name for state in states]
    told = [_told(states, number) for number in range(len(states))]
    for tag, a, b, c, d in SequenceMatcher(None, wanted, names, autojunk=False).get_opcodes():
        mark = " " if tag == "equal" else ">"
        for name, place in zip_longest(wanted[a:b], range(c, d)):
            if place is None:
                yield mark, str(name), _NOTHING, "", ""
            else:
                yield mark, _NOTHING if name is None else name, names[place], *told[place]


def _told(states: list[State], place: int) -> tuple[str, str]:
    """How long after the first state it was entered, in which attempt, and why."""
    state = states[place]
    attempt = sum(each.is_running() for each in states[: place + 1])
    words = [f"attempt {attempt}"] if state.is_running() else []
    if state.message:
        words.append(state.message)
    elif state.has_data and isinstance(state.data, BaseException):
        words.append(repr(state.data))
    return f"{(state.at - states[0].at) / _MICROSECONDS:.3f} s", ": ".join(words)
