"""The states of task and flow runs: what a run is doing, or how it ended.

A :class:`State` has a type (nine of them, four are final), a name that says more (``Retrying`` is a
RUNNING state), a time, a message and, where there is one, a result. States are made by the functions named
after them: ``Completed(message="...")``.

``state``         :class:`State` itself, reading results and exceptions from it
``constructors``  one function per state
``group``         :class:`StateGroup`, many states folded into one
``conversion``    from return values and exceptions to states
"""

from mainspring.states.constructors import (
    AwaitingRetry,
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    Paused,
    Pending,
    Retrying,
    Running,
    Scheduled,
)
from mainspring.states.conversion import (
    exception_to_crashed_state,
    exception_to_failed_state,
    return_value_to_state,
)
from mainspring.states.group import StateGroup
from mainspring.states.state import (
    TERMINAL_STATES,
    State,
    StateDetails,
    StateType,
    StoredResult,
    get_state_exception,
    is_state_iterable,
    raise_state_exception,
)

__all__ = [
    "TERMINAL_STATES",
    "AwaitingRetry",
    "Cancelled",
    "Cancelling",
    "Completed",
    "Crashed",
    "Failed",
    "Paused",
    "Pending",
    "Retrying",
    "Running",
    "Scheduled",
    "State",
    "StateDetails",
    "StateGroup",
    "StateType",
    "StoredResult",
    "exception_to_crashed_state",
    "exception_to_failed_state",
    "get_state_exception",
    "is_state_iterable",
    "raise_state_exception",
    "return_value_to_state",
]
