"""Tasks that are submitted to the thread runner, all of them before the first is collected."""

from __future__ import annotations

from benchmarks.cases import Case, Family, Turn, tracked, within


def submit_and_collect(count: int) -> None:
    """All futures in one list."""
    for future in [tracked.submit() for _ in range(count)]:
        future.result()


def submitted(turn: Turn) -> float:
    """Seconds per task."""
    return within(lambda: turn.for_all(submit_and_collect))


def one_by_one(turn: Turn) -> float:
    """Seconds per task if each is collected before the next is submitted."""
    return within(lambda: turn.per_call(lambda: tracked.submit().result()))


FAMILY = Family(
    (
        Case("submitted and collected, process", submitted, 5),
        Case("submitted and collected, relaxed", submitted, None, "relaxed"),
        Case("submitted and collected one by one, process", one_by_one),
    )
)
