"""What it costs to hash values by their content, in passes of the fastest cryptographic hash over as many bytes.

It takes about three times the memory of the
array, which has 1 GB. Hash functions that are broken (MD5, SHA-1) do not count, however fast. `blake3` counts if it is
installed.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measuring import Figure, Meter
from mainspring.hashing import content_hash, file_hash

SIZE = 1_000_000_000  # bytes of the array
TEXT = 100_000_000  # bytes of what is made of Python objects or of texts
LENGTH = 20  # characters of a text
BUDGET = 1.5

SAFE = ("sha256", "sha384", "sha512", "sha3_256", "blake2b", "blake2s")  # of what hashlib has everywhere


class Subject(NamedTuple):
    """What is hashed.

    Attributes:
        name: What to call it.
        size: How many bytes its content has.
        make: Makes it.
        hash: Hashes it.
        budget: In passes.
    """

    name: str
    size: int
    make: Callable[[], Any]
    hash: Callable[[Any], object] = content_hash
    budget: float | None = None


def algorithms() -> dict[str, Callable[[Any], Any]]:
    """The cryptographic hash functions that there are, by name."""
    found: dict[str, Callable[[Any], Any]] = {name: getattr(hashlib, name) for name in SAFE}
    if find_spec("blake3"):
        found["blake3"] = importlib.import_module("blake3").blake3
    return found


def fastest(data: memoryview, meter: Meter) -> tuple[str, Callable[[Any], Any]]:
    """The quickest of them on a part of some data."""
    found = algorithms()
    part = data[: TEXT // 4]
    name = min(found, key=lambda name: meter.best(lambda: found[name](part).digest()))
    return name, found[name]


def subjects(array: Any, size: int, home: Path) -> Iterator[Subject]:
    """Everything that is hashed, one after the other: what one of them takes is free again for the next."""
    few = min(size, TEXT)
    rows = range(few // LENGTH)

    def texts() -> list[str]:
        return [f"{number:0{LENGTH}}" for number in rows]

    def file() -> Path:
        path = home / "data"
        path.write_bytes(memoryview(array).cast("B"))
        return path

    yield Subject("numpy array of float64", size, lambda: array, budget=BUDGET)
    yield Subject("numpy array in Fortran order", size, lambda: array.reshape(-1, 10).copy(order="F"))
    yield Subject("bytes", size, array.tobytes)
    yield Subject("bytearray", size, lambda: bytearray(array))
    yield Subject("content of a file, file_hash", size, file, file_hash)
    yield Subject("content of a file, file_hash with SHA-256", size, file, _sha256_of)
    yield Subject("list of float", few, lambda: array[: few // 8].tolist())
    yield Subject("list of str", few, texts)
    yield Subject("set of str", few // 10, lambda: set(texts()[: len(rows) // 10]))
    yield Subject("list of paths", few // 10, lambda: [Path(text) for text in texts()[: len(rows) // 10]])
    columns = {f"c{number}": column for number, column in enumerate(array.reshape(10, -1))}
    if find_spec("pandas"):
        pandas = importlib.import_module("pandas")
        yield Subject("pandas frame of float64", size, lambda: pandas.DataFrame(columns))
        yield Subject("pandas series of str", few, lambda: pandas.Series(texts()))
        yield Subject("pandas series of object", few, lambda: pandas.Series(texts(), dtype=object))
    if find_spec("polars"):
        polars = importlib.import_module("polars")
        yield Subject("polars frame of float64", size, lambda: polars.DataFrame(columns))
        yield Subject("polars series of str", few, lambda: polars.Series(texts()))
    if find_spec("pyarrow"):
        pyarrow = importlib.import_module("pyarrow")
        yield Subject("Arrow array of float64", size, lambda: pyarrow.array(array))
        yield Subject("Arrow array of str", few, lambda: pyarrow.array(texts()))


def _sha256_of(path: Path) -> str:
    return file_hash(path, hashlib.sha256)


def measure(meter: Meter, home: Path) -> list[Figure]:
    """All figures, each measured in this process and this run."""
    numpy = importlib.import_module("numpy")
    size = SIZE // 1_000 if meter.is_quick else SIZE
    array = numpy.random.default_rng(0).random(size // 8)
    data = memoryview(array).cast("B")
    name, algorithm = fastest(data, meter)
    unit = meter.best(lambda: algorithm(data).digest())
    figures = [Figure(f"one pass of {name} over {size / 1e6:,.0f} MB", unit, unit)]
    for subject in subjects(array, size, home):
        figures.append(compared(meter, subject, algorithm, data[: subject.size]))
    return figures


def compared(meter: Meter, subject: Subject, algorithm: Callable[[Any], Any], data: memoryview) -> Figure:
    """What a subject takes, in passes over as many bytes."""
    value = subject.make()
    seconds, unit = meter.by_turns(lambda: subject.hash(value), lambda: algorithm(data).digest())
    return Figure(f"{subject.name}, {subject.size / 1e6:,.0f} MB", seconds, unit, subject.budget)
