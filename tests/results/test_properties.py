"""What holds for all values."""

import pickle
from datetime import UTC, datetime
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given

from mainspring.exceptions import SerializationError
from mainspring.records.layout import join_record, read_metadata, split_record
from mainspring.results import ResultRecord, ResultRecordMetadata
from mainspring.serializers import JSONSerializer, MessagePackSerializer, Serializer

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
jsonable = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
hashable = st.recursive(
    scalars
    | st.binary()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.datetimes(timezones=st.just(UTC) | st.none())
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.complex_numbers(allow_nan=False),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
anything = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(hashable, inner, max_size=3) | st.tuples(inner)
    ),
    max_leaves=10,
)
moments = st.none() | st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
metadata = st.builds(
    ResultRecordMetadata,
    storage_key=st.none() | texts,
    expiration=moments,
    serializer=st.sampled_from(["pickle", "json", "msgpack"]).map(lambda kind: Serializer(type=kind)),
    storage_block_id=st.none() | texts,
)


def same(one: Any, other: Any) -> bool:
    """Equal, with equal types all the way down."""
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, list | tuple):
        return all(map(same, one, other))
    if isinstance(one, dict):
        return all(map(same, one, other)) and all(map(same, one.values(), other.values()))
    return True


@given(jsonable)
def test_json_gives_back_what_json_has(value: Any) -> None:
    """Values of the types of JSON come back as they were, also within a record."""
    assert same(JSONSerializer().loads(JSONSerializer().dumps(value)), value)


@given(anything)
def test_message_pack_gives_back_anything(value: Any) -> None:
    """MessagePack keeps every type, whatever is inside of what."""
    assert same(MessagePackSerializer().loads(MessagePackSerializer().dumps(value)), value)


@given(st.dictionaries(st.sampled_from(["__class__", "__exc_type__", "data", "message"]), jsonable))
def test_message_pack_tells_dicts_from_objects(value: dict[str, Any]) -> None:
    """A dict with the keys of a description comes back as the dict."""
    assert MessagePackSerializer().loads(MessagePackSerializer().dumps(value)) == value


@pytest.mark.contract("SZ-13")
@given(st.binary())
def test_json_takes_bytes_of_any_content(value: bytes) -> None:
    """Bytes come back from JSON whatever they are."""
    assert JSONSerializer().loads(JSONSerializer().dumps([value])) == [value]


@pytest.mark.parametrize("kind", ["pickle", "compressed/pickle"])
@given(value=anything)
def test_pickles_give_back_anything(kind: str, value: Any) -> None:
    """Picklable values come back."""
    serializer = Serializer(type=kind)
    assert same(serializer.loads(serializer.dumps(value)), value)


@pytest.mark.contract("R-42")
@given(metadata)
def test_metadata_as_bytes(described: ResultRecordMetadata) -> None:
    """Metadata is read as it was written, in one line."""
    assert b"\n" not in described.dump_bytes()
    assert ResultRecordMetadata.load_bytes(described.dump_bytes()) == described


@pytest.mark.contract("R-43", "R-44")
@given(metadata, jsonable)
def test_records_as_bytes(described: ResultRecordMetadata, value: Any) -> None:
    """Deserializing is the inverse of serializing."""
    one = ResultRecord(value, described)
    assert ResultRecord.deserialize(one.serialize()) == one


@given(metadata, st.binary())
def test_layout(described: ResultRecordMetadata, payload: bytes) -> None:
    """Any output of a serializer is taken apart from the metadata as it was joined with it."""
    content = join_record(described.dump_bytes(), payload)
    content.decode()
    assert split_record(content) == (described.dump_bytes(), payload)
    assert read_metadata(lambda size: content[:size]) == described.dump_bytes()


@given(metadata, jsonable, st.data())
def test_part_of_a_file_is_no_record(
    described: ResultRecordMetadata, value: Any, data: st.DataObject
) -> None:
    """A file that was cut off, or that something was added to, never gives a value."""
    content = ResultRecord(value, described).serialize()
    end = data.draw(st.integers(0, len(content) - 1))
    more = data.draw(st.binary(min_size=1))
    assume(more.strip(b" \t\r\n"))
    for damaged in (content[:end], content + more):
        with pytest.raises(SerializationError):
            ResultRecord.deserialize(damaged)


@given(st.binary() | st.builds(lambda value: pickle.dumps(value), jsonable))
def test_other_content_is_no_record(content: bytes) -> None:
    """What is no record never gives a value."""
    with pytest.raises(SerializationError):
        ResultRecord.deserialize(content)
