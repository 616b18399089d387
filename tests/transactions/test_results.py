"""Transactions over real result stores: files, locks over threads and processes, and the store of the active run."""

import asyncio
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import ConfigurationError
from mainspring.locking.filesystem import FileSystemLockManager
from mainspring.locking.memory import MemoryLockManager
from mainspring.results import ResultStore, get_default_result_storage, get_result_store
from mainspring.transactions import atransaction, transaction
from tests.transactions.stories import failing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results"


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.contract("TX-37", "TX-29", "TX-14", "TX-12")
def test_files_are_written_by_the_outermost_commit(folder: Path) -> None:
    """A group leaves its files then, and a group that is rolled back leaves none."""
    store = ResultStore(folder)
    with failing(), transaction("a", store) as inner:
        inner.stage(1)
    assert kept(folder) == []
    with transaction():
        with transaction("a", store) as inner:
            inner.stage([1])
        with transaction("b", store) as inner:
            inner.stage(store.create_result_record({"x": 2}, key="b"))
        assert kept(folder) == []
    assert kept(folder) == ["a", "b"]
    with transaction("a", store) as hit:
        assert hit.is_committed()
        assert hit.read().result == [1]
    assert store.read("b").result == {"x": 2}


@pytest.mark.contract("TX-71", "TX-27", "E-130")
@pytest.mark.parametrize("is_async", [False, True])
def test_nothing_is_written_if_one_value_cannot_be(
    folder: Path, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning says which key it was."""
    store = ResultStore(folder)
    value = threading.Lock()

    def sync() -> Any:
        with transaction() as outer:
            for key, each in (("a", 1), ("b", value)):
                with transaction(key, store) as inner:
                    inner.stage(each)
        return outer

    async def main() -> Any:
        async with atransaction() as outer:
            for key, each in (("a", 1), ("b", value)):
                async with atransaction(key, store) as inner:
                    inner.stage(each)
        return outer

    outer = asyncio.run(main()) if is_async else sync()
    assert outer.is_rolled_back()
    assert kept(folder) == []
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.levelno == logging.WARNING
    assert "Encountered an error while serializing result for key 'b'" in warning.getMessage()


@pytest.mark.contract("TX-38", "TX-39", "TX-40")
def test_the_store_of_a_block() -> None:
    """Without a key there is none; with one it is the task run's, else the flow run's, else a new one."""
    of_flow, of_task = (ResultStore(f"/tmp/{name}", persist_result=False) for name in ("flow", "task"))
    with transaction() as txn:
        assert txn.store is None
    storage = get_default_result_storage()
    with transaction("k") as txn:
        assert txn.store.result_storage == storage
        assert txn.store.persist_result is True
    with FlowRunContext(result_store=of_flow):
        assert get_result_store() is of_flow
        with transaction("k") as txn:
            assert txn.store.result_storage == of_flow.result_storage
            assert txn.store.persist_result is True
        with TaskRunContext(None, None, result_store=of_task), transaction("k") as txn:  # type: ignore[arg-type]
            assert txn.store.result_storage == of_task.result_storage
        given = ResultStore("/tmp/given", persist_result=False)
        with transaction("k", given) as txn:
            assert txn.store is given


@pytest.mark.contract("TX-40", "TX-38")
def test_a_key_keeps_the_value() -> None:
    """Also where results are not kept by default, sync and async."""
    with transaction("k") as txn:
        txn.stage(1)

    async def again() -> Any:
        async with atransaction("k", write_on_commit=False) as hit:
            assert hit.is_committed()
            return (await hit.read()).result

    assert asyncio.run(again()) == 1
    assert ResultStore().exists("k")


@pytest.mark.contract("TX-72", "TX-40")
def test_keys_are_kept_apart_inside_of_a_run() -> None:
    """In the default storage, where nothing says otherwise; a raw value is written, and found under its own key."""

    @flow
    def pipeline() -> None:
        for key, value in (("a", 1), ("b", 2)):
            with transaction(key) as txn:
                txn.stage(value)

    pipeline()
    assert [ResultStore().exists(key) for key in "abc"] == [True, True, False]
    for key, value in (("b", 2), ("a", 1)):
        with transaction(key) as txn:
            assert txn.read().result == value


@pytest.mark.contract("TX-47")
def test_a_foreign_lock_holds_readers_and_refuses_writers(folder: Path) -> None:
    """The reader waits for the release; the error of the writer is a ValueError and a RuntimeError."""
    store = ResultStore(folder, lock_manager=MemoryLockManager())
    store.write("old", key="foreign")
    store.acquire_lock("foreign", "a")
    for error in (ValueError, RuntimeError):
        with pytest.raises(error, match="locked by another holder"):
            store.write("new", key="foreign", holder="b")
    values: list[str] = []
    reader = threading.Thread(target=lambda: values.append(store.read("foreign", holder="b").result))
    reader.start()
    reader.join(0.05)
    assert values == []
    store.write("new", key="foreign", holder="a")
    store.release_lock("foreign", "a")
    reader.join(30)
    assert values == ["new"]


@pytest.mark.contract("TX-41")
def test_the_logger_of_a_block() -> None:
    """The run's inside of a run, the one for transactions outside, or the one that is given."""
    with transaction() as txn:
        assert txn.logger is logging.getLogger("mainspring.transactions")
    own = logging.getLogger("own")
    with transaction(logger=own) as txn:
        assert txn.logger is own

    @flow
    def pipeline() -> str:
        with transaction() as txn:
            assert isinstance(txn.logger, logging.LoggerAdapter)
            return str(txn.logger.logger.name)

    assert pipeline() == "mainspring.flow_runs"


@pytest.mark.contract("TX-10")
def test_a_store_without_locks_refuses_serializable(folder: Path) -> None:
    """With a lock manager it is possible."""
    with (
        pytest.raises(ConfigurationError, match="Isolation level SERIALIZABLE is not supported"),
        transaction("k", ResultStore(folder), isolation_level="SERIALIZABLE"),
    ):
        pytest.fail("entered")
    store = ResultStore(folder, lock_manager=FileSystemLockManager(folder / "locks"))
    with transaction("k", store, isolation_level="SERIALIZABLE") as txn:
        assert store.is_lock_holder("k", txn.holder)
        txn.stage(1)
    assert not store.is_locked("k")
    with transaction("r", store, isolation_level="SERIALIZABLE") as txn:
        txn.stage(store.create_result_record(2, key="r"))
    assert [store.read(key).result for key in "kr"] == [1, 2]


@pytest.mark.contract("TX-64", "TX-58")
def test_threads_compute_a_value_once(folder: Path) -> None:
    """Of many SERIALIZABLE blocks with one key, one computes; the others wait for it and read, and so do readers."""
    store = ResultStore(folder, lock_manager=MemoryLockManager())
    computed: list[str] = []
    values: list[str] = []
    begin = threading.Barrier(6)

    def work(name: str) -> None:
        begin.wait(30)
        with transaction("value", store, isolation_level="SERIALIZABLE") as txn:
            if not txn.is_committed():
                computed.append(name)
                txn.stage(name)
        values.append(store.read("value").result)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(computed) == 1
    assert values == computed * 6


WORK = """
import sys
from mainspring.locking.filesystem import FileSystemLockManager
from mainspring.results import ResultStore
from mainspring.transactions import transaction

folder = sys.argv[1]
store = ResultStore(folder, lock_manager=FileSystemLockManager(folder + "/locks"))
for number in range(20):
    with transaction(f"value-{number}", store, isolation_level="SERIALIZABLE") as txn:
        if not txn.is_committed():
            print(number)
            txn.stage(number)
"""


@pytest.mark.slow
@pytest.mark.contract("TX-64")
def test_processes_compute_a_value_once(folder: Path) -> None:
    """With locks on files it holds over processes."""
    command = [sys.executable, "-c", WORK, str(folder)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    computed = [int(line) for each in processes for line in each.communicate(timeout=100)[0].split()]
    assert [each.returncode for each in processes] == [0, 0, 0]
    assert sorted(computed) == list(range(20))
