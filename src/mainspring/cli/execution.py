"""What ``mainspring run`` and ``mainspring runs resume`` do: run a flow under a report, and tell how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.text import Text

from mainspring import identifiers
from mainspring.cli.errors import FAILED, INTERRUPTED, TERMINATED, report_error
from mainspring.cli.failures import describe_failure
from mainspring.cli.histories import NO_RUNS, open_history
from mainspring.cli.inputs import read_input
from mainspring.cli.live import LiveReport
from mainspring.cli.loglines import show_run_logs
from mainspring.cli.parameters import check_names, convert_parameters, split_assignments
from mainspring.cli.progress import FlowProgress, Progress
from mainspring.cli.rendering import (
    STYLES,
    can_show,
    describe_counts,
    format_duration,
    is_terminal,
    one_line,
    open_console,
)
from mainspring.cli.reports import LineReport, Report
from mainspring.cli.streams import GuardedStream, guard_streams
from mainspring.entrypoints import AnyFlow, load_flow
from mainspring.exceptions import (
    ConfigurationError,
    FlowPauseTimeout,
    MainspringError,
    NotResumable,
    ObjectNotFound,
    ParameterTypeError,
    TerminationSignal,
)
from mainspring.flow_engine import new_engine, run_to_end
from mainspring.pauses import suspend_flow_run
from mainspring.recording import current_recorder
from mainspring.resumption import resume_flow_run
from mainspring.settings import get_current_settings, temporary_settings
from mainspring.states import State
from mainspring.task_runners.named import check_name

__all__ = ["execute", "resume", "suspend"]

_COMPLETED = 0


def execute(target: str, assignments: Sequence[str], plain: bool, runner: str | None) -> int:
    """Run the flow that ``target`` names and return the exit code of the command.

    Args:
        target: ``FILE.py`` or ``FILE.py:flow``.
        assignments: Parameters as ``name=value``.
        plain: Report line by line even on a terminal.
        runner: The name of the task runner, for the flow and for subflows that declare none.

    Raises:
        MainspringError: The flow cannot be found, loaded or called like this, or the store not be opened.
    """
    texts = split_assignments(assignments)

    def prepare() -> Callable[[], State]:
        flow: Any = load_flow(target)
        if runner is not None:
            flow = flow.running_on(runner)
        check_names(flow, texts)
        parameters = convert_parameters(flow, texts)
        return lambda: _call(flow, parameters)

    with _runner_by_default(runner):
        return _follow(prepare, plain)


def resume(text: str, plain: bool, given: str | None, key: str | None, runner: str | None) -> int:
    """Go on with the flow run whose id begins or ends with ``text``, and return the exit code of the command.

    Args:
        text: The id, or its beginning or end.
        plain: Report line by line even on a terminal.
        given: The input, as `read_input` takes it.
        key: Which pause it is for.
        runner: The name of the task runner, for the flow and for subflows that declare none.

    Raises:
        MainspringError: There is no such run, it cannot be gone on with, or the store not be opened.
    """
    with open_history() as client:
        if client is None:
            raise ObjectNotFound(NO_RUNS)
        run = client.find_run(text)
    run_input = read_input(given)

    def go_on() -> State:
        state: State = resume_flow_run(run.id, run_input, key=key, task_runner=runner, return_state=True)
        return state

    with _runner_by_default(runner):
        return _follow(lambda: go_on, plain)


def suspend(text: str, timeout: float) -> None:
    """Ask the flow run whose id begins or ends with ``text`` to leave its process.

    Raises:
        MainspringError: There is no such run, or it cannot be suspended.
    """
    with open_history() as client:
        if client is None:
            raise ObjectNotFound(NO_RUNS)
        run = client.find_run(text)
    suspend_flow_run(flow_run_id=run.id, timeout=timeout)
    short = identifiers.shorten(run.key)
    print(f"{run.name} is asked to be suspended. Go on with it: {_command()} runs resume {short}")


def _follow(prepare: Callable[[], Callable[[], State]], plain: bool) -> int:
    """Report what a flow does that ``prepare`` gives the call of, and return the exit code."""
    terminal = sys.stderr
    live = is_terminal(terminal) and not plain
    with _sigterm_raises(), guard_streams() if live else _no_guards() as guards:
        call = prepare()
        progress = Progress()
        console = open_console(terminal)
        report: Report = LiveReport(progress, console, guards) if live else LineReport(progress, console)
        recorder = current_recorder()
        colour = live and get_current_settings().logging.colors
        with show_run_logs(colour, report.catch_up), recorder.listen(progress.note), report:
            outcome = _outcome_of(call)
        for _ in progress.take_in():
            pass
    if progress.first is None:
        if isinstance(outcome, ConfigurationError | NotResumable | ParameterTypeError | FlowPauseTimeout):
            raise outcome
        if isinstance(outcome, State):
            console.print("The run goes on in its own process.")
            return _COMPLETED
    return _conclude(outcome, progress, console)


def _call(flow: AnyFlow, parameters: dict[str, Any]) -> State:
    """Run the flow to its end."""
    if flow.isgenerator:
        return run_to_end(new_engine(flow, flow.bind((), parameters)), "state")  # type: ignore[no-any-return]
    call: Any = flow
    state: State = (
        asyncio.run(call(**parameters, return_state=True))
        if flow.isasync
        else call(**parameters, return_state=True)
    )
    return state


def _outcome_of(call: Callable[[], State]) -> State | BaseException:
    """The final state of the flow run, or what came out of the call instead."""
    try:
        state = call()
    except (Exception, KeyboardInterrupt, SystemExit, TerminationSignal) as error:
        return error
    return state


def _conclude(outcome: State | BaseException, progress: Progress, console: Console) -> int:
    """Tell how it ended, and return the exit code."""
    with contextlib.suppress(OSError):  # nobody may read it any more
        if isinstance(outcome, MainspringError):
            report_error(outcome)
        elif isinstance(outcome, Exception):
            console.print(describe_failure(outcome), soft_wrap=True)
        if progress.first is not None:
            for line in _summary(progress.first, progress, console):
                console.print(line, soft_wrap=True)
    if isinstance(outcome, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(outcome, TerminationSignal):
        return TERMINATED
    return _COMPLETED if isinstance(outcome, State) and outcome.is_completed() else FAILED


def _summary(flow: FlowProgress, progress: Progress, console: Console) -> Iterator[Text]:
    """How the run ended: its exception, its name, state and duration, what ran, what to type next."""
    run, state = flow.run, flow.state
    error = state.data
    failed = state.is_failed() and isinstance(error, BaseException)
    if failed:
        yield Text()
        yield describe_failure(error)
    yield Text()
    sign = "" if not console.is_terminal else "\u2713 " if state.is_completed() else "\u2717 "
    yield Text.assemble(
        (sign if can_show(console, sign) else "", STYLES[state.type]),
        (one_line(run.name), "bold"),
        "  ",
        (one_line(state.name), STYLES[state.type]),
        f" in {format_duration(state.at - (run.started_at or state.at))}",
    )
    if state.message and not failed:
        yield Text(f"  {one_line(state.message)}")
    counts, retries = progress.totals()
    total = sum(counts.values())
    ran = Text(f"  {total} task run{'' if total == 1 else 's'}")
    if len(progress.flows) > 1:
        ran.append(f" in {len(progress.flows)} flow runs")
    if total:
        ran.append(": ").append_text(describe_counts(counts))
    if retries:
        ran.append(f"; {retries} {'retry' if retries == 1 else 'retries'}")
    yield ran
    if state.is_paused():
        yield Text(f"  {_command()} runs resume {identifiers.shorten(run.key)}", "dim")
    yield Text(f"  {_command()} runs show {identifiers.shorten(run.key)}", "dim")


def _command() -> str:
    """How to call this command again: its name, if the PATH leads to this very one, else where it is."""
    own = Path(sys.executable).with_name("mainspring")
    if not own.exists() or shutil.which("mainspring") == str(own):
        return "mainspring"
    return shlex.quote(min(os.path.relpath(own), str(own), key=len))


@contextmanager
def _runner_by_default(name: str | None) -> Generator[None]:
    """Let flows that declare no task runner have the one with this name, unless it is None.

    Raises:
        ConfigurationError: There is none.
    """
    if name is None:
        yield
        return
    check_name(name)
    with temporary_settings({"tasks.runner.default": name}):
        yield


@contextmanager
def _no_guards() -> Generator[list[GuardedStream]]:
    yield []


@contextmanager
def _sigterm_raises() -> Generator[None]:
    """Let SIGTERM end what is in the block in order: the run is recorded, the terminal left as it was."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, _: FrameType | None) -> None:
        raise TerminationSignal(number)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
