"""Results in the run store: rows, the files of large ones, and who finds them from where."""

import asyncio
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mainspring import task
from mainspring.cache_policies import INPUTS
from mainspring.client import Client, get_client
from mainspring.exceptions import ConfigurationError, MissingResult, StorageError, StoragePathMissing
from mainspring.recording import Recorder, close_recorders, current_recorder, recorder, use_recorder
from mainspring.results import HistoryStorage, ResultRecord, ResultStore, get_result_store
from mainspring.results.history import LARGEST_ROW
from mainspring.settings import get_current_settings, temporary_settings
from mainspring.states import State
from mainspring.store import open_store
from tests.engine.history import query

LARGE = b"x" * (LARGEST_ROW + 1)
LONG = "long " * LARGEST_ROW


@pytest.fixture
def folder(mainspring_home: Path) -> Path:
    """Where the files of large results are."""
    return mainspring_home / "storage"


@pytest.fixture
def history(folder: Path) -> HistoryStorage:
    return HistoryStorage(folder)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Recorder]:
    """The way to another run store than that of the settings."""
    recorder = Recorder(open_store(tmp_path / "other.db"))
    yield recorder
    recorder.close()


@pytest.fixture
def trailing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Durability ``relaxed``, in a process whose background thread never has its turn."""
    monkeypatch.setattr(recorder, "RELAXED_LAG", 600)
    with temporary_settings({"durability": "relaxed"}):
        yield


def files_in(folder: Path) -> list[bytes]:
    """The contents of the files in a folder."""
    return sorted(path.read_bytes() for path in folder.iterdir()) if folder.exists() else []


def rows() -> list[tuple[str, bool]]:
    """The keys of the rows on disk, each with whether its record is in a file."""
    return [(key, bool(file)) for key, file in query("SELECT key, file FROM results ORDER BY key")]


@task(persist_result=True, cache_policy=INPUTS)
def repeat(text: str) -> str:
    return text


# What is a row, and what is a file


def test_a_small_record_is_a_row(history: HistoryStorage, folder: Path) -> None:
    """On return it is on disk, as text, and no file is made."""
    assert history.write_path("a/b.c", b'{"x": "\xc3\xb6"}') == "history://a/b.c"
    assert query("SELECT key, run_id, file, content FROM results") == [("a/b.c", None, None, '{"x": "ö"}')]
    assert history.read_path("a/b.c") == history.read_path("history://a/b.c") == b'{"x": "\xc3\xb6"}'
    assert not folder.exists()


@pytest.mark.parametrize("size", [0, 1, LARGEST_ROW, LARGEST_ROW + 1])
def test_the_largest_row(history: HistoryStorage, folder: Path, size: int) -> None:
    """What is larger than `LARGEST_ROW` is a file, whose name is no key."""
    content = b"x" * size
    history.write_path("k", content)
    assert history.read_path("k") == content
    is_file = size > LARGEST_ROW
    assert rows() == [("k", is_file)]
    assert files_in(folder) == [content] * is_file
    assert not (folder / "k").exists()


@pytest.mark.parametrize("content", [b"\xff", b"\xed\xa0\x80", b"\x80" * 100])
def test_what_is_no_text_is_a_file(history: HistoryStorage, folder: Path, content: bytes) -> None:
    """However small it is; it comes back byte by byte."""
    history.write_path("k", content)
    assert history.read_path("k") == content
    assert files_in(folder) == [content]


@pytest.mark.parametrize("content", [b"\0", b"a\0b", b"\r\n\r", b"\xef\xbb\xbf"])
def test_odd_texts_come_back_as_they_were(history: HistoryStorage, content: bytes) -> None:
    """NUL, line ends and byte order marks are part of the content."""
    history.write_path("k", content)
    assert history.read_path("k") == content
    assert history.read_head("k", 1) == content[:1]


@pytest.mark.contract("R-79")
def test_a_file_is_complete_before_its_row_is_there(history: HistoryStorage, folder: Path) -> None:
    """A packed record is not found by anybody, and its file has everything already."""
    kept = history.pack("k", LARGE)
    assert files_in(folder) == [LARGE]
    with pytest.raises(StoragePathMissing):
        history.read_path("k")
    current_recorder().keep_results([kept])
    assert history.read_path("k") == LARGE


def test_a_file_that_cannot_be_written(mainspring_home: Path) -> None:
    """The error names the file, and there is no row."""
    mainspring_home.mkdir()
    (mainspring_home / "file").touch()
    history = HistoryStorage(mainspring_home / "file")
    with pytest.raises(StorageError, match="file"):
        history.write_path("k", LARGE)
    history.write_path("other", b"small")
    assert rows() == [("other", False)]


def test_several_results_at_once(history: HistoryStorage) -> None:
    """They are written by one commit; of equal keys the last one counts."""
    history.write_paths([("a", b"1"), ("b", LARGE), ("a", b"2")])
    assert rows() == [("a", False), ("b", True)]
    assert history.read_path("a") == b"2"


# Keys


@pytest.mark.contract("R-80")
@pytest.mark.parametrize("key", ["/etc/passwd", "../k", "a/../../k", "a\0b", "s3://bucket/k", "\udc80"])
def test_keys_that_lead_out_of_the_store(key: str, folder: Path) -> None:
    """Result stores refuse them for writing and for looking, with an error that names the key."""
    store = get_result_store()
    for call in (lambda: store.write(1, key=key), lambda: store.exists(key)):
        with pytest.raises(ConfigurationError, match="storage key"):
            call()
    current_recorder().flush()
    assert rows() == []


@pytest.mark.contract("R-80")
@pytest.mark.parametrize(
    "key", ["../secret", "{folder}/../secret", "a/../../secret", "secret\0", "file://secret"]
)
def test_no_key_reads_a_file_elsewhere(history: HistoryStorage, folder: Path, key: str) -> None:
    """A key is looked for among the rows, and among the files of the folder only if it leads nowhere else."""
    folder.mkdir(parents=True)
    folder.with_name("secret").write_bytes(b"secret")
    with pytest.raises(StoragePathMissing):
        history.read_path(key.format(folder=folder))


def test_keys_that_look_like_others(history: HistoryStorage) -> None:
    """Keys are compared as they are: nothing is normalized, and case counts."""
    keys = ["a", "A", "./a", "a/", "a//b", "a/b", " a", "ä", "a\u0308", "%", "_", "a'b", "history"]
    for key in keys:
        history.write_path(key, key.encode())
    assert [history.read_path(key) for key in keys] == [key.encode() for key in keys]


def test_records_of_earlier_versions(history: HistoryStorage, folder: Path) -> None:
    """A record in a file of the folder under its key is found, until there is a row."""
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "k").write_bytes(b"old")
    assert history.read_path("deep/k") == b"old"
    history.write_path("deep/k", b"new")
    assert history.read_path("deep/k") == b"new"
    for name in ("deep", "other"):
        with pytest.raises(StoragePathMissing, match=name):
            history.read_path(name)


def test_a_record_of_an_earlier_version_is_removed(history: HistoryStorage, folder: Path) -> None:
    """With the row that has replaced it, or alone: afterwards there is nothing under the key."""
    for has_row in (False, True):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "k").write_bytes(b"old")
        if has_row:
            history.write_path("k", b"new")
        history.delete_path("k")
        with pytest.raises(StoragePathMissing):
            history.read_path("k")


# Replacing and removing


def test_removing(history: HistoryStorage, folder: Path) -> None:
    """What is removed is gone at once, and its file in the end; what is not there is told by its key."""
    history.write_path("small", b"1")
    history.write_path("large", LARGE)
    for key in ("small", "history://large"):
        history.delete_path(key)
        with pytest.raises(StoragePathMissing, match=key.removeprefix("history://")):
            history.read_path(key)
        with pytest.raises(StoragePathMissing, match=key.removeprefix("history://")):
            history.delete_path(key)
    close_recorders()
    assert files_in(folder) == []


@pytest.mark.parametrize(
    "contents", [[LARGE, b"small"], [LARGE, b"small", LARGE + b"2"], [LARGE, LARGE + b"2"]]
)
def test_the_file_of_a_replaced_result_is_removed(
    history: HistoryStorage, folder: Path, contents: list[bytes]
) -> None:
    """At the latest when the process ends; the file that is in use is not."""
    for content in contents:
        history.write_path("k", content)
        assert history.read_path("k") == content
    close_recorders()
    assert history.read_path("k") == contents[-1]
    assert files_in(folder) == [content for content in contents[-1:] if len(content) > LARGEST_ROW]
    assert query("SELECT * FROM unused_files") == []


def test_a_file_of_another_process_is_removed(history: HistoryStorage, folder: Path) -> None:
    """A process that keeps nothing but small results removes the files that these replace."""
    for key in "abc":
        history.write_path(key, LARGE)
    close_recorders()
    history.write_path("a", b"small")
    close_recorders()
    assert len(files_in(folder)) == 2
    history.delete_path("b")
    close_recorders()
    assert len(files_in(folder)) == 1
    assert history.read_path("c") == LARGE


@pytest.mark.contract("K-30")
def test_the_file_of_a_run_that_is_refreshed_is_removed(folder: Path) -> None:
    """A large result that a run replaces by a small one leaves nothing behind."""
    texts = iter([LONG, "short"])

    @task(persist_result=True, cache_key_fn=lambda *_: "k", refresh_cache=True)
    def read() -> str:
        return next(texts)

    assert (read(), read()) == (LONG, "short")
    close_recorders()
    assert files_in(folder) == []


def test_a_folder_that_has_moved(tmp_path: Path, folder: Path) -> None:
    """Large results are found where the folder is now, by rows that name the old one."""
    state = repeat(LONG, return_state=True)
    moved = tmp_path / "moved"
    folder.rename(moved)
    get_result_store().write("small", key="small")
    with temporary_settings({"results.local_storage_path": str(moved)}):
        assert HistoryStorage(moved).read_path(state.data.metadata.storage_key).endswith(b"}")
        assert get_client().read_task_runs()[0].state.result() == LONG
        assert repeat(LONG, return_state=True).name == "Cached"


def test_a_file_that_has_vanished(folder: Path) -> None:
    """The error of the storage names the file, and that of the state says that the result is missing."""
    state = repeat(LONG, return_state=True)
    key = state.data.metadata.storage_key
    (file,) = folder.iterdir()
    file.unlink()
    with pytest.raises(StoragePathMissing, match=file.name):
        HistoryStorage(folder).read_path(key)
    with pytest.raises(MissingResult, match=file.name):
        get_client().read_task_runs()[0].state.result()
    assert repeat(LONG, return_state=True).name == "Completed"
    assert get_client().read_task_runs()[0].state.result() == LONG


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes there")
def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    """Large results are kept and found again: their names are looked for in the folder of the settings."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    history = HistoryStorage(folder)
    history.write_path("k", LARGE)
    with temporary_settings({"results.local_storage_path": str(folder)}):
        assert history.read_path("k") == LARGE
        history.write_path("k", b"small")
        assert history.read_path("k") == b"small"


# Who finds it


READ = """
import pickle, sys
from pathlib import Path
for each in pickle.loads(Path(sys.argv[1]).read_bytes()):
    value = each.result() if hasattr(each, "result") and callable(each.result) else each.get()
    print(value[:5], len(value))
"""


@pytest.mark.contract("R-40")
def test_states_and_records_in_another_process(tmp_path: Path, mainspring_home: Path) -> None:
    """Pickled, they load small and large results there from the store that they came from."""
    states: list[Any] = []
    for text in ("small", LONG):
        states.append(repeat(text, return_state=True))
        (run,) = get_client().read_task_runs(limit=1)
        states += [
            run.state,
            run.state.data,
            get_result_store().read(states[-1].data.metadata.storage_key).metadata,
        ]
    pickled = tmp_path / "pickled"
    pickled.write_bytes(pickle.dumps(states))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", READ, str(pickled)],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["small 5"] * 4 + [f"long  {len(LONG)}"] * 4


def test_states_of_a_store_that_settings_do_not_name(other: Recorder, tmp_path: Path) -> None:
    """Whoever reads a run through a client of another store gets its result from there, also pickled."""
    with use_recorder(other):
        theirs = [repeat(text, return_state=True) for text in ("theirs", LONG)]
    other.flush()
    assert rows_of_default() == 0
    with closing(open_store(tmp_path / "other.db")) as store:
        client = Client(store)
        found = [run.state for run in client.read_task_runs()][::-1]
        assert [state.result() for state in found] == ["theirs", LONG]
        history = client.read_task_run_states(client.read_task_runs()[1].id)
        assert history[-1].result() == "theirs"
        again: list[State] = pickle.loads(pickle.dumps([run.state for run in client.read_task_runs()]))
    assert [state.result() for state in again] == [LONG, "theirs"]
    assert [state.result() for state in theirs] == ["theirs", LONG]


def rows_of_default() -> int:
    current_recorder().flush()
    return len(get_client().read_task_runs())


def test_a_key_of_a_store_that_nobody_knows() -> None:
    """A description alone does not tell which store it is of: the error says what to do."""
    metadata = repeat("a", return_state=True).data.metadata
    described = type(metadata).load_bytes(metadata.dump_bytes())
    with pytest.raises(MissingResult, match="client of that store"):
        described.get()


def test_two_stores_do_not_mix(history: HistoryStorage, other: Recorder) -> None:
    """The same key, in a block that uses another recorder, is another result."""
    store = ResultStore(history)
    store.write("ours", key="k")
    with use_recorder(other):
        assert not store.exists("k")
        store.write("theirs" + LONG, key="k")
        store.write(1, key="only theirs")
        assert store.read("k").result == "theirs" + LONG
    assert store.read("k").result == "ours"
    assert not store.exists("only theirs")
    store.remove("k")
    with use_recorder(other):
        assert store.read("k").result == "theirs" + LONG


@pytest.mark.contract("E-25")
def test_a_cached_result_of_another_store_does_not_count(other: Recorder) -> None:
    """A task looks for its result in the store that it is recorded in."""
    calls: list[str] = []

    @task(persist_result=True, cache_policy=INPUTS)
    def work(x: str) -> str:
        calls.append(x)
        return x

    work("a")
    with use_recorder(other):
        assert [work("a", return_state=True).name for _ in range(2)] == ["Completed", "Cached"]
    assert work("a", return_state=True).name == "Cached"
    assert calls == ["a", "a"]


def test_relaxed_history_finds_its_own_results(trailing: None, history: HistoryStorage, folder: Path) -> None:
    """What a process has kept it finds, also before that is on disk; it may replace and remove it."""
    store = ResultStore(history)
    calls: list[str] = []

    @task(persist_result=True, cache_policy=INPUTS)
    def work(x: str) -> str:
        calls.append(x)
        return x

    store.write("first", key="k")
    store.write("second" + LONG, key="k")
    assert [work(text) for text in ("a", LONG, "a", LONG)] == ["a", LONG, "a", LONG]
    assert store.read("k").result == "second" + LONG
    assert query("SELECT * FROM results") == []
    assert calls == ["a", LONG]
    store.remove("k")
    assert not store.exists("k")
    store.write("third", key="k")
    assert store.read("k").result == "third"
    close_recorders()
    assert store.read("k").result == "third"
    assert len(files_in(folder)) == 1


def test_relaxed_withdrawal_counts_at_once(trailing: None) -> None:
    """What an interrupt has rolled back is not found by the next call, although neither is on disk."""
    calls: list[str] = []

    @task(persist_result=True, cache_policy=INPUTS)
    def work(x: str) -> str:
        calls.append(x)
        return x

    def interrupt(run: object, state: State) -> None:
        if state.name == "Completed":
            raise KeyboardInterrupt

    with current_recorder().listen(interrupt), pytest.raises(KeyboardInterrupt):
        work("a")
    assert query("SELECT * FROM results") == []
    assert work("a", return_state=True).name == "Completed"
    assert work("a", return_state=True).name == "Cached"
    assert calls == ["a", "a"]


# For async code


def test_async_twins(history: HistoryStorage, other: Recorder, folder: Path) -> None:
    """Writing, looking and reading do the same in async code, small and large, in whatever store is in use."""
    store = ResultStore(history)

    async def main() -> None:
        for key, value in (("small", "1"), ("large", LONG)):
            assert not await store.aexists(key)
            record = await store.awrite(value, key=key)
            assert record.is_persisted
            assert await store.aexists(key)
            assert (await store.aread(key)).result == value
            found = pickle.loads(pickle.dumps(record.metadata))
            assert await found.aget() == value
        assert await history.awrite_path("bytes", LARGE) == "history://bytes"
        assert await history.aread_path("bytes") == LARGE
        with pytest.raises(StoragePathMissing, match="nothing here"):
            await history.aread_path("nothing here")

    with use_recorder(other):
        asyncio.run(main())
        assert store.read("large").result == LONG
    assert not store.exists("small")


def test_async_tasks_keep_large_results(folder: Path) -> None:
    """Their file is written, and their state leads to it."""

    @task(persist_result=True)
    async def work() -> str:
        return LONG

    state: State = asyncio.run(work(return_state=True))  # type: ignore[call-overload]
    assert state.result() == LONG
    assert len(files_in(folder)) == 1
    (run,) = get_client().read_task_runs()
    assert asyncio.run(run.state.aresult()) == LONG


# As a value


def test_equal_storages(folder: Path, tmp_path: Path) -> None:
    """Storages with the same folder are equal, also after a journey; others are not."""
    history = HistoryStorage(folder)
    assert history == HistoryStorage(str(folder)) == pickle.loads(pickle.dumps(history))
    assert hash(history) == hash(HistoryStorage(folder))
    assert history != HistoryStorage(tmp_path)
    assert history.folder == folder
    assert repr(history) == f"HistoryStorage({str(folder)!r})"


def test_a_record_knows_where_it_is(history: HistoryStorage) -> None:
    """Its storage key has the scheme, whether it was just written or found."""
    store = ResultStore(history)
    written: ResultRecord[int] = store.write(1, key="a/b")
    assert written.storage_key == store.read("a/b").storage_key == "history://a/b"
    assert store.exists("history://a/b")
    assert get_current_settings().local_storage_path == history.folder
