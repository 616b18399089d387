"""Runs in a home of their own, for one test, and what the test reads of them afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from mainspring._engine.subject import Subject
from mainspring._events.records import Event
from mainspring.client import Client, get_client
from mainspring.filters import ALL, FlowRunSort, TaskRunSort
from mainspring.runs import FlowRun, TaskRun
from mainspring.states import State
from mainspring.testing.homes import TASK_RUNNER, HarnessError, private_home
from mainspring.testing.paths import key_of_run, read_path

__all__ = ["Harness", "harness"]

Named = Subject[..., Any] | str | None
K = TypeVar("K", TaskRun, FlowRun)


class Harness:
    """What happened in a test: runs, states, log lines, events. It reads the history when it is asked.

    Safe to use from any thread. Tasks and flows may be given as such, or by name: that of the function, of the task or
    flow, or of the run.

    Args:
        home: The home directory of the test.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def __repr__(self) -> str:
        return f"Harness({str(self.home)!r})"

    @property
    def client(self) -> Client:
        """A client that shows everything up to now, for what is not here."""
        return get_client()

    def task_runs(self, task: Named = None) -> list[TaskRun]:
        """The runs of a task, or of all, in the order in which they were created."""
        runs = self.client.read_task_runs(limit=ALL, sort=TaskRunSort.ID_DESC)[::-1]
        return [run for run in runs if task is None or _is_of(run, task)]

    def flow_runs(self, flow: Named = None) -> list[FlowRun]:
        """The runs of a flow, or of all, in the order in which they were created."""
        runs = self.client.read_flow_runs(limit=ALL, sort=FlowRunSort.ID_DESC)[::-1]
        return [run for run in runs if flow is None or _is_of(run, flow)]

    def task_run(self, task: Named = None) -> TaskRun:
        """The one run of a task.

        Raises:
            HarnessError: There is none, or more than one.
        """
        return _only("task", task, self.task_runs(task), self.task_runs())

    def flow_run(self, flow: Named = None) -> FlowRun:
        """The one run of a flow.

        Raises:
            HarnessError: There is none, or more than one.
        """
        return _only("flow", flow, self.flow_runs(flow), self.flow_runs())

    def states(self, run: Any) -> list[State]:
        """All states of a run, oldest first.

        Args:
            run: A run, its id, its state, or its future, which is waited for.

        Raises:
            ObjectNotFound: There is no such run.
            TypeError: ``run`` is nothing of this.
        """
        return read_path(run).states

    def logs(self, run: Any = None) -> list[str]:
        """The log lines of a run and of the task runs in it, or all; with what was printed under ``log_prints``.

        Args:
            run: As for `states`.
        """
        wanted = None if run is None else UUID(bytes=key_of_run(run))
        return [line.message for line in self.client.read_logs(wanted, limit=ALL)]

    def events(self, prefix: str = "", run: Any = None) -> list[Event]:
        """What happened, oldest first.

        Args:
            prefix: How the names of wanted events begin.
            run: Only what happened in this run, given as for `states`.
        """
        wanted = None if run is None else UUID(bytes=key_of_run(run))
        return self.client.read_events(prefix, wanted, limit=ALL)


@contextmanager
def harness(
    *, runner: str | None = "inline", settings: Mapping[str, object] | None = None
) -> Generator[Harness]:
    """Run tasks and flows in a home of their own: an empty history that is gone after the block, and no caches.

    Neither environment variables nor settings files of the machine count inside. The block holds for the whole process
    and what it starts, sync and async code, and all threads; so there is one at a time. At its end flows in the
    background are waited for, and everything is as it was.

    The history is a file in a temporary directory, so that worker processes and the command see it, too. For one in
    memory, which saves some milliseconds, pass ``settings={"database_url": "sqlite://"}``.

    Args:
        runner: Where submitted tasks run if their flow does not say that. Without it that is one after the other where
            they are submitted; "threads" and "processes=2" are others, and None is the default outside of tests.
        settings: More settings by dotted name, for example ``{"tasks.default_retries": 2}``.

    Raises:
        ConfigurationError: There is no such runner or setting, or a value does not fit.
        HarnessError: Flow runs in the background have not ended half a minute after the block.
    """
    wanted = {} if runner is None else {TASK_RUNNER: runner}
    folder = tempfile.TemporaryDirectory(prefix="mainspring-", ignore_cleanup_errors=True)
    with folder as path, private_home(Path(path) / "home", {**wanted, **(settings or {})}) as home:
        yield Harness(home)


def _is_of(run: TaskRun | FlowRun, wanted: Subject[..., Any] | str) -> bool:
    """Whether a task or flow, or a name, stands for the run."""
    if isinstance(wanted, Subject):
        return (
            getattr(wanted, "task_key", None) == run.task_key
            if isinstance(run, TaskRun)
            else run.flow_name == wanted.name
        )
    if isinstance(run, TaskRun):
        return wanted in (run.name, run.name.rpartition("-")[0], run.task_key.rpartition("-")[0])
    return wanted in (run.name, run.flow_name, run.flow_name.replace("-", "_"))


def _only(kind: str, wanted: Named, found: list[K], all_runs: list[K]) -> K:
    __tracebackhide__ = True
    if len(found) == 1:
        return found[0]
    name = "" if wanted is None else f" of {wanted if isinstance(wanted, str) else wanted.name!r}"
    if found:
        names = ", ".join(run.name for run in found[:10])
        raise HarnessError(
            f"There are {len(found)} {kind} runs{name}: {names}. Ask for {kind}_runs() and choose one."
        )
    names = ", ".join(run.name for run in all_runs[:10]) or "none at all"
    raise HarnessError(f"There is no {kind} run{name}. Those that there are: {names}.")
