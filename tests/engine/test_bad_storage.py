"""Runs whose results cannot be kept, found, loaded or locked: what becomes of the run, of its caller, and of the key.

No value is computed a second time without a word, none that was kept is lost, and each line says which key or run it
is about. What the store itself says is in ``tests/results/test_bad_storage.py``.
"""

import asyncio
import errno
import inspect
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.cache_policies import INPUTS
from mainspring.exceptions import (
    ConfigurationError,
    MissingResult,
    SerializationError,
    StorageError,
    StoragePathMissing,
)
from mainspring.filesystems import LocalFileSystem, RemoteFileSystem
from mainspring.locking.filesystem import FileSystemLockManager
from mainspring.results import ResultStore
from mainspring.store_locks import StoreLockManager
from mainspring.transactions import IsolationLevel, Transaction, atransaction, transaction
from tests.engine.history import flow_runs, messages, only_flow_run, sequence, task_runs
from tests.engine.scenarios import BoomError

BOTH = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


class FullDisk(LocalFileSystem):
    """A folder on a disk that has room for nothing more."""

    def write_path(self, path: str, content: bytes) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


class SlowDisk(LocalFileSystem):
    """A folder on a disk that takes its time."""

    def read_head(self, path: str, size: int) -> bytes:
        time.sleep(0.1)
        return super().read_head(path, size)

    def write_path(self, path: str, content: bytes) -> str:
        time.sleep(0.1)
        return super().write_path(path, content)


class FickleDisk(LocalFileSystem):
    """A folder whose disk cannot be read for the moment."""

    works = False

    def read_path(self, path: str) -> bytes:
        return self.read_head(path, -1)

    def read_head(self, path: str, size: int) -> bytes:
        if not self.works:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return super().read_head(path, size) if size >= 0 else super().read_path(path)


def a_file_in_its_place(path: Path) -> Any:
    path.write_text("mine")
    return path


def an_archive(path: Path) -> Any:
    """A ZIP archive, which fsspec reads and does not write."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("results/other", "")
    return RemoteFileSystem("zip://results", {"fo": str(path)})


REFUSING = pytest.mark.parametrize(
    "storage",
    [FullDisk, a_file_in_its_place, an_archive],
    ids=["full", "a file in its place", "read-only"],
)


def made(asynchronous: bool, text: Callable[[Any], Any], **options: Any) -> Any:
    """A task that calls ``text`` with its argument."""

    @task(name="work", **options)
    def work(x: Any = 1) -> Any:
        return text(x)

    @task(name="work", **options)
    async def awork(x: Any = 1) -> Any:
        return text(x)

    return awork if asynchronous else work


def counting(asynchronous: bool, **options: Any) -> Any:
    """A task that returns how often it was called."""
    calls: list[Any] = []

    def count(x: Any) -> int:
        calls.append(x)
        return len(calls)

    return made(asynchronous, count, **options)


def call(work: Any, *args: Any, **options: Any) -> Any:
    """What a call of a task or flow of either kind gives."""
    value = work(*args, **options)
    return asyncio.run(value) if inspect.iscoroutine(value) else value


def flow_of(work: Any, **options: Any) -> Any:
    """A flow, of the same kind as the task, that calls the task once."""

    @flow(name="around", **options)
    def around() -> Any:
        return work()

    @flow(name="around", **options)
    async def aaround() -> Any:
        return await work()

    return aaround if work.isasync else around


def in_transaction(work: Any, **options: Any) -> Transaction:
    """A transaction, left without an error of its own, in which a task of either kind was called."""

    async def main() -> Any:
        async with atransaction(**options) as txn:
            await work()
        return txn

    if work.isasync:
        txn: Any = asyncio.run(main())
        return txn  # type: ignore[no-any-return]
    with transaction(**options) as txn:
        work()
    return txn


def key_k(context: Any, parameters: Any) -> str:
    """What tasks have as their key that are to have the file "k"."""
    return "k"


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


# Storages that cannot be written


@pytest.mark.contract("TX-27", "S-37")
@REFUSING
@BOTH
def test_a_result_that_cannot_be_written(
    asynchronous: bool, storage: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller has its value, a line names the key and the cause, hooks undo, and the next call computes anew."""
    undone = []
    work = counting(
        asynchronous,
        cache_key_fn=lambda *_: "the-key",
        result_storage=storage(tmp_path / "results"),
        on_rollback=[lambda txn: undone.append(txn.key)],
    )
    assert call(work) == 1
    (told,) = lines(caplog, logging.ERROR)
    assert "writing the result for key 'the-key'" in told
    assert any(why in told for why in ("No space left", "Not a directory", "requires mode"))
    assert undone == ["the-key"]
    assert sequence() == "Pending Running Completed RolledBack"
    assert any(message.startswith(told) for message in messages())
    assert call(work) == 2


@REFUSING
@BOTH
def test_what_the_history_says_of_such_a_result(asynchronous: bool, storage: Any, tmp_path: Path) -> None:
    """Whoever asks the history for it gets an error that names the place, and never another value."""
    work = counting(asynchronous, result_storage_key="k", result_storage=storage(tmp_path / "results"))
    call(work)
    (run,) = task_runs()
    with pytest.raises((MissingResult, StorageError), match="k"):
        run.state.result(retry_result_failure=False)


@pytest.mark.contract("F-26", "S-37")
@REFUSING
@BOTH
def test_a_flow_whose_result_cannot_be_written(
    asynchronous: bool, storage: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is completed, its caller has the value, its tasks keep theirs, and a line names run and cause."""
    work = counting(asynchronous, result_storage=tmp_path / "good", result_storage_key="k")
    around = flow_of(work, result_storage=storage(tmp_path / "bad"), persist_result=True)
    assert call(around) == 1
    run = only_flow_run()
    assert run.state.is_completed()
    assert [
        line for line in lines(caplog) if f"The result of flow run {run.name!r} could not be kept" in line
    ]
    assert ResultStore(tmp_path / "good").read("k").result == 1


@pytest.mark.contract("TX-26", "TX-27", "TX-71")
@REFUSING
@BOTH
def test_a_nest_in_which_one_result_cannot_be_written(
    asynchronous: bool, storage: Any, tmp_path: Path
) -> None:
    """The transaction around it is rolled back as a whole; nothing is raised where the block ends."""
    work = counting(asynchronous, result_storage=storage(tmp_path / "results"), result_storage_key="k")
    txn = in_transaction(work)
    assert txn.is_rolled_back()
    assert task_runs()[-1].state.name == "RolledBack"


# Values and keys


@pytest.mark.contract("TX-27", "E-130", "R-47")
@BOTH
def test_a_value_that_cannot_be_serialized_in_a_nest(
    asynchronous: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not kept, with a warning that says what else to do; what the transaction itself holds is committed."""
    work = made(asynchronous, lambda _: threading.Lock(), result_storage=tmp_path, result_storage_key="k")
    call(work)
    assert sequence() == "Pending Running Completed"
    (told,) = lines(caplog)
    assert all(part in told for part in ("'work'", "'lock'", "result_serializer", "persist_result=False"))
    assert list(tmp_path.glob("k")) == []
    txn = in_transaction(work, key="mine", store=ResultStore(tmp_path / "store"))
    assert txn.is_committed()
    assert task_runs()[-1].state.name == "Completed"


@pytest.mark.contract("K-26", "V-12")
@BOTH
def test_an_unhashable_value_in_a_flow(
    asynchronous: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each call runs, keeps its result under a key of its own, and the line names the input and the way out."""
    lock = threading.Lock()
    work = counting(asynchronous, cache_policy=INPUTS)

    @flow(result_storage=tmp_path)
    def around() -> list[int]:
        return [work(lock), work(lock)]

    @flow(result_storage=tmp_path)
    async def aaround() -> list[int]:
        return [await work(lock), await work(lock)]

    assert call(aaround if asynchronous else around) == [1, 2]
    told = lines(caplog, logging.ERROR)
    assert len(told) == 2
    assert all("inputs['x']" in line and "NO_CACHE" in line for line in told)
    assert [run.state.result() for run in task_runs()] == [1, 2]


def no_idea(context: Any, parameters: Any) -> str:
    raise BoomError("no idea")


KEYLESS = pytest.mark.parametrize(
    ("key", "cause"), [(no_idea, "no idea"), (lambda *_: 7, "of type int")], ids=["raises", "no text"]
)


@pytest.mark.contract("K-8", "V-12")
@KEYLESS
@BOTH
def test_a_key_function_that_gives_no_key(
    asynchronous: bool, key: Any, cause: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Alone, in a flow and in a transaction the run goes on without a key, and a line says why."""
    work = counting(asynchronous, cache_key_fn=key, result_storage=tmp_path)
    assert call(work) == 1
    assert call(flow_of(work)) == 2
    assert in_transaction(work).is_committed()
    told = lines(caplog)
    assert len(told) == 3
    assert all("cache key could not be computed" in line and cause in line for line in told)
    assert {run.state.name for run in task_runs()} == {"Completed"}


@pytest.mark.contract("K-26")
def test_a_key_function_is_chosen_by_the_user(caplog: pytest.LogCaptureFixture) -> None:
    """So it is an error that it gives no key, as it is with a policy."""
    call(counting(False, cache_key_fn=no_idea))
    assert lines(caplog, logging.ERROR)


@pytest.mark.contract("R-80", "R-33")
@BOTH
@pytest.mark.parametrize("key", ["../out", "", "a\0b", "\ud800"], ids=ascii)
def test_a_key_that_cannot_be_fails_the_run_before_its_function(
    asynchronous: bool, key: str, tmp_path: Path
) -> None:
    """The error names the key, the function is not called, and later runs are recorded as ever."""
    calls: list[int] = []
    work = made(asynchronous, calls.append, cache_key_fn=lambda *_: key, result_storage=tmp_path)
    logging.disable(logging.CRITICAL)  # what is captured could not be sent to the main process of the tests
    try:
        with pytest.raises(ConfigurationError, match="storage key"):
            call(work)
    finally:
        logging.disable(logging.NOTSET)
    assert calls == []
    assert sequence() == "Pending Running Failed"
    call(counting(asynchronous, result_storage=tmp_path))
    assert sequence(task_runs()[-1]) == "Pending Running Completed"


@pytest.mark.contract("K-31")
@BOTH
def test_an_expiration_that_no_calendar_has(asynchronous: bool, tmp_path: Path) -> None:
    """A very long duration is as good as none; it does not crash the run after its function was called."""
    work = counting(asynchronous, cache_key_fn=key_k, cache_expiration=timedelta.max, result_storage=tmp_path)
    assert [call(work), call(work)] == [1, 1]


@BOTH
def test_what_a_call_gives_and_what_is_recorded_agree(asynchronous: bool, tmp_path: Path) -> None:
    """A run that is recorded as failed raises, also where nothing is looked up before the function is called."""
    work = counting(
        asynchronous, cache_key_fn=lambda *_: "../out", refresh_cache=True, result_storage=tmp_path
    )
    try:
        call(work)
    except ConfigurationError:
        assert task_runs()[-1].state.is_failed()
    else:
        assert task_runs()[-1].state.is_completed()


@pytest.mark.contract("E-147", "R-32")
@BOTH
def test_a_failure_is_not_kept_under_the_storage_key(asynchronous: bool, tmp_path: Path) -> None:
    """The next call runs the function; it does not get the exception of the one before as its value."""
    outcomes: list[Any] = [BoomError(), 5]

    def text(_: Any) -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    work = made(asynchronous, text, result_storage=tmp_path, result_storage_key="k")
    with pytest.raises(BoomError):
        call(work)
    assert not (tmp_path / "k").exists()
    assert call(work) == 5


@pytest.mark.contract("R-6", "R-11")
def test_a_storage_key_is_for_one_task(tmp_path: Path) -> None:
    """A task that is called inside of one with a storage key keeps its result under a key of its own."""
    seen = []

    @task(cache_policy=None)
    def inner() -> str:
        return "inner"

    @task(result_storage=tmp_path, result_storage_key="k")
    def outer() -> str:
        seen.append(inner(return_state=True).data.storage_key)
        return "outer"

    outer()
    assert seen != [str(tmp_path / "k")]


@pytest.mark.contract("R-30", "R-31")
@BOTH
def test_a_storage_key_that_cannot_be_rendered_fails_the_run(asynchronous: bool, tmp_path: Path) -> None:
    """It is an error of the user's, so the run has failed, and has not crashed."""
    work = counting(asynchronous, result_storage=tmp_path, result_storage_key="{parameters[nope]}")
    with pytest.raises(ConfigurationError, match="nope"):
        call(work)
    assert sequence() == "Pending Running Failed"


# Records that are damaged


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:30])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def rename_serializer(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"type":"pickle"', b'"type":"elsewhere"'))


DAMAGES = pytest.mark.parametrize("damage", [cut, cut_short, empty, rename_serializer])


@pytest.mark.contract("W-4", "R-28", "SZ-22")
@DAMAGES
@BOTH
def test_a_damaged_record_is_neither_used_nor_computed_again(
    asynchronous: bool, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    """The run fails without a call, retries or not, with an error that names the key; a refresh heals it."""
    work = counting(asynchronous, result_storage=tmp_path, cache_key_fn=key_k, retries=1)
    assert call(work) == 1
    damage(tmp_path / "k")
    damaged = (tmp_path / "k").read_bytes()
    with pytest.raises((SerializationError, RuntimeError), match="k'") as caught:
        call(work)
    assert str(caught.value) in (task_runs()[-1].state.message or "")
    assert task_runs()[-1].state.is_failed()
    assert (tmp_path / "k").read_bytes() == damaged  # for whoever looks into it
    healed = work.with_options(refresh_cache=True)
    assert call(healed) == 2
    assert call(work) == 2


@pytest.mark.contract("W-4", "E-147")
@BOTH
def test_a_damaged_record_under_a_storage_key_stays(asynchronous: bool, tmp_path: Path) -> None:
    """The run that fails because of it does not put its own failure in its place, to be taken for a value."""
    work = counting(asynchronous, result_storage=tmp_path, result_storage_key="k")
    call(work)
    (tmp_path / "k").write_bytes(b"spilled coffee")
    for _ in range(2):
        with pytest.raises(SerializationError, match=r"'k'.*damaged"):
            call(work)
    assert (tmp_path / "k").read_bytes() == b"spilled coffee"


@pytest.mark.contract("TX-18", "W-4")
@DAMAGES
@BOTH
def test_a_damaged_record_in_a_flow_and_in_a_nest(
    asynchronous: bool, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    """The flow fails with the same error; a transaction that it leaves is rolled back."""
    work = counting(asynchronous, result_storage=tmp_path, cache_key_fn=key_k)
    call(work)
    damage(tmp_path / "k")
    with pytest.raises((SerializationError, RuntimeError), match="k'"):
        call(flow_of(work))
    assert only_flow_run().state.is_failed()
    undone: list[int] = []

    def in_nest() -> None:
        with transaction() as txn:
            txn.stage(1, on_rollback_hooks=[lambda _: undone.append(1)])
            call(work)

    with pytest.raises((SerializationError, RuntimeError), match="k'"):
        in_nest()
    assert undone == [1]


@pytest.mark.contract("R-42")
@BOTH
def test_a_record_of_another_version_is_used(asynchronous: bool, tmp_path: Path) -> None:
    """Results outlive an upgrade of this package."""
    work = counting(asynchronous, result_storage=tmp_path, cache_key_fn=key_k)
    call(work)
    text = (tmp_path / "k").read_text()
    (tmp_path / "k").write_text(text.replace('"mainspring_version":"', '"mainspring_version":"99.'))
    assert call(work, return_state=True).name == "Cached"


# Records that are gone


@pytest.mark.contract("E-152", "W-3")
@BOTH
def test_a_folder_that_is_removed_before_a_lookup(asynchronous: bool, tmp_path: Path) -> None:
    """What was in it is computed again, once, and the folder is made anew."""
    work = counting(asynchronous, result_storage=tmp_path / "results", result_storage_key="k")
    assert call(work) == 1
    shutil.rmtree(tmp_path / "results")
    assert [call(work), call(work)] == [2, 2]
    shutil.rmtree(tmp_path / "results")
    assert call(flow_of(work)) == 3


@pytest.mark.contract("R-51", "W-29")
@BOTH
def test_a_folder_that_is_removed_before_a_read(asynchronous: bool, tmp_path: Path) -> None:
    """The history still says that the run completed; its value is a `MissingResult` that names the place."""
    around = flow_of(counting(asynchronous), result_storage=tmp_path / "results", persist_result=True)
    call(around)
    (run,), (inner,) = flow_runs(), task_runs()
    shutil.rmtree(tmp_path / "results")
    for state in (run.state, inner.state):
        assert state.is_completed()
        with pytest.raises(MissingResult, match=str(tmp_path / "results")):
            state.result()
        with pytest.raises(MissingResult, match=str(tmp_path / "results")):
            asyncio.run(state.aresult())


@BOTH
def test_a_value_that_is_gone_while_its_key_is_not(asynchronous: bool, tmp_path: Path) -> None:
    """With keys in a storage of their own, the error says which of the two is there, and a refresh heals it."""
    policy = INPUTS.configure(key_storage=tmp_path / "keys")
    work = counting(asynchronous, cache_policy=policy, result_storage=tmp_path / "values")
    call(work)
    shutil.rmtree(tmp_path / "values")
    with pytest.raises(StoragePathMissing, match=r"the result is gone.*refresh_cache=True"):
        call(work)
    assert call(work.with_options(refresh_cache=True)) == 2


@pytest.mark.contract("R-28", "W-4")
@BOTH
def test_a_disk_that_cannot_be_read_for_the_moment(
    asynchronous: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The value is computed again, and a warning names the key and the cause."""
    disk = FickleDisk(tmp_path)
    work = counting(asynchronous, result_storage=disk, result_storage_key="k")
    assert [call(work), call(work)] == [1, 2]
    told = lines(caplog)
    assert len(told) == 2
    assert all("result under 'k'" in line and "counts as missing" in line for line in told)
    disk.works = True
    assert call(work) == 2
    assert len(lines(caplog)) == 2


# Slow storages


@BOTH
def test_a_slow_disk(asynchronous: bool, tmp_path: Path) -> None:
    """Looking up and keeping take their time; an event loop goes on meanwhile."""
    work = counting(asynchronous, result_storage=SlowDisk(tmp_path), result_storage_key="k")
    ticks = []

    async def tick() -> None:
        while True:
            ticks.append(1)
            await asyncio.sleep(0.005)

    async def main() -> list[int]:
        beside = asyncio.create_task(tick())
        try:
            return [await work(), await work()]
        finally:
            beside.cancel()

    if asynchronous:
        assert asyncio.run(main()) == [1, 1]
        assert len(ticks) > 10
    else:
        assert [work(), work()] == [1, 1]


# Holders of locks that vanish


@pytest.mark.contract("TX-77", "K-21")
@BOTH
def test_a_folder_of_locks_that_is_removed_while_one_is_held(
    asynchronous: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody else may have gone on, so nothing is written; a line says so, and the caller has the value."""
    locks = tmp_path / "locks"
    manager = FileSystemLockManager(locks)
    policy = INPUTS.configure(isolation_level="SERIALIZABLE", lock_manager=manager)
    calls: list[int] = []

    def text(x: int) -> int:
        calls.append(x)
        if len(calls) == 1:
            shutil.rmtree(locks)
        return len(calls)

    work = made(asynchronous, text, cache_policy=policy, result_storage=tmp_path / "results")
    assert call(work, 1) == 1
    assert any("was lost before the transaction was committed" in line for line in lines(caplog))
    assert task_runs()[-1].state.name == "RolledBack"
    assert not (tmp_path / "results").exists()
    assert call(work, 1) == 2
    assert call(work, 1, return_state=True).name == "Cached"
    assert not [path for path in locks.iterdir() if path.suffix == ".lock"]


HOLD = """
import sys, time
from pathlib import Path
from mainspring import task
from mainspring.cache_policies import INPUTS
from mainspring.locking.filesystem import FileSystemLockManager
from mainspring.store_locks import StoreLockManager

folder, kind = Path(sys.argv[1]), sys.argv[2]
manager = StoreLockManager() if kind == "store" else FileSystemLockManager(folder / "locks")

@task(
    name="work",
    cache_policy=INPUTS.configure(isolation_level="SERIALIZABLE", lock_manager=manager),
    result_storage=folder / "results",
)
def work(x):
    print("holding", flush=True)
    time.sleep(60)

work(1)
"""


@pytest.mark.slow
@pytest.mark.contract("TX-69", "TX-75", "K-21")
@pytest.mark.parametrize("kind", ["file", "store"])
@BOTH
@pytest.mark.invariants(is_over=False)
def test_a_run_that_is_killed_while_it_has_its_key_locked(
    asynchronous: bool, kind: str, tmp_path: Path, mainspring_home: Path
) -> None:
    """Another run with the key waits as long as the process lives, then computes the value and keeps it."""
    manager: Any = StoreLockManager() if kind == "store" else FileSystemLockManager(tmp_path / "locks")
    policy = INPUTS.configure(isolation_level=IsolationLevel.SERIALIZABLE, lock_manager=manager)
    work = counting(asynchronous, cache_policy=policy, result_storage=tmp_path / "results")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), kind], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        threading.Timer(0.3, process.send_signal, [signal.SIGKILL]).start()
        began = time.monotonic()
        assert call(work, 1) == 1
        assert time.monotonic() - began >= 0.25
    assert call(work, 1, return_state=True).name == "Cached"
