"""What only a process of its own can show: signals, exit codes, output, imports."""

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.history import flow_runs, only_flow_run, only_task_run, query, sequence, task_runs

Script = Callable[..., subprocess.Popen[str]]

PRELUDE = """
import asyncio, os, signal, sys, time
from mainspring import flow, get_run_logger, task
from mainspring.exceptions import TerminationSignal

def ready():
    print("ready", flush=True)

# In pieces: Python notices a signal that comes just before a sleep, while threads change, at the end of that only.
def rest():
    for _ in range(3000):
        time.sleep(0.01)

async def arest():
    for _ in range(3000):
        await asyncio.sleep(0.01)
"""


@pytest.fixture
def script(tmp_path: Path, mainspring_home: Path) -> Script:
    """Start a program that records to the same home as the test."""
    numbers = itertools.count()

    def start(source: str, **environment: str) -> subprocess.Popen[str]:
        path = tmp_path / f"script-{next(numbers)}.py"  # one each: a program may read while we write the next
        path.write_text(PRELUDE + textwrap.dedent(source))
        return subprocess.Popen(
            [sys.executable, "-W", "error", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "MAINSPRING_HOME": str(mainspring_home), **environment},
        )

    return start


def finish(program: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code and output of a program."""
    out, err = program.communicate(timeout=30)
    return program.returncode, out, err


def terminate_when_ready(
    program: subprocess.Popen[str], number: int = signal.SIGTERM
) -> tuple[int, str, str]:
    """Send a signal once the program says that it is ready."""
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    program.send_signal(number)
    return finish(program)


# Signals


@pytest.mark.contract("X-16", "F-45", "F-24", "S-39")
@pytest.mark.parametrize("is_async", [False, True])
def test_sigterm_during_a_flow(script: Script, is_async: bool) -> None:
    """Task and flow run are crashed by the signal, crash hooks run, and the process dies of the signal."""
    source = """
        def note(flow, run, state):
            print("hook", state.name, flush=True)

        @task
        def work():
            ready()
            rest()

        @flow(on_crashed=[note])
        def pipeline():
            work()
    """
    if is_async:
        source = source.replace("def work", "async def work").replace("rest()", "await arest()")
        source = source.replace("def pipeline", "async def pipeline").replace(
            "    work()", "    await work()"
        )
        source += "\n        asyncio.run(pipeline())"
    else:
        source += "\n        pipeline()"
    code, out, _ = terminate_when_ready(script(source))
    assert code == -signal.SIGTERM
    assert out == "hook Crashed\n"
    for run in (only_task_run(), only_flow_run()):
        assert sequence(run) == "Pending Running Crashed"
        assert run.state.message == "Execution was aborted by a termination signal."


@pytest.mark.contract("X-16", "U-18")
def test_sigterm_hits_the_handler_of_the_program_afterwards(script: Script) -> None:
    """After the flow handled it the program's own handler is back, and gets the signal again."""
    source = """
        def handler(number, frame):
            print("handler", number, flush=True)
            sys.exit(7)

        signal.signal(signal.SIGTERM, handler)

        @flow
        def pipeline():
            ready()
            rest()

        pipeline()
    """
    code, out, _ = terminate_when_ready(script(source))
    assert (code, out) == (7, f"handler {int(signal.SIGTERM)}\n")
    assert only_flow_run().state.name == "Crashed"


@pytest.mark.contract("U-18")
def test_the_handler_is_left_alone_without_a_signal(script: Script) -> None:
    """A flow that ends normally leaves the program's handler as it was; nested flows install one handler."""
    source = """
        def handler(number, frame): ...
        signal.signal(signal.SIGTERM, handler)

        @flow
        def child():
            return signal.getsignal(signal.SIGTERM)

        @flow
        def parent():
            inside = signal.getsignal(signal.SIGTERM)
            assert inside is not handler
            assert child() is inside
            assert signal.getsignal(signal.SIGTERM) is inside

        parent()
        assert signal.getsignal(signal.SIGTERM) is handler
    """
    assert finish(script(source))[0] == 0


@pytest.mark.contract("F-45", "TR-16")
def test_sigterm_with_submitted_tasks(script: Script) -> None:
    """Running tasks are waited for, those that have not begun never do, and the flow crashes."""
    source = """
        from mainspring.task_runners import ThreadPoolTaskRunner

        @task
        def work(x):
            if x == 0:
                ready()
            time.sleep(0.3)

        @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
        def pipeline():
            work.map(range(20)).wait()

        pipeline()
    """
    code, _, _ = terminate_when_ready(script(source))
    assert code == -signal.SIGTERM
    assert only_flow_run().state.name == "Crashed"
    assert 1 <= len(task_runs()) < 20
    assert {run.state.name for run in task_runs()} <= {"Completed", "Crashed"}


@pytest.mark.contract("E-144", "X-15")
def test_an_interrupt_from_the_keyboard(script: Script) -> None:
    """SIGINT crashes the runs and ends the program as Python ends it."""
    source = """
        @task
        def work():
            ready()
            rest()

        @flow
        def pipeline():
            work()

        pipeline()
    """
    code, _, err = terminate_when_ready(script(source), signal.SIGINT)
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in err
    for run in (only_task_run(), only_flow_run()):
        assert run.state.message == "Execution was aborted by an interrupt signal."


def test_a_signal_while_waiting_for_a_retry(script: Script) -> None:
    """The run crashes out of its wait."""
    source = """
        @task(retries=3, retry_delay_seconds=60, on_failure=[])
        def work():
            ready()
            raise ValueError

        @flow
        def pipeline():
            work()

        pipeline()
    """
    program = script(source)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    end = time.monotonic() + 10
    while time.monotonic() < end:
        runs = [row[0] for row in query("SELECT state_name FROM task_runs")] if _has_database() else []
        if runs == ["AwaitingRetry"]:
            break
        time.sleep(0.01)
    program.send_signal(signal.SIGTERM)
    assert finish(program)[0] == -signal.SIGTERM
    assert sequence(only_task_run()) == "Pending Running AwaitingRetry Crashed"


WAITS = {
    "retry": """
        @task(retries=1, retry_delay_seconds=60)
        def wait():
            raise ValueError
    """,
    "slot": """
        def wait():
            get_client(sync_client=True).upsert_global_concurrency_limit_by_name("only", 1)
            with concurrency("only"), concurrency("only"):
                pass
    """,
    "answer": """
        def wait():
            pause_flow_run(timeout=60)
    """,
    "lock": """
        def wait():
            manager = MemoryLockManager()
            manager.acquire_lock("key", holder="somebody")
            manager.wait_for_lock("key", timeout=60)
    """,
    "future": """
        is_over = threading.Event()

        @task
        def work():
            is_over.wait(60)

        def wait():
            try:
                work.submit().wait(60)
            finally:
                is_over.set()
    """,
}


@pytest.mark.parametrize("what", WAITS)
def test_a_signal_that_does_not_wake_the_main_thread(script: Script, what: str) -> None:
    """It looks up once in a while.

    Here another thread receives the signal; one that comes in the moment before the main thread blocks is no better.
    """
    source = f"""
        import threading
        from mainspring import pause_flow_run
        from mainspring.client import get_client
        from mainspring.concurrency.sync import concurrency
        from mainspring.locking.memory import MemoryLockManager
        {WAITS[what]}
        def send():
            while not is_at_rest():
                time.sleep(0.05)
            print("ready", flush=True)
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

        def is_at_rest():
            frame = sys._current_frames()[threading.main_thread().ident]
            names = set()
            while frame is not None:
                names.add(frame.f_code.co_name)
                frame = frame.f_back
            return "wait_in_pieces" in names and "wait" in names

        @flow
        def pipeline():
            threading.Thread(target=send, daemon=True).start()
            wait()

        pipeline()
    """
    program = script(source)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    assert finish(program)[0] == -signal.SIGTERM


def _has_database() -> bool:
    return (Path(os.environ["MAINSPRING_HOME"]) / "mainspring.db").exists()


# Ends


@pytest.mark.contract("E-144")
@pytest.mark.parametrize(
    ("end", "code", "state"),
    [
        ("return", 0, "Completed"),
        ("sys.exit(3)", 3, "Crashed"),
        ("raise ValueError('no')", 1, "Failed"),
        ("os._exit(4)", 4, "Crashed"),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, "Crashed"),
    ],
)
def test_exit_codes(script: Script, end: str, code: int, state: str) -> None:
    """A program ends as it would without us, and every run is settled, by itself or by who comes next."""
    source = f"""
        @flow
        def pipeline():
            {end}

        pipeline()
    """
    assert finish(script(source))[0] == code
    if not flow_runs():
        assert "os." in end, "only a death that asks nobody may come before the run is visible"
    else:
        assert only_flow_run().state.name == state


def test_a_dead_program_is_found(script: Script) -> None:
    """Runs of a killed process are crashed by whoever opens the store next."""
    source = """
        @flow
        def pipeline():
            time.sleep(0.2)  # long enough to be seen
            os.kill(os.getpid(), signal.SIGKILL)

        pipeline()
    """
    assert finish(script(source))[0] == -signal.SIGKILL
    run = only_flow_run()
    assert sequence(run) == "Pending Running Crashed"
    assert run.end_time is not None


def test_a_program_that_leaves_threads_running(script: Script) -> None:
    """The interpreter's end is not blocked by our background thread, and everything is written."""
    source = """
        @task
        def work(): ...

        for _ in range(100):
            work()
        get_logger = __import__("logging").getLogger
    """
    code, _, err = finish(script(source, MAINSPRING_DURABILITY="relaxed"))
    assert (code, err) == (0, "")
    assert len(task_runs()) == 100


def test_async_hooks_leave_no_open_loop(script: Script) -> None:
    """Event loops that sync code kept for hooks are closed without a warning at the end."""
    source = """
        async def note(*_):
            await asyncio.sleep(0)

        @task(on_completion=[note])
        def work(): ...

        @flow
        def pipeline():
            work()
            work.submit().wait()

        pipeline()
    """
    code, _, err = finish(script(source))
    assert (code, err) == (0, "")


# Output and imports


def test_lines_go_to_standard_error_without_any_setup(script: Script) -> None:
    """A program that sets up no logging sees the lines of its runs; one that does decides itself."""
    source = """
        @task
        def work():
            get_run_logger().info("hello from the run")

        work()
    """
    code, out, err = finish(script(source))
    assert (code, out) == (0, "")
    assert "INFO" in err
    assert "'work' - hello from the run" in err
    configured = "import logging\nlogging.basicConfig(format='mine %(message)s')\n" + textwrap.dedent(source)
    _, _, err = finish(script(configured))
    assert err == "mine hello from the run\n"


def test_a_failure_is_shown_once_to_the_user(script: Script) -> None:
    """The traceback of an unhandled failure names the user's line."""
    source = """
        @task
        def work():
            raise ValueError("the reason")

        @flow
        def pipeline():
            work()

        pipeline()
    """
    code, _, err = finish(script(source))
    assert code == 1
    assert 'raise ValueError("the reason")' in err
    assert err.rstrip().endswith("ValueError: the reason")


@pytest.mark.contract("N-2")
def test_importing_the_package_imports_no_engine(script: Script) -> None:
    """Root names load what they need when they are used, and not before."""
    source = f"""
        import subprocess
        code = "import sys, mainspring; print([name for name in sys.modules if name.startswith('mainspring.')])"
        print(subprocess.run([{sys.executable!r}, "-c", code], capture_output=True, text=True).stdout)
    """
    _, out, _ = finish(script(source))
    assert out.strip() == "['mainspring._stacks', 'mainspring._imports']"  # which loads the rest


def test_a_sync_script_does_not_import_asyncio(script: Script) -> None:
    """What costs a good part of the start-up is loaded for those alone who use it."""
    code = textwrap.dedent(
        """
        import sys
        from mainspring import flow, task

        @task(retries=1)
        def work(): ...

        @flow
        def pipeline(): work()

        pipeline()
        print("asyncio" in sys.modules)
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("MAINSPRING_DURABILITY", "eternal", "MAINSPRING_DURABILITY"),
        ("MAINSPRING_DATABASE_URL", "nonsense://x", "nonsense"),
    ],
)
def test_bad_settings_end_in_one_clear_error(script: Script, variable: str, value: str, text: str) -> None:
    """A setting that cannot work is named, and the function is not run."""
    source = """
        @flow
        def pipeline():
            print("called")

        pipeline()
    """
    code, out, err = finish(script(source, **{variable: value}))
    assert (code, out) == (1, "")
    assert text in err.rstrip().splitlines()[-1]


def test_many_processes_share_a_store(script: Script, tmp_path: Path) -> None:
    """Processes that record at the same time do not lose or mix up anything."""
    source = """
        @task
        def work(x):
            return x

        @flow
        def pipeline():
            return work.map(range(20)).result()

        assert pipeline() == list(range(20))
    """
    programs: list[Any] = [script(source) for _ in range(3)]
    assert [finish(program)[0] for program in programs] == [0, 0, 0]
    assert [run.state.name for run in flow_runs()] == ["Completed"] * 3
    assert len(task_runs()) == 60


@pytest.mark.contract("F-45", "F-47")
@pytest.mark.parametrize("moment", ["in a step", "between two steps"])
def test_sigterm_and_a_generator_flow(script: Script, moment: str) -> None:
    """In a step it ends the run in order; between two steps the process ends as it would without the run."""
    program = script(
        f"""
        from mainspring.recording import current_recorder

        @flow
        def steps():
            current_recorder().flush()  # as a run that is killed within milliseconds is not seen by anybody
            yield 1
            ready()
            rest()

        for step in steps():
            if {moment == "between two steps"}:
                ready()
                rest()
        """
    )
    code, _, _ = terminate_when_ready(program)
    assert code == -signal.SIGTERM
    assert sequence(only_flow_run()) == "Pending Running Crashed"
