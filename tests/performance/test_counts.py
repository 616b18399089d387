"""No path does more than it did: its instructions, calls, statements, reads and writes are counted, not timed."""

import pytest

from tests.performance.counting import NAMES, PYTHON, Counted, changes, count, read_recorded

RECORDED = read_recorded()

BASE: Counted = {"instructions": 1_000, "SQL statements": 10, "reads and writes": 2}


@pytest.mark.slow
@pytest.mark.skipif(
    not RECORDED,
    reason=f"Nothing is recorded for Python {PYTHON}; python -m tests.performance --record does it.",
)
@pytest.mark.parametrize("path", NAMES)
def test_does_what_is_recorded(path: str) -> None:
    """A path does what is recorded of it, to a tenth."""
    assert path in RECORDED, "record it with: python -m tests.performance --record"
    assert changes(path, RECORDED[path], count(path)) == []


@pytest.mark.slow
def test_a_planted_slow_down_is_found() -> None:
    """Calls that take 15 % more instructions are reported, with their path and count; those that take 5 % are not."""
    path = "inline task"
    before = count(path)
    instructions = before["instructions"]
    assert instructions is not None
    (message,) = changes(path, before, count(path, slower=round(0.15 * instructions)))
    assert message.startswith("inline task: ")
    assert "instructions" in message
    assert "15% more" in message
    assert changes(path, before, count(path, slower=round(0.05 * instructions))) == []


@pytest.mark.slow
@pytest.mark.parametrize("path", ["submitted task", "kept result"])
def test_counts_are_the_same_again(path: str) -> None:
    """Two processes count the same, whatever else the machine does, and however many threads take part."""
    first, second = count(path), count(path)
    assert first["SQL statements"] == second["SQL statements"]
    assert first["instructions"] == pytest.approx(second["instructions"], rel=0.03)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"instructions": 1_099}, []),
        ({"instructions": 901}, []),
        ({"instructions": 1_101}, ["10% more"]),
        ({"instructions": 880}, ["12% fewer"]),
        ({"SQL statements": 12, "instructions": 2_000}, ["100% more", "20% more"]),
        ({"reads and writes": 2.6}, []),
        ({"reads and writes": None}, []),
    ],
    ids=str,
)
def test_a_tenth_is_allowed(found: Counted, expected: list[str]) -> None:
    """What changes by more than a tenth is told, for the worse and for the better; what cannot be counted is not."""
    messages = changes("path", BASE, {**BASE, **found})
    assert len(messages) == len(expected)
    assert all(part in message for part, message in zip(expected, messages, strict=True))


def test_what_to_do_is_said() -> None:
    """More work is to be looked at, less is to be kept."""
    (worse,) = changes("path", BASE, {**BASE, "instructions": 1_200})
    (better,) = changes("path", BASE, {**BASE, "instructions": 800})
    assert "--profile 'path'" in worse
    assert "--record 'path'" in worse
    assert "--record 'path'" in better
