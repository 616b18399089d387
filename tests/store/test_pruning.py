"""Pruning the run store of the settings: what goes, what stays, and files."""

import os
import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from mainspring import flow, get_client, task
from mainspring.cache_policies import DEFAULT, INPUTS
from mainspring.exceptions import ConfigurationError
from mainspring.pruning import Pruned, prune
from mainspring.settings import get_current_settings
from mainspring.store import RunFilter, RunStore, open_store
from tests.store.histories import RUNNING, advance, new_flow_run, record

AT_ONCE = timedelta(0)
LARGE = "x" * 50_000
A_WEEK = 7 * 86_400


@task(persist_result=True)
def step(text: str) -> str:
    return text


@task(cache_policy=INPUTS, persist_result=True)
def cached(text: str) -> str:
    calls.append(text)
    return text


@task(cache_policy=DEFAULT, persist_result=True)
def by_default(text: str) -> str:
    return text


@flow
def inner() -> None:
    step("inner")


@flow(persist_result=True)
def outer(text: str = "outer") -> str:
    step(text)
    by_default(text)
    inner()
    return text


calls: list[str] = []


def store() -> RunStore:
    return get_client().store


def folder() -> Path:
    return Path(get_current_settings().local_storage_path)


def large_files() -> list[Path]:
    return sorted(folder().iterdir()) if folder().is_dir() else []


def aged(path: Path, seconds: float = A_WEEK) -> Path:
    """The same file, last changed so long ago."""
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_everything_of_a_flow_run_goes() -> None:
    """A flow run goes with what is inside of it, and with all results that only it can find, files included."""
    outer(LARGE)
    outer("small")
    assert len(large_files()) > 0
    pruned = prune(AT_ONCE)
    assert pruned.runs == 2 * 6
    assert (pruned.results, pruned.orphans) == (0, 0)
    assert pruned.files == 4  # one of them with the parameters
    assert pruned.file_bytes > 4 * len(LARGE)
    assert large_files() == []
    assert get_client().read_flow_runs() == []
    assert get_client().read_task_runs() == []
    assert store().read_results_without_runs(2**62, "", 9) == []


def test_what_is_younger_stays() -> None:
    """Nothing goes that ended less long ago than asked for."""
    outer()
    assert prune(timedelta(days=30)) == Pruned()
    assert len(get_client().read_flow_runs()) == 2


def test_a_dry_run_deletes_nothing() -> None:
    """It counts as many runs as go when it is no dry run."""
    outer()
    assert prune(AT_ONCE, dry_run=True).runs == 6
    assert prune(AT_ONCE, dry_run=True).runs == 6
    assert prune(AT_ONCE).runs == 6


def test_cached_results_answer_later_runs() -> None:
    """The result of a task with a cache policy is used again after its run was pruned, until it is pruned, too."""
    calls.clear()
    for pruned_results in (False, False, True):
        cached("x")
        prune(AT_ONCE, cached_results=pruned_results)
        assert get_client().read_task_runs() == []
    assert calls == ["x"]
    cached("x")
    assert calls == ["x", "x"]


def test_cached_results_that_have_expired() -> None:
    """A result that has expired goes, whether its run goes with it or went before."""
    expiring = cached.with_options(cache_expiration=timedelta(milliseconds=1))
    expiring("at once")
    time.sleep(0.01)
    prune(AT_ONCE)
    assert store().read_results_without_runs(2**62, "", 9) == []
    later = cached.with_options(cache_expiration=timedelta(seconds=2))
    later("later")
    prune(AT_ONCE)
    [kept] = store().read_results_without_runs(2**62, "", 9)
    end = time.monotonic() + 20
    while prune(AT_ONCE).results == 0:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert store().read_result(kept.key) is None


def test_states_and_numbers_to_keep() -> None:
    """Only runs in the states that are named go, and the newest of each flow stay."""
    failing = flow(lambda: 1 / 0, name="failing")  # type: ignore[arg-type]
    for _ in range(3):
        inner()
        with pytest.raises(ZeroDivisionError):
            failing()
    assert prune(AT_ONCE, states=["failed"], keep=1).runs == 2
    assert prune(AT_ONCE, keep=2).runs == 2
    assert [run.flow_name for run in get_client().read_flow_runs()] == ["failing", "inner", "inner"]


def test_runs_that_go_on_are_safe() -> None:
    """A flow that prunes the store which it runs in deletes neither itself nor what it has done so far."""

    @flow(persist_result=True)
    def tidy() -> int:
        step("before")
        found = prune(AT_ONCE).runs
        step("after")
        return found

    inner()
    assert tidy() == 2
    assert len(get_client().read_task_runs()) == 2


def test_runs_of_other_processes(tmp_path: Path) -> None:
    """A run of a process that lives is left alone; one of a dead process goes like all others, and its row, too."""
    path = tmp_path / "shared.db"
    here, there = open_store(path), open_store(path)
    run = new_flow_run()
    record(there, advance(run, RUNNING))
    assert prune(AT_ONCE, store=here) == Pruned()
    there.close()  # as after a death: its run is not over
    assert prune(AT_ONCE, store=here).runs == 1
    here.close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM owners").fetchone() == (0,)


def test_progress_is_told() -> None:
    """Whoever wants to know is told how many of how many runs were looked at."""
    told: list[tuple[int, int]] = []
    for _ in range(3):
        inner()
    prune(AT_ONCE, progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 3)]


def test_another_store(tmp_path: Path) -> None:
    """A store that is given is pruned, and that of the settings is left alone."""
    inner()
    other = open_store(tmp_path / "other.db")
    assert prune(AT_ONCE, store=other) == Pruned()
    other.close()
    assert len(store().read_flow_runs(RunFilter())) == 1


@pytest.mark.parametrize("arguments", [{"older_than": timedelta(-1)}, {"older_than": AT_ONCE, "keep": -1}])
def test_bad_arguments(arguments: dict[str, object]) -> None:
    """Negative ages and numbers are refused, and nothing is deleted."""
    inner()
    with pytest.raises(ConfigurationError, match="negative"):
        prune(**arguments)  # type: ignore[arg-type]
    assert len(get_client().read_flow_runs()) == 1


def test_an_age_that_nothing_has() -> None:
    """An age beyond all numbers of databases is no error: nothing is that old."""
    inner()
    assert prune(timedelta.max) == Pruned()
    assert len(get_client().read_flow_runs()) == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"older_than": 30}, "give a timedelta"),
        (
            {"older_than": AT_ONCE, "states": "completed"},
            "states cannot be 'completed': give a list of texts",
        ),
    ],
)
def test_arguments_of_another_type(arguments: dict[str, object], why: str) -> None:
    """A number is no time, and one state no list of them; nothing is deleted."""
    inner()
    with pytest.raises(ConfigurationError, match=why):
        prune(**arguments)  # type: ignore[arg-type]
    assert len(get_client().read_flow_runs()) == 1


# Files that no row leads to


def orphan() -> Path:
    """The file of a large result whose row is gone, as a process leaves it that dies before it writes the row."""
    before = set(large_files())
    step(LARGE)
    [file] = set(large_files()) - before
    content = file.read_bytes()
    prune(AT_ONCE)
    assert not file.exists()
    file.write_bytes(content)
    return file


def test_orphaned_files_are_told_and_removed_when_asked() -> None:
    """Other stores may have their files in the same folder, so orphans are only counted unless somebody says so."""
    file = aged(orphan())
    size = file.stat().st_size
    assert prune(AT_ONCE) == Pruned(orphans=1, orphan_bytes=size)
    assert prune(AT_ONCE, orphaned_files=True, dry_run=True) == Pruned(files=1, file_bytes=size)
    assert file.exists()
    assert prune(AT_ONCE, orphaned_files=True) == Pruned(files=1, file_bytes=size)
    assert not file.exists()


def test_files_that_are_no_orphans() -> None:
    """Files of results, young files, files of other names, and records that are named by their keys stay."""
    young = orphan()
    outer(LARGE)
    state = step.with_options(result_storage=folder())(LARGE, return_state=True)
    kept = [aged(path) for path in large_files() if path != young]
    for name in ("notes.txt", "0" * 31, "0" * 32):
        path = folder() / name
        path.write_text("of somebody")
        kept.append(aged(path))
    (folder() / ("1" * 32)).mkdir()
    assert prune(timedelta(days=1), orphaned_files=True) == Pruned()
    assert all(path.exists() for path in kept)
    assert young.exists()
    assert state.result() == LARGE
