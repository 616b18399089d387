"""mainspring's own end of the comparison with its peers, which are measured by other interpreters."""

from __future__ import annotations

from pathlib import Path

from mainspring import __version__
from mainspring.recording import close_recorders
from mainspring.settings import temporary_settings
from measuring import Figure, Meter, main
from overhead import empty, inline
from results import FOUND, cached, fresh, kept, resumed, silence, step, within

STEPS = 200  # as many as DBOS takes in about the same time


def measure(meter: Meter, home: Path) -> list[Figure]:
    """What the peers do, too."""
    silence()
    unit = meter.yardstick()
    name = f"mainspring {__version__}"
    figures = [Figure(f"{name}: yardstick in its environment", unit, unit)]
    for durability in ("process", "disk"):
        with temporary_settings({"home": home / durability, "durability": durability}):
            paths = {
                "task without a kept result": inline(meter),
                "kept result": within(lambda: meter.per_call(lambda: kept(FOUND))),
                "step of a flow that can be resumed": within(
                    lambda: meter.per_call(lambda: step(next(fresh)))
                ),
                "cache miss": within(lambda: meter.per_call(lambda: cached(next(fresh)))),
                "cache hit": within(lambda: meter.per_call(lambda: cached(FOUND))),
                "step of a resumed flow": resumed(meter, min(STEPS, meter.calls)),
                "flow run of no tasks": meter._replace(calls=max(1, meter.calls // 10)).per_call(empty),
            }
            figures += [Figure(f"{name}, {durability}: {path}", took, unit) for path, took in paths.items()]
    close_recorders()
    return figures


if __name__ == "__main__":
    main(measure, __doc__, "mainspring")
