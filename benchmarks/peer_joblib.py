"""joblib's end of the comparison: `joblib.Memory` with the same function and the same arguments."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path
from typing import Any

from measuring import Figure, Meter, answer, main


def measure(meter: Meter, home: Path) -> list[Figure]:
    """A call that computes and keeps, and one that finds what was kept."""
    joblib: Any = importlib.import_module("joblib")
    unit = meter.yardstick()
    cached = joblib.Memory(home, verbose=0).cache(answer)
    fresh = itertools.count()
    name = f"joblib {joblib.__version__}"
    return [
        Figure(f"{name}: yardstick in its environment", unit, unit),
        Figure(f"{name}: Memory, miss", meter.per_call(lambda: cached(next(fresh))), unit),
        Figure(f"{name}: Memory, hit", meter.per_call(lambda: cached(0)), unit),
    ]


if __name__ == "__main__":
    main(measure, __doc__, "joblib")
