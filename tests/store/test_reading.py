"""A large history is read by way of indexes: what every statement behind a list or a view of runs does is looked at."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mainspring.cli.listing import Selection, select_runs
from mainspring.cli.trees import RunTree
from mainspring.client import Client
from mainspring.runs import FlowRun
from mainspring.states import State, StateType
from mainspring.store.addresses import open_store
from mainspring.store.protocol import RunStore
from tests.store.histories import advance, finished_task_run, new_flow_run, new_task_run, record

TABLES = ("task_runs", "flow_runs", "states", "logs", "events", "r", "s", "l")
SINCE = datetime.now(UTC) - timedelta(days=1)


class Plans:
    """What SQLite does for each statement that a store reads with."""

    def __init__(self, store: RunStore, path: Path) -> None:
        self._path = path
        self._seen: list[str] = []
        store._reader.open().set_trace_callback(self._seen.append)  # type: ignore[attr-defined]

    def of(self, read: Callable[[], object]) -> dict[str, list[list[str]]]:
        """For each statement the steps of its queries: those inside of others have lists of their own."""
        self._seen.clear()
        read()
        plans: dict[str, list[list[str]]] = {}
        with closing(sqlite3.connect(self._path)) as db:
            for statement in dict.fromkeys(each for each in self._seen if each.startswith("SELECT")):
                queries: dict[int, list[str]] = {}
                for _, parent, _, step in db.execute(f"EXPLAIN QUERY PLAN {statement}"):
                    queries.setdefault(parent, []).append(step)
                plans[statement] = list(queries.values())
        assert plans
        return plans


def walks(query: list[str]) -> list[str]:
    """The steps that go through a whole table, or a whole index, instead of looking something up."""
    words = [(step, step.split()) for step in query]
    return [step for step, parts in words if parts[0] == "SCAN" and parts[1] in TABLES]


def sorts(query: list[str]) -> bool:
    """Whether all that is found has to be put in order."""
    return any("TEMP B-TREE FOR ORDER BY" in step for step in query)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    """A store with a flow run, a subflow run, task runs and a log."""
    with closing(open_store(tmp_path / "runs.db")) as store:
        yield store


@pytest.fixture
def client(store: RunStore) -> Client:
    return Client(store)


@pytest.fixture
def plans(store: RunStore, tmp_path: Path) -> Plans:
    return Plans(store, tmp_path / "runs.db")


@pytest.fixture
def flow_run(store: RunStore) -> FlowRun:
    run = new_flow_run()
    record(store, advance(run, State(StateType.RUNNING), State(StateType.COMPLETED)))
    stand_in = finished_task_run(store, run)
    record(store, advance(new_flow_run(parent_task_run_key=stand_in.key), State(StateType.RUNNING)))
    late = new_task_run(run)
    record(store, advance(late, State(StateType.RUNNING), State(StateType.FAILED, "TimedOut")))
    return run


FOUND_BY_INDEX: dict[str, Callable[[Client, FlowRun], object]] = {
    "a run": lambda client, run: client.store.read_run(run.key),
    "states of a run": lambda client, run: client.store.read_states(run.key),
    "logs of a flow run": lambda client, run: client.store.read_logs(run.key),
    "what ran in a flow run": lambda client, run: RunTree.read(client, run),
    "numbers of task runs": lambda client, run: client.count_task_runs([run.id]),
    "flow runs by type of state": lambda client, _: client.read_flow_runs(states=["failed"]),
    "task runs by type of state": lambda client, _: client.read_task_runs(states=["failed"]),
    "flow runs by name of state": lambda client, _: client.read_flow_runs(states=["TimedOut"]),
    "task runs by name of state": lambda client, _: client.read_task_runs(states=["TimedOut"]),
    "task runs by both": lambda client, _: client.read_task_runs(states=["crashed", "TimedOut"]),
    "filter by type of state": lambda client, _: client.read_task_runs(
        task_run_filter={"state": {"type": {"any_": ["FAILED", "CRASHED"]}}}
    ),
    "filter by name of state": lambda client, _: client.read_task_runs(
        task_run_filter={"state": {"name": {"any_": ["TimedOut"]}}}
    ),
    "filter by names of state": lambda client, _: client.read_flow_runs(
        flow_run_filter={"state": {"name": {"any_": ["TimedOut", "Late"]}}}
    ),
    "flow runs of a flow": lambda client, _: client.read_flow_runs(flow_filter={"name": {"any_": ["etl"]}}),
    "task runs of a flow": lambda client, _: client.read_task_runs(flow_filter={"name": {"any_": ["etl"]}}),
    "flow runs by name": lambda client, _: client.read_flow_runs(names=["calm-otter"]),
    "filter by name of flow run": lambda client, _: client.read_flow_runs(
        flow_run_filter={"name": {"any_": ["calm-otter"]}}
    ),
    "task runs of flow runs": lambda client, run: client.read_task_runs(flow_run_ids=[run.id, run.id]),
    "filter by flow run": lambda client, run: client.read_task_runs(
        task_run_filter={"flow_run_id": {"any_": [run.id]}}
    ),
    "subflow runs": lambda client, run: client.read_flow_runs(
        flow_run_filter={"parent_flow_run_id": {"any_": [run.id]}}
    ),
    "by id": lambda client, run: client.read_flow_runs(flow_run_filter={"id": {"any_": [run.id]}}),
    "task runs outside of flows": lambda client, _: client.read_task_runs(top_level=True),
}


@pytest.mark.parametrize("read", FOUND_BY_INDEX.values(), ids=FOUND_BY_INDEX)
def test_what_fits_is_looked_up(
    client: Client, plans: Plans, flow_run: FlowRun, read: Callable[[Client, FlowRun], object]
) -> None:
    """No run that does not fit is read, whatever the filter, and nothing but what fits is put in order."""
    for statement, queries in plans.of(lambda: read(client, flow_run)).items():
        assert not any(map(walks, queries)), f"{statement}\n{queries}"


IN_ORDER: dict[str, Callable[[Client], object]] = {
    "flow runs": lambda client: client.read_flow_runs(),
    "task runs": lambda client: client.read_task_runs(),
    "flow runs by end": lambda client: client.read_flow_runs(sort="END_TIME_DESC"),
    "flow runs by name": lambda client: client.read_flow_runs(sort="NAME_ASC"),
    "flow runs by name, backwards": lambda client: client.read_flow_runs(sort="NAME_DESC"),
    "flow runs by start": lambda client: client.read_flow_runs(sort="START_TIME_DESC"),
    "flow runs by end, in part": lambda client: client.read_flow_runs(top_level=True, sort="END_TIME_DESC"),
    "flow runs with a tag": lambda client: client.read_flow_runs(flow_run_filter={"tags": {"all_": ["a"]}}),
    "task runs with a tag": lambda client: client.read_task_runs(task_run_filter={"tags": {"all_": ["a"]}}),
    "task runs like this": lambda client: client.read_task_runs(task_run_filter={"name": {"like_": "a"}}),
    "task runs since": lambda client: client.read_task_runs(
        task_run_filter={"expected_start_time": {"after_": SINCE}}
    ),
    "flow runs since": lambda client: client.read_flow_runs(
        flow_run_filter={"expected_start_time": {"after_": SINCE}}
    ),
}


@pytest.mark.parametrize("read", IN_ORDER.values(), ids=IN_ORDER)
def test_rows_come_in_order_until_there_are_enough(
    client: Client, plans: Plans, flow_run: FlowRun, read: Callable[[Client], object]
) -> None:
    """What cannot be looked up is read in the order asked for, so reading ends with the last row that is shown."""
    for statement, queries in plans.of(lambda: read(client)).items():
        for query in queries:
            assert not (walks(query) and sorts(query)), f"{statement}\n{queries}"
        assert "LIMIT" in statement


SELECTIONS = [
    Selection(order=order, kind=kind, states=states, name=name, tags=tags, since=since)
    for order in ("created", "ended", "name")
    for kind in (None, "flow", "task")
    for states, name, tags, since in (
        (None, None, None, None),
        (["failed"], None, None, None),
        (["TimedOut", "crashed"], None, None, None),
        (None, "otter", None, None),
        (None, None, ["a", "b"], None),
        (None, None, None, "7d"),
        (["failed"], "otter", ["a"], "2026-07-01"),
    )
]


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_the_list_of_runs_reads_by_index(
    client: Client, plans: Plans, flow_run: FlowRun, selection: Selection
) -> None:
    """``runs ls`` never reads all runs to put them in order, whatever is asked for without --all."""
    for statement, queries in plans.of(lambda: select_runs(client, selection)).items():
        for query in queries:
            assert not (walks(query) and sorts(query)), f"{statement}\n{queries}"


def test_ends_of_ids_are_searched_for_in_the_smallest_index(
    client: Client, plans: Plans, flow_run: FlowRun
) -> None:
    """A shortened id takes a walk through an index that has all ids, and through no table."""
    for statement, queries in plans.of(lambda: client.find_run(flow_run.id.hex[-8:])).items():
        walked = [step for query in queries for step in walks(query)]
        assert all("USING COVERING INDEX" in step for step in walked), statement
