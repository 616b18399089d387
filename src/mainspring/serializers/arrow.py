"""Results as Arrow files: data frames and tables, small, quick, and for every program that reads Arrow."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple
from zlib import crc32

from mainspring.exceptions import ConfigurationError, SerializationError
from mainspring.serializers.base import Serializer, load_library
from mainspring.serializers.pandas_tables import from_table, to_table

__all__ = ["ArrowSerializer"]

_MAGIC = b"ARROW1"  # with which an Arrow file begins and ends
_SEAL = Struct("<10s2sI")  # a multiple of 8 bytes, to which an Arrow file is aligned
_SEAL_NAME = b"MAINSPRING"
_COMPRESSIONS = (None, "lz4", "zstd")


class ArrowSerializer(Serializer[Any]):
    """Arrow files of data frames: Polars and pandas frames and series, Arrow tables and record batches.

    They come back as what they were, with their columns, types, categories, time zones and index. What Arrow would
    change is refused. Loading runs no code that the data chooses. Polars needs nothing else; for pandas and for Arrow
    itself pyarrow has to be installed, which is the extra ``arrow``.

    Args:
        compression: How the columns are compressed: ``zstd``, ``lz4``, or None, which is not at all.

    Raises:
        ConfigurationError: Another compression.
    """

    type: str = "arrow"
    compression: str | None = "zstd"

    def __post_init__(self) -> None:
        if self.compression not in _COMPRESSIONS:
            raise ConfigurationError(
                f"The compression of an Arrow file is 'zstd', 'lz4' or None, not {self.compression!r}."
            )

    def dumps(self, obj: Any) -> bytes:
        """The object as an Arrow file.

        Raises:
            SerializationError: It is of another class, or Arrow would change something about it.
            ConfigurationError: It needs pyarrow, which is not installed.
        """
        kind = _kind_of(obj)
        try:
            content = kind.write(obj, self.compression)
        except ConfigurationError:
            raise
        except BaseException as error:
            _raise_unless_about_data(error)
            raise SerializationError(
                f"This {kind.path} cannot be kept as Arrow: {error}. The serializers 'pickle', 'zstd' and 'lz4' take"
                " what can be pickled."
            ) from error
        return _sealed(memoryview(content), kind.mark)

    def loads(self, blob: bytes) -> Any:
        """The object that the file was made from.

        Raises:
            SerializationError: It is no such file, or a damaged one.
            ConfigurationError: It needs a package that is not installed.
        """
        kind = _BY_MARK.get(_checked_mark(blob))
        if kind is None:
            raise SerializationError("What this Arrow file was made from is not known here.")
        try:
            return kind.read(blob)
        except ConfigurationError:
            raise
        except BaseException as error:
            _raise_unless_about_data(error)
            raise SerializationError(f"This Arrow file of a {kind.path} is damaged: {error}") from error


class _Kind(NamedTuple):
    """One class that can be written."""

    mark: bytes
    path: str
    write: Callable[[Any, str | None], bytes]
    read: Callable[[bytes], Any]


def _kind_of(obj: Any) -> _Kind:
    kind: Any = obj.__class__
    for found in _KINDS:
        package, _, name = found.path.partition(".")
        # a class of a package exists only where the package is loaded
        if kind is getattr(sys.modules.get(package), name, None):
            if found.mark == _SERIES.mark and obj.name is None:
                return _UNNAMED_SERIES
            return found
    package = kind.__module__.partition(".")[0]
    path = f"{package}.{kind.__qualname__}" if package in ("numpy", "pandas", "polars", "pyarrow") else None
    if path == "polars.LazyFrame":
        raise SerializationError(
            "A polars.LazyFrame is a plan and has no rows that could be kept. Return what its collect() gives."
        )
    raise SerializationError(
        f"The serializer 'arrow' keeps data frames, series and Arrow tables, and this is a"
        f" {path or kind.__qualname__}. The serializers 'pickle', 'zstd' and 'lz4' take it if it can be pickled."
    )


def _raise_unless_about_data(error: BaseException) -> None:
    # what Polars raises about data that breaks its assumptions is no Exception
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error


# Files


def _sealed(content: memoryview, mark: bytes) -> bytes:
    """The Arrow file with a seal that says what it was made from, and has a checksum.

    Libraries that read Arrow may end the process over a damaged file, so it has to be found out before. The seal stands
    before the footer. Readers find that from the end, and all else from there, so they never meet it.
    """
    place = _footer(content)
    head, tail = content[:place], content[place:]
    return b"".join((head, _SEAL.pack(_SEAL_NAME, mark, crc32(tail, crc32(head))), tail))


def _checked_mark(blob: bytes) -> bytes:
    """What the seal says that an Arrow file was made from, after the checksum was compared.

    Raises:
        SerializationError: It is no Arrow file, has no seal, or is not as it was sealed.
    """
    content = memoryview(blob)
    if not (blob.startswith(_MAGIC) and blob.endswith(_MAGIC)):
        raise SerializationError("This is no Arrow file, or only a part of one.")
    place = _footer(content)
    start = place - _SEAL.size
    name, mark, checksum = _SEAL.unpack(content[start:place]) if start > 0 else (b"", b"", 0)
    if name != _SEAL_NAME:
        raise SerializationError(
            "This Arrow file is damaged, or was not written by this serializer. In the latter case read it with"
            " polars.read_ipc or pyarrow.ipc.open_file."
        )
    if crc32(content[place:], crc32(content[:start])) != checksum:
        raise SerializationError("This Arrow file is damaged: its checksum is another one.")
    found: bytes = mark
    return found


def _footer(content: memoryview) -> int:
    """Where the footer of an Arrow file begins; its size stands before the last word."""
    size = content[-len(_MAGIC) - 4 : -len(_MAGIC)]
    return max(0, len(content) - len(_MAGIC) - 4 - int.from_bytes(size, "little"))


# Polars


def _write_polars(frame: Any, compression: str | None) -> bytes:
    polars = sys.modules["polars"]
    for name, kind in frame.schema.items():
        _check_polars_type(polars, name, kind)
    if frame.height and not frame.width:
        raise TypeError("it has rows and no columns")
    file = io.BytesIO()
    frame.write_ipc(file, compression=compression or "uncompressed")
    file.seek(0)
    written = polars.read_ipc(file, n_rows=0).schema
    if changed := [name for name, kind in frame.schema.items() if written.get(name) != kind]:
        raise TypeError(f"Polars would change the type of {', '.join(map(repr, changed))}")
    return file.getvalue()


def _check_polars_type(polars: Any, name: str, kind: Any) -> None:
    if kind == polars.Object:
        raise TypeError(f"{name!r} holds Python objects")
    if kind.base_type() is polars.Array and not kind.size:
        raise TypeError(f"{name!r} holds arrays of no length, which Polars would write and not read")
    for field in getattr(kind, "fields", ()):
        _check_polars_type(polars, name, field.dtype)
    if inner := getattr(kind, "inner", None):
        _check_polars_type(polars, name, inner)


def _read_polars(blob: bytes) -> Any:
    return load_library("polars").read_ipc(blob)


def _write_polars_series(series: Any, compression: str | None) -> bytes:
    return _write_polars(series.to_frame(), compression)


def _read_polars_series(blob: bytes) -> Any:
    return _read_polars(blob).to_series()


# Arrow


def _write_table(table: Any, compression: str | None) -> bytes:
    arrow = load_library("pyarrow.ipc")
    # a file has one dictionary for each column, and keeps it only beside rows, if only none
    batches = table.unify_dictionaries().to_batches() or [_empty_batch(table)]
    return _write_batches(arrow, batches, compression)


def _empty_batch(table: Any) -> Any:
    pyarrow = load_library("pyarrow")
    columns = [
        column.chunk(0) if column.num_chunks else pyarrow.array([], column.type) for column in table.columns
    ]
    return pyarrow.RecordBatch.from_arrays(columns, schema=table.schema)


def _write_batch(batch: Any, compression: str | None) -> bytes:
    return _write_batches(load_library("pyarrow.ipc"), [batch], compression)


def _write_batches(arrow: Any, batches: list[Any], compression: str | None) -> bytes:
    schema = batches[0].schema
    if not len(schema) and any(batch.num_rows for batch in batches):
        raise TypeError("it has rows and no columns")
    file = io.BytesIO()
    with arrow.new_file(file, schema, options=arrow.IpcWriteOptions(compression=compression)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return file.getvalue()


def _read_table(blob: bytes) -> Any:
    table = load_library("pyarrow.ipc").open_file(blob).read_all()
    table.validate(full=True)
    return table


def _read_batch(blob: bytes) -> Any:
    batch = load_library("pyarrow.ipc").open_file(blob).get_batch(0)
    batch.validate(full=True)
    return batch


# pandas


def _write_pandas(frame: Any, compression: str | None) -> bytes:
    return _write_table(to_table(frame), compression)


def _read_pandas(blob: bytes) -> Any:
    return from_table(_read_table(blob))


def _write_pandas_series(series: Any, compression: str | None) -> bytes:
    frame = series.to_frame()
    if series.name is not None:
        label, name = _plain(frame.columns[0]), _plain(series.name)
        if type(label) is not type(name) or label != name:
            raise TypeError(f"its name {series.name!r} would change")
    return _write_pandas(frame, compression)


def _read_pandas_series(blob: bytes) -> Any:
    series = _read_pandas(blob).iloc[:, 0]
    return series.rename(_plain(series.name))


def _plain(label: Any) -> Any:
    """A label as Python has it; what pandas makes of one differs from place to place."""
    numpy = sys.modules["numpy"]
    return label.item() if isinstance(label, numpy.integer | numpy.floating | numpy.bool_) else label


def _read_unnamed_series(blob: bytes) -> Any:
    return _read_pandas_series(blob).rename(None)


_SERIES = _Kind(b"ds", "pandas.Series", _write_pandas_series, _read_pandas_series)
_UNNAMED_SERIES = _Kind(b"du", "pandas.Series", _write_pandas_series, _read_unnamed_series)
_KINDS = (
    _Kind(b"pf", "polars.DataFrame", _write_polars, _read_polars),
    _Kind(b"ps", "polars.Series", _write_polars_series, _read_polars_series),
    _Kind(b"df", "pandas.DataFrame", _write_pandas, _read_pandas),
    _SERIES,
    _Kind(b"at", "pyarrow.Table", _write_table, _read_table),
    _Kind(b"ab", "pyarrow.RecordBatch", _write_batch, _read_batch),
)
_BY_MARK = {kind.mark: kind for kind in (*_KINDS, _UNNAMED_SERIES)}
