"""Frames of pandas as Arrow tables and back, with nothing changed.

What pyarrow itself does with a frame is meant for other programs: object columns become strings, labels become texts,
and frequencies, unused categories and some types are lost. Here each column and each level of the index is an array
of the table, and a description in the metadata of its schema says what to make of it. What cannot be had back exactly
is a TypeError that names it.
"""

from __future__ import annotations

import math
import sys
from datetime import date, time
from decimal import Decimal
from typing import Any

from mainspring.serializers.base import load_library

__all__ = ["from_table", "to_table"]

_DESCRIPTION = b"mainspring"
_LABELS = b"mainspring.labels"
_OBJECTS: frozenset[type] = frozenset({str, bytes, bool, int, date, time, Decimal})
_NUMPY_KINDS = "biufmM"


def to_table(frame: Any) -> Any:
    """The frame as an Arrow table.

    Raises:
        TypeError: Something about it would not come back as it is.
        ConfigurationError: pyarrow is not installed.
    """
    pyarrow = load_library("pyarrow")
    columns = [
        _write_values(pyarrow, frame.iloc[:, position], f"its column {label!r}")
        for position, label in enumerate(frame.columns)
    ]
    levels, index = _write_index(pyarrow, frame.index, "its index")
    labels, header = _write_index(pyarrow, frame.columns, "the index of its columns")
    description = {
        "kinds": [kind for _, kind in columns],
        "index": index,
        "columns": header,
        "attrs": frame.attrs,
        "allows_duplicate_labels": frame.flags.allows_duplicate_labels,
    }
    metadata = {_DESCRIPTION: _as_json(description)}
    if labels:
        metadata[_LABELS] = _as_stream(pyarrow, labels)
    names = [str(label) for label in frame.columns]
    for number in range(len(levels)):
        name = frame.index.names[number]
        names.append(f"__index_level_{number}__" if name is None else str(name))
    schema = pyarrow.schema(
        zip(names, [*(array.type for array, _ in columns), *(level.type for level in levels)], strict=True),
        metadata,
    )
    return pyarrow.Table.from_arrays([*(array for array, _ in columns), *levels], schema=schema)


def from_table(table: Any) -> Any:
    """The frame that the table was made from."""
    pandas, arrow = load_library("pandas"), load_library("pyarrow.ipc")
    metadata = table.schema.metadata
    import json  # on use: most programs need msgspec only

    description = json.loads(metadata[_DESCRIPTION])
    kinds = description["kinds"]
    index = _read_index(pandas, table.columns[len(kinds) :], description["index"])
    columns: dict[int, Any] = {}
    for position, kind in enumerate(kinds):
        values = _read_values(pandas, table.column(position), kind)
        # said again, as pandas makes other types of objects
        columns[position] = pandas.Series(values, index, values.dtype) if values.dtype == "object" else values
    frame = pandas.DataFrame(columns, index)
    labels: list[Any] = arrow.open_stream(metadata[_LABELS]).read_all().columns if _LABELS in metadata else []
    frame.columns = _read_index(pandas, labels, description["columns"])
    frame.attrs = description["attrs"]
    frame.flags.allows_duplicate_labels = description["allows_duplicate_labels"]
    return frame


def _as_json(description: dict[str, Any]) -> bytes:
    import json

    text = json.dumps(description)
    if repr(json.loads(text)) != repr(description):  # which tells types as well
        raise TypeError("its attrs, or a name of an index, is not what JSON can give back")
    return text.encode()


def _as_stream(pyarrow: Any, arrays: list[Any]) -> bytes:
    names = [str(number) for number in range(len(arrays))]
    batch = pyarrow.RecordBatch.from_arrays([_joined(array) for array in arrays], names)
    sink = pyarrow.BufferOutputStream()
    with load_library("pyarrow.ipc").new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


# Columns


def _write_values(pyarrow: Any, values: Any, what: str) -> tuple[Any, dict[str, Any]]:
    """A series or an index as an Arrow array, and what to make of it."""
    pandas = sys.modules["pandas"]
    kind = values.dtype
    if kind == "object":
        return _write_objects(pyarrow, values.to_numpy(), what)
    if isinstance(kind, pandas.CategoricalDtype):
        return _write_categories(pyarrow, values.array, what)
    try:
        if not isinstance(kind, pandas.api.extensions.ExtensionDtype):
            if kind.kind not in _NUMPY_KINDS:
                raise TypeError("numbers of this kind are unknown to it")
            return pyarrow.array(values.to_numpy()), {"type": str(kind)}
        array, described = pyarrow.array(values.array), _describe(pandas, kind)
        if isinstance(array, pyarrow.ExtensionArray):
            array = array.storage  # as whoever reads may not know the type
        read = _read_values(pandas, _chunked(pyarrow, array), described)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise TypeError(f"{what} has the type {kind}, for which Arrow will not do: {error}") from error
    if read.dtype != kind or not read.equals(values.array):
        raise TypeError(f"{what} has the type {kind} and would change")
    return array, described


def _describe(pandas: Any, kind: Any) -> dict[str, Any]:
    if isinstance(kind, pandas.StringDtype):
        return {"type": "string", "storage": kind.storage, "nan": kind.na_value is not pandas.NA}
    if isinstance(kind, pandas.ArrowDtype):
        return {"type": "arrow"}
    return {"type": str(kind)}


def _read_values(pandas: Any, column: Any, described: dict[str, Any]) -> Any:
    """What a description makes of a column."""
    name = described["type"]
    if name == "objects":
        return _read_objects(pandas, column, described)
    if name == "categories":
        return _read_categories(pandas, column, described)
    if name == "arrow":
        kind = pandas.ArrowDtype(column.type)
    elif name == "string":
        missing: dict[str, Any] = {"na_value": math.nan} if described["nan"] else {}
        kind = pandas.StringDtype(described["storage"], **missing)
    else:
        kind = pandas.api.types.pandas_dtype(name)
    if isinstance(kind, pandas.api.extensions.ExtensionDtype):
        return kind.__from_arrow__(column)
    return column.to_numpy().astype(kind, copy=False)


def _write_categories(pyarrow: Any, values: Any, what: str) -> tuple[Any, dict[str, Any]]:
    array, described = _write_values(pyarrow, values.categories, f"the categories of {what}")
    codes = pyarrow.array(values.codes, mask=values.codes < 0)
    dictionary = pyarrow.DictionaryArray.from_arrays(codes, _joined(array), ordered=values.ordered)
    return dictionary, {"type": "categories", "categories": described, "ordered": values.ordered}


def _read_categories(pandas: Any, column: Any, described: dict[str, Any]) -> Any:
    pyarrow = sys.modules["pyarrow"]
    array = _joined(column)
    categories = _read_values(pandas, _chunked(pyarrow, array.dictionary), described["categories"])
    kind = pandas.CategoricalDtype(_index_of(pandas, categories), described["ordered"])
    codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return pandas.Categorical.from_codes(codes, dtype=kind)


def _write_objects(pyarrow: Any, values: Any, what: str) -> tuple[Any, dict[str, Any]]:
    kinds = set(map(type, values))
    missing = None
    if float in kinds and all(each != each for each in values if type(each) is float):
        missing = math.nan
    held: set[type] = kinds - {type(missing)}
    if len(held) > 1 or not held <= _OBJECTS:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise TypeError(
            f"{what} has the type object and holds {names}. Arrow has columns of one type;"
            " convert_dtypes() or astype() may give it one"
        )
    described = {"type": "objects", "nan": missing is not None}
    types: dict[type, Any] = {str: pyarrow.large_string(), bytes: pyarrow.large_binary()}
    array = pyarrow.array(values, types.get(next(iter(held), float)), from_pandas=True)
    read = _read_objects(sys.modules["pandas"], _chunked(pyarrow, array), described)
    if not held <= {str, bytes} and list(map(repr, read)) != list(map(repr, values)):
        raise TypeError(f"{what} has the type object and would change")
    return array, described


def _read_objects(pandas: Any, column: Any, described: dict[str, Any]) -> Any:
    pyarrow, numpy = sys.modules["pyarrow"], sys.modules["numpy"]
    if column.type in (pyarrow.large_string(), pyarrow.large_binary()):
        values = column.to_numpy()
    else:
        values = numpy.array(column.to_pylist(), dtype=object)
    if described["nan"]:
        values[pandas.isna(values)] = math.nan
    return values


# Indexes


def _write_index(pyarrow: Any, index: Any, what: str) -> tuple[list[Any], dict[str, Any]]:
    """The levels of an index as arrays, and what to make of them; a range needs none."""
    pandas = sys.modules["pandas"]
    if type(index) is pandas.RangeIndex:
        return [], {"range": [index.start, index.stop, index.step], "names": [index.name]}
    levels = [_write_values(pyarrow, index.get_level_values(number), what) for number in range(index.nlevels)]
    dated = isinstance(index, pandas.DatetimeIndex | pandas.TimedeltaIndex) and index.freq is not None
    described = {
        "kinds": [kind for _, kind in levels],
        "names": list(index.names),
        "multi": isinstance(index, pandas.MultiIndex),
        "frequency": index.freqstr if dated else None,
    }
    arrays = [array for array, _ in levels]
    read = _read_index(pandas, [_chunked(pyarrow, array) for array in arrays], described)
    if _facts(read) != _facts(index) or not read.identical(index):
        raise TypeError(f"{what} would change")
    return arrays, described


def _read_index(pandas: Any, levels: list[Any], described: dict[str, Any]) -> Any:
    names = described["names"]
    if "range" in described:
        return pandas.RangeIndex(*described["range"], name=names[0])
    read = [
        _index_of(pandas, _read_values(pandas, level, kind))
        for level, kind in zip(levels, described["kinds"], strict=True)
    ]
    if described["multi"]:
        return pandas.MultiIndex.from_arrays(read, names=names)
    index = read[0].rename(names[0])
    if described["frequency"] is not None:
        index.freq = described["frequency"]
    return index


def _facts(index: Any) -> tuple[Any, ...]:
    """What an index is besides its labels and its names."""
    types = list(index.dtypes) if index.nlevels > 1 else [index.dtype]
    return index.__class__, types, getattr(index, "freq", None)


def _index_of(pandas: Any, values: Any) -> Any:
    return pandas.Index(values, dtype=values.dtype, copy=False)


def _joined(column: Any) -> Any:
    """A column as one array."""
    if not hasattr(column, "chunks"):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _chunked(pyarrow: Any, array: Any) -> Any:
    """An array as the column that it will be read as."""
    return array if hasattr(array, "chunks") else pyarrow.chunked_array([array])
