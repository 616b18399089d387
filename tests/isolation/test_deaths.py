"""Processes of isolated calls that die: what is recorded, and when the run is attempted again."""

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from mainspring import task
from mainspring._engine.isolation import _shared
from mainspring.client import get_client
from mainspring.exceptions import WorkerDied
from mainspring.task_runners import ProcessPoolTaskRunner
from tests.engine.history import query, sequence, task_runs
from tests.isolation import subjects
from tests.runners.making import eventually
from tests.runners.remote import notes


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("kill", "was killed by signal 9 (SIGKILL)"),
        ("segmentation", "was killed by signal 11 (SIGSEGV)"),
        ("exit", "ended itself with exit code 3"),
    ],
)
@pytest.mark.contract("E-73")
def test_a_process_that_dies(how: str, message: str) -> None:
    """The run is Crashed, with how it died; the next call has another process."""
    with pytest.raises(WorkerDied) as caught:
        subjects.die_by(how)
    assert message in str(caught.value)
    assert sequence() == "Pending Running Crashed"
    assert message in (task_runs()[0].state.message or "")
    assert subjects.add(1) == 2


def test_a_process_that_dies_while_it_is_idle(one_worker: None) -> None:
    """Nobody notices."""
    pid = subjects.process_id()
    os.kill(pid, signal.SIGKILL)
    assert _shared._crew is not None
    (child,) = _shared._crew._all
    assert eventually(lambda: not child.is_alive())
    assert subjects.process_id() != pid


def test_a_loss_costs_a_retry(tmp_path: Path) -> None:
    """Without ``retry_on_crash`` an attempt that was lost is one that failed."""
    assert subjects.die_until.with_options(retries=1)(tmp_path, 2) == 2
    assert sequence() == "Pending Running AwaitingRetry Retrying Completed"


@pytest.mark.parametrize(("option", "losses"), [(True, 3), (1, 1), (2, 2)])
def test_losses_are_made_good(tmp_path: Path, option: Any, losses: int) -> None:
    """The run is attempted again as often as the option says, and crashed after that."""
    state = subjects.die_until.with_options(retry_on_crash=option)(tmp_path, 99, return_state=True)
    assert state.name == "Crashed"
    assert notes(tmp_path) == [str(attempt + 1) for attempt in range(losses + 1)]
    (tmp_path / "notes").unlink()
    assert subjects.die_until.with_options(retry_on_crash=option)(tmp_path, losses + 1) == losses + 1


def test_losses_and_failures_have_limits_of_their_own(tmp_path: Path) -> None:
    """A loss takes no retry while it can be made good, and an exception takes nothing from losses."""
    both = subjects.fail_and_die.with_options(retries=1, retry_on_crash=2)
    assert both(tmp_path, ["die", "fail", "die", "done"]) == 4
    state = both(tmp_path, ["die", "fail", "die", "fail"], return_state=True)
    assert state.name == "Failed"
    state = both(tmp_path, ["fail", "die", "die", "die"], return_state=True)
    assert state.name == "Crashed"


def test_the_delay_of_retries_applies(tmp_path: Path) -> None:
    """What comes after a loss waits like any other retry."""
    lossy = subjects.die_until.with_options(retry_on_crash=1, retry_delay_seconds=0.3)
    assert lossy(tmp_path, 2) == 2
    run = task_runs()[0]
    states = get_client().read_task_run_states(run.id)
    waiting, retrying = [state for state in states if state.name in ("AwaitingRetry", "Retrying")]
    assert (retrying.timestamp - waiting.timestamp).total_seconds() >= 0.3


def test_the_option_is_recorded() -> None:
    """The policy of a run tells how many losses would have been made good."""
    subjects.add.with_options(retry_on_crash=True)(1)
    assert task_runs()[0].empirical_policy["retry_on_crash"] == 3


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (-1, ValueError, "Invalid `retry_on_crash`: -1 must be >= 0"),
        ("yes", TypeError, "Invalid `retry_on_crash`: expected True, False or a whole number; got 'yes'"),
        (1.5, TypeError, "Invalid `retry_on_crash`: expected True, False or a whole number; got 1.5"),
        (None, TypeError, "Invalid `retry_on_crash`: expected True, False or a whole number; got None"),
    ],
)
def test_bad_limits_are_refused(value: Any, kind: type[Exception], message: str) -> None:
    """At definition; the error names the option and the value."""
    with pytest.raises(kind, match=message):
        task(retry_on_crash=value)(lambda: None)


def test_with_options_sets_and_unsets() -> None:
    """The option is kept by copies that do not name it, and False takes it away."""
    lossy = subjects.add.with_options(retry_on_crash=True)
    assert lossy.with_options(name="other").retry_on_crash == 3
    assert lossy.with_options(retry_on_crash=False).retry_on_crash == 0


def test_workers_of_a_runner(tmp_path: Path) -> None:
    """A task whose worker dies is made good in the same way."""
    with ProcessPoolTaskRunner(max_workers=1) as runner:
        lossy = subjects.die_there.with_options(retry_on_crash=2)
        assert runner.submit(lossy, {"folder": tmp_path, "attempt": 3}).result(timeout=60) == 3
        assert sequence() == "Pending Running AwaitingRetry Retrying AwaitingRetry Retrying Completed"
        future = runner.submit(lossy, {"folder": tmp_path, "attempt": 4})
        future.wait(60)
        assert future.state.name == "Crashed"
        once_more = lossy.with_options(retries=1)
        assert runner.submit(once_more, {"folder": tmp_path, "attempt": 4}).result(timeout=60) == 4


def test_kills_at_random_moments() -> None:
    """Whatever a process is doing, the run ends as if it had not happened, or is crashed; nothing is left running."""
    seed = int(os.environ.get("MAINSPRING_TEST_SEED") or random.randrange(10**6))
    chance = random.Random(seed)
    subjects.process_id()
    for _ in range(int(os.environ.get("TEST_KILLS") or 20)):
        assert _shared._crew is not None
        victim = next(iter(_shared._crew._all), None)
        killer = None if victim is None else _kill_after(victim.pid, chance.random() * 0.01)
        state = subjects.nest.with_options(retry_on_crash=chance.choice([False, True]))(0, return_state=True)
        assert state.name in {"Completed", "Crashed"}, f"seed {seed}"
        if killer is not None:
            killer.join()
    unsettled = query("SELECT count(*) FROM task_runs WHERE state_type NOT IN ('COMPLETED', 'CRASHED')")
    assert unsettled == [(0,)], f"seed {seed}"


def _kill_after(pid: int, seconds: float) -> Any:
    import threading

    def kill() -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    timer = threading.Timer(seconds, kill)
    timer.start()
    return timer
