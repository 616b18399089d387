"""A home for a block, what a test reads of it, and the check of a run's path."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from mainspring import flow, get_client, task
from mainspring.exceptions import ConfigurationError, ObjectNotFound
from mainspring.settings import get_current_settings, temporary_settings
from mainspring.task_runners import InlineTaskRunner
from mainspring.testing import HarnessError, assert_states, harness


@task
def double(number: int) -> int:
    return 2 * number


@task(retries=1)
def broken() -> None:
    raise ConnectionError("the line is down")


@task
def where() -> str:
    return threading.current_thread().name


@flow(log_prints=True)
def double_all(numbers: list[int]) -> list[int]:
    print("doubling", len(numbers))
    return double.map(numbers).result()


@flow
async def adouble(number: int) -> int:
    return double(number)


def test_a_home_of_its_own() -> None:
    """Runs of a block are in no other history, and the block begins with none."""
    double(1)
    with harness() as runs:
        assert runs.task_runs() == []
        assert double(2) == 4
        assert [run.name for run in runs.task_runs()] == ["double"]
        home = runs.home
        assert get_current_settings().home == home
        assert home.exists()
    assert not home.exists()
    assert len(get_client().read_task_runs()) == 1


def test_tasks_run_where_they_are_submitted() -> None:
    """The inline runner is the default; another one may be asked for."""

    @flow
    def threads() -> str:
        return where.submit().result()

    with harness():
        assert isinstance(threads.task_runner, InlineTaskRunner)
        assert threads() == threading.current_thread().name
    with harness(runner="threads"):
        assert threads() != threading.current_thread().name


def test_settings_of_the_machine_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside, neither files nor variables nor blocks around say anything; afterwards they hold again."""
    monkeypatch.chdir(tmp_path)
    Path("mainspring.toml").write_text("[tasks]\ndefault_retries = 3\n")
    monkeypatch.setenv("MAINSPRING_FLOWS_DEFAULT_RETRIES", "4")
    before = dict(os.environ)
    with temporary_settings({"durability": "disk"}):
        with harness(settings={"logging.level": "DEBUG"}):
            settings = get_current_settings()
            assert (settings.tasks.default_retries, settings.flows.default_retries) == (0, 0)
            assert (settings.durability, settings.logging.level) == ("process", "DEBUG")
        assert get_current_settings().durability == "disk"
    assert dict(os.environ) == before
    assert get_current_settings().flows.default_retries == 4


@pytest.mark.parametrize("options", [{"runner": "thraeds"}, {"settings": {"durabilty": "disk"}}])
def test_mistakes_change_nothing(options) -> None:
    """A runner or setting that does not exist is refused, and the process stays as it is."""
    before = dict(os.environ)
    with pytest.raises(ConfigurationError), harness(**options):
        pass
    assert dict(os.environ) == before


def test_in_memory() -> None:
    """The history may be in memory, and is gone afterwards just as well."""
    for _ in range(2):
        with harness(settings={"database_url": "sqlite://"}) as runs:
            double(1)
            assert len(runs.task_runs(double)) == 1
            assert not (runs.home / "mainspring.db").exists()


def test_async_tests() -> None:
    """A coroutine uses it like any other function."""

    async def body() -> None:
        with harness() as runs:
            assert await adouble(4) == 8
            assert_states(runs.flow_run(adouble), ["Pending", "Running", "Completed"])
            assert_states(runs.task_run(double), ["Pending", "Running", "Completed"])

    asyncio.run(body())


def test_what_happened() -> None:
    """Runs are found by task, flow and name; their states, lines and events are there."""
    with harness() as runs:
        double_all([1, 2, 3])
        renamed = double.with_options(name="twice")
        renamed(4)
        around = runs.flow_run(double_all)
        assert len(runs.task_runs()) == len(runs.task_runs(double)) == 4
        assert len(runs.task_runs("twice")) == 1
        assert runs.flow_run("double_all").id == runs.flow_run("double-all").id == around.id
        assert [state.name for state in runs.states(around)] == ["Pending", "Running", "Completed"]
        assert "doubling 3" in runs.logs()
        assert "doubling 3" in runs.logs(around)
        assert runs.events("mainspring.flow-run", around)
        assert len(runs.client.read_flow_runs()) == 1


def test_the_one_run() -> None:
    """Asked for the one run of a task, it says what there is if there is not one."""
    with harness() as runs:
        with pytest.raises(HarnessError, match=r"There is no task run of 'double'.*none at all"):
            runs.task_run(double)
        double(1)
        double(2)
        with pytest.raises(HarnessError, match="There are 2 task runs of 'double'"):
            runs.task_run("double")


def test_flows_in_the_background_are_waited_for() -> None:
    """A flow that was submitted ends in the history of its test, not in that of somebody else."""
    goes_on = threading.Event()

    @flow
    def slow() -> int:
        goes_on.wait(20)
        return double(1)

    with harness() as runs:
        future = slow.submit()
        threading.Timer(0.05, goes_on.set).start()
        home = runs.home
    assert future.state.is_completed()
    assert not home.exists()
    assert get_client().read_task_runs() == []


def test_harnesses_in_each_other() -> None:
    """The block around has its history again when the one inside has ended."""
    with harness() as outer:
        double(1)
        with harness() as inner:
            assert inner.task_runs() == []
        assert len(outer.task_runs()) == 1


# The path of a run


def test_paths_of_everything_that_stands_for_a_run() -> None:
    """A record, an id, a text, a state, and a future stand for a run."""
    path = ["Pending", "Running", "Completed"]

    @flow
    def around() -> None:
        future = double.submit(1)
        assert_states(future, path)
        state = double(2, return_state=True)
        for each in (state, state.state_details.task_run_id, str(state.state_details.task_run_id)):
            assert_states(each, path)

    state = around(return_state=True)
    assert state.is_completed()
    assert_states(state, path)
    assert_states(get_client().read_flow_runs()[0], path)
    assert_states(double_all.submit([1]), path)


def test_states_of_subflows() -> None:
    """The state of a subflow run, which has the id of a task run as well, stands for the subflow run."""

    @flow
    def inner() -> None:
        raise ValueError

    @flow(retries=0)
    def around() -> None:
        state = inner(return_state=True)
        assert_states(state, ["Pending", "Running", "Failed"])
        assert inner.name == get_client().read_flow_run(state.state_details.flow_run_id).flow_name

    around()


def test_the_difference() -> None:
    """Both paths are side by side, with attempts and reasons."""
    state = broken(return_state=True)
    assert_states(state, ["Pending", "Running", "Retrying", "Failed"])
    with pytest.raises(AssertionError) as caught:
        assert_states(state, ["Pending", "Running", "Completed"])
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("The task run 'broken' (")
    cells = [line.split(None, 6) for line in lines[2:]]
    assert cells[0] == ["expected", "recorded", "after"]
    assert cells[1][:2] == ["Pending", "Pending"]
    assert cells[2][:2] == ["Running", "Running"]
    assert cells[3][:3] == [">", "Completed", "Retrying"]
    assert cells[4][:3] == [">", "-", "Failed"]
    assert "attempt 2" in lines[5]
    assert "ConnectionError: the line is down" in lines[6]


@pytest.mark.parametrize("run", [None, 3, double])
def test_what_is_no_run(run: object) -> None:
    """Something else than a run is a mistake in the test, and is told as one."""
    with pytest.raises(TypeError, match="Expected a run"):
        assert_states(run, ["Pending"])


def test_a_run_of_another_history() -> None:
    """A run that is not in this history is not found, whatever stands for it."""
    with harness():
        state = double(1, return_state=True)
    for each in (state, state.state_details.task_run_id):
        with pytest.raises(ObjectNotFound, match="in the history of this test"):
            assert_states(each, [])


@pytest.mark.parametrize("expected", ["Pending", None, [1]])
def test_what_is_no_path(expected: object) -> None:
    """A path is a list of texts."""
    with pytest.raises(TypeError, match="Expected"):
        assert_states(double(1, return_state=True), expected)
