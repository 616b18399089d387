"""Programs that submit to a cluster and die, or see it die. Run as ``python -m tests.distributed.programs NAME``.

``RUNNER`` in the environment says on which cluster, and ``ADDRESS`` where that is.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from mainspring import flow, unmapped
from mainspring.resumption import resume_flow_run
from mainspring.task_runners import TaskRunner, ThreadPoolTaskRunner
from tests.distributed import work
from tests.runners.remote import note_and_add

STEPS = 6


def runner() -> TaskRunner[Any]:
    """The runner that the environment asks for; workers of a cluster import this module, too, and use none."""
    kind, address = os.environ.get("RUNNER"), os.environ.get("ADDRESS")
    if kind == "dask":
        from mainspring.integrations.dask import DaskTaskRunner

        if address is not None:
            return DaskTaskRunner(address=address)
        return DaskTaskRunner(cluster_kwargs={"n_workers": 2, "threads_per_worker": 1})
    if kind == "ray":
        from mainspring.integrations.ray import RayTaskRunner

        return RayTaskRunner(address) if address is not None else RayTaskRunner(init_kwargs={"num_cpus": 2})
    return ThreadPoolTaskRunner()


@flow(persist_result=True, task_runner=runner())
def pipeline(folder: Path) -> int:
    """Steps that complete, and one that goes on until a file says that it may end."""
    values = note_and_add.map(unmapped(folder), range(STEPS)).result()
    slow = work.hold_on.submit(folder)
    last = note_and_add.submit(folder, slow)
    return sum(values) + last.result()


VALUE = sum(range(1, STEPS + 1)) + 101


@flow(task_runner=runner())
def failing(folder: Path) -> None:
    """An exception in the flow, while a task goes on."""
    work.hold_on.submit(folder)
    work.wait_for(folder, "held")
    (folder / "go").touch()
    raise LookupError("the flow itself")


def told(*words: object) -> None:
    print(*words, flush=True)


def main() -> None:
    name = sys.argv[1]
    folder = Path.cwd()
    try:
        if name == "resume":
            told("value", resume_flow_run(sys.argv[2]))
        else:
            told("value", {"pipeline": pipeline, "failing": failing}[name](folder))
    except BaseException as error:
        told("ended by", f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    from tests.distributed import programs  # so that the flow is that of a module that others can import

    programs.main()
