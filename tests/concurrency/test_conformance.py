"""The backends of this package keep the contract of stores of concurrency limits."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mainspring.store import RunStore, SlotRequest, open_store
from tests.concurrency.conformance import NOW, LimitStoreConformance, limit_of, request, take
from tests.postgres.server import fresh_schema


class TestSQLiteFile(LimitStoreConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[RunStore]:
        store = open_store(f"sqlite:///{tmp_path}/runs.db")
        yield store
        store.close()


class TestSQLiteMemory(LimitStoreConformance):
    @pytest.fixture
    def store(self) -> Iterator[RunStore]:
        store = open_store("sqlite://")
        yield store
        store.close()


@pytest.mark.postgres
class TestPostgreSQL(LimitStoreConformance):
    @pytest.fixture
    def store(self) -> Iterator[RunStore]:
        with fresh_schema() as url:
            store = open_store(url)
            yield store
            store.close()


class QueueMachine(RuleBasedStateMachine):
    """Two limits with holders and a queue, beside the simplest model of them: lists."""

    LIMITS: ClassVar = {"a": 3, "b": 5}

    def __init__(self) -> None:
        super().__init__()
        self.store = open_store("sqlite://")
        for name, limit in self.LIMITS.items():
            self.store.write_limit(name, limit, True, 0)
        self.held: list[SlotRequest] = []
        self.queue: list[SlotRequest] = []

    def fits(self, asked: SlotRequest) -> bool:
        before = self.queue[: self.queue.index(asked)] if asked in self.queue else self.queue
        return all(
            sum(each.slots for each in [*self.held, *before] if name in each.names) + asked.slots
            <= self.LIMITS[name]
            for name in asked.names
        )

    def ask(self, asked: SlotRequest) -> None:
        fits = self.fits(asked)
        assert take(self.store, asked, NOW).granted is fits
        if fits:
            self.held.append(asked)
            if asked in self.queue:
                self.queue.remove(asked)
        elif asked not in self.queue:
            self.queue.append(asked)

    @rule(names=st.sets(st.sampled_from("ab"), min_size=1), slots=st.integers(1, 3))
    def arrive(self, names: set[str], slots: int) -> None:
        self.ask(request(*names, slots=slots))

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        asked = data.draw(st.sampled_from(self.queue))
        assert self.store.may_take_slots(asked, NOW) is self.fits(asked)
        self.ask(asked)

    @precondition(lambda self: self.held or self.queue)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        asked = data.draw(st.sampled_from(self.held + self.queue))
        (self.held if asked in self.held else self.queue).remove(asked)
        self.store.release_slots(asked.lease_key, NOW, 1.0)

    @invariant()
    def counts_agree(self) -> None:
        for name in self.LIMITS:
            shown = limit_of(self.store, name)
            assert shown.active_slots == sum(each.slots for each in self.held if name in each.names)
            assert shown.denied_slots == sum(each.slots for each in self.queue if name in each.names)
            assert shown.active_slots <= shown.limit

    @precondition(lambda self: self.queue)
    @invariant()
    def first_in_the_queue_waits_for_holders_only(self) -> None:
        asked = self.queue[0]
        alone = all(not set(each.names) & set(asked.names) for each in self.held)
        assert not alone or self.store.may_take_slots(asked, NOW)

    def teardown(self) -> None:
        self.store.close()


TestQueue = pytest.mark.contract("CC-4", "CC-16", "CC-42")(QueueMachine.TestCase)
TestQueue.settings = settings(max_examples=60, stateful_step_count=25)
