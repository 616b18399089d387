"""Arrays and frames by content: in any layout of memory, and without copies of what is contiguous."""

import hashlib
import subprocess
import sys
import tracemalloc
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mainspring.hashing import content_hash, hash_objects

DTYPES = st.one_of(
    arrays.integer_dtypes(),
    arrays.floating_dtypes(sizes=(32, 64)),
    arrays.boolean_dtypes(),
    arrays.datetime64_dtypes(),
)


@pytest.mark.slow
@given(arrays.arrays(DTYPES, arrays.array_shapes(min_side=0)))
def test_the_layout_in_memory_does_not_count(array: Any) -> None:
    """C order, Fortran order, strides and byte order are no part of the content."""
    expected = content_hash(array)
    assert content_hash(np.asfortranarray(array)) == expected
    assert content_hash(np.repeat(array, 2, axis=0)[::2]) == expected
    assert content_hash(array.astype(array.dtype.newbyteorder(">"))) == expected


def test_type_shape_and_elements_of_arrays_count() -> None:
    """Each of them alone makes a difference; so do masks and names of fields."""
    base = np.arange(6)
    different = [
        base,
        base.astype("i4"),
        base.astype("f8"),
        base.reshape(2, 3),
        base.reshape(3, 2),
        base[::-1],
        base.astype("M8[s]"),
        base.astype("M8[ms]"),
        base.astype("U1"),
        base.astype("U2"),
        base.astype(object),
        base.astype(np.dtypes.StringDType()),
        np.array([]),
        np.array([], dtype="U"),
        np.array(0),
        np.int64(0),
        base.view([("a", "i8")]),
        base.view([("b", "i8")]),
        np.ma.masked_array(base, base > 2),
        np.ma.masked_array(base, base > 3),
    ]
    assert len({content_hash(value) for value in different}) == len(different)


def test_what_cannot_be_seen_of_an_array_does_not_count() -> None:
    """Masked elements and the gaps between aligned fields hold anything."""
    mask = [False, True]
    assert content_hash(np.ma.masked_array([1, 2], mask)) == content_hash(np.ma.masked_array([1, 3], mask))
    gaps = np.dtype([("a", "i1"), ("b", "i8")], align=True)
    one, two = np.zeros(2, gaps), np.frombuffer(b"\1" * 2 * gaps.itemsize, gaps).copy()
    two["a"] = two["b"] = 0
    assert content_hash(one) == content_hash(two)


def test_a_memory_map_is_what_it_holds(tmp_path: Any) -> None:
    """Where the file is does not count."""
    for name in ("one", "two"):
        np.arange(10).tofile(tmp_path / name)
    one, two = (content_hash(np.memmap(tmp_path / name, dtype="i8")) for name in ("one", "two"))
    assert one == two


def test_large_arrays_are_read_once_and_not_copied() -> None:
    """Of a contiguous array nothing but its own memory goes to the hash function, once."""
    array = np.arange(1 << 20)
    fed = 0

    class Counting:
        def __init__(self, data: Any = b"") -> None:
            nonlocal fed
            fed += memoryview(data).nbytes
            self.hash = hashlib.sha256(data)

        def digest(self) -> bytes:
            return self.hash.digest()

        def hexdigest(self) -> str:
            return self.hash.hexdigest()

    tracemalloc.start()
    assert hash_objects({"x": array}, hash_algo=Counting)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert array.nbytes <= fed < array.nbytes + 10_000
    assert peak < array.nbytes / 10


SERIES = [
    pd.Series([1, 2, 3]),
    pd.Series(["a", None, "b"]),
    pd.Series(["a", None, "b"], dtype="string"),
    pd.Series(["a", "b", "b"], dtype="category"),
    pd.Series([1, None, 3], dtype="Int64"),
    pd.Series([True, None, False], dtype="boolean"),
    pd.Series([0.5, None, 1.5], dtype="Float64"),
    pd.Series(pd.date_range("2020", periods=3)),
    pd.Series(pd.date_range("2020", periods=3, tz="Europe/Paris")),
    pd.Series(pd.to_timedelta([1, 2, 3])),
    pd.Series(pd.period_range("2020", periods=3)),
    pd.Series(pd.interval_range(0, 3)),
    pd.Series(pd.arrays.SparseArray([0, 1, 2])),
    pd.Series([1, "a", [None]]),
]


@pytest.mark.contract("K-27")
@pytest.mark.parametrize("series", SERIES, ids=[str(series.dtype) for series in SERIES])
def test_pandas_columns_of_every_type(series: Any) -> None:
    """A copy has the same hash, another order of the values has another."""
    assert content_hash(series) == content_hash(series.copy(deep=True))
    backwards = series[::-1].reset_index(drop=True)
    assert content_hash(series) != content_hash(backwards)
    assert content_hash(pd.DataFrame({"x": series})) != content_hash(pd.DataFrame({"x": backwards}))


def test_columns_of_different_types_differ() -> None:
    """No type of column is taken for another."""
    assert len({content_hash(series) for series in SERIES}) == len(SERIES)


def test_where_texts_are_kept_does_not_count() -> None:
    """A column of texts is the same with and without Arrow, and however the frame was put together."""
    python = pd.Series(["a", None], dtype="string[python]")
    assert content_hash(pd.Series(["a", None], dtype="string")) == content_hash(python)
    whole = pd.DataFrame({"x": [1, 2], "y": [3, 4]})
    pieces = pd.DataFrame({"x": [1, 2]})
    pieces["y"] = [3, 4]
    assert content_hash(whole) == content_hash(pieces)


def test_all_that_belongs_to_a_frame_counts() -> None:
    """Values, names and order of columns, the index and its names."""
    frame = pd.DataFrame({"x": [1, 2], "y": [3, 4]})
    different = [
        frame,
        frame[["y", "x"]],
        frame.rename(columns={"x": "z"}),
        frame.set_index("x"),
        frame.set_index(["x", "y"]),
        frame.rename_axis("name"),
        frame.set_axis([1, 2]),
        frame["x"],
        frame["x"].rename("z"),
        frame.to_numpy(),
    ]
    assert len({content_hash(value) for value in different}) == len(different)


COLUMNS = [
    pl.Series("s", [1, None, 3]),
    pl.Series("s", [1, None, 3], dtype=pl.Int128),
    pl.Series("s", ["a", None, "é"]),
    pl.Series("s", ["ab", "c"]),
    pl.Series("s", ["a", "bc"]),
    pl.Series("s", ["a", "b"], dtype=pl.Categorical),
    pl.Series("s", ["a", "b"], dtype=pl.Enum(["a", "b"])),
    pl.Series("s", [True, None, False]),
    pl.Series("s", [b"x", None]),
    pl.Series("s", [[1], [], None, [2, None]]),
    pl.Series("s", [[1], None, [], [2, None]]),
    pl.Series("s", [[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2)),
    pl.Series("s", [{"a": 1, "b": "x"}, None]),
    pl.Series("s", [datetime(2020, 1, 1), None]),  # noqa: DTZ001
    pl.Series("s", [date(2020, 1, 1), None]),
    pl.Series("s", [timedelta(1), None]),
    pl.Series("s", [Decimal("1.50"), None]),
    pl.Series("s", [0.5, None, float("nan")]),
    pl.Series("s", [None, None]),
    pl.Series("s", [], dtype=pl.String),
    pl.Series("t", [], dtype=pl.String),
]


def test_polars_columns_of_every_type_differ() -> None:
    """Type, name, values and what is missing count; how the column is split does not."""
    hashes = [content_hash(column) for column in COLUMNS]
    assert len(set(hashes)) == len(hashes)
    for column, expected in zip(COLUMNS, hashes, strict=True):
        split = pl.concat([column[:1], column[1:]], rechunk=False)
        assert content_hash(split) == expected, column
    frame = pl.DataFrame({"x": [1, 2], "y": ["a", "b"]})
    assert content_hash(frame) == content_hash(frame.clone())
    assert content_hash(frame) != content_hash(frame.select("y", "x"))


@pytest.mark.slow
def test_libraries_are_not_loaded() -> None:
    """Who does not use arrays does not pay for them, nor for pickle of functions."""
    program = (
        "import sys; from mainspring.hashing import content_hash;"
        "from mainspring.cache_policies import DEFAULT; from pathlib import Path;"
        "content_hash([1, Path('x'), {'a': {1}}]); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"numpy", "pandas", "polars", "pyarrow", "cloudpickle", "pydantic", "attrs"}
    assert not heavy & set(done.stdout.split())


# Arrow


def _arrow_arrays(pa: Any) -> list[Any]:
    return [
        pa.array([1, None, 3]),
        pa.array(["a", None, "é"]),
        pa.array(["a", None], pa.string_view()),
        pa.array([b"x", None]),
        pa.array([[1], [], None, [2, None]]),
        pa.array([{"a": 1, "b": "x"}, None]),
        pa.array([True, None, False]),
        pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.array([datetime(2020, 1, 1), None]),  # noqa: DTZ001
        pa.array([Decimal("1.5"), None]),
        pa.array([[1, 2], [3, 4]], pa.list_(pa.int64(), 2)),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([b"ab"], pa.binary(2)),
        pa.nulls(3),
        pa.array([], pa.string()),
    ]


def test_arrow_columns_of_every_type_differ() -> None:
    """Type, values and what is missing count; offsets, chunks and what is beneath missing values do not."""
    pa = pytest.importorskip("pyarrow")
    columns = _arrow_arrays(pa)
    hashes = [content_hash(column) for column in columns]
    assert len(set(hashes)) == len(hashes)
    for column, expected in zip(columns, hashes, strict=True):
        assert content_hash(pa.concat_arrays([column, column])[len(column) :]) == expected, column.type
        chunked, split = pa.chunked_array([column]), pa.chunked_array([column[:1], column[1:]])
        assert content_hash(chunked) == content_hash(split), column.type
    bitmap = pa.py_buffer(b"\1")
    garbage = pa.Array.from_buffers(pa.int64(), 2, [bitmap, pa.py_buffer(np.array([1, 99]).tobytes())])
    assert content_hash(garbage) == content_hash(pa.array([1, None]))
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    assert content_hash(table) == content_hash(pa.concat_tables([table[:1], table[1:]]))
    assert content_hash(table) != content_hash(table.take([1, 0]))
