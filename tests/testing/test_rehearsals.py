"""What a process does before it forks thousands of simulated ones, and that nobody sees it."""

import logging
import os
import threading
from pathlib import Path

import pytest

from mainspring import flow, task
from mainspring.testing import Trace, rehearsals, simulate
from mainspring.testing.children import run_in_child
from mainspring.testing.rehearsals import rehearse, take_processor


@task(retries=2, retry_delay_seconds=1)
def add(number: int) -> int:
    return number + 1


@flow(persist_result=True)
def adding() -> int:
    return sum(add.map(range(4)).result())


def test_seeds_are_as_in_a_process_that_has_not_rehearsed(tmp_path: Path) -> None:
    """The same seed takes the same course, byte for byte, so what is found can be seen again."""

    def courses() -> list[tuple[str, ...]]:
        return [simulate(adding, seed=seed).trace for seed in range(8)]

    def rehearsed() -> list[tuple[str, ...]]:
        rehearse(tmp_path)
        return courses()

    first, second = run_in_child(courses), run_in_child(rehearsed)
    assert first.error is second.error is None
    assert first.value == second.value


def test_rehearsal_plays_everything(tmp_path: Path) -> None:
    """All that is played in a rehearsal goes well, though nobody would hear of it if it did not."""

    def live() -> tuple[list[str], int]:
        rehearse(tmp_path)
        return [
            note.name for note in Trace(tmp_path / "notes").notes if note.what == "returned"
        ], threading.active_count()

    ending = run_in_child(live)
    assert ending.error is None
    returned, threads = ending.value
    times = rehearsals._TIMES
    assert returned.count("_all_of_it") == returned.count("_all_of_it_async") == times
    assert threads == 1


def test_rehearsal_leaves_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Handlers of logs, variables and the terminal are as they were."""

    def live() -> bool:
        logger = logging.getLogger("mainspring")
        before = logger.handlers.copy(), dict(os.environ)
        rehearse(tmp_path)
        return (logger.handlers, dict(os.environ)) == before

    assert run_in_child(live).value is True
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system does not say where processes run"
)
def test_each_process_may_have_a_processor() -> None:
    """Processes with numbers one after the other take those that there are in turn."""

    def where(number: int) -> set[int]:
        take_processor(number)
        return os.sched_getaffinity(0)

    allowed = sorted(os.sched_getaffinity(0))
    for number in range(len(allowed) + 1):
        assert run_in_child(lambda number=number: where(number)).value == {allowed[number % len(allowed)]}
