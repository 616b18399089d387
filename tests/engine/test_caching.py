"""Results that are used again instead of calling the function, as the engines do it."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import cloudpickle
import pydantic
import pytest

from mainspring import clock, flow, task
from mainspring.cache_policies import (
    DEFAULT,
    FLOW_PARAMETERS,
    INPUTS,
    NO_CACHE,
    RUN_ID,
    TASK_SOURCE,
    CachePolicy,
)
from mainspring.context import TaskRunContext
from mainspring.locking.memory import MemoryLockManager
from mainspring.settings import temporary_settings
from mainspring.task_engine import SyncTaskRunEngine
from mainspring.transactions import CommitMode, IsolationLevel, get_transaction, transaction
from tests.engine.clocks import JumpingClock
from tests.engine.history import sequence, task_runs

CACHED = "Pending Running Cached"
COMPLETED = "Pending Running Completed"


def counting(**options: Any) -> Any:
    """A task that counts its calls and returns how many there were."""
    calls = []

    @task(**options)
    def count(x: Any = None, y: Any = None) -> int:
        calls.append((x, y))
        return len(calls)

    return count


def call_and_fail(call: Any) -> None:
    with transaction():
        call()
        raise ValueError("undo")


def sequences() -> list[str]:
    return [sequence(run) for run in task_runs()]


# Hits and misses


@pytest.mark.contract("E-63", "E-65", "E-66", "E-95", "K-29")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_repeated_call_is_answered_from_the_cache(asynchronous: bool) -> None:
    """The second call with equal inputs is Cached: type COMPLETED, no call, and completion hooks run."""
    calls, hooks = [], []

    @task(cache_policy=INPUTS, on_completion=[lambda task, run, state: hooks.append(state.name)])
    def work(x: int) -> list[int]:
        calls.append(x)
        return [x]

    @task(cache_policy=INPUTS, on_completion=[lambda task, run, state: hooks.append(state.name)])
    async def awork(x: int) -> list[int]:
        calls.append(x)
        return [x]

    results = [asyncio.run(awork(1)) if asynchronous else work(1) for _ in range(2)]
    assert results == [[1], [1]]
    assert calls == [1]
    assert sequences() == [COMPLETED, CACHED]
    assert hooks == ["Completed", "Cached"]
    assert {run.state.type for run in task_runs()} == {"COMPLETED"}
    assert [run.run_count for run in task_runs()] == [1, 1]


@pytest.mark.contract("T-118")
def test_how_arguments_are_spelled_does_not_matter() -> None:
    """Positional or by name, in any order, given or defaulted: equal inputs are equal."""
    count = counting(cache_policy=INPUTS)
    assert {count(1, 2), count(1, y=2), count(y=2, x=1)} == {1}
    assert {count(1), count(1, None), count(x=1)} == {2}


@pytest.mark.contract("E-141")
def test_two_tasks_with_one_key_share_a_value() -> None:
    """The second function is not called."""

    @task(cache_key_fn=lambda context, parameters: "shared")
    def first() -> str:
        return "first"

    @task(cache_key_fn=lambda context, parameters: "shared")
    def second() -> str:
        raise AssertionError("called")

    assert (first(), second()) == ("first", "first")


@pytest.mark.contract("E-149")
def test_a_cached_none_is_a_hit() -> None:
    """None is a value like any other."""
    calls = []

    @task(cache_policy=INPUTS)
    def work(x: int) -> None:
        calls.append(x)

    assert (work(1), work(1), calls) == (None, None, [1])


@pytest.mark.contract("E-148", "K-31")
def test_a_record_counts_until_it_expires() -> None:
    """Before ``cache_expiration`` has passed a record is used, then the function runs again."""
    count = counting(cache_policy=INPUTS, cache_expiration=timedelta(minutes=5))
    fake = JumpingClock()
    with clock.use_clock(fake):
        assert [count(), count()] == [1, 1]
        fake.time += 299 * 1_000_000
        assert count() == 1
        fake.time += 2 * 1_000_000
        assert [count(), count()] == [2, 2]


@pytest.mark.contract("E-148")
@pytest.mark.parametrize("duration", [timedelta(0), timedelta(seconds=-1)])
def test_a_record_that_expires_at_once_never_counts(duration: timedelta) -> None:
    """Zero and negative durations never hit."""
    count = counting(cache_policy=INPUTS, cache_expiration=duration)
    assert [count(), count()] == [1, 2]


@pytest.mark.contract("E-151")
def test_caching_by_the_parameters_of_the_flow() -> None:
    """Equal flow parameters hit, within a run and across runs; a change in any of them misses."""
    count = counting(cache_policy=FLOW_PARAMETERS)

    @flow
    def around(a: int, b: int) -> list[int]:
        return [count(), count()]

    assert around(1, 2) == [1, 1]
    assert around(1, 2) == [1, 1]
    assert around(1, 3) == [2, 2]
    assert around(2, 2) == [3, 3]


@pytest.mark.contract("T-16", "T-118")
def test_the_default_policy_shares_results_within_one_flow_run() -> None:
    """It combines inputs, source and run, and matters only where results are kept."""
    count = counting()

    @flow(persist_result=True)
    def keeping() -> list[int]:
        return [count(1), count(1), count(2)]

    assert keeping() == [1, 1, 2]
    assert keeping() == [3, 3, 4]
    assert flow(keeping.fn)() == [5, 6, 7]


@pytest.mark.contract("T-118", "E-124")
def test_refreshing_runs_and_overwrites() -> None:
    """``refresh_cache=True`` computes again for all later readers; the task's own word beats the setting."""
    count = counting(cache_policy=INPUTS)
    refreshed = count.with_options(refresh_cache=True)
    stubborn = count.with_options(refresh_cache=False)
    assert [count(), refreshed(), count()] == [1, 2, 2]
    with temporary_settings({"tasks.refresh_cache": True}):
        assert [stubborn(), count()] == [2, 3]
    assert count() == 3


@pytest.mark.contract("V-13")
def test_caching_can_be_switched_off_by_settings() -> None:
    """``tasks.disable_caching`` ignores every policy, ``tasks.default_no_cache`` only the default one."""
    count = counting(cache_policy=INPUTS)
    with temporary_settings({"tasks.disable_caching": True}):
        assert [count(), count()] == [1, 2]
    with temporary_settings({"tasks.default_no_cache": True}):
        assert task(lambda: None).cache_policy == NO_CACHE
        assert task(cache_policy=INPUTS)(lambda: None).cache_policy == INPUTS
    assert task(lambda: None).cache_policy is DEFAULT


@pytest.mark.contract("T-119", "E-147")
def test_another_storage_key_is_another_record() -> None:
    """A changed ``result_storage_key`` misses."""
    count = counting(result_storage_key="one")
    assert [count(), count(), count.with_options(result_storage_key="two")()] == [1, 1, 2]


# Keys


@pytest.mark.contract("E-13")
def test_where_the_transaction_key_comes_from(tmp_path: Path) -> None:
    """The policy's key, else the filled-in storage key, else None."""

    def key(**options: Any) -> str | None:
        @task(**options)
        def work(x: int) -> int:
            return x

        engine: Any = SyncTaskRunEngine(task=work, parameters={"x": 4})
        with engine.start():
            found = engine.compute_transaction_key()
            with engine.run_context(), engine.transaction_context() as txn:
                engine.call_task_fn(txn)
        return found

    fixed = CachePolicy.from_cache_key_fn(lambda context, parameters: "fixed")
    assert key(cache_policy=fixed) == "fixed"
    assert key(cache_policy=fixed, result_storage_key="{parameters[x]}") == "fixed"
    assert key(result_storage_key="{parameters[x]}") == "4"
    assert key(cache_policy=NO_CACHE, result_storage_key="{parameters[x]}") == "4"
    assert key(cache_policy=NO_CACHE) is None
    assert key(cache_policy=None) is None


class Recording(CachePolicy):
    """A policy that remembers what it is asked."""

    asked: ClassVar[list[tuple[Any, dict[str, Any], Any]]] = []

    def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str:
        self.asked.append((task_ctx, dict(inputs), flow_parameters))
        return f"key-{len(self.asked)}"


@pytest.mark.contract("E-14", "W-23")
def test_what_a_policy_is_asked_with() -> None:
    """The active task run context, the resolved inputs and the flow's parameters; once per run."""
    seen = []
    Recording.asked.clear()

    @task
    def upstream() -> int:
        return 7

    @task(cache_policy=Recording(), retries=1)
    def work(x: int) -> int:
        seen.append(TaskRunContext.get())
        if len(seen) == 1:
            raise ValueError
        return x

    @flow
    def around(a: int) -> int:
        return work(upstream.submit())

    assert around(a=3) == 7
    ((context, inputs, flow_parameters),) = Recording.asked
    assert context is seen[0]
    assert inputs == {"x": 7}
    assert flow_parameters == {"a": 3}
    work(8)
    assert Recording.asked[-1][1:] == ({"x": 8}, None)


@pytest.mark.contract("T-118")
def test_key_functions_get_resolved_inputs_and_self() -> None:
    """Futures are results by then, and a method's instance is among the inputs."""
    seen: list[dict[str, Any]] = []

    def key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
        seen.append(parameters)
        return str(len(seen))

    class Thing:
        @task(cache_key_fn=key)
        def method(self, x: int) -> int:
            return x

    @task
    def upstream() -> int:
        return 7

    thing = Thing()

    @flow
    def around() -> None:
        thing.method(upstream.submit())

    around()
    assert seen == [{"self": thing, "x": 7}]


@pytest.mark.contract("T-12", "K-39")
def test_a_key_function_beats_a_policy(caplog: pytest.LogCaptureFixture) -> None:
    """Both given: the function wins, and a warning says so."""
    both = task(cache_policy=INPUTS, cache_key_fn=lambda context, parameters: "k")(lambda x: x)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "`cache_key_fn` will be used" in record.getMessage()
    assert (both(1), both(2)) == (1, 1)


@pytest.mark.contract("T-15")
def test_which_policy_a_task_has() -> None:
    """The given one as it is; None with a storage key; the default one otherwise."""
    policy = INPUTS + TASK_SOURCE
    assert task(cache_policy=policy)(lambda: None).cache_policy is policy
    assert task(result_storage_key="k")(lambda: None).cache_policy is None
    assert task(lambda: None).cache_policy is DEFAULT


@pytest.mark.contract("V-12", "K-26")
@pytest.mark.parametrize("chosen", [True, False])
def test_a_key_that_cannot_be_computed_means_no_caching(
    chosen: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The run goes on; the line about it is an error only if the user chose the policy."""
    options = {"cache_policy": INPUTS} if chosen else {"persist_result": True}
    count = counting(**options)
    lock = threading.Lock()
    assert [count(lock), count(lock)] == [1, 2]
    assert sequences() == [COMPLETED, COMPLETED]
    lines = [record for record in caplog.records if "could not be computed" in record.getMessage()]
    assert {record.levelname for record in lines} == {"ERROR" if chosen else "WARNING"}
    assert "'x'" in lines[0].getMessage()


@pytest.mark.parametrize("answer", [7, b"bytes", object()])
def test_a_key_function_that_returns_no_text_means_no_caching(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What a key function returns besides text and None is reported, and the function runs."""
    count = counting(cache_key_fn=lambda context, parameters: answer)
    assert [count(), count()] == [1, 2]
    assert any("could not be computed" in record.getMessage() for record in caplog.records)


@pytest.mark.contract("K-2")
def test_no_key_means_no_caching() -> None:
    """A policy or function that gives None does not cache."""
    count = counting(cache_key_fn=lambda context, parameters: None)
    assert [count(), count()] == [1, 2]
    assert (RUN_ID - "x").compute_key(None, {}, None) is None  # type: ignore[arg-type]


# Generators


@pytest.mark.contract("G-8")
def test_generator_tasks_always_run() -> None:
    """Whatever the policy, the values are yielded anew."""
    calls = []

    @task(cache_policy=INPUTS)
    def numbers() -> Iterator[int]:
        calls.append(1)
        yield 1
        yield 2

    assert (list(numbers()), list(numbers()), len(calls)) == ([1, 2], [1, 2], 2)
    assert sequences() == [COMPLETED, COMPLETED]


# Transactions


@pytest.mark.contract("E-126", "TX-37")
def test_inside_a_transaction_records_wait_for_its_end() -> None:
    """Equal calls inside one outer task both run, unless an inner transaction commits eagerly."""
    count = counting(cache_policy=INPUTS)

    @task
    def lazily() -> list[int]:
        return [count(1), count(1)]

    @task
    def eagerly() -> list[int]:
        results = []
        for _ in range(2):
            with transaction(commit_mode=CommitMode.EAGER):
                results.append(count(2))
        return results

    assert lazily() == [1, 2]
    assert eagerly() == [3, 3]


@pytest.mark.contract("E-125")
def test_without_keeping_a_transaction_has_no_store() -> None:
    """It is still real: it has hooks and parents, and reads and writes nothing."""
    seen: list[Any] = []

    @task
    def plain() -> None:
        seen.append(get_transaction())

    @task(persist_result=True)
    def kept() -> None:
        seen.append(get_transaction())

    plain(), kept()
    assert [txn.store is None for txn in seen] == [True, False]
    assert all(txn.is_committed() for txn in seen)


@pytest.mark.contract("H-12")
def test_a_hit_runs_neither_commit_nor_rollback_hooks() -> None:
    """Nothing was staged, so there is nothing to commit or undo."""
    hooks: list[str] = []
    count = counting(
        cache_policy=INPUTS,
        on_commit=[lambda txn: hooks.append("commit")],
        on_rollback=[lambda txn: hooks.append("rollback")],
    )
    assert count() == 1
    assert hooks == ["commit"]
    assert count() == 1
    with pytest.raises(ValueError, match="undo"):
        call_and_fail(count)
    assert hooks == ["commit"]
    assert sequences() == [COMPLETED, CACHED, CACHED]


@pytest.mark.contract("V-11", "K-21")
def test_a_serializable_policy_lets_one_run_compute(tmp_path: Path) -> None:
    """Of two runs at once with one key one calls the function and the other waits for the record."""
    policy = INPUTS.configure(isolation_level=IsolationLevel.SERIALIZABLE, lock_manager=MemoryLockManager())
    started, release = threading.Event(), threading.Event()
    calls = []

    @task(cache_policy=policy)
    def work(x: int) -> int:
        calls.append(1)
        started.set()
        assert release.wait(30)
        return 1

    @flow
    def around() -> list[int]:
        first = work.submit(1)
        assert started.wait(30)
        second = work.submit(1)
        release.set()
        return [first.result(), second.result()]

    assert around() == [1, 1]
    assert len(calls) == 1
    assert sorted(sequences()) == sorted([COMPLETED, CACHED])


@pytest.mark.contract("V-11")
def test_serializable_without_a_lock_manager_is_refused() -> None:
    """An isolation level that the store cannot keep is an error, and the run says so."""
    count = counting(cache_policy=INPUTS.configure(isolation_level="SERIALIZABLE"))
    with pytest.raises(ValueError, match="not supported by provided configuration"):
        count()
    assert task_runs()[-1].state.is_failed()


@pytest.mark.contract("K-20", "TX-68")
def test_metadata_may_be_kept_elsewhere(tmp_path: Path) -> None:
    """``key_storage`` has the metadata, the result storage the value."""
    policy = INPUTS.configure(key_storage=tmp_path / "keys")
    count = counting(cache_policy=policy, result_storage=tmp_path / "values")
    assert [count(), count()] == [1, 1]
    assert len(list((tmp_path / "keys").iterdir())) == 1
    assert len(list((tmp_path / "values").iterdir())) == 1


@pytest.mark.contract("W-4")
def test_a_broken_record_is_no_miss(tmp_path: Path) -> None:
    """A record that cannot be read is an error that names it, not a silent second computation."""
    count = counting(result_storage_key="k", result_storage=tmp_path)
    assert count() == 1
    (tmp_path / "k").write_bytes(b"\x00 garbage")
    with pytest.raises(Exception, match="k"):
        count()
    assert task_runs()[-1].state.is_failed()


@pytest.mark.contract("T-120")
def test_models_count_by_their_content() -> None:
    """Objects with fields, also of bytes, are equal inputs if what is in them is equal."""

    class Block(pydantic.BaseModel):
        name: str
        data: bytes

    count = counting(cache_policy=INPUTS)
    assert count(Block(name="a", data=b"\x00\xff")) == 1
    assert count(Block(name="a", data=b"\x00\xff")) == 1
    assert count(Block(name="a", data=b"\x00\xfe")) == 2


ELSEWHERE = """
import sys, cloudpickle
from mainspring.cache_policies import TASK_SOURCE
from mainspring.context import TaskRunContext
work = cloudpickle.load(sys.stdin.buffer)
print(TASK_SOURCE.compute_key(TaskRunContext(work, None), {}, None))
"""


@pytest.mark.contract("V-14", "K-38")
def test_the_source_travels_with_the_task(tmp_path: Path) -> None:
    """A process that has no source files gets the same key for the same task."""
    file = tmp_path / "made.py"
    file.write_text("from mainspring import task\n\n@task\ndef work(x):\n    return x + 1  # one more\n")
    namespace: dict[str, Any] = {"__name__": "made"}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    work = namespace["work"]
    assert "# one more" in work.source_code
    here = TASK_SOURCE.compute_key(TaskRunContext(work, None), {}, None)  # type: ignore[arg-type]
    sent = cloudpickle.dumps(work)
    file.unlink()
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], input=sent, capture_output=True, check=True)
    assert done.stdout.decode().strip() == here
