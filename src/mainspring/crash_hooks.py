"""The ``on_crashed`` hooks of runs whose process died: whoever finds that out calls them, at most once.

A run with such hooks leaves a note in the run store when it begins, which goes with its final state. Where a dead
process was settled the note is still there. Whoever removes it calls the hooks, after the settling is on disk.
"""

from __future__ import annotations

import contextvars
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from mainspring._core.policy import hook_name
from mainspring._engine.drivers import SyncDriver
from mainspring._imports import modules_on_use
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import EntrypointError
from mainspring.logging import flow_run_logger, task_run_logger
from mainspring.recording import Recorder, use_recorder
from mainspring.runs import FlowRun, TaskRun

if TYPE_CHECKING:
    from mainspring._engine import loading
    from mainspring._engine.loading import AnySubject
    from mainspring.store.results import CrashHooks
else:
    loading = modules_on_use("mainspring._engine", "loading")

__all__ = ["CalledHooks", "call_crash_hooks"]


class CalledHooks(msgspec.Struct, frozen=True):
    """What became of the hooks of one run.

    Args:
        run: The crashed run.
        names: The hooks that were called, in their order; an error of a hook is in the log of the run.
        problem: Why none was called and the note is still there, if that is so.
    """

    run: TaskRun | FlowRun
    names: Sequence[str] = ()
    problem: str | None = None


def call_crash_hooks(recorder: Recorder, *, loads_files: bool = False) -> list[CalledHooks]:
    """Call the hooks of crashed runs that nobody has called yet, in the calling thread.

    Args:
        recorder: The recorder of the store; what hooks run goes there.
        loads_files: Load the files of scripts, too. Otherwise only modules that can be imported by their name, and what
            this process has loaded already.

    Returns:
        An entry for each run whose hooks were called here, or cannot be called here.

    Raises:
        StoreError: The store cannot be read or written.
    """
    return contextvars.copy_context().run(_call_all, recorder, loads_files)


def _call_all(recorder: Recorder, loads_files: bool) -> list[CalledHooks]:
    TaskRunContext.activate(None)  # hooks belong to their own run, whatever goes on where they are called
    FlowRunContext.activate(None)
    store = recorder.store
    called: list[CalledHooks] = []
    with use_recorder(recorder):
        for note in store.read_crash_hooks():
            run = store.read_run(note.run_key)
            if run is None:
                continue
            try:
                subject = _subject_of(note, loads_files)
            except EntrypointError as error:
                called.append(CalledHooks(run, problem=str(error)))
                continue
            if store.claim_crash_hooks(note.run_key):
                called.append(_call(subject, run))
    return called


def _subject_of(note: CrashHooks, loads_files: bool) -> AnySubject:
    """The task or flow of a run.

    Raises:
        EntrypointError: It cannot be found, or not without loading a file.
    """
    if note.entrypoint is None:
        raise EntrypointError("no name leads to its task or flow, for example because a function defines it")
    return loading.find_subject(note.entrypoint, note.file, loads_files)


def _call(subject: AnySubject, run: TaskRun | FlowRun) -> CalledHooks:
    driver = SyncDriver()
    driver.subject, driver.run = subject, run
    driver.logger = (
        flow_run_logger(run, subject) if isinstance(run, FlowRun) else task_run_logger(run, subject)
    )
    hooks = tuple(subject.on_crashed_hooks)
    driver.run_hooks(hooks, run.state)
    return CalledHooks(run, [hook_name(hook) for hook in hooks])
