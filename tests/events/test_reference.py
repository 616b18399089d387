"""The reference of events lists what events have."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from mainspring._events.records import ID, NAME, ROLE
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.events import Event, emit_event, events_of
from mainspring.flows import Flow
from mainspring.runs import FlowRun, TaskRun
from mainspring.states import Completed, Pending, Running
from mainspring.tasks import Task
from tests.docs.pages import DOCS
from tests.events.listening import heard

PAGE = (DOCS / "reference" / "events.md").read_text(encoding="utf-8")


def rows(title: str) -> Iterator[list[str]]:
    """The cells of the table in a section, without its header."""
    section = re.split(r"^##+ .*\n", PAGE.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    for line in [line for line in section.splitlines() if line.startswith("|")][2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def first_cells(title: str) -> list[str]:
    """What stands in backticks in the first cells of a table."""
    return [name for row in rows(title) for name in re.findall(r"`([^`]+)`", row[0])]


FLOW_RUN = FlowRun(
    b"f" * 16, "run", Pending(), "pipeline", "v1", tags=["nightly"], parent_task_run_key=b"p" * 16
)
TASK_RUN = TaskRun(b"t" * 16, "run", Pending(), "load-abc", FLOW_RUN.key, ["big"], "v1")


def last_event(run: Any) -> Event:
    return events_of(run, [Pending(), Running(), Completed()], FLOW_RUN)[-1]


EVENTS = {"task-run": last_event(TASK_RUN), "flow-run": last_event(FLOW_RUN)}


def test_fields() -> None:
    """The page has every field of an event, in their order."""
    assert first_cells("Fields") == list(Event.__struct_fields__)


def test_labels() -> None:
    """The page has the labels that mean something in every resource."""
    assert first_cells("Labels of resources") == [ID, NAME, ROLE]


@pytest.mark.parametrize("kind", EVENTS)
def test_events_of_states(kind: str) -> None:
    """The page has the name, resource and payload of the events of each kind of run."""
    event = EVENTS[kind]
    (row,) = [row for row in rows("Events of states") if kind in row[0]]
    assert row[0] == f"`{event.event.replace('Completed', '<state name>')}`"
    assert re.fullmatch(row[2].strip("`").replace("<id>", r"[-0-9a-f]{36}"), event.resource.id)
    assert row[3].strip("`") == kind.replace("-", "_")
    assert row[3].strip("`") in event.payload


@pytest.mark.parametrize("kind", EVENTS)
def test_labels_of_the_run(kind: str) -> None:
    """The page has every label of the run that an event is about."""
    assert first_cells("Labels of the run") == list(EVENTS[kind].resource)


def test_payload() -> None:
    """The page has every field of the payload."""
    of_task, of_flow = (list(EVENTS[kind].payload) for kind in ("task-run", "flow-run"))
    assert first_cells("Payload") == [*of_task, of_flow[-1]]


@pytest.mark.parametrize(("title", "kind"), [("Task run", "task-run"), ("Flow run", "flow-run")])
def test_facts_about_the_run(title: str, kind: str) -> None:
    """The page has every fact about a run, in their order."""
    assert first_cells(title) == list(EVENTS[kind].payload[kind.replace("-", "_")])


def test_related_resources() -> None:
    """The page has the roles and ids of what is related, and for which events it is."""
    with (
        FlowRunContext(Flow(lambda: None, name="pipeline"), FLOW_RUN),
        TaskRunContext(Task(lambda: None), TASK_RUN),
        heard() as events,
    ):
        emit_event("x", {ID: "x"})
    columns = [EVENTS["task-run"], EVENTS["flow-run"], events[0]]
    for role, resource, *cells in rows("Related resources"):
        pattern = re.sub("<.+>", ".+", resource.strip("`"))
        for cell, event in zip(cells, columns, strict=True):
            found = event.resources_in_role.get(role.strip("`"), [])
            assert bool(found) == bool(cell), (role, event.event)
            assert all(re.fullmatch(pattern, each.id) for each in found)
    listed = {row[0].strip("`") for row in rows("Related resources")}
    assert {each.role for event in columns for each in event.related} == listed
