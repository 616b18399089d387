"""What ``mainspring runs cancel`` does."""

from __future__ import annotations

from contextlib import nullcontext

from mainspring.cli.records import flow_run_record, print_json, task_run_record
from mainspring.cli.rendering import one_line, open_console, show, state_text
from mainspring.cli.texts import Text
from mainspring.client import open_client
from mainspring.runs import FlowRun, TaskRun

__all__ = ["cancel"]


def cancel(text: str, reason: str | None, wait: float, as_json: bool) -> int:
    """Cancel a run and wait for its end.

    Args:
        text: The id of the run, or the beginning or end of it.
        reason: What its state is to say.
        wait: Wait so many seconds at most.
        as_json: Print JSON.

    Returns:
        The exit code: 0 if the run is Cancelled, 1 if not.

    Raises:
        MainspringError: There is no such run, or it is over.
    """
    console = open_console()
    with open_client() as client:
        run = client.find_run(text)
        is_watched = console.is_terminal and not as_json
        with console.status(f"Cancelling {run.name!r}") if is_watched else nullcontext():
            run = client.cancel_run(run.id, reason, timeout=wait)
    if as_json:
        print_json(task_run_record(run) if isinstance(run, TaskRun) else flow_run_record(run, []))
    else:
        kind = "Flow" if isinstance(run, FlowRun) else "Task"
        show(
            console,
            Text.assemble(
                f"{kind} run ", (one_line(run.name), "bold"), f" ({run.id}): ", state_text(run.state)
            ),
        )
        if not run.state.is_final():
            show(
                console,
                Text("It was asked to stop and goes on. Code that blocks is not interrupted.", "yellow"),
            )
    return 0 if run.state.is_cancelled() else 1
