"""The kill loops by hand, with the time that each death took to be noticed.

::

    python -m tests.deaths 200              # noticed by the next opening
    python -m tests.deaths 200 --peer       # noticed by a process that is running

``programs``   what the processes do
``processes``  starting them, and what they leave
``loops``      one death, and its discovery
"""

from __future__ import annotations

import argparse
import random
import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.deaths.loops import killed_and_opened, killed_beside_a_peer, prepare
from tests.deaths.processes import start


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.deaths")
    parser.add_argument("rounds", type=int, nargs="?", default=20)
    parser.add_argument("--peer", action="store_true", help="a running process notices the deaths")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    dice = random.Random(options.seed)
    times: list[float] = []
    held = [0, 0, 0]
    problems = 0
    with TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        with start("watching", folder) if options.peer else nullcontext() as peer:
            if peer is not None:
                peer.wait_for("begun")
            for _ in range(options.rounds):
                if options.peer:
                    seconds, before = killed_beside_a_peer(folder, dice)
                else:
                    seconds, before, after = killed_and_opened(folder, dice)
                    problems += after != (0, 0, 0)
                times.append(seconds)
                held = [total + number for total, number in zip(held, before, strict=True)]
    times.sort()
    print(
        f"seed {options.seed}: {len(times)} deaths, with {held[0]} unfinished runs, {held[1]} slots, {held[2]} locks"
    )
    print(f"noticed after {times[len(times) // 2]:.3f} s in the median, {times[-1]:.3f} s at most")
    print(f"{problems} with something left over")
    return int(bool(problems) or times[-1] >= 1)


if __name__ == "__main__":
    sys.exit(main())
