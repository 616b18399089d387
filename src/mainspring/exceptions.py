"""Every error of mainspring, in one tree.

::

    MainspringError                     catch this to catch anything below
    ├── ConfigurationError              a setting or option cannot work (also a ValueError)
    ├── ParameterBindError              arguments do not fit the function (also a TypeError)
    ├── ParameterTypeError              parameters of a flow are not of their types (also a TypeError)
    ├── ReservedArgumentError           a parameter has a name we need (also a TypeError)
    ├── InvalidNameError                a flow name with a forbidden character (also a ValueError)
    ├── MissingContextError             called outside of any run (also a RuntimeError)
    ├── ParameterResolutionError        a parameter's futures or states could not be resolved
    ├── UpstreamTaskError               an input comes from a run that did not complete
    ├── MappingMissingIterable          ``map`` was given nothing to map over
    ├── MappingLengthMismatch           ``map`` was given iterables of different lengths
    ├── DeadlockError                   runs wait for each other in a circle (also a RuntimeError)
    ├── RunError                        reading the result of a run that has none to give
    │   ├── FailedRun
    │   ├── CrashedRun
    │   │   └── WorkerDied              a worker process died with the run
    │   ├── CancelledRun
    │   ├── PausedRun                   ``.state`` is the paused state
    │   ├── UnfinishedRun
    │   └── MissingResult
    ├── ObjectNotFound                  no such run in the store
    ├── ObjectAlreadyExists             what was to be created is there already
    ├── AmbiguousId                     a shortened id fits several runs
    ├── NotResumable                    a flow run cannot be gone on with
    │   └── NotPausedError              it was given an input, and waits for none
    ├── NotCancellable                  a run is over
    ├── NotDeletable                    a run goes on, or one around it does
    ├── NotSuspendable                  a flow run cannot be suspended
    ├── FlowPauseTimeout                nobody has resumed a paused flow run in time
    ├── ForeignError                    stands for an exception of another process that cannot be had here
    ├── WorkerNotStarted                a worker process cannot be had (also a RuntimeError)
    ├── UnguardedMainProgram            the main program runs again in each worker process (also a RuntimeError)
    ├── IllegalTransition               a state machine was asked for a move it does not have
    ├── EventTooLarge                   an event is longer than events.maximum_size_bytes (also a ValueError)
    ├── HashError                       a value has no hash by content (also a ValueError); ``.path`` says where
    ├── EntrypointError                 a file or a flow in it cannot be found or loaded
    ├── ConcurrencySlotAcquisitionError slots of a limit cannot be had
    ├── AcquireConcurrencySlotTimeoutError they were not free in time (also a TimeoutError)
    ├── ConcurrencyLeaseLost            slots were lost while their holder was at work
    ├── SerializationError              a value cannot become bytes, or bytes a value (also a ValueError)
    ├── StorageError                    a path cannot be read or written in a file system (also a ValueError)
    │   └── StoragePathMissing          there is nothing under that path
    ├── StorageDriverMissing            a file system needs a package that is not there (also a RuntimeError)
    ├── LockError                       a lock on a key is not as somebody needs it
    │   ├── LockNotHeld                 released or relied on without holding it (also a ValueError)
    │   ├── LockedByAnother             a write under a foreign lock (also a ValueError and a RuntimeError)
    │   └── LockTimeout                 it was not free in time (also a TimeoutError)
    └── StoreError                      the run store could not do its work
        ├── StoreUnavailable            it cannot be opened, read or written at all
        │   ├── StoreDriverMissing      it needs a package that is not there
        │   └── StoreMissing            there is none yet, and none was to be made
        ├── StoreCorrupt                the file is no database, or a damaged one
        ├── StoreTooNew                 written by a newer version
        ├── StoreTooOld                 written by an older version, and to be migrated by hand
        └── SupersededRun               a write came from an attempt that no longer counts
            └── OwnershipLost           this process was taken for dead, and its runs were settled

    BaseException
    ├── TerminationSignal               SIGTERM, raised in the main thread while a flow runs
    ├── RunCancelled                    ends a run that was told to stop: it, or one around it, was cancelled
    ├── Pause                           leaves a run as it is; ``.state`` says why
    └── Abort                           leaves a run as it is; nothing is recorded

The second group derives from ``BaseException``, so that an ``except Exception`` in user code cannot
swallow it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

from mainspring._representation import shown

__all__ = [
    "Abort",
    "AcquireConcurrencySlotTimeoutError",
    "AmbiguousId",
    "CancelledRun",
    "ConcurrencyLeaseLost",
    "ConcurrencySlotAcquisitionError",
    "ConfigurationError",
    "CrashedRun",
    "DeadlockError",
    "EntrypointError",
    "EventTooLarge",
    "FailedRun",
    "FlowPauseTimeout",
    "ForeignError",
    "HashError",
    "IllegalTransition",
    "InvalidNameError",
    "LockError",
    "LockNotHeld",
    "LockTimeout",
    "LockedByAnother",
    "MainspringError",
    "MappingLengthMismatch",
    "MappingMissingIterable",
    "MissingContextError",
    "MissingResult",
    "NotCancellable",
    "NotDeletable",
    "NotPausedError",
    "NotResumable",
    "NotSuspendable",
    "ObjectAlreadyExists",
    "ObjectNotFound",
    "OwnershipLost",
    "ParameterBindError",
    "ParameterResolutionError",
    "ParameterTypeError",
    "Pause",
    "PausedRun",
    "ReservedArgumentError",
    "RunCancelled",
    "RunError",
    "SerializationError",
    "StorageDriverMissing",
    "StorageError",
    "StoragePathMissing",
    "StoreCorrupt",
    "StoreDriverMissing",
    "StoreError",
    "StoreMissing",
    "StoreTooNew",
    "StoreTooOld",
    "StoreUnavailable",
    "SupersededRun",
    "TerminationSignal",
    "UnfinishedRun",
    "UnguardedMainProgram",
    "UpstreamTaskError",
    "WorkerDied",
    "WorkerNotStarted",
]


class MainspringError(Exception):
    """The root of the tree: catching it catches every error that mainspring raises itself."""


class ConfigurationError(MainspringError, ValueError):
    """A setting, option or combination of options cannot work; the message names it."""


class ParameterBindError(MainspringError, TypeError):
    """The arguments of a call do not fit the signature of the task's or flow's function."""

    @classmethod
    def from_call(
        cls,
        name: str,
        signature: object,
        reason: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> ParameterBindError:
        """Describe a failed call of ``name``: Python's reason, the signature, what was received."""
        return cls(
            f"Cannot call {name!r}: {reason}. Its signature is {name}{signature};"
            f" received positional arguments {shown(args)} and keyword arguments {shown(dict(kwargs))}."
        )


class ParameterTypeError(MainspringError, TypeError):
    """Parameters of a flow are not what their annotations say; the message names all of these, and what is wrong."""


class ReservedArgumentError(MainspringError, TypeError):
    """A function's parameter is called ``return_state`` or ``wait_for``, which calls of it need."""


class InvalidNameError(MainspringError, ValueError):
    """A name holds a character that would make it unusable in addresses and paths."""


class MissingContextError(MainspringError, RuntimeError):
    """A function that needs an active task or flow run was called outside of one."""


class ParameterResolutionError(MainspringError):
    """Futures and states inside a parameter could not be replaced by their results."""


class UpstreamTaskError(MainspringError):
    """A run that this one needs as input did not complete, so this one was not started."""


class MappingMissingIterable(MainspringError):  # noqa: N818 - the name is part of the contract
    """``map`` was called without any iterable argument."""


class MappingLengthMismatch(MainspringError):  # noqa: N818 - the name is part of the contract
    """``map`` was called with iterables of different lengths."""


class DeadlockError(MainspringError, RuntimeError):
    """Runs wait for each other in a circle and would do so for ever; the message names them."""


class RunError(MainspringError):
    """The result of a run was asked for, and the run's state has none to give."""


class FailedRun(RunError):  # noqa: N818 - the name is part of the contract
    """The run failed, and its state holds a message instead of an exception."""


class CrashedRun(RunError):  # noqa: N818 - the name is part of the contract
    """The run was ended from outside: a signal, a cancellation, the death of its process."""


class WorkerDied(CrashedRun):
    """The worker process that ran a task died: it was killed, ran out of memory, or ended itself.

    Attributes:
        exit_code: That of the process; the negative number of the signal that killed it; None if it is not known.
    """

    def __init__(self, *args: object, exit_code: int | None = None) -> None:
        super().__init__(*args)
        self.exit_code = exit_code


class CancelledRun(RunError):  # noqa: N818 - the name is part of the contract
    """The run was cancelled."""


class PausedRun(RunError):  # noqa: N818 - the name is part of the contract
    """The run is paused and will have a result later.

    Attributes:
        state: The paused state, or None when it is not known.
    """

    def __init__(self, *args: object, state: object = None) -> None:
        super().__init__(*args)
        self.state = state


class UnfinishedRun(RunError):  # noqa: N818 - the name is part of the contract
    """The run has not reached a final state yet."""


class MissingResult(RunError):  # noqa: N818 - the name is part of the contract
    """The run completed, but its result was not kept."""


class ObjectNotFound(MainspringError):  # noqa: N818 - the name is part of the contract
    """The run store holds no object with the given id."""


class ObjectAlreadyExists(MainspringError):  # noqa: N818 - the name is part of the contract
    """A run or limit that was to be created is there already; nothing was changed."""


class AmbiguousId(MainspringError):  # noqa: N818 - names a situation, like ObjectNotFound
    """A shortened id fits more than one object; the message lists some of them."""


class NotResumable(MainspringError):  # noqa: N818 - names a situation, like ObjectNotFound
    """A flow run cannot be gone on with; the message says which run, why, and what would help. Nothing was changed."""


class NotPausedError(NotResumable):
    """A flow run was given an input, or told to go on, and does not wait for that. Nothing was changed."""


class NotSuspendable(MainspringError):  # noqa: N818 - names a situation, like NotResumable
    """A flow run cannot be suspended; the message says which run, why, and what would help. Nothing was changed."""


class FlowPauseTimeout(MainspringError):  # noqa: N818 - the name is part of the contract
    """A paused flow run was not resumed in the time that it was ready to wait.

    Raised in the flow, and to whoever resumes it too late.
    """


class NotCancellable(MainspringError):  # noqa: N818 - names a situation, like ObjectNotFound
    """A run cannot be cancelled, because it is over. Nothing was changed."""


class NotDeletable(MainspringError):  # noqa: N818 - names a situation, like ObjectNotFound
    """A run is not deleted: it, something inside of it, or a flow run around it goes on; nothing was changed."""


class ForeignError(MainspringError):
    """Stands for an exception of another process that cannot be pickled, or cannot be made again here.

    Attributes:
        type_name: The class of the exception, with its module.
        message: Its text.
        traceback: Where it came from, as text.
    """

    def __init__(self, *args: object, type_name: str = "", message: str = "", traceback: str = "") -> None:
        super().__init__(*args)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback


class WorkerNotStarted(MainspringError, RuntimeError):  # noqa: N818 - names a situation, like ObjectNotFound
    """A worker process could not be started, or was not ready for work; the message says why, if that is known.

    Attributes:
        exit_code: That of a process that ended before it was ready, as in `WorkerDied`; else None.
    """

    def __init__(self, *args: object, exit_code: int | None = None) -> None:
        super().__init__(*args)
        self.exit_code = exit_code


class UnguardedMainProgram(MainspringError, RuntimeError):  # noqa: N818 - names a situation, like ObjectNotFound
    """A worker process imports the main program, and that runs a flow when it is imported."""


class IllegalTransition(MainspringError):  # noqa: N818 - names a situation
    """A run or transaction was asked to make a move that its state machine does not have."""


class HashError(MainspringError, ValueError):
    """A value cannot be hashed by its content, so no cache key can be made of it.

    Attributes:
        path: The part that is to blame, as one would write it: ``inputs['model'].lock``.
    """

    def __init__(self, *args: object, path: str = "") -> None:
        super().__init__(*args)
        self.path = path


class EntrypointError(MainspringError):
    """A ``FILE.py:flow`` could not be turned into a flow."""


class EventTooLarge(MainspringError, ValueError):  # noqa: N818 - the name is part of the contract
    """An event is longer than the setting ``events.maximum_size_bytes`` allows; nobody was told of it."""


class LockError(MainspringError):
    """A lock on a key is not in the condition that an operation needs; the message names key and holder."""


class LockNotHeld(LockError, ValueError):  # noqa: N818 - names a situation
    """Somebody released a lock, or relied on one, that they do not hold: never taken, given back or expired."""


class LockedByAnother(LockError, ValueError, RuntimeError):  # noqa: N818 - names a situation
    """A key was to be written while another holder has it locked."""


class LockTimeout(LockError, TimeoutError):  # noqa: N818 - names a situation
    """A lock was not free within the time that somebody was ready to wait for it."""


class SerializationError(MainspringError, ValueError):
    """A serializer cannot handle a value, or stored bytes are damaged; the message names both."""


class StorageError(MainspringError, ValueError):
    """A file system for results cannot read or write a path."""


class StoragePathMissing(StorageError):  # noqa: N818 - names a situation, like StoreMissing
    """There is nothing under a path that was to be read: it does not exist."""


class StorageDriverMissing(MainspringError, RuntimeError):  # noqa: N818 - names a situation
    """A file system is reached through a package that is not installed; the message names it."""


class ConcurrencySlotAcquisitionError(MainspringError):
    """Slots of concurrency limits cannot be had; the message names the limits and the reason."""


class AcquireConcurrencySlotTimeoutError(MainspringError, TimeoutError):
    """Slots of concurrency limits were not free within the time that the caller gave."""


class ConcurrencyLeaseLost(MainspringError):  # noqa: N818 - names a situation
    """The lease on slots could not be renewed, so others may hold them, and the block was cancelled."""


class StoreError(MainspringError):
    """The run store could not do what was asked of it; nothing written earlier is lost."""


class StoreUnavailable(StoreError):  # noqa: N818 - names a situation
    """The database cannot be opened, read or written: path, permissions, disk space, locks."""


class StoreMissing(StoreUnavailable):
    """There is no run store yet: nothing has run with these settings."""


class StoreCorrupt(StoreError):  # noqa: N818 - names a situation
    """The file is not a database, or a damaged one. It is left exactly as it was found."""


class StoreTooNew(StoreError):  # noqa: N818 - names a situation
    """The database was written by a newer version of mainspring than this one."""


class StoreDriverMissing(StoreUnavailable):
    """The run store needs a package that is not installed; the message says which."""


class StoreTooOld(StoreError):  # noqa: N818 - names a situation
    """The database was written by an older version, and is brought up to date only when somebody says so."""


class SupersededRun(StoreError):  # noqa: N818 - names a situation
    """A state was refused because the store no longer holds the state it was meant to follow.

    Somebody else settled the run in the meantime (a resume, a reaper, an operator). Whatever this
    attempt did or returned does not count any more.
    """


class OwnershipLost(SupersededRun):
    """This process was taken for dead, because it had not renewed its lease: its runs of that time were settled.

    Nothing of them is written any more. New runs of the process are not concerned.
    """


class TerminationSignal(BaseException):
    """The process was asked to terminate while a flow was running in its main thread.

    Attributes:
        signal: The number of the signal, normally ``signal.SIGTERM``.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)  # what it is made from again in another process
        self.signal = signal

    def __str__(self) -> str:
        return f"Received signal {self.signal}."


class RunCancelled(BaseException):
    """Ends a run that was told to stop: it, or a run around it, was cancelled or given up, or its runner was left."""


class Pause(BaseException):
    """Leave the current run without settling it.

    Attributes:
        state: The paused or suspended state that the run is in, or None.
    """

    def __init__(self, *args: object, state: object = None) -> None:
        super().__init__(*args)
        self.state = state


class Abort(BaseException):
    """Leave the current run at once; its recorded state stays what it is."""
