"""Reading runs, flows and log lines by filters, through the clients."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from mainspring import flow, get_client, task
from mainspring.events import events_of, subscribe
from mainspring.exceptions import ConfigurationError, ObjectNotFound
from mainspring.filters import (
    ALL,
    FlowRunFilter,
    FlowRunSort,
    LogFilter,
    LogSort,
    StateFilter,
    StateTypeFilter,
    TagsFilter,
    TaskRunFilter,
    TextFilter,
)
from mainspring.states import StateType
from tests.client.making import history, nightly, summary


@pytest.mark.contract("CL-11", "CL-20", "CL-33")
def test_filters_of_flow_runs() -> None:
    """Flow runs are found by name, tags, state, version, time and id, and all of them without a filter."""
    client = history()

    def names(**where: object) -> list[str]:
        return sorted(run.name.partition("-")[2][:1] for run in client.read_flow_runs(flow_run_filter=where))

    everything = client.read_flow_runs()
    assert len(everything) == 3
    (two,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=TextFilter(any_=["nightly-2"])))
    assert len(names(name={"like_": "NIGHT"})) == 2
    assert names(tags=TagsFilter(all_=["prod"])) == ["2"]
    assert len(names(tags={"is_null_": True})) == 2
    assert len(names(flow_version={"any_": ["7"]})) == 2
    assert len(names(state={"type": {"any_": ["completed"]}, "name": {"any_": ["Completed"]}})) == 3
    assert names(id={"any_": [two.id, str(uuid4())]}) == ["2"]
    assert len(names(id={"not_any_": [str(two.id)]})) == 2
    now = datetime.now(UTC)
    assert len(names(start_time={"before_": now, "after_": now - timedelta(hours=1)})) == 3
    assert names(start_time={"after_": (now + timedelta(hours=1)).isoformat()}) == []
    assert names(start_time={"is_null_": True}) == []


@pytest.mark.contract("CL-17", "CL-21")
def test_filters_of_task_runs() -> None:
    """Task runs are found by their own members, and by the flow run and the flow around them."""
    client = history()
    failed = TaskRunFilter(state=StateFilter(type=StateTypeFilter(any_=[StateType.FAILED])))
    (run,) = client.read_task_runs(task_run_filter=failed)
    assert run.state.message is not None
    assert "no page 3" in run.state.message
    assert len(client.read_task_runs(task_run_filter={"tags": {"all_": ["net"]}})) == 6
    assert len(client.read_task_runs(flow_run_filter={"name": {"any_": ["nightly-2"]}})) == 2
    assert len(client.read_task_runs(flow_filter={"name": {"any_": ["summary"]}})) == 1
    assert len(client.read_task_runs([run.flow_run_id or uuid4()], task_run_filter=failed)) == 1
    (around,) = client.read_flow_runs(task_run_filter=failed)
    assert around.id == run.flow_run_id


@pytest.mark.contract("CL-21")
def test_runs_of_subflows() -> None:
    """The stand-ins of subflow runs, and the subflow runs of a flow run, are found."""

    @flow
    def outer() -> str:
        return summary()

    outer()
    client = get_client()
    (top,) = client.read_flow_runs(top_level=True)
    (stand_in,) = client.read_task_runs(task_run_filter={"subflow_runs": {"exists_": True}})
    assert stand_in.flow_run_id == top.id
    (subflow,) = client.read_flow_runs(flow_run_filter={"parent_flow_run_id": {"any_": [top.id]}})
    assert subflow.parent_task_run_id == stand_in.id
    where = {"parent_task_run_id": {"is_null_": True}}
    assert [run.id for run in client.read_flow_runs(flow_run_filter=where)] == [top.id]


@pytest.mark.contract("CL-8")
def test_limit_and_offset() -> None:
    """Without a limit 200 come at most, and `ALL` gives all; an offset leaves out the first."""

    @task
    def nothing() -> None: ...

    for _ in range(205):
        nothing()
    client = get_client()
    assert len(client.read_task_runs()) == len(client.read_task_runs(limit=None)) == 200
    everything = client.read_task_runs(limit=ALL)
    assert len(everything) == 205
    page = client.read_task_runs(limit=10, offset=200)
    assert [run.id for run in page] == [run.id for run in everything[200:]]
    assert client.read_task_runs(limit=0) == []


@pytest.mark.contract("CL-22")
def test_orders() -> None:
    """An order is given as a member or by its name."""
    client = history()
    names = [run.name for run in client.read_flow_runs(sort=FlowRunSort.NAME_ASC)]
    assert names == sorted(names)
    assert [run.name for run in client.read_flow_runs(sort="name_desc")] == names[::-1]
    ends = [run.ended_at for run in client.read_task_runs(sort="END_TIME_DESC")]
    assert ends == sorted(ends, key=lambda end: end or 0, reverse=True)


@pytest.mark.contract("CL-9")
def test_flows() -> None:
    """A flow has an id that is made of its name, and is there from its first run or from when it was made known."""
    client = history()
    found = client.read_flows(sort="NAME_ASC")
    assert [each.name for each in found] == ["nightly", "summary"]
    assert client.read_flow(found[0].id) == client.read_flow_by_name("nightly") == found[0]
    assert client.create_flow(nightly) == client.create_flow_from_name("nightly") == found[0].id
    new = client.create_flow_from_name("new")
    assert client.create_flow_from_name("new") == new
    assert client.read_flow(str(new)).name == "new"
    assert [each.name for each in client.read_flows(flow_run_filter={"tags": {"all_": ["prod"]}})] == [
        "nightly"
    ]
    assert [
        each.name for each in client.read_flows(task_run_filter={"state": {"type": {"any_": ["FAILED"]}}})
    ] == ["nightly"]
    with pytest.raises(ObjectNotFound, match="no flow with the id"):
        client.read_flow(uuid4())
    with pytest.raises(ObjectNotFound, match="no flow named 'nope'"):
        client.read_flow_by_name("nope")


@pytest.mark.contract("CL-27")
def test_log_lines() -> None:
    """Lines are found by run, level and time, in both orders; an id stands for a run with all that is in it."""
    client = history()
    (run,) = client.read_flow_runs(names=["nightly-4"])
    pages = [line.message for line in client.read_logs(run.id) if line.level == logging.INFO]
    assert pages == [f"page {page}" for page in range(4)]
    where = LogFilter(flow_run_id={"any_": [run.id]}, level={"ge_": 40})  # type: ignore[arg-type]
    assert all(line.level >= logging.ERROR for line in client.read_logs(where))
    last = client.read_logs({"level": {"le_": 20}}, limit=1, sort=LogSort.TIMESTAMP_DESC)
    assert last == client.read_logs(run.id, limit=1, sort="TIMESTAMP_DESC") or len(last) == 1
    assert client.read_logs(run.id, limit=2, offset=1) == client.read_logs(run.id)[1:3]
    assert len(client.read_logs()) >= len(client.read_logs(run.id))
    assert client.read_logs(run.id)[0].flow_run_id == run.id


@pytest.mark.contract("CL-27")
def test_lines_are_created() -> None:
    """Lines are recorded from records and mappings; one that is none is refused, with all others."""
    summary()
    client = get_client()
    (run,) = client.read_flow_runs()
    client.create_logs(
        [
            {"message": "by hand", "flow_run_id": str(run.id), "level": 30, "name": "me"},
            {"message": "at noon", "timestamp": datetime(2026, 1, 1, 12, tzinfo=UTC)},
        ]
    )
    (line,) = [line for line in client.read_logs(run.id) if line.logger == "me"]
    assert (line.message, line.level, line.flow_run_id) == ("by hand", 30, run.id)
    (noon,) = client.read_logs({"timestamp": {"before_": "2026-01-01T12:00:00"}})
    assert noon.timestamp == datetime(2026, 1, 1, 12, tzinfo=UTC)
    client.create_logs([line])
    for bad, why in [
        ({"message": "x", "levle": 3}, "Did you mean 'level'"),
        ({"level": 3}, "message"),
        ({"message": 3}, "str"),
        ({"message": "x", "flow_run_id": "nope"}, "no log line"),
        (None, "no log line"),
    ]:
        before = len(client.read_logs(limit=ALL))
        with pytest.raises(ConfigurationError, match=why):
            client.create_logs([{"message": "good"}, bad])  # type: ignore[list-item]
        assert len(client.read_logs(limit=ALL)) == before


@pytest.mark.contract("CL-14", "CL-18", "CL-30")
def test_states_are_those_of_the_events() -> None:
    """The states of a run, oldest first, are those that its events have told of."""
    told: list[UUID] = []
    with subscribe(lambda event: told.append(event.id), prefix="mainspring."):
        summary()
    client = get_client()
    (flow_run,), (task_run,) = client.read_flow_runs(), client.read_task_runs()
    for run, states in (
        (flow_run, client.read_flow_run_states(flow_run.id)),
        (task_run, client.read_task_run_states(str(task_run.id))),
    ):
        assert [state.name for state in states] == ["Pending", "Running", "Completed"]
        assert [state.id for state in states] == [event.id for event in events_of(run, states)]
        assert {state.id for state in states} <= set(told)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"nmae": {}}, "no member 'nmae'. Did you mean 'name'"),
        ({"name": {"lik": "x"}}, "no member 'lik'. Did you mean 'like_'"),
        ({"xyz": 1}, "There are 'id', 'name'"),
        ({"name": "x"}, "cannot be 'x'"),
        ({"name": {"any_": "x"}}, "a list of texts"),
        ({"name": {"any_": [1]}}, "give text"),
        ({"id": {"any_": ["x"]}}, "ids, as UUID or text"),
        ({"state": {"type": {"any_": ["DONE"]}}}, "COMPLETED"),
        ({"start_time": {"before_": "yesterday"}}, "ISO 8601"),
        ({"start_time": {"is_null_": "no"}}, "True or False"),
        (["name"], "a FlowRunFilter, or a mapping"),
    ],
)
def test_bad_filters(given: object, why: str) -> None:
    """A filter with an unknown member or a value that cannot be one is refused, with what is meant or allowed."""
    with pytest.raises(ConfigurationError) as refused:
        get_client().read_flow_runs(flow_run_filter=given)  # type: ignore[arg-type]
    assert why in str(refused.value)


def test_bad_pages_and_orders() -> None:
    """A limit or offset that is no number of rows, and an unknown order, are refused."""
    client = get_client()
    for bad in (-1, True, 1.5, "3"):
        with pytest.raises(ConfigurationError, match="whole number"):
            client.read_flow_runs(limit=bad)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="whole number"):
            client.read_logs(offset=bad)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="START_TIME_ASC"):
        client.read_flow_runs(sort="newest")
    with pytest.raises(ConfigurationError, match="no order"):
        client.read_task_runs(sort="START_TIME_ASC")


@pytest.mark.parametrize("given", ["FAILED", b"FAILED", 5, [5]], ids=repr)
def test_short_forms_that_are_no_lists(given: Any) -> None:
    """One text in the place of several is refused, and not taken for its letters."""
    client = get_client()
    for name in ("states", "names"):
        for read in (client.read_flow_runs, client.read_task_runs):
            with pytest.raises(ConfigurationError, match=f"{name} cannot be .*: give a list of texts"):
                read(**{name: given})


@pytest.mark.parametrize("given", ["nope", "", 5, None], ids=repr)
def test_ids_that_are_none(given: Any) -> None:
    """What is no id is refused where one is taken, with what is meant."""
    client = get_client()
    for read in (client.read_flow_run, client.read_task_run, client.cancel_run, client.delete_flow_run):
        with pytest.raises(ConfigurationError, match="is no id: give a UUID"):
            read(given)


def test_one_id_in_the_place_of_several() -> None:
    """One id, where several are taken, is refused."""
    with pytest.raises(ConfigurationError, match=r"flow_run_ids cannot be .*: give a list of ids"):
        get_client().read_task_runs(flow_run_ids=uuid4())  # type: ignore[arg-type]


def test_async_reading() -> None:
    """The async client finds the same."""
    history()

    async def read() -> tuple[int, int, int]:
        client = get_client(sync_client=False)
        runs = await client.read_flow_runs(flow_run_filter={"tags": {"any_": ["prod"]}})
        lines = await client.read_logs({"flow_run_id": {"any_": [runs[0].id]}}, limit=1)
        return len(runs), len(await client.read_flows(limit=1)), len(lines)

    assert asyncio.run(read()) == (1, 1, 1)
