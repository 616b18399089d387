"""Arrays, frames and tables as plainer values, so that they can be hashed by content.

Each transform takes a value apart into names, numbers and buffers (`memoryview`). Buffers are the memory of the value
itself where it is contiguous. The libraries are never imported here: a transform only runs when a value of its
type exists, and takes what it needs from ``sys.modules``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = ["STABLE_TRANSFORMS"]

ROWS = 1 << 20  # texts of a polars column that are joined at a time


def names_of(kind: type) -> tuple[type | str, ...]:
    """The keys under which a transform for ``kind`` may stand: each class it derives from, and its full name.

    Of the module only the top-level package counts, since libraries move their classes about.
    """
    keys: list[type | str] = []
    for base in kind.__mro__[:-1]:
        keys += [base, f"{base.__module__.partition('.')[0]}.{base.__qualname__}"]
    return tuple(keys)


# numpy


def _array(value: Any) -> Any:
    """Type, shape and elements in C order, whatever the order in memory. A memory map counts as what it holds."""
    numpy = sys.modules["numpy"]
    state = None if type(value).__name__ == "memmap" else getattr(value, "__dict__", None)
    return *_elements(numpy, numpy.asarray(value)), state or None


def _elements(numpy: Any, value: Any) -> tuple[Any, ...]:
    kind = value.dtype
    if kind.names:  # field by field, since there may be gaps with anything in them
        return "record", value.shape, [(name, _elements(numpy, value[name])) for name in kind.names]
    if kind.hasobject or kind.kind == "T":
        return kind.str, value.shape, value.ravel().tolist()
    small = kind.newbyteorder("<")
    value = numpy.ascontiguousarray(value if kind == small else value.astype(small))
    data = memoryview(value.reshape(-1).view(numpy.uint8)) if value.nbytes else b""
    return small.str, value.shape, data


def _masked(value: Any) -> Any:
    numpy = sys.modules["numpy"]
    mask = numpy.ma.getmaskarray(value)
    return _array(numpy.where(mask, numpy.zeros((), value.dtype), value.data)), mask


# pandas


def _frame(value: Any) -> Any:
    columns = [_column(value.iloc[:, index]) for index in range(value.shape[1])]
    return {"columns": value.columns, "index": value.index, "values": columns, "attrs": value.attrs}


def _series(value: Any) -> Any:
    return {"name": value.name, "index": value.index, "values": _column(value), "attrs": value.attrs}


def _index(value: Any) -> Any:
    if hasattr(value, "levels"):
        return value.names, [_column(value.get_level_values(index)) for index in range(value.nlevels)]
    return value.names, _column(value)


def _range_index(value: Any) -> Any:
    return value.names, value.start, value.stop, value.step


def _column(value: Any) -> Any:
    """The type and the values of a series or an index, without names."""
    kind = value.dtype
    return str(kind), _values(value.array, kind)


def _values(values: Any, kind: Any) -> Any:
    name = type(kind).__name__
    if not hasattr(kind, "na_value"):  # a numpy type
        return values.to_numpy()
    if name == "StringDtype":  # the same whatever keeps the texts: Python, or Arrow if it is installed
        missing = values.isna()
        return missing, values[~missing].tolist()
    if name == "CategoricalDtype":
        return values.codes, _column(values.categories), values.ordered
    if name == "DatetimeTZDtype":
        return values.asi8
    if name == "ArrowDtype":
        return values.__arrow_array__()
    if getattr(kind, "kind", "O") in "iufb":  # with a mask beside the values
        missing = values.isna()
        return values.to_numpy(dtype=kind.type, na_value=kind.type(0)), missing
    return list(values)


# polars


def _polars_frame(value: Any) -> Any:
    return {"columns": value.columns, "values": [_polars_values(series) for series in value.get_columns()]}


def _polars_series(value: Any) -> Any:
    return {"name": value.name, "values": _polars_values(value)}


def _polars_values(series: Any) -> Any:
    """The type, which values are missing, and the others, in terms of plain arrays."""
    polars = sys.modules["polars"]
    series = series.rechunk()
    kind = series.dtype
    missing = series.is_null().cast(polars.UInt8).to_numpy() if series.null_count() else None
    return repr(kind), len(series), missing, _polars_present(polars, series.drop_nulls(), kind)


def _polars_present(polars: Any, series: Any, kind: Any) -> Any:
    """The values of a series in which none is missing."""
    base = kind.base_type()
    if base in (polars.Categorical, polars.Enum, polars.Decimal):
        series, base = series.cast(polars.String), polars.String
    if base is polars.String:
        texts = [series.slice(at, ROWS).str.join("").item() for at in range(0, len(series), ROWS)]
        return series.str.len_bytes().to_numpy(), texts
    if base is polars.Boolean:
        return series.cast(polars.UInt8).to_numpy()
    if base in (polars.Int128, getattr(polars, "UInt128", None)):  # unknown to numpy
        return series.to_list()
    if base.is_numeric() or base.is_temporal():
        return series.to_physical().to_numpy()
    if base is polars.List:
        return series.list.len().to_numpy(), _polars_values(series.filter(series.list.len() > 0).explode())
    if base is polars.Array:
        return _polars_values(series.explode()) if kind.size else None
    if base is polars.Struct:
        return [_polars_values(series.struct.field(field.name)) for field in kind.fields]
    return series.to_list()


# Arrow


def _table(value: Any) -> Any:
    columns = [_chunked(column) for column in value.columns]
    return {"columns": value.schema.names, "metadata": value.schema.metadata, "values": columns}


def _batch(value: Any) -> Any:
    columns = [_arrow(column) for column in value.columns]
    return {"columns": value.schema.names, "metadata": value.schema.metadata, "values": columns}


def _chunked(value: Any) -> Any:
    return _arrow(value.chunk(0) if value.num_chunks == 1 else value.combine_chunks())


def _arrow(value: Any) -> Any:
    """The type, which values are missing, and the others, in terms of buffers."""
    pyarrow = sys.modules["pyarrow"]
    if isinstance(value, pyarrow.ChunkedArray):
        return _chunked(value)
    kind = str(value.type)
    if kind.endswith("_view"):  # views are not for comparing: they say where in memory a text is
        value = value.cast(pyarrow.large_string() if kind == "string_view" else pyarrow.large_binary())
    missing = None
    if value.null_count:
        missing = _fixed(value.is_null().cast("uint8"))
        value = value.drop_null()
    return kind, len(value), missing, _arrow_present(pyarrow, value)


def _arrow_present(pyarrow: Any, value: Any) -> Any:
    """The values of an array in which none is missing."""
    kind = value.type
    types = pyarrow.types
    if isinstance(value, pyarrow.ExtensionArray):
        return _arrow(value.storage)
    if types.is_dictionary(kind):
        return _arrow(value.dictionary_decode())
    if types.is_boolean(kind):
        return _fixed(value.cast("uint8"))
    compute: Any = import_module("pyarrow.compute")  # a part of what is loaded already
    if types.is_string(kind):
        value, kind = value.cast(pyarrow.large_string()), pyarrow.large_string()
    if types.is_binary(kind):
        value, kind = value.cast(pyarrow.large_binary()), pyarrow.large_binary()
    if types.is_large_string(kind) or types.is_large_binary(kind):
        lengths = compute.binary_length(value)
        offsets: Any = memoryview(value.buffers()[1]).cast("q") if len(value) else [0]
        first, last = offsets[value.offset], offsets[value.offset + len(value)]
        data = value.buffers()[2]
        return _fixed(lengths), memoryview(data)[first:last] if last > first else b""
    if types.is_primitive(kind) or types.is_decimal(kind) or types.is_fixed_size_binary(kind):
        return _fixed(value)
    if types.is_struct(kind):
        return [(kind.field(index).name, _arrow(part)) for index, part in enumerate(value.flatten())]
    if types.is_list(kind) or types.is_large_list(kind):
        return _fixed(compute.list_value_length(value)), _arrow(value.flatten())
    if types.is_fixed_size_list(kind):
        return _arrow(value.flatten())
    return value.to_pylist()


def _fixed(value: Any) -> Any:
    """The memory of an array of values of one size."""
    data = value.buffers()[1]
    size = value.type.bit_width // 8
    if data is None or not len(value):
        return b""
    return memoryview(data)[value.offset * size : (value.offset + len(value)) * size]


STABLE_TRANSFORMS: dict[type | str, Callable[[Any], Any]] = {
    "numpy.MaskedArray": _masked,
    "numpy.ndarray": _array,
    "numpy.generic": _array,
    "pandas.DataFrame": _frame,
    "pandas.Series": _series,
    "pandas.RangeIndex": _range_index,
    "pandas.Index": _index,
    "polars.DataFrame": _polars_frame,
    "polars.Series": _polars_series,
    "pyarrow.Table": _table,
    "pyarrow.RecordBatch": _batch,
    "pyarrow.ChunkedArray": _chunked,
    "pyarrow.Array": _arrow,
}
"""Functions that make plainer values, by class, or by ``"package.Class"`` for a class that may not be loaded.

The entry for the nearest base class counts. What the function returns is hashed in place of the value, together with
the name of the value's class. Add to it, replace or remove entries; do so before values are hashed, in every process.
Plain built-in types are not looked up.
"""
