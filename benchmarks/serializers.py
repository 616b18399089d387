"""What it costs to keep a frame of a million rows: bytes in the file, and the time to write and to read a record.

::

    python benchmarks/serializers.py [rows]

Needs polars, pandas, pyarrow, zstandard and lz4, which the dependency group ``test`` has.
"""

import io
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from mainspring.results import ResultRecord, ResultRecordMetadata
from mainspring.serializers import (
    ArrowSerializer,
    CompressedPickleSerializer,
    LZ4Serializer,
    PickleSerializer,
    Serializer,
    ZstdSerializer,
)

ROUNDS = 5


class ParquetSerializer(Serializer[Any]):
    """What a serializer for Parquet would do at least."""

    type: str = "parquet"

    def dumps(self, obj: Any) -> bytes:
        file = io.BytesIO()
        if isinstance(obj, pl.DataFrame):
            obj.write_parquet(file, compression="zstd")
        else:
            obj.to_parquet(file, compression="zstd")
        return file.getvalue()

    def loads(self, blob: bytes) -> Any:
        return pl.read_parquet(blob)


class PandasParquetSerializer(ParquetSerializer):
    """The same for pandas."""

    type: str = "parquet of pandas"

    def loads(self, blob: bytes) -> Any:
        import pandas as pd  # type: ignore[import-untyped]

        return pd.read_parquet(io.BytesIO(blob))


def frame(rows: int) -> pl.DataFrame:
    """Orders as they may come out of a shop: numbers, moments, few and many different texts, missing values."""
    random = np.random.default_rng(1)
    cities = np.array(["London", "Paris", "Berlin", "Rome", "Madrid", "Vienna", "Prague", "Oslo"])
    start = np.datetime64("2024-01-01", "us")
    made = pl.DataFrame(
        {
            "id": np.arange(rows),
            "price": np.round(random.lognormal(3, 1, rows), 2),
            "noise": random.normal(size=rows),
            "count": random.poisson(4, rows).astype(np.int32),
            "city": cities[random.integers(0, len(cities), rows)],
            "comment": [f"order {each}" for each in random.integers(0, 10**9, rows)],
            "ok": random.random(rows) < 0.9,
            "at": start + np.cumsum(random.integers(0, 10**7, rows)).astype("timedelta64[us]"),
        }
    )
    return made.with_columns(discount=pl.when(pl.col("count") > 2).then(pl.col("price") / 10))


def best(call: Callable[[], Any], rounds: int) -> tuple[Any, float]:
    """What the call returns, and the shortest time that it took, in milliseconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - began)
    return result, min(times) * 1000


def measure(name: str, value: Any, serializer: Serializer[Any], rounds: int = ROUNDS) -> None:
    """Print one row of the table."""
    metadata = ResultRecordMetadata(serializer=serializer)
    content, writing = best(ResultRecord(value, metadata).serialize, rounds)
    _, reading = best(lambda: ResultRecord.deserialize(content).result, rounds)
    print(f"| {name:24} | {len(content) / 1e6:6.0f} MB | {writing:6.0f} ms | {reading:6.0f} ms |", flush=True)


def main(rows: int) -> None:
    """Print the table for Polars, pandas and numpy."""
    polars_frame = frame(rows)
    pandas_frame = polars_frame.to_pandas()
    array = np.random.default_rng(1).normal(size=(rows, 10))
    serializers: dict[str, Serializer[Any]] = {
        "pickle": PickleSerializer(),
        "lz4": LZ4Serializer(),
        "zstd": ZstdSerializer(),
        "arrow": ArrowSerializer(),
        "arrow, lz4": ArrowSerializer(compression="lz4"),
        "arrow, uncompressed": ArrowSerializer(compression=None),
    }
    for title, value in (("polars", polars_frame), ("pandas", pandas_frame)):
        for name, serializer in serializers.items():
            measure(f"{title}: {name}", value, serializer)
    measure("polars: parquet", polars_frame, ParquetSerializer())
    measure("pandas: parquet", pandas_frame, PandasParquetSerializer())
    for name in ("pickle", "lz4", "zstd"):
        measure(f"numpy: {name}", array, serializers[name])
    for library in ("zlib", "bz2", "lzma"):
        measure(f"polars: {library}", polars_frame, CompressedPickleSerializer(compressionlib=library), 1)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
