"""The main program in a worker process, which imports it to find what tasks need."""

from __future__ import annotations

from typing import Any

from mainspring._imports import loaded
from mainspring.exceptions import UnguardedMainProgram

__all__ = ["GUARD", "WORKER", "refuse_while_imported"]

WORKER = "mainspring-worker"
"""What the names of worker processes begin with."""

_OF_DASK = "Dask Worker"
"""The same of worker processes that Dask starts."""

GUARD = "Put what starts the program below `if __name__ == '__main__':` at its end."


def refuse_while_imported(what: str) -> None:
    """Refuse to start anything while a worker process imports the main program, or each would do it all again.

    Raises:
        UnguardedMainProgram: This is such a process, and that is what it does.
    """
    module = loaded("multiprocessing.process")  # as it is in every worker, and in few other processes
    if module is None:
        return
    process: Any = module.current_process()
    if getattr(process, "_inheriting", False) and process.name.startswith((WORKER, _OF_DASK)):
        raise UnguardedMainProgram(
            f"{what} was started while a worker process imports the main program. Each worker process does that, to"
            f" find the functions and classes that tasks use, and must not run it. {GUARD}"
        )
