"""Storages that refuse, fail or forget, and records that are not what they were: what a store says about them.

What is damaged is an error that names the key and says what to do, what is gone is missing, and nothing of either is
ever taken for a value. What the runs make of it is in ``tests/engine/test_bad_storage.py``.
"""

import asyncio
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mainspring.exceptions import (
    ConfigurationError,
    MissingResult,
    SerializationError,
    StorageError,
    StoragePathMissing,
)
from mainspring.filesystems import LocalFileSystem, WritableFileSystem
from mainspring.results import ResultRecordMetadata, ResultStore
from mainspring.serializers import PickleSerializer, Serializer

ADVICE = "neither used nor computed again. Delete it, or run with `refresh_cache=True`"
SERIALIZERS = ["pickle", "json", "msgpack", "compressed/json"]

Read = Callable[[ResultStore], Any]
READS = pytest.mark.parametrize(
    "read",
    [lambda store: store.read("k"), lambda store: asyncio.run(store.aread("k"))],
    ids=["sync", "async"],
)
EXISTS = pytest.mark.parametrize(
    "exists",
    [lambda store, key="k": store.exists(key), lambda store, key="k": asyncio.run(store.aexists(key))],
    ids=["sync", "async"],
)


class Plain(WritableFileSystem):
    """What a user writes in five minutes: a dict that raises what Python raises for missing files."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def read_path(self, path: str) -> bytes:
        try:
            return self.kept[path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None

    def write_path(self, path: str, content: bytes) -> str:
        self.kept[path] = content
        return path


class FullDisk(LocalFileSystem):
    """A folder on a disk that has room for nothing more."""

    def write_path(self, path: str, content: bytes) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


# Damaged records


@pytest.mark.contract("R-28", "R-44", "R-79")
@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_no_part_of_a_record_is_a_record(folder: Path, serializer: str) -> None:
    """However much is cut off a file, its key is neither free nor does it give a value: there is an error."""
    store = ResultStore(folder, serializer=serializer, cache_result_in_memory=False)
    store.write({"rows": [1, 2]}, key="k")
    whole = (folder / "k").read_bytes()
    for length in range(len(whole)):
        (folder / "k").write_bytes(whole[:length])
        with pytest.raises(SerializationError, match=r"under 'k' in Local.*is damaged") as caught:
            store.read("k")
        assert ADVICE in str(caught.value)
        if b"\n" in whole[:length]:  # the description is whole, and there is something under the key
            assert store.exists("k")
        else:
            with pytest.raises(SerializationError, match=r"under 'k' in Local.*is damaged"):
                store.exists("k")


@READS
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 512,
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"metadata":{}}',
        b'{"metadata":7,\n"result":"1"}',
    ],
    ids=["empty", "zeros", "no text", "null", "list", "no keys", "no result", "odd metadata"],
)
def test_a_file_that_is_no_record(store: ResultStore, folder: Path, content: bytes, read: Read) -> None:
    """Whatever lies under the key, reading it is an error that names key and storage, and says what to do."""
    folder.mkdir()
    (folder / "k").write_bytes(content)
    with pytest.raises(SerializationError, match="result under 'k' in LocalFileSystem") as caught:
        read(store)
    assert ADVICE in str(caught.value)
    assert (folder / "k").read_bytes() == content


@READS
@pytest.mark.parametrize("apart", [False, True])
def test_a_value_that_cannot_be_loaded(folder: Path, apart: bool, read: Read) -> None:
    """A record whose value is spoilt, or of a class that is gone, is told like one that is damaged."""
    store = ResultStore(folder, folder / "keys" if apart else None, cache_result_in_memory=False)
    store.write({"rows": [1, 2]}, key="k")
    path = folder / "k"
    payload = PickleSerializer().dumps({"rows": [1, 2]})
    assert payload in path.read_bytes()
    spoilt = payload[:-12] + b"AAAA" * 3
    path.write_bytes(path.read_bytes().replace(payload, spoilt))
    assert store.exists("k")
    with pytest.raises(
        SerializationError, match=r"under 'k' .*cannot be loaded.*serializer 'pickle'"
    ) as caught:
        read(store)
    assert ADVICE in str(caught.value)


@pytest.mark.contract("SZ-22", "R-75")
@READS
def test_a_record_of_an_unknown_serializer(store: ResultStore, folder: Path, read: Read) -> None:
    """It exists and can be looked at; reading its value is an error that names the file and the serializer."""

    class Homemade(Serializer[Any]):
        type: str = "homemade"
        secret: int = 7

        def dumps(self, obj: Any) -> bytes:
            return repr(obj).encode()

        def loads(self, blob: bytes) -> Any:
            return eval(blob)

    ResultStore(folder, serializer=Homemade()).write([1], key="k")
    text = (folder / "k").read_text()
    (folder / "k").write_text(text.replace('"homemade"', '"elsewhere"'))
    assert store.exists("k")
    with pytest.raises(
        RuntimeError, match=r"under 'k' .*cannot be loaded.*'elsewhere'.*the module that defines it"
    ):
        read(store)
    metadata = ResultRecordMetadata.load_bytes(json.dumps(json.loads((folder / "k").read_text())["metadata"]))
    assert metadata.serializer.configuration() == {"type": "elsewhere", "secret": 7}


@pytest.mark.contract("R-42", "R-44")
def test_a_record_of_another_version(store: ResultStore, folder: Path) -> None:
    """Who wrote a record is told, and does not matter; what a later version says besides is passed over."""
    written = store.write([1], key="k")
    content = json.loads((folder / "k").read_text())
    content["metadata"] |= {"mainspring_version": "99.0", "colour": "blue"}
    (folder / "k").write_text(json.dumps(content | {"checksum": "abc"}))
    assert store.exists("k")
    found = store.read("k")
    assert found.result == [1]
    assert found.metadata.mainspring_version == "99.0" != written.metadata.mainspring_version


@pytest.mark.contract("SZ-24")
def test_a_record_of_another_pickle_library(store: ResultStore, folder: Path) -> None:
    """A value that another version of the library wrote is loaded, with a warning."""
    store.write([1], key="k")
    content = json.loads((folder / "k").read_text())
    content["metadata"]["serializer"]["picklelib_version"] = "0.0.1"
    (folder / "k").write_text(json.dumps(content))
    with pytest.warns(UserWarning, match=r"cloudpickle 0\.0\.1 meets version"):
        assert store.read("k").result == [1]


# Storages that refuse


@pytest.mark.parametrize("cause", ["a file in its place", "a folder under the key"])
def test_a_storage_that_cannot_be_written(tmp_path: Path, cause: str) -> None:
    """The error names the path, what is there stays, and nothing is left half written."""
    folder = tmp_path / "results"
    if cause == "a file in its place":
        folder.write_text("mine")
    else:
        (folder / "k").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    store = ResultStore(folder)
    for write in (store.write, lambda *given: asyncio.run(store.awrite(*given))):
        with pytest.raises(StorageError, match=f"Cannot write '{folder / 'k'}'"):
            write([1], "k")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_leaves_the_older_result(folder: Path) -> None:
    """What was kept under the key before a write that fails is still whole."""
    ResultStore(folder).write("old", key="k")
    store = ResultStore(FullDisk(folder))
    with pytest.raises(OSError, match="No space left"):
        store.write("new", key="k")
    record = store.create_result_record("new", key="k")
    with pytest.raises(OSError, match="No space left"):
        asyncio.run(store.apersist_result_record(record))
    assert not record.is_persisted
    assert ResultStore(folder).read("k").result == "old"


def test_a_write_that_ends_in_the_middle(folder: Path) -> None:
    """Where the system stops a write half way, the older result stays whole and no other file does."""
    program = f"""
import resource
from mainspring.exceptions import StorageError
from mainspring.results import ResultStore
store = ResultStore({str(folder)!r})
store.write("old", key="k")
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    store.write("x" * 100_000, key="k")
except StorageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"Cannot write '{folder / 'k'}'")
    assert [path.name for path in folder.iterdir()] == ["k"]
    assert ResultStore(folder).read("k").result == "old"


# Storages that forget


@pytest.mark.contract("R-28")
@EXISTS
def test_a_folder_that_is_gone(store: ResultStore, folder: Path, exists: Any) -> None:
    """Its results are missing, as those are that were never there; writing makes it again."""
    written = store.write([1], key="k")
    os.utime(folder / "k", (1, 1))
    assert exists(store)
    shutil.rmtree(folder)
    assert not exists(store)
    with pytest.raises(StoragePathMissing, match=f"'{folder / 'k'}' does not exist"):
        store.read("k")
    with pytest.raises(MissingResult, match="could not be written, which the log of its run tells"):
        written.metadata.copy().get()
    store.write([2], key="k")
    assert store.read("k").result == [2]


@READS
def test_a_folder_that_was_moved(store: ResultStore, folder: Path, tmp_path: Path, read: Read) -> None:
    """Its results are found where they are now, also by whoever gets the metadata from such a run."""
    store.write([1], key="k")
    folder.rename(tmp_path / "moved")
    found = read(ResultStore(tmp_path / "moved"))
    assert found.storage_key == str(tmp_path / "moved" / "k")
    assert ResultRecordMetadata.load_bytes(found.serialize_metadata()).get() == [1]


@READS
def test_a_value_that_is_gone_while_its_metadata_is_not(folder: Path, read: Read) -> None:
    """The error says which of the two is there, and how to compute the value again."""
    store = ResultStore(folder / "values", metadata_storage=folder / "keys")
    store.write([1], key="k")
    (folder / "values" / "k").unlink()
    with pytest.raises(StoragePathMissing, match=r"under 'k'.*the result is gone.*refresh_cache=True"):
        read(store)


@pytest.mark.contract("R-28", "R-57")
@EXISTS
def test_a_storage_may_say_missing_as_python_does(exists: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A file system of the user's that raises FileNotFoundError has no result there, which is no reason to warn."""
    store = ResultStore(Plain())
    assert not exists(store)
    assert caplog.records == []
    metadata = store.write([1], key="k").metadata
    assert exists(store)
    store.result_storage.kept.clear()  # type: ignore[union-attr]
    for get in (metadata.get, lambda: asyncio.run(metadata.aget())):
        with pytest.raises(MissingResult, match="'k'"):
            get()


def test_a_slow_storage_of_keys_is_asked_in_a_thread(folder: Path) -> None:
    """Also where the results themselves are quick to be read, as those in the history are."""
    asked: list[int] = []

    class Watched(LocalFileSystem):
        def read_path(self, path: str) -> bytes:
            asked.append(threading.get_ident())
            return super().read_path(path)

    class Quick(LocalFileSystem):
        is_quick = True

    async def main() -> list[int]:
        store = ResultStore(Quick(folder / "values"), metadata_storage=Watched(folder / "keys"))
        await store.awrite([1], "k")
        assert await store.aexists("k")
        assert (await store.aread("k")).result == [1]
        return asked

    assert len(asyncio.run(main())) == 2
    assert threading.get_ident() not in asked


# Keys that no storage could have


@pytest.mark.contract("R-80")
@EXISTS
@pytest.mark.parametrize("key", ["", ".", "../k", "a/../../k", "/elsewhere/k", "a\0b", "\ud800"], ids=ascii)
def test_a_key_that_cannot_be_is_refused_at_once(store: ResultStore, key: str, exists: Any) -> None:
    """When it is looked up as when it is written: so nobody computes a value that cannot be kept."""
    with pytest.raises(ConfigurationError, match="storage key"):
        exists(store, key)
    with pytest.raises(ConfigurationError, match="storage key"):
        store.create_result_record(1, key=key)


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    """Where a result is has to be told in the history, and what is no text cannot be."""
    store = ResultStore(tmp_path / os.fsdecode(b"r\xe9sultats"))
    with pytest.raises(ConfigurationError, match=r"cannot be used in LocalFileSystem.*surrogates"):
        store.create_result_record(1, key="k")


@pytest.mark.contract("R-33")
@pytest.mark.parametrize("answer", [None, 7, b"k"])
def test_a_key_function_that_gives_no_text(folder: Path, answer: Any) -> None:
    """It is named in a TypeError, and nothing is written."""

    def keys() -> Any:
        return answer

    store = ResultStore(folder, storage_key_fn=keys)
    with pytest.raises(TypeError, match=r"has to be a text.*keys"):
        store.write([1])
    assert not folder.exists()


# Values that cannot be kept


@pytest.mark.contract("R-47")
@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_an_unserializable_value(folder: Path, serializer: str) -> None:
    """The error names the types of value and serializer, says what else to do, and is told in whole sentences."""

    class Stubborn:
        def __reduce__(self) -> Any:
            raise TypeError("no pickles.")

    store = ResultStore(folder, serializer=serializer)
    with pytest.raises(
        SerializationError, match=r"'Stubborn'.*result_serializer.*persist_result=False"
    ) as caught:
        store.write(Stubborn(), key="k")
    assert repr(serializer) in str(caught.value)
    assert ".." not in str(caught.value)
    assert caught.value.__cause__ is not None
    assert not folder.exists()


@pytest.mark.contract("R-47")
@pytest.mark.parametrize("answer", [None, "text"])
def test_a_serializer_that_gives_no_bytes(folder: Path, answer: Any) -> None:
    """It is told what it returned, as soon as a value is to be written."""

    class Odd(Serializer[Any]):
        type: str = "odd"

        def dumps(self, obj: Any) -> bytes:
            return answer  # type: ignore[no-any-return]

        def loads(self, blob: bytes) -> Any:
            return blob

    with pytest.raises(
        SerializationError, match=rf"serializer 'odd'.*returned {answer!r}, which is no bytes"
    ):
        ResultStore(folder, serializer=Odd()).write([1], key="k")
    assert not folder.exists()
