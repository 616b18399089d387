"""``mainspring run``: what it runs, prints and returns."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.commands import BOXES, COMMAND, CONTROL_CODES, answer, command, write_flow_file

WORKING = """
    @task
    def double(x):
        return 2 * x

    @flow
    def pipeline(n: int = 2, city: str = "Oslo"):
        print("from", city)
        return [double(i) for i in range(n)]
"""
FAILING = """
    @task
    def divide(x):
        return 1 / x

    @flow
    def pipeline():
        divide(0)
"""


def test_a_completed_run_exits_with_0(tmp_path: Path) -> None:
    """The command tells name, state, duration and task runs of the run, and what to type next."""
    beside_python = {"PATH": str(Path(sys.executable).parent)}
    done = command("run", str(write_flow_file(tmp_path, WORKING)), environment=beside_python)
    (run,) = answer("runs", "ls")
    assert done.returncode == 0
    first, ran, following = done.stderr.splitlines()[-3:]
    assert first.startswith(f"{run['name']}  Completed in ")
    assert ran == "  2 task runs: 2 completed"
    assert following == f"  mainspring runs show {run['id'][-8:]}"


@pytest.mark.skipif(not Path(sys.executable).with_name("mainspring").exists(), reason="not installed here")
def test_what_to_type_next_can_be_typed(tmp_path: Path) -> None:
    """Where the PATH does not lead to the command, the line to type next says where it is."""
    done = command("run", str(write_flow_file(tmp_path, WORKING)), environment={"PATH": str(tmp_path)})
    following = done.stderr.splitlines()[-1].split()
    assert following[1:3] == ["runs", "show"]
    assert Path(following[0]).resolve() == Path(sys.executable).with_name("mainspring").resolve()


def test_standard_output_belongs_to_the_flow(tmp_path: Path) -> None:
    """In a pipe nothing but the flow's own prints comes out of standard output."""
    assert command("run", str(write_flow_file(tmp_path, WORKING))).stdout == "from Oslo\n"


def test_piped_progress_is_plain(tmp_path: Path) -> None:
    """No control codes and no box drawing reach a pipe."""
    told = command("run", str(write_flow_file(tmp_path, FAILING))).stderr
    assert "started" in told
    assert not CONTROL_CODES.search(told)
    assert not BOXES.search(told)


def test_parameters_are_json(tmp_path: Path) -> None:
    """``--param`` gives a parameter the value that its JSON says."""
    file = write_flow_file(tmp_path, "@flow\ndef pipeline(a, b, c=0): print(repr((a, b, c)))\n")
    done = command("run", str(file), "--param", 'a=[1, {"k": null}]', "-p", 'b="text"')
    assert done.stdout == "([1, {'k': None}], 'text', 0)\n"


def test_parameters_become_what_the_annotations_say(tmp_path: Path) -> None:
    """Text for a parameter that is text, a date for a date; what is no JSON is text."""
    text = """
        from datetime import date
        from typing import Literal

        @flow
        def pipeline(code: str, day: date, mode: Literal["1", "2"], nick: str | None, size: float, free):
            print(repr((code, day.year, mode, nick, size, free)))
    """
    given = ["code=0123", "day=2024-02-29", "mode=2", "nick=null", "size=3", "free=a b"]
    options = [word for each in given for word in ("-p", each)]
    done = command("run", str(write_flow_file(tmp_path, text)), *options)
    assert done.stdout == "('0123', 2024, '2', None, 3.0, 'a b')\n"


def test_async_flows_run(tmp_path: Path) -> None:
    """An async flow is run like any other."""
    text = """
        import asyncio

        @flow
        async def pipeline():
            await asyncio.sleep(0)
            print("awaited")
    """
    done = command("run", str(write_flow_file(tmp_path, text)))
    assert (done.returncode, done.stdout) == (0, "awaited\n")


def test_a_failed_run_exits_with_1(tmp_path: Path) -> None:
    """The exception is shown with the lines of the flow's own file, and with none of ours."""
    file = write_flow_file(tmp_path, FAILING)
    done = command("run", file.name, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.split("\n\n")[1].splitlines() == [
        "ZeroDivisionError: division by zero",
        "  pipeline.py:9 in pipeline",
        "    divide(0)",
        "  pipeline.py:5 in divide",
        "    return 1 / x",
    ]
    assert "Traceback" not in done.stderr
    assert "task_engine" not in done.stderr


def test_a_failed_task_is_told_in_one_line(tmp_path: Path) -> None:
    """What the engine logs about a failure is not repeated beside the line that reports it."""
    done = command("run", str(write_flow_file(tmp_path, FAILING)))
    (line,) = [line for line in done.stderr.splitlines() if "divide-" in line]
    assert line.endswith("failed: ZeroDivisionError: division by zero (pipeline.py:5)")


def test_a_long_reason_is_cut_in_its_line(tmp_path: Path) -> None:
    """The line about a failed task has the beginning of a long message; the exception has all of it."""
    text = "@task\ndef fail(): raise ValueError('first\\n' + 'x' * 500)\n\n@flow\ndef pipeline(): fail()\n"
    told = command("run", str(write_flow_file(tmp_path, text))).stderr
    assert "failed: ValueError: first ... (pipeline.py:4)" in told
    assert "x" * 500 in told


def test_causes_of_an_exception_are_shown(tmp_path: Path) -> None:
    """An exception raised from another one is shown after it."""
    text = """
        @flow
        def pipeline():
            try:
                {}["key"]
            except KeyError as error:
                raise ValueError("no such key") from error
    """
    told = command("run", str(write_flow_file(tmp_path, text))).stderr
    assert told.index("KeyError: 'key'") < told.index("which led to") < told.index("ValueError: no such key")


def test_retries_are_told_with_their_reason(tmp_path: Path) -> None:
    """A retry is a line that says when it comes and why; the end counts it."""
    text = """
        tries = []

        @task(retries=1, retry_delay_seconds=0.01)
        def shaky():
            tries.append(1)
            if len(tries) == 1:
                raise ConnectionError("gone")

        @flow
        def pipeline():
            shaky()
    """
    told = command("run", str(write_flow_file(tmp_path, text))).stderr
    assert "attempt failed, trying again in 10ms: ConnectionError: gone" in told
    assert "1 task run: 1 completed; 1 retry" in told


def test_log_lines_show_the_run(tmp_path: Path) -> None:
    """A line of the run logger has the run's name, its level if it warns, and no traceback of ours."""
    text = """
        @task
        def speak():
            get_run_logger().warning("careful")
            try:
                1 / 0
            except ZeroDivisionError:
                get_run_logger().exception("went on")

        @flow
        def pipeline():
            speak()
    """
    told = command("run", str(write_flow_file(tmp_path, text))).stderr.splitlines()
    name = answer("runs", "ls")[0]["task_runs"][0]["name"]
    assert f"  {name}  WARNING  careful" in told[1]
    assert f"  {name}  ERROR  went on" in told[2]
    assert told[3].strip() == "ZeroDivisionError: division by zero"


def test_logging_of_the_program_is_left_alone(tmp_path: Path) -> None:
    """A file that sets up logging gets the lines of runs in its own form, once."""
    text = """
        import logging
        logging.basicConfig(format="mine %(message)s")

        @flow
        def pipeline():
            get_run_logger().warning("careful")
    """
    told = command("run", str(write_flow_file(tmp_path, text))).stderr
    assert told.count("careful") == 1
    assert "mine careful" in told


def test_sys_exit_in_a_flow_is_a_crash(tmp_path: Path) -> None:
    """A flow that leaves the program did not complete, whatever code it leaves with."""
    done = command("run", str(write_flow_file(tmp_path, "@flow\ndef pipeline(): sys.exit(0)\n")))
    assert done.returncode == 1
    assert answer("runs", "ls")[0]["state_type"] == "CRASHED"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_run_in_order(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Ctrl-C and SIGTERM crash the run, and the command still tells how it ended."""
    # It sleeps in pieces: Python notices a signal that comes just before a sleep at the end of that only.
    body = "print('up', flush=True)\n    for _ in range(6000):\n        time.sleep(0.01)\n"
    file = write_flow_file(tmp_path, f"@flow\ndef pipeline():\n    {body}")
    process = subprocess.Popen(
        [*COMMAND, "run", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in told
    assert "Crashed in " in told
    assert answer("runs", "ls")[0]["state_type"] == "CRASHED"


def test_a_closed_pipe_does_not_stop_the_run(tmp_path: Path) -> None:
    """When nobody reads the progress any more, the flow goes on to its end."""
    text = "@flow\ndef pipeline():\n    get_run_logger().warning('x' * 100_000)\n    time.sleep(0.5)\n"
    process = subprocess.Popen(
        [*COMMAND, "run", str(write_flow_file(tmp_path, text))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    process.stderr.close()
    assert process.wait(60) == 0
    assert answer("runs", "ls")[0]["state_type"] == "COMPLETED"


def test_long_work_is_summarised_now_and_then(tmp_path: Path) -> None:
    """While nothing happens that deserves a line, one says from time to time how far the run is."""
    file = write_flow_file(tmp_path, "@task\ndef wait(): time.sleep(1)\n\n@flow\ndef pipeline(): wait()\n")
    program = (
        "import mainspring.cli.reports as reports; reports.SUMMARY_SECONDS = 0.1\n"
        "from mainspring.cli import main; main()"
    )
    done = subprocess.run(
        [COMMAND[0], "-c", program, "run", str(file)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ": 1 running" in done.stderr


def test_many_failures_become_a_number(tmp_path: Path) -> None:
    """After some dozens of failed tasks further ones are only counted."""
    text = """
        @task
        def fail(i):
            raise ValueError(i)

        @flow
        def pipeline():
            for i in range(200):
                fail(i, return_state=True)
    """
    done = command("run", str(write_flow_file(tmp_path, text)))
    assert done.stderr.count("failed: ValueError") < 100
    assert "only counted" in done.stderr
    assert "200 task runs: 200 failed" in done.stderr


def test_a_forked_child_may_print_and_log(tmp_path: Path) -> None:
    """Processes that a flow forks are not held up by locks of the report."""
    text = """
        import os
        import warnings
        warnings.simplefilter("ignore")  # forking with threads around is what this is about

        @flow
        def pipeline():
            for _ in range(5):
                child = os.fork()
                if not child:
                    get_run_logger().warning("from the child")
                    os._exit(0)
                os.waitpid(child, 0)
    """
    done = command("run", str(write_flow_file(tmp_path, text)))
    assert done.returncode == 0
    assert done.stderr.count("from the child") == 5


def test_progress_costs_a_task_next_to_nothing(tmp_path: Path) -> None:
    """Ten thousand tasks under the command are done in seconds."""
    text = "@task\ndef tick(i): return i\n\n@flow\ndef pipeline():\n    for i in range(10_000): tick(i)\n"
    file = write_flow_file(tmp_path, text)
    began = time.monotonic()
    assert command("run", str(file)).returncode == 0
    assert time.monotonic() - began < 30
