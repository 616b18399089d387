"""Random trees of runs, of which a random one is cancelled at a random moment."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring import flow, get_client, task
from mainspring._cancel_scopes import live
from mainspring.exceptions import CancelledRun, NotCancellable
from mainspring.filters import ALL
from mainspring.runtime import flow_run, task_run
from mainspring.task_runners import ThreadPoolTaskRunner
from tests.engine.stopping import PATIENCE

INLINE = ("task", "flow", "async task")
ELSEWHERE = ("submitted task", "submitted async task", "background flow")


class Node(NamedTuple):
    """A run: what it is, for how many moments it works by itself, and what it calls or submits before that."""

    kind: str
    moments: int
    children: tuple[Node, ...] = ()


def nodes(children: st.SearchStrategy[tuple[Node, ...]]) -> st.SearchStrategy[Node]:
    return st.builds(Node, st.sampled_from(INLINE + ELSEWHERE), st.integers(0, 40), children)


TREES = st.recursive(
    nodes(st.just(())),
    lambda inner: nodes(st.lists(inner, max_size=3).map(tuple)),
    max_leaves=8,
)


class Journal:
    """What the code of the runs tells: who runs inside of whom, and when each has last been seen."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self.around: dict[str, str | None] = {}

    def beat(self, run_id: str) -> None:
        self.seen[run_id] = time.time_ns() // 1000

    def inside(self, run_id: str) -> list[str]:
        """The runs inside of one, itself included."""
        found = []
        for each in self.around:
            around: str | None = each
            while around is not None and around != run_id:
                around = self.around[around]
            if around is not None:
                found.append(each)
        return found


journal = Journal()


def begin(parent: str | None) -> str:
    run_id = str(task_run.id or flow_run.id)
    journal.around[run_id] = parent
    journal.beat(run_id)
    return run_id


def call_children(node: Node, run_id: str, kinds: tuple[str, ...]) -> list[Any]:
    futures = []
    for child in node.children:
        if child.kind in kinds:
            futures.append(SUBJECTS[child.kind].submit(child, run_id))
        elif child.kind != "async task":
            SUBJECTS[child.kind](child, run_id)
    return futures


def body(node: Node, parent: str | None) -> None:
    run_id = begin(parent)
    futures = call_children(node, run_id, (*ELSEWHERE, "async task"))
    for _ in range(node.moments):
        time.sleep(0.005)
        journal.beat(run_id)
    for future in futures:
        future.wait()


async def abody(node: Node, parent: str | None) -> None:
    run_id = begin(parent)
    futures = call_children(node, run_id, ELSEWHERE)
    coroutines = [
        SUBJECTS[child.kind](child, run_id) for child in node.children if child.kind == "async task"
    ]
    await asyncio.gather(*coroutines)
    for _ in range(node.moments):
        await asyncio.sleep(0.005)
        journal.beat(run_id)
    for future in futures:
        await future.wait_async()


model_task = task(body, name="model task")
model_async_task = task(abody, name="model async task")
model_flow = flow(body, name="model flow", task_runner=ThreadPoolTaskRunner(3))

SUBJECTS: dict[str, Any] = {
    "task": model_task,
    "submitted task": model_task,
    "async task": model_async_task,
    "submitted async task": model_async_task,
    "flow": model_flow,
    "background flow": model_flow,
}


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(tree=TREES, moment=st.floats(0.0, 0.4), choice=st.integers(0, 100))
def test_any_tree_at_any_moment(tree: Node, moment: float, choice: int) -> None:
    """Nothing inside goes on once a run is Cancelled; each has said so before; whatever is around may go on."""
    global journal
    journal = Journal()
    chosen: list[str] = []
    scopes = set(live)

    def cancel() -> None:
        time.sleep(moment)
        begun = list(journal.around)
        if not begun:
            return
        run_id = begun[choice % len(begun)]
        try:
            found = get_client().cancel_run(run_id, timeout=PATIENCE)
        except NotCancellable:
            return
        assert found.state.is_final()
        if found.state.is_cancelled():
            chosen.append(run_id)

    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        model_flow(tree._replace(kind="flow"), None)
    except CancelledRun:
        pass  # it was the flow itself, or one whose result it wanted
    finally:
        thread.join()
    assert set(live) <= scopes
    client = get_client()
    runs = {
        str(run.id): run for run in [*client.read_flow_runs(limit=ALL), *client.read_task_runs(limit=ALL)]
    }
    assert all(runs[each].state.is_final() for each in journal.around)
    if not chosen:
        return
    root = runs[chosen[0]]
    assert root.ended_at is not None
    for each in journal.inside(chosen[0]):
        run = runs[each]
        assert journal.seen[each] <= root.ended_at
        assert run.ended_at is not None
        assert run.ended_at <= root.ended_at
        assert run.state.name in {"Cancelled", "Completed", "RolledBack"}
    names = [state.name for state in client.store.read_states(root.key)]
    assert names == ["Pending", "Running", "Cancelling", "Cancelled"]
