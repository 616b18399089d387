"""What many runs leave behind in the process, and what makes engines quick: nothing that shows."""

import gc
from uuid import uuid4

import pytest

from mainspring import flow, task
from mainspring._core.lineage import BATCH
from mainspring.context import FlowRunContext
from mainspring.flow_engine import FlowRunEngine
from mainspring.runs import FlowRun, TaskRun
from mainspring.states import Pending
from mainspring.task_engine import SyncTaskRunEngine


@task
def pair(number: int) -> list[int]:
    return [number, number + 1]


@pytest.mark.contract("W-17", "V-22")
def test_results_that_are_thrown_away_are_let_go() -> None:
    """However many runs a flow run has, what they returned does not pile up in it."""

    @flow
    def many() -> tuple[int, int, int]:
        def objects_after(runs: int) -> int:
            for number in range(runs):
                pair(1_000 + number)
            gc.collect()
            return len(gc.get_objects())

        context = FlowRunContext.get()
        assert context is not None
        return objects_after(1_000), objects_after(3_000), len(context.run_results)

    before, after, known = many()
    assert known <= 2 * BATCH
    assert after - before < 2 * BATCH  # far less than one object for each of the runs in between


def test_engines_know_their_run_by_two_names() -> None:
    """Whoever sets one of the names of the run or its function changes both."""
    run = TaskRun(uuid4().bytes, "a run", Pending(), "key")
    engine = SyncTaskRunEngine(task=pair)
    assert (engine.subject, engine.run) == (pair, None)
    engine.task_run = run
    assert engine.run is run

    @flow
    def other() -> None: ...

    flow_run = FlowRun(uuid4().bytes, "a run", Pending(), "other")
    flow_engine = FlowRunEngine(other, flow_run=flow_run)
    assert (flow_engine.subject, flow_engine.run) == (other, flow_run)
    flow_engine.flow_run = None
    assert flow_engine.run is None
