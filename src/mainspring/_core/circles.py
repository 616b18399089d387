"""Circles of waiting: who can never go on because everybody it waits for waits for it.

Waiting is a graph. A node goes on by itself, or needs others: all of them, or any of them. Whatever can go on in the
end is found from those that go on by themselves; what is left never can, and in there is a circle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeVar, cast

__all__ = ["Needs", "find_circle"]

N = TypeVar("N", bound=Hashable)


class Needs(NamedTuple):
    """What a node needs before it goes on.

    Args:
        of: Other nodes; empty if it goes on by itself.
        any_of: One of them is enough.
    """

    of: Sequence[Hashable] = ()
    any_of: bool = False


def find_circle(start: N, needs: Callable[[N], Needs]) -> list[N]:
    """The shortest circle through ``start`` of nodes that can never go on; empty if it can, or is in no circle.

    Args:
        start: The node that wants to know.
        needs: What a node needs; asked once for each node that ``start`` depends on.
    """
    graph: dict[N, Needs] = {}
    front = [start]
    while front:
        node = front.pop()
        if node not in graph:
            graph[node] = found = needs(node)
            front.extend(cast(Sequence[N], found.of))
    stuck = _stuck(graph)
    if start not in stuck:
        return []
    before: dict[N, N] = {}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for other in cast(Sequence[N], graph[node].of):
            if other == start:
                return _path(before, start, node)
            if other in stuck and other not in before:
                before[other] = node
                queue.append(other)
    return []


def _stuck(graph: dict[N, Needs]) -> set[N]:
    """The nodes that can never go on."""
    missing = {node: 1 if needs.any_of else len(set(needs.of)) for node, needs in graph.items()}
    needed_by: dict[Hashable, list[N]] = {}
    for node, needs in graph.items():
        for other in set(needs.of):
            needed_by.setdefault(other, []).append(node)
    stuck = set(graph)
    front = [node for node, needs in graph.items() if not needs.of]
    stuck.difference_update(front)
    while front:
        for node in needed_by.get(front.pop(), ()):
            missing[node] -= 1
            if node in stuck and missing[node] <= 0:
                stuck.discard(node)
                front.append(node)
    return stuck


def _path(before: dict[N, N], start: N, end: N) -> list[N]:
    path = [end]
    while path[-1] != start:
        path.append(before[path[-1]])
    return path[::-1]
