"""A task run that completes inside of a transaction: what is written of it meanwhile, and who goes on with that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mainspring._engine.recorded import RecordedRun
from mainspring._engine.steps import active_steps, root_of
from mainspring._imports import modules_on_use
from mainspring.store.results import StagedStep

if TYPE_CHECKING:
    from mainspring.store.results import KeptResult
    from mainspring.transactions import BaseTransaction, ledger, recovery, settling
else:
    ledger, recovery, settling = modules_on_use("mainspring.transactions", "ledger", "recovery", "settling")

__all__ = ["StagedRun"]


class StagedRun(RecordedRun):
    """The part of engines of task runs that is about steps which the process may die with before they are committed."""

    __slots__ = ()

    task: Any
    _transaction: Any = None  # of the attempt
    _is_step = False  # whether the same call of a resumed flow run has the same key
    _leftover: StagedStep | None = None  # what this step has come to before its process died
    _is_taken_over = False  # the result is that one
    _taken: Sequence[StagedStep] = ()  # it, and those that ran inside of it

    def _root_key(self) -> bytes | None:
        """The flow run that can be resumed if the process dies, None if none can."""
        steps = active_steps(self.run.flow_run_key)
        return None if steps is None else root_of(steps)

    def _around_key(self) -> bytes | None:
        """The run around this one."""
        outer = self._context.outer
        while outer is not None and outer.task_run is self.run:  # an earlier attempt's
            outer = outer.outer
        return self.run.flow_run_key if outer is None else outer.task_run.key  # type: ignore[no-any-return]

    def _has_to_be_staged(self) -> bool:
        """Whether the death of the process would lose something of a completed run that keeps nothing.

        That is its hooks, and that what was staged inside of it belongs to what is around it.
        """
        task, txn = self.task, self._transaction
        if txn is None or not (
            task.on_rollback_hooks
            or task.on_commit_hooks
            or txn.on_rollback_hooks
            or txn.on_commit_hooks
            or (txn.children and any(getattr(child, "entry", None) is not None for child in txn.children))
        ):
            return False
        return not settling.commits_alone(txn, task.on_commit_hooks) and self._root_key() is not None

    def _staged_step(self, row: KeptResult | None) -> StagedStep:
        """What is written of the completed run while its transaction goes on."""
        task, txn, store = self.task, self._transaction, self._result_store
        run_key, root_key, taken = self.run.key, self._root_key(), self._leftover
        assert root_key is not None
        is_elsewhere = row is not None and not store.is_in_history
        hooks = ledger.dump_hooks(task, txn)
        step = StagedStep(
            run_key,
            self._around_key(),
            root_key,
            None if row is None else row.key,
            row is not None and self._is_step,
            ledger.dump_storage(store) if is_elsewhere else None,
            None if row is None else row.content,
            None if row is None else row.file,
            hooks,
            ledger.dump_values(txn) if hooks is not None else None,
            earlier_keys=(*taken.earlier_keys, taken.run_key)
            if self._is_taken_over and taken is not None
            else (),
        )
        self._entry = ledger.Entry(self._recorder, run_key, root_key, is_elsewhere)
        return step

    def _staged_before(self, key: str) -> StagedStep | None:
        """What the step with this key had come to in a transaction that was open when its process died."""
        steps = active_steps(self.run.flow_run_key)
        return None if steps is None or steps.staged is None else steps.staged.take(key)

    def _take_over(self, transaction: BaseTransaction) -> Any:
        """Go on with a step that had completed: its result, as a record that is still to be committed."""
        step, steps = self._leftover, active_steps(self.run.flow_run_key)
        assert step is not None
        assert steps is not None
        steps.staged.take_run(step.run_key)  # an attempt before this one may have failed to
        taken = [step, *steps.staged.take_inside(step.run_key)]
        try:
            record = recovery.open_step(step, self._result_store, transaction)
            recovery.adopt(taken[1:], transaction, self._recorder, self.logger)
        except BaseException:
            steps.staged.put_back(taken)
            raise
        self._is_taken_over, self._taken = True, taken
        return record

    def _give_back(self, transaction: BaseTransaction) -> None:
        """Leave a step that was taken over as it was: it is not recorded that it was."""
        steps = active_steps(self.run.flow_run_key)
        assert steps is not None
        transaction.children.clear()
        steps.staged.put_back(self._taken)
