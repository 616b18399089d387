"""Why a run used a kept result or did not, as the history tells it afterwards."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, get_client, task
from mainspring.cache_policies import DEFAULT, INPUTS, NO_CACHE, TASK_SOURCE, CachePolicy
from mainspring.client import CacheExplanation
from mainspring.clock import use_clock
from mainspring.exceptions import ConfigurationError, ObjectNotFound
from mainspring.recording import current_recorder
from mainspring.runs import TaskRun
from mainspring.settings import temporary_settings
from mainspring.transactions import transaction
from tests.engine.clocks import JumpingClock
from tests.engine.history import query, task_runs


@task(cache_policy=INPUTS + TASK_SOURCE)
def work(x: Any, y: Any = 0, z: Any = 0) -> Any:
    if x == "fail":
        raise ValueError(x)
    return x


def explained(run: TaskRun | None = None) -> CacheExplanation:
    """The explanation of a run, by default of the newest."""
    return get_client().explain_caching((run or task_runs()[-1]).id)


def told() -> tuple[str, list[str]]:
    """Outcome and changed components of the newest run."""
    found = explained()
    return found.outcome, found.changed


def names_of(found: CacheExplanation) -> list[str]:
    return [component.name for component in found.components]


@pytest.mark.contract("K-29")
def test_a_first_run_has_nothing_to_be_compared_with() -> None:
    """Its components are told, and no other run."""
    work(1)
    found = explained()
    assert (found.outcome, found.other_task_run_id, found.changed) == ("first", None, [])
    assert names_of(found) == ["inputs.x", "inputs.y", "inputs.z", "task_source"]
    assert all(component.then is None and component.now for component in found.components)


@pytest.mark.contract("K-29", "E-63")
def test_a_used_result_has_a_source() -> None:
    """It is the run that kept it, not one that used it before; also of another task with the same key."""
    work(1)
    source = task_runs()[-1]
    for _ in range(2):
        work(1)
    found = explained()
    assert (found.outcome, found.other_task_run_id, found.changed) == ("used", source.id, [])
    assert source.name in found.reason

    @task(cache_key_fn=lambda *_: found.key)
    def another() -> None: ...

    another()
    assert explained().outcome == "used"
    assert explained().other_task_run_id == source.id


@pytest.mark.contract("K-29")
def test_a_recomputed_result_has_the_last_source() -> None:
    """After a refresh the result is that of the refreshing run."""
    work(1)
    work.with_options(refresh_cache=True)(1)
    refreshed = task_runs()[-1]
    work(1)
    assert explained().other_task_run_id == refreshed.id


@pytest.mark.contract("K-33")
def test_a_changed_input_is_told() -> None:
    """With what it was, and what it is."""
    work(1, 2)
    before = explained()
    work(1, 3)
    found = explained()
    assert (found.outcome, found.changed) == ("changed", ["inputs.y"])
    changed = found.components[1]
    assert (changed.then, changed.is_same) == (before.components[1].now, False)
    assert "inputs.y" in found.reason


@pytest.mark.contract("K-33")
def test_the_nearest_run_is_compared() -> None:
    """The one with most components in common, and the newest of several; later runs do not count."""
    for arguments in [(1, 1, 1), (5, 5, 5), (1, 1, 2), (5, 1, 5), (1, 1, 3)]:
        work(*arguments)
    first, _, third, _, last = task_runs()
    assert explained(last).other_task_run_id == third.id
    assert explained(third).other_task_run_id == first.id
    assert explained(last).changed == ["inputs.z"]


@pytest.mark.contract("K-34")
def test_changed_code_is_told() -> None:
    """A task whose function has the same name is compared, though its key as a task is another one."""

    def versions() -> Any:
        @task(cache_policy=INPUTS + TASK_SOURCE)
        def convert(x: int) -> int:
            return x * 2

        first = convert

        @task(cache_policy=INPUTS + TASK_SOURCE)
        def convert(x: int) -> int:
            return len(str(x))

        return first, convert

    first, second = versions()
    assert first.task_key != second.task_key
    first(1)
    second(1)
    assert told() == ("changed", ["task_source"])


@pytest.mark.contract("K-10")
def test_the_default_policy_of_another_flow_run() -> None:
    """The run is what differs: results are shared within one flow run."""

    @task
    def step(x: int) -> int:
        return x

    @flow(persist_result=True)
    def around() -> None:
        step(1)
        step(1)

    around()
    assert told()[0] == "used"
    around()
    assert explained(task_runs()[2]).changed == ["run_id"]
    assert step.cache_policy is DEFAULT


# The same key, and nothing to be used


@pytest.mark.contract("K-31")
def test_an_expired_result() -> None:
    """The time at which it expired is told."""
    clock = JumpingClock(tick=1)
    short = work.with_options(cache_expiration=timedelta(hours=1))
    with use_clock(clock):
        short(1)
        clock.advance(3601)
        short(1)
        assert explained().outcome == "missing"
        assert "expired at 2027-" in explained().reason


@pytest.mark.contract("K-29")
def test_a_failed_run_keeps_nothing() -> None:
    """It is named, with the state in which it ended."""
    for _ in range(2):
        work("fail", return_state=True)
    assert explained().outcome == "missing"
    assert explained().other_task_run_id == task_runs()[0].id
    assert "ended as Failed" in explained().reason


def work_in_vain() -> None:
    with transaction():
        work(1)
        work("fail")


@pytest.mark.contract("K-29")
def test_a_rolled_back_run_keeps_nothing() -> None:
    """Its result was never written."""
    with pytest.raises(ValueError, match="fail"):
        work_in_vain()
    work(1)
    assert "ended as RolledBack" in explained().reason


def test_a_result_that_waits_for_a_transaction() -> None:
    """In one transaction, results are kept at its end."""
    with transaction():
        work(1)
        work(1)
    assert explained().outcome == "missing"
    assert "transaction" in explained().reason


def test_a_result_kept_elsewhere(tmp_path: Path) -> None:
    """Equal keys in two storages are two results."""
    work(1)
    work.with_options(result_storage=tmp_path / "elsewhere")(1)
    assert "kept elsewhere" in explained().reason


@pytest.mark.contract("K-29")
def test_of_several_runs_with_the_key_the_nearest_is_named(tmp_path: Path) -> None:
    """One of the same task with the same storage, though another one had the key later and kept its result."""
    own = work.with_options(result_storage=tmp_path / "own", refresh_cache=True)
    own(1)
    named = task_runs()[-1]
    task(cache_key_fn=lambda *_: explained(named).key, result_storage=tmp_path / "other")(lambda: 1)()
    (tmp_path / "own" / str(explained(named).key)).unlink()
    own.with_options(refresh_cache=False)(1)
    assert (explained().outcome, explained().other_task_run_id) == ("missing", named.id)
    assert "it was removed" in explained().reason


def test_a_result_that_could_not_be_kept() -> None:
    """Of a value that no serializer takes, and of a disk that is full."""
    stubborn = task(cache_policy=INPUTS, result_serializer="json")(lambda x: object())
    stubborn(1), stubborn(1)
    assert explained().outcome == "missing"
    assert "its result could not be kept, as the log of that run tells" in explained().reason


@pytest.mark.contract("W-4")
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text[:-5], "is damaged"),
        (lambda text: "", "is damaged"),
        (lambda text: text.replace('"type":"pickle"', '"type":"elsewhere"'), "serializer 'elsewhere'"),
    ],
    ids=["cut off", "empty", "unknown serializer"],
)
def test_a_damaged_result(damage: Callable[[str], str], told: str, tmp_path: Path) -> None:
    """What was wrong with it is told, and which run had kept it; also where that is not in this history."""
    kept = work.with_options(result_storage=tmp_path)
    kept(1)
    path = tmp_path / str(explained().key)
    path.write_text(damage(path.read_text()))
    assert kept(1, return_state=True).is_failed()
    found = explained()
    assert (found.outcome, found.other_task_run_id) == ("damaged", task_runs()[0].id)
    assert told in found.reason
    path.rename(tmp_path / "a-key")
    task(cache_key_fn=lambda *_: "a-key", result_storage=tmp_path)(lambda: 1)(return_state=True)
    found = explained()
    assert (found.outcome, found.other_task_run_id) == ("damaged", None)
    assert found.reason.startswith("What somebody had kept under the same key could not be loaded. ")


# Nothing was looked up


@pytest.mark.contract("K-30")
@pytest.mark.parametrize("by_setting", [False, True])
def test_a_refresh(by_setting: bool) -> None:
    """The key is told, and that it did not matter."""
    work(1)
    with temporary_settings({"tasks.refresh_cache": by_setting}):
        (work if by_setting else work.with_options(refresh_cache=True))(1)
    found = explained()
    assert (found.outcome, found.other_task_run_id) == ("refresh", None)
    assert "computed anew, as `refresh_cache` of its task or the setting tasks.refresh_cache" in found.reason
    assert found.key == explained(task_runs()[0]).key


@pytest.mark.contract("K-37")
def test_caching_switched_off() -> None:
    """The setting is named; there is nothing to be compared, whatever ran before."""
    work(1)
    with temporary_settings({"tasks.disable_caching": True}):
        work(1)
    assert (explained().outcome, explained().components) == ("disabled", [])
    assert "tasks.disable_caching" in explained().reason


@pytest.mark.contract("G-8")
def test_a_generator() -> None:
    """What generators yield is not kept."""

    @task(cache_policy=INPUTS)
    def numbers(n: int) -> Any:
        yield from range(n)

    assert list(numbers(2)) == [0, 1]
    assert explained().outcome == "generator"


@pytest.mark.contract("K-2")
def test_no_key() -> None:
    """A policy may give none, and so may a function."""
    task(cache_policy=INPUTS)(lambda: 1)()
    assert explained().outcome == "no key"
    assert "`INPUTS` does for a task without arguments" in explained().reason
    task(cache_key_fn=lambda *_: None)(lambda: 1)()
    assert (explained().outcome, explained().reason) == (
        "no key",
        "Its `cache_key_fn` returned None, which means no key.",
    )


@pytest.mark.contract("K-26", "V-12")
def test_a_key_that_cannot_be_computed() -> None:
    """The error is told, and which component has no hash."""
    work(1)
    work.with_options(persist_result=True)(1, threading.Lock())
    found = explained()
    assert (found.outcome, found.key, found.changed) == ("error", None, ["inputs.y"])
    assert "inputs['y']" in found.reason


@pytest.mark.contract("V-12")
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (ValueError("no idea."), ": ValueError: no idea."),
        (ValueError(), ": ValueError."),
        (7, "the policy gave 7 of type int."),
    ],
)
def test_a_function_that_gives_no_key(answer: Any, told: str) -> None:
    """Whatever its error is, it is told; the function is called once."""
    calls = []

    def key(context: Any, parameters: Any) -> Any:
        calls.append(1)
        if isinstance(answer, Exception):
            raise answer
        return answer

    task(cache_key_fn=key)(lambda: 1)()
    assert explained().outcome == "error"
    assert explained().reason.startswith("Its cache key could not be computed: ")
    assert explained().reason.endswith(told)
    assert [component.now for component in explained().components] == [None] * len(explained().components)
    assert calls == [1]


@pytest.mark.contract("R-80")
def test_a_key_that_no_storage_could_have(tmp_path: Path) -> None:
    """It is told, with what to do about it; also where it was made of a template."""
    task(cache_key_fn=lambda *_: "../k", result_storage=tmp_path)(lambda: 1)(return_state=True)
    assert explained().outcome == "error"
    assert "No storage could have its key. ConfigurationError: The storage key '../k'" in explained().reason
    with pytest.raises(ConfigurationError):
        task(result_storage_key="{parameters[x]}", result_storage=tmp_path)(lambda: 1)()
    assert explained().outcome == "error"
    assert "Its storage key could not be made. ConfigurationError: " in explained().reason
    assert "'{parameters[x]}' cannot be rendered" in explained().reason


@pytest.mark.contract("K-2")
def test_components_are_texts() -> None:
    """What a policy of the user's tells besides is left out, and does not keep anybody from asking."""

    class Odd(CachePolicy):
        def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str:
            return "k"

        def explain(self, task_ctx: Any, inputs: Any, flow_parameters: Any) -> Any:
            return {"number": 7, "text": "t"}

    task(cache_policy=Odd())(lambda: 1)()
    assert [(each.name, each.now) for each in explained().components] == [("number", None), ("text", "t")]


@pytest.mark.contract("K-2")
def test_runs_that_look_for_nothing() -> None:
    """No policy, nothing kept, a flow, and a run that never began are told apart."""

    @task
    def plain() -> None: ...

    plain()
    assert (explained().outcome, explained().components) == ("uncached", [])
    assert "persist_result" in explained().reason
    plain.with_options(persist_result=True, cache_policy=NO_CACHE)()
    assert explained().outcome == "uncached"
    assert "NO_CACHE" in explained().reason

    @flow
    def inner() -> None: ...

    @flow
    def outer() -> None:
        inner()
        failed = work.with_options(cache_policy=NO_CACHE).submit("fail")
        plain.with_options(name="late").submit(wait_for=[failed]).wait()

    outer(return_state=True)
    for name, why in {"inner": "runs of flows are not cached", "late": "not begun"}.items():
        run = next(run for run in task_runs() if run.name.startswith(name))
        assert why in explained(run).reason


def test_a_storage_key_is_a_component() -> None:
    """A task with a file name of its own is cached by it."""
    named = work.with_options(cache_policy=None, result_storage_key="at-{parameters[x]}")
    named(1)
    named(2)
    assert told() == ("changed", ["result_storage_key"])
    named(2)
    assert told() == ("used", [])


# Recording


@pytest.mark.contract("K-2")
def test_options_not_used_record_nothing() -> None:
    """Runs without a cache policy have no row."""
    task(lambda: 1)()
    task(persist_result=True, cache_policy=NO_CACHE)(lambda: 1)()
    assert len(task_runs()) == 2
    assert query("SELECT count(*) FROM cache_keys") == [(0,)]


def test_a_cache_key_needs_no_commit_of_its_own() -> None:
    """It is written with the states of its run."""
    writes: list[tuple[list[Any], Any]] = []
    work(0)
    recorder = current_recorder()
    write = recorder.store.write

    def counted(changes: Any, logs: Any, cache_keys: Any, *rest: Any) -> Any:
        writes.append(([change.cache_key for change in changes], cache_keys))
        return write(changes, logs, cache_keys, *rest)

    recorder.store.write = counted  # type: ignore[method-assign]
    work(1)
    assert [len(keys) for keys, _ in writes if any(keys)] == [1]  # it may be made visible before
    assert not any(alone for _, alone in writes)


@pytest.mark.contract("E-14")
def test_a_policy_is_asked_once() -> None:
    """Key and components come from one look, over all attempts."""

    class Counting(CachePolicy):
        asked = 0

        def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str:
            type(self).asked += 1
            return "key"

    attempts = []

    @task(cache_policy=Counting() + INPUTS, retries=1)
    def shaky(x: int) -> None:
        attempts.append(x)
        if len(attempts) == 1:
            raise ConnectionError

    shaky(1)
    assert Counting.asked == 1
    assert names_of(explained()) == ["Counting", "inputs.x"]


# Asking


@pytest.mark.contract("K-29")
def test_the_async_client_tells_the_same() -> None:
    """It is the same explanation."""
    work(1)
    (run,) = task_runs()
    assert asyncio.run(get_client(sync_client=False).explain_caching(run.id)) == explained(run)


def test_a_flow_run_is_no_task_run() -> None:
    """Nor is an id of nothing."""

    @flow
    def empty() -> None: ...

    empty()
    client = get_client()
    (run,) = client.read_flow_runs()
    with pytest.raises(ObjectNotFound, match="TaskRun"):
        client.explain_caching(run.id)
