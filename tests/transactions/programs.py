"""Programs of nested transactions: what they are made of, a small model of them, and how they are run for real.

A program is a block with steps in it, some of which are blocks. It is generated as a value, so that it shrinks, can
be run several times, and tells by itself what it does. The model knows nothing of the steps of a commit as we
carry them out: it is written after the rules, with plain recursion.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from mainspring.transactions import BaseTransaction, atransaction, transaction
from tests.transactions.stores import DictStore, locking

UNSERIALIZABLE = object()


class StepError(Exception):
    """What the steps of programs raise."""


@dataclass(frozen=True)
class Stage:
    """Stage a value, with a commit and a rollback hook that may fail."""

    value_is_fine: bool
    commit_is_fine: bool
    rollback_is_fine: bool


@dataclass(frozen=True)
class Decide:
    """Commit, roll back or discard by hand."""

    how: str


@dataclass(frozen=True)
class Block:
    """A nested transaction, whose end may be an error that the block around catches or not."""

    mode: str | None
    face: str
    keyed: bool
    is_there: bool
    overwrite: bool
    serializable: bool
    steps: tuple[Any, ...]
    fails: bool
    is_caught: bool


stages = st.builds(
    Stage,
    *(st.sampled_from([True, True, True, False]) for _ in range(3)),
)
decisions = st.builds(Decide, st.sampled_from(["commit", "rollback", "discard"]))


def blocks(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Block]:
    return st.builds(
        Block,
        mode=st.sampled_from([None, None, "LAZY", "EAGER", "OFF"]),
        face=st.sampled_from(["sync", "async"]),
        keyed=st.booleans(),
        is_there=st.sampled_from([False, False, False, True]),
        overwrite=st.booleans(),
        serializable=st.booleans(),
        steps=st.lists(inner, max_size=4).map(tuple),
        fails=st.sampled_from([False, False, False, True]),
        is_caught=st.booleans(),
    )


steps = st.recursive(stages | stages | decisions, blocks, max_leaves=12)
programs = blocks(steps)


@dataclass
class Told:
    """What was observed: hooks and writes in their order, and how each block ended, in the order they were entered."""

    events: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list, compare=False, repr=False)  # the model's own


# The model


class Node:
    """A transaction of the model."""

    def __init__(self, block: Block, name: str, parent: Node | None, told: Told) -> None:
        self.block, self.name, self.parent, self.told = block, name, parent, told
        self.mode = block.mode or (parent.mode if parent else "LAZY")
        self.state = "COMMITTED" if block.keyed and block.is_there and not block.overwrite else "ACTIVE"
        self.children: list[Node] = []
        self.hooks: list[tuple[str, bool, bool]] = []
        self.value_is_fine = True
        self.discarded = False

    @property
    def open(self) -> bool:
        return self.state in ("ACTIVE", "STAGED")

    def run(self) -> None:
        for number, step in enumerate(self.block.steps):
            self.take(step, f"{self.name}.{number}")
        if self.block.fails:
            raise StepError

    def take(self, step: Any, name: str) -> None:
        if isinstance(step, Block):
            try:
                enter(step, name, self, self.told)
            except StepError:
                if not step.is_caught:
                    raise
        elif isinstance(step, Decide):
            self.decide(step.how)
        elif self.open:
            self.state, self.value_is_fine = "STAGED", step.value_is_fine
            self.hooks.append((name, step.commit_is_fine, step.rollback_is_fine))

    def decide(self, how: str) -> None:
        if how == "discard":
            self.discarded = True
        elif how == "commit":
            self.commit()
        else:
            self.rollback()

    def leave(self, failed: bool) -> None:
        parent = self.parent
        if not self.open:
            pass
        elif failed or self.discarded:
            self.rollback()
        elif self.mode == "EAGER" or (parent is None and self.mode == "LAZY"):
            self.commit()
        elif parent is None or parent.state == "ROLLED_BACK":
            self.rollback()
        elif parent.state == "COMMITTED":
            self.commit()
        else:
            parent.children.append(self)
        if self.state == "ROLLED_BACK" and not failed and not self.discarded and parent is not None:
            parent.rollback()

    def commit(self) -> None:
        if not self.open or not self.agree():
            return
        nest = list(self.nest())
        writing = [node for node in nest if node.block.keyed and node.state == "STAGED"]
        if not all(node.value_is_fine for node in writing):
            self.rollback()
            return
        self.told.events.extend(f"write {node.name}" for node in writing)
        for node in nest:
            node.state = "COMMITTED"

    def nest(self) -> Any:
        """All that is to be committed with this one, in its order."""
        for child in self.children:
            if child.open:
                yield from child.nest()
        yield self

    def agree(self) -> bool:
        """Children and then hooks; who cannot agree is rolled back, from the inside outwards."""
        for child in self.children:
            if child.state == "ROLLED_BACK" or (child.open and not child.agree()):
                self.rollback()
                return False
        for name, is_fine, _ in self.hooks:
            self.told.events.append(f"commit {name}")
            if not is_fine:
                self.rollback()
                return False
        return True

    def rollback(self) -> None:
        if not self.open:
            return
        self.told.events.extend(f"undo {name}" for name, _, _ in reversed(self.hooks))
        self.state = "ROLLED_BACK"
        for child in reversed(self.children):
            child.rollback()


def enter(block: Block, name: str, parent: Node | None, told: Told) -> None:
    node = Node(block, name, parent, told)
    told.nodes.append(node)
    failed = False
    try:
        node.run()
    except StepError:
        failed = True
        raise
    finally:
        node.leave(failed)


def expected(program: Block) -> Told:
    """What the model says."""
    told = Told()
    try:
        enter(program, "0", None, told)
    except StepError:
        told.events.append("error")
    told.states = [node.state for node in told.nodes]
    return told


# For real


class Run:
    """A program as it is run: by sync blocks, by async ones, or by both as the program says."""

    def __init__(self, program: Block, face: str) -> None:
        self.told = Told()
        self.face = face
        self.transactions: list[BaseTransaction] = []
        self.store: DictStore = locking()
        self.program = program
        self.store.told = self.told.events

    def finish(self) -> Told:
        """What was observed; nothing is left locked."""
        self.told.states = [txn.state.value for txn in self.transactions]
        assert not [txn for txn in self.transactions if txn.is_locking]
        for txn in self.transactions:
            assert txn.key is None or not self.store.is_locked(txn.key)
        return self.told

    def options(self, block: Block, name: str) -> dict[str, Any]:
        if block.is_there:
            self.store.kept[name] = "old"
        return {
            "key": name if block.keyed else None,
            "store": self.store,
            "commit_mode": block.mode,
            "isolation_level": "SERIALIZABLE" if block.serializable else "READ_COMMITTED",
            "overwrite": block.overwrite,
        }

    def stage(self, txn: BaseTransaction, step: Stage, name: str) -> None:
        undo = self.hook(f"undo {name}", step.rollback_is_fine)
        commit = self.hook(f"commit {name}", step.commit_is_fine)
        txn.stage(1 if step.value_is_fine else UNSERIALIZABLE, [undo], [commit])

    def hook(self, name: str, is_fine: bool) -> Any:
        def call(txn: BaseTransaction) -> None:
            self.told.events.append(name)
            if not is_fine:
                raise StepError(name)

        return call

    def sync(self) -> Told:
        try:
            self.block(self.program, "0")
        except StepError:
            self.told.events.append("error")
        return self.finish()

    def block(self, block: Block, name: str) -> None:
        with transaction(**self.options(block, name)) as txn:
            self.transactions.append(txn)
            for number, step in enumerate(block.steps):
                inner = f"{name}.{number}"
                if isinstance(step, Block):
                    try:
                        self.block(step, inner)
                    except StepError:
                        if not step.is_caught:
                            raise
                elif isinstance(step, Decide):
                    getattr(txn, step.how)()
                else:
                    self.stage(txn, step, inner)
            if block.fails:
                raise StepError

    async def awaited(self) -> Told:
        try:
            await self.ablock(self.program, "0")
        except StepError:
            self.told.events.append("error")
        self.told.events[:] = [event for event in self.told.events if event != "async"]
        return self.finish()

    async def ablock(self, block: Block, name: str) -> None:
        if (block.face if self.face == "mixed" else self.face) == "sync":
            with transaction(**self.options(block, name)) as txn:
                await self.asteps(block, name, txn)
        else:
            async with atransaction(**self.options(block, name)) as other:
                await self.asteps(block, name, other)

    async def asteps(self, block: Block, name: str, txn: Any) -> None:
        self.transactions.append(txn)
        for number, step in enumerate(block.steps):
            inner = f"{name}.{number}"
            if isinstance(step, Block):
                try:
                    await self.ablock(step, inner)
                except StepError:
                    if not step.is_caught:
                        raise
            elif isinstance(step, Decide):
                done = getattr(txn, step.how)()
                if hasattr(done, "__await__"):
                    await done
            else:
                self.stage(txn, step, inner)
        if block.fails:
            raise StepError
