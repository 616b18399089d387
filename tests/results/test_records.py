"""Records: a value and what is known about it, as bytes and as the data of a state."""

import asyncio
import json
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import mainspring
from mainspring import clock
from mainspring.context import TaskRunContext
from mainspring.exceptions import MissingResult, SerializationError, StorageError
from mainspring.records.layout import read_metadata
from mainspring.results import ResultRecord, ResultRecordMetadata, ResultStore
from mainspring.serializers import (
    CompressedSerializer,
    JSONSerializer,
    MessagePackSerializer,
    PickleSerializer,
    Serializer,
    UnknownSerializer,
)
from mainspring.states import Completed, StoredResult
from tests.engine.clocks import JumpingClock

LATER = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
SERIALIZERS = [
    PickleSerializer(),
    JSONSerializer(),
    MessagePackSerializer(),
    CompressedSerializer(serializer="msgpack", compressionlib="zlib"),
]
for_each_serializer = pytest.mark.parametrize("serializer", SERIALIZERS, ids=lambda each: each.type)


def record(value: Any = 3, **fields: Any) -> ResultRecord[Any]:
    return ResultRecord(value, ResultRecordMetadata(**{"storage_key": "k", **fields}))


# Metadata


@pytest.mark.contract("R-42")
def test_metadata_defaults() -> None:
    """Nothing has to be said about a result; what is left out is the pickle serializer and our version."""
    metadata = ResultRecordMetadata()
    assert (metadata.storage_key, metadata.expiration, metadata.storage_block_id) == (None, None, None)
    assert metadata.serializer == PickleSerializer()
    assert metadata.mainspring_version == mainspring.__version__


@pytest.mark.contract("R-42")
@for_each_serializer
def test_metadata_round_trip(serializer: Serializer[Any]) -> None:
    """Metadata as JSON is read as equal metadata."""
    metadata = ResultRecordMetadata("a/b", LATER, serializer, "9.9", "block", is_separate=True)
    written = metadata.dump_bytes()
    assert json.loads(written)["serializer"] == serializer.configuration()
    assert ResultRecordMetadata.load_bytes(written) == metadata
    assert ResultRecordMetadata.load_bytes(written.decode()) == metadata != ResultRecordMetadata("a/b")


def test_metadata_that_was_found_is_written_as_it_was() -> None:
    """Metadata that is read and written again is the same, unless it was changed or laid out in several lines."""
    described = b'{"storage_key":"a","serializer":{"type":"json"},"mainspring_version":"0.1","more":1}'
    found = ResultRecordMetadata.load_bytes(described)
    assert found.dump_bytes() == described
    found.storage_key = "b"
    assert json.loads(found.dump_bytes())["storage_key"] == "b"
    assert json.loads(found.dump_bytes())["mainspring_version"] == "0.1"
    in_lines = ResultRecordMetadata.load_bytes(described.replace(b",", b",\n"))
    assert b"\n" not in in_lines.dump_bytes()


def test_naive_expiration_is_utc() -> None:
    """An expiration without a time zone is one in UTC."""
    assert ResultRecordMetadata(expiration=LATER.replace(tzinfo=None)).expiration == LATER


def test_expiration(time: JumpingClock) -> None:
    """A result is expired from the very moment of its expiration on."""
    now = clock.to_datetime(time.now())
    metadata = ResultRecordMetadata(expiration=now + timedelta(seconds=1))
    assert not metadata.is_expired
    time.advance(1)
    assert metadata.is_expired
    assert not ResultRecordMetadata().is_expired


@pytest.mark.parametrize("data", [b"", b"[]", b"3", b'{"expiration": "soon"}', b'{"serializer": 3}', b"\xff"])
def test_metadata_of_something_else(data: bytes) -> None:
    """What is no metadata is an error."""
    with pytest.raises(SerializationError, match="not the metadata of a result"):
        ResultRecordMetadata.load_bytes(data)


@pytest.mark.contract("R-75", "SZ-22")
def test_metadata_with_an_unknown_serializer() -> None:
    """Metadata with a serializer that is not known can be looked at and written; only loading the value fails."""
    described = {"storage_key": "k", "serializer": {"type": "nonsense", "depth": 3}}
    metadata = ResultRecordMetadata.load_bytes(json.dumps(described))
    assert isinstance(metadata.serializer, UnknownSerializer)
    assert json.loads(metadata.dump_bytes())["serializer"] == described["serializer"]
    with pytest.raises(RuntimeError, match=r"'nonsense'.*not known"):
        ResultRecord.deserialize_from_result_and_metadata(b"x", metadata.dump_bytes())


def test_serializer_with_options_that_are_no_json() -> None:
    """A serializer whose options cannot be written is an error that names it."""
    serializer = JSONSerializer(dumps_kwargs={"cls": json.JSONEncoder})
    with pytest.raises(SerializationError, match="options of the serializer JSONSerializer"):
        record(serializer=serializer).serialize()


# Records


@pytest.mark.contract("R-41", "R-48")
def test_record_has_shortcuts() -> None:
    """A record gives what its metadata says, and is equal to one with equal metadata and result."""
    one = record([1], expiration=LATER, serializer=JSONSerializer())
    assert (one.expiration, one.serializer, one.storage_key) == (LATER, JSONSerializer(), "k")
    assert one == record([1], expiration=LATER, serializer=JSONSerializer())
    assert one != record([2], expiration=LATER, serializer=JSONSerializer())
    assert one != record([1], serializer=JSONSerializer())
    assert one != [1]
    assert ResultRecord(1).metadata == ResultRecordMetadata()


@pytest.mark.contract("R-48")
def test_persisted() -> None:
    """A record knows whether it is in its storage, and describes where it is or will be."""
    one = record()
    assert not one.is_persisted
    before = one.describe()
    one.mark_persisted()
    assert one.is_persisted
    assert one.describe() == before
    assert ResultRecordMetadata.load_bytes(one.describe() or "") == one.metadata
    assert one == record()


@pytest.mark.contract("R-43")
@for_each_serializer
def test_record_is_json(serializer: Serializer[Any]) -> None:
    """A serialized record is JSON with the metadata and the serializer's output as text, or as base64 of it."""
    one = record({"a": '\n"é\u2028'}, serializer=serializer)
    found = json.loads(one.serialize().decode())
    assert json.loads(one.serialize_metadata()) == found["metadata"]
    if serializer.type == "msgpack":
        assert found["encoding"] == "base64"
    else:
        assert found["result"].encode() == one.serialize_result()


@pytest.mark.contract("R-44", "R-46")
@for_each_serializer
@pytest.mark.parametrize("value", [None, False, 0, {}, [], "", "é", {"type": "reference"}])
def test_record_round_trip(serializer: Serializer[Any], value: Any) -> None:
    """A record is read as an equal one, whole or from its two parts."""
    one = record(value, expiration=LATER, serializer=serializer)
    assert ResultRecord.deserialize(one.serialize()) == one
    parts = one.serialize_result(), one.serialize_metadata()
    assert ResultRecord.deserialize_from_result_and_metadata(*parts) == one


@pytest.mark.contract("R-44")
def test_flat_records() -> None:
    """The old layout, everything in one object, is read, too."""
    flat = {
        "data": '{"a": 1}',
        "serializer": {"type": "json"},
        "expiration": LATER.isoformat(),
        "mainspring_version": "0.0.1",
    }
    found = ResultRecord.deserialize(json.dumps(flat).encode())
    assert found.result == {"a": 1}
    assert (found.expiration, found.metadata.mainspring_version) == (LATER, "0.0.1")


@pytest.mark.contract("R-45")
def test_backup_serializer() -> None:
    """Content that is no record is loaded by the backup serializer, into a record with default metadata."""
    content = JSONSerializer().dumps({"metadata": 1})
    found = ResultRecord.deserialize(content, backup_serializer=JSONSerializer())
    assert found.result == {"metadata": 1}
    assert found.metadata == ResultRecordMetadata(serializer=JSONSerializer())
    with pytest.raises(SerializationError):
        ResultRecord.deserialize(content)


@pytest.mark.contract("R-47")
def test_value_that_cannot_be_written() -> None:
    """The error names the type of the value and of the serializer, hints at others, and has the reason as cause."""
    with pytest.raises(
        SerializationError, match=r"type 'object'.*serializer 'json'.*result_serializer.*persist_result=False"
    ) as caught:
        record(object(), serializer=JSONSerializer()).serialize()
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize(
    ("result", "reason"),
    [("gA==", "EOFError|UnpicklingError"), ("!", "Error"), ("", "EOFError")],
)
def test_value_that_cannot_be_loaded(result: str, reason: str) -> None:
    """A damaged value is an error that names the key, the serializer and the reason."""
    content = json.loads(record().serialize()) | {"result": result}
    with pytest.raises(SerializationError, match=f"result at 'k'.*'pickle': .*({reason})"):
        ResultRecord.deserialize(json.dumps(content).encode())


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[1]", b"{}", b'{"metadata":{},"result":"","encoding":"rot13"}', b'{"metadata":{}}'],
)
def test_content_that_is_no_record(content: bytes) -> None:
    """Anything else is an error."""
    with pytest.raises(SerializationError):
        ResultRecord.deserialize(content)


@pytest.mark.contract("R-78")
@pytest.mark.parametrize("key", ["k", "k" * 5000, "k" * 70_000])
def test_metadata_is_at_the_beginning(key: str) -> None:
    """The metadata is read from as much of the beginning as there is of it."""
    one = record("x" * 1_000_000, storage_key=key)
    content, read = one.serialize(), []

    def read_head(size: int) -> bytes:
        read.append(size)
        return content[:size]

    assert ResultRecordMetadata.load_bytes(read_metadata(read_head)) == one.metadata
    assert max(read) < 20 * len(key) + 4097


def test_metadata_of_content_laid_out_by_others() -> None:
    """JSON that somebody has formatted anew is still read."""
    content = json.dumps(json.loads(record().serialize()), indent=2).encode()
    assert ResultRecordMetadata.load_bytes(read_metadata(lambda size: content[:size])) == record().metadata
    assert ResultRecord.deserialize(content) == record()


def test_preparing_fixes_the_value() -> None:
    """A prepared record is stored as it was then, and forgets the bytes once it is stored."""
    one = record([1], serializer=JSONSerializer())
    one.prepare()
    one.result.append(2)
    assert one.serialize_result() == b"[1]"
    one.mark_persisted()
    assert one.serialize_result() == b"[1, 2]"


@pytest.mark.contract("R-69")
def test_compressed_and_custom_serializers(store: ResultStore) -> None:
    """The file has the exact configuration of the serializer, and reading needs nothing else."""

    class Custom(JSONSerializer):
        type: str = "custom-json"
        indent: int = 3

    for serializer in (CompressedSerializer(serializer="json", compressionlib="bz2"), Custom(indent=5)):
        written = ResultStore(store.result_storage, serializer=serializer).write([1], key="k")
        content = json.loads(Path(written.storage_key or "").read_text())
        assert content["metadata"]["serializer"] == serializer.configuration()
        assert store.read("k").serializer == serializer
        assert store.read("k").result == [1]


@pytest.mark.parametrize(
    "value",
    [np.arange(6).reshape(2, 3), pd.DataFrame({"a": [1, 2]}), pl.DataFrame({"a": ["x", None]})],
    ids=lambda value: type(value).__module__,
)
def test_tables(store: ResultStore, value: Any) -> None:
    """Arrays and data frames are kept by the default serializer."""
    store.write(value, key="k")
    found = store.read("k").result
    assert type(found) is type(value)
    assert found.equals(value) if hasattr(value, "equals") else np.array_equal(found, value)


# As the data of states


def test_record_as_data() -> None:
    """A record is a stored result that has its value."""
    one = record(None)
    assert isinstance(one, StoredResult)
    assert one.has_cached_object()
    assert one.get() is None
    assert asyncio.run(one.aget()) is None
    assert Completed(data=one).data is one


def test_metadata_as_data(store: ResultStore) -> None:
    """Metadata that comes back from a state's row loads the value once, from wherever it is told."""
    written = store.write([1], key="a/b")
    metadata = ResultRecordMetadata.load_bytes(written.describe() or "")
    assert isinstance(metadata, StoredResult)
    assert not metadata.has_cached_object()
    assert metadata.get() == [1]
    assert metadata.has_cached_object()
    assert metadata.get() is metadata.get() is asyncio.run(metadata.aget())
    assert ResultRecordMetadata.load_bytes(metadata.describe() or "") == metadata
    fresh = metadata.copy()
    assert not fresh.has_cached_object()
    assert asyncio.run(fresh.aget()) == [1]


def test_metadata_that_keeps_nothing(folder: Path) -> None:
    """Metadata of a store that keeps nothing in memory loads the value each time."""
    store = ResultStore(folder, cache_result_in_memory=False)
    metadata = store.write([1], key="k").metadata
    assert metadata.get() is not metadata.get()
    assert not metadata.has_cached_object()
    assert store.read("k").metadata.keeps_value is False


def test_remote_results(tmp_path: Path) -> None:
    """A result at an address is found by the address alone."""
    written = ResultStore("memory://somewhere/results").write("x", key="k")
    assert written.storage_key == "memory://somewhere/results/k"
    assert ResultRecordMetadata.load_bytes(written.describe() or "").get() == "x"


def test_separate_results(folder: Path, tmp_path: Path) -> None:
    """A result whose metadata is elsewhere is found by the description in the state."""
    written = ResultStore(folder, metadata_storage=tmp_path / "keys").write("x", key="k")
    assert ResultRecordMetadata.load_bytes(written.describe() or "").get() == "x"


def test_relative_keys_belong_to_the_active_run(store: ResultStore) -> None:
    """A key that is no path is read from the storage of the active run."""
    store.write(5, key="k")
    metadata = ResultRecordMetadata("k")
    with TaskRunContext(None, None, result_store=store):  # type: ignore[arg-type]
        assert metadata.get() == 5
    with pytest.raises(MissingResult):
        ResultRecordMetadata("k").get()


def test_missing_results(store: ResultStore) -> None:
    """A result that was removed is missing, with its key and what to think of; so is one without a key."""
    metadata = store.write(1, key="k").metadata
    Path(metadata.storage_key or "").unlink()
    with pytest.raises(MissingResult, match=r"k'.*does not exist.*removed"):
        metadata.get()
    with pytest.raises(MissingResult, match="does not exist"):
        asyncio.run(metadata.aget())
    with pytest.raises(MissingResult, match="no storage key"):
        ResultRecordMetadata().get()


def test_damaged_results(store: ResultStore) -> None:
    """A result whose file is damaged is an error that names the file; a folder in its place, too."""
    metadata = store.write(1, key="k").metadata
    path = Path(metadata.storage_key or "")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(SerializationError, match=f"result at '{path}' cannot be loaded.*damaged"):
        metadata.get()
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match="is not a file"):
        metadata.get()


def test_records_can_be_pickled(store: ResultStore) -> None:
    """Records and metadata travel to other processes."""
    written = store.write([1], key="k")
    assert pickle.loads(pickle.dumps(written)) == written
    assert pickle.loads(pickle.dumps(written.metadata)).get() == [1]
