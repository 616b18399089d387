"""Flow runs that wait for somebody, with an input for them.

``pausing``    the calls in a flow that wait, in their process or after having left it; asking for that from outside
``answering``  giving a run what it waits for, from any process
``inputs``     what an input has to be, and its way through the history
``waiters``    who waits in this process
"""

from mainspring.pauses.answering import (
    Answer,
    find_pause,
    give,
    goes_on_elsewhere,
    is_in_hand,
    prepare,
    refuse_input,
    subflow_refusal,
    tell,
)
from mainspring.pauses.pausing import apause_flow_run, asuspend_flow_run, pause_flow_run, suspend_flow_run

__all__ = [
    "Answer",
    "apause_flow_run",
    "asuspend_flow_run",
    "find_pause",
    "give",
    "goes_on_elsewhere",
    "is_in_hand",
    "pause_flow_run",
    "prepare",
    "refuse_input",
    "subflow_refusal",
    "suspend_flow_run",
    "tell",
]
