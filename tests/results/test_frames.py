"""Arrays, frames and tables through every serializer: the same again, or refused."""

from typing import Any

import hypothesis.extra.numpy as nps
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from polars.testing.parametric import dataframes

from mainspring.exceptions import SerializationError
from mainspring.results import ResultRecord, ResultRecordMetadata
from mainspring.serializers import ArrowSerializer, JSONSerializer, MessagePackSerializer, Serializer
from tests.results.frames import EVERYTHING, FRAMES, same, table

PICKLING = ["pickle", "zstd", "lz4"]
PLAIN = ["json", "msgpack"]

SIZES = st.integers(1, 5)
SCALAR_TYPES = (
    nps.boolean_dtypes()
    | nps.integer_dtypes(endianness="?")
    | nps.unsigned_integer_dtypes(endianness="?")
    | nps.floating_dtypes(endianness="?")
    | nps.complex_number_dtypes(endianness="?")
    | nps.datetime64_dtypes(endianness="=")
    | nps.timedelta64_dtypes(endianness="=")
    | nps.unicode_string_dtypes(endianness="?")
    | nps.byte_string_dtypes(endianness="=")
)
NUMPY_TYPES = SCALAR_TYPES | nps.nested_dtypes(SCALAR_TYPES)


def through(serializer: Serializer[Any], value: Any) -> Any:
    """The value as it is read again from the bytes of a record."""
    record = ResultRecord(value, ResultRecordMetadata(serializer=serializer))
    return ResultRecord.deserialize(record.serialize()).result


@pytest.mark.contract("SZ-5", "SZ-14")
@pytest.mark.parametrize("kind", PICKLING)
@pytest.mark.parametrize("name", EVERYTHING)
def test_pickles_give_back_everything(kind: str, name: str) -> None:
    """Arrays, frames and tables come back from pickles with all of their types, also compressed."""
    assert same(through(Serializer(type=kind), EVERYTHING[name]), EVERYTHING[name])


@pytest.mark.parametrize("compression", ["zstd", "lz4", None])
@pytest.mark.parametrize("name", FRAMES)
def test_arrow_gives_back_every_frame(compression: str | None, name: str) -> None:
    """Frames and tables come back from Arrow with all of their types, labels and categories."""
    assert same(through(ArrowSerializer(compression=compression), FRAMES[name]), FRAMES[name])


@pytest.mark.contract("SZ-13")
@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("name", EVERYTHING)
def test_plain_data_has_no_arrays(kind: str, name: str) -> None:
    """JSON and MessagePack refuse arrays and frames, and say which type it was and which serializer takes it."""
    value = EVERYTHING[name]
    record = ResultRecord(value, ResultRecordMetadata(serializer=Serializer(type=kind)))
    with pytest.raises(SerializationError, match=rf"'{type(value).__name__}'.*'pickle' and 'zstd' take it"):
        record.serialize()


@pytest.mark.parametrize("serializer", [JSONSerializer(), MessagePackSerializer()], ids=["json", "msgpack"])
def test_plain_data_holds_no_arrays(serializer: Serializer[Any]) -> None:
    """Also inside of plain data an array is refused."""
    with pytest.raises(TypeError, match=r"type ndarray has no JSON form.*'arrow' takes data frames"):
        serializer.dumps({"rows": [np.arange(3)]})


@pytest.mark.parametrize("serializer", [JSONSerializer(), MessagePackSerializer()], ids=["json", "msgpack"])
@pytest.mark.parametrize("value", [np.int64(1), np.bool_(True), np.float32(1.5), pd.Timestamp("2024"), pd.NA])
def test_plain_data_has_no_scalars_of_arrays(serializer: Serializer[Any], value: Any) -> None:
    """A number or a moment of numpy or pandas is refused, as it would come back as another one."""
    with pytest.raises(TypeError, match=f"type {type(value).__name__} has no JSON form"):
        serializer.dumps([value])


def test_json_has_one_kind_of_float() -> None:
    """What is derived from a number of Python becomes that number in JSON, and MessagePack refuses it."""
    loaded = JSONSerializer().loads(JSONSerializer().dumps([np.float64(1.5), np.str_("a")]))
    assert [type(each) for each in loaded] == [float, str]
    assert loaded == [1.5, "a"]
    with pytest.raises(TypeError, match="float64 has no JSON form"):
        MessagePackSerializer().dumps(np.float64(1.5))


@given(array=NUMPY_TYPES.flatmap(lambda kind: nps.arrays(kind, nps.array_shapes(min_dims=0, min_side=0))))
def test_pickles_give_back_any_array(array: Any) -> None:
    """Arrays of any type and shape come back."""
    assert same(through(Serializer(type="pickle"), array), array)


@pytest.mark.parametrize("kind", PICKLING)
def test_moments_in_the_other_byte_order(kind: str) -> None:
    """Such an array comes back with the same moments, in the byte order of the machine, as numpy has it."""
    array = np.array(["2024-03-31T01:02:03", "NaT"], ">M8[s]")
    assert same(through(Serializer(type=kind), array), array.astype("M8[s]"))


@pytest.mark.parametrize("kind", ["pickle", "arrow"])
@given(
    frame=dataframes(
        max_cols=3, max_size=4, allow_null=True, excluded_dtypes=[pl.Object, pl.Array, pl.Decimal]
    )
)
def test_any_frame_of_polars(kind: str, frame: pl.DataFrame) -> None:
    """Frames of Polars with columns of any types come back."""
    assert same(through(Serializer(type=kind), frame), frame)


@st.composite
def pandas_frames(draw: st.DrawFn) -> pd.DataFrame:
    """Frames of columns, levels and labels of which some are in the samples, in any order and number."""
    size = draw(SIZES)
    samples = [
        each["x"] for name, each in FRAMES.items() if name.startswith("pandas") and list(each) == ["x"]
    ]
    columns: Any = st.sampled_from([sample for sample in samples if len(sample)])
    rows = st.lists(st.integers(0, 100), min_size=size, max_size=size)

    def column() -> pd.Series:
        chosen: pd.Series = draw(columns)
        return chosen.take([place % len(chosen) for place in draw(rows)]).reset_index(drop=True)

    labels = draw(st.lists(st.text(max_size=3) | st.sampled_from(["a", "index"]), max_size=4))
    # concat would drop the columns of the same name as others
    frame = pd.concat(
        [column().rename(str(place)) for place in range(len(labels))] or [pd.DataFrame()], axis=1
    )
    frame.columns = pd.Index(labels, dtype=draw(st.sampled_from(["str", "object"])))
    if labels and draw(st.booleans()):
        values = column().array
        name = draw(st.none() | st.text(max_size=2) | st.integers())
        if values.dtype != "float16":  # of which there is no index
            frame.index = pd.Index(values, dtype=values.dtype, name=name)
    return frame


@pytest.mark.parametrize("kind", ["pickle", "arrow"])
@given(frame=pandas_frames())
def test_any_frame_of_pandas(kind: str, frame: pd.DataFrame) -> None:
    """Frames of pandas with columns and an index of any types come back, or Arrow refuses them."""
    try:
        loaded = through(Serializer(type=kind), frame)
    except SerializationError as error:
        assert kind == "arrow"
        assert "would change" in str(error)  # noqa: PT017
    else:
        assert same(loaded, frame)


@pytest.mark.parametrize("compression", ["zstd", "lz4", None])
@pytest.mark.parametrize("name", [name for name, value in FRAMES.items() if isinstance(value, pd.DataFrame)])
def test_loaded_frames_can_be_changed(compression: str | None, name: str) -> None:
    """A loaded frame of pandas is as good as a new one: its values can be replaced."""
    frame = through(ArrowSerializer(compression=compression), FRAMES[name])
    for place in range(frame.shape[1] if len(frame) > 1 else 0):
        values = frame.iloc[:, place].copy(deep=False)
        values.iloc[0] = values.iloc[1]
        frame.iloc[0, place] = frame.iloc[1, place]


def test_frames_hold_their_own_memory() -> None:
    """What is changed in a loaded array does not change the bytes it came from."""
    serializer = ArrowSerializer(compression=None)
    blob = serializer.dumps(table([1, 2, 3]))
    frame = serializer.loads(blob)
    frame.iloc[0, 0] = 9
    assert serializer.loads(blob).iloc[0, 0] == 1


def test_arrow_types_of_tables_are_kept() -> None:
    """A table comes back with its exact schema."""
    made = pa.table({"a": pa.array([1], pa.uint8()), "b": pa.array(["x"], pa.large_string())})
    assert through(ArrowSerializer(), made).schema == made.schema
