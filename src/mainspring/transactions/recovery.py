"""Transactions whose process has died: what was decided is finished, and what was staged is gone on with or undone.

There are three cases, which `mainspring.transactions.ledger` has made in the run store. A commit or a rollback that was
going on has a settlement: it is finished before anything else happens. Task runs that had completed in a transaction
without an end are staged: the step that comes to the same point again takes over what they had come to. What nobody
takes over is rolled back when the flow run completes.
"""

from __future__ import annotations

import pickle
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any

from mainspring import clock, identifiers
from mainspring._core.policy import hook_name
from mainspring._core.transitions import Move, is_rolled_back, next_state
from mainspring.annotations import NotSet
from mainspring.exceptions import MainspringError, SupersededRun
from mainspring.recording import Recorder
from mainspring.records import ResultRecord
from mainspring.records.locations import HISTORY, history_key
from mainspring.results import ResultStore
from mainspring.runs import FlowRun, TaskRun
from mainspring.store.reading import large_records, read_file
from mainspring.store.results import KeptResult, Leftovers, Settlement, StagedStep, Withdrawal
from mainspring.transactions.base import BaseTransaction, Hook, Logger
from mainspring.transactions.faces import Transaction
from mainspring.transactions.ledger import (
    DumpedHooks,
    Entry,
    Plan,
    TransactionCopy,
    dump,
    remove_copies,
)
from mainspring.transactions.steps import Steps, interrupt_of, raise_interrupt, run_hook

__all__ = [
    "RunRollback",
    "StagedSteps",
    "adopt",
    "check",
    "finish_settlements",
    "open_step",
    "roll_back",
]


class StagedSteps:
    """Completed runs of transactions without an end, until somebody takes them over. Safe to use from any thread.

    Args:
        steps: What was staged, in the order of completion.
    """

    def __init__(self, steps: Sequence[StagedStep]) -> None:
        self._lock = threading.Lock()
        self._steps: dict[bytes, StagedStep] = {}
        self._by_key: dict[str, deque[bytes]] = defaultdict(deque)
        self._inside: dict[bytes | None, list[bytes]] = defaultdict(list)
        self.put_back([step for step in steps if step.settlement is None])

    def __bool__(self) -> bool:
        return bool(self._steps)

    def take(self, key: str) -> StagedStep | None:
        """The first step with this key, which nobody else gets from now on."""
        if key not in self._by_key:
            return None
        with self._lock:
            run_keys = self._by_key[key]
            while run_keys:
                step = self._steps.pop(run_keys.popleft(), None)
                if step is not None:
                    return step
        return None

    def take_run(self, run_key: bytes) -> StagedStep | None:
        """What a run has staged."""
        with self._lock:
            return self._steps.pop(run_key, None)

    def take_inside(self, run_key: bytes) -> list[StagedStep]:
        """What the runs inside of a run have staged, then what those inside of these have, and so on."""
        found: list[StagedStep] = []
        around = deque([run_key])
        while around:
            inside = self._take(self._inside.get(around.popleft(), ()))
            found += inside
            around += [step.run_key for step in inside]
        return found

    def take_unreachable(self) -> list[StagedStep]:
        """Those that no call can take over: neither has their own one the same key again, nor one around them."""

        def is_reachable(step: StagedStep | None) -> bool:
            while step is not None and not step.is_step:
                step = self._steps.get(step.around_key or b"")
            return step is not None

        return self._take([key for key, step in self._steps.items() if not is_reachable(step)])

    def take_all(self) -> list[StagedStep]:
        """All that are left."""
        return self._take(list(self._steps))

    def put_back(self, steps: Iterable[StagedStep]) -> None:
        """Let others have what was taken."""
        with self._lock:
            for step in steps:
                self._steps[step.run_key] = step
                self._inside[step.around_key].append(step.run_key)
                if step.is_step and step.key is not None:
                    self._by_key[step.key].append(step.run_key)

    def _take(self, run_keys: Iterable[bytes]) -> list[StagedStep]:
        with self._lock:
            found = [self._steps.pop(key, None) for key in run_keys]
        return [step for step in found if step is not None]


def check(leftovers: Leftovers) -> None:
    """Find out whether everything that was decided can be finished, and the rest undone, in this process.

    Raises:
        MainspringError: A hook or a value cannot be loaded.
    """
    for settlement in leftovers.settlements:
        _plan_of(settlement)
    for step in leftovers.steps:
        _hooks_of(step)
        if step.storage is not None:
            _store_of(step)


def open_step(step: StagedStep, store: ResultStore, txn: BaseTransaction) -> ResultRecord[Any]:
    """What a step had come to, as a record that is still to be committed.

    Args:
        step: The step.
        store: The result store of the run that takes it over.
        txn: Its transaction, which gets the named values back, and the hooks that the function had added.

    Raises:
        MainspringError: A hook cannot be loaded.
        SerializationError: The record or the values are damaged.
        StorageError: The file of the record cannot be read.
    """
    record = _record_of(step)
    commit_hooks, rollback_hooks = _pair_of(_dumped_hooks_of(step).added)
    record.metadata.storage = store.result_storage
    record.metadata.keeps_value = store.cache_result_in_memory
    _restore_values(txn, step.values)
    txn.on_commit_hooks += commit_hooks
    txn.on_rollback_hooks += rollback_hooks
    return record


def adopt(steps: Sequence[StagedStep], outer: BaseTransaction, recorder: Recorder, logger: Logger) -> None:
    """Let a transaction decide about completed runs of an earlier process.

    Args:
        steps: What the runs have staged. Those that ran inside of another one of them are decided with that one.
        outer: The transaction.
        recorder: The way to the run store.
        logger: Where hooks are reported.

    Raises:
        MainspringError: A hook or a value cannot be loaded. The transaction decides about none of them then.
    """
    adopted = {step.run_key: _opened(step, recorder, logger) for step in steps}
    for step in steps:
        txn = adopted[step.run_key]
        txn.parent = adopted.get(step.around_key or b"", outer)
        txn.parent.add_child(txn)


def _opened(step: StagedStep, recorder: Recorder, logger: Logger) -> BaseTransaction:
    """The transaction of a completed run, as it was when its block was left."""
    txn = Transaction(key=step.key, logger=logger)
    txn.run_key = step.run_key
    txn.entry = Entry(recorder, step.run_key, step.root_key, step.storage is not None)
    if step.storage is not None:
        txn.store = _store_of(step)
    _restore_values(txn, step.values)
    commit_hooks, rollback_hooks = _hooks_of(step)
    value = None if step.key is None else _record_of(step)
    txn.stage(value, [RunRollback(recorder, step), *rollback_hooks], commit_hooks)
    return txn


class RunRollback:
    """A rollback hook that records that what earlier processes had completed was rolled back.

    Args:
        recorder: The way to the run store.
        step: What was staged.
    """

    is_internal = True
    log_on_run = False
    __name__ = "rollback of a run"

    def __init__(self, recorder: Recorder, step: StagedStep) -> None:
        self._recorder = recorder
        self._keys = *step.earlier_keys, step.run_key

    def __call__(self, txn: object) -> None:
        """Enter RolledBack for the runs, and for the task run that stands for one if it is that of a subflow."""
        for run_key in self._keys:
            run = self._recorder.store.read_run(run_key)
            if isinstance(run, FlowRun) and run.parent_task_run_key is not None:
                stand_in = self._recorder.store.read_run(run.parent_task_run_key)
                if stand_in is not None:
                    self._enter(stand_in)
            if run is not None:
                self._enter(run)

    def _enter(self, run: TaskRun | FlowRun) -> None:
        before = run.state
        if not before.is_completed() or is_rolled_back(before):
            return
        data = before.data if before.has_data else NotSet
        message = "The transaction around it was rolled back."
        state = next_state(run, Move.ROLL_BACK, clock.current().now(), message, data)
        run.claim(state)
        key = getattr(before.data, "storage_key", None)
        withdrawal = Withdrawal(run.key, None if key is None else history_key(key))
        self._recorder.enter(run, state, wait=True, confirm=True, attachments=(withdrawal,))


def finish_settlements(
    leftovers: Leftovers, staged: StagedSteps | None, recorder: Recorder, logger: Logger
) -> Steps:
    """Finish the commits and rollbacks that were going on, then roll back what nobody can take over.

    Args:
        leftovers: What the transactions of a flow run have left.
        staged: Those of the steps that nothing was decided about; None leaves them alone.
        recorder: The way to the run store.
        logger: Where hooks are reported.

    Raises:
        SupersededRun: Somebody else does the same.
        StoreError: The run store cannot be written.
    """
    for settlement in leftovers.settlements:
        steps = [step for step in leftovers.steps if step.settlement == settlement.key]
        yield from _Recovery(settlement, steps, recorder, logger).finish()
    if staged is not None:
        yield from roll_back(staged.take_unreachable(), staged, recorder, logger)


def roll_back(steps: Sequence[StagedStep], staged: StagedSteps, recorder: Recorder, logger: Logger) -> Steps:
    """Call the rollback hooks of completed steps, the newest first; arguments and errors as above.

    If that cannot be decided, the steps are staged as before.
    """
    if not steps:
        return
    try:
        settlement = _decide_rollback(steps, recorder)
    except BaseException:
        staged.put_back(steps)
        raise
    yield from _Recovery(settlement, steps, recorder, logger).finish()


def _decide_rollback(steps: Sequence[StagedStep], recorder: Recorder) -> Settlement:
    copies = [TransactionCopy(step.run_key, step.key) for step in steps]
    calls: list[tuple[int, Hook]] = []
    for number in reversed(range(len(steps))):
        calls += [(number, hook) for hook in reversed(_hooks_of(steps[number])[1])]
    plan = dump(Plan(copies, calls, [], []), "a plan")
    settlement = Settlement(identifiers.new_id(), steps[0].root_key, "ROLLBACK", plan)
    recorder.flush()
    if not recorder.store.open_settlement(settlement, [step.run_key for step in steps]):
        raise _superseded(settlement)
    return settlement


class _Recovery:
    """One settlement that is finished by another process than the one that began it."""

    def __init__(
        self, settlement: Settlement, steps: Sequence[StagedStep], recorder: Recorder, logger: Logger
    ) -> None:
        self._settlement = settlement
        self._steps = {step.run_key: step for step in steps}
        self._recorder = recorder
        self._logger = logger
        self._plan = _plan_of(settlement)
        self._transactions: dict[int, BaseTransaction] = {}

    def finish(self) -> Steps:
        """Call the hooks that are left, then let everything count, or nothing."""
        settlement, store = self._settlement, self._recorder.store
        key = identifiers.new_id()
        if not store.claim_settlement(settlement.key, key):
            raise _superseded(settlement)
        self._key = key
        self._tell_interrupted()
        calls, begun, error = self._plan.calls, settlement.begun, None
        if settlement.decision == "COMMIT":
            error = yield from self._call(calls, begun, "commit")
            if error is None:
                self._publish()
                return
            calls, begun = self._plan.undoing, 0
            plan = dump(Plan(self._plan.transactions, calls, [], self._plan.values), "a plan")
            undone = Settlement(key, settlement.root_key, "ROLLBACK", plan)
            if not store.open_settlement(undone, list(self._steps)):
                raise _superseded(settlement)
        interrupt = yield from self._call(calls, begun, "rollback")
        self._withdraw()
        raise_interrupt(interrupt_of(error) or interrupt)

    def _tell_interrupted(self) -> None:
        begun = self._settlement.begun
        if begun:
            hook = hook_name(self._plan.calls[begun - 1][1])
            self._logger.warning(
                "The hook %r had begun when its process died, so it may not have run to its end. It is not called"
                " again.",
                hook,
            )
            self._recorder.flush()  # nobody else tells of it once the next one is noted

    def _call(self, calls: Sequence[tuple[int, Hook]], begun: int, kind: str) -> Steps:
        """Call hooks; returns the first error of a commit, and the first interrupt of a rollback."""
        interrupt: BaseException | None = None
        for position in range(begun, len(calls)):
            number, hook = calls[position]
            self._recorder.flush()
            if not self._recorder.store.advance_settlement(self._key, position + 1):
                raise _superseded(self._settlement)
            txn = self._transaction(number)
            txn.settling = kind
            error = yield from run_hook(hook, txn, kind)
            if error is not None and kind == "commit":
                return error
            interrupt = interrupt or interrupt_of(error)
        return interrupt

    def _transaction(self, number: int) -> BaseTransaction:
        """A transaction as its hooks knew it."""
        known = self._transactions.get(number)
        if known is None:
            copy = self._plan.transactions[number]
            known = self._transactions[number] = Transaction(key=copy.key, logger=self._logger)
            known.run_key = copy.run_key
            step = None if copy.run_key is None else self._steps.get(copy.run_key)
            if step is not None:
                known.staged_value = None if step.key is None else _record_of(step)
                _restore_values(known, step.values)
            else:
                known.staged_value = (
                    None if copy.staged_value is None else _load(copy.staged_value, "a value")
                )
                _restore_values(known, copy.values)
        return known

    def _publish(self) -> None:
        values = [value for value in self._plan.values if value.storage is None]
        for step in (*self._steps.values(), *self._plan.values):
            if step.storage is not None:
                _store_of(step).persist_result_record(_record_of(step))
        rows = [KeptResult(value.key or "", value.content, value.file) for value in values]
        self._recorder.note_unused_files()
        if not self._recorder.store.close_settlement(self._key, list(self._steps), (), rows):
            raise _superseded(self._settlement)
        remove_copies([value for value in self._plan.values if value.storage is not None])

    def _withdraw(self) -> None:
        for step in reversed(self._steps.values()):
            RunRollback(self._recorder, step)(None)
        self._recorder.note_unused_files()
        if not self._recorder.store.close_settlement(self._key, drop=list(self._steps)):
            raise _superseded(self._settlement)
        remove_copies(self._plan.values)


def _superseded(settlement: Settlement) -> SupersededRun:
    return SupersededRun(
        f"Somebody else goes on with the flow run {identifiers.to_uuid(settlement.root_key)}, and finishes its"
        " transactions."
    )


def _plan_of(settlement: Settlement) -> Plan:
    plan = _load(settlement.plan, f"the plan of a {settlement.decision.lower()}")
    assert isinstance(plan, Plan)
    return plan


def _load(data: bytes, what: str) -> Any:
    """What was pickled.

    Raises:
        MainspringError: It cannot be loaded here.
    """
    try:
        return pickle.loads(data)
    except Exception as error:  # whatever a library or the value's own code raises
        raise MainspringError(
            f"{what} cannot be loaded: {type(error).__name__}: {error}. Resume with the modules that defined it"
        ) from error


def _hooks_of(step: StagedStep) -> tuple[list[Hook], list[Hook]]:
    """The commit and the rollback hooks of a run."""
    added, of_task = _dumped_hooks_of(step)
    (commit, rollback), (commit_of_task, rollback_of_task) = _pair_of(added), _pair_of(of_task)
    return [*commit, *commit_of_task], [*rollback, *rollback_of_task]


def _dumped_hooks_of(step: StagedStep) -> DumpedHooks:
    if step.hooks is None:
        return DumpedHooks(None, None)
    found: DumpedHooks = _load(step.hooks, "the hooks of a run")
    return found


def _pair_of(dumped: bytes | None) -> tuple[list[Hook], list[Hook]]:
    if dumped is None:
        return [], []
    commit_hooks, rollback_hooks = _load(dumped, "a hook")
    return commit_hooks, rollback_hooks


def _store_of(step: StagedStep) -> ResultStore:
    """The result store in which the result of a run is to be kept."""
    assert step.storage is not None
    result_storage, metadata_storage = _load(step.storage, "a storage")
    return ResultStore(result_storage, metadata_storage)


def _record_of(step: StagedStep) -> ResultRecord[Any]:
    if step.content is not None:
        content = step.content.encode()
    else:
        assert step.file is not None
        content = read_file(step.file, large_records())
    key = step.key if step.storage is not None else f"{HISTORY}{step.key}"
    return ResultRecord.deserialize(content, storage_key=key)


def _restore_values(txn: BaseTransaction, record: bytes | None) -> None:
    """Give a transaction its named values back."""
    if record is not None:
        for name, value in ResultRecord.deserialize(record).result.items():
            txn.set(name, value)
