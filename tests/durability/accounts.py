"""The account of what was done: the journal that tasks and hooks wrote, against what the store says.

For each step of a program

    executions = committed ones + compensated ones + those that the death of their process has interrupted

where there is exactly one committed execution of a step that is to be kept, and none of one that is to be undone; each
compensated one has a line of its rollback hook, or a warning says that the hook may not have run; and an interrupted
one is the last that its thread did, and not recorded as completed. What is in one transaction is committed or
compensated as a whole.

Where a fault keeps a transaction from being committed, it is rolled back, and that is logged: this is the one case in
which what was to be kept may be compensated instead.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from uuid import UUID

from tests.durability.journal import Line, read

__all__ = ["Plan", "problems_of_account"]

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
        undo_orders: For each outermost block the order in which its hooks are called when it is rolled back.
    """

    kept: Collection[str]
    commit_hooks: Collection[str] = ()
    committed_blocks: Collection[str] = ()
    rolled_back: Collection[str] = ()
    rolled_back_blocks: Collection[str] = ()
    undo_orders: Sequence[Sequence[str]] = ()

    def group_of(self, name: str) -> str:
        """The outermost block around a step or block; the step itself if it is in none."""
        outermost = name.partition("-")[0]
        return outermost if outermost in self.committed_blocks else name

    def without(self, groups: Collection[str]) -> Plan:
        """The same, where some of what was to be kept is to be compensated."""
        lost = [name for name in self.kept if self.group_of(name) in groups]
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
    def of(cls, program: ModuleType) -> Plan:
        """The one of a module in `child.PROGRAMS`."""
        facts = vars(program)
        return cls(**{name: facts[name.upper()] for name in cls._fields if name.upper() in facts})


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
        return cls(paths, tasks, warnings, [message for level, message in logs if level > _WARNING])

    def has_completed(self, run: str) -> bool:
        """Whether a run has ever completed."""
        return "Completed" in self.paths.get(run, ())

    def is_rolled_back(self, run: str) -> bool:
        """Whether a run was rolled back, or another one of its task, which may have taken it over."""
        if self.paths[run][-1] == "RolledBack":
            return True
        task = self.tasks[run]
        return any(
            path[-2:] == ["Cached", "RolledBack"] and self.tasks.get(other) == task
            for other, path in self.paths.items()
        )


def problems_of_account(
    plan: Plan, journal: Path, database: Path, killed: Collection[int] = (), faulty: Collection[int] = ()
) -> Iterator[str]:
    """What does not fit, when all is over.

    Args:
        plan: What the program is to come to.
        journal: What the tasks and hooks wrote.
        database: The store.
        killed: The processes that were killed.
        faulty: The processes that have met a fault.
    """
    lines, store = read(journal), _Store.read(database)
    if faulty and store.errors:
        plan = plan.without(_uncommitted(plan, lines, store))
    hooks = [line for line in lines if line.kind != "step"]
    steps = [line for line in lines if line.kind == "step"]
    for (kind, name, execution), times in Counter(
        (each.kind, each.name, each.execution) for each in hooks
    ).items():
        if times > 1:
            yield f"the {kind} hook of {name} was called {times} times for {execution}"
    known = {line.execution for line in steps}
    blocks = {*plan.committed_blocks, *plan.rolled_back_blocks}
    for line in hooks:
        if line.name not in blocks and line.execution not in known:
            yield f"the {line.kind} hook of {line.name} was called for {line.execution}, which nobody did"
    yield from _interrupted(steps, hooks, store, killed, faulty)
    missing: Counter[str] = Counter()
    for name in dict.fromkeys([*plan.kept, *(line.name for line in steps)]):
        done = [line for line in steps if line.name == name]
        yield from _step(plan, name, done, hooks, store, missing)
        if not faulty and name in plan.kept:
            yield from _again(name, done, store)
    yield from _blocks(plan, hooks, missing)
    yield from _reports(missing, store, len(killed) + len(faulty))
    for order in plan.undo_orders:
        yield from _order(order, hooks, len(killed) + len(faulty))


def _uncommitted(plan: Plan, lines: Sequence[Line], store: _Store) -> set[str]:
    """The blocks, and steps outside of blocks, of which nothing is committed."""
    groups = {plan.group_of(name) for name in plan.kept}
    done = [line for line in lines if line.kind == "step"]
    standing = {
        plan.group_of(line.name) for line in done if store.paths.get(line.run, [""])[-1] == "Completed"
    }
    found = {plan.group_of(line.name) for line in done if not store.has_completed(line.run)}
    return groups - standing - {name for name in found if name not in plan.committed_blocks}


def _interrupted(
    steps: Sequence[Line],
    hooks: Sequence[Line],
    store: _Store,
    killed: Collection[int],
    faulty: Collection[int],
) -> Iterator[str]:
    """Executions that are not recorded as completed, though nothing has interrupted them."""
    last = {(line.pid, line.thread): line for line in steps}
    undone = {line.execution for line in hooks if line.kind == "undo"}
    for line in steps:
        if store.has_completed(line.run):
            continue
        states = " ".join(store.paths.get(line.run, ["not recorded"]))
        if line.execution in undone and line.pid not in faulty:
            yield f"{line.name} was undone and had not completed ({states})"
        if line.pid in killed and last[line.pid, line.thread] is line:
            continue
        if line.pid not in faulty:
            yield f"{line.name} was done, was not interrupted, and is not recorded as completed ({states})"


def _step(
    plan: Plan, name: str, done: Sequence[Line], hooks: Sequence[Line], store: _Store, missing: Counter[str]
) -> Iterator[str]:
    """One step: its committed and compensated executions."""
    calls = {(line.kind, line.execution) for line in hooks}
    has_hooks = name in plan.commit_hooks or name in plan.rolled_back
    undone = [line for line in done if ("undo", line.execution) in calls]
    if not has_hooks:  # then there was nothing to call
        undone = [line for line in done if store.paths.get(line.run, [""])[-1] == "RolledBack"]
    completed = [line for line in done if store.has_completed(line.run)]
    left = [line for line in completed if line not in undone]
    open_ended = [line for line in done if line not in completed]
    expected = int(name in plan.kept)
    told = (
        ", ".join(f"{line.execution}: {' '.join(store.paths.get(line.run, ['-']))}" for line in done)
        or "nothing"
    )
    if len(left) < expected and not (open_ended and _is_found(open_ended, store)):
        yield f"{name} is not committed ({told})"
    excess = len(left) - expected
    if excess > 0:
        if has_hooks:
            missing["undo_step"] += excess
        else:
            yield f"{name} was committed {len(left)} times ({told})"
    for line in undone:
        if not store.is_rolled_back(line.run):
            yield f"{name} was undone and is not RolledBack ({told})"
        if ("commit", line.execution) in calls:
            yield f"{name} was committed and undone ({told})"
    if expected and name in plan.commit_hooks:
        committed = sum(("commit", line.execution) in calls for line in done)
        if committed > 1:
            yield f"the commit hook of {name} was called {committed} times"
        missing["commit_step"] += committed == 0
    elif any(("commit", line.execution) in calls for line in done):
        yield f"the commit hook of {name} was called, and it was to be rolled back"


def _is_found(lines: Iterable[Line], store: _Store) -> bool:
    """Whether another run was answered from what an interrupted one had kept."""
    tasks = {store.tasks[line.run][1] for line in lines if line.run in store.tasks}
    return any(
        path[-1] == "Cached" and run in store.tasks and (not tasks or store.tasks[run][1] in tasks)
        for run, path in store.paths.items()
    )


def _again(name: str, done: Sequence[Line], store: _Store) -> Iterator[str]:
    """Where processes die and nothing else fails, what has completed is never done again."""
    completed = [index for index, line in enumerate(done) if store.has_completed(line.run)]
    if completed and completed[0] != len(done) - 1:
        yield f"{name} had completed, and was done again"


def _blocks(plan: Plan, hooks: Sequence[Line], missing: Counter[str]) -> Iterator[str]:
    """The hooks of the blocks themselves."""
    kinds = Counter((line.kind, line.name) for line in hooks)
    for name in plan.committed_blocks:
        if kinds["commit", name] > 1:
            yield f"the commit hook of the block {name} was called {kinds['commit', name]} times"
        missing["commit_block"] += not kinds["commit", name]
    for name in plan.rolled_back_blocks:
        if kinds["commit", name]:
            yield f"the commit hook of the block {name} was called, and it was to be rolled back"
        missing["undo_block"] += not kinds["undo", name]


def _reports(missing: Counter[str], store: _Store, interruptions: int) -> Iterator[str]:
    """Hooks that were not called are reported, one for each interruption at most."""
    for hook, times in missing.items():
        told = sum(hook in warning for warning in store.warnings)
        if times > told:
            yield f"the hook {hook} was not called {times} times, and {told} warnings tell of it"
    if len(store.warnings) > interruptions:
        yield f"{len(store.warnings)} warnings after {interruptions} interruptions: {store.warnings}"


def _order(order: Sequence[str], hooks: Sequence[Line], interruptions: int) -> Iterator[str]:
    """The hooks of a block are called in one order, each time that it is rolled back."""
    called = [line.name for line in hooks if line.kind == "undo" and line.name in order]
    times, before = 0, None
    for name in called:
        position = order.index(name)
        times += before is None or position <= before
        before = position
    if times > 1 + interruptions:
        yield f"the block was rolled back {times} times, or in another order than {' '.join(order)}: {' '.join(called)}"
