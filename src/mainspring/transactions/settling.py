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

from collections.abc import Collection, Generator
from typing import Any

from mainspring import points
from mainspring.annotations import NotSet
from mainspring.context import current_scope
from mainspring.exceptions import ConfigurationError, LockTimeout, SupersededRun
from mainspring.locking.protocol import IsolationLevel
from mainspring.store.results import Decision, StagedStep
from mainspring.transactions.base import BaseTransaction, Hook
from mainspring.transactions.ledger import Ledger, staged_value_of
from mainspring.transactions.protocol import CommitMode, TransactionState
from mainspring.transactions.steps import (
    Call,
    Steps,
    interrupt_of,
    is_ours,
    raise_interrupt,
    report,
    run_hook,
)
from mainspring.transactions.writing import write

__all__ = ["begin", "commit", "commits_alone", "leave", "read", "read_at_once", "release", "rollback"]

_PENDING, _ACTIVE, _STAGED, _COMMITTED, _ROLLED_BACK = TransactionState
_SERIALIZABLE = IsolationLevel.SERIALIZABLE


class _UndoneError(Exception):
    """Stands for a failure that has been reported already, and whose transaction is rolled back."""


_UNDONE = _UndoneError()


def begin(txn: BaseTransaction) -> Steps | None:
    """Lock the key if that is asked for, and find out whether there is something under it (TX-10, TX-11).

    Returns:
        The steps that may wait, None if there are none.

    Raises:
        ConfigurationError: The store does not support the isolation level.
    """
    store, key, level = txn.store, txn.key, txn.isolation_level
    if not store.supports_isolation_level(level):
        raise ConfigurationError(
            f"Isolation level {level.value} is not supported by provided configuration: the store {store!r} of the"
            f" transaction with key {key!r} has no lock manager. Give it one."
        )
    if level is not _SERIALIZABLE:
        if txn.overwrite:
            return None
        if getattr(store, "is_quick", False) and hasattr(store, "find"):
            found = _at_once(store.find, store.afind, key)
            if found is not None:
                txn.found, txn.state = found, _COMMITTED
            return None
    return _begin(txn)


def _begin(txn: BaseTransaction) -> Steps:
    """The steps of a begin that may wait.

    Raises:
        LockTimeout: The key was not free in time.
    """
    store, key = txn.store, txn.key
    if txn.isolation_level is IsolationLevel.SERIALIZABLE:
        yield from _lock(txn)
    if txn.overwrite:
        return
    if hasattr(store, "find"):  # stores of users need not tell more than whether there is something
        txn.found = (yield Call(store.find, store.afind, (key,))).get()
        is_there = txn.found is not None
    else:
        is_there = (yield Call(store.exists, store.aexists, (key,))).get()
    if is_there:
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
        if is_ours(child):
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
        scope = current_scope()
        is_late = scope is not None and scope.is_given_up()  # what is written then counts no more
        yield from rollback(txn) if is_late else commit(txn)
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
    """Commit a transaction and the nest below it; returns whether that went well (TX-25 to TX-28, TX-71).

    Raises:
        SupersededRun, StoreError: It can be neither committed nor rolled back here, see `_undo_chain`.
    """
    if txn.is_decided() or txn.settling:
        if txn.is_decided():
            release(txn)
        return False
    nest: list[BaseTransaction] = []
    ledger, error = _decide("COMMIT", [txn])
    txn.ledger = ledger
    chain = [txn]
    if error is None:
        error, chain = yield from _prepare(txn, nest, ledger)
    if error is None:
        chain = [txn]
        error = yield from write(nest, ledger)
    if error is not None:
        interrupt = (yield from _undo_chain(chain, ledger, error))[1]
        raise_interrupt(error if interrupt_of(error) else interrupt)
        return False
    for each in nest:
        each.state = _COMMITTED
    for each in nest:
        release(each)
        for child in each.children:  # one that came while hooks were running, from a thread
            if is_ours(child) and not child.is_decided():
                yield from commit(child)
    return True


def rollback(txn: BaseTransaction) -> Steps:
    """Roll a transaction and the nest below it back; returns whether that went well (TX-31 to TX-33).

    Raises:
        SupersededRun, StoreError: See `_undo_chain`.
    """
    if txn.is_decided() or txn.settling == "rollback":
        if txn.is_decided():
            release(txn)
        return False
    # There is a ledger after a commit by hand that was interrupted between two hooks: it is not to be finished now.
    went_well, interrupt = yield from _undo_chain([txn], txn.ledger, None)
    raise_interrupt(interrupt)
    return went_well


def commits_alone(txn: BaseTransaction, commit_hooks: Collection[Hook]) -> bool:
    """Whether an attempt that now ends well is committed at once: no hook, and no other transaction, has a say.

    Args:
        txn: The transaction of the attempt, still open.
        commit_hooks: Those that are going to be staged with its value.
    """
    if commit_hooks or txn.on_commit_hooks or txn.is_discarded:
        return False
    parent, mode = txn.parent, txn.commit_mode
    if mode is not CommitMode.EAGER and (
        mode is not CommitMode.LAZY if parent is None else parent.state is not _COMMITTED
    ):
        return False
    return not txn.children or not any(map(_has_say, txn.children))


def _has_say(child: Any) -> bool:
    """Whether there is anything to do for the commit of a child."""
    if not is_ours(child):
        return True
    if child.is_decided():
        return bool(child.state is _ROLLED_BACK)
    return bool(child.entry or child.on_commit_hooks or child.writes() or any(map(_has_say, child.children)))


def _at_once(function: Any, twin: Any, *arguments: Any) -> Any:
    """Make a call that cannot wait, whoever drives the steps; the arguments are those of a `Call`."""
    if points.observer is not None:
        points.observer("transaction.call", Call(function, twin, arguments))
    value = function(*arguments)
    if points.observer is not None:
        points.observer("transaction.returned", Call(function, twin, arguments))
    return value


def read_at_once(txn: BaseTransaction) -> Any:
    """The record under the key, if it is in memory because it was found; else NotSet, and `read` gives it."""
    found, store = txn.found, txn.store
    if found is None or store.lock_manager is not None or getattr(found, "payload", None) is None:
        return NotSet
    return _at_once(store.open_found, store.aopen_found, txn.key, found)


def read(txn: BaseTransaction) -> Steps:
    """What is kept under the key; None without store or key (TX-14)."""
    store = txn.store
    if store is None or txn.key is None:
        return None
    # Under locks, somebody may be writing what was found, and is waited for.
    if txn.found is not None and store.lock_manager is None:
        return (yield Call(store.open_found, store.aopen_found, (txn.key, txn.found))).get()
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


# What is decided, for whoever has to finish it


def _decide(
    decision: Decision, chain: list[BaseTransaction], ledger: Ledger | None = None
) -> tuple[Ledger | None, BaseException | None]:
    """Note in the run store what is going to happen, if completed task runs are staged there.

    Args:
        decision: What was decided.
        chain: The transactions that are settled with all below them, in this order.
        ledger: What was decided about them before.

    Returns:
        What the hooks are noted in, None if that is not necessary; and the error if it cannot be noted.
    """
    found = [each for txn in chain for each in _undecided(txn)]
    entries = [txn.entry for txn in found if txn.entry is not None]
    values: list[StagedStep] = []
    if not entries:
        return None, None
    undoing = [(txn, hook) for txn in _in_undoing_order(chain) for hook in reversed(txn.on_rollback_hooks)]
    if decision == "COMMIT":
        calls = [(txn, hook) for txn in found for hook in txn.on_commit_hooks]
        if not calls:
            return None, None  # to be published in one step
        staged = [staged_value_of(txn) for txn in found if txn.writes() and txn.entry is None]
        values = [value for value in staged if value is not None]
    else:
        calls, undoing = undoing, []
    try:
        return Ledger.open(decision, entries, calls, undoing, values, ledger), None
    except Exception as error:  # superseded, or the store cannot be written: the caller does nothing then
        return None, error


def _undecided(txn: BaseTransaction) -> Generator[BaseTransaction]:
    """The transactions of a nest that are not decided, children before their parents."""
    if not txn.is_decided():
        for child in txn.children:
            if is_ours(child):
                yield from _undecided(child)
        yield txn


def _in_undoing_order(chain: list[BaseTransaction]) -> Generator[BaseTransaction]:
    """The same of several nests, each of which is inside of the next one, in the order in which they are undone."""
    seen: set[int] = set()

    def walk(txn: BaseTransaction) -> Generator[BaseTransaction]:
        if id(txn) not in seen and not txn.is_decided():
            seen.add(id(txn))
            yield txn
            for child in reversed(txn.children):
                if is_ours(child):
                    yield from walk(child)

    for txn in chain:
        yield from walk(txn)


# Parts of a commit


def _prepare(txn: BaseTransaction, nest: list[BaseTransaction], ledger: Ledger | None) -> Steps:
    """Let the children and then the hooks of a transaction agree to a commit.

    Args:
        txn: The transaction.
        nest: Gets the transactions that are to be committed, in their order.
        ledger: What hooks are noted in before they are called.

    Returns:
        The error, None if all went well, and the transactions to be undone then, the innermost first.
    """
    txn.settling = "commit"
    for child in txn.children:  # may grow meanwhile: a task in a thread adds itself when it is done
        error, chain = yield from _prepare_child(child, txn, nest, ledger)
        if error is not None:
            return error, [*chain, txn]
    for hook in txn.on_commit_hooks:
        error = yield from run_hook(hook, txn, "commit", ledger)
        if txn.state is _ROLLED_BACK:  # by the hook itself
            error = error or _UNDONE
        if error is not None:
            return error, [txn]
    nest.append(txn)
    return None, []


def _prepare_child(
    child: Any, txn: BaseTransaction, nest: list[BaseTransaction], ledger: Ledger | None
) -> Steps:
    """Prepare a child; one that is not ours has to commit by itself."""
    if is_ours(child):
        if child.state is _COMMITTED:
            return None, []
        if not (child.children or child.on_commit_hooks or child.is_decided()):  # the common case, in short
            nest.append(child)
            return None, []
        return (_UNDONE, []) if child.state is _ROLLED_BACK else (yield from _prepare(child, nest, ledger))
    outcome = yield Call(child.commit, child.commit)
    if outcome.error is not None:
        report(txn, f"committing the nested transaction {child!r}", outcome.error)
        return outcome.error, []
    return (None if outcome.value or child.is_committed() else _UNDONE), []


# Parts of a rollback


def _undo_chain(chain: list[BaseTransaction], ledger: Ledger | None, reason: BaseException | None) -> Steps:
    """Roll transactions back, each of which is inside of the next one.

    Args:
        chain: The transactions, the innermost first.
        ledger: What was decided about them before.
        reason: Why they are not committed, if they were to be.

    Returns:
        Whether all went well, and the first interrupt if there was one.

    Raises:
        SupersededRun: Somebody else goes on with the flow run around. No hook was called.
        StoreError: The run store cannot be written. Hooks that were not called are left to who resumes the flow run.
    """
    error: BaseException | None = reason if isinstance(reason, SupersededRun) else None
    if error is None:
        ledger, error = _decide("ROLLBACK", chain, ledger)
    # Whoever goes on with the flow run has all that is staged, and nothing may be done twice.
    if error is not None:
        for txn in chain:
            for each in _undecided(txn):
                each.state = _ROLLED_BACK
                each.settling = None
                release(each)
        raise error
    went_well, interrupt = True, None
    around = BaseTransaction.activate(None)  # a task that a hook calls is not part of what is undone
    try:
        for txn in chain:
            if not txn.is_decided():
                fine, late = yield from _undo(txn, ledger)
                went_well &= fine
                interrupt = interrupt or late
    finally:
        BaseTransaction.activate(around)
    if ledger is not None:
        ledger.close_rollback()
    return went_well, interrupt


def _undo(txn: BaseTransaction, ledger: Ledger | None) -> Steps:
    """Run the rollback hooks in reverse order, then roll the children back, newest first, and free the key.

    Every hook runs, also after one that failed or was interrupted.

    Returns:
        Whether all went well, and the first interrupt if there was one.
    """
    went_well, interrupt = True, None
    txn.settling = "rollback"
    for hook in reversed(txn.on_rollback_hooks):
        error = yield from run_hook(hook, txn, "rollback", ledger)
        went_well &= error is None
        interrupt = interrupt or interrupt_of(error)
    txn.state = _ROLLED_BACK
    for child in reversed(txn.children):
        if is_ours(child):
            if not child.is_decided():
                fine, error = yield from _undo(child, ledger)
                went_well &= fine
                interrupt = interrupt or error
        else:
            outcome = yield Call(child.rollback, child.rollback)
            if outcome.error is not None:
                report(txn, f"rolling the nested transaction {child!r} back", outcome.error)
            went_well &= bool(outcome.value)
            interrupt = interrupt or interrupt_of(outcome.error)
    txn.settling = None
    release(txn)
    return went_well, interrupt
