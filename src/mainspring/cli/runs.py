"""``mainspring runs``: the history of runs, going on with one, stopping one, and finding the dead."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from mainspring.cli.run import Runner

__all__ = ["runs"]

runs = typer.Typer(
    help="Read the history of runs, resume, suspend or cancel one, and find those of dead processes.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _complete_id(incomplete: str) -> list[tuple[str, str]]:
    """Short ids of the newest runs that begin with what was typed, each with the run's name."""
    from mainspring.cli.listing import complete_id  # start-up

    return complete_id(incomplete)


def _complete_state(incomplete: str) -> list[str]:
    """Types of states."""
    from mainspring.states import StateType  # start-up

    return [kind.value.lower() for kind in StateType if kind.value.lower().startswith(incomplete.lower())]


RunId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The id of a flow run or task run, or the beginning or end of it.",
        show_default=False,
        autocompletion=_complete_id,
    ),
]
FlowRunId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The id of a flow run, or the beginning or end of it.",
        show_default=False,
        autocompletion=_complete_id,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@runs.command("ls")
def list_runs(
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            "-s",
            metavar="STATE",
            help="Only runs whose state has this type or name, in any case: failed, TimedOut. May be repeated.",
            show_default=False,
            autocompletion=_complete_state,
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most so many.")] = 20,
    kind: Annotated[
        Literal["flow", "task"] | None,
        typer.Option("--kind", "-k", help="Only flow runs or only task runs.", show_default=False),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Also what ran inside of flow runs: task runs and subflows.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="TEXT",
            help="Only runs with this somewhere in their name, in any case.",
            show_default=False,
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag", "-t", metavar="TAG", help="Only runs with this tag. May be repeated.", show_default=False
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="WHEN",
            help="Only runs since then: how long ago (30m, 12h, 7d), or a time (2026-07-01T12:30).",
            show_default=False,
        ),
    ] = None,
    sort: Annotated[
        Literal["created", "ended", "name"],
        typer.Option(
            "--sort", help="Which come first: those created last, those that ended last, or by name."
        ),
    ] = "created",
    as_json: AsJson = False,
) -> None:
    """List the newest runs: flow runs, and task runs outside of flows."""
    from mainspring.cli.listing import Selection, list_selected  # start-up

    list_selected(Selection(state, limit, kind, everything, name, tag, since, sort), as_json)


@runs.command("show")
def show_run(
    run_id: RunId,
    full: Annotated[bool, typer.Option("--full", help="Every task run, even if there are hundreds.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a run: what ran inside of it, when, and how it ended."""
    from mainspring.cli.showing import show_found  # start-up

    show_found(run_id, full, as_json)


@runs.command("logs")
def show_logs(
    run_id: RunId,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what it logs, until it is over.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a run has logged, together with what ran inside of it.

    With --follow and --json there is a line of JSON for each line of the log.
    """
    from mainspring.cli.logbook import follow_logbook, show_logbook  # start-up

    if follow:
        follow_logbook(run_id, as_json)
    else:
        show_logbook(run_id, as_json)


@runs.command("resume")
def resume_run(
    run_id: FlowRunId,
    plain: Annotated[
        bool, typer.Option("--plain", help="Report progress line by line, as in a pipe.")
    ] = False,
    given: Annotated[
        str | None,
        typer.Option(
            "--input",
            "-i",
            metavar="JSON",
            help="What a paused run waits for: JSON, a file of it (@file.json), or - for standard input.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="KEY", help="Which pause, if several wait in the run.", show_default=False
        ),
    ] = None,
    runner: Runner = None,
) -> None:
    """Go on with a flow run that is paused, failed, crashed or was cancelled, and follow its progress.

    Exits with 0 if the run completed or goes on in its own process, 1 if not, 2 if it cannot be resumed.
    """
    from mainspring.cli.execution import resume  # start-up: the engines and what goes with them

    raise typer.Exit(resume(run_id, plain, given, key, runner))


@runs.command("suspend")
def suspend_run(
    run_id: FlowRunId,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="How long there is to resume it.")
    ] = 3600.0,
) -> None:
    """Ask a flow run that goes on in any process to leave that, until it is resumed."""
    from mainspring.cli.execution import suspend  # start-up: the engines and what goes with them

    suspend(run_id, timeout)


@runs.command("cancel")
def cancel_run(
    run_id: RunId,
    reason: Annotated[
        str | None,
        typer.Option("--reason", metavar="TEXT", help="What the run's state is to say.", show_default=False),
    ] = None,
    wait: Annotated[
        float,
        typer.Option("--wait", min=0, metavar="SECONDS", help="Wait for its end, at most so long."),
    ] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Cancel a run, with all that runs inside of it, whichever process it goes on in.

    Exits with 0 if it is Cancelled, 1 if it goes on or has completed before, 2 if it cannot be cancelled.
    """
    from mainspring.cli.cancelling import cancel  # start-up

    raise typer.Exit(cancel(run_id, reason, wait, as_json))


@runs.command("reap")
def reap_runs(as_json: AsJson = False) -> None:
    """Find the runs of dead processes, mark them Crashed, free what they held, and call their on_crashed hooks.

    Reading commands and new runs find the dead as well; this one also loads the files of scripts to call their hooks.
    """
    from mainspring.cli.burying import bury  # start-up

    bury(as_json)
