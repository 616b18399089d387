"""The steps of a commit, a rollback and a begin, in their order, and what may go wrong in them.

Nothing in here waits. The generators yield a `Call` for whatever might: a hook, a read, a write, a lock. Whoever
drives them makes the call, with or without ``await``, and sends its `Outcome`. So sync and async transactions are
settled by the same steps, and a nest that is made of both is, too.

A commit has three parts. First every transaction of the nest is prepared: children before their parent, in the
order in which they were added, each with its hooks. Then all that is to be written is checked. Then it is written,
and only when all of it is there does anything count as committed. If something fails, the innermost transaction
that it belongs to is rolled back first, then the one around it with its other children, and so on outwards.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, cast

from mainspring._core.policy import hook_name
from mainspring._representation import traceback_of
from mainspring.exceptions import ConfigurationError, LockNotHeld, LockTimeout, SerializationError
from mainspring.locking.protocol import IsolationLevel
from mainspring.states import is_stored
from mainspring.states.conversion import describe_exception
from mainspring.transactions.base import BaseTransaction
from mainspring.transactions.protocol import CommitMode, TransactionState

__all__ = ["FACES", "Call", "Outcome", "Steps", "begin", "commit", "leave", "read", "release", "rollback"]

_PENDING, _ACTIVE, _STAGED, _COMMITTED, _ROLLED_BACK = TransactionState


class Call:
    """An effect: something that may wait is to be called.

    Args:
        function: What to call; it may return an awaitable, whose result is meant then.
        twin: What to call instead where it is awaited.
        arguments: With which positional arguments.
        options: With which keyword arguments.
    """

    __slots__ = ("arguments", "function", "options", "twin")

    def __init__(self, function: Any, twin: Any, arguments: tuple[Any, ...] = (), **options: Any) -> None:
        self.function = function
        self.twin = twin
        self.arguments = arguments
        self.options = options

    def make(self) -> Any:
        """Make the call in the calling thread; may give an awaitable."""
        return self.function(*self.arguments, **self.options)

    def amake(self) -> Any:
        """Make the call for code that awaits; may give an awaitable."""
        return self.twin(*self.arguments, **self.options)


class Outcome:
    """What came of a `Call`: a value, or the exception that was raised, of whatever kind."""

    __slots__ = ("error", "value")

    def __init__(self, value: Any, error: BaseException | None = None) -> None:
        self.value = value
        self.error = error

    def get(self) -> Any:
        """The value; raises the exception."""
        if self.error is not None:
            raise self.error
        return self.value


Steps = Generator[Call, Outcome, Any]


class _UndoneError(Exception):
    """Stands for a failure that has been reported already, and whose transaction is rolled back."""


_UNDONE = _UndoneError()


def begin(txn: BaseTransaction) -> Steps:
    """Lock the key if that is asked for, and find out whether there is something under it (TX-10, TX-11).

    Raises:
        ConfigurationError: The store does not support the isolation level.
        LockTimeout: The key was not free in time.
    """
    store, key, level = txn.store, txn.key, txn.isolation_level
    if not store.supports_isolation_level(level):
        raise ConfigurationError(
            f"Isolation level {level.value} is not supported by provided configuration: the store {store!r} of the"
            f" transaction with key {key!r} has no lock manager. Give it one."
        )
    if level is IsolationLevel.SERIALIZABLE:
        yield from _lock(txn)
    if not txn.overwrite and (yield Call(store.exists, store.aexists, (key,))).get():
        txn.state = _COMMITTED


def _lock(txn: BaseTransaction) -> Steps:
    """Become the one holder of the key."""
    store, key, holder = txn.store, txn.key, txn.holder
    is_locked = store.acquire_lock, store.aacquire_lock, (key,)
    if not (yield Call(*is_locked, holder=holder, timeout=0)).get():
        if (owner := _owner_in_nest(txn)) is not None:
            raise ConfigurationError(
                f"A SERIALIZABLE transaction with key {key!r} would wait for ever: a transaction of the same nest,"
                f" {owner!r}, holds the lock until the outermost one ends. Commit that one EAGER, or nest none."
            )
        if not (yield Call(*is_locked, holder=holder, timeout=txn.lock_timeout)).get():
            raise LockTimeout(
                f"The lock on key {key!r} was not free within {txn.lock_timeout} second(s), so the transaction"
                " was not begun. Try again later, or wait longer."
            )
    txn.is_locking = True


def _owner_in_nest(txn: BaseTransaction) -> BaseTransaction | None:
    """The transaction around this one, or left before inside of those, that has its key locked."""
    around = txn.parent
    while around is not None:
        for each in (around, *_locking(around.children)):
            if each.is_locking and each.key == txn.key and each.store == txn.store:
                return each
        around = around.parent
    return None


def _locking(children: list[Any]) -> Generator[BaseTransaction]:
    for child in children:
        if _is_ours(child):
            yield child
            yield from _locking(child.children)


def leave(txn: BaseTransaction, error: BaseException | None) -> Steps:
    """Decide what the end of the block means (TX-18 to TX-22)."""
    parent = txn.parent
    if txn.is_decided():
        release(txn)
    elif error is not None or txn.is_discarded:
        yield from rollback(txn)
    elif txn.commit_mode is CommitMode.EAGER:
        yield from commit(txn)
    elif parent is None:
        yield from commit(txn) if txn.commit_mode is CommitMode.LAZY else rollback(txn)
    elif parent.state is _COMMITTED:  # by hand, or its block ended while this one went on in a thread
        yield from commit(txn)
    elif parent.state is _ROLLED_BACK:
        yield from rollback(txn)
    else:
        parent.add_child(txn)
    # An error that is caught outside of this block is not the parent's; without one, whoever rolled back meant it.
    if txn.state is _ROLLED_BACK and error is None and parent is not None and not txn.is_discarded:
        yield from rollback(parent)


def commit(txn: BaseTransaction) -> Steps:
    """Commit a transaction and the nest below it; returns whether that went well (TX-25 to TX-28, TX-71)."""
    if txn.is_decided() or txn.settling:
        if txn.is_decided():
            release(txn)
        return False
    nest: list[BaseTransaction] = []
    error = yield from _prepare(txn, nest)
    if error is None:
        error = yield from _write(nest)
        if error is not None:
            interrupt = (yield from _undo(txn))[1]
            error = interrupt or error
    if error is not None:
        _raise_interrupt(error)
        return False
    for each in nest:
        each.state = _COMMITTED
    for each in nest:
        release(each)
        for child in each.children:  # one that came while hooks were running, from a thread
            if _is_ours(child) and not child.is_decided():
                yield from commit(child)
    return True


def rollback(txn: BaseTransaction) -> Steps:
    """Roll a transaction and the nest below it back; returns whether that went well (TX-31 to TX-33)."""
    if txn.is_decided() or txn.settling == "rollback":
        if txn.is_decided():
            release(txn)
        return False
    went_well, interrupt = yield from _undo(txn)
    _raise_interrupt(interrupt)
    return went_well


def read(txn: BaseTransaction) -> Steps:
    """What is kept under the key; None without store or key (TX-14)."""
    store = txn.store
    if store is None or txn.key is None:
        return None
    return (yield Call(store.read, store.aread, (txn.key,), holder=txn.holder)).get()


def release(txn: BaseTransaction) -> None:
    """Free the key if it is locked. Never raises: the transaction is over whatever became of the lock."""
    if not txn.is_locking:
        return
    txn.is_locking = False
    try:
        txn.store.release_lock(txn.key, holder=txn.holder)
    except Exception as error:  # somebody freed it before us; what matters is refused when it is written
        txn.logger.warning("The lock on key %r could not be released: %s", txn.key, error)


# Parts of a commit


def _prepare(txn: BaseTransaction, nest: list[BaseTransaction]) -> Steps:
    """Let the children and then the hooks of a transaction agree to a commit.

    Args:
        txn: The transaction. It is rolled back if there is an error.
        nest: Gets the transactions that are to be committed, in their order.

    Returns:
        The error, None if all went well.
    """
    txn.settling = "commit"
    error: BaseException | None = None
    for child in txn.children:  # may grow meanwhile: a task in a thread adds itself when it is done
        if (error := (yield from _prepare_child(child, txn, nest))) is not None:
            break
    else:
        for hook in txn.on_commit_hooks:
            error = yield from _run(hook, txn, "commit")
            if txn.state is _ROLLED_BACK:  # by the hook itself
                error = error or _UNDONE
            if error is not None:
                break
    if error is None:
        nest.append(txn)
        return None
    interrupt = None
    if txn.state is not _ROLLED_BACK:
        interrupt = (yield from _undo(txn))[1]
    return error if _is_interrupt(error) else interrupt or _UNDONE


def _prepare_child(child: Any, txn: BaseTransaction, nest: list[BaseTransaction]) -> Steps:
    """Prepare a child; one that is not ours has to commit by itself."""
    if _is_ours(child):
        if child.state is _COMMITTED:
            return None
        if not (child.children or child.on_commit_hooks or child.is_decided()):  # the common case, in short
            nest.append(child)
            return None
        return _UNDONE if child.state is _ROLLED_BACK else (yield from _prepare(child, nest))
    outcome = yield Call(child.commit, child.commit)
    if outcome.error is not None:
        _report(txn, f"committing the nested transaction {child!r}", outcome.error)
        return outcome.error
    return None if outcome.value or child.is_committed() else _UNDONE


def _write(nest: list[BaseTransaction]) -> Steps:
    """Write what the transactions of a nest have staged; all of it is checked before the first is written.

    Returns:
        The error, which has been reported; None if all went well.
    """
    writing = [txn for txn in nest if txn.writes()]
    for check in (_check, _keep) if len(writing) > 1 else (_keep,):
        for position, txn in enumerate(writing):
            error = yield from check(txn)
            if error is not None:
                _report_unwritten(txn, error, writing[:position] if check is _keep else [])
                return error
    return None


def _check(txn: BaseTransaction) -> Steps:
    """Find out whether the staged value can be written."""
    value = txn.staged_value
    try:
        _check_lock(txn)
        if not is_stored(value):
            value = txn.store.create_result_record(value, key=txn.key)
    except Exception as error:  # the caller reports it and rolls back
        return error
    serialize = getattr(value, "serialize", None)  # a value that is stored already has nothing to serialize
    return None if serialize is None else (yield Call(serialize, serialize)).error


def _keep(txn: BaseTransaction) -> Steps:
    """Write the staged value."""
    try:
        _check_lock(txn)
    except Exception as error:  # the caller reports it and rolls back
        return error
    store, value, holder = txn.store, txn.staged_value, txn.holder
    if is_stored(value):
        call = Call(store.persist_result_record, store.apersist_result_record, (value,), holder=holder)
    else:
        call = Call(store.write, store.awrite, obj=value, key=txn.key, holder=holder)
    return (yield call).error


def _check_lock(txn: BaseTransaction) -> None:
    """Refuse to write under a lock that is not held any more (TX-77)."""
    if txn.is_locking and not txn.store.is_lock_holder(txn.key, holder=txn.holder):
        raise LockNotHeld(
            f"The lock on key {txn.key!r} was lost before the transaction was committed, so nothing is written:"
            " others may have gone on in the meantime. A longer hold timeout keeps it."
        )


# Parts of a rollback


def _undo(txn: BaseTransaction) -> Steps:
    """Run the rollback hooks in reverse order, then roll the children back, newest first, and free the key.

    Every hook runs, also after one that failed or was interrupted.

    Returns:
        Whether all went well, and the first interrupt if there was one.
    """
    went_well, interrupt = True, None
    txn.settling = "rollback"
    for hook in reversed(txn.on_rollback_hooks):
        error = yield from _run(hook, txn, "rollback")
        went_well &= error is None
        interrupt = interrupt or _interrupt(error)
    txn.state = _ROLLED_BACK
    for child in reversed(txn.children):
        if _is_ours(child):
            if not child.is_decided():
                fine, error = yield from _undo(child)
                went_well &= fine
                interrupt = interrupt or error
        else:
            outcome = yield Call(child.rollback, child.rollback)
            if outcome.error is not None:
                _report(txn, f"rolling the nested transaction {child!r} back", outcome.error)
            went_well &= bool(outcome.value)
            interrupt = interrupt or _interrupt(outcome.error)
    txn.settling = None
    release(txn)
    return went_well, interrupt


# Parts of both


def _run(hook: Callable[..., Any], txn: BaseTransaction, kind: str) -> Steps:
    """Run one hook and tell about it, unless it asks for silence; returns the error, None if it went well."""
    try:
        is_logged = getattr(hook, "log_on_run", True)
    except Exception:  # an object that raises when it is asked has not asked for silence
        is_logged = True
    name = hook_name(hook)
    if is_logged:
        txn.logger.info("Running %s hook %r", kind, name)
    error: BaseException | None = (yield Call(hook, hook, (txn,))).error
    if not is_logged:
        return error
    if error is None:
        txn.logger.info("%s hook %r finished running successfully", kind.capitalize(), name)
    else:
        _report(txn, f"running {kind} hook {name!r}", error)
    return error


def _report(txn: BaseTransaction, doing: str, error: BaseException) -> None:
    if isinstance(error, Exception):  # an interrupt goes on to whoever it is for
        told, trace = describe_exception(error), traceback_of(error)
        txn.logger.error("An error was encountered while %s: %s", doing, told, exc_info=trace)


def _report_unwritten(txn: BaseTransaction, error: BaseException, written: list[BaseTransaction]) -> None:
    """Tell that a staged value was not written, and which ones were before it."""
    if isinstance(error, SerializationError):
        txn.logger.warning(
            "Encountered an error while serializing result for key %r; it is not kept: %s", txn.key, error
        )
    else:
        _report(txn, f"writing the result for key {txn.key!r}", error)
    if written:
        keys = [each.key for each in written]
        txn.logger.error(
            "These results were written before, and are rolled back without removing them: %r", keys
        )


def _is_ours(child: Any) -> bool:
    """Whether a child is settled by the steps of this module; others are asked to do it themselves."""
    kind = cast("Any", type(child))
    return getattr(kind, "commit", None) in FACES and getattr(kind, "rollback", None) in FACES


FACES: set[Any] = set()  # the methods that do nothing but drive these steps


def _is_interrupt(error: BaseException | None) -> bool:
    return error is not None and not isinstance(error, Exception)


def _interrupt(error: BaseException | None) -> BaseException | None:
    return error if _is_interrupt(error) else None


def _raise_interrupt(error: BaseException | None) -> None:
    """Let an exception that ends more than a transaction go on: a cancellation, SIGTERM, Ctrl-C."""
    if error is not None and not isinstance(error, Exception):
        raise error
