"""What the run store is told of transactions, so that a commit or a rollback can be finished after a death.

A task run that completes while its transaction goes on is staged in the run store: its transaction has an `Entry`. When
such transactions are decided, a `Ledger` notes what was decided and which hooks are going to be called, and each hook
before it is. With the last step of a commit all that is staged is published at once. `mainspring.transactions.recovery`
reads what was noted.

Only transactions of flow runs that can be resumed are told of: nobody would ask for others.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar
from weakref import WeakKeyDictionary

from mainspring import identifiers
from mainspring._core.policy import hook_name
from mainspring.exceptions import MainspringError, StorageError, StoreError, SupersededRun
from mainspring.filesystems import LocalFileSystem
from mainspring.recording import Recorder, current_recorder
from mainspring.records import ResultRecord
from mainspring.serializers.base import load_library
from mainspring.states import is_stored
from mainspring.store.results import Decision, KeptResult, Settlement, StagedStep
from mainspring.transactions.base import BaseTransaction, Hook

__all__ = [
    "DumpedHooks",
    "Entry",
    "Ledger",
    "LostHook",
    "Plan",
    "TransactionCopy",
    "dump_hooks",
    "dump_storage",
    "dump_values",
    "publish",
    "remove_copies",
    "staged_value_of",
]


P = ParamSpec("P")
T = TypeVar("T")


class Entry(NamedTuple):
    """A completed run that is staged in the run store.

    Args:
        recorder: The way to that store.
        run_key: The task run, or the flow run of a subflow.
        root_key: The outermost flow run around it.
        is_elsewhere: Whether its result is to be kept in another storage than the run store.
    """

    recorder: Recorder
    run_key: bytes
    root_key: bytes
    is_elsewhere: bool


class TransactionCopy(NamedTuple):
    """What hooks can see of a transaction, for another process.

    Args:
        run_key: The task run whose transaction it is. The rest is in the row that it has staged.
        key: Its key.
        values: Its named values and those around it, as a record.
        staged_value: What was staged, pickled.
    """

    run_key: bytes | None
    key: str | None = None
    values: bytes | None = None
    staged_value: bytes | None = None


class Plan(NamedTuple):
    """What is going to be done.

    Args:
        transactions: Those with hooks.
        calls: The hooks in the order in which they are called, each with the number of its transaction.
        undoing: For a commit, likewise: the rollback hooks, to be called instead if one of the commit hooks fails.
        values: What transactions that are no task runs have staged. A commit keeps it, a rollback removes its files.
    """

    transactions: list[TransactionCopy]
    calls: list[tuple[int, Hook]]
    undoing: list[tuple[int, Hook]]
    values: list[StagedStep]


Call = tuple[BaseTransaction, Hook]


class LostHook:
    """Stands for a hook, or for the values that it needs, which could not be handed to another process.

    Args:
        name: Of the hook.
        reason: Why.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.__name__ = name
        self.reason = reason

    def __call__(self, txn: object) -> None:
        raise MainspringError(
            f"The hook {self.__name__!r} cannot be called by the process that resumes the flow run: {self.reason}."
            " Do by hand what it would have done; hooks that are functions of a module can be called."
        )


class Ledger:
    """A commit or rollback that is going on, as the run store is told of it."""

    __slots__ = ("_begun", "_calls", "_entries", "_failure", "_recorder", "key", "values")

    def __init__(
        self, key: bytes, entries: Sequence[Entry], calls: Sequence[Call], values: Sequence[StagedStep]
    ) -> None:
        self.key = key
        self.values = values
        self._recorder = entries[0].recorder
        self._entries = entries
        self._calls = [call for call in calls if not is_internal(call[1])]
        self._begun = 0
        self._failure: Exception | None = None

    @classmethod
    def open(
        cls,
        decision: Decision,
        entries: Sequence[Entry],
        calls: Sequence[Call],
        undoing: Sequence[Call] = (),
        values: Sequence[StagedStep] = (),
        before: Self | None = None,
    ) -> Self:
        """Note what was decided; on return it is on disk.

        Args:
            decision: What was decided.
            entries: The staged runs that it is about.
            calls: The hooks in their order, each with its transaction.
            undoing: For a commit: the hooks of the rollback that would take its place.
            values: What transactions that are no task runs have staged, and a commit keeps.
            before: The ledger that this one replaces.

        Raises:
            SupersededRun: Somebody else goes on with the flow run.
            StoreError: It cannot be written. Nothing was noted.
        """
        if before is None:
            self = cls(identifiers.new_id(), entries, calls, values)
        else:
            self = cls(before.key, entries, calls, before.values)
        plan = dump(
            _plan(self._calls, [call for call in undoing if not is_internal(call[1])], self.values), "a plan"
        )
        settlement = Settlement(self.key, entries[0].root_key, decision, plan)
        recorder, keys = self._recorder, [each.run_key for each in entries]
        if not _note(recorder, recorder.store.open_settlement, settlement, keys):
            raise _superseded(entries[0])
        return self

    def begin(self, txn: BaseTransaction, hook: Hook) -> None:
        """Note that a hook is about to be called. One that was not planned for is not noted.

        Raises:
            SupersededRun: Somebody else finishes what is going on here.
            StoreError: It cannot be written. From then on no hook can be noted: they are called in their order, by
                whoever resumes the flow run.
        """
        if self._failure is not None:
            raise self._failure
        for position in range(self._begun, len(self._calls)):
            planned_for, planned = self._calls[position]
            if planned_for is txn and planned is hook:
                break
        else:
            return
        try:
            if not _note(self._recorder, self._recorder.store.advance_settlement, self.key, position + 1):
                raise _superseded(self._entries[0])
        except Exception as error:
            self._failure = error
            raise
        self._begun = position + 1

    def close_rollback(self) -> None:
        """Note that everything is undone; raises as `begin` does."""
        if self._failure is not None:
            raise self._failure
        self._recorder.note_unused_files()
        keys = [each.run_key for each in self._entries]
        if _note(self._recorder, self._recorder.store.close_settlement, self.key, drop=keys):
            remove_copies(self.values)


def publish(rows: Sequence[KeptResult], entries: Sequence[Entry], ledger: Ledger | None) -> None:
    """Let staged and further results count from now on, in one step.

    Args:
        rows: Results that are not staged in the run store.
        entries: Those that are.
        ledger: What hooks were noted in; the commit is done.

    Raises:
        SupersededRun: Somebody else goes on with the flow run.
        StoreError: It cannot be written. Nothing counts.
    """
    if not entries:
        current_recorder().keep_results(rows)
        return
    recorder = entries[0].recorder
    recorder.note_unused_files()
    key = None if ledger is None else ledger.key
    if not _note(
        recorder, recorder.store.close_settlement, key, [each.run_key for each in entries], (), rows
    ):
        raise _superseded(entries[0])
    if ledger is not None:
        remove_copies(ledger.values)


def remove_copies(values: Sequence[StagedStep]) -> None:
    """Remove the files of values of a plan that is done: what is kept of them is elsewhere."""
    for value in values:
        if value.file is not None:
            try:
                LocalFileSystem().delete_path(value.file)
            except StorageError:  # it has been removed, or cannot be: nothing leads to it
                pass


def _note(recorder: Recorder, write: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Write after all that was entered before. Tried again once: where this fails, more is undone than one task run."""
    try:
        recorder.flush()
        return write(*args, **kwargs)
    except StoreError:
        recorder.flush()
        return write(*args, **kwargs)


def is_internal(hook: Hook) -> bool:
    """True for hooks of the engine, which belong to its process."""
    try:
        return bool(getattr(hook, "is_internal", False))
    except Exception:  # an object of the user's that raises when it is asked
        return False


def _superseded(entry: Entry) -> SupersededRun:
    return SupersededRun(
        f"Somebody else goes on with the flow run {identifiers.to_uuid(entry.root_key)}, so its transaction was"
        " neither committed nor rolled back here. No hook was called."
    )


# For other processes


def _plan(calls: Sequence[Call], undoing: Sequence[Call], values: Sequence[StagedStep]) -> Plan:
    numbers: dict[int, int] = {}
    copies: list[TransactionCopy] = []
    for txn, _ in (*calls, *undoing):
        if id(txn) not in numbers:
            numbers[id(txn)] = len(copies)
            copies.append(_copy_of(txn))
    planned, instead = (
        [(numbers[id(txn)], portable(hook)) for txn, hook in some] for some in (calls, undoing)
    )
    return Plan(copies, planned, instead, list(values))


def _copy_of(txn: BaseTransaction) -> TransactionCopy:
    if txn.entry is not None:
        return TransactionCopy(txn.entry.run_key, txn.key)
    try:
        staged = None if txn.staged_value is None else dump(txn.staged_value, "the staged value")
    except MainspringError:  # hooks that ask for it meet None
        staged = None
    return TransactionCopy(None, txn.key, dump_values(txn), staged)


def staged_value_of(txn: BaseTransaction) -> StagedStep | None:
    """What a transaction that is no task run has staged, for another process; None if it cannot be written.

    Whoever writes it here meets the reason, and reports it.
    """
    store = txn.store
    if not hasattr(store, "pack"):  # a store of the user's
        return None
    try:
        value = txn.staged_value
        record = value if is_stored(value) else store.create_result_record(value, key=txn.key)
        row = store.pack(record, holder=txn.holder)
        storage = None if store.is_in_history else dump_storage(store)
    except Exception:  # as the docstring says
        return None
    return StagedStep(b"", None, b"", row.key, False, storage, row.content, row.file)


def dump_storage(store: Any) -> bytes:
    """Where a result store keeps records, as bytes. Raises as `dump` does."""
    return dump((store.result_storage, store.metadata_storage), f"the storage {store.result_storage!r}")


def dump(value: object, what: str) -> bytes:
    """A value as bytes for another process.

    Raises:
        MainspringError: It cannot be pickled.
    """
    library = load_library("cloudpickle")  # not needed by those who have no hooks
    try:
        return library.dumps(value)  # type: ignore[no-any-return]
    except Exception as error:  # whatever the value's own code raises
        raise MainspringError(f"{what} cannot be pickled: {type(error).__name__}: {error}") from error


def portable(hook: Hook) -> Hook:
    """A hook that can be pickled: itself, or what tells why it cannot."""
    try:
        dump(hook, "it")
    except MainspringError as error:
        return LostHook(hook_name(hook), str(error))
    return hook


_Hooks = tuple[tuple[Hook, ...], tuple[Hook, ...]]  # of commits and of rollbacks
_dumped: WeakKeyDictionary[Any, tuple[_Hooks, bytes]] = WeakKeyDictionary()


class DumpedHooks(NamedTuple):
    """The hooks of a transaction of a task, each None or pickled: commit hooks and rollback hooks.

    Args:
        added: Those that its function has added. They are gone where the function is not called again.
        of_task: Those of the task.
    """

    added: bytes | None
    of_task: bytes | None


def dump_hooks(task: Any, txn: BaseTransaction) -> bytes | None:
    """The hooks of a transaction whose function has returned, as bytes; None if there are none.

    Args:
        task: The task, for which its own hooks are remembered.
        txn: The transaction, which does not have those of the task yet.
    """
    added = tuple(txn.on_commit_hooks), tuple(txn.on_rollback_hooks)
    own = tuple(task.on_commit_hooks), tuple(task.on_rollback_hooks)
    if not any((*added, *own)):
        return None
    return pickle.dumps(DumpedHooks(_dump_pair(added), _dump_own(task, own)))


def _dump_own(task: Any, hooks: _Hooks) -> bytes | None:
    known = _dumped.get(task)
    if known is not None and known[0] == hooks:
        return known[1]
    dumped = _dump_pair(hooks)
    if dumped is not None:
        _dumped[task] = hooks, dumped
    return dumped


def _dump_pair(hooks: _Hooks) -> bytes | None:
    if not any(hooks):
        return None
    return dump([[portable(hook) for hook in kind] for kind in hooks], "the hooks")


def dump_values(txn: BaseTransaction) -> bytes | None:
    """The named values that hooks of a transaction can get, as a record; None if there are none.

    They are written by the serializer of the transaction's store. Values that it cannot write are left out.
    """
    values = txn.visible_values()
    if not values:
        return None
    serializer = getattr(txn.store, "serializer", None)
    try:
        return _record_of(values, serializer).serialize()
    except MainspringError:
        return _record_of(_serializable(values, serializer), serializer).serialize()


def _serializable(values: Mapping[str, Any], serializer: Any) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in values.items():
        try:
            _record_of({name: value}, serializer).serialize()
        except MainspringError:  # a hook that asks for it is told that nobody has set it
            continue
        kept[name] = value
    return kept


def _record_of(values: Mapping[str, Any], serializer: Any) -> ResultRecord[Any]:
    record: ResultRecord[Any] = ResultRecord(dict(values))
    if serializer is not None:
        record.metadata.serializer = serializer
    return record
