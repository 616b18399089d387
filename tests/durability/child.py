"""What a child process does: run the flow of a program, or resume one of its runs, and tell how that ended."""

from __future__ import annotations

import asyncio
import atexit
import faulthandler
import json
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.durability import points

__all__ = ["PROGRAMS", "live"]

PROGRAMS = "tests.durability.programs"


def live(program: str, run_id: str | None, environment: Mapping[str, str]) -> None:
    """Run the program, or resume its run, in this process; then tell in the file that ``ANSWER`` names.

    Args:
        program: The name of a module in `PROGRAMS`, with a flow ``main``.
        run_id: The run to resume.
        environment: See `points`; ``DEADLINE`` is when to show what all threads are doing, in seconds.
    """
    os.environ.update(environment)
    faulthandler.dump_traceback_later(float(environment["DEADLINE"]), exit=True)
    points.install(environment)
    answer: dict[str, Any] = {}
    try:
        answer["value"] = _call(program, run_id)
    except Exception as error:  # it is told to whoever waits for this process, and judged there
        answer["error"] = {
            "kinds": [f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__],
            "message": str(error),
        }
    Path(environment["ANSWER"]).write_text(json.dumps(answer))


def _call(program: str, run_id: str | None) -> Any:
    settings = import_module("mainspring.settings")  # after the environment is as it is to be
    settings.reload_settings()
    if run_id is not None:
        return import_module("mainspring.resumption").resume_flow_run(run_id)
    made = import_module(f"{PROGRAMS}.{program}").main()
    return asyncio.run(made) if hasattr(made, "__await__") else made


if __name__ == "__main__":
    atexit.register(points.tell_counts)  # before those of mainspring are, so that it is called after them
    live(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None, os.environ)
