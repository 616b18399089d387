"""``mainspring run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Runner", "run"]


def _complete_target(incomplete: str) -> list[str]:
    """Folders and Python files that begin with what was typed; the shell adds nothing by itself."""
    typed = Path(incomplete)
    folder, start = (typed, "") if incomplete.endswith("/") else (typed.parent, typed.name)
    found = [each for each in folder.glob(f"{start}*") if each.is_dir() or each.suffix == ".py"]
    return sorted(f"{each}/" if each.is_dir() else str(each) for each in found)


def _complete_runner(incomplete: str) -> list[tuple[str, str]]:
    """Names of task runners that begin with what was typed, each with what it does."""
    from mainspring.task_runners.named import RUNNERS  # start-up

    return [(name, kind.text) for name, kind in RUNNERS.items() if name.startswith(incomplete)]


Runner = Annotated[
    str | None,
    typer.Option(
        "--runner",
        "-r",
        metavar="NAME[=VALUE]",
        help="Where submitted tasks run, of the flow and of subflows that declare no task runner: threads, processes,"
        " inline, dask, ray or MODULE:NAME. The value is a number of workers or an address: processes=2,"
        " dask=tcp://10.0.0.5:8786.",
        show_default=False,
        autocompletion=_complete_runner,
    ),
]


def run(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py[:flow]",
            help="The file and, if it defines several flows, the name of one.",
            show_default=False,
            autocompletion=_complete_target,
        ),
    ],
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            metavar="NAME=VALUE",
            help="A parameter of the flow: -p days=7 -p city=Oslo -p 'sizes=[1, 2]'. May be repeated.",
            show_default=False,
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Report progress line by line, as in a pipe.")
    ] = False,
    runner: Runner = None,
) -> None:
    """Run a flow and follow its progress.

    Exits with 0 if the run completed, 1 if not, 2 if it could not be started.
    """
    from mainspring.cli.execution import execute  # start-up: the engines and what goes with them

    raise typer.Exit(execute(target, param or [], plain, runner))
