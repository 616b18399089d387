"""Programs with isolated calls, from their beginning to whatever end."""

import os
import signal
from pathlib import Path

import pytest

from mainspring.task_runners import ProcessPoolTaskRunner
from tests.engine.history import only_task_run, sequence, task_runs
from tests.isolation import subjects
from tests.runners.making import eventually
from tests.runners.remote import notes
from tests.runners.test_process_ends import Program, are_found_dead, finish, is_running, program

__all__ = ["program"]

TASKS = """
    import ctypes, threading, warnings

    @task(isolation="process")
    def work(inner=False):
        note(os.getpid())
        return work(False) if inner else os.getpid()

    @task(isolation="process")
    def hold():
        note(os.getpid())
        ctypes.CDLL(None).sleep(60)
"""


def test_the_end_of_a_program(program: Program, tmp_path: Path) -> None:
    """Processes that are idle end with it, and those that they have started, without holding it up."""
    code, _, err = finish(program(TASKS + "\n    if __name__ == '__main__':\n        work(True)\n"))
    assert (code, err) == (0, "")
    assert len(notes(tmp_path)) == 2
    assert eventually(lambda: not any(is_running(int(pid)) for pid in notes(tmp_path)), 20)


def test_the_end_of_a_program_with_a_call(program: Program, tmp_path: Path) -> None:
    """A call in a thread that nobody waits for does not hold it up, either; its run is found dead."""
    source = """
    if __name__ == "__main__":
        threading.Thread(target=hold, daemon=True).start()
        while not (FOLDER / "notes").exists():
            time.sleep(0.01)
    """
    code, _, _ = finish(program(TASKS + source))
    assert code == 0
    (pid,) = notes(tmp_path)
    assert eventually(lambda: not is_running(int(pid)))
    assert eventually(are_found_dead)


def test_a_program_without_a_guard(program: Program, tmp_path: Path) -> None:
    """The call fails with an error that shows the line that is missing, and nothing is run twice."""
    code, _, err = finish(program(TASKS + "\n    note('begun')\n    work()\n"))
    assert code == 1
    assert "if __name__ == '__main__':" in err
    assert "WorkerNotStarted" in err
    assert notes(tmp_path)[0] == "begun"
    assert sequence(only_task_run()) == "Pending Running Failed"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_a_program_that_is_ended(program: Program, tmp_path: Path, how: signal.Signals) -> None:
    """Whatever ends it, the process of the call ends within seconds, and the run is Crashed."""
    started = program(TASKS + "\n    if __name__ == '__main__':\n        hold()\n")
    assert eventually(lambda: notes(tmp_path), 30)
    started.send_signal(how)
    finish(started)
    (pid,) = notes(tmp_path)
    assert eventually(lambda: not is_running(int(pid)))
    assert eventually(are_found_dead)


def test_a_fork_has_processes_of_its_own(program: Program, tmp_path: Path) -> None:
    """What was started before the fork belongs to the parent, and goes on working for it."""
    source = """
    if __name__ == "__main__":
        first = work()
        warnings.simplefilter("ignore")  # Python 3.12 and later say that there are threads
        child = os.fork()
        if not child:
            mine = work()
            os._exit(0 if mine != first else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert work() == first
    """
    code, _, err = finish(program(TASKS + source))
    assert (code, err) == (0, "")


def test_calls_in_a_worker_of_a_runner() -> None:
    """A worker has processes of its own, which end with it."""
    with ProcessPoolTaskRunner(max_workers=1) as runner:
        pids = runner.submit(subjects.nest, {"depth": 1}).result(timeout=60)
    assert len({os.getpid(), *pids}) == 3
    assert eventually(lambda: not any(map(is_running, pids)), 20)
    assert {sequence(run) for run in task_runs()} == {"Pending Running Completed"}
