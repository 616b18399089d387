"""mainspring: plain functions as tracked, retried, cached, transactional tasks with a durable history, and no server.

::

    from mainspring import flow, task

    @task(retries=2)
    def fetch(month): ...

    @flow
    def pipeline(): ...

Names are loaded at their first use, so importing the package costs next to nothing.

Where things are, from the top of the stack to its bottom:

``tasks``, ``flows``                            the decorators and what they make
``task_engine``, ``flow_engine``                one run of one task or flow; ``_engine`` is what they share
``futures``, ``task_runners``, ``timeouts``     handles to submitted runs, and where these run; time limits
``transactions``, ``results``                   units of work, and the values that they keep
``cache_policies``, ``concurrency``             what a result depends on; never more than so many at a time
``client``, ``runtime``                         reading history; facts about the active run
``recording``, ``store``                        how history gets to disk, and what is kept there
``context``, ``events``, ``logging``            what is active where; what happens; log lines of runs
``serializers``, ``filesystems``, ``locking``   values as bytes, where these are kept, and who may write them
``hashing``, ``settings``                       values as keys; options of the process
``_core``                                       decides what happens in the life of a run, and does nothing itself
``states``, ``runs``                            the records everything else is about
``annotations``, ``exceptions``                 wrappers for arguments; every error, in one tree
``clock``, ``identifiers``                      where time, ids and chance come from
"""

from mainspring._imports import TYPE_CHECKING, names_on_use

if TYPE_CHECKING:
    from mainspring.annotations import allow_failure, unmapped
    from mainspring.client import get_client
    from mainspring.context import tags
    from mainspring.flows import Flow, flow
    from mainspring.logging import get_run_logger
    from mainspring.pauses import apause_flow_run, asuspend_flow_run, pause_flow_run, suspend_flow_run
    from mainspring.resumption import aresume_flow_run, resume_flow_run
    from mainspring.states import State
    from mainspring.tasks import Task, task
    from mainspring.transactions import Transaction

__all__ = [
    "Flow",
    "State",
    "Task",
    "Transaction",
    "__version__",
    "allow_failure",
    "apause_flow_run",
    "aresume_flow_run",
    "asuspend_flow_run",
    "flow",
    "get_client",
    "get_run_logger",
    "pause_flow_run",
    "resume_flow_run",
    "suspend_flow_run",
    "tags",
    "task",
    "unmapped",
]

__version__ = "0.1.0"

__getattr__, __dir__ = names_on_use(
    __name__,
    {
        ".annotations": ["allow_failure", "unmapped"],
        ".client": ["get_client"],
        ".context": ["tags"],
        ".flows": ["Flow", "flow"],
        ".logging": ["get_run_logger"],
        ".pauses": ["apause_flow_run", "asuspend_flow_run", "pause_flow_run", "suspend_flow_run"],
        ".resumption": ["aresume_flow_run", "resume_flow_run"],
        ".states": ["State"],
        ".tasks": ["Task", "task"],
        ".transactions": ["Transaction"],
    },
)
