"""What the Arrow serializer is besides giving back what it got: an Arrow file, sealed, with clear refusals."""

import os
import subprocess
import sys
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given

from mainspring import flow, get_client
from mainspring.exceptions import ConfigurationError, SerializationError
from mainspring.results import ResultRecord, ResultRecordMetadata, ResultStore
from mainspring.serializers import ArrowSerializer, CompressedSerializer, Serializer, UnknownSerializer
from tests.results.frames import ARROW, DAY, FRAMES, PANDAS, POLARS, same, table
from tests.results.test_compression import hide

NOT_ARROW: dict[str, tuple[Any, str]] = {
    "objects of two types": (table([1, "a"], dtype=object), r"column 'x' .* holds int, str.*astype"),
    "lists as objects": (table([[1], None], dtype=object), "column 'x' .* holds NoneType, list"),
    "two kinds of missing": (
        table(["a", None, np.nan], dtype=object),
        "column 'x' .* holds NoneType, float, str",
    ),
    "decimals that get another scale": (
        table([PANDAS["decimals as objects"].iloc[0, 0].normalize(), *PANDAS["decimals as objects"]["x"]]),
        "column 'x' has the type object and would change",
    ),
    "complex numbers": (table([1j]), "column 'x' has the type complex128"),
    "sparse numbers": (table(pd.arrays.SparseArray([0, 0, 1])), r"column 'x' has the type Sparse"),
    "nan beside missing": (
        table(pd.arrays.FloatingArray(np.array([np.nan, 1.0]), np.array([False, True]))),
        "column 'x' has the type Float64 and would change",
    ),
    "a zone of seconds": (
        table([DAY]).astype(pd.DatetimeTZDtype("us", timezone(timedelta(seconds=30)))),
        "column 'x'",
    ),
    "categories of two types": (table(pd.Categorical([1, "a"])), "categories of its column 'x'"),
    "labels of two types": (pd.DataFrame({"a": [1], 2: [1]}), "the index of its columns"),
    "an index of two types": (pd.DataFrame({"a": [1, 2]}, index=["a", 2]), "its index"),
    "a name that is no text": (
        pd.DataFrame({"a": [1]}, index=pd.Index([1], name=("a", 1))),
        "name of an index",
    ),
    "a series called by bytes": (pd.Series([1], name=(b"a", 1j)), "the index of its columns"),
    "attributes that JSON has not": (PANDAS["attributes"].set_axis(["a", "b"], axis=1), "attrs"),
    "objects of Python": (
        pl.DataFrame({"x": pl.Series([object()], dtype=pl.Object)}),
        "'x' holds Python objects",
    ),
    "arrays of no length": (
        pl.DataFrame({"x": pl.Series([[[]]], dtype=pl.List(pl.Array(pl.Int8, 0)))}),
        "'x' holds arrays of no length",
    ),
    "rows without columns": (pa.table({"a": [1, 2]}).select([]), "rows and no columns"),
}
NOT_ARROW["attributes that JSON has not"][0].attrs = {"pair": (1, 2)}


class Derived(pd.DataFrame):
    """A frame of somebody else's."""

    @property
    def _constructor(self) -> Any:
        return Derived


OTHERS: dict[str, tuple[Any, str]] = {
    "array": (np.arange(3), "numpy.ndarray"),
    "index": (pd.Index([1]), "pandas.Index"),
    "moment": (pd.Timestamp("2024"), "pandas.Timestamp"),
    "Arrow array": (pa.array([1]), "pyarrow.Int64Array"),
    "dict": ({"train": POLARS["integers"]}, "dict"),
    "None": (None, "NoneType"),
    "subclass": (Derived({"a": [1]}), "Derived"),
}


def damaged(blob: bytes) -> Any:
    metadata = ResultRecordMetadata(serializer=ArrowSerializer())
    return ResultRecord.from_payload(blob, metadata).result


@pytest.mark.parametrize("name", NOT_ARROW)
def test_what_arrow_would_change_is_refused(name: str) -> None:
    """What would not come back as it is, is refused; the message names the place and another serializer."""
    value, place = NOT_ARROW[name]
    with pytest.raises(SerializationError, match=rf"{place}.*'pickle'"):
        ArrowSerializer().dumps(value)


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_frame_is_refused(name: str) -> None:
    """Anything but frames, series and tables is refused, with its type and other serializers."""
    value, kind = OTHERS[name]
    with pytest.raises(SerializationError, match=rf"this is a {kind}\. The serializers 'pickle'"):
        ArrowSerializer().dumps(value)


def test_lazy_frames_have_to_be_collected() -> None:
    """A LazyFrame has no rows; the message says how to get them."""
    with pytest.raises(SerializationError, match=r"LazyFrame.*collect\(\)"):
        ArrowSerializer().dumps(POLARS["integers"].lazy())


def test_compression_is_checked() -> None:
    """A compression that Arrow does not have is a configuration error."""
    assert ArrowSerializer().compression == "zstd"
    with pytest.raises(ConfigurationError, match="'zstd', 'lz4' or None, not 'gzip'"):
        ArrowSerializer(compression="gzip")


@pytest.mark.contract("SZ-16")
@pytest.mark.parametrize("compression", ["zstd", "lz4", None])
def test_configuration(compression: str | None) -> None:
    """The configuration makes an equal serializer again, and any of them reads what another one wrote."""
    serializer = ArrowSerializer(compression=compression)
    assert Serializer.from_configuration(serializer.configuration()) == serializer
    assert same(ArrowSerializer().loads(serializer.dumps(POLARS["texts"])), POLARS["texts"])


@pytest.mark.parametrize("frame", [pl.DataFrame({"a": ["same"] * 10_000}), table(["same"] * 10_000)])
def test_columns_are_compressed(frame: Any) -> None:
    """What repeats takes little space, unless compression is switched off."""
    sizes = {each: len(ArrowSerializer(compression=each).dumps(frame)) for each in ("zstd", "lz4", None)}
    assert sizes["zstd"] < sizes["lz4"] < sizes[None] / 2


def test_compressed_arrow() -> None:
    """A compressing serializer takes frames if its inner one does."""
    serializer = CompressedSerializer(serializer=ArrowSerializer(compression=None), compressionlib="zstd")
    assert same(serializer.loads(serializer.dumps(PANDAS["categories"])), PANDAS["categories"])


# For others


@pytest.mark.parametrize("compression", ["zstd", "lz4", None])
@pytest.mark.parametrize(
    "frame", [pl.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1, 2]}), pa.table({"a": [1, 2]})]
)
def test_files_are_arrow_files(tmp_path: Path, frame: Any, compression: str | None) -> None:
    """With its description elsewhere, a result is a file that everything that reads Arrow reads."""
    storage = tmp_path / "results"
    serializer = ArrowSerializer(compression=compression)
    store = ResultStore(result_storage=storage, metadata_storage=tmp_path / "metadata", serializer=serializer)
    store.write(frame, key="rows.arrow")
    assert same(store.read("rows.arrow").result, frame)
    path = storage / "rows.arrow"
    expected = pl.DataFrame({"a": [1, 2]})
    assert pl.read_ipc(path.read_bytes()).equals(expected)
    assert pl.scan_ipc(path).collect().equals(expected)
    assert pd.read_feather(path)["a"].tolist() == [1, 2]
    with pa.memory_map(str(path)) as mapped:
        assert pa.ipc.open_file(mapped).read_all()["a"].to_pylist() == [1, 2]


def test_columns_have_their_names() -> None:
    """Columns and levels of the index of a frame of pandas are columns under their names for others."""
    blob = ArrowSerializer().dumps(
        pd.DataFrame({"a": [1], 2: [1.5]}.items(), columns=["key", "value"]).head(0)
    )
    assert pl.read_ipc(blob).columns == ["key", "value"]
    frame = pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([("x", 1)], names=["letter", None]))
    assert pl.read_ipc(ArrowSerializer().dumps(frame)).columns == ["a", "letter", "__index_level_1__"]


@pytest.mark.contract("R-69")
@pytest.mark.parametrize("frame", [POLARS["categories"], PANDAS["an index of days"], ARROW["moments"]])
def test_results_of_runs(frame: Any) -> None:
    """A run may have its frame kept as Arrow."""

    @flow(result_serializer="arrow")
    def rows() -> Any:
        return frame

    assert rows() is frame
    (run,) = get_client().read_flow_runs(limit=1)
    assert run.state is not None
    assert run.state.data.serializer == ArrowSerializer()
    assert same(run.state.result(), frame)


def run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert not done.returncode, done.stderr
    return done.stdout.removesuffix("\n")


@pytest.mark.parametrize("name", ["pandas: periods", "pandas: intervals as categories", "polars: categories"])
def test_fresh_processes_read_frames(tmp_path: Path, name: str) -> None:
    """A process that has loaded none of the libraries reads the frame."""
    path = tmp_path / "rows.arrow"
    path.write_bytes(ArrowSerializer().dumps(FRAMES[name]))
    program = (
        "import sys, pathlib; from mainspring.serializers import ArrowSerializer\\n"
        "assert not {'polars', 'pandas', 'pyarrow', 'numpy'} & set(sys.modules)\\n"
        "print(ArrowSerializer().loads(pathlib.Path(sys.argv[1]).read_bytes()))"
    ).replace("\\n", "\n")
    assert run(program, str(path)) == str(FRAMES[name])


def test_polars_needs_no_pyarrow() -> None:
    """Frames of Polars are written and read without pyarrow and pandas."""
    program = """
import sys
sys.modules.update(pyarrow=None, pandas=None)
import polars
from mainspring.serializers import ArrowSerializer
frame = polars.DataFrame({"a": [1, None], "b": ["x", "y"]})
print(ArrowSerializer().loads(ArrowSerializer().dumps(frame)).equals(frame))
"""
    assert run(program) == "True"


@pytest.mark.parametrize(
    ("package", "frame", "install"),
    [
        ("pyarrow", PANDAS["texts as objects"], r"'mainspring\[arrow\]'"),
        ("pyarrow", ARROW["a table"], r"'mainspring\[arrow\]'"),
        ("polars", POLARS["integers"], "polars"),
        ("pandas", PANDAS["periods"], "pandas"),
    ],
)
def test_missing_package(monkeypatch: pytest.MonkeyPatch, package: str, frame: Any, install: str) -> None:
    """Without its library a result is not loaded, nor written; the message says what to install."""
    blob = ArrowSerializer().dumps(frame)
    if package == "pyarrow" and isinstance(frame, pd.DataFrame):
        with monkeypatch.context() as patch:
            hide(patch, package)
            with pytest.raises(ConfigurationError, match=rf"pip install {install}$"):
                ArrowSerializer().dumps(frame)
    hide(monkeypatch, package)
    with pytest.raises(ConfigurationError, match=rf"pip install {install}$"):
        ArrowSerializer().loads(blob)


# Damaged files


@pytest.mark.parametrize("frame", [POLARS["structures"], PANDAS["categories"], ARROW["a batch"]])
@pytest.mark.parametrize("compression", ["zstd", None])
def test_no_part_of_a_file_is_a_frame(frame: Any, compression: str | None) -> None:
    """A file that was cut off anywhere is refused."""
    blob = ArrowSerializer(compression=compression).dumps(frame)
    for end in range(len(blob)):
        with pytest.raises(SerializationError):
            damaged(blob[:end])


@pytest.mark.parametrize("frame", [POLARS["structures"], PANDAS["categories"], ARROW["a batch"]])
@given(data=st.data())
def test_damaged_files_are_found_out(frame: Any, data: st.DataObject) -> None:
    """A file of which any byte is another one is refused before a library reads it, which might end the process."""
    blob = bytearray(ArrowSerializer(compression=None).dumps(frame))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SerializationError):
        damaged(bytes(blob))


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    """An Arrow file of somebody else's does not say what it was; the message says how to read it."""
    POLARS["integers"].write_ipc(tmp_path / "rows.arrow")
    with pytest.raises(SerializationError, match=r"not written by this serializer.*read_ipc"):
        ArrowSerializer().loads((tmp_path / "rows.arrow").read_bytes())


@given(st.binary())
def test_other_content_is_refused(content: bytes) -> None:
    """What is no Arrow file never gives a value, nor with the right beginning and end."""
    for blob in (content, b"ARROW1" + content + b"ARROW1"):
        with pytest.raises(SerializationError):
            ArrowSerializer().loads(blob)


def test_kinds_of_the_future_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file made from a class that this version does not know is refused."""
    blob = ArrowSerializer().dumps(POLARS["integers"])
    monkeypatch.setattr("mainspring.serializers.arrow._BY_MARK", {})
    with pytest.raises(SerializationError, match="not known here"):
        ArrowSerializer().loads(blob)


def test_unknown_options_of_the_future() -> None:
    """A configuration that this version cannot meet can still be looked at."""
    stranger = Serializer.from_configuration({"type": "arrow", "compression": "future"})
    assert type(stranger) is UnknownSerializer
