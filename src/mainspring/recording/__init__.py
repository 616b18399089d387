"""The way from the engine to the run store: what was entered becomes durable, in order, as cheaply as possible.

Every state that a run enters goes to the `Recorder` of the process, which keeps it in a buffer. A final state
is committed before its engine goes on, together with everything that was buffered by then, so what is on disk is
always a beginning of what happened. A run that is still going is made visible by a background thread after
some tens of milliseconds. Threads that finish at the same time share a commit: the first one writes for all.

The flush points are: a final state (unless durability is ``relaxed``), the background thread's turn, a buffer
that has grown full, ``flush()``, and the end of the process.

``recorder``  the buffer, and what writes it
``current``   the recorders of this process, and which one holds where
"""

from mainspring.recording.current import close_recorders, current_recorder, keep_run_lines, use_recorder
from mainspring.recording.recorder import Listener, Recorder

__all__ = ["Listener", "Recorder", "close_recorders", "current_recorder", "keep_run_lines", "use_recorder"]
