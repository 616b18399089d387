"""A flow run with everything that ran inside of it, as a tree.

Tasks hang below the tasks that called them, subflow runs take the place of the task runs that stand for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from mainspring.cli.histories import NO_RUNS
from mainspring.client import Client
from mainspring.exceptions import ObjectNotFound
from mainspring.runs import FlowRun, Run, TaskRun, TaskRunResult
from mainspring.store.protocol import RunFilter

__all__ = ["Node", "RunTree", "find_run"]


class Node:
    """A task run, with the subflow run that it stands for, if it does, and what ran inside of it, oldest first."""

    __slots__ = ("children", "subflow_run", "task_run")

    def __init__(self, task_run: TaskRun) -> None:
        self.task_run = task_run
        self.subflow_run: FlowRun | None = None
        self.children: list[Node] = []

    @property
    def run(self) -> Run:
        """What is shown of it: the subflow run rather than the task run that stands for it."""
        return self.subflow_run or self.task_run

    @property
    def label(self) -> str:
        """What its siblings of the same kind share: the name of the task or flow."""
        if self.subflow_run is not None:
            return self.subflow_run.flow_name
        return self.task_run.task_key.rpartition("-")[0] or self.task_run.task_key

    def size(self) -> int:
        """How many nodes there are, itself included."""
        return 1 + sum(child.size() for child in self.children)


class RunTree:
    """A flow run and what ran inside of it.

    Args:
        flow_runs: The flow run, then the subflow runs in it, at any depth.
        task_runs: The task runs of all of them, oldest first.
    """

    def __init__(self, flow_runs: list[FlowRun], task_runs: list[TaskRun]) -> None:
        self.flow_runs = flow_runs
        self.task_runs = task_runs
        self.roots = self._grow()

    @classmethod
    def read(cls, client: Client, flow_run: FlowRun) -> RunTree:
        """The tree of a flow run, read level by level.

        Raises:
            StoreError: The run store cannot be read.
        """
        flow_runs: list[FlowRun] = [flow_run]
        task_runs: list[TaskRun] = []
        level = [flow_run.key]
        while level:
            where = RunFilter(flow_run_keys=level)
            task_runs += client.store.read_task_runs(where)
            subflow_runs = client.store.read_flow_runs(where)
            flow_runs += subflow_runs
            level = [each.key for each in subflow_runs]
        return cls(flow_runs, sorted(task_runs, key=lambda run: run.key))

    def _grow(self) -> list[Node]:
        nodes = {run.key: Node(run) for run in self.task_runs}
        top: defaultdict[bytes, list[Node]] = defaultdict(list)  # by flow run, what no task run called
        for node in nodes.values():
            caller = nodes.get(_caller(node.task_run) or b"")
            if caller is not None:
                caller.children.append(node)
            else:
                top[node.task_run.flow_run_key or b""].append(node)
        for flow_run in self.flow_runs[1:]:
            stand_in = nodes.get(flow_run.parent_task_run_key or b"")
            if stand_in is not None:
                stand_in.subflow_run = flow_run
                stand_in.children += top.pop(flow_run.key, [])
        return top.get(self.flow_runs[0].key, [])

    def walk(self) -> Iterator[Node]:
        """All nodes, parents before children."""
        waiting = list(reversed(self.roots))
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.children)


def _caller(run: TaskRun) -> bytes | None:
    """The id of the task run that called this one, if one did."""
    for each in run.task_inputs.get("__parents__", ()):
        if isinstance(each, TaskRunResult):
            return each.id.bytes
    return None


def find_run(client: Client | None, text: str) -> FlowRun | TaskRun:
    """The run whose id begins or ends with ``text``.

    Raises:
        ObjectNotFound: There is none, perhaps because there are no runs at all.
        AmbiguousId: There are several.
    """
    if client is None:
        raise ObjectNotFound(NO_RUNS)
    return client.find_run(text)
