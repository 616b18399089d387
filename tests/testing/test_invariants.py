"""Each invariant notices the fault that it is about, and nothing else does: rows are forged one at a time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring import flow, task
from mainspring._core.transitions import MOVES, Move, enter, next_state
from mainspring.cache_policies import NO_CACHE
from mainspring.client import open_client
from mainspring.concurrency.sync import concurrency
from mainspring.recording import close_recorders, current_recorder
from mainspring.resumption import resume_flow_run
from mainspring.runs import FlowRun
from mainspring.runtime import flow_run
from mainspring.states import Pending, StateType
from mainspring.store import open_store
from mainspring.store.histories import History
from mainspring.store.protocol import Change
from mainspring.testing.rules import InvariantError, invariants, problems
from mainspring.testing.rules.facts import Facts
from mainspring.testing.rules.slots import Stay, crowds
from tests.store.forging import forge

SECOND = 1_000_000


@task(task_run_name="plain")
def plain() -> None: ...


@task(task_run_name="retried", retries=2)
def retried(failures: list[int]) -> None:
    if failures:
        raise ValueError(failures.pop())


@task(task_run_name="kept-{number}", persist_result=True, cache_policy=NO_CACHE)
def kept(number: int) -> int:
    return number


@flow(flow_run_name="inner", persist_result=True)
def inner() -> int:
    return kept(3)


@flow(flow_run_name="outer", persist_result=True)
def outer() -> list[int]:
    plain()
    retried([1])
    return [kept(1), kept.submit(2).result(), inner()]


def run_of(name: str, kind: str = "task") -> str:
    return f"(SELECT id FROM {kind}_runs WHERE name = '{name}')"


def states_of(name: str, kind: str = "task") -> str:
    return f"state_rows WHERE run_id = {run_of(name, kind)}"


def state(change: str, where: str, name: str = "plain", kind: str = "task") -> str:
    return f"UPDATE state_rows SET {change} WHERE run_id = {run_of(name, kind)} AND {where}"


def row(change: str, name: str = "plain", kind: str = "task") -> str:
    return f"UPDATE {kind}_runs SET {change} WHERE name = '{name}'"


DATA_OF_ONE = f"(SELECT data FROM states WHERE run_id = {run_of('kept-1')} AND type = 'COMPLETED')"

FAULTS: dict[str, tuple[list[str], str]] = {
    "a state is missing": (
        [state("position = 9", "position = 3")],
        "task run 'plain' (#) has states at the positions [1, 2, 9]; its states are Pending Running Completed",
    ),
    "all states are missing": ([f"DELETE FROM {states_of('plain')}"], "task run 'plain' (#) has no states"),
    "a run is missing": (
        ["DELETE FROM task_runs WHERE name = 'plain'"],
        "states are left of run #, which is not there",
    ),
    "it has no beginning": (
        [
            f"DELETE FROM {states_of('plain')} AND position = 1",
            state("position = position - 1", "position > 1"),
        ],
        "task run 'plain' (#) begins as Running",
    ),
    "a move that there is not": (
        [state("type = 'PAUSED', name = 'Suspended'", "position = 1")],
        "task run 'plain' (#) begins as Suspended",
    ),
    "a step that there is not": (
        [state("type = 'CANCELLED', name = 'Cancelled'", "position = 2", "retried")],
        "task run 'retried' (#) goes from Cancelled to Retrying, which is no way to go",
    ),
    "a task run begins again": (
        [
            "INSERT INTO state_rows (run_id, position, id, type, name, timestamp, attempt)"
            f" SELECT run_id, 4, run_id, 'RUNNING', 'Running', timestamp + 1, 2 FROM {states_of('plain')}"
            " AND position = 3"
        ],
        "task run 'plain' (#) goes from Completed to Running, which is no way to go",
    ),
    "it is rolled back twice": (
        [
            state("name = 'RolledBack'", "position = 3"),
            "INSERT INTO state_rows (run_id, position, id, type, name, timestamp, attempt)"
            f" SELECT run_id, 4, run_id, 'COMPLETED', 'RolledBack', timestamp + 1, 1 FROM {states_of('plain')}"
            " AND position = 3",
        ],
        "task run 'plain' (#) goes from RolledBack to RolledBack, which is no way to go",
    ),
    "a gap between attempts": (
        [state("attempt = 3", "name = 'Retrying'", "retried")],
        "task run 'retried' (#) is Retrying at 3 in attempt 3, which is number 2",
    ),
    "more attempts than there may be": (
        [row("empirical_policy = '{\"retries\": 0}'", "retried")],
        "task run 'retried' (#) was attempted 2 times, and may be 1 times",
    ),
    "time stands still": (
        [state("timestamp = (SELECT min(timestamp) FROM states)", "position = 3")],
        "task run 'plain' (#) enters Completed no later than Running before it",
    ),
    "a state is there twice": (
        [state(f"id = (SELECT id FROM {states_of('plain')} AND position = 2)", "position = 1")],
        "task run 'plain' (#) has a state twice",
    ),
    "it was created before": (
        [row(f"created = created + {SECOND}", "outer", "flow")],
        "task run 'plain' (#) was created before flow run 'outer' (#), inside of which it is",
    ),
    "it has started before": (
        [row(f"start_time = start_time + {SECOND}", "outer", "flow")],
        "task run 'plain' (#) has started before flow run 'outer' (#), inside of which it is",
    ),
    "it has ended after": (
        [row(f"end_time = end_time + {SECOND}")],
        "task run 'plain' (#) has ended after flow run 'outer' (#), inside of which it is",
    ),
    "it goes on after": (
        [row("state_type = 'RUNNING', state_name = 'Running'")],
        "task run 'plain' (#) is still Running after the end of flow run 'outer' (#), inside of which it is",
    ),
    "a subflow has ended after": (
        [row(f"end_time = end_time + {SECOND}", "inner", "flow")],
        "flow run 'inner' (#) has ended after task run ",
    ),
    "it is of an attempt that never was": (
        [row("flow_run_run_count = 7")],
        "task run 'plain' (#) is of attempt 7, which was not begun, of flow run 'outer' (#), inside of which it is",
    ),
    "it is inside of nothing": (
        ["DELETE FROM flow_runs WHERE name = 'outer'"],
        "task run 'plain' (#) is inside of run #, which is not there",
    ),
    "it is inside of a task": (
        [row(f"flow_run_id = {run_of('retried')}")],
        "task run 'plain' (#) belongs to a run that is none of a flow: task run 'retried' (#)",
    ),
    "a step was completed twice": (
        [state(f"data = {DATA_OF_ONE}", "type = 'COMPLETED'", "kept-2")],
        "have both completed the step kept at ",
    ),
    "the result of a crashed run is kept": (
        [row("state_type = 'CRASHED', state_name = 'Crashed'", "kept-1")],
        "task run 'kept-1' (#) is Crashed, and its result is kept at ",
    ),
    "the result of a run that was rolled back is kept": (
        [row("state_name = 'RolledBack'", "kept-1")],
        "task run 'kept-1' (#) is RolledBack, and its result is kept at ",
    ),
    "a transaction is undecided": (
        [
            "INSERT INTO staged (run_id, root_id, is_step)"
            f" VALUES ({run_of('kept-1')}, {run_of('outer', 'flow')}, 1)"
        ],
        "nothing was decided about task run 'kept-1' (#), though flow run 'outer' (#) has completed",
    ),
    "a transaction is not settled": (
        [
            "INSERT INTO settlements (id, root_id, decision, begun, plan)"
            " SELECT id, id, 'COMMIT', 0, id FROM flow_runs WHERE name = 'outer'"
        ],
        "a transaction is not settled, though flow run 'outer' (#) has completed",
    ),
    "a crash is still to be told of": (
        [f"INSERT INTO crash_hooks (run_id) VALUES ({run_of('plain')})"],
        "task run 'plain' (#) has completed, and its on_crashed hooks are still to be called",
    ),
    "it is not over": (
        [row("state_type = 'PENDING', state_name = 'Pending'", "outer", "flow")],
        "flow run 'outer' (#) is Pending though all is over",
    ),
}
COLUMNS = {
    "state_id": "id",
    "state_type": "'FAILED'",
    "state_name": "'Failed'",
    "run_count": "5",
    "updated": "updated + 1",
    "start_time": "NULL",
    "end_time": "NULL",
    "total_run_time": "total_run_time + 1",
}


def without_ids(problem: str) -> str:
    """A problem with # for the ids in it."""
    return re.sub(r"\b[0-9a-f]{8}\b", "#", problem)


@pytest.fixture
def sample() -> None:
    """A history with a bit of everything."""
    assert outer() == [1, 2, 3]


@pytest.mark.usefixtures("sample")
def test_all_is_well() -> None:
    """Nothing is wrong with what the engine has recorded."""
    invariants(results=True)
    assert problems(is_over=False) == problems(by_hand=True) == []


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_forged_row_is_noticed(fault: str) -> None:
    """A single row that cannot be is told of, with the run it is about."""
    statements, expected = FAULTS[fault]
    forge(*statements)
    found = [without_ids(problem) for problem in problems()]
    assert any(expected in problem for problem in found), found


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize("kind", ["FAILED", "CANCELLED"])
def test_what_is_no_success_may_be_kept(kind: str) -> None:
    """A run that has failed or was cancelled keeps its exception as another one its result."""
    forge(row(f"state_type = '{kind}', state_name = 'Other'", "kept-1"))
    assert not [problem for problem in problems() if "its result is kept at" in problem]


@pytest.mark.parametrize(
    ("retries", "attempt", "is_problem"), [(0, 1, False), (0, 2, True), (1, 1, True), (1, 2, True)]
)
def test_what_a_lost_attempt_has_left_may_end_later(retries: int, attempt: int, is_problem: bool) -> None:
    """It may be that of a process that was thought dead, and has died since; a retry waits for what was before."""

    @flow(flow_run_name="outer", persist_result=True, retries=retries)
    def twice() -> None:
        if flow_run.run_count == attempt:
            plain()
        if flow_run.run_count == 1:
            raise ValueError

    state = twice(return_state=True)
    if state.is_failed():
        resume_flow_run(state.state_details.flow_run_id, flow=twice)
    for change, problem in (
        (f"end_time = end_time + {SECOND}", "has ended after flow run 'outer'"),
        (
            "state_type = 'RUNNING', state_name = 'Running'",
            "is still Running after the end of flow run 'outer'",
        ),
    ):
        forge(row(change))
        assert any(problem in each for each in problems(is_over=False)) == is_problem


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize("column", COLUMNS)
def test_a_row_that_differs_from_its_states_is_noticed(column: str) -> None:
    """What the row of a run says is what its states come to."""
    forge(row(f"{column} = {COLUMNS[column]}"))
    (found,) = [problem for problem in problems() if f"has the {column} " in problem]
    assert without_ids(found).startswith(f"task run 'plain' (#) has the {column} ")


@pytest.mark.usefixtures("sample")
def test_all_that_is_wrong_is_raised_at_once() -> None:
    """The error says where, what, and what to look at."""
    forge(row("run_count = 0"), row("run_count = 0", "kept-1"))
    with pytest.raises(InvariantError) as caught:
        invariants()
    assert len(caught.value.problems) == 2
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    assert caught.value.where in str(caught.value)
    assert "mainspring runs show" in str(caught.value)
    assert isinstance(caught.value, AssertionError)


@pytest.mark.usefixtures("sample")
def test_by_address() -> None:
    """A store is checked by its address, also when this process has closed it."""
    forge(row("run_count = 0"))
    store = current_recorder().store
    address = store.url
    expected = problems(store)
    close_recorders()
    assert problems(address) == expected
    assert len(expected) == 1


@pytest.mark.usefixtures("sample")
def test_states_made_by_hand() -> None:
    """With states made by hand, any state may follow any other; all else counts as before."""
    forge(state("type = 'CANCELLED', name = 'Cancelled'", "position = 2", "retried"))
    assert any("no way to go" in problem for problem in problems())
    assert not any("no way to go" in problem for problem in problems(by_hand=True))
    forge(row("run_count = 0"))
    assert any("has the run_count 0" in problem for problem in problems(by_hand=True))


@pytest.mark.usefixtures("sample")
def test_what_goes_on_is_no_problem_unless_all_is_over() -> None:
    """A run that goes on is told of if nothing should go on any more."""
    name, change = "outer", "state_type = 'RUNNING', state_name = 'Running', end_time = NULL"
    newest = f"SELECT id FROM {states_of(name, 'flow')} AND name = 'Running'"
    moment = f"SELECT timestamp FROM {states_of(name, 'flow')} AND name = 'Running'"
    forge(
        row(f"{change}, state_id = ({newest}), updated = ({moment}), total_run_time = 0", name, "flow"),
        f"DELETE FROM results WHERE run_id = {run_of(name, 'flow')}",
        f"DELETE FROM {states_of(name, 'flow')} AND name = 'Completed'",
    )
    assert problems(is_over=False) == []
    assert [without_ids(problem) for problem in problems()] == [
        "flow run 'outer' (#) is Running though all is over"
    ]


@pytest.mark.usefixtures("sample")
def test_a_lost_result_is_noticed_if_results_are_loaded() -> None:
    """Whether a result can be had is found out by loading it, when that is wanted."""
    forge(f"DELETE FROM results WHERE run_id = {run_of('kept-1')}")
    assert problems() == []
    (found,) = problems(results=True)
    assert "task run 'kept-1'" in found
    assert "its result cannot be had: MissingResult" in found


# Limits


def limited(number: int = 1) -> None:
    """Two runs hold the one slot of a limit, and of one on a tag, one after the other."""
    current_recorder()  # which makes the store
    with open_client() as client:
        client.create_or_update_concurrency_limit("shelf", number)
        client.create_or_update_concurrency_limit("tag:heavy", number)

    @task(task_run_name="{name}", tags=["heavy"])
    def work(name: str) -> None:
        with concurrency("shelf"):
            pass

    work("first")
    work("second")
    current_recorder().flush()


OF_FIRST = f"task_run_id = {run_of('first')} AND event = 'mainspring.concurrency-limit.released'"


def test_limits_that_are_kept() -> None:
    """Slots that go from one to the next are well."""
    limited()
    assert problems() == []


def test_events_that_overlap_are_noticed() -> None:
    """From the events of a limit it is told who had slots at each instant."""
    limited()
    forge(f"UPDATE events SET occurred = occurred + {SECOND} WHERE {OF_FIRST}")
    found = [without_ids(problem) for problem in problems()]
    assert any(
        problem.startswith("2 slots of shelf were taken at ")
        and problem.endswith("and there were 1: by task run 'first' (#), task run 'second' (#)")
        for problem in found
    ), found


def test_tagged_runs_that_overlap_are_noticed() -> None:
    """Task runs with a tag are Running at the same time only as far as its limit lets them."""
    limited()
    forge("DELETE FROM events", state(f"timestamp = timestamp + {SECOND}", "position = 3", "first"))
    assert any(problem.startswith("2 slots of tag:heavy were taken at ") for problem in problems())


def test_an_earlier_number_of_slots_is_no_problem() -> None:
    """Who came while a limit was higher is not measured by what it is now."""
    limited(2)
    forge(
        f"UPDATE events SET occurred = occurred + {SECOND} WHERE {OF_FIRST}",
        state(f"timestamp = timestamp + {SECOND}", "position = 3", "first"),
    )
    with open_client() as client:
        client.create_or_update_concurrency_limit("shelf", 1)
        client.create_or_update_concurrency_limit("tag:heavy", 1)
    assert not [problem for problem in problems() if "slots" in problem]


def hold(name: str, slots: int, acquired: str) -> str:
    return (
        "INSERT INTO slots (lease_id, limit_id, slots, holder_type, holder_id, requested, acquired, lease_expires)"
        f" SELECT id, id, {slots}, 'task_run', {run_of(name)}, updated, {acquired}, updated + {3600 * SECOND}"
        " FROM concurrency_limits WHERE name = 'shelf'"
    )


def test_too_many_slots_are_held() -> None:
    """More slots than there are cannot be held now."""
    limited()
    forge(hold("first", 2, "updated"))
    assert "2 slots of shelf are held, and there are 1" in problems(is_over=False)


@pytest.mark.parametrize(("acquired", "doing"), [("updated", "holds"), ("NULL", "waits for")])
def test_slots_of_a_run_that_is_over_are_noticed(acquired: str, doing: str) -> None:
    """A run that is over neither holds slots nor waits for some."""
    limited()
    forge(hold("first", 1, acquired))
    assert problems(is_over=False) == []
    assert [without_ids(problem) for problem in problems()] == [
        f"task run 'first' (#) is over, and {doing} slots of shelf"
    ]


Stays = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 6), st.integers(1, 3)).map(
        lambda each: Stay(each[0], each[0] + each[1], each[2], 3, None)
    ),
    max_size=8,
)


@given(Stays)
def test_crowds_are_found_as_by_counting(stays: list[Stay]) -> None:
    """A crowd is found exactly if at some instant more slots are taken than there are."""
    instants = [stay.begin for stay in stays]
    taken = [sum(stay.slots for stay in stays if stay.begin <= now < stay.end) for now in instants]
    facts = Facts(History([], [], [], [], [], [], frozenset(), [], [], []))
    assert bool(list(crowds(facts, "shelf", stays))) == (max(taken, default=0) > 3)


# Any history that the table of moves allows


class Walk:
    """A flow run that makes moves."""

    def __init__(self) -> None:
        self.at = SECOND
        self.run = FlowRun(b"r" * 16, "walk", Pending(), "walk")
        self.run.state.at = self.at
        self.run.created_at = self.run.updated_at = self.run.expected_start_at = self.at
        self.states = [self.run.state]

    def moves(self) -> list[Move]:
        kind = self.run.state.type
        return [] if kind is StateType.COMPLETED else sorted(MOVES[kind], key=lambda move: move.name)

    def make(self, move: Move) -> None:
        self.at += 7
        state = next_state(self.run, move, self.at)
        enter(self.run, state)
        self.states.append(state)


@given(st.data())
def test_any_way_along_the_moves_is_well(data: st.DataObject) -> None:
    """Whatever the state machine allows a flow run is legal, and any state left out of it is noticed."""
    walk = Walk()
    for _ in range(data.draw(st.integers(1, 12), "length")):
        moves = walk.moves()
        if not moves:
            break
        walk.make(data.draw(st.sampled_from(moves), "move"))
    store = open_store("sqlite://")
    try:
        assert store.write([Change(walk.run, walk.states, None)]) == []
        assert problems(store, is_over=False) == []
        gone = data.draw(st.integers(1, len(walk.states)), "gone")
        forge(f"DELETE FROM state_rows WHERE position = {gone}", store=store)
        assert problems(store, is_over=False) != []
    finally:
        store.close()
