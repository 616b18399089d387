"""Short submitted runs share a commit, and nobody learns of one before it is on disk."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, task
from mainspring._core.transitions import enter
from mainspring.cache_policies import INPUTS
from mainspring.exceptions import StoreUnavailable, SupersededRun
from mainspring.futures import FutureList
from mainspring.locking.memory import MemoryLockManager
from mainspring.recording import current_recorder
from mainspring.settings import temporary_settings
from mainspring.states import Cancelled, State
from mainspring.store.protocol import Change
from mainspring.task_runners import ThreadPoolTaskRunner
from tests.engine.faults import replaced
from tests.engine.history import query


@task
def double(x: int) -> int:
    return 2 * x


@task(persist_result=True, cache_policy=INPUTS)
def keep(x: int) -> int:
    return 2 * x


@task
def fail(x: int) -> None:
    raise ValueError(x)


def on_disk(future: Any) -> str | None:
    """The recorded state of a run, as another process sees it now."""
    rows = query("SELECT state_name FROM task_runs WHERE id = ?", future.task_run_key)
    return rows[0][0] if rows else None


@contextmanager
def counted() -> Iterator[list[int]]:
    """Inside the block, how many task runs each commit has."""
    commits: list[int] = []

    def count(real: Any) -> Any:
        def write(changes: Any, *rest: Any) -> Any:
            commits.append(len(changes))
            return real(changes, *rest)

        return write

    with replaced("write", count):
        yield commits


@pytest.mark.parametrize("work", [double, keep, fail])
def test_what_is_settled_is_on_disk(work: Any) -> None:
    """Whoever is told first finds the final state in the database, for values and failures alike."""
    seen: list[str | None] = []

    @flow
    def pipeline() -> None:
        futures = work.map(range(300))
        for future in futures:
            future.add_done_callback(lambda future: seen.append(on_disk(future)))
        futures.wait()

    pipeline()
    assert len(seen) == 300
    assert set(seen) == {"Failed" if work is fail else "Completed"}


@pytest.mark.parametrize("work", [double, keep])
def test_a_map_of_short_runs_needs_few_commits(work: Any) -> None:
    """A commit has dozens of them, also of those whose results are rows in it, and of those that are found."""

    @flow
    def pipeline() -> list[int]:
        return work.map(range(1_000)).result()  # type: ignore[no-any-return]

    for _ in range(2):
        with counted() as commits:
            assert pipeline() == [2 * x for x in range(1_000)]
        assert len(commits) < 500
        assert max(commits) > 10


def test_steps_are_on_disk_when_they_are_done() -> None:
    """What a flow run that can be resumed has done is not done again, so its steps wait for their own commit."""

    @flow(persist_result=True, task_runner=ThreadPoolTaskRunner(max_workers=1))
    def pipeline() -> list[int]:
        return keep.map(range(100, 120)).result()

    with counted() as commits:
        assert pipeline() == [2 * x for x in range(100, 120)]
    assert len(commits) >= 20
    with counted() as commits:  # what is found does nothing that could be done twice
        assert pipeline() == [2 * x for x in range(100, 120)]
    assert len(commits) < 20


def test_a_result_is_on_disk_when_its_lock_is_free() -> None:
    """Runs that lock their keys wait for their own commit, as somebody in another process may have the lock next."""
    locks = MemoryLockManager()
    alone = keep.with_options(
        cache_policy=INPUTS.configure(isolation_level="SERIALIZABLE", lock_manager=locks)
    )

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def pipeline() -> list[int]:
        return alone.map(range(20)).result()

    with counted() as commits:
        assert pipeline() == [2 * x for x in range(20)]
    assert len(commits) >= 20


def test_results_in_other_storages_wait_for_their_own_commit(tmp_path: Path) -> None:
    """What is a file must not count without the commit that tells of it."""
    elsewhere = keep.with_options(result_storage=tmp_path / "results")

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def pipeline() -> list[int]:
        return elsewhere.map(range(20)).result()

    with counted() as commits:
        assert pipeline() == [2 * x for x in range(20)]
    assert len(commits) >= 20
    assert len(list((tmp_path / "results").iterdir())) == 20


def test_a_single_run_waits_for_no_other() -> None:
    """A thread with nothing else to do settles at once."""

    @flow
    def pipeline() -> list[int]:
        return [double.submit(x).result() for x in range(5)]

    with counted() as commits:
        assert pipeline() == [0, 2, 4, 6, 8]
    assert len(commits) >= 5


def test_a_short_run_whose_thread_goes_on_to_a_long_one() -> None:
    """It is settled all the same, while the other is still going."""
    gate = threading.Event()

    @task
    def work(x: int) -> int:
        if x:
            assert gate.wait(30)
        return x

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def pipeline() -> tuple[int, bool]:
        short, long = work.map([0, 1])
        first = short.result(timeout=30)
        was_done = long.is_done()
        gate.set()
        long.result(timeout=30)
        return first, was_done

    assert pipeline() == (0, False)


def test_a_callback_that_waits_for_other_runs() -> None:
    """Whoever settles may be held up by callbacks; history and other runs go on."""
    results: list[int] = []
    done = threading.Event()

    @flow
    def pipeline() -> None:
        futures = double.map(range(100))
        last = futures[-1]

        def wait(future: Any) -> None:
            results.append(last.result(timeout=30))
            done.set()

        futures[0].add_done_callback(wait)
        assert done.wait(30)

    pipeline()
    assert results == [198]


@pytest.mark.parametrize("hook", ["on_completion", "on_failure"])
def test_runs_with_hooks_are_on_disk_before_these_are_called(hook: str) -> None:
    """They wait for their own commit, as runs do that are called."""
    seen: list[str] = []

    def look(task: Any, run: Any, state: State) -> None:
        ((name,),) = query("SELECT state_name FROM task_runs WHERE id = ?", run.key)
        seen.append(name)

    work = (double if hook == "on_completion" else fail).with_options(**{hook: [look]})

    @flow
    def pipeline() -> None:
        work.map(range(20)).wait()

    pipeline()
    assert seen == ["Completed" if hook == "on_completion" else "Failed"] * 20


def test_a_commit_that_fails() -> None:
    """Each future whose run could not be written says so; the history is written when that is possible again."""
    broken = [True]

    def refuse(real: Any) -> Any:
        def write(changes: Any, *rest: Any) -> Any:
            if broken[0] and any(change.states[-1].is_completed() for change in changes):
                raise StoreUnavailable("the disk is full")
            return real(changes, *rest)

        return write

    with replaced("write", refuse), ThreadPoolTaskRunner(1) as runner:
        futures: FutureList[Any] = runner.map(double, {"x": range(10)})
        futures.wait()
        for future in futures:
            with pytest.raises(StoreUnavailable, match="disk is full"):
                future.result()
        broken[0] = False
        current_recorder().flush()
    assert {on_disk(future) for future in futures} == {"Completed"}


def test_a_run_that_somebody_else_has_settled() -> None:
    """Its future raises what the engine would have raised; the others are not touched."""
    begun, gate = threading.Event(), threading.Event()

    @task
    def work(x: int) -> int:
        if x == 1:
            begun.set()
            assert gate.wait(30)
        return x

    with ThreadPoolTaskRunner(1) as runner:
        futures: FutureList[Any] = runner.map(work, {"x": [0, 1, 2]})
        assert begun.wait(30)
        recorder = current_recorder()
        recorder.flush()
        run = recorder.store.read_run(futures[1].task_run_key)
        assert run is not None
        state, follows = Cancelled(), run.state.key
        run.claim(state)
        enter(run, state)
        recorder.store.write([Change(run, [state], follows)], [], [], [])
        gate.set()
        assert futures[0].result() == 0
        with pytest.raises(SupersededRun, match="refused"):
            futures[1].result(timeout=30)
        assert futures[2].result() == 2


def test_relaxed_runs_wait_for_nothing() -> None:
    """With durability ``relaxed`` there is no commit to be shared."""
    with temporary_settings({"durability": "relaxed"}), counted() as commits:

        @flow
        def pipeline() -> list[int]:
            return double.map(range(100)).result()

        assert pipeline() == [2 * x for x in range(100)]
    assert len(commits) < 100


def test_leaving_the_runner_settles_everything() -> None:
    """When the block is left, the futures of all runs that have begun are done."""
    with ThreadPoolTaskRunner(2) as runner:
        futures = list(runner.map(double, {"x": range(200)}))
        futures[50].wait()
    assert all(future.is_done() for future in futures)
    begun = [future for future in futures if not future.state.is_cancelled()]
    assert {on_disk(future) for future in begun} == {future.state.name for future in begun}
    assert len(begun) > 50


def test_the_time_until_a_short_run_is_told_of() -> None:
    """Also in a long queue the first ones are told of before the last ones have run."""
    order: list[str] = []

    @task
    def work(x: int) -> None:
        time.sleep(0.001)
        if x == 199:
            order.append("last has begun")

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def pipeline() -> None:
        futures = work.map(range(200))
        futures[0].add_done_callback(lambda _: order.append("first is told of"))
        futures.wait()

    pipeline()
    assert order == ["first is told of", "last has begun"]
