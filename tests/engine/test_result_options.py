"""Whose word counts for how results are kept, what states hold of them, and how often a storage is asked for one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainspring import clock, flow, task
from mainspring.exceptions import MissingResult
from mainspring.filesystems import LocalFileSystem
from mainspring.results import ResultStore, get_result_store
from mainspring.serializers import JSONSerializer
from mainspring.settings import temporary_settings
from mainspring.states import (
    RESULT_READ_MAXIMUM_ATTEMPTS,
    RESULT_READ_RETRY_DELAY,
    Completed,
    State,
    return_value_to_state,
)
from tests.engine.clocks import JumpingClock
from tests.engine.history import only_flow_run, only_task_run, task_runs


class CountingErrors(LocalFileSystem):
    """A folder whose reads fail, each with an error of its own, until enough of them have."""

    def __init__(self, path: Path, failures: int) -> None:
        super().__init__(path)
        self.failures, self.reads = failures, 0

    def read_path(self, path: str) -> bytes:
        self.reads += 1
        if self.reads <= self.failures:
            raise OSError(f"failure {self.reads}")
        return super().read_path(path)


@pytest.fixture
def time() -> Iterator[JumpingClock]:
    with clock.use_clock(JumpingClock()) as jumping:
        yield jumping


def kept_state(storage: LocalFileSystem) -> State:
    """A completed state whose value has to be read from the storage."""
    record = ResultStore(storage, cache_result_in_memory=False).write([1], key="k")
    return Completed(data=record.metadata)


def read(state: State, asynchronous: bool, **options: Any) -> Any:
    return asyncio.run(state.aresult(**options)) if asynchronous else state.result(**options)


# How often a storage is asked

BOTH = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@pytest.mark.contract("R-49", "R-70")
@BOTH
def test_the_last_error_of_a_storage_is_raised(
    asynchronous: bool, tmp_path: Path, time: JumpingClock
) -> None:
    """After ten attempts a quarter of a second apart; or after the first, if only one is wanted."""
    state = kept_state(CountingErrors(tmp_path, failures=20))
    with pytest.raises(OSError, match=r"failure 10$"):
        read(state, asynchronous)
    assert time.slept == [0.25] * 9
    with pytest.raises(OSError, match=r"failure 11$"):
        read(state, asynchronous, retry_result_failure=False)
    assert time.slept == [0.25] * 9
    assert (RESULT_READ_MAXIMUM_ATTEMPTS, RESULT_READ_RETRY_DELAY) == (10, 0.25)


@pytest.mark.contract("R-49", "R-70")
@BOTH
def test_reading_ends_with_the_first_success(asynchronous: bool, tmp_path: Path, time: JumpingClock) -> None:
    """Nothing is read or waited for after it."""
    storage = CountingErrors(tmp_path, failures=2)
    assert read(kept_state(storage), asynchronous) == [1]
    assert (storage.reads, time.slept) == (3, [0.25, 0.25])


# What states hold


@pytest.mark.contract("R-24", "R-29")
def test_a_record_is_bound_to_its_store(tmp_path: Path) -> None:
    """It has the serializer and the place of the store that made it, and nothing is written by making it."""
    store = ResultStore(tmp_path / "results", serializer="json")
    record = store.create_result_record([1], key="k")
    assert (record.serializer, record.storage_key) == (JSONSerializer(), str(tmp_path / "results" / "k"))
    assert not record.is_persisted
    assert not (tmp_path / "results").exists()
    store.persist_result_record(record)
    assert record.metadata.copy().get() == [1]


@pytest.mark.contract("R-25", "R-65")
@pytest.mark.parametrize("value", [[1], None])
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_kept_value_is_in_memory_if_that_is_wanted(value: Any, in_memory: bool, tmp_path: Path) -> None:
    """The state goes on holding it unless ``cache_result_in_memory`` is False; None is a value like others."""

    @task(result_storage=tmp_path, cache_result_in_memory=in_memory)
    def work() -> Any:
        return value

    state = work(return_state=True)
    assert state.data.has_cached_object() is in_memory
    assert state.result() == value


@pytest.mark.contract("R-26", "R-50")
def test_a_result_that_is_not_kept_goes_nowhere(tmp_path: Path) -> None:
    """The state holds it in this process; nothing is written, and what goes to others has no data."""

    @task(persist_result=False, result_storage=tmp_path / "results")
    def work() -> list[int]:
        return [1]

    state = work(return_state=True)
    assert state.result() == [1]
    assert state.stored_as is None
    assert not state.to_state_create().has_data
    assert not (tmp_path / "results").exists()
    with pytest.raises(MissingResult):
        only_task_run().state.result()


@pytest.mark.contract("R-50")
def test_a_kept_result_goes_to_other_processes(tmp_path: Path) -> None:
    """As the record, with the place in which it is; one that has no place yet does not."""
    store = ResultStore(tmp_path)
    state = return_value_to_state([1], store, write_result=True)
    sent = state.to_state_create()
    assert sent.data is state.data
    assert str(tmp_path) in (sent.stored_as or "")
    assert not Completed(data=[1]).to_state_create().has_data


# Whose word counts


@pytest.mark.contract("R-64", "F-26")
@pytest.mark.parametrize("options", [{"result_storage": "somewhere"}, {"result_serializer": "json"}])
def test_a_flow_that_says_how_wants_its_results_kept(options: dict[str, Any]) -> None:
    """A storage or a serializer means that results are kept, unless the flow says that they are not."""

    def work() -> None: ...

    assert flow(work).persist_result is None
    assert flow(**options)(work).persist_result is True
    assert flow(**options, persist_result=False)(work).persist_result is False


@pytest.mark.contract("R-72", "R-11")
def test_the_storage_of_a_flow_is_that_of_the_runs_inside(tmp_path: Path) -> None:
    """It beats the default one, and tasks and subflows inherit it unless they have their own."""

    @task
    def plain() -> int:
        return 1

    @task(result_storage=tmp_path / "own")
    def other() -> int:
        return 1

    @flow
    def inner() -> int:
        return plain()

    @flow(result_storage=tmp_path / "flow")
    def outer() -> int:
        return plain() + other() + inner()

    with temporary_settings({"results.default_storage": str(tmp_path / "default")}):
        assert outer() == 3
        assert plain(return_state=True).stored_as is None
    assert len(list((tmp_path / "flow").glob("*"))) >= 3  # of a task, the subflow and the flow
    assert len(list((tmp_path / "own").iterdir())) == 1
    assert not (tmp_path / "default").exists()


@pytest.mark.contract("R-76")
def test_a_default_storage_says_where_and_not_whether(tmp_path: Path) -> None:
    """Setting one keeps nothing by itself: `results.persist_by_default` does, and a parent's refusal beats it."""

    @task
    def work() -> int:
        return 1

    @flow
    def around() -> int:
        return work()

    default = {"results.default_storage": str(tmp_path / "default")}
    with temporary_settings(default):
        around()
        assert only_flow_run().state.stored_as is None
        assert not (tmp_path / "default").exists()
    with temporary_settings({**default, "results.persist_by_default": True}):
        around.with_options(persist_result=False)()
        assert not (tmp_path / "default").exists()
        around()
        assert (tmp_path / "default").exists()
    assert [run.state.stored_as is not None for run in task_runs()] == [False, False, True]


@pytest.mark.contract("R-19", "R-10")
def test_the_default_store_is_made_once_for_its_settings(tmp_path: Path) -> None:
    """Outside of runs everybody has the same one, and another one where the settings say another storage."""
    before = get_result_store()
    assert get_result_store() is before
    with temporary_settings({"results.default_storage": str(tmp_path)}):
        inside = get_result_store()
        assert get_result_store() is inside
        assert inside.result_storage == LocalFileSystem(tmp_path)
    assert get_result_store().result_storage == before.result_storage
