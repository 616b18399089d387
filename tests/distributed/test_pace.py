"""How many runs of a task go to a cluster together, and when the next parcel waits for more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring._clusters.pace import (
    AHEAD,
    KNOWN_AFTER,
    LONG_SECONDS,
    MOST,
    SHARES,
    SHORT_SECONDS,
    TOGETHER_SECONDS,
    Pace,
)

PLENTY = 100_000


class Task:
    """Stands for a task: anything that can be a key and be referred to weakly."""


def pace_of(task: Task, *seconds: float) -> Pace:
    """A pace that knows runs which took so long."""
    pace = Pace()
    for each in seconds:
        pace.note(task, each)
    return pace


@given(st.lists(st.floats(0, 10), max_size=30), st.integers(1, PLENTY), st.integers(1, 1000))
def test_takes_at_least_one_and_no_more_than_wait(seconds: list[float], waiting: int, slots: int) -> None:
    """Whatever is known, a parcel has a run, and no more than wait or than the limit."""
    task = Task()
    assert 1 <= pace_of(task, *seconds).size(task, waiting, slots) <= min(waiting, MOST)


@given(st.lists(st.floats(0, LONG_SECONDS), max_size=KNOWN_AFTER - 1))
def test_an_unknown_task_goes_alone(seconds: list[float]) -> None:
    """Nothing is concluded from a few runs."""
    task = Task()
    assert pace_of(task, *seconds).size(task, PLENTY, 1) == 1


@given(st.lists(st.floats(0, LONG_SECONDS / 2), min_size=KNOWN_AFTER), st.floats(LONG_SECONDS * 1.01, 100))
def test_a_long_run_makes_a_task_long(seconds: list[float], long: float) -> None:
    """After a run that was long, the next one goes alone, however many short ones there were."""
    task = Task()
    assert pace_of(task, *seconds, long).size(task, PLENTY, 1) == 1


@given(st.floats(0, LONG_SECONDS), st.integers(1, PLENTY), st.integers(1, 1000))
def test_runs_of_a_parcel_take_a_moment(seconds: float, waiting: int, slots: int) -> None:
    """Runs that go together are over in about the time that is meant for it."""
    task = Task()
    size = pace_of(task, *[seconds] * KNOWN_AFTER).size(task, waiting, slots)
    assert size == 1 or size * seconds <= TOGETHER_SECONDS


@given(st.integers(1, PLENTY), st.integers(1, 100))
def test_every_slot_gets_its_share(waiting: int, slots: int) -> None:
    """What waits is enough for some parcels for each slot, unless there are fewer runs than that."""
    task = Task()
    size = pace_of(task, *[0.0] * KNOWN_AFTER).size(task, waiting, slots)
    assert size == 1 or (size - 1) * SHARES * slots < waiting


def test_a_long_run_is_forgotten() -> None:
    """A task that was slow once goes together again after many short runs."""
    task = Task()
    pace = pace_of(task, 2 * LONG_SECONDS, *[0.0] * 100)
    assert pace.size(task, PLENTY, 1) > 1


def test_tasks_are_told_apart() -> None:
    """What is known of one task says nothing of another."""
    short, other = Task(), Task()
    pace = pace_of(short, *[0.0] * KNOWN_AFTER)
    assert pace.size(short, PLENTY, 1) > 1
    assert pace.size(other, PLENTY, 1) == 1


@given(st.integers(0, 10_000), st.integers(1, 1000))
def test_nothing_waits_while_the_cluster_may_be_idle(unanswered: int, slots: int) -> None:
    """A parcel of a short task is held back only if there are some others for each slot."""
    task = Task()
    pace = pace_of(task, *[0.0] * KNOWN_AFTER)
    pace.sent(task, 0.0)
    assert (pace.hold(task, unanswered, slots, 0.0) > 0) == (unanswered >= AHEAD * slots)


def test_a_task_that_was_never_sent_does_not_wait() -> None:
    """The first parcel of a task goes at once, whatever the cluster has to do."""
    assert Pace().hold(Task(), PLENTY, 1, 0.0) == 0


def test_a_long_task_does_not_wait() -> None:
    """Nothing is gained from waiting for more runs that go alone."""
    task = Task()
    pace = pace_of(task, LONG_SECONDS * 2)
    pace.sent(task, 0.0)
    assert pace.hold(task, PLENTY, 1, 0.0) == 0


@given(st.integers(1, 100), st.integers(0, 5))
def test_more_and_more_runs_of_an_unknown_task_go(slots: int, periods: int) -> None:
    """As long as there is no answer, twice as many parcels may be on the cluster after each moment."""
    task = Task()
    pace = Pace()
    now = 100.0
    pace.sent(task, now)
    sent = 1
    for _ in range(periods + 1):
        while not (held := pace.hold(task, sent, slots, now)):
            pace.sent(task, now)
            sent += 1
        now += held + 1e-6
    assert sent == AHEAD * slots * 2**periods


def test_short_runs_are_held_back_once_for_each_parcel() -> None:
    """A parcel of a short task waits for a moment after the last one, and not longer."""
    task = Task()
    pace = pace_of(task, *[0.0] * KNOWN_AFTER)
    pace.sent(task, 100.0)
    pace.sent(task, 200.0)
    assert pace.hold(task, PLENTY, 1, 200.0) == pytest.approx(SHORT_SECONDS)
    assert pace.hold(task, PLENTY, 1, 200.0 + SHORT_SECONDS) == 0
