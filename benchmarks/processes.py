"""Tasks in other processes: those of a runner, beside bare calls there, and those that isolate a call."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from benchmarks.cases import Case, Family, Turn, step, within
from benchmarks.measuring import answer, seconds_of
from mainspring import flow, task
from mainspring.task_runners import ProcessPoolTaskRunner

WORKERS = 2

isolated = task(isolation="process")(answer)


def submit_and_collect(count: int) -> None:
    """All futures in one list."""
    for future in [step.submit(number) for number in range(count)]:
        future.result()


@flow(task_runner=ProcessPoolTaskRunner(max_workers=WORKERS))
def submitted(count: int) -> float:
    """Seconds per task in workers that are there already."""
    submit_and_collect(2 * WORKERS)
    return seconds_of(lambda: submit_and_collect(count)) / count


@flow(task_runner=ProcessPoolTaskRunner(max_workers=WORKERS))
def mapped(count: int) -> float:
    """Seconds per element of a map there."""
    submit_and_collect(2 * WORKERS)
    return seconds_of(lambda: step.map(range(count)).result()) / count


def bare(turn: Turn) -> float:
    """Seconds per call submitted to a bare pool of as many processes."""
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:

        def calls(count: int) -> None:
            for future in [pool.submit(answer, number) for number in range(count)]:
                future.result()

        calls(2 * WORKERS)
        return turn.for_all(calls)


FAMILY = Family(
    (
        Case("floor: bare process pool submit", bare, at_most=1_000),
        Case("submitted to the process runner", lambda turn: submitted(turn.calls), at_most=1_000),
        Case("map on the process runner", lambda turn: mapped(turn.calls), at_most=1_000),
        Case("isolated task", lambda turn: within(lambda: turn.per_call(lambda: isolated(1))), share=10),
    )
)
