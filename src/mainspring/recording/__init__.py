"""The way from the engine to the run store: what was entered becomes durable, in order, as cheaply as possible.

Every state that a run enters goes to the `Recorder` of the process, which keeps it in a buffer. A final state
is on disk before its engine goes on, together with everything that was buffered by then, so what is on disk is
always a beginning of what happened. It is committed, or, with durability ``journal`` and if nobody but this process has
to do with the run, noted in the journal of the store, and committed soon after. A run that is still going is made
visible by a background thread after some tens of milliseconds. Threads that finish at the same time share a commit: the
first one writes for all.

The flush points are: a final state that cannot be noted (unless durability is ``relaxed``), the background thread's
turn, a buffer or a page of the journal that has grown full, ``flush()``, and the end of the process.

``buffer``    what was entered and is not committed
``recorder``  what enters it and has it written
``current``   the recorders of this process, and which one holds where
"""

from mainspring.recording.current import (
    close_recorders,
    commit_noted,
    current_recorder,
    keep_run_lines,
    use_recorder,
)
from mainspring.recording.recorder import Listener, Recorder

__all__ = [
    "Listener",
    "Recorder",
    "close_recorders",
    "commit_noted",
    "current_recorder",
    "keep_run_lines",
    "use_recorder",
]
