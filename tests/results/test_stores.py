"""Result stores: writing, reading, existence, keys, options of tasks and flows, defaults."""

import asyncio
import json
import os
import pickle
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from mainspring import clock, runtime
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import (
    ConfigurationError,
    LockedByAnother,
    MissingResult,
    SerializationError,
    StorageDriverMissing,
    StoragePathMissing,
)
from mainspring.filesystems import LocalFileSystem, NullFileSystem, RemoteFileSystem, WritableFileSystem
from mainspring.locking.memory import MemoryLockManager
from mainspring.locking.protocol import IsolationLevel
from mainspring.results import (
    HistoryStorage,
    ResultRecord,
    ResultStore,
    get_current_result_store,
    get_default_persist_setting,
    get_default_result_serializer,
    get_default_result_storage,
    get_result_store,
    render_storage_key,
    resolve_result_storage,
    resolve_serializer,
    should_persist_result,
)
from mainspring.results.memory import MAXIMUM_RECORDS, KeptRecord, RecordCache
from mainspring.serializers import CompressedJSONSerializer, JSONSerializer, PickleSerializer, Serializer
from mainspring.settings import temporary_settings
from tests.engine.clocks import JumpingClock

OPTIONS = ("persist_result", "result_storage", "result_serializer", "cache_result_in_memory")


def flow(**options: Any) -> Any:
    """What a store reads of a flow."""
    return SimpleNamespace(**{**dict.fromkeys(OPTIONS), "name": "f", **options})


def task(**options: Any) -> Any:
    """What a store reads of a task."""
    unset = dict.fromkeys((*OPTIONS, "result_storage_key", "cache_policy"))
    return SimpleNamespace(**{**unset, "name": "t", **options})


def policy(key_storage: Any = None, lock_manager: Any = None) -> Any:
    return SimpleNamespace(key_storage=key_storage, lock_manager=lock_manager)


def task_run(parameters: dict[str, Any] | None = None, **fields: Any) -> TaskRunContext:
    run: Any = SimpleNamespace(id=uuid4(), name="run-1", tags=set(), run_count=1)
    return TaskRunContext(task(), run, parameters, **fields)


def age(path: Path) -> None:
    """Let a file be old enough for its record to be kept in memory."""
    os.utime(path, (1, 1))


class Recording(WritableFileSystem):
    """A file system in memory that lists what is asked of it."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.read: list[tuple[str, int]] = []

    def read_path(self, path: str) -> bytes:
        return self.read_head(path, 2**40)

    def read_head(self, path: str, size: int) -> bytes:
        content = self.kept[path][:size]
        self.read.append((path, len(content)))
        return content

    def write_path(self, path: str, content: bytes) -> str:
        self.kept[path] = content
        return path


# Making one


@pytest.mark.contract("R-1")
def test_defaults() -> None:
    """A store that is told nothing has the defaults of the settings, and a new key for each result."""
    store = ResultStore()
    assert store.result_storage is None
    assert store.persist_result is False
    assert store.cache_result_in_memory is True
    assert store.serializer == PickleSerializer()
    assert store.storage_key_fn() != store.storage_key_fn()
    assert len(store.storage_key_fn()) == 32


@pytest.mark.contract("R-2")
def test_later_fields() -> None:
    """There is no metadata storage and no lock manager unless given; 1000 records are kept in memory."""
    store = ResultStore()
    assert store.metadata_storage is None
    assert store.lock_manager is None
    assert store.cache.maximum_records == MAXIMUM_RECORDS == 1000


@pytest.mark.contract("R-3")
def test_defaults_are_read_when_it_is_made() -> None:
    """The settings that hold where a store is made count."""
    with temporary_settings({"results.persist_by_default": True, "results.default_serializer": "json"}):
        store = ResultStore()
    assert store.persist_result is True
    assert store.serializer == JSONSerializer()
    assert ResultStore().serializer == PickleSerializer()


def test_stores_are_immutable_values(folder: Path) -> None:
    """A store cannot be changed; an equal one, a copy in another process too, is equal."""
    store = ResultStore(folder, serializer="json")
    with pytest.raises(AttributeError, match="immutable"):
        store.persist_result = True
    copy = pickle.loads(pickle.dumps(store))
    assert copy == store == ResultStore(folder, serializer="json") != ResultStore(folder)
    assert hash(copy) == hash(store)
    copy.write(1, key="k")
    assert store.read("k").result == 1


# For flows and tasks


@pytest.mark.contract("R-5", "R-7")
def test_update_for_flow(store: ResultStore, tmp_path: Path) -> None:
    """The options that a flow has replace those of the store, the others stay; the store itself does not change."""
    changed = store.update_for_flow(
        flow(persist_result=True, result_storage=tmp_path / "other", result_serializer="json")
    )
    assert changed.persist_result is True
    assert changed.result_storage == LocalFileSystem(tmp_path / "other")
    assert changed.serializer == JSONSerializer()
    assert changed.cache_result_in_memory is True
    assert store.update_for_flow(flow(cache_result_in_memory=False)).cache_result_in_memory is False
    assert (store.persist_result, store.serializer) == (False, PickleSerializer())
    assert ResultStore().update_for_flow(flow()).result_storage == get_default_result_storage()


@pytest.mark.contract("R-6", "R-11")
def test_update_for_task(store: ResultStore) -> None:
    """A task inherits what it does not say itself, and its storage key names its results."""
    outer = store.update_for_flow(flow(persist_result=True, result_serializer="json"))
    assert outer.update_for_task(task()) == outer
    assert outer.update_for_task(task(persist_result=False)).persist_result is False
    inner = outer.update_for_task(task(result_storage_key="k-{parameters[x]}", result_serializer="pickle"))
    assert inner.serializer == PickleSerializer()
    assert inner.persist_result is True
    assert inner.result_storage == store.result_storage
    with task_run({"x": 3}):
        assert inner.create_result_record(1).storage_key == store.create_result_record(1, "k-3").storage_key


@pytest.mark.contract("R-7")
def test_update_fills_in_the_storage() -> None:
    """A store without a storage gets the default one with the first update."""
    assert ResultStore().update_for_task(task()).result_storage == get_default_result_storage()


@pytest.mark.contract("R-8")
def test_update_for_cache_policy(store: ResultStore, tmp_path: Path) -> None:
    """The lock manager of the policy wins over that of the transaction, which wins over the store's."""
    managers: list[Any] = [object(), object(), object()]
    own = ResultStore(store.result_storage, lock_manager=managers[0])
    assert own.update_for_task(task()).lock_manager is managers[0]
    assert own.update_for_task(task(), lock_manager=managers[1]).lock_manager is managers[1]
    with_policy = task(cache_policy=policy(str(tmp_path / "keys"), managers[2]))
    updated = own.update_for_task(with_policy, lock_manager=managers[1])
    assert updated.lock_manager is managers[2]
    assert updated.metadata_storage == LocalFileSystem(str(tmp_path / "keys"))


def test_updates_are_cheap(store: ResultStore) -> None:
    """Without options the store itself is used, and for the same options the same other one."""
    assert store.update_for_task(task()) is store
    assert store.update_for_task(task(cache_policy=policy())) is store
    assert store.update_for_task(task(persist_result=False, cache_result_in_memory=True)) is store
    assert store.update_for_flow(flow()) is store
    options = {"result_serializer": "json", "result_storage_key": "k"}
    assert store.update_for_task(task(**options)) is store.update_for_task(task(**options))


def test_storage_keys_are_not_inherited(store: ResultStore) -> None:
    """A task inside of one with a storage key does not overwrite that one's result."""
    outer = store.update_for_task(task(result_storage_key="k"))
    inner = outer.update_for_task(task())
    assert outer.storage_key_fn() == "k" != inner.storage_key_fn()


def test_storages_that_cannot_be_hashed(store: ResultStore) -> None:
    """A storage of the user's may be without a hash."""

    class Equal(Recording):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return True

    storage = Equal()
    assert store.update_for_task(task(result_storage=storage)).result_storage is storage


# Defaults


@pytest.mark.contract("R-10")
def test_current_store() -> None:
    """The store of the innermost run counts, outside of runs one with the defaults."""
    one, two = ResultStore(serializer="json"), ResultStore(serializer="msgpack")
    assert get_result_store() == ResultStore(get_default_result_storage())
    with FlowRunContext(result_store=one):
        assert get_result_store() is one
        with task_run(result_store=two):
            assert get_current_result_store() is two
        with task_run():
            assert get_result_store() is one
    assert get_result_store() is get_result_store()
    with temporary_settings({"results.default_serializer": "json"}):
        assert get_result_store().serializer == JSONSerializer()


@pytest.mark.contract("R-12", "R-14")
def test_default_storage(mainspring_home: Path, tmp_path: Path) -> None:
    """Results are in the run store, large ones in a folder in the home, unless a setting says it: files, an address."""
    assert get_default_result_storage() == HistoryStorage(mainspring_home / "storage")
    with temporary_settings({"results.local_storage_path": str(tmp_path / "x")}):
        assert get_default_result_storage() == HistoryStorage(tmp_path / "x")
        with temporary_settings({"results.default_storage": str(tmp_path / "y")}):
            assert get_default_result_storage() == LocalFileSystem(tmp_path / "y")
        with temporary_settings({"results.default_storage": "memory://y"}):
            assert get_default_result_storage() == RemoteFileSystem("memory://y")
            assert ResultStore().write(1, key="k").storage_key == "memory://y/k"
            assert ResultStore().read("k").result == 1


@pytest.mark.contract("R-13")
def test_default_storage_that_is_not_there() -> None:
    """A default storage that cannot be found is a ValueError wherever it is used."""
    with temporary_settings({"results.default_storage": "nonsense://x"}):
        for use in (lambda: ResultStore().write(1), lambda: ResultStore().exists("k")):
            with pytest.raises(ValueError, match="Unable to find a file system for 'nonsense://x'"):
                use()
    with temporary_settings({"results.default_storage": "s3://x"}), pytest.raises(StorageDriverMissing):
        ResultStore().exists("k")


@pytest.mark.contract("R-15")
def test_resolve_storage(tmp_path: Path) -> None:
    """A file system is taken as it is; paths and addresses stand for one; anything else is a TypeError."""
    system = NullFileSystem()
    assert resolve_result_storage(system) is system
    assert resolve_result_storage(tmp_path) == LocalFileSystem(tmp_path)
    assert resolve_result_storage(f"file://{tmp_path}") == resolve_result_storage(str(tmp_path))
    assert resolve_result_storage("memory://x") == RemoteFileSystem("memory://x")
    with pytest.raises(TypeError, match=r"path or address of one was expected, not 3"):
        resolve_result_storage(3)


@pytest.mark.contract("R-16")
def test_resolve_serializer() -> None:
    """A serializer is taken as it is, a type stands for one, anything else is a TypeError."""
    serializer = CompressedJSONSerializer()
    assert resolve_serializer(serializer) is serializer
    assert resolve_serializer("compressed/json") == serializer
    with pytest.raises(TypeError, match=r"was expected for results, not 3"):
        resolve_serializer(3)


@pytest.mark.contract("R-18")
def test_default_settings() -> None:
    """Two settings say what is the serializer and whether results are kept: pickle, and no."""
    assert get_default_result_serializer() == PickleSerializer()
    assert get_default_persist_setting() is False
    with temporary_settings({"results.persist_by_default": True, "results.default_serializer": "msgpack"}):
        assert get_default_persist_setting() is True
        assert get_default_result_serializer().type == "msgpack"


@pytest.mark.parametrize(
    ("task_says", "flow_says", "settings", "expected"),
    [
        (True, False, {}, True),
        (False, True, {"tasks.default_persist_result": True}, False),
        (None, True, {"tasks.default_persist_result": False}, True),
        (None, None, {"tasks.default_persist_result": True}, True),
        (None, None, {"tasks.default_persist_result": False, "results.persist_by_default": True}, False),
        (None, None, {"results.persist_by_default": True}, True),
        (None, None, {}, False),
    ],
)
def test_who_decides_about_keeping(task_says: Any, flow_says: Any, settings: Any, expected: bool) -> None:
    """The task decides, else the flow, else the setting for tasks, else the one for all."""
    with (
        temporary_settings(settings),
        FlowRunContext(persist_result=flow_says),
        task_run(persist_result=task_says),
    ):
        assert should_persist_result() is expected


def test_the_setting_for_tasks_is_not_for_flows() -> None:
    """In a flow run, outside of its tasks, the setting for all counts."""
    with temporary_settings({"tasks.default_persist_result": True}):
        assert should_persist_result() is True
        with FlowRunContext():
            assert should_persist_result() is False


# Writing and reading


@pytest.mark.contract("R-20", "R-22")
def test_write_and_read() -> None:
    """What is written is read as an equal record; without a key it gets a new one, without a storage the default."""
    store = ResultStore()
    written = store.write({"a": 1})
    assert written.is_persisted
    found = store.read(written.storage_key or "")
    assert found == written
    assert found.is_persisted
    key = get_default_result_storage().relative_path(written.storage_key or "")
    assert get_default_result_storage().resolve_path(key) == written.storage_key
    assert store.read(key) == written


@pytest.mark.contract("R-20", "R-21", "R-23", "R-28")
def test_async_twins(store: ResultStore) -> None:
    """The async methods do what the sync ones do, also with the metadata elsewhere."""

    async def use(store: ResultStore) -> list[Any]:
        written = await store.awrite("x", key="k")
        await store.apersist_result_record(store.create_result_record("y", key="l"))
        read = [(await store.aread(key)).result for key in "kl"]
        return [written.is_persisted, read, await store.aexists("k"), await store.aexists("m")]

    expected = [True, ["x", "y"], True, False]
    assert asyncio.run(use(store)) == expected
    apart = ResultStore(store.result_storage, metadata_storage=Recording())
    assert asyncio.run(use(apart)) == expected


@pytest.mark.contract("R-21")
def test_forms_of_write(store: ResultStore, time: JumpingClock) -> None:
    """Keywords, the value first, or the key first if the value is no text."""
    later = clock.to_datetime(time.now()) + timedelta(seconds=1)
    store.write(obj=1, key="a", expiration=later, holder="me")
    store.write([2], "b", later)
    store.write("c", [3], later)
    store.write("text", "d")
    assert [store.read(key).result for key in "abcd"] == [1, [2], [3], "text"]
    assert {store.read(key).expiration for key in "abc"} == {later}


@pytest.mark.contract("R-23")
def test_persist_record(store: ResultStore) -> None:
    """A record is written under its key, and only then."""
    record = store.create_result_record([1], key="a/b")
    assert not store.exists("a/b")
    assert not record.is_persisted
    store.persist_result_record(record)
    assert record.is_persisted
    assert store.read("a/b") == record


@pytest.mark.contract("R-29")
def test_create_record(folder: Path, time: JumpingClock) -> None:
    """A record says how and where it is to be kept: the serializer, the expiration, the absolute path."""
    later = clock.to_datetime(time.now())
    store = ResultStore(folder, serializer="json")
    metadata = store.create_result_record(1, key="a/b", expiration=later).metadata
    assert metadata.storage_key == str(folder / "a" / "b")
    assert (metadata.serializer, metadata.expiration) == (JSONSerializer(), later)
    assert ResultStore(NullFileSystem()).create_result_record(1, key="a/b").storage_key == "a/b"


def test_storage_that_keeps_nothing() -> None:
    """Results in a storage that keeps nothing are missing."""
    store = ResultStore(NullFileSystem())
    written = store.write(1, key="k")
    assert not store.exists("k")
    with pytest.raises(StoragePathMissing):
        store.read("k")
    with pytest.raises(MissingResult):
        written.metadata.get()


def test_record_without_a_key(store: ResultStore) -> None:
    """A record that was not made by a store cannot be kept."""
    with pytest.raises(ConfigurationError, match="no storage key"):
        store.persist_result_record(ResultRecord(1))


def test_nothing_is_written_that_cannot_be_read(store: ResultStore, folder: Path) -> None:
    """A value that the serializer cannot handle leaves no file."""
    with pytest.raises(SerializationError):
        ResultStore(folder, serializer="json").write(object(), key="k")
    assert not folder.exists()


@pytest.mark.contract("R-69")
@pytest.mark.parametrize(
    "serializer", ["json", JSONSerializer(dumps_kwargs={"indent": 1}), "compressed/pickle", "msgpack"]
)
def test_serializers_of_tasks(store: ResultStore, serializer: Any) -> None:
    """A task may name its serializer or bring it; the file records its configuration."""
    written = store.update_for_task(task(result_serializer=serializer)).write([1], key="k")
    expected = resolve_serializer(serializer)
    content = json.loads(Path(written.storage_key or "").read_text())
    assert content["metadata"]["serializer"] == expected.configuration()
    assert store.read("k").result == [1]


@pytest.mark.contract("SZ-16")
def test_reader_needs_no_serializer(folder: Path) -> None:
    """What wrote a record reads it, whatever the reader writes with."""
    ResultStore(folder, serializer=JSONSerializer(dumps_kwargs={"indent": 3})).write((1,), key="k")
    found = ResultStore(folder, serializer="msgpack").read("k")
    assert found.result == [1]
    assert found.serializer == JSONSerializer(dumps_kwargs={"indent": 3})


# Existence


@pytest.mark.contract("R-28", "W-4")
def test_a_damaged_record_is_no_missing_one(store: ResultStore, folder: Path) -> None:
    """Something under the key that is no record is an error that names it, so nobody computes over it unnoticed."""
    store.write(1, key="k")
    (folder / "k").write_bytes(b"{")
    with pytest.raises(SerializationError, match=r"'k'.*damaged"):
        store.exists("k")


@pytest.mark.contract("R-28")
def test_exists(store: ResultStore, folder: Path, time: JumpingClock) -> None:
    """A record exists until it expires; one that cannot be read does not exist."""
    assert not store.exists("k")
    store.write(1, key="k", expiration=clock.to_datetime(time.now()) + timedelta(seconds=1))
    assert store.exists("k")
    time.advance(1)
    assert not store.exists("k")
    (folder / "folder").mkdir()
    assert not store.exists("folder")


@pytest.mark.contract("R-28")
def test_exists_survives_any_error_of_a_storage() -> None:
    """Whatever a storage raises, the answer is no."""
    assert not ResultStore(Recording()).exists("k")


@pytest.mark.contract("R-74", "R-78")
def test_existence_costs_no_payload() -> None:
    """Whether a large record exists is told by its first few kilobytes."""
    storage = Recording()
    store = ResultStore(storage)
    store.write(b"x" * 5_000_000, key="k")
    storage.read.clear()
    assert store.exists("k")
    assert [size for _, size in storage.read] == [4096]


@pytest.mark.contract("R-28", "R-74")
def test_metadata_elsewhere() -> None:
    """With a metadata storage the payload is stored alone, and not looked at for existence."""
    payloads, keys = Recording(), Recording()
    store = ResultStore(payloads, metadata_storage=keys, serializer="json")
    written = store.write([1], key="k")
    assert payloads.kept == {"k": b"[1]"}
    assert json.loads(keys.kept["k"])["is_separate"] is True
    assert store.exists("k")
    assert payloads.read == []
    assert store.read("k") == written


def test_metadata_elsewhere_is_found_by_path(store: ResultStore) -> None:
    """An absolute path inside of the storage has the same metadata as the key that it comes from."""
    apart = ResultStore(store.result_storage, metadata_storage=Recording())
    written = apart.write(1, key="a/b")
    assert apart.exists(written.storage_key or "")
    assert apart.read(written.storage_key or "") == written


# Records in memory


@pytest.mark.contract("R-74")
def test_records_are_kept_in_memory(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that did not change is read from the disk once."""
    age(Path(store.write([1], key="k").storage_key or ""))
    first = store.read("k").result
    monkeypatch.setattr(LocalFileSystem, "read_path", None)
    monkeypatch.setattr(LocalFileSystem, "read_head", None)
    second = store.read("k").result
    assert store.exists("k")
    assert first == second == [1]
    assert first is not second  # what one reader does to it reaches nobody else


@pytest.mark.contract("R-74")
def test_changed_records_are_read_again(store: ResultStore, folder: Path) -> None:
    """What another process writes or removes is seen at once."""
    store.write(1, key="k")
    age(folder / "k")
    assert store.read("k").result == 1
    assert len(store.cache) == 1
    ResultStore(folder).write(2, key="k")
    age(folder / "k")
    assert store.read("k").result == 2
    (folder / "k").unlink()
    assert not store.exists("k")
    with pytest.raises(StoragePathMissing):
        store.read("k")


@pytest.mark.contract("R-74")
def test_expired_records_are_dropped(store: ResultStore, folder: Path, time: JumpingClock) -> None:
    """A kept record past its expiration is dropped, and the file is read again."""
    store.write(1, key="k", expiration=clock.to_datetime(time.now()) + timedelta(seconds=1))
    age(folder / "k")
    store.read("k")
    assert str(folder / "k") in store.cache
    time.advance(1)
    assert store.read("k").result == 1
    assert str(folder / "k") not in store.cache


@pytest.mark.contract("R-74")
def test_least_used_records_are_dropped() -> None:
    """Of too many or too long records, those that were not used for longest are dropped."""
    cache = RecordCache(maximum_records=2, maximum_bytes=100)
    for name in "abc":
        cache.put(name, KeptRecord(1, b"x", b"y"))
        cache.get("a", 1)
    assert ["a" in cache, "b" in cache, "c" in cache] == [True, False, True]
    cache.put("d", KeptRecord(1, b"x" * 99, None))
    assert (len(cache), "d" in cache) == (1, True)
    assert cache.get("d", 2) is None
    cache.put("e", KeptRecord(1, b"", b"x" * 2**21))
    assert len(cache) == 0


def test_nothing_is_kept_in_memory_if_so_told(folder: Path) -> None:
    """A store that keeps nothing in memory keeps no records."""
    store = ResultStore(folder, cache_result_in_memory=False)
    store.write(1, key="k")
    age(folder / "k")
    assert store.read("k").result == 1
    assert store.exists("k")
    assert len(store.cache) == 0


# Keys


@pytest.mark.contract("R-30", "R-31")
def test_templates() -> None:
    """A storage key is a format with the parameters and the facts about the runs, rendered in the run."""
    store = ResultStore().update_for_task(task(result_storage_key="{flow_run.flow_name}/{parameters[x]}"))
    flow_context = FlowRunContext(flow=flow(), flow_run=None, parameters={"x": "of the flow"})
    for x in (1, 2):
        with flow_context.model_copy(), task_run({"x": x, "y": [1]}):
            assert store.storage_key_fn() == f"f/{x}"
            assert render_storage_key("{task_run.name}-{parameters[y][0]}") == "run-1-1"
    assert set(runtime.__all__) == {"flow_run", "task_run"}


@pytest.mark.parametrize(
    "template", ["{parameters[nonsense]}", "{nonsense}", "{task_run.nonsense}", "{", "{0}"]
)
def test_templates_with_unknown_names(template: str) -> None:
    """A name that there is not is an error that lists those there are."""
    with task_run({"x": 1}), pytest.raises(ConfigurationError, match=r"flow_run, parameters, task_run.*'x'"):
        render_storage_key(template)


@pytest.mark.contract("R-80")
@pytest.mark.parametrize("value", ["../x", "a/../../x", "/etc/passwd", "", "a\0", "..", "/"])
def test_templates_stay_inside(value: str) -> None:
    """A key that leads out of the storage, whatever a parameter says, is refused."""
    with task_run({"x": value}), pytest.raises(ConfigurationError, match="outside of the base path"):
        render_storage_key("{parameters[x]}")


@pytest.mark.contract("R-80")
@pytest.mark.parametrize("storage", ["memory://base", "folder"])
@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd"])
def test_keys_stay_inside(storage: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is given leads nowhere outside of the storage either."""
    monkeypatch.chdir(tmp_path)
    store = ResultStore(storage)
    if storage == "folder" or ".." in key:
        with pytest.raises(ConfigurationError, match="outside of the base path"):
            store.write(1, key=key)
    else:  # there are no absolute paths in an address
        assert store.write(1, key=key).storage_key == "memory://base/etc/passwd"


@pytest.mark.contract("R-33")
def test_keys_are_texts(folder: Path) -> None:
    """A key function that gives something else is a TypeError."""
    store = ResultStore(folder, storage_key_fn=lambda: 3)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="has to be a text, not 3"):
        store.create_result_record(1)


@pytest.mark.contract("R-27")
def test_parameters(store: ResultStore, folder: Path) -> None:
    """Arguments for another process are kept in a folder of their own."""
    one, two = uuid4(), uuid4()

    async def use() -> dict[str, Any]:
        await store.astore_parameters(two, {"y": 2})
        return await store.aread_parameters(two)

    store.store_parameters(one, {"x": 1})
    assert (folder / "parameters" / str(one)).is_file()
    assert store.read_parameters(one) == {"x": 1}
    assert asyncio.run(use()) == {"y": 2}


# Locks


@pytest.fixture
def locked(folder: Path) -> Iterator[ResultStore]:
    """A store with a lock manager, on which `someone` holds the lock of `k`."""
    store = ResultStore(folder, lock_manager=MemoryLockManager())
    assert store.acquire_lock("k", "someone")
    yield store
    if store.is_lock_holder("k", "someone"):
        store.release_lock("k", "someone")


@pytest.mark.contract("TX-57")
def test_locks_need_a_manager(store: ResultStore) -> None:
    """Without a lock manager every method about locks is a configuration error."""
    methods: list[Any] = [
        store.acquire_lock,
        store.release_lock,
        store.is_locked,
        store.is_lock_holder,
        store.wait_for_lock,
    ]
    for method in methods:
        with pytest.raises(ConfigurationError, match="no lock manager"):
            method("k")
    for wait in (store.aacquire_lock, store.await_for_lock):
        with pytest.raises(ConfigurationError, match="no lock manager"):
            asyncio.run(wait("k"))


@pytest.mark.contract("TX-57")
def test_isolation_levels(store: ResultStore, locked: ResultStore) -> None:
    """Only a store with a lock manager has SERIALIZABLE transactions; other levels are a ValueError."""
    assert store.supports_isolation_level(IsolationLevel.READ_COMMITTED)
    assert not store.supports_isolation_level(IsolationLevel.SERIALIZABLE)
    assert locked.supports_isolation_level(IsolationLevel.SERIALIZABLE)
    with pytest.raises(ValueError, match="nonsense"):
        locked.supports_isolation_level("nonsense")  # type: ignore[arg-type]


@pytest.mark.contract("TX-57")
def test_locks(locked: ResultStore) -> None:
    """Locks are those of the manager; who is no holder by name is one by thread."""
    assert locked.is_locked("k")
    assert not locked.is_lock_holder("k")
    assert not locked.acquire_lock("k", timeout=0)
    assert not locked.wait_for_lock("k", timeout=0)
    locked.release_lock("k", "someone")
    assert locked.acquire_lock("k", timeout=0)
    assert locked.is_lock_holder("k")
    locked.release_lock("k")
    assert not locked.is_locked("k")


@pytest.mark.contract("TX-57")
def test_async_locks(locked: ResultStore) -> None:
    """The async methods use the same locks."""

    async def use() -> list[bool]:
        found = [await locked.aacquire_lock("k", timeout=0), await locked.await_for_lock("k", timeout=0)]
        locked.release_lock("k", "someone")
        return [*found, await locked.await_for_lock("k"), await locked.aacquire_lock("k", "someone")]

    assert asyncio.run(use()) == [False, False, True, True]


def test_foreign_locks_keep_writers_away(locked: ResultStore) -> None:
    """Only the holder of the lock may write."""
    with pytest.raises(LockedByAnother, match="'k'"):
        locked.write(1, key="k")
    with pytest.raises(LockedByAnother):
        asyncio.run(locked.awrite(1, key="k"))
    locked.write(1, key="k", holder="someone")
    locked.write(2, key="l")
    assert locked.read("k", holder="someone").result == 1


def test_readers_wait_for_foreign_locks(locked: ResultStore) -> None:
    """Who reads a locked key gets what its holder has written."""

    async def use() -> Any:
        reading = asyncio.ensure_future(locked.aread("k"))
        await asyncio.sleep(0)
        assert not reading.done()
        await locked.awrite("new", key="k", holder="someone")
        assert not reading.done()
        locked.release_lock("k", "someone")
        return (await reading).result

    locked.write("old", key="k", holder="someone")
    assert asyncio.run(use()) == "new"


def test_serializer_is_generic() -> None:
    """A serializer of the user's for one type fits a store."""

    class Numbers(Serializer[int]):
        type: str = "numbers"

        def dumps(self, obj: int) -> bytes:
            return str(obj).encode()

        def loads(self, blob: bytes) -> int:
            return int(blob)

    store = ResultStore(serializer=Numbers())
    assert store.read(store.write(3).storage_key or "").result == 3
