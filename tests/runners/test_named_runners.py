"""Task runners by name: for flows, for the command, and for flows that declare none."""

from __future__ import annotations

import os
import pickle
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from mainspring import flow, resume_flow_run, task
from mainspring.context import FlowRunContext, hydrated_context, serialize_context
from mainspring.exceptions import ConfigurationError, NotResumable
from mainspring.settings import temporary_settings
from mainspring.task_runners import (
    InlineTaskRunner,
    ProcessPoolTaskRunner,
    TaskRunner,
    ThreadPoolTaskRunner,
)
from mainspring.task_runners.named import RUNNERS, check_name, default_runner, runner_named
from tests.engine.history import flow_runs

DEFAULT = "tasks.runner.default"


class Sharing(ThreadPoolTaskRunner):
    """A runner whose workers serve subflows, too."""

    lender: TaskRunner[Any] | None = None

    def nested(self) -> Sharing:
        shared = self.duplicate()
        shared.lender = self
        return shared

    def duplicate(self) -> Sharing:
        copied = super().duplicate()
        copied.lender = self.lender
        return copied


SHARING = f"{__name__}:Sharing"
OWN = ThreadPoolTaskRunner(max_workers=7)


def broken() -> TaskRunner[Any]:
    raise OSError("no cluster")


def current_runner() -> Any:
    context = FlowRunContext.get()
    assert context is not None
    return context.task_runner


@task
def process_id() -> int:
    return os.getpid()


@flow
def modest() -> tuple[str, int]:
    """Declares no task runner."""
    return type(current_runner()).__name__, process_id.submit().result(timeout=60)


@task
def call_modest() -> tuple[str, int, int]:
    return *modest(), os.getpid()


@flow(persist_result=True)
def failing_once(marker: str) -> str:
    if not Path(marker).exists():
        raise ValueError("not yet")
    return type(current_runner()).__name__


# From a name to a runner


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("threads", ThreadPoolTaskRunner()),
        ("threads=4", ThreadPoolTaskRunner(max_workers=4)),
        ("processes", ProcessPoolTaskRunner()),
        ("processes=2", ProcessPoolTaskRunner(max_workers=2)),
        (" processes = 2 ", ProcessPoolTaskRunner(max_workers=2)),
        ("inline", InlineTaskRunner()),
    ],
)
def test_a_name_gives_a_runner(text: str, expected: TaskRunner[Any]) -> None:
    """It is of the kind that the name says, with as many workers as the number says, and not started."""
    check_name(text)
    runner = runner_named(text)
    assert type(runner) is type(expected)
    assert runner == expected
    assert runner_named(text) is not runner


@pytest.mark.parametrize(
    ("text", "module", "kind", "options"),
    [
        ("dask", "dask", "DaskTaskRunner", {}),
        ("dask=2", "dask", "DaskTaskRunner", {"cluster_kwargs": {"n_workers": 2, "threads_per_worker": 1}}),
        ("dask=tcp://10.0.0.5:8786", "dask", "DaskTaskRunner", {"address": "tcp://10.0.0.5:8786"}),
        ("ray", "ray", "RayTaskRunner", {}),
        ("ray=2", "ray", "RayTaskRunner", {"init_kwargs": {"num_cpus": 2}}),
        ("ray=auto", "ray", "RayTaskRunner", {"address": "auto"}),
        ("ray=ray://host:10001", "ray", "RayTaskRunner", {"address": "ray://host:10001"}),
    ],
)
def test_a_name_gives_the_runner_of_a_cluster(text: str, module: str, kind: str, options: Any) -> None:
    """A number is that of the workers of a local cluster, anything else its address, whatever colons it has."""
    check_name(text)
    pytest.importorskip(f"mainspring.integrations.{module}")
    expected = getattr(import_module(f"mainspring.integrations.{module}"), kind)(**options)
    assert runner_named(text) == expected


@pytest.mark.parametrize("name", ["Sharing", "OWN"])
def test_a_place_gives_a_runner_of_your_own(name: str) -> None:
    """MODULE:NAME is a class, which is called without arguments, or a runner."""
    runner = runner_named(f"{__name__}:{name}")
    assert isinstance(runner, Sharing if name == "Sharing" else ThreadPoolTaskRunner)
    assert runner == (Sharing() if name == "Sharing" else OWN)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "thread",
            r"no task runner 'thread'\. Did you mean 'threads'\? There are threads, processes, inline",
        ),
        ("", "no task runner ''. There are threads"),
        ("xyz", "no task runner 'xyz'. There are threads"),
        ("threads=0", "at least 1"),
        ("dask=-3", "at least 1"),
        ("threads=many", "takes a number of workers, which 'many' is not"),
        ("processes=1.5", "takes a number of workers, which '1.5' is not"),
        ("ray=1.5", "takes a number of workers or an address, which '1.5' is not"),
        ("processes=", "takes a number of workers"),
        ("inline=2", "'inline' takes nothing"),
        ("threads:4", "Write threads=4"),
        ("dask:tcp://10.0.0.5:8786", "Write dask=tcp://10.0.0.5:8786"),
        ("a.module:", "write MODULE:NAME"),
        ("a.module:Class=2", "with nothing after it"),
    ],
)
def test_a_name_that_cannot_be(text: str, said: str) -> None:
    """It is refused before anything is imported, with what there is and what was probably meant."""
    with pytest.raises(ConfigurationError, match=said):
        check_name(text)
    with pytest.raises(ConfigurationError, match=said):
        runner_named(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no_such_module:Runner", "cannot be imported: No module named 'no_such_module'"),
        (f"{__name__}:Missing", "has no attribute 'Missing'"),
        (f"{__name__}:DEFAULT", "cannot be made: TypeError"),
        (f"{__name__}:broken", "cannot be made: OSError: no cluster"),
        (f"{__name__}:current_runner", "cannot be made: AssertionError"),
        ("builtins:object", "gives no task runner, but <object"),
    ],
)
def test_a_place_that_gives_no_runner(text: str, said: str) -> None:
    """What is wrong with it is told, with the name that was given."""
    check_name(text)
    with pytest.raises(ConfigurationError, match=said) as caught:
        runner_named(text)
    assert text in str(caught.value)


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_a_missing_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind that cannot be imported says what to install."""
    monkeypatch.setitem(sys.modules, RUNNERS[name].place.partition(":")[0], None)
    with pytest.raises(ConfigurationError, match=rf"pip install 'mainspring\[{name}\]'"):
        runner_named(name)


# Flows


@pytest.mark.contract("F-9")
def test_a_flow_takes_a_name() -> None:
    """A name stands for a runner wherever a flow takes one."""
    named = flow(task_runner="processes=2")(current_runner)
    assert named.task_runner == ProcessPoolTaskRunner(max_workers=2)
    assert named.with_options(task_runner="inline").task_runner == InlineTaskRunner()
    with pytest.raises(ConfigurationError, match="no task runner 'nothing'"):
        flow(task_runner="nothing")(current_runner)


@pytest.mark.contract("F-9")
def test_tasks_run_on_threads_by_default() -> None:
    """A flow that declares no runner has threads if no setting says otherwise."""
    assert modest.task_runner == ThreadPoolTaskRunner()
    assert modest() == ("ThreadPoolTaskRunner", os.getpid())


def test_the_default_counts_when_a_run_begins() -> None:
    """The setting holds for flows that were defined before, and their copies, but not for what declares a runner."""
    declaring = flow(task_runner=ThreadPoolTaskRunner(2))(current_runner)
    with temporary_settings({DEFAULT: "inline"}):
        assert modest()[0] == "InlineTaskRunner"
        renamed = modest.with_options(name="renamed")
        assert renamed()[0] == "InlineTaskRunner"
        assert declaring() == ThreadPoolTaskRunner(2)
    assert renamed()[0] == "ThreadPoolTaskRunner"


def test_a_subflow_has_the_default_unless_it_declares_a_runner() -> None:
    """The default is for subflows as well; what they declare stays."""
    declaring = flow(task_runner="threads=2")(current_runner)

    @flow(task_runner="inline")
    def outer() -> Any:
        return modest()[0], declaring(), current_runner()

    with temporary_settings({DEFAULT: SHARING}):
        undeclared, declared, own = outer()
    assert undeclared == "Sharing"
    assert declared == ThreadPoolTaskRunner(2)
    assert own == InlineTaskRunner()


def test_subflows_may_share_workers() -> None:
    """Flows inside of each other that all have the default runner are given what the outer one lends."""

    @flow
    def inner() -> Any:
        return current_runner()

    @flow
    def outer() -> Any:
        own = current_runner()
        assert own.lender is None
        return own, inner()

    with temporary_settings({DEFAULT: SHARING}):
        own, nested = outer()
    assert nested.lender is own


def test_a_default_that_does_not_work() -> None:
    """It is refused before there is a run, with the name of the setting."""
    with (
        temporary_settings({DEFAULT: "thread"}),
        pytest.raises(ConfigurationError, match=r"tasks\.runner\.default does not work.*'threads'"),
    ):
        modest()
    assert flow_runs() == []


def test_a_bad_default_names_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which variable to change."""
    monkeypatch.setenv("MAINSPRING_TASKS_RUNNER_DEFAULT", "thread")
    with pytest.raises(ConfigurationError, match="environment variable MAINSPRING_TASKS_RUNNER_DEFAULT"):
        default_runner()


@pytest.mark.slow
def test_a_default_of_processes_ends_at_workers() -> None:
    """A subflow that a worker process calls has threads there, and a subflow here has worker processes."""

    @flow
    def outer() -> Any:
        return call_modest.submit().result(timeout=60), modest()

    with temporary_settings({DEFAULT: "processes=1"}):
        (name, submitted, caller), (own_name, elsewhere) = outer()
    assert (name, submitted) == ("ThreadPoolTaskRunner", caller)
    assert own_name == "ProcessPoolTaskRunner"
    assert len({os.getpid(), caller, elsewhere}) == 3


def test_what_is_elsewhere_is_left() -> None:
    """After the contexts of another process are left, the default is as it was before."""
    context = flow(serialize_context)()
    with temporary_settings({DEFAULT: "processes"}):
        assert isinstance(default_runner(), ProcessPoolTaskRunner)
        with hydrated_context({**context, "settings_context": {}}):
            assert isinstance(default_runner(), ThreadPoolTaskRunner)
        assert isinstance(default_runner(), ProcessPoolTaskRunner)


# Another runner for a flow


def test_a_flow_on_another_runner_is_the_same_flow() -> None:
    """It shares hooks and options, and the original is not touched."""
    ran = []
    one = flow(name="one", retries=2)(lambda: type(current_runner()).__name__)
    other = one.running_on("inline")
    one.on_completion(lambda *_: ran.append("hook"))
    assert (other(), one()) == ("InlineTaskRunner", "ThreadPoolTaskRunner")
    assert ran == ["hook", "hook"]
    assert (other.name, other.retries) == ("one", 2)
    with pytest.raises(TypeError, match="Expected a task runner"):
        one.running_on(5)  # type: ignore[arg-type]


def test_a_flow_on_another_runner_travels() -> None:
    """Its pickle has the runner and finds the function by its name."""
    copied = pickle.loads(cloudpickle.dumps(modest.running_on("threads=3")))
    assert copied.task_runner == ThreadPoolTaskRunner(3)
    assert copied.fn is modest.fn


def test_a_run_goes_on_with_another_runner(tmp_path: Path) -> None:
    """A run of a flow that was given another runner is resumed by its id, on the flow's own or a third one."""
    marker = tmp_path / "marker"
    moved = failing_once.running_on("inline")
    runs = [moved(str(marker), return_state=True).state_details.flow_run_id for _ in range(2)]
    marker.touch()
    assert resume_flow_run(runs[0]) == "ThreadPoolTaskRunner"
    assert resume_flow_run(runs[1], task_runner=SHARING) == "Sharing"


def test_a_run_does_not_go_on_with_an_unknown_runner(tmp_path: Path) -> None:
    """The name is refused, and the run can be resumed with another one afterwards."""
    marker = tmp_path / "marker"
    run_id = failing_once(str(marker), return_state=True).state_details.flow_run_id
    assert run_id is not None
    marker.touch()
    with pytest.raises(ConfigurationError, match="Did you mean 'inline'"):
        resume_flow_run(run_id, task_runner="inlin")
    assert resume_flow_run(run_id, task_runner="inline") == "InlineTaskRunner"
    with pytest.raises(NotResumable, match="has completed"):
        resume_flow_run(run_id, task_runner="inline")
