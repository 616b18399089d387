"""The states of task and flow runs: what a run is doing, or how it ended.

A :class:`State` has a type (nine of them, four are final), a name that says more (``Retrying`` is a
RUNNING state), a time, a message and, where there is one, a result. States are made by the functions named
after them: ``Completed(message="...")``.

``details``       types, :class:`StateDetails`, results that are kept elsewhere
``state``         :class:`State` itself, reading results and exceptions from it
``constructors``  one function per state
``group``         :class:`StateGroup`, many states folded into one
``conversion``    from return values and exceptions to states
"""

from typing import TYPE_CHECKING

from mainspring._imports import names_on_use

if TYPE_CHECKING:
    from mainspring.states.constructors import (
        AwaitingConcurrencySlot,
        AwaitingRetry,
        Cancelled,
        Cancelling,
        Completed,
        Crashed,
        Failed,
        InfrastructurePending,
        Late,
        Paused,
        Pending,
        Retrying,
        Running,
        Scheduled,
        Submitting,
        Suspended,
    )
    from mainspring.states.conversion import (
        areturn_value_to_state,
        exception_to_crashed_state,
        exception_to_failed_state,
        format_exception,
        return_value_to_state,
    )
    from mainspring.states.details import TERMINAL_STATES, StateDetails, StateType, StoredResult, is_stored
    from mainspring.states.group import StateGroup
    from mainspring.states.state import (
        RESULT_READ_MAXIMUM_ATTEMPTS,
        RESULT_READ_RETRY_DELAY,
        State,
        aget_state_exception,
        araise_state_exception,
        get_state_exception,
        is_state,
        is_state_iterable,
        raise_state_exception,
    )

__all__ = [
    "RESULT_READ_MAXIMUM_ATTEMPTS",
    "RESULT_READ_RETRY_DELAY",
    "TERMINAL_STATES",
    "AwaitingConcurrencySlot",
    "AwaitingRetry",
    "Cancelled",
    "Cancelling",
    "Completed",
    "Crashed",
    "Failed",
    "InfrastructurePending",
    "Late",
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
    "Submitting",
    "Suspended",
    "aget_state_exception",
    "araise_state_exception",
    "areturn_value_to_state",
    "exception_to_crashed_state",
    "exception_to_failed_state",
    "format_exception",
    "get_state_exception",
    "is_state",
    "is_state_iterable",
    "is_stored",
    "raise_state_exception",
    "return_value_to_state",
]

__getattr__, __dir__ = names_on_use(
    __name__,
    {
        ".constructors": [
            "AwaitingConcurrencySlot",
            "AwaitingRetry",
            "Cancelled",
            "Cancelling",
            "Completed",
            "Crashed",
            "Failed",
            "InfrastructurePending",
            "Late",
            "Paused",
            "Pending",
            "Retrying",
            "Running",
            "Scheduled",
            "Submitting",
            "Suspended",
        ],
        ".conversion": [
            "areturn_value_to_state",
            "exception_to_crashed_state",
            "exception_to_failed_state",
            "format_exception",
            "return_value_to_state",
        ],
        ".details": ["TERMINAL_STATES", "StateDetails", "StateType", "StoredResult", "is_stored"],
        ".group": ["StateGroup"],
        ".state": [
            "RESULT_READ_MAXIMUM_ATTEMPTS",
            "RESULT_READ_RETRY_DELAY",
            "State",
            "aget_state_exception",
            "araise_state_exception",
            "get_state_exception",
            "is_state",
            "is_state_iterable",
            "raise_state_exception",
        ],
    },
)
