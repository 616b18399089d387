"""The ``on_crashed`` hooks of runs whose process was killed are called by whoever finds that out."""

import sqlite3
from contextlib import closing
from pathlib import Path
from textwrap import indent

import pytest

from tests.deaths.processes import Process, run, start, until

pytestmark = pytest.mark.slow

USE = "from mainspring import task\n@task\ndef other(): pass\nother()\n"


def notes(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "mainspring.db", timeout=30)) as db:
        (count,) = db.execute("SELECT count(*) FROM crash_hooks").fetchone()
        return int(count)


def called(folder: Path) -> list[tuple[str, str]]:
    """Whose hooks were called, and for which state, in their order."""
    file = folder / "hooks"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(name, state) for name, _, state, _ in map(str.split, lines)]


def kill_when_noted(folder: Path, process: Process) -> None:
    process.wait_for("begun")
    until(lambda: notes(folder) == 2, "the note of the hooks")
    process.kill()


HOOKS = [("hooked", "Crashed"), ("hooked", "Crashed"), ("hooked_task", "Crashed")]


@pytest.mark.contract("F-13", "F-43")
def test_the_next_process_calls_them(folder: Path) -> None:
    """The next process with tasks calls the hooks as it opens the store: in their order, broken ones included, once."""
    with start("hooked", folder) as process:
        kill_when_noted(folder, process)
    run(folder, "-c", USE)
    assert called(folder) == HOOKS
    run(folder, "-c", USE)
    assert called(folder) == HOOKS
    assert notes(folder) == 0


def test_a_running_peer_calls_them(folder: Path) -> None:
    """A process in which a run goes on calls them as soon as it has noticed the death."""
    with start("watching", folder) as peer:
        peer.wait_for("begun")
        with start("hooked", folder) as process:
            kill_when_noted(folder, process)
        until(lambda: len(called(folder)) == len(HOOKS), "the call of the hooks")
        peer.go_on()
        peer.rest()
    assert called(folder) == HOOKS


def test_reading_commands_call_none(folder: Path) -> None:
    """Reading commands settle the dead and call no hooks; ``runs reap`` calls them later."""
    with start("hooked", folder) as process:
        kill_when_noted(folder, process)
    assert "Crashed" in run(folder, "-m", "mainspring", "runs", "ls")
    assert called(folder) == []
    said = run(folder, "-m", "mainspring", "runs", "reap")
    assert "Called the hooks of flow run hooked-" in said
    assert "hook, broken_hook, hook" in said
    assert called(folder) == HOOKS


SCRIPT = """
import os, sys, time
from mainspring import flow
from tests.deaths.programs import hook

@flow(on_crashed=[hook])
def scripted():
    print("begun", flush=True)
    time.sleep(0.3)
    os.kill(os.getpid(), 9)

if __name__ == "__main__":
    scripted()
"""


def test_scripts_are_loaded_by_the_reaper_only(folder: Path, tmp_path: Path) -> None:
    """Hooks of a script wait for ``runs reap``, which loads its file, or for the script itself."""
    (folder / "script.py").write_text(SCRIPT)
    with pytest.raises(AssertionError):
        run(folder, "script.py")
    run(folder, "-c", USE)
    assert called(folder) == []
    assert notes(folder) == 1
    assert "Called the hooks of flow run scripted-" in run(folder, "-m", "mainspring", "runs", "reap")
    assert called(folder) == [("scripted", "Crashed")]


def test_resuming_calls_them_first(folder: Path) -> None:
    """Whoever resumes a crashed run by loading its script calls the hooks of that crash before it goes on."""
    text = SCRIPT.replace("on_crashed=[hook]", "on_crashed=[hook], persist_result=True")
    (folder / "script.py").write_text(text.replace("os.kill", 'os.path.exists("hooks") or os.kill'))
    with pytest.raises(AssertionError):
        run(folder, "script.py")
    with closing(sqlite3.connect(folder / "mainspring.db")) as db:
        ((key,),) = db.execute("SELECT hex(id) FROM flow_runs").fetchall()
    run(folder, "-m", "mainspring", "runs", "resume", key[-8:])
    assert called(folder) == [("scripted", "Crashed")]
    assert notes(folder) == 0


def test_hooks_that_cannot_be_found(folder: Path) -> None:
    """Hooks whose file is gone stay noted, and the reaper says why they are not called."""
    (folder / "script.py").write_text(SCRIPT)
    with pytest.raises(AssertionError):
        run(folder, "script.py")
    (folder / "script.py").unlink()
    for _ in range(2):
        said = run(folder, "-m", "mainspring", "runs", "reap")
        assert "cannot be called here" in said
        assert "script.py" in said
    assert notes(folder) == 1


def test_hooks_that_no_name_leads_to(folder: Path) -> None:
    """What is defined inside of a function can be found by nobody, and the reaper says so."""
    (folder / "script.py").write_text(f"def hide():\n{indent(SCRIPT, '    ')}\n    scripted()\nhide()\n")
    with pytest.raises(AssertionError):
        run(folder, "script.py")
    said = run(folder, "-m", "mainspring", "runs", "reap")
    assert "cannot be called here: no name leads to its task or flow" in said


def test_a_run_that_ends_by_itself_leaves_no_note(folder: Path) -> None:
    """Runs that end in any other way call their own hooks, or none, and are of no interest to others."""
    script = """
from mainspring import flow, task
from tests.deaths.programs import hook
@task(on_crashed=[hook])
def good(): pass
@task(on_crashed=[hook])
def bad(): raise ValueError
@flow(on_crashed=[hook])
def ends():
    good()
    bad(return_state=True)
    raise KeyboardInterrupt
try:
    ends()
except KeyboardInterrupt:
    pass
"""
    run(folder, "-c", script)
    assert called(folder) == [("ends", "Crashed")]
    assert notes(folder) == 0
