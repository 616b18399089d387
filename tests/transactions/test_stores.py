"""Transactions with a key and a store: what is read, written and locked, and when."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mainspring.exceptions import ConfigurationError, LockTimeout
from mainspring.states import StoredResult
from mainspring.transactions import (
    AsyncTransaction,
    BaseTransaction,
    CommitMode,
    IsolationLevel,
    Transaction,
    TransactionState,
    get_transaction,
    transaction,
)
from tests.engine.scenarios import BoomError
from tests.transactions.stores import DictStore, locking
from tests.transactions.stories import Events, failing, hook, staged

SERIALIZABLE = IsolationLevel.SERIALIZABLE


@pytest.mark.contract("TX-1")
def test_the_names_there_are() -> None:
    """The package exports both faces, what they share, the functions and the words."""
    import mainspring.transactions as module

    assert {
        "Transaction",
        "AsyncTransaction",
        "BaseTransaction",
        "transaction",
        "atransaction",
        "get_transaction",
        "IsolationLevel",
        "CommitMode",
        "TransactionState",
    } <= set(module.__all__)


@pytest.mark.contract("TX-4")
@pytest.mark.parametrize("kind", [Transaction, AsyncTransaction])
def test_the_fields_of_a_fresh_transaction(kind: type[BaseTransaction]) -> None:
    """They have their defaults; hooks, children and everything else are given by keyword."""
    txn = kind()
    assert (txn.store, txn.key, txn.children, txn.commit_mode) == (None, None, [], None)
    assert txn.isolation_level is IsolationLevel.READ_COMMITTED
    assert txn.state is TransactionState.PENDING
    assert (txn.on_commit_hooks, txn.on_rollback_hooks) == ([], [])
    assert (txn.overwrite, txn.write_on_commit) == (False, True)
    assert txn.logger is logging.getLogger("mainspring.transactions")


@pytest.mark.contract("TX-4")
def test_hooks_and_children_may_be_given() -> None:
    """They are run like those that are staged."""
    events: Events = []
    child = Transaction(on_commit_hooks=[hook(events, "child")])
    with Transaction(children=[child], on_commit_hooks=[hook(events, "outer")]):
        pass
    assert events == ["child", "outer"]
    with pytest.raises(BoomError), Transaction(on_rollback_hooks=[hook(events, "undo")]):
        raise BoomError
    assert events == ["child", "outer", "undo"]


@pytest.mark.contract("TX-5")
def test_transactions_compare_by_their_fields() -> None:
    """Two fresh ones are equal; one with a key, or in another state, or of the other kind is not."""
    assert Transaction() == Transaction()
    assert Transaction(key="a") == Transaction(key="a")
    assert Transaction(key="a") != Transaction()
    assert Transaction() != AsyncTransaction()
    with Transaction() as entered:
        assert entered != Transaction()


@pytest.mark.contract("TX-9")
def test_the_isolation_level_is_inherited() -> None:
    """None takes the level of the block around, or READ_COMMITTED; the bare class has one of its own."""
    with transaction() as top:
        assert top.isolation_level is IsolationLevel.READ_COMMITTED
    with transaction(isolation_level="SERIALIZABLE"):
        with transaction() as inner:
            assert inner.isolation_level is SERIALIZABLE
        with Transaction() as bare:
            assert bare.isolation_level is IsolationLevel.READ_COMMITTED


@pytest.mark.contract("TX-10")
def test_a_level_that_is_not_supported_is_refused() -> None:
    """At entry, with a store and a key; the block around is the innermost one again."""
    with transaction() as outer:
        for error in (ConfigurationError, ValueError):
            with (
                pytest.raises(error, match="Isolation level SERIALIZABLE is not supported"),
                transaction("k", DictStore(), isolation_level=SERIALIZABLE),
            ):
                pytest.fail("entered")
            assert get_transaction() is outer
        with transaction(isolation_level=SERIALIZABLE), Transaction(store=DictStore(), key="k"):
            pass


@pytest.mark.contract("TX-11", "TX-12")
def test_what_is_there_already_commits_the_block() -> None:
    """It is read, and what is staged does not replace it; hooks do not run."""
    store = DictStore({"k": "old"})
    events: Events = []
    with transaction("k", store) as txn:
        assert txn.is_committed()
        assert txn.read() == "old"
        staged(events, "new", txn)
    assert txn.is_committed()
    assert events == []
    assert store.kept == {"k": "old"}


@pytest.mark.contract("TX-63")
def test_overwriting() -> None:
    """With ``overwrite`` a record that is there does not commit the block, and is replaced."""
    store = DictStore({"k": "old"})
    with transaction("k", store, overwrite=True) as txn:
        assert txn.is_active()
        txn.stage("new")
        assert txn.read() == "old"
    assert store.kept == {"k": "new"}


@pytest.mark.contract("TX-14")
def test_reading() -> None:
    """Also after the block; nothing without a store or without a key."""
    store = DictStore()
    with transaction("k", store) as txn:
        txn.stage(1)
    assert txn.read() == 1
    assert Transaction(key="k").read() is None
    assert Transaction(store=store).read() is None


@pytest.mark.contract("TX-26", "TX-29", "H-10")
def test_the_value_is_written_after_the_hooks() -> None:
    """The hooks see a staged transaction and an empty store; afterwards the value is there, then it is committed."""
    store = DictStore()
    seen: list[Any] = []
    with transaction("k", store) as txn:
        txn.stage("first")
        txn.stage("second", on_commit_hooks=[lambda txn: seen.append((txn.state, dict(store.kept)))])
    assert seen == [(TransactionState.STAGED, {})]
    assert store.kept == {"k": "second"}
    assert store.told == ["write k"]


class KeptRecord(StoredResult):
    storage_key = "elsewhere"


@pytest.mark.contract("TX-29", "V-10", "TX-68")
@pytest.mark.parametrize("write_on_commit", [True, False])
def test_a_record_is_persisted_as_it_is(write_on_commit: bool) -> None:
    """Under the key it carries, and like any value only if the commit is to write."""
    store = DictStore()
    record = KeptRecord()
    with transaction("k", store, write_on_commit=write_on_commit) as txn:
        txn.stage(record)
    assert txn.is_committed()
    assert store.kept == ({"elsewhere": record} if write_on_commit else {})
    assert store.told == (["persist"] if write_on_commit else [])


@pytest.mark.contract("V-10")
def test_what_is_there_is_a_hit_without_writing() -> None:
    """A transaction that writes nothing still reads."""
    with transaction("k", DictStore({"k": 1}), write_on_commit=False) as txn:
        assert txn.is_committed()
        assert txn.read() == 1


@pytest.mark.contract("TX-30")
@pytest.mark.parametrize("options", [{}, {"store": DictStore()}])
def test_without_key_nothing_is_written(options: dict[str, Any]) -> None:
    """Hooks and states are those of other transactions."""
    events: Events = []
    with transaction(**options) as txn:
        staged(events, "a", txn)
    assert txn.is_committed()
    assert events == ["commit a"]
    assert not options or options["store"].told == []


def test_nothing_staged_is_nothing_written() -> None:
    """A block that staged nothing leaves no None under its key."""
    store = DictStore()
    with transaction("k", store) as txn:
        pass
    assert txn.is_committed()
    assert store.told == []


@pytest.mark.contract("TX-27", "E-130")
def test_a_value_that_cannot_be_serialized(caplog: pytest.LogCaptureFixture) -> None:
    """It is a warning, the block is rolled back with its hooks, and nothing is raised."""
    store = DictStore()
    events: Events = []
    with transaction("k", store) as txn:
        txn.stage(object(), [hook(events, "undo")])
    assert txn.is_rolled_back()
    assert events == ["undo"]
    assert store.kept == {}
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.levelno == logging.WARNING
    assert "Encountered an error while serializing result" in record.getMessage()


@pytest.mark.contract("TX-27")
def test_a_write_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """Any other error is logged with its traceback; the answer of a commit by hand is False."""
    store = DictStore()
    store.broken.add("k")
    events: Events = []
    with transaction("k", store) as txn:
        txn.stage(1, [hook(events, "undo")])
        assert txn.commit() is False
    assert txn.is_rolled_back()
    assert events == ["undo"]
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert "No space left for k" in record.getMessage()


@pytest.mark.contract("TX-37", "TX-36")
def test_nothing_is_written_before_the_outermost_commit() -> None:
    """A group that is rolled back has written nothing."""
    store = DictStore()
    with failing():
        with transaction("a", store) as inner:
            inner.stage(1)
        assert store.kept == {}
    assert store.told == []
    with transaction(), transaction("a", store) as inner:
        inner.stage(1)
    assert store.kept == {"a": 1}


@pytest.mark.contract("TX-71", "TX-28")
def test_a_hook_that_fails_keeps_the_whole_nest_from_being_written() -> None:
    """Children before it in the row are rolled back with their hooks, though they had agreed."""
    store = DictStore()
    events: Events = []
    with transaction() as outer:
        with transaction("a", store) as first:
            staged(events, "first", first)
        with transaction("b", store) as second:
            staged(events, "second", second)
        outer.stage(0, [hook(events, "undo outer")], [hook(events, "bad", BoomError())])
    assert store.told == []
    assert events == ["commit first", "commit second", "bad", "undo outer", "undo second", "undo first"]
    assert {txn.state for txn in (first, second, outer)} == {TransactionState.ROLLED_BACK}


@pytest.mark.contract("TX-71")
@pytest.mark.parametrize("position", [0, 1])
def test_a_value_that_cannot_be_serialized_keeps_the_others_from_being_written(position: int) -> None:
    """All values of the nest are checked before the first is written."""
    store = DictStore()
    values = [1, 1]
    values[position] = object()  # type: ignore[call-overload]
    events: Events = []
    with transaction() as outer:
        for key, value in zip("ab", values, strict=True):
            with transaction(key, store) as inner:
                inner.stage(value, [hook(events, f"undo {key}")])
    assert outer.is_rolled_back()
    assert store.told == []
    assert events == ["undo b", "undo a"]


@pytest.mark.contract("TX-71")
def test_what_was_written_before_a_failure_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of the nest counts as committed then; files of several keys cannot be replaced at once."""
    store = DictStore()
    store.broken.add("b")
    events: Events = []
    with transaction() as outer:
        for key in "abc":
            with transaction(key, store) as inner:
                inner.stage(1, [hook(events, f"undo {key}")])
    assert outer.is_rolled_back()
    assert events == ["undo c", "undo b", "undo a"]
    assert store.kept == {"a": 1}
    assert "written before, and are rolled back without removing them: ['a']" in caplog.text


# SERIALIZABLE


@pytest.mark.contract("TX-11", "TX-25", "TX-26", "TX-33", "TX-58", "TX-68")
@pytest.mark.parametrize("ending", ["commit", "error", "bad hooks", "hit", "by hand", "not staged", "nested"])
def test_the_lock_is_freed_in_every_end(ending: str) -> None:
    """It is held inside of the block, by a holder of the transaction's own, and not after it."""
    store = locking({"k": 0} if ending == "hit" else None)
    bad = [hook([], "bad", BoomError())]
    try:
        with transaction(), transaction("k", store, isolation_level=SERIALIZABLE) as txn:
            assert store.is_lock_holder("k", txn.holder)
            if ending == "bad hooks":
                txn.stage(1, bad, bad)
            elif ending != "not staged":
                txn.stage(1)
            if ending == "by hand":
                assert txn.rollback() is True
                assert not store.is_locked("k")
            if ending == "error":
                raise BoomError
    except BoomError:
        pass
    assert not store.is_locked("k")
    assert Transaction().holder != Transaction().holder


@pytest.mark.contract("TX-25")
def test_a_repeated_commit_frees_the_lock() -> None:
    """A record that is there commits the block at entry, and `commit` then has nothing to do but this."""
    store = locking({"k": 0})
    with transaction("k", store, isolation_level=SERIALIZABLE) as txn:
        assert store.is_locked("k")
        assert txn.commit() is False
        assert not store.is_locked("k")


class Paused:
    """A SERIALIZABLE block in a thread of its own that stays open until it is told to go on."""

    def __init__(self, store: DictStore) -> None:
        self.store = store
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        assert self.entered.wait(30)

    def run(self) -> None:
        with transaction("k", self.store, isolation_level=SERIALIZABLE) as txn:
            self.entered.set()
            assert self.go_on.wait(30)
            txn.stage("of the first")

    def finish(self) -> None:
        self.go_on.set()
        self.thread.join(30)


@pytest.fixture
def writer() -> Iterator[Paused]:
    paused = Paused(locking())
    yield paused
    paused.finish()


def in_thread(function: Any) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(function()))
    thread.start()
    return thread, answers


@pytest.mark.contract("TX-64")
def test_a_reader_waits_for_the_writer(writer: Paused) -> None:
    """It sees what was written."""
    thread, answers = in_thread(Transaction(store=writer.store, key="k").read)
    thread.join(0.05)
    assert answers == []
    writer.finish()
    thread.join(30)
    assert answers == ["of the first"]


@pytest.mark.contract("TX-64", "TX-11")
@pytest.mark.parametrize("kind", [Transaction, AsyncTransaction])
def test_the_second_writer_waits_and_finds_the_record(writer: Paused, kind: Any) -> None:
    """It does not overwrite it."""

    def sync() -> Any:
        with Transaction(store=writer.store, key="k", isolation_level=SERIALIZABLE) as txn:
            txn.stage("of the second")
            return txn.is_committed()

    async def main() -> Any:
        async with AsyncTransaction(store=writer.store, key="k", isolation_level=SERIALIZABLE) as txn:
            txn.stage("of the second")
            return txn.is_committed()

    thread, answers = in_thread(sync if kind is Transaction else lambda: asyncio.run(main()))
    thread.join(0.05)
    assert answers == []
    writer.finish()
    thread.join(30)
    assert answers == [True]
    assert writer.store.kept == {"k": "of the first"}
    assert not writer.store.is_locked("k")


@pytest.mark.contract("TX-76")
def test_waiting_for_a_lock_may_be_limited(writer: Paused) -> None:
    """When the time is over the block is not entered, and the context is as before."""
    with (
        pytest.raises(LockTimeout, match=r"'k' was not free within 0\.02 second"),
        transaction("k", writer.store, isolation_level=SERIALIZABLE, lock_timeout=0.02),
    ):
        pytest.fail("entered")
    assert get_transaction() is None
    assert issubclass(LockTimeout, TimeoutError)


def test_a_write_under_a_foreign_lock_is_refused(writer: Paused, caplog: pytest.LogCaptureFixture) -> None:
    """A READ_COMMITTED transaction with the same key is rolled back, and the writer's value stands."""
    with transaction("k", writer.store) as txn:
        txn.stage("late")
    assert txn.is_rolled_back()
    assert "locked by another holder" in caplog.text
    writer.finish()
    assert writer.store.kept == {"k": "of the first"}


@pytest.mark.contract("TX-77")
def test_a_lock_that_was_lost_writes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """If the lock freed itself in the meantime, the commit is refused with an error that says so."""
    store = locking()
    with transaction("k", store, isolation_level=SERIALIZABLE) as txn:
        store.release_lock("k", txn.holder)  # as a hold timeout does
        txn.stage("too late")
    assert txn.is_rolled_back()
    assert store.kept == {}
    assert "The lock on key 'k' was lost before the transaction was committed" in caplog.text


def test_a_nest_does_not_wait_for_itself() -> None:
    """A lock is held until the outermost block ends; whoever would wait for it inside of that is told so."""
    store = locking()
    with transaction():
        with transaction("k", store, isolation_level=SERIALIZABLE) as first:
            first.stage(1)
        with (
            pytest.raises(ConfigurationError, match="would wait for ever"),
            transaction("k", store, isolation_level=SERIALIZABLE),
        ):
            pytest.fail("entered")
    assert store.kept == {"k": 1}
    with transaction(commit_mode=CommitMode.EAGER):
        for value in (2, 3):
            with transaction("e", store, isolation_level=SERIALIZABLE) as inner:
                inner.stage(value)
    assert store.kept["e"] == 2


class QuickStore(DictStore):
    """A store that can be looked into without waiting, and fails."""

    is_quick = True

    def find(self, key: str) -> object:
        raise BoomError

    async def afind(self, key: str) -> object:
        raise AssertionError("a quick store is asked at once")


@pytest.mark.parametrize("store", [QuickStore(), DictStore()], ids=["a look that fails", "no locks"])
def test_what_cannot_begin_is_not_entered(store: Any) -> None:
    """After a transaction could not be begun the one around it is the innermost again."""
    level = None if hasattr(store, "find") else "SERIALIZABLE"

    async def main() -> None:
        refused = AsyncTransaction(store=store, key="k", isolation_level=level)
        with pytest.raises((BoomError, ConfigurationError)):
            await refused.__aenter__()
        assert refused.is_rolled_back()
        assert get_transaction() is None

    with transaction() as outer:
        refused = Transaction(store=store, key="k", isolation_level=level)
        with pytest.raises((BoomError, ConfigurationError)):
            refused.__enter__()
        assert refused.is_rolled_back()
        assert get_transaction() is outer
    asyncio.run(main())
