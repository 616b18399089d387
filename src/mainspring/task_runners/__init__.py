"""Task runners: where submitted tasks run.

- ``base``: what a runner is, wherever it runs tasks
- ``calls``: one submitted run, to its end in the calling thread
- ``pooled``: what the runners with a pool have in common
- ``threads``: tasks on threads of this process
- ``inline``: tasks where they are submitted, for debugging
- ``processes``: tasks in other processes; ``orders`` is what goes to these about a run, ``working`` what they do with
  it, ``losses`` what becomes of a run whose process has died
- ``named``: from ``processes=2`` to a runner, and that of flows that declare none
"""

from typing import TYPE_CHECKING

from mainspring._imports import names_on_use

if TYPE_CHECKING:
    from mainspring.task_runners.base import TaskRunner
    from mainspring.task_runners.inline import InlineTaskRunner
    from mainspring.task_runners.processes import ProcessPoolTaskRunner
    from mainspring.task_runners.threads import ConcurrentTaskRunner, ThreadPoolTaskRunner

__all__ = [
    "ConcurrentTaskRunner",
    "InlineTaskRunner",
    "ProcessPoolTaskRunner",
    "TaskRunner",
    "ThreadPoolTaskRunner",
]

__getattr__, __dir__ = names_on_use(
    __name__,
    {
        ".base": ["TaskRunner"],
        ".inline": ["InlineTaskRunner"],
        ".processes": ["ProcessPoolTaskRunner"],
        ".threads": ["ConcurrentTaskRunner", "ThreadPoolTaskRunner"],
    },
)
