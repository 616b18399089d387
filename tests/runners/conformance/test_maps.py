"""Maps: what is split, how many, and how far an iterator is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainspring import allow_failure, tags, unmapped
from mainspring.exceptions import MappingLengthMismatch, MappingMissingIterable
from mainspring.futures import as_completed
from mainspring.task_runners import TaskRunner
from tests.engine.history import query, task_runs
from tests.runners.conformance import tasks
from tests.runners.conformance.tasks import LIMIT, settled

Runner = TaskRunner[Any]


def results(futures: Any) -> Any:
    return futures.result(timeout=3 * LIMIT)


@pytest.mark.contract("TR-7", "TR-8", "TR-9", "TR-29")
def test_what_is_split(pool: Runner) -> None:
    """Iterables and futures of such are, what is unmapped is not, and futures among the elements are resolved."""
    numbers = pool.submit(tasks.echo, {"value": [1, 2, 3]})
    assert results(pool.map(tasks.add, {"x": numbers, "y": numbers})) == [2, 4, 6]
    assert results(pool.map(tasks.add, {"x": [1, 2], "y": unmapped(5)})) == [6, 7]
    assert results(pool.map(tasks.add, {"x": [[1], [2]], "y": unmapped([0])})) == [[1, 0], [2, 0]]
    first = pool.submit(tasks.echo, {"value": 1})
    assert results(pool.map(tasks.add, {"x": [first, 2], "y": 5})) == [6, 7]
    assert results(pool.map(tasks.add, {"x": [1]})) == [2]


@pytest.mark.contract("TR-7")
def test_a_map_over_the_futures_of_a_map(pool: Runner) -> None:
    """Each run takes the result of one of the runs before."""
    assert results(pool.map(tasks.add, {"x": pool.map(tasks.add, {"x": [1, 2, 3]})})) == [3, 4, 5]
    assert len(task_runs()) == 6


@pytest.mark.contract("TR-10")
def test_what_cannot_be_mapped(pool: Runner) -> None:
    """Nothing to split, and lengths that differ, are refused before anything begins; nothing gives nothing."""
    with pytest.raises(MappingMissingIterable):
        pool.map(tasks.add, {"x": 1})
    with pytest.raises(MappingLengthMismatch, match=r"'x': 1.*'y': 2"):
        pool.map(tasks.add, {"x": [1], "y": [1, 2]})
    with pytest.raises(ValueError, match="max_in_flight"):
        pool.map(tasks.add, {"x": [1]}, max_in_flight=0)
    assert list(pool.map(tasks.add, {"x": []})) == []
    assert task_runs() == []


@pytest.mark.contract("T-45")
def test_an_element_that_fails(pool: Runner) -> None:
    """The others complete; those who take all of them are NotReady, unless they allow it."""
    futures = pool.map(tasks.add, {"x": [1, "two", 3]})
    assert [settled(future) for future in futures] == ["Completed", "Failed", "Completed"]
    assert settled(pool.submit(tasks.echo, {"value": futures})) == "NotReady"
    given = pool.submit(tasks.echo, {"value": allow_failure(list(futures))}).result(timeout=3 * LIMIT)
    assert [type(each) for each in given] == [int, TypeError, int]
    with pytest.raises(TypeError):
        results(futures)


@pytest.mark.contract("TR-36")
def test_a_thousand_elements(pool: Runner) -> None:
    """Each is run once and recorded once, and the results have the order of the elements."""
    assert results(pool.map(tasks.add, {"x": range(1000)})) == list(range(1, 1001))
    assert query("SELECT count(*), count(DISTINCT id) FROM task_runs") == [(1000, 1000)]
    assert query("SELECT DISTINCT state_name, run_count FROM task_runs") == [("Completed", 1)]


@pytest.mark.contract("TR-12", "TR-36")
@pytest.mark.parametrize("way", ["list", "results", "completed"])
def test_an_iterator_is_not_read_ahead(pool: Runner, way: str) -> None:
    """No more is taken than may be under way, and each element is run once."""
    taken = seen = 0

    def numbers() -> Iterator[int]:
        nonlocal taken
        for number in range(40):
            taken += 1
            yield number

    found = []
    futures = pool.map(tasks.add, {"x": numbers()}, max_in_flight=4)
    assert taken <= 4
    if way == "results":
        for number in futures.results():
            found.append(number)
            seen += 1
            assert taken <= seen + 4
    elif way == "completed":
        for future in as_completed(futures):
            found.append(future.result())
            seen += 1
            assert taken <= seen + 4
    else:
        found = results(futures)
    assert (taken, sorted(found)) == (40, list(range(1, 41)))
    assert len(task_runs()) == 40


@pytest.mark.contract("TR-12")
def test_no_more_are_under_way_than_allowed(pool: Runner, tmp_path: Path) -> None:
    """One at a time means that each ends before the next begins, also if the runner could do more."""
    futures = pool.map(tasks.work_alone, {"folder": unmapped(tmp_path), "number": range(8)}, max_in_flight=1)
    results(futures)
    assert tasks.most_at_once(tmp_path) == 1


@pytest.mark.contract("TR-28", "TR-14")
def test_elements_have_the_tags_of_the_map(pool: Runner) -> None:
    """Of a list and of an iterator, whoever runs them and whenever."""
    with tags("mapped"):
        futures = [
            *pool.map(tasks.add, {"x": range(3)}),
            *pool.map(tasks.add, {"x": iter(range(3))}, max_in_flight=1),
        ]
    assert [future.result(timeout=3 * LIMIT) for future in futures] == [1, 2, 3] * 2
    assert [set(run.tags) for run in task_runs()] == [{"mapped"}] * 6
