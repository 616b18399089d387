"""Programs with worker processes, from their beginning to whatever end: nobody is left, nothing is repeated."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mainspring import resume_flow_run
from mainspring.recording import close_recorders
from tests.engine.history import only_flow_run, sequence, task_runs
from tests.runners.making import eventually
from tests.runners.remote import notes

Program = Callable[..., "subprocess.Popen[str]"]

PRELUDE = """
import os, sys, time
from pathlib import Path
from mainspring import flow, task
from mainspring.task_runners import ProcessPoolTaskRunner

FOLDER = Path(os.environ["TEST_FOLDER"])

def note(what):
    with (FOLDER / "notes").open("a") as file:
        file.write(f"{what}\\n")

"""


@pytest.fixture
def program(tmp_path: Path, mainspring_home: Path) -> Program:
    """Start a program in a process group of its own."""

    def start(source: str, *command: str) -> subprocess.Popen[str]:
        path = tmp_path / "program_on_processes.py"
        path.write_text(PRELUDE + textwrap.dedent(source))
        return subprocess.Popen(
            [sys.executable, *(command or [str(path)])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "MAINSPRING_HOME": str(mainspring_home), "TEST_FOLDER": str(tmp_path)},
            start_new_session=True,
        )

    return start


def finish(started: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = started.communicate(timeout=60)
    return started.returncode, out, err


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


SLEEPERS = """
    @task
    def sleep(x):
        note(os.getpid())
        time.sleep(60)

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
    def pipeline():
        sleep.map(range(2)).wait()

    if __name__ == "__main__":
        pipeline()
"""


def started_sleepers(
    program: Program, tmp_path: Path, source: str = SLEEPERS
) -> "tuple[subprocess.Popen[str], list[int]]":
    started = program(source)
    assert eventually(lambda: len(notes(tmp_path)) == 2)
    return started, [int(pid) for pid in notes(tmp_path)]


def test_the_parent_is_killed(program: Program, tmp_path: Path) -> None:
    """Its workers end within seconds, in the middle of tasks; their runs are found dead."""
    started, pids = started_sleepers(program, tmp_path)
    time.sleep(0.1)  # so that the runs are visible
    started.kill()
    finish(started)
    assert eventually(lambda: not any(map(is_running, pids)))
    assert eventually(are_found_dead)
    assert only_flow_run().state.name == "Crashed"


def are_found_dead() -> bool:
    """Whether all task runs are Crashed; else the next look is that of somebody who opens the run store."""
    if {run.state.name for run in task_runs()} == {"Crashed"}:
        return True
    close_recorders()
    return False


def test_an_interrupt_from_the_keyboard(program: Program, tmp_path: Path) -> None:
    """It goes to the whole group: tasks and flow are crashed by it, no process is left, Python ends as usual."""
    started, pids = started_sleepers(program, tmp_path)
    os.killpg(started.pid, signal.SIGINT)
    code, _, err = finish(started)
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in err
    assert eventually(lambda: not any(map(is_running, pids)))
    assert {run.state.message for run in (only_flow_run(), *task_runs())} == {
        "Execution was aborted by an interrupt signal."
    }


PATIENT_SLEEPERS = """
    from mainspring.cancellation import is_cancelled

    @task(retries=1)
    def sleep(x):
        note(os.getpid())
        while not is_cancelled():
            time.sleep(0.01)
        (FOLDER / f"told {x}").touch()
        time.sleep(60)

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
    def pipeline():
        sleep.map(range(2)).wait()

    if __name__ == "__main__":
        pipeline()
"""


def test_a_second_interrupt_ends_everything(program: Program, tmp_path: Path) -> None:
    """An interrupt of the parent alone has it wait for tasks; another one ends the workers and records it."""
    started, pids = started_sleepers(program, tmp_path, PATIENT_SLEEPERS)
    started.send_signal(signal.SIGINT)
    assert eventually(lambda: all((tmp_path / f"told {x}").exists() for x in range(2)))
    assert eventually(lambda: [run.state.name for run in task_runs()] == ["Running"] * 2)
    assert all(map(is_running, pids))
    started.send_signal(signal.SIGINT)
    code, _, _ = finish(started)
    assert code == -signal.SIGINT
    assert not any(map(is_running, pids))
    assert only_flow_run().state.message == "Execution was aborted by an interrupt signal."
    assert [sequence(run) for run in task_runs()] == ["Pending Running Crashed"] * 2


def test_a_program_that_never_leaves_its_runner(program: Program, tmp_path: Path) -> None:
    """The end of the program is not held up by idle workers, and ends them."""
    source = """
        @task
        def work():
            note(os.getpid())

        if __name__ == "__main__":
            runner = ProcessPoolTaskRunner(max_workers=1).__enter__()
            runner.submit(work, {}).wait()
    """
    code, _, err = finish(program(source))
    assert (code, err) == (0, "")
    assert eventually(lambda: not is_running(int(notes(tmp_path)[0])))


def test_a_program_without_a_guard(program: Program) -> None:
    """The flow ends with an error that shows the line that is missing, at once, and nothing is run twice."""
    source = """
        @task
        def work(x):
            return x

        @flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
        def pipeline():
            return work.map(range(20)).result()

        pipeline()
    """
    code, _, err = finish(program(source))
    assert code == 1
    assert "Flow 'pipeline' was started while a worker process imports the main program" in err
    assert "Put what starts the program below `if __name__ == '__main__':`" in err
    assert "WorkerNotStarted" in err
    assert err.count("UnguardedMainProgram") <= 4
    assert only_flow_run().state.name == "Failed"
    assert {run.state.name for run in task_runs()} <= {"Failed", "Cancelled"}


@pytest.mark.contract("TR-23")
def test_lines_are_shown_once(program: Program) -> None:
    """What a worker logs is on the standard error of the program once, and what it prints on standard output."""
    source = """
        import logging
        from mainspring import get_run_logger

        @task
        def work():
            get_run_logger().info("a line of the run")
            logging.getLogger("mine").warning("a line of mine")
            print("printed")

        if __name__ == "__main__":
            with ProcessPoolTaskRunner(max_workers=1) as runner:
                runner.submit(work, {}).result()
    """
    code, out, err = finish(program(source))
    assert (code, out) == (0, "printed\n")
    assert (err.count("a line of the run"), err.count("a line of mine")) == (1, 1)


def test_classes_and_tasks_of_the_main_program(program: Program) -> None:
    """They travel by value, and come home as the classes that they are here."""
    source = """
        from dataclasses import dataclass

        @dataclass
        class Point:
            x: int

        @task
        def move(point):
            return Point(point.x + 1)

        if __name__ == "__main__":
            with ProcessPoolTaskRunner(max_workers=1) as runner:
                moved = runner.submit(move, {"point": Point(1)}).result()
                print(type(moved) is Point, moved)
    """
    assert finish(program(source))[1] == "True Point(x=2)\n"


def test_mainspring_run(program: Program, tmp_path: Path) -> None:
    """A program is run by the command like any other, and its progress counts the tasks in workers."""
    source = """
        @task
        def work(x):
            return x

        @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
        def pipeline():
            return sum(work.map(range(3)).result())
    """
    path = str(tmp_path / "program_on_processes.py")
    code, out, err = finish(program(source, "-m", "mainspring", "run", f"{path}:pipeline"))
    assert code == 0, out + err
    assert [run.state.name for run in task_runs()] == ["Completed"] * 3


RESUMABLE = """
    from tests_resume_steps import inner

    @task
    def step(x):
        note(f"begin {x}")
        value = inner(x)
        if x == 2 and not (FOLDER / "again").exists():
            (FOLDER / "waits").touch()
            time.sleep(60)
        note(f"end {x}")
        return value

    @flow(persist_result=True, task_runner=ProcessPoolTaskRunner(max_workers=1))
    def pipeline():
        return step.map(range(4)).result()

    if __name__ == "__main__":
        pipeline()
"""

INNER = """
    @task
    def inner(x):
        note(f"inner {x}")
        return x * 2
"""


@pytest.mark.contract("E-29")
def test_a_killed_flow_goes_on(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGKILL of the parent the flow is resumed: finished steps are not repeated."""
    (tmp_path / "tests_resume_steps.py").write_text(PRELUDE + textwrap.dedent(INNER))
    started = program(RESUMABLE)
    assert eventually((tmp_path / "waits").exists)
    time.sleep(0.1)
    started.kill()
    finish(started)
    before = notes(tmp_path)
    assert before == ["begin 0", "inner 0", "end 0", "begin 1", "inner 1", "end 1", "begin 2", "inner 2"]
    (tmp_path / "again").touch()
    monkeypatch.setenv("TEST_FOLDER", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    close_recorders()
    assert resume_flow_run(only_flow_run().id) == [0, 2, 4, 6]
    assert notes(tmp_path)[len(before) :] == ["begin 2", "inner 2", "end 2", "begin 3", "inner 3", "end 3"]
    assert only_flow_run().state.name == "Completed"
