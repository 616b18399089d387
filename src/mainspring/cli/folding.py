"""From the tree of a flow run to rows, of which one may stand for hundreds of siblings alike."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence

from mainspring.cli.trees import Node, RunTree
from mainspring.runs import Run
from mainspring.states import State

__all__ = ["FOLD_ABOVE", "Row", "tree_rows"]

FOLD_ABOVE = 200
"""Rows from which on siblings are folded."""

_KEPT_COMPLETED = 3  # groups of completed runs up to this size are not folded
_KEPT_OTHERS = 10  # of runs that did not complete, so many are shown in any case


class Row:
    """A run, or several siblings of the same task or flow that ended alike.

    Args:
        depth: How deep in the tree it is.
        nodes: The run, or the runs.
    """

    __slots__ = ("depth", "nodes")

    def __init__(self, depth: int, nodes: Sequence[Node]) -> None:
        self.depth = depth
        self.nodes = nodes

    @property
    def is_folded(self) -> bool:
        """True if it stands for several runs."""
        return len(self.nodes) > 1

    @property
    def runs(self) -> list[Run]:
        """The runs."""
        return [node.run for node in self.nodes]

    @property
    def state(self) -> State:
        """The state of the run, or of each of them."""
        return self.nodes[0].run.state

    def durations(self) -> list[int]:
        """Of those that began and ended, how long each took in microseconds, shortest first."""
        return sorted(
            run.ended_at - run.started_at
            for run in self.runs
            if run.started_at is not None and run.ended_at is not None
        )

    def spread(self) -> tuple[int, int, int] | None:
        """The shortest, median and longest duration, if any of them has one."""
        durations = self.durations()
        if not durations:
            return None
        return durations[0], round(statistics.median(durations)), durations[-1]


def tree_rows(tree: RunTree, full: bool) -> list[Row]:
    """The rows of a tree, parents before children; with ``full`` nothing is folded."""
    if full or sum(root.size() for root in tree.roots) <= FOLD_ABOVE:
        return list(_rows(tree.roots, 0, fold=False))
    return list(_rows(tree.roots, 0, fold=True))


def _rows(nodes: Sequence[Node], depth: int, fold: bool) -> Iterator[Row]:
    for row in _fold(nodes, depth) if fold else (Row(depth, [node]) for node in nodes):
        yield row
        if not row.is_folded:
            yield from _rows(row.nodes[0].children, depth + 1, fold)


def _fold(nodes: Sequence[Node], depth: int) -> Iterator[Row]:
    """The nodes in their order, those alike folded into the place of the first that is not shown by itself."""
    groups: defaultdict[tuple[str, bool, str], list[Node]] = defaultdict(list)
    for node in nodes:
        if node.run.state.is_final():
            groups[_likeness(node)].append(node)
    folded: dict[int, list[Node]] = {}
    for group in groups.values():
        completed = group[0].run.state.is_completed()
        kept = 0 if completed and len(group) > _KEPT_COMPLETED else _KEPT_OTHERS
        rest = group[kept:]
        if len(rest) > 1:
            folded[id(rest[0])] = rest
            folded.update((id(node), []) for node in rest[1:])
    for node in nodes:
        if alike := folded.get(id(node), [node]):
            yield Row(depth, alike)


def _likeness(node: Node) -> tuple[str, bool, str]:
    return node.label, node.subflow_run is not None, node.run.state.name
