"""Results that outlive the process, as tasks and flows keep them."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.cache_policies import DEFAULT, INPUTS, NO_CACHE
from mainspring.client import get_client
from mainspring.exceptions import MissingResult
from mainspring.filesystems import LocalFileSystem
from mainspring.results import ResultRecord, ResultStore, get_result_store
from mainspring.runs import TaskRun
from mainspring.serializers import CompressedJSONSerializer, JSONSerializer, PickleSerializer
from mainspring.settings import temporary_settings
from mainspring.states import Completed, Failed, State, return_value_to_state
from mainspring.task_engine import run_task_sync
from mainspring.transactions import transaction
from tests.engine.history import only_flow_run, only_task_run, query, sequence, task_runs


class FailingStorage(LocalFileSystem):
    """A folder on a disk that fails now and then."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.failures = 0

    def read_path(self, path: str) -> bytes:
        if self.failures:
            self.failures -= 1
            raise OSError("not now, for the moment")
        return super().read_path(path)


FALSY = [None, True, False, 0, "", {}, [], (), set(), {"type": "reference"}, {"type": "literal", "value": 1}]


class OddError(Exception):
    """An exception of the user's."""


def stored_state(run: TaskRun | None = None) -> State:
    """The final state of a run as another process would read it."""
    return get_client().read_task_run((run or only_task_run()).id).state


def call_and_fail(call: Any) -> None:
    with transaction():
        call()
        raise OddError


def stored_keys() -> list[str]:
    return [key for (key,) in query("SELECT key FROM results ORDER BY key")]


# Whether results are kept


@pytest.mark.contract("E-140", "R-51")
def test_a_kept_result_is_read_back_from_the_store() -> None:
    """With ``persist_result=True`` the state in the run store gives the value, without it there is none."""

    @task(persist_result=True)
    def kept() -> list[int]:
        return [1, 2]

    @task(persist_result=False)
    def lost() -> list[int]:
        return [1, 2]

    kept(), lost()
    first, second = task_runs()
    assert stored_state(first).result() == [1, 2]
    with pytest.raises(MissingResult, match="persist_result"):
        stored_state(second).result()


@pytest.mark.contract("E-140")
def test_an_async_task_keeps_its_result_too() -> None:
    """The async engine writes the same record, and `aresult` reads it."""

    @task(persist_result=True)
    async def kept() -> dict[str, int]:
        return {"a": 1}

    asyncio.run(kept())
    state = stored_state()
    assert state.result() == {"a": 1}
    assert asyncio.run(state.aresult()) == {"a": 1}


@pytest.mark.contract("T-115", "R-67", "R-68")
@pytest.mark.parametrize("value", FALSY, ids=repr)
@pytest.mark.parametrize("persist", [True, False])
def test_empty_and_odd_values_come_back_unchanged(value: Any, persist: bool) -> None:
    """Kept or not, a value is that value: nothing, falsy, or a dict that looks like a record."""

    @task(persist_result=persist)
    def give() -> Any:
        return value

    assert give() is value
    state = give(return_state=True)
    assert state.result() == value
    assert type(state.result()) is type(value)
    if persist:
        stored = stored_state(task_runs()[0]).result()
        assert stored == value
        assert type(stored) is type(value)


@pytest.mark.contract("E-69", "T-114", "R-56")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_exceptions_are_kept(asynchronous: bool) -> None:
    """The state in the run store raises the type and text that the function raised."""

    @task(persist_result=True)
    def fail() -> None:
        raise OddError("this way")

    @task(persist_result=True)
    async def afail() -> None:
        raise OddError("this way")

    with pytest.raises(OddError):
        asyncio.run(afail()) if asynchronous else fail()
    state = stored_state()
    assert state.is_failed()
    assert state.state_details.retriable is False
    with pytest.raises(OddError, match="this way"):
        state.result()
    assert isinstance(state.result(raise_on_failure=False), OddError)


@pytest.mark.contract("W-33")
def test_an_exception_and_a_value_are_there_once_the_run_is_over() -> None:
    """Whoever has seen a run end finds its record, of a failure as of a success."""

    @task(persist_result=True)
    def work(fails: bool) -> int:
        if fails:
            raise OddError
        return 1

    work(False)
    assert len(stored_keys()) == 1
    with pytest.raises(OddError):
        work(True)
    assert len(stored_keys()) == 2


def test_a_failure_is_never_taken_for_a_result() -> None:
    """What is kept of a failed run is not found by a later run with the same key."""
    calls = []

    @task(cache_policy=INPUTS)
    def work(x: int) -> int:
        calls.append(x)
        if len(calls) == 1:
            raise OddError
        return x

    with pytest.raises(OddError):
        work(1)
    assert work(1) == 1
    assert [sequence(run) for run in task_runs()] == ["Pending Running Failed", "Pending Running Completed"]


@pytest.mark.contract("T-13")
@pytest.mark.parametrize(
    "options",
    [
        {"cache_policy": INPUTS},
        {"cache_policy": INPUTS + DEFAULT},
        {"cache_key_fn": lambda context, parameters: "key"},
        {"result_storage_key": "key"},
        {"result_storage": "somewhere"},
        {"result_serializer": "json"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_about_results_ask_for_keeping_them(options: dict[str, Any]) -> None:
    """Whoever says how results are kept wants them kept, unless they say otherwise."""
    assert task(**options)(lambda: None).persist_result is True
    assert task(**options, persist_result=False)(lambda: None).persist_result is False


@pytest.mark.contract("T-13", "T-15", "V-13")
def test_without_such_options_others_decide() -> None:
    """The default policy and a policy that does nothing leave the decision to flow and settings, copies too."""
    for plain in (
        task(lambda: None),
        task(cache_policy=NO_CACHE)(lambda: None),
        task(cache_policy=None)(lambda: None),
    ):
        assert plain.persist_result is None
        assert plain.with_options(name="other").persist_result is None
    assert task(lambda: None).cache_policy is DEFAULT


@pytest.mark.contract("T-14", "E-150")
def test_a_policy_without_keeping_is_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """``persist_result=False`` beats a policy; it warns only if a real policy was given."""
    assert task(persist_result=False)(lambda: None).cache_policy == NO_CACHE
    assert task(persist_result=False, cache_policy=None)(lambda: None).cache_policy is None
    assert task(persist_result=False, cache_policy=NO_CACHE)(lambda: None).cache_policy == NO_CACHE
    assert not caplog.records
    assert task(persist_result=False, cache_policy=INPUTS)(lambda: None).cache_policy == NO_CACHE
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "Ignoring `cache_policy` because `persist_result` is False" in record.getMessage()


@pytest.mark.contract("E-150")
def test_no_policy_and_no_keeping_stores_nothing(mainspring_home: Path) -> None:
    """``cache_policy=None, persist_result=False``: the policy stays None, and no file is written."""

    @task(cache_policy=None, persist_result=False)
    def work() -> int:
        return 1

    assert (work(), work()) == (1, 1)
    assert work.cache_policy is None
    assert stored_keys() == []


@pytest.mark.contract("V-13", "R-71", "R-77")
def test_who_decides_whether_results_are_kept() -> None:
    """The task itself, else the setting for tasks, else the run around it, else the setting for all."""
    kept = []

    @task
    def plain() -> int:
        kept.append(get_result_store() is not None and task_context_persists())
        return 1

    @task(persist_result=False)
    def refusing() -> int:
        kept.append(task_context_persists())
        return 1

    @flow(persist_result=True)
    def keeping_flow() -> None:
        plain(), refusing()

    plain()
    keeping_flow()
    with temporary_settings({"results.persist_by_default": True}):
        plain(), refusing()
    with temporary_settings({"tasks.default_persist_result": False}):
        keeping_flow()
    assert kept == [False, True, False, True, False, False, False]


@pytest.mark.contract("R-77")
def test_the_setting_for_tasks_is_not_for_flows() -> None:
    """``tasks.default_persist_result`` keeps results of tasks; a flow's is kept only if it says so."""

    @task
    def work() -> int:
        return 1

    @flow
    def around() -> int:
        return work()

    with temporary_settings({"tasks.default_persist_result": True}):
        around()
    assert stored_state().result() == 1
    with pytest.raises(MissingResult):
        only_flow_run().state.result()


def task_context_persists() -> bool:
    from mainspring.context import TaskRunContext

    context = TaskRunContext.get()
    assert context is not None
    return bool(context.persist_result)


@pytest.mark.contract("F-26")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_flows_keep_their_results(asynchronous: bool) -> None:
    """A flow with ``persist_result=True`` writes its result before it is over."""

    @flow(persist_result=True)
    def work() -> str:
        return "done"

    @flow(persist_result=True)
    async def awork() -> str:
        return "done"

    assert (asyncio.run(awork()) if asynchronous else work()) == "done"
    assert only_flow_run().state.result() == "done"


# How they are kept


@pytest.mark.contract("T-117", "R-69")
@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ("json", JSONSerializer()),
        (JSONSerializer(jsonlib="json"), JSONSerializer()),
        ("compressed/json", CompressedJSONSerializer()),
        ("pickle", PickleSerializer()),
    ],
    ids=["name", "instance", "compressed name", "pickle"],
)
@pytest.mark.parametrize("on_flow", [False, True])
def test_serializers_are_used_and_recorded(given: Any, recorded: Any, on_flow: bool) -> None:
    """A serializer given by name or instance, on the task or its flow, is what the record names."""

    @task(result_serializer=None if on_flow else given, persist_result=True)
    def work() -> list[int]:
        return [1, 2]

    @flow(result_serializer=given if on_flow else None)
    def around() -> None:
        work()

    around()
    state = stored_state()
    assert type(state.data.serializer) is type(recorded)
    assert state.result() == [1, 2]


@pytest.mark.contract("T-26", "V-15")
def test_storages_are_folders_addresses_and_file_systems(tmp_path: Path) -> None:
    """A storage may be given in each of these forms; anything else is a TypeError at once."""
    forms = [tmp_path / "a", str(tmp_path / "b"), LocalFileSystem(tmp_path / "c"), "memory://results"]
    for number, storage in enumerate(forms):

        @task(result_storage=storage)
        def work(number: int = number) -> int:
            return number

        assert work() == number
        assert stored_state(task_runs()[-1]).result() == number
    assert all(list((tmp_path / name).iterdir()) for name in "abc")
    with pytest.raises(TypeError, match="result_storage"):
        task(result_storage=7)(lambda: None)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("result_serializer", 7),
        ("result_storage_key", 7),
        ("cache_expiration", 60),
        ("cache_policy", "INPUTS"),
        ("cache_key_fn", "key"),
    ],
)
def test_options_of_a_wrong_type_are_refused_at_once(option: str, value: Any) -> None:
    """Each option about results says what it expects, when the task is defined."""
    with pytest.raises(TypeError, match=f"Invalid `{option}`: expected"):
        task(**{option: value})(lambda: None)


@pytest.mark.contract("E-15", "E-147", "R-30", "R-31")
def test_a_storage_key_is_a_template(tmp_path: Path) -> None:
    """Names of the runtime and the parameters are filled in when the run is going on."""
    results = tmp_path / "results"

    @task(result_storage_key="{flow_run.flow_name}/{parameters[x]}-{task_run.name}", result_storage=results)
    def work(x: int = 5) -> int:
        return x

    @flow
    def around() -> None:
        work.with_options(task_run_name="named")()

    around()
    assert [path.name for path in (results / "around").iterdir()] == ["5-named"]
    assert stored_state().data.storage_key == str(results / "around" / "5-named")


@pytest.mark.contract("E-147", "T-119", "R-32")
def test_a_result_under_the_storage_key_is_used(tmp_path: Path) -> None:
    """A record that is there is returned without a call; another key is another record."""
    calls = []

    @task(result_storage_key="my-key", result_storage=tmp_path)
    def work() -> int:
        calls.append(1)
        return len(calls)

    assert [work(), work()] == [1, 1]
    state = work(return_state=True)
    assert (state.name, state.type) == ("Cached", "COMPLETED")
    assert state.data.storage_key == str(tmp_path / "my-key")
    assert work.with_options(result_storage_key="other")() == 2


@pytest.mark.contract("E-146")
def test_a_record_of_a_store_may_be_returned() -> None:
    """Who returns a record that a `ResultStore` made gets its value out of the call."""

    @task(persist_result=True)
    def work() -> Any:
        return get_result_store().create_result_record([1, 2])

    assert work() == [1, 2]
    assert stored_state().result() == [1, 2]


# What is in memory


@pytest.mark.contract("T-18", "T-116", "R-65")
def test_a_kept_result_need_not_stay_in_memory() -> None:
    """With ``cache_result_in_memory=False`` the state holds a description, before and after it was read."""

    @task(persist_result=True, cache_result_in_memory=False)
    def work() -> list[int]:
        return [1, 2]

    state = work(return_state=True)
    assert not state.data.has_cached_object()
    assert state.result() == [1, 2]
    assert not state.data.has_cached_object()
    assert work() == [1, 2]


@pytest.mark.contract("T-18", "R-66")
def test_without_keeping_calls_still_give_their_outcome() -> None:
    """With ``cache_result_in_memory=False`` and nothing kept, a call returns its value or raises its error."""

    @task(cache_result_in_memory=False)
    def work(fails: bool) -> list[int]:
        if fails:
            raise OddError("this way")
        return [1, 2]

    assert work(False) == [1, 2]
    with pytest.raises(OddError, match="this way"):
        work(True)
    assert not work(False, return_state=True).has_data


@pytest.mark.contract("S-34", "G-15")
def test_a_returned_generator_is_kept_as_a_list() -> None:
    """The record holds the values; the caller gets a generator that gives them."""

    @task(persist_result=True)
    def work() -> Iterator[int]:
        return (number for number in range(3))

    assert list(work()) == [0, 1, 2]
    assert stored_state().result() == [0, 1, 2]


@pytest.mark.contract("G-15")
def test_a_generator_task_that_is_returned_is_used_up_by_its_task() -> None:
    """A task that returns the iterator of a generator task runs that to its end; one that yields it does not."""

    @task
    def numbers() -> Iterator[int]:
        yield from range(3)

    @task(persist_result=True)
    def returning() -> Iterator[int]:
        return numbers()

    @task
    def yielding() -> Iterator[Iterator[int]]:
        yield numbers()

    assert list(returning()) == [0, 1, 2]
    assert sorted(run.name for run in task_runs()) == ["numbers", "returning"]
    (inner,) = yielding()
    assert len(task_runs("numbers")) == 1
    assert list(inner) == [0, 1, 2]


# States by hand, and states without an engine


@pytest.mark.contract("S-31", "S-48")
def test_a_returned_state_keeps_its_data(tmp_path: Path) -> None:
    """A hand-made state is used itself, its data in a record; one that has a record keeps it."""
    store = ResultStore(result_storage=LocalFileSystem(tmp_path))
    state = Completed(data=5)
    assert return_value_to_state(state, store) is state
    record = state.data
    assert isinstance(record, ResultRecord)
    assert return_value_to_state(state, store).data is record
    assert return_value_to_state(Completed(), store).result() is None

    @task(persist_result=True)
    def work() -> State:
        return Completed(data=[7], message="by hand")

    work()
    assert (stored_state().message, stored_state().result()) == ("by hand", [7])


@pytest.mark.contract("S-30", "S-35")
def test_a_value_becomes_a_record_under_the_key(tmp_path: Path) -> None:
    """With a store the data is a record with key and expiration; it is written only on request."""
    store = ResultStore(result_storage=LocalFileSystem(tmp_path))
    state = return_value_to_state([1], store, key="k")
    assert state.data.storage_key == str(tmp_path / "k")
    assert state.result() == [1]
    assert not list(tmp_path.iterdir())
    return_value_to_state([1], store, key="k", write_result=True)
    assert store.read("k").result == [1]


@pytest.mark.contract("S-37", "L-23")
def test_a_result_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With ``write_result`` a storage that refuses costs a line in the log, and the state is as it is."""
    (tmp_path / "file").write_text("in the way")
    store = ResultStore(result_storage=LocalFileSystem(tmp_path / "file"))
    state = return_value_to_state([1], store, write_result=True)
    assert state.result() == [1]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.contract("E-130", "L-23")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_result_that_cannot_be_serialized_is_a_warning(
    asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The run stays Completed, the value is returned, and a line says what could not be kept."""

    @task(persist_result=True, result_serializer="json")
    def work() -> Any:
        return object

    @task(persist_result=True, result_serializer="json")
    async def awork() -> Any:
        return object

    assert (asyncio.run(awork()) if asynchronous else work()) is object
    assert sequence() == "Pending Running Completed"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("Encountered an error while serializing result" in warning for warning in warnings)


@pytest.mark.contract("E-29", "E-152", "W-3")
@pytest.mark.invariants(by_hand=True)
def test_a_lost_record_is_computed_again(tmp_path: Path) -> None:
    """The same run record executed again finds its result; when that is gone the function runs and writes it."""
    calls = []

    @task(result_storage_key="k", result_storage=tmp_path)
    def work() -> int:
        calls.append(1)
        return len(calls)

    assert work() == 1
    run = only_task_run()
    assert run_task_sync(work, task_run=run) == 1
    (tmp_path / "k").unlink()
    assert run_task_sync(work, task_run=run) == 2
    assert ResultStore(result_storage=LocalFileSystem(tmp_path)).read("k").result == 2
    assert run.id == only_task_run().id


@pytest.mark.contract("TX-37")
def test_results_of_a_group_are_written_together() -> None:
    """Nothing of a task inside a transaction is kept before the outermost one commits."""

    @task(persist_result=True)
    def work() -> int:
        return 1

    with transaction():
        work()
        assert stored_keys() == []
    assert len(stored_keys()) == 1
    with pytest.raises(OddError):
        call_and_fail(work)
    assert len(stored_keys()) == 1


@pytest.mark.contract("S-24", "W-29")
def test_reading_is_tried_again_while_a_storage_fails_for_the_moment(tmp_path: Path) -> None:
    """A storage that fails is asked again, ten times in all; a record that is gone is not looked for again."""
    from mainspring import clock
    from tests.engine.clocks import JumpingClock

    storage = FailingStorage(tmp_path)

    @task(result_storage=storage, cache_result_in_memory=False)
    def work() -> int:
        return 5

    state = work(return_state=True)
    fake = JumpingClock()
    with clock.use_clock(fake):
        storage.failures = 3
        before = fake.time
        assert state.result() == 5
        assert fake.time - before == 3 * 250_000
        storage.failures = 10
        with pytest.raises(OSError, match="for the moment"):
            state.result()
        assert fake.time - before == (3 + 9) * 250_000
        storage.failures = 1
        with pytest.raises(OSError, match="for the moment"):
            state.result(retry_result_failure=False)
        storage.failures = 0
        Path(state.data.storage_key).unlink()
        with pytest.raises(MissingResult):
            state.result()
        assert fake.time - before == (3 + 9) * 250_000


@pytest.mark.contract("E-60")
def test_settling_needs_a_result_store() -> None:
    """`handle_success` outside of the run's context is refused."""
    from mainspring.task_engine import SyncTaskRunEngine
    from mainspring.transactions import Transaction

    @task
    def work() -> int:
        return 1

    engine: Any = SyncTaskRunEngine(task=work)
    with pytest.raises(ValueError, match="result store"):
        engine.handle_success(1, Transaction())


@pytest.mark.contract("E-61", "E-64", "E-148")
def test_what_the_state_says_about_the_record() -> None:
    """The record of a success has the key of the transaction and expires when the task says."""

    @task(cache_policy=INPUTS, cache_expiration=timedelta(hours=1))
    def work(x: int) -> int:
        return x

    state = work(1, return_state=True)
    assert state.data.expiration is not None
    assert abs(state.data.expiration - state.timestamp - timedelta(hours=1)) < timedelta(seconds=5)


def test_a_failing_task_in_a_keeping_flow_raises_its_own_error() -> None:
    """The exception object that leaves the call is the one that was raised, kept or not."""
    error = OddError("this way")

    @task
    def work() -> None:
        raise error

    @flow(persist_result=True)
    def around() -> None:
        work()

    with pytest.raises(OddError) as caught:
        around()
    assert caught.value is error
    assert isinstance(Failed(data=error).result(raise_on_failure=False), OddError)
