"""One round of the loops by hand.

::

    python -m tests.durability small --kill 17 --kill 5     # die at point 17, and at point 5 of the resume
    python -m tests.durability small --fault full --at 30   # the 30th statement finds the disk full
    python -m tests.durability small --trace                # all points of a run that meets nothing

``programs``    flows, and what each comes to whatever happens on the way
``journal``     what tasks and hooks did, as they tell it themselves
``points``      where a process can die or meet a fault, in the child
``child``       what a child does
``nursery``     where children come from
``invariants``  what holds for every store
``accounts``    the journal against the store
``loops``       one round: run, die, resume, check; and many of them
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.durability.loops import Round
from tests.durability.nursery import Nursery
from tests.durability.points import DATABASE_FAULTS, STORAGE_FAULTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.durability")
    parser.add_argument("program")
    parser.add_argument("--kill", type=int, action="append", default=[], metavar="POINT")
    parser.add_argument("--fault", choices=[*DATABASE_FAULTS, *STORAGE_FAULTS])
    parser.add_argument("--at", type=int, default=1)
    parser.add_argument("--lasts", action="store_true", help="all that follows fails, too")
    parser.add_argument("--trace", action="store_true", help="tell what passes")
    options = parser.parse_args()
    trace = {"TRACE": "1"} if options.trace else {}
    trials = [{"KILL_AT": str(point), **trace} for point in options.kill]
    if options.fault:
        lasts = {"FAULT_LASTS": "1"} if options.lasts else {}
        trials.append({"FAULT": options.fault, "FAULT_AT": str(options.at), **lasts, **trace})
    with Nursery() as nursery:
        played = Round(nursery, options.program, Path(tempfile.mkdtemp()))
        played.play(*(trials or [trace]))
    print(played.story())
    return int(bool(played.problems))


if __name__ == "__main__":
    sys.exit(main())
