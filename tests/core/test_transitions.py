"""The state machine: the table of moves, what entering a state does to a run, and the delays of retries."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring._core.policy import RunPolicy
from mainspring._core.transitions import MOVES, Move, enter, next_state, retry_delay
from mainspring.exceptions import IllegalTransition
from mainspring.runs import TaskRun
from mainspring.states import TERMINAL_STATES, State, StateType

# The machine once more, written from the contract: for each move the types it may start from, and its target.
UNFINISHED = {StateType.PENDING, StateType.SCHEDULED, StateType.RUNNING}
LEGAL = {
    Move.BEGIN: (set(StateType) - {StateType.RUNNING, StateType.CANCELLING}, "RUNNING", "Running"),
    Move.BLOCK: ({StateType.PENDING, StateType.SCHEDULED}, "PENDING", "NotReady"),
    Move.SUCCEED: ({StateType.RUNNING, StateType.CANCELLING}, "COMPLETED", "Completed"),
    Move.REUSE: ({StateType.RUNNING, StateType.CANCELLING}, "COMPLETED", "Cached"),
    Move.FAIL: (UNFINISHED | {StateType.PAUSED}, "FAILED", "Failed"),
    Move.TIME_OUT: ({StateType.RUNNING, StateType.PAUSED, StateType.CRASHED}, "FAILED", "TimedOut"),
    Move.RETRY: ({StateType.RUNNING, StateType.SCHEDULED, StateType.PAUSED}, "RUNNING", "Retrying"),
    Move.AWAIT_RETRY: (
        {StateType.RUNNING, StateType.CRASHED, StateType.PAUSED},
        "SCHEDULED",
        "AwaitingRetry",
    ),
    Move.PAUSE: ({StateType.RUNNING}, "PAUSED", "Paused"),
    Move.SUSPEND: ({StateType.RUNNING}, "PAUSED", "Suspended"),
    Move.GO_ON: ({StateType.PAUSED}, "RUNNING", "Resuming"),
    Move.ROLL_BACK: ({StateType.COMPLETED}, "COMPLETED", "RolledBack"),
    Move.CRASH: (set(StateType) - TERMINAL_STATES, "CRASHED", "Crashed"),
    Move.STOP: (set(StateType) - TERMINAL_STATES - {StateType.CANCELLING}, "CANCELLING", "Cancelling"),
    Move.CANCEL: (set(StateType) - TERMINAL_STATES | {StateType.CRASHED}, "CANCELLED", "Cancelled"),
}


def run_in(kind: StateType, at: int = 1_000_000) -> TaskRun:
    return TaskRun(bytes(16), "a run", State(kind, at=at), "task-key")


@pytest.mark.contract("E-76", "E-77", "E-94", "E-95", "E-96", "E-101", "E-102", "E-103", "E-105")
@pytest.mark.parametrize(
    ("kind", "move"),
    list(itertools.product(StateType, Move)),
    ids=lambda value: getattr(value, "name", value),
)
def test_every_cell_of_the_table(kind: StateType, move: Move) -> None:
    """A legal move leads to its one target; any other move is refused and names run, move and state."""
    sources, target, name = LEGAL[move]
    run = run_in(kind)
    if kind in sources:
        state = next_state(run, move, 2_000_000)
        assert (state.type, state.name, state.at) == (target, name, 2_000_000)
    else:
        with pytest.raises(IllegalTransition, match=rf"'a run'.*{move.name}.*{kind.value}"):
            next_state(run, move, 2_000_000)
    assert run.state.type is kind, "asking for the next state changes nothing"


def test_the_table_has_a_row_for_every_type() -> None:
    """No type of state is forgotten in the table."""
    assert set(MOVES) == set(StateType)


def test_next_state_carries_message_data_and_details() -> None:
    """What is known about a move is found again in the state it leads to."""
    error = ValueError("no")
    state = next_state(run_in(StateType.RUNNING), Move.FAIL, 5, "why", error, retriable=False)
    assert (state.message, state.data, state.state_details.retriable) == ("why", error, False)
    due = next_state(run_in(StateType.RUNNING), Move.AWAIT_RETRY, 5, scheduled_at=7_000_001)
    assert due.scheduled_at == 7_000_001


def test_a_move_without_data_has_none() -> None:
    """No result is told apart from the result None."""
    assert not next_state(run_in(StateType.RUNNING), Move.SUCCEED, 5).has_data
    assert next_state(run_in(StateType.RUNNING), Move.SUCCEED, 5, data=None).has_data


def test_going_on_after_a_pause_is_no_attempt() -> None:
    """The attempt that was paused goes on without being counted again; a resume after a pause is counted."""
    run = run_in(StateType.PENDING)
    for at, (kind, name) in enumerate(
        [("RUNNING", "Running"), ("PAUSED", "Paused"), ("RUNNING", "Resuming"), ("PAUSED", "Suspended")], 2
    ):
        enter(run, State(kind, name, at=at * 1_000_000))
    assert (run.run_count, run.run_time) == (1, 2_000_000)
    enter(run, State("RUNNING", at=9_000_000))
    assert run.run_count == 2


@pytest.mark.contract("V-1", "E-88", "E-114")
def test_every_entry_into_running_counts() -> None:
    """An attempt is counted when a RUNNING state is entered, first attempts and retries alike."""
    run = run_in(StateType.PENDING)
    counts = [run.run_count]
    for at, kind in enumerate(("RUNNING", "SCHEDULED", "RUNNING", "RUNNING", "COMPLETED"), start=2):
        enter(run, State(kind, at=at * 1_000_000))
        counts.append(run.run_count)
    assert counts == [0, 1, 1, 2, 3, 3]


@pytest.mark.contract("V-2", "E-89")
def test_run_time_is_the_sum_over_running_states() -> None:
    """Time spent waiting for a retry is no run time."""
    run = run_in(StateType.PENDING, at=0)
    for at, kind in ((10, "RUNNING"), (13, "SCHEDULED"), (50, "RUNNING"), (57, "RUNNING"), (60, "FAILED")):
        enter(run, State(kind, at=at))
    assert run.run_time == (13 - 10) + (57 - 50) + (60 - 57)


@pytest.mark.contract("E-110", "E-111", "V-2")
def test_start_and_end_are_those_of_the_first_running_and_the_final_state() -> None:
    """A later attempt does not move the start, a later final state does not move the end."""
    run = run_in(StateType.PENDING, at=1)
    for at, kind in ((10, "RUNNING"), (20, "RUNNING"), (30, "COMPLETED"), (40, "COMPLETED")):
        enter(run, State(kind, at=at))
    assert (run.started_at, run.ended_at, run.updated_at) == (10, 30, 40)


@pytest.mark.contract("E-113")
@pytest.mark.parametrize("kind", sorted(TERMINAL_STATES))
def test_a_run_that_never_ran_has_no_end(kind: StateType) -> None:
    """A final state without an attempt before it sets no end."""
    run = run_in(StateType.PENDING)
    enter(run, State(kind))
    assert run.ended_at is None


@pytest.mark.contract("W-32")
def test_running_again_forgets_the_old_end() -> None:
    """A run that is executed once more is not over while it runs, and ends anew."""
    run = run_in(StateType.PENDING, at=1)
    for at, kind in ((2, "RUNNING"), (3, "FAILED"), (4, "RUNNING")):
        enter(run, State(kind, at=at))
    assert run.ended_at is None
    enter(run, State("COMPLETED", at=9))
    assert (run.started_at, run.ended_at) == (2, 9)


@pytest.mark.contract("V-3")
@given(times=st.lists(st.integers(min_value=0, max_value=20), min_size=1, max_size=8))
def test_time_is_strictly_ordered(times: list[int]) -> None:
    """However the wall clock stands still or jumps back, each state is later than the one before it."""
    run = run_in(StateType.PENDING, at=10)
    entered = [run.state.at]
    for at in times:
        enter(run, State("RUNNING", at=at))
        entered.append(run.state.at)
    assert all(earlier < later for earlier, later in itertools.pairwise(entered))
    assert run.run_time == entered[-1] - entered[1]


@pytest.mark.contract("V-3")
def test_a_state_that_is_late_enough_keeps_its_time() -> None:
    """Only a state that would not be later is moved, and then by one microsecond past its predecessor."""
    run = run_in(StateType.PENDING, at=10)
    enter(run, State("RUNNING", at=11))
    assert run.state.at == 11
    enter(run, State("COMPLETED", at=11))
    assert run.state.at == 12


def test_no_delays_mean_at_once() -> None:
    """Without configured delays the delay of each retry is zero."""
    assert [retry_delay(RunPolicy("Task run", 3), retry, 0.5) for retry in range(3)] == [0, 0, 0]


@pytest.mark.contract("E-78")
@given(
    delays=st.lists(st.floats(0, 1e6), min_size=1, max_size=50),
    retry=st.integers(0, 200),
    random=st.floats(0, 1),
)
def test_the_last_delay_repeats(delays: list[float], retry: int, random: float) -> None:
    """Retry n waits for the n-th delay of the list, and for the last one after the list has ended."""
    policy = RunPolicy("Task run", 200, delays)
    assert retry_delay(policy, retry, random) == (delays[retry] if retry < len(delays) else delays[-1])


@pytest.mark.contract("W-11")
@given(
    delay=st.floats(0, 1e6),
    factor=st.floats(0, 10, exclude_min=True),
    random=st.floats(0, 1, exclude_max=True),
)
def test_jitter_stays_within_its_bounds(delay: float, factor: float, random: float) -> None:
    """A jitter factor j scales the delay to something between 1 - j and 1 + j times it, never below zero."""
    policy = RunPolicy("Task run", 1, [delay], retry_jitter_factor=factor)
    jittered = retry_delay(policy, 0, random)
    assert max(0, delay * (1 - factor)) <= jittered * (1 + 1e-9) + 1e-9
    assert jittered <= delay * (1 + factor) * (1 + 1e-9)


@pytest.mark.contract("W-11")
def test_jitter_is_driven_by_the_random_number() -> None:
    """The middle of the range leaves the delay alone; the ends reach the bounds."""
    policy = RunPolicy("Task run", 1, [10.0], retry_jitter_factor=0.5)
    assert [retry_delay(policy, 0, random) for random in (0.0, 0.5, 0.75)] == [5.0, 10.0, 12.5]
