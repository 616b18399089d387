"""What paths count, beside what was recorded: ``python -m tests.performance [--record | --profile] [PATH ...]``."""

from __future__ import annotations

import argparse

from tests.performance.counting import NAMES, PYTHON, count, profile, read_recorded, record

parser = argparse.ArgumentParser(description=f"Count what paths do, in Python {PYTHON}.")
parser.add_argument("paths", nargs="*", metavar="PATH", help=f"some of: {', '.join(NAMES)}")
parser.add_argument(
    "--record", action="store_true", help="keep the counts: tests compare with them from now on"
)
parser.add_argument(
    "--profile", action="store_true", help="list what is counted by function and by statement"
)
options = parser.parse_args()
if unknown := set(options.paths) - set(NAMES):
    parser.error(f"There is no path {', '.join(sorted(unknown))}. There are {', '.join(NAMES)}.")
recorded = read_recorded()
for path in options.paths or NAMES:
    if options.profile:
        print(f"{path}\n{profile(path)}")
        continue
    found = count(path)
    known = recorded.get(path, {})
    for name, now in found.items():
        before = known.get(name)
        change = f"{now / before - 1:+8.1%}" if now and before else ""
        told = "cannot be counted" if now is None else f"{now:14,.1f}"
        print(
            f"{path:25} {name:18} {told} {'' if before is None else f'{before:14,.1f}'} {change}", flush=True
        )
    if options.record:
        record({path: found})
