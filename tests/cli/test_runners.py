"""``--runner``: where the tasks of a flow run that the command runs or resumes."""

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cli.commands import COMMAND, answer, command, write_flow_file
from tests.engine.waiting import LIMIT, until

FLOW = """
    import os
    import signal
    from pathlib import Path
    from mainspring import pause_flow_run
    from mainspring.context import FlowRunContext
    from mainspring.task_runners import InlineTaskRunner, ThreadPoolTaskRunner

    class Runner(ThreadPoolTaskRunner):
        pass

    class Count:
        def __init__(self, number):
            self.number = number

    @task
    def step(number):
        with open("journal", "a") as file:
            file.write(f"{number}\\n")
        return Count(number)

    @task
    def numbers(size):
        for number in range(size):
            yield Count(number)

    def tell(name):
        print(name, type(FlowRunContext.get().task_runner).__name__)

    @flow
    def undeclared():
        tell("undeclared")

    @flow(task_runner=InlineTaskRunner())
    def declared():
        tell("declared")

    @flow(task_runner=ThreadPoolTaskRunner(3))
    def pipeline():
        tell("pipeline")
        undeclared()
        declared()
        counts = [*step.map(range(3)).result(), *numbers.submit(3).result(), *numbers(2)]
        assert all(type(count) is Count for count in counts)
        print([count.number for count in counts])

    @flow
    def inner(depth: int):
        print(FlowRunContext.get().task_runner._cluster.client.scheduler.address)
        step.submit(depth).result()
        if depth:
            inner(depth - 1)

    @flow(persist_result=True)
    def killed_once(size: int = 3):
        tell("killed_once")
        step.map(range(size)).result()
        if not Path("mended").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        step.map(range(size + 1)).result()

    @flow(persist_result=True)
    def staying():
        print("got", pause_flow_run(int))
"""


def newest() -> str:
    run_id: str = answer("runs", "ls", "--limit", "1")[0]["id"]
    return run_id


def require_package_for(runner: str) -> None:
    """Skip the test if the runner needs a package that is not installed."""
    package = {"dask": "distributed", "ray": "ray"}.get(runner.partition("=")[0])
    if package is not None and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def lines(text: str) -> list[str]:
    """What a flow has printed, in any order: subprocesses and the flow share standard output."""
    return sorted(text.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runner", "kind"),
    [
        ("threads=2", "ThreadPoolTaskRunner"),
        ("processes=1", "ProcessPoolTaskRunner"),
        ("inline", "InlineTaskRunner"),
        ("pipeline:Runner", "Runner"),
    ],
)
def test_the_option_chooses_the_runner(tmp_path: Path, runner: str, kind: str) -> None:
    """It is for the flow, whatever that declares, and for subflows that declare none; results are the same."""
    write_flow_file(tmp_path, FLOW)
    done = command("run", "pipeline.py:pipeline", "--runner", runner, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert lines(done.stdout) == [
        "[0, 1, 2, 0, 1, 2, 0, 1]",
        "declared InlineTaskRunner",
        f"pipeline {kind}",
        f"undeclared {kind}",
    ]
    assert "completed" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "runner"),
    [
        ("statistics.py", "processes=1"),
        ("with.dots.py", "processes=1"),
        pytest.param("statistics.py", "dask=1", marks=pytest.mark.distributed),
        pytest.param("statistics.py", "ray=1", marks=pytest.mark.distributed),
        pytest.param("pipeline.py", "ray=1", marks=pytest.mark.distributed),
    ],
)
def test_workers_find_files_with_any_name(tmp_path: Path, name: str, runner: str) -> None:
    """A file that is called like another module, or like none, is found by worker processes, too."""
    require_package_for(runner)
    write_flow_file(tmp_path, FLOW, name)
    done = command("run", f"{name}:pipeline", "--runner", runner, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[0, 1, 2, 0, 1, 2, 0, 1]" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runner", "said"), [("thread", "Did you mean 'threads'"), ("threads=0", "at least 1")]
)
def test_a_runner_that_does_not_exist(tmp_path: Path, runner: str, said: str) -> None:
    """One line says so, with exit code 2, before the file is loaded."""
    file = write_flow_file(tmp_path, "raise ValueError('loaded')\n")
    done = command("run", str(file), "--runner", runner)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert said in done.stderr


@pytest.mark.slow
def test_a_runner_that_cannot_be_made(tmp_path: Path) -> None:
    """A place where there is no runner is an error of one line, and there is no run."""
    write_flow_file(tmp_path, FLOW)
    done = command("run", "pipeline.py:pipeline", "--runner", "pipeline:Count", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert "'pipeline:Count' cannot be made: TypeError" in done.stderr
    assert answer("runs", "ls") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("threads", "processes=1"),
        ("processes=1", "threads=2"),
        pytest.param("threads", "dask=1", marks=pytest.mark.distributed),
    ],
)
def test_a_killed_flow_goes_on_with_another_runner(tmp_path: Path, first: str, second: str) -> None:
    """A flow that was killed on one task runner is resumed on another one, and repeats no step that has finished."""
    require_package_for(second)
    write_flow_file(tmp_path, FLOW)
    assert command("run", "pipeline.py:killed_once", "--runner", first, cwd=tmp_path).returncode == -9
    (tmp_path / "mended").touch()
    unknown = command("runs", "resume", newest(), "--runner", "thread", cwd=tmp_path)
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    done = command("runs", "resume", newest(), "--runner", second, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    kinds = {"threads": "ThreadPool", "processes": "ProcessPool", "dask": "Dask"}
    assert done.stdout == f"killed_once {kinds[second.partition('=')[0]]}TaskRunner\n"
    assert lines((tmp_path / "journal").read_text()) == ["0", "1", "2", "3"]


@pytest.mark.slow
def test_a_run_that_goes_on_elsewhere_keeps_its_runner(tmp_path: Path) -> None:
    """A run that waits in a living process cannot be given another runner, and gets no input then."""
    write_flow_file(tmp_path, FLOW)
    process = subprocess.Popen(
        [*COMMAND, "run", "pipeline.py:staying", "--runner", "inline"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: command("runs", "ls", "--state", "paused", "--json").stdout.strip() not in ("", "[]"))
        refused = command("runs", "resume", newest(), "--input", "5", "--runner", "threads", cwd=tmp_path)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert "goes on in its own process" in refused.stderr
        told = command("runs", "resume", newest(), "--input", "12", cwd=tmp_path)
        assert told.returncode == 0, told.stderr
        printed, log = process.communicate(timeout=LIMIT)
        assert printed == "got 12\n", log
    finally:
        process.kill()
        process.communicate()


def test_the_option_is_explained() -> None:
    """The help of both commands names the kinds of task runners."""
    for words in (("run",), ("runs", "resume")):
        told = re.sub(r"\s+", " ", command(*words, "--help", environment={"COLUMNS": "200"}).stdout)
        assert "threads, processes, inline, dask, ray or MODULE:NAME" in told
