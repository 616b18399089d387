"""Named places in the engine at which a test may look on, wait, fail or die.

A place asks whether somebody looks on, and passes its name if so; else it costs the reading of one global. Nobody
looks on but `mainspring.testing`, and who wants to write something like it.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["POINTS", "Observer", "observer"]

Observer = Callable[[str, object], object]
"""Called in the thread that passes a point, with the name of the point and what it is about.

It may wait, die, or raise: what it raises comes out there, as if what is done at the point had raised it. It must not
use the engine, as locks of the run store may be held."""

observer: Observer | None = None
"""Who looks on in this process; None for nobody. Set it while nothing runs."""

POINTS: dict[str, str] = {
    "store.statement": "A statement is sent to the database of a run store, which may refuse it. About: its text.",
    "store.commit": "What follows makes a transaction durable. About: what the transaction does and the arguments of"
    " that, or a text.",
    "store.committed": "That transaction is durable, and nobody has been told. About: the same.",
    "journal.note": "A process is to note in its journal what will be committed later. About: the changes.",
    "journal.noted": "It has, so that its death cannot undo it; nobody has been told. About: the same.",
    "store.checkpoint": "SQLite is to copy its log into the database. About: the address of the store.",
    "store.checkpointed": "It has. About: the same.",
    "file.write": "A file in which something is kept is to be written, under another name. About: its path.",
    "file.half_written": "Half of it is written. About: the same.",
    "file.written": "All of it is written. About: the same.",
    "file.rename": "A file that is written is to get its name. About: its path.",
    "file.renamed": "It has got it. About: the same.",
    "file.remove": "A file is to be removed. About: its path.",
    "file.removed": "It is gone. About: the same.",
    "task.call": "The function of a task is to be called; what is raised is raised by it. About: the task and its run.",
    "task.returned": "It has returned, and nothing is recorded. About: the same.",
    "flow.call": "The function of a flow is to be called; what is raised is raised by it. About: the flow and its run.",
    "flow.returned": "It has returned, and nothing is recorded. About: the same.",
    "hook.call": "A hook of a state is to be called; what is raised is raised by it. About: the hook, run and state.",
    "hook.returned": "It has returned. About: the same.",
    "transaction.call": "A transaction is to call a hook, take a lock, or write; what is raised is raised by that."
    " About: the call.",
    "transaction.returned": "It has done so. About: the same.",
    "lock.take": "A key is to be locked. About: the key.",
    "lock.taken": "The wait for it is over. About: the key.",
    "lock.release": "A key is to be freed. About: the key.",
    "lock.released": "It is free. About: the key.",
    "slots.take": "A request for slots looks whether they are free. About: the names of the limits.",
    "slots.taken": "They are held. About: the same.",
    "slots.release": "They are to be given back. About: the same.",
    "slots.released": "They are free, and nobody who waits was woken. About: the same.",
    "lease.renew": "The lease of this process is to be renewed. About: the run store.",
    "supervisor.beat": "The supervisor looks at everything once. About: the run store.",
    "recorder.turn": "The recorder's background thread has its turn. About: the run store.",
    "submission.start": "A thread begins with a run that was submitted. About: what gives its name.",
}
"""What each point is, by name. Each has one meaning and may be in several places."""
