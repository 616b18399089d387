"""Task runners: where submitted tasks run.

- ``base``: what a runner is, wherever it runs tasks
- ``calls``: one submitted run, to its end in the calling thread
- ``pooled``: what the runners with a pool have in common
- ``threads``: tasks on threads of this process
- ``inline``: tasks where they are submitted, for debugging
- ``processes``: tasks in other processes; ``children`` is these as the runner sees them, ``serving`` what they do,
  ``channel`` and ``portability`` what goes between them, ``relays`` how others hear of what happens there
"""

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
