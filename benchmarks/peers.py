"""What mainspring, joblib and DBOS take to keep and to find a small result, in multiples of a thread pool's submit.

``make bench-peers`` makes an environment for each peer and runs this. A peer is measured by its own interpreter, which
measures the yardstick, too. The interpreters take turns, round after round, and of each figure the fastest counts. What
cannot be installed or run is said to be not measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from measuring import Figure, Meter, main

HERE = Path(__file__).parent
TURN = 2  # rounds that an interpreter measures in a row


def interpreter(peer: str) -> Path:
    """What runs a peer: this one for mainspring, for others that of the environment which the Makefile makes."""
    return Path(sys.executable) if peer == "mainspring" else HERE.parent / f".venv-{peer}" / "bin" / "python"


def take_turn(peer: str, meter: Meter, folder: Path) -> list[dict[str, Any]]:
    """What a peer's interpreter measures in a few rounds.

    What it leaves behind stays until all is measured: some file systems are slow to make files for a minute after many
    were deleted, and whose turn is next would pay for it.
    """
    python = interpreter(peer)
    if not python.exists():
        raise ChildProcessError("It has no environment. `make bench-peers` makes one.")
    amount = "--quick" if meter.calls < Meter().calls else f"--rounds={TURN}"
    command = [str(python), str(HERE / f"peer_{peer}.py"), "--json", f"--folder={folder}", amount]
    folder.mkdir()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"It ended with the exit code {done.returncode}."]
        raise ChildProcessError(lines[-1])
    figures: list[dict[str, Any]] = json.loads(done.stdout)["figures"]
    return figures


def fastest(turns: list[list[dict[str, Any]]]) -> list[Figure]:
    """Of each figure of one peer the fastest, and the fastest yardstick as their unit."""
    unit = min(row["unit"] for rows in turns for row in rows)
    seconds: dict[str, float] = {}
    for row in (row for rows in turns for row in rows):
        seconds[row["path"]] = min(row["seconds"], seconds.get(row["path"], row["seconds"]))
    return [Figure(path, least, unit) for path, least in seconds.items()]


def measure(meter: Meter, home: Path) -> list[Figure]:
    """All figures that can be had."""
    turns: dict[str, list[list[dict[str, Any]]]] = {"mainspring": [], "joblib": [], "dbos": []}
    problems: dict[str, str] = {}
    for turn in range(meter.rounds):
        for peer in [peer for peer in turns if peer not in problems]:
            try:
                turns[peer].append(take_turn(peer, meter, home / f"{peer}-{turn}"))
            except ChildProcessError as error:
                problems[peer] = str(error)
    figures = []
    for peer, taken in turns.items():
        if peer in problems:
            figures.append(Figure(peer, None, 1, problem=problems[peer]))
        else:
            figures += fastest(taken)
    return figures


if __name__ == "__main__":
    main(measure, __doc__, "peers")
