"""Arrays and data frames of every kind, and how to tell whether two of them are the same."""

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from polars.testing import assert_frame_equal, assert_series_equal

DAY = dt.datetime(2024, 3, 31, tzinfo=dt.UTC)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return _same_arrays(one, other)
    if isinstance(one, np.generic):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, pl.DataFrame):
        assert_frame_equal(one, other, check_exact=True, categorical_as_str=True)
        return one.schema == other.schema
    if isinstance(one, pl.Series):
        assert_series_equal(one, other, check_exact=True, categorical_as_str=True)
        return one.dtype == other.dtype
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, check_exact=True, check_column_type=True)
        return _same_objects(one, other) and one.attrs == other.attrs and one.flags == other.flags
    if isinstance(one, pd.Series):
        pd.testing.assert_series_equal(one, other, check_exact=True)
        return _same_objects(one.to_frame(), other.to_frame()) and type(one.name) is type(other.name)
    if isinstance(one, pd.Index):
        pd.testing.assert_index_equal(one, other, exact=True)
        return True
    return bool(one.equals(other, check_metadata=True))


def _same_arrays(one: Any, other: Any) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    if other.flags.f_contiguous and not one.flags.f_contiguous:
        return False
    if isinstance(one, np.ma.MaskedArray):
        return bool(np.array_equal(one.mask, other.mask)) and same(one.data, other.data)
    if one.dtype.hasobject or one.dtype.kind == "T":
        return repr(one.tolist()) == repr(other.tolist())
    return bool(one.tobytes() == other.tobytes())


def _same_objects(one: Any, other: Any) -> bool:
    """The frames have the same labels, and what is in columns of objects is of the same types."""
    if not (one.columns.identical(other.columns) and one.index.identical(other.index)):
        return False
    return all(
        repr(list(one.iloc[:, place])) == repr(list(other.iloc[:, place]))
        for place, kind in enumerate(one.dtypes)
        if kind == "object"
    )


def table(values: Any, **options: Any) -> pd.DataFrame:
    return pd.DataFrame({"x": pd.Series(values, **options)})


def indexed(index: Any) -> pd.DataFrame:
    return pd.DataFrame({"a": [1.5, 2.5, 3.5]}, index=index)


def titled(columns: Any) -> pd.DataFrame:
    return pd.DataFrame(np.eye(2), columns=columns)


ARRAYS: dict[str, Any] = {
    **{f"numbers of {kind}": np.array([0, 1, 2], kind) for kind in "?bBhHiIlLqQefdgFDG"},
    **{f"{name} in the other byte order": np.array([1, 2], name) for name in (">i4", ">f8", ">c8")},
    **{
        f"datetime in {unit}": np.array(["2024-03-31", "NaT"], f"M8[{unit}]")
        for unit in ("D", "s", "ms", "us", "ns")
    },
    "timedelta": np.array([1, "NaT"], "m8[ms]"),
    "bytes": np.array([b"a", b"\xff\x00b"]),
    "texts": np.array(["a", "bé", ""]),
    "texts of any length": np.array(["a", "b" * 100], np.dtypes.StringDType()),
    "objects": np.array([1, "a", None, (2,), {"b": [3]}], object),
    "structured": np.array([(1, 2.5, "a")], [("i", "<i2"), ("f", "<f8"), ("t", "U3")]),
    "nested structure": np.array(
        [((1, 2), [3, 4])], [("in", [("a", "i1"), ("b", "i8")]), ("array", "f4", (2,))]
    ),
    "structure with gaps": np.zeros(2, np.dtype([("a", "i1"), ("b", "i8")], align=True)),
    "record array": np.rec.array([(1, "a")], dtype=[("i", "i8"), ("t", "U1")]),
    "masked": np.ma.masked_array([1, 2, 3], [0, 1, 0]),
    "matrix by columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "view with steps": np.arange(10)[::3],
    "no dimension": np.array(3.5),
    "nothing": np.empty((0, 3), "f4"),
    "not a number": np.array([np.nan, -np.inf, -0.0]),
    "scalar": np.float32(1.5),
    "moment": np.datetime64("2024-03-31T01:02:03", "s"),
}

PANDAS: dict[str, Any] = {
    **{
        f"nullable {kind}": table([1, None, 0], dtype=kind)
        for kind in ("Int8", "UInt64", "Float32", "boolean")
    },
    **{
        f"numpy {kind}": table([1, 0], dtype=kind)
        for kind in ("int8", "uint64", "float16", "float64", "bool")
    },
    **{
        f"datetime in {unit}": table(["2024-03-31", None], dtype=f"M8[{unit}]")
        for unit in ("s", "ms", "us", "ns")
    },
    **{f"timedelta in {unit}": table([1, None], dtype=f"m8[{unit}]") for unit in ("s", "ms", "us", "ns")},
    **{
        f"time zone {zone}": table([DAY, None]).astype(f"M8[us, {zone}]")
        for zone in ("UTC", "Asia/Tokyo", "+02:00")
    },
    "texts": table(["a", None, "bé"]),
    "texts as objects": table(["a", None, "b"], dtype=object),
    "texts as objects with nan": table(["a", np.nan, "b"], dtype=object),
    "texts of Python": table(["a", None], dtype="string[python]"),
    "texts of Arrow": table(["a", None], dtype="string[pyarrow]"),
    "bytes as objects": table([b"\xff", None], dtype=object),
    "integers as objects": table([1, 2, None], dtype=object),
    "truth as objects": table([True, False, None], dtype=object),
    "dates as objects": table([DAY.date(), None], dtype=object),
    "times as objects": table([dt.time(1, 2, 3, 4), None], dtype=object),
    "decimals as objects": table([Decimal("1.10"), Decimal("2.20")], dtype=object),
    "nothing as objects": table([None, None], dtype=object),
    "categories": table(pd.Categorical(["b", None, "a"])),
    "ordered categories": table(pd.Categorical(["b", None], ["z", "b", "a"], ordered=True)),
    "numbers as categories": table(pd.Categorical([3, 1, 3])),
    "moments as categories": table(pd.Categorical(pd.to_datetime(["2024-01-01", "2023-01-01"]))),
    "intervals as categories": table(pd.cut([1, 2, 3], 2)),
    "unused categories": table(pd.Categorical(["a"], ["a", "b"])).iloc[:0],
    "no categories": table(pd.Categorical([])),
    "periods": table(pd.period_range("2024-01", periods=3, freq="M")),
    "intervals": table(pd.interval_range(0, 3)),
    "Arrow integers": table([1, None], dtype="int64[pyarrow]"),
    "Arrow lists": table([[1], None], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
    "Arrow decimals": table([Decimal("1.1"), None], dtype=pd.ArrowDtype(pa.decimal128(5, 2))),
    "an index of days": indexed(pd.date_range("2024", periods=3, name="day")),
    "an index with a zone": indexed(pd.date_range("2024-03-30", periods=3, freq="D", tz="Europe/Berlin")),
    "an index of timedeltas": indexed(pd.timedelta_range("1h", periods=3)),
    "an index of texts": indexed(pd.Index(list("abc"), name="letter")),
    "an index of objects": indexed(pd.Index(["a", None, "c"], dtype=object)),
    "an index of small integers": indexed(pd.Index([3, 1, 3], dtype="int8", name=7)),
    "an index with steps": indexed(pd.RangeIndex(3, 9, 2, name="step")),
    "an index of categories": indexed(pd.CategoricalIndex(["a", "b", "a"], ["b", "a", "c"])),
    "an index of intervals": indexed(pd.interval_range(0, 3)),
    "an index of periods": indexed(pd.period_range("2024", periods=3, freq="Q")),
    "an index of levels": indexed(
        pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["x", None])
    ),
    "an index named as a column": indexed(pd.Index([1, 2, 3], name="a")),
    "levels of categories": indexed(pd.MultiIndex.from_arrays([pd.Categorical(list("aba")), [1.5, None, 2]])),
    "levels of no rows": indexed(pd.MultiIndex.from_arrays([list("aba"), pd.to_datetime(["2024"] * 3)])).iloc[
        :0
    ],
    "columns in a range": titled(pd.RangeIndex(2)),
    "columns of integers": titled([3, 1]),
    "columns of the same name": titled(["a", "a"]),
    "columns with a name": titled(pd.Index(["a", "b"], name="kind")),
    "columns of days": titled(pd.date_range("2024", periods=2)),
    "columns of categories": titled(pd.CategoricalIndex(["a", "b"])),
    "columns of levels": titled(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["p", "q"])),
    "nothing": pd.DataFrame(),
    "no rows": pd.DataFrame({"a": pd.Series(dtype="int32"), "b": pd.Series(dtype="M8[ns, UTC]")}),
    "no columns": pd.DataFrame(index=list("ab")),
    "no columns in a range": pd.DataFrame(index=range(4)),
    "a series": pd.Series([1.5, None], name="x"),
    "a series without a name": pd.Series([1, 2], index=list("ab")),
    "a series called 0": pd.Series([1, 2], name=0),
    "a series called by two": pd.Series([1, 2], name=("a", 1)),
    "a series called by a day": pd.Series([1, 2], name=pd.Timestamp("2024-01-01")),
    "an empty series": pd.Series([], dtype="category"),
}
PANDAS["attributes"] = titled(["a", "b"])
PANDAS["attributes"].attrs = {"source": ["a", {"b": None}]}
PANDAS["unique labels"] = titled(["a", "b"]).set_flags(allows_duplicate_labels=False)

POLARS: dict[str, Any] = {
    name: pl.DataFrame({"x": values})
    for name, values in {
        "integers": pl.Series([1, None, -3]),
        "small integers": pl.Series([1, 255], dtype=pl.UInt8),
        "large integers": pl.Series([1, 2**100], dtype=pl.Int128),
        "floats": pl.Series([1.5, None, float("nan")], dtype=pl.Float32),
        "truth": pl.Series([True, None]),
        "texts": pl.Series(["a", None, "bé"]),
        "bytes": pl.Series([b"\xff", None]),
        "decimals": pl.Series([Decimal("1.23"), None], dtype=pl.Decimal(20, 4)),
        "categories": pl.Series(["x", "y", None], dtype=pl.Categorical),
        "an enumeration": pl.Series(["x", None], dtype=pl.Enum(["y", "x", "z"])),
        "dates": pl.Series([DAY.date(), None]),
        "times": pl.Series([dt.time(1, 2, 3), None]),
        "durations": pl.Series([dt.timedelta(1), None], dtype=pl.Duration("ns")),
        "moments": pl.Series([DAY.replace(tzinfo=None), None], dtype=pl.Datetime("ms")),
        "time zones": pl.Series([DAY, None], dtype=pl.Datetime("us", "Europe/Berlin")),
        "lists": pl.Series([[[1], []], None, []]),
        "arrays": pl.Series([[1, 2], None], dtype=pl.Array(pl.Int16, 2)),
        "structures": pl.Series([{"a": 1, "b": [{"c": "x"}]}, None]),
        "lists of categories": pl.Series([["x"], None], dtype=pl.List(pl.Categorical)),
        "structures of enumerations": pl.Series([{"e": "x"}], dtype=pl.Struct({"e": pl.Enum(["x", "y"])})),
        "nulls": pl.Series([None, None]),
    }.items()
}
POLARS |= {f"no {name}": frame.clear() for name, frame in POLARS.items()}
POLARS |= {
    "nothing": pl.DataFrame(),
    "several chunks": pl.concat([POLARS["integers"], POLARS["integers"]], rechunk=False),
    "a slice": pl.DataFrame({"a": range(10), "b": list("abcdefghij")}).slice(3, 4),
    "a series": pl.Series("x", [[1], None]),
    "a series without a name": pl.Series([1, 2]),
    "an empty series": pl.Series("x", [], dtype=pl.Enum(["a"])),
}

_LETTERS = pa.array(["a", "b", None]).dictionary_encode()
ARROW: dict[str, Any] = {
    "a table": pa.table({"a": [1, None], "b": ["x", "y"]}),
    "a table with metadata": pa.table({"a": [1]}).replace_schema_metadata({"source": "here"}),
    "a table of categories": pa.table({"a": _LETTERS}),
    "no categories": pa.table({"a": _LETTERS}).slice(0, 0),
    "a table of no chunks": pa.table({"a": pa.chunked_array([], _LETTERS.type)}),
    "columns of the same name": pa.Table.from_arrays([pa.array([1]), pa.array(["a"])], names=["x", "x"]),
    "maps, structures and views": pa.table(
        {
            "m": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int8())),
            "s": [{"d": Decimal("1.5")}, None],
            "v": pa.array(["a", None], pa.string_view()),
        }
    ),
    "moments": pa.table({"a": pa.array([DAY, None], pa.timestamp("ns", "Asia/Tokyo"))}),
    "nothing": pa.table({}),
    "a batch": pa.record_batch({"a": _LETTERS, "b": [1.5, None, 2.0]}),
    "an empty batch": pa.record_batch({"a": _LETTERS}).slice(0, 0),
}

FRAMES: dict[str, Any] = {
    f"{library}: {name}": value
    for library, values in (("pandas", PANDAS), ("polars", POLARS), ("pyarrow", ARROW))
    for name, value in values.items()
}
EVERYTHING: dict[str, Any] = {f"numpy: {name}": value for name, value in ARRAYS.items()} | FRAMES
