"""The account of what was done: the journal that tasks and hooks wrote, against what the store says.

For each step of a program

    executions = committed ones + compensated ones + those that the death of their process has interrupted

where there is exactly one committed execution of a step that is to be kept, and none of one that is to be undone; each
compensated one has a line of its rollback hook, or a warning says that the hook may not have run; and an interrupted
one is the last that its thread did, and not recorded as completed. What is in one transaction is committed or
compensated as a whole.

Where a fault keeps a transaction from being committed, after its commit hooks or before, it is rolled back, and that is
logged: this is the one case in which what was to be kept may be compensated instead.

The hooks that a flow itself gives to its blocks are called whenever the flow has come to the end of the block, once for
each time that it was entered.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from uuid import UUID

from tests.durability.journal import Line, read

__all__ = ["Account", "Plan"]

MAY_NOT_HAVE_RUN = "may not have run"
_WARNING = 30


class Plan(NamedTuple):
    """What a program comes to, whatever happens on the way.

    Args:
        kept: The steps that are committed, each once.
        commit_hooks: Those of them that have a commit hook, and a rollback hook.
        committed_blocks: The blocks that are committed, each once.
        rolled_back: The steps of which nothing is to be left; all have a rollback hook.
        rolled_back_blocks: The blocks around them.
        asked_again: The steps of committed blocks that are called once more after the block: they are answered from it,
            or done there if it could not be committed.
        undo_orders: For each outermost block the order in which its hooks are called when it is rolled back.
    """

    kept: Collection[str]
    commit_hooks: Collection[str] = ()
    committed_blocks: Collection[str] = ()
    rolled_back: Collection[str] = ()
    rolled_back_blocks: Collection[str] = ()
    asked_again: Collection[str] = ()
    undo_orders: Sequence[Sequence[str]] = ()

    def group_of(self, name: str) -> str:
        """The outermost block around a step or block; the step itself if it is in none."""
        outermost = name.partition("-")[0]
        return outermost if outermost in self.committed_blocks else name

    def without(self, groups: Collection[str]) -> Plan:
        """The same, where some of what was to be kept is to be compensated."""
        lost = [name for name in self.kept if self.group_of(name) in groups and name not in self.asked_again]
        blocks = [name for name in self.committed_blocks if self.group_of(name) in groups]
        hooked = [name for name in lost if name in self.commit_hooks]
        return self._replace(
            kept=[name for name in self.kept if name not in lost],
            commit_hooks=[name for name in self.commit_hooks if name not in lost],
            committed_blocks=[name for name in self.committed_blocks if name not in blocks],
            rolled_back=[*self.rolled_back, *hooked],
            rolled_back_blocks=[*self.rolled_back_blocks, *blocks],
        )

    @classmethod
    def all_of(cls, program: ModuleType, processes: int) -> list[Plan]:
        """Those of a module in `child.PROGRAMS`, of which one is to be fulfilled.

        Args:
            program: The module, with the facts in capital letters, or a function ``plans`` of the next argument.
            processes: How many there were.
        """
        facts: dict[str, Any] = vars(program)
        if "plans" in facts:
            return [cls(**each) for each in facts["plans"](processes)]
        return [cls(**{name: facts[name.upper()] for name in cls._fields if name.upper() in facts})]


class _Store(NamedTuple):
    """What the store says about the steps.

    Args:
        paths: For each task run the names of its states.
        tasks: For each task run its flow run and task.
        warnings: What was told of hooks that may not have run.
        errors: What was told of everything that went wrong.
    """

    paths: dict[str, list[str]]
    tasks: dict[str, tuple[bytes, str]]
    warnings: list[str]
    errors: list[str]

    @classmethod
    def read(cls, database: Path) -> _Store:
        """What is there now."""
        db = sqlite3.connect(database)
        try:
            paths: dict[str, list[str]] = defaultdict(list)
            for key, name in db.execute("SELECT run_id, name FROM states ORDER BY run_id, position"):
                paths[str(UUID(bytes=key))].append(name)
            rows = db.execute("SELECT id, flow_run_id, task_key FROM task_runs").fetchall()
            logs = db.execute("SELECT level, message FROM logs WHERE level >= ?", (_WARNING,)).fetchall()
        finally:
            db.close()
        tasks = {str(UUID(bytes=key)): (flow, task) for key, flow, task in rows}
        warnings = [message for level, message in logs if level == _WARNING and MAY_NOT_HAVE_RUN in message]
        return cls(dict(paths), tasks, warnings, [message for level, message in logs if level > _WARNING])

    def states(self, line: Line) -> list[str]:
        """The states of the run that wrote a line; none if the run was not recorded."""
        return self.paths.get(line.run, [])

    def has_completed(self, line: Line) -> bool:
        """Whether the run that wrote a line has ever completed."""
        return "Completed" in self.states(line)

    def stands(self, line: Line) -> bool:
        """Whether it has completed, and was not rolled back."""
        return self.states(line)[-1:] == ["Completed"]

    def is_rolled_back(self, line: Line) -> bool:
        """Whether it was rolled back, or another run of its task, which may have taken it over."""
        if self.states(line)[-1:] == ["RolledBack"]:
            return True
        return any(path[-2:] == ["Cached", "RolledBack"] for path in self._others(line))

    def is_found(self, line: Line) -> bool:
        """Whether another run was answered from what the one that wrote a line had kept."""
        return any(path[-1] == "Cached" for path in self._others(line))

    def _others(self, line: Line) -> Iterator[list[str]]:
        """The states of all runs of the same task, or of any if that is not known."""
        _, task = self.tasks.get(line.run, (b"", None))
        return (self.paths[run] for run, (_, other) in self.tasks.items() if task in (other, None))


class Account:
    """The account of one program, when all is over.

    Args:
        plan: What the program is to come to.
        journal: The file that tasks and hooks wrote to.
        database: The store.
        killed: The processes that were killed.
        faulty: The processes that have met a fault.
    """

    def __init__(
        self,
        plan: Plan,
        journal: Path,
        database: Path,
        killed: Collection[int] = (),
        faulty: Collection[int] = (),
    ) -> None:
        lines = read(journal)
        self.store = _Store.read(database)
        self.killed = killed
        self.faulty = faulty
        self.interruptions = len(killed) + len(faulty)
        self.hooks = [line for line in lines if line.kind != "step"]
        self.steps = [line for line in lines if line.kind == "step"]
        self.calls = {(line.kind, line.execution) for line in self.hooks}
        self.missing: Counter[str] = Counter()
        self.plan = plan.without(self._uncommitted(plan)) if faulty and self.store.errors else plan

    def problems(self) -> Iterator[str]:
        """What does not fit."""
        yield from self._problems_of_calls()
        yield from self._interrupted()
        for name in dict.fromkeys([*self.plan.kept, *(line.name for line in self.steps)]):
            yield from self._problems_of_step(name, [line for line in self.steps if line.name == name])
        yield from self._problems_of_blocks()
        yield from self._unreported()
        for order in self.plan.undo_orders:
            yield from self._problems_of_order(order)

    def _uncommitted(self, plan: Plan) -> set[str]:
        """The blocks, and steps outside of blocks, of which nothing is committed."""
        groups = {plan.group_of(name) for name in plan.kept}
        standing = {
            plan.group_of(line.name)
            for line in self.steps
            if self.store.stands(line) and line.name not in plan.asked_again
        }
        kept_otherwise = {line.name for line in self.steps if not self.store.has_completed(line)}
        return groups - standing - kept_otherwise

    def _problems_of_calls(self) -> Iterator[str]:
        """No hook is called twice for anything, nor for nothing."""
        called = Counter((each.kind, each.name, each.execution) for each in self.hooks)
        for (kind, name, execution), times in called.items():
            if times > 1:
                yield f"the {kind} hook of {name} was called {times} times for {execution}"
        known = {line.execution for line in self.steps}
        blocks = {*self.plan.committed_blocks, *self.plan.rolled_back_blocks}
        for line in self.hooks:
            if line.name not in blocks and line.execution not in known:
                yield f"the {line.kind} hook of {line.name} was called for {line.execution}, which nobody did"

    def _interrupted(self) -> Iterator[str]:
        """Executions that are not recorded as completed, though nothing has interrupted them."""
        last = {(line.pid, line.thread): line for line in self.steps}
        for line in self.steps:
            if self.store.has_completed(line) or line.pid in self.faulty:
                continue
            states = " ".join(self.store.states(line)) or "not recorded"
            if ("undo", line.execution) in self.calls:
                yield f"{line.name} was undone and had not completed ({states})"
            if line.pid not in self.killed or last[line.pid, line.thread] is not line:
                yield f"{line.name} was done, was not interrupted, and is not recorded as completed ({states})"

    def _problems_of_step(self, name: str, done: Sequence[Line]) -> Iterator[str]:
        """One step: its committed, compensated and interrupted executions."""
        plan, store = self.plan, self.store
        has_hooks = name in plan.commit_hooks or name in plan.rolled_back
        undone = [line for line in done if ("undo", line.execution) in self.calls]
        if not has_hooks:  # then there was nothing to call
            undone = [line for line in done if store.states(line)[-1:] == ["RolledBack"]]
        completed = [line for line in done if store.has_completed(line)]
        interrupted = [line for line in done if line not in completed]
        left = [line for line in completed if line not in undone]
        expected = int(name in plan.kept)
        told = ", ".join(f"{line.execution}: {' '.join(store.states(line)) or '-'}" for line in done)
        if len(left) < expected and not any(map(store.is_found, interrupted)):
            yield f"{name} is not committed ({told or 'nothing was done'})"
        if len(left) > expected and not has_hooks:
            yield f"{name} was committed {len(left)} times ({told})"
        elif len(left) > expected:
            self.missing["undo_step"] += len(left) - expected
        if any(line in completed and not store.is_rolled_back(line) for line in undone):
            yield f"{name} was undone and is not RolledBack ({told})"
        if expected and not self.faulty and completed and completed[0] is not done[-1]:
            yield f"{name} had completed, and was done again ({told})"
        yield from self._problems_of_commit(name, done, undone, told)

    def _problems_of_commit(
        self, name: str, done: Sequence[Line], undone: Sequence[Line], told: str
    ) -> Iterator[str]:
        """The commit hooks of one step."""
        committed = [line for line in done if ("commit", line.execution) in self.calls]
        stays = [line for line in committed if line not in undone]
        if name in self.plan.commit_hooks:
            self.missing["commit_step"] += not stays
        elif stays:
            yield f"the commit hook of {name} was called, and it was to be rolled back ({told})"
        if committed != stays and not self.faulty:
            yield f"the commit hook of {name} was called, and then it was rolled back ({told})"

    def _problems_of_blocks(self) -> Iterator[str]:
        """The hooks of the blocks themselves."""
        kinds = Counter((line.kind, line.name) for line in self.hooks)
        for name in self.plan.committed_blocks:
            self.missing["commit_block"] += not kinds["commit", name]
        for name in self.plan.rolled_back_blocks:
            self.missing["undo_block"] += not kinds["undo", name]
            if kinds["commit", name] and not self.faulty:
                yield f"the commit hook of the block {name} was called, and it was to be rolled back"

    def _unreported(self) -> Iterator[str]:
        """Hooks that were not called are told of, and for each interruption one at most."""
        warnings = self.store.warnings
        for hook, times in self.missing.items():
            told = sum(hook in warning for warning in warnings)
            if times > told:
                yield f"calls of the hook {hook} are missing: {times}, and warnings that tell of it: {told}"
        if len(warnings) > self.interruptions:
            yield f"{len(warnings)} warnings after {self.interruptions} interruptions: {warnings}"

    def _problems_of_order(self, order: Sequence[str]) -> Iterator[str]:
        """The hooks of a block are called in one order, each time that it is rolled back."""
        if (
            self.faulty
        ):  # an error that leaves an inner block undoes that one first; the order of the steps is the same
            blocks = {*self.plan.committed_blocks, *self.plan.rolled_back_blocks}
            order = [name for name in order if name not in blocks]
        called = [line.name for line in self.hooks if line.kind == "undo" and line.name in order]
        positions = [order.index(name) for name in called]
        times = bool(called) + sum(after <= before for before, after in pairwise(positions))
        if times > 1 + self.interruptions:
            yield f"rolled back {times} times, or in another order than {' '.join(order)}: {' '.join(called)}"
