"""mainspring itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks.cached import FOUND as SAME
from benchmarks.cached import cached
from benchmarks.cases import step, within
from benchmarks.kept import kept
from benchmarks.logs import silence
from benchmarks.measuring import seconds_of
from benchmarks.peers.works import CALL, FLOW, FOUND, KEPT, SUBMIT, TASKS, Variant, Works, main
from mainspring import flow
from mainspring.recording import close_recorders
from mainspring.settings import temporary_settings

fresh = itertools.count()


@flow
def of_ten() -> None:
    """A flow of ten tasks."""
    for number in range(TASKS):
        step(number)


def submit_and_collect(count: int) -> None:
    """All of them before the first is collected."""
    for future in [step.submit(number) for number in range(count)]:
        future.result()


def each(call: Callable[[], object]) -> Callable[[int], None]:
    """Calls so many times, one after the other."""

    def repeat(count: int) -> None:
        for _ in range(count):
            call()

    return repeat


def in_a_flow(work: Callable[[int], None]) -> Callable[[int], float]:
    """The work in a flow run that keeps what tasks want kept, without what that takes to begin and to end."""
    return lambda count: within(lambda: seconds_of(lambda: work(count)))


def at(durability: str) -> Callable[[Path], AbstractContextManager[Works]]:
    """The works at one level of durability."""

    @contextmanager
    def opened(folder: Path) -> Iterator[Works]:
        with silence(folder), temporary_settings({"home": folder, "durability": durability}):
            yield {
                CALL: in_a_flow(each(lambda: step(1))),
                SUBMIT: in_a_flow(submit_and_collect),
                KEPT: in_a_flow(each(lambda: kept(next(fresh)))),
                FOUND: in_a_flow(each(lambda: cached(SAME))),
                FLOW: each(of_ten),
            }
        close_recorders()

    return opened


if __name__ == "__main__":
    main(
        "mainspring",
        Variant(
            "mainspring",
            "run, states, times and attempts, in SQLite; survives `kill -9`",
            at("process"),
            2_000,
        ),
        Variant("mainspring, `disk`", "the same; survives a power cut, too", at("disk"), 500),
    )
