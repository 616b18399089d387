"""Functions called in processes of their own: what they get, what comes back, and what is recorded."""

import asyncio
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.client import get_client
from mainspring.events import Event, subscribe
from mainspring.exceptions import ConfigurationError, SerializationError
from mainspring.settings import temporary_settings
from mainspring.task_runners import InlineTaskRunner, ThreadPoolTaskRunner
from mainspring.transactions import transaction
from tests.engine.history import messages, only_task_run, sequence, task_runs
from tests.isolation import subjects
from tests.runners.making import eventually


def test_a_call() -> None:
    """The value comes back, and the run is recorded like any other."""
    assert subjects.add(1, y=2) == 3
    assert sequence() == "Pending Running Completed"
    assert subjects.process_id() != os.getpid()


def test_a_process_is_kept() -> None:
    """It is there for the next call."""
    assert len({subjects.process_id() for _ in range(10)}) <= os.cpu_count()


def test_an_async_call() -> None:
    """It is awaited over there, while the loop here goes on."""

    async def main() -> list[int]:
        return await asyncio.gather(*(subjects.add_later(x) for x in range(4)))

    assert asyncio.run(main()) == [1, 2, 3, 4]
    assert {sequence(run) for run in task_runs()} == {"Pending Running Completed"}


def test_an_exception_comes_home() -> None:
    """It is the run's outcome, and its cause shows where it was raised."""
    with pytest.raises(LookupError, match="not there") as caught:
        subjects.fail("not there")
    assert "subjects.py" in str(caught.value.__cause__)
    assert sequence() == "Pending Running Failed"


def test_an_exit_ends_the_caller_and_not_the_process() -> None:
    """``sys.exit`` does here what it would have done without isolation."""
    before = subjects.process_id()
    with pytest.raises(SystemExit, match="enough"):
        subjects.leave()
    assert sequence(task_runs()[-1]) == "Pending Running Crashed"
    assert subjects.process_id() == before


def test_equal_arguments_stay_one_object() -> None:
    """Arguments that are the same object are the same object over there, in the context, too."""
    value = [1]
    assert subjects.are_one(value, value)


@pytest.mark.parametrize("runner", [ThreadPoolTaskRunner(), InlineTaskRunner()], ids=repr)
def test_submitted_calls(runner: Any) -> None:
    """Runners of threads carry the run, and the function is called in a process all the same."""

    @flow(task_runner=runner)
    def pipeline() -> list[int]:
        return [*subjects.add.map([1, 2, 3]).result(), subjects.add_later.submit(3).result()]

    assert pipeline() == [2, 3, 4, 4]


def test_what_is_active_there() -> None:
    """The run and the flow run, its tags, settings and deadline; the transaction stays here."""

    @flow(name="around")
    def pipeline() -> dict[str, Any]:
        with temporary_settings({"debug_mode": True}), transaction():
            return subjects.surroundings.with_options(timeout_seconds=60)()

    found = pipeline()
    run = only_task_run()
    assert found.pop("pid") != os.getpid()
    assert 0 < found.pop("remaining") < 60
    assert found == {
        "run": run.id,
        "flow": "around",
        "detached": True,
        "tags": ["heavy"],
        "active_tags": [],
        "debug_mode": True,
        "run_count": 1,
        "transaction": None,
    }


def test_runs_inside_have_the_right_parents() -> None:
    """What the function calls and submits is recorded by its process, below the run and in its flow run."""

    @flow
    def pipeline() -> list[int]:
        return subjects.call_others(3)

    assert pipeline() == [4, 8, 4, 4]
    outer = next(run for run in task_runs() if run.task_key.startswith("call_others"))
    inner = [run for run in task_runs() if run.name.startswith("plain")]
    direct = [run for run in inner if run.flow_run_id == outer.flow_run_id]
    assert len(inner) == 4
    assert len(direct) == 3
    assert all(parent.id == outer.id for run in direct for parent in run.task_inputs["__parents__"])
    assert {run.state.name for run in inner} == {"Completed"}


def test_isolated_calls_inside_of_isolated_calls() -> None:
    """A process has processes of its own."""
    pids = subjects.nest(2)
    assert len(set(pids)) == 3
    assert {sequence(run) for run in task_runs()} == {"Pending Running Completed"}


def test_lines_prints_and_events(caplog: pytest.LogCaptureFixture) -> None:
    """They are told here, and lines of the run are stored once."""
    told: list[Event] = []
    with subscribe(told.append), caplog.at_level(logging.INFO):
        subjects.say("this")
    lines = [record.getMessage() for record in caplog.records]
    assert [lines.count(line) for line in ("printed this", "logged this", "user said this")] == [1, 1, 1]
    assert [event.resource["text"] for event in told if event.event == "tests.said"] == ["this"]
    assert eventually(lambda: len(messages()) == 2, 20)
    assert sorted(messages()) == ["logged this", "printed this"]


def test_results_are_kept_here() -> None:
    """Caching is the engine's business: the second call finds the result, and calls nothing."""
    kept = subjects.process_id.with_options(persist_result=True, cache_key_fn=lambda *_: "pid")
    first, second = kept(return_state=True), kept(return_state=True)
    assert first.result() == second.result()
    assert [first.name, second.name] == ["Completed", "Cached"]


def test_a_task_travels_with_its_isolation() -> None:
    """A copy that was pickled calls in a process, too."""
    again = pickle.loads(pickle.dumps(subjects.process_id))
    copied = subjects.process_id.with_options(name="copy")
    assert again is subjects.process_id
    assert copied.isolation == "process"
    assert copied() != os.getpid()
    assert subjects.process_id.with_options(isolation=None)() == os.getpid()


def test_methods() -> None:
    """The object goes along as the first argument."""
    assert subjects.echo(Point(2)).x == 2
    assert Point(3).shifted(4) == 7


class Point:
    def __init__(self, x: int) -> None:
        self.x = x

    @task(isolation="process")
    def shifted(self, by: int) -> int:
        return self.x + by


# What cannot be


def test_a_generator_is_refused() -> None:
    """Its consumer is in this process."""
    with pytest.raises(ValueError, match="'numbers' is a generator"):

        @task(isolation="process")
        def numbers() -> Any:
            yield 1


@pytest.mark.parametrize("isolation", ["thread", True, 1])
def test_an_unknown_isolation_is_refused(isolation: Any) -> None:
    """The error names what there is."""
    with pytest.raises(ValueError, match='Invalid `isolation`: expected "process" or None'):
        task(isolation=isolation)(lambda: None)


def test_an_argument_that_cannot_be_pickled() -> None:
    """The run fails, and the error names the argument."""
    with pytest.raises(SerializationError, match=r"Parameter 'value' of task 'echo'.*'lock'"):
        subjects.echo({"lock": __import__("threading").Lock()})
    assert sequence() == "Pending Running Failed"


def test_a_result_that_cannot_be_pickled() -> None:
    """The run fails."""
    with pytest.raises(SerializationError, match="The result cannot be taken"):
        subjects.give_a_lock()
    assert sequence() == "Pending Running Failed"


def test_a_history_in_memory() -> None:
    """What runs over there could not be recorded, so nothing does."""
    with temporary_settings({"database_url": "sqlite://"}):
        with pytest.raises(ConfigurationError, match=r"Task 'add' .* in memory"):
            subjects.add(1)
        (run,) = get_client().read_task_runs()
        assert run.state.name == "Failed"


def test_the_number_of_processes_is_limited(one_worker: None) -> None:
    """Calls wait for a process that is free."""

    @flow
    def pipeline() -> set[int]:
        return {future.result() for future in [subjects.process_id.submit() for _ in range(6)]}

    assert len(pipeline()) == 1


def test_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is kept works where its caller is, and not where that was when the process was started."""
    (first := tmp_path / "first").mkdir()
    (second := tmp_path / "second").mkdir()
    monkeypatch.chdir(first)
    assert subjects.working_directory() == str(first)
    monkeypatch.chdir(second)
    first.rmdir()
    assert subjects.working_directory() == str(second)
