"""Circles of waiting: what can never go on is found, and nothing else is."""

from itertools import pairwise, product

from hypothesis import given
from hypothesis import strategies as st

from mainspring._core.circles import Needs, find_circle

Graph = dict[int, Needs]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Up to seven nodes that need all or any of some others, of themselves too, and more than once."""
    size = draw(st.integers(1, 7))
    others = st.lists(st.integers(0, size - 1), max_size=4)
    return {node: Needs(draw(others), draw(st.booleans())) for node in range(size)}


def stuck(graph: Graph) -> set[int]:
    """By brute force: who is not over in any order in which everybody who can goes on."""
    over: set[int] = set()
    for _ in graph:
        for node, (of, any_of) in graph.items():
            if not of or (
                any(other in over for other in of) if any_of else all(other in over for other in of)
            ):
                over.add(node)
    return set(graph) - over


def shortest_circle(graph: Graph, start: int, among: set[int]) -> int:
    """By brute force: the length of the shortest way from a node to itself through stuck ones; 0 if there is none."""
    for length in range(1, len(graph) + 1):
        for middle in product(among, repeat=length - 1):
            way = (start, *middle, start)
            if all(after in graph[before].of for before, after in pairwise(way)):
                return length
    return 0


@given(graphs())
def test_circles_are_those_that_never_end(graph: Graph) -> None:
    """A node is told of a circle if and only if it is in one of nodes that can never go on, and of a shortest one."""
    never = stuck(graph)
    for start in graph:
        circle = find_circle(start, graph.__getitem__)
        assert len(circle) == (shortest_circle(graph, start, never) if start in never else 0)
        assert set(circle) <= never
        if circle:
            assert circle[0] == start
            assert all(
                after in graph[before].of for before, after in zip(circle, [*circle[1:], start], strict=True)
            )


@given(graphs(), st.data())
def test_a_node_that_goes_on_frees_no_fewer(graph: Graph, data: st.DataObject) -> None:
    """Whoever needs less than before never gets others into a circle."""
    node = data.draw(st.sampled_from(sorted(graph)))
    freed = {**graph, node: Needs()}
    for start in graph:
        if not find_circle(start, graph.__getitem__):
            assert not find_circle(start, freed.__getitem__)


@given(graphs())
def test_every_deadlock_has_somebody_who_is_told(graph: Graph) -> None:
    """If anybody can never go on, at least one node finds a circle that it is in."""
    told = [start for start in graph if find_circle(start, graph.__getitem__)]
    assert bool(told) == bool(stuck(graph))


@given(graphs())
def test_only_what_a_node_depends_on_is_asked(graph: Graph) -> None:
    """Each node that the first one depends on is asked once, and no other."""
    asked: list[int] = []

    def needs(node: int) -> Needs:
        asked.append(node)
        return graph[node]

    find_circle(0, needs)
    reachable, front = {0}, [0]
    while front:
        for other in graph[front.pop()].of:
            if other not in reachable:
                reachable.add(other)
                front.append(other)
    assert sorted(asked) == sorted(reachable)


def test_a_long_circle() -> None:
    """Ten thousand members are no problem of depth."""
    size = 10_000
    assert len(find_circle(0, lambda node: Needs([(node + 1) % size]))) == size
