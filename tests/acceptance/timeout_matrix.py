"""How soon after its deadline a run is recorded and its slot free, for calls that block, wherever they run.

``python -m tests.acceptance.timeout_matrix`` prints the table; ``--page docs/explanation/timeouts.md`` puts it into a
page. Each cell is a process of its own, watched from outside: what does not reach the run store does not count.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tests.acceptance.blocking import CALLS, PLACES

__all__ = ["Cell", "measure"]

ROOT = Path(__file__).parents[2]
STATE = "SELECT state_name FROM task_runs WHERE name LIKE 'blocked%'"


class Cell(NamedTuple):
    """What was seen of one run. Times are seconds after the deadline; None for what was not seen.

    Args:
        recorded: When its state was in the store.
        freed: When its slot was free.
        is_alive: Whether its neighbour did something between the deadline and the end of the call.
        blocked: When the call would have ended by itself.
        state: The name of the state.
    """

    recorded: float | None
    freed: float | None
    is_alive: bool
    blocked: float
    state: str

    def __str__(self) -> str:
        if self.recorded is None or self.freed is None:
            return "not seen"
        later = max(self.recorded, self.freed, 0.0)
        text = f"{later * 1000:,.0f} ms" if later < self.blocked / 2 else "when it returns"
        return text if self.is_alive else f"{text} (stops others)"


def measure(call: str, place: str, limit: float = 0.5, blocked: float = 4.0) -> Cell:
    """Run one cell and watch it.

    Args:
        call: The call that blocks.
        place: Where it does.
        limit: The limit of the task in seconds.
        blocked: How many seconds the call takes.

    Raises:
        TimeoutError: It has not begun.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        _program(call, place, Path(folder), limit, blocked) as notes,
    ):
        begun = _wait_for_begin(notes)
        deadline = begun + limit
        until = begun + blocked
        recorded, state, freed = None, "", None
        database = Path(folder) / "home" / "mainspring.db"
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)
        try:
            while (recorded is None or freed is None) and time.time() < until + 20:
                if recorded is None:
                    row = connection.execute(STATE).fetchone()
                    if row is not None and row[0] not in ("Pending", "Running"):
                        recorded, state = time.time() - deadline, str(row[0])
                if freed is None and time.time() > deadline - limit / 2 and not _slots_taken(connection):
                    freed = time.time() - deadline
                time.sleep(0.002)
        finally:
            connection.close()
        is_alive = False
        while not is_alive and time.time() < until + 1:
            is_alive = any(deadline + 0.05 < at < until - 0.5 for at in _times(notes, "alive"))
            if time.time() > until:
                break
            time.sleep(0.02)
        return Cell(recorded, freed, is_alive, until - deadline, state)


@contextmanager
def _program(call: str, place: str, folder: Path, limit: float, blocked: float) -> Iterator[Path]:
    notes = folder / "notes"
    variables = {
        **os.environ,
        "MAINSPRING_HOME": str(folder / "home"),
        "NOTES": str(notes),
        "BLOCKING_LIMIT": str(limit),
        "BLOCKING_SECONDS": str(blocked),
    }
    command = [sys.executable, "-m", "tests.acceptance.blocking", call, place]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=variables, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield notes
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def _wait_for_begin(notes: Path) -> float:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for at in _times(notes, "begun"):
            return at
        time.sleep(0.005)
    raise TimeoutError(f"The task did not begin: {(notes.parent / 'output').read_text()}")


def _times(notes: Path, text: str) -> list[float]:
    if not notes.exists():
        return []
    lines = notes.read_text(encoding="ascii").splitlines()
    return [int(line.split()[1]) / 1e6 for line in lines if line.startswith(text)]


def _slots_taken(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM slots LIMIT 1").fetchone())


def _table() -> str:
    places = list(PLACES)
    rows = [f"| call that blocks | {' | '.join(places)} |", f"|---{'|--:' * len(places)}|"]
    for call in CALLS:
        cells = []
        for place in places:
            cell = measure(call, place)
            print(f"{call:40} {place:20} {cell} {cell!r}", file=sys.stderr, flush=True)
            cells.append(str(cell))
        rows.append(f"| {call} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _circumstances() -> str:
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version},"
        f" {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    )


def main() -> None:
    """Measure all cells."""
    form = argparse.ArgumentParser(description=__doc__)
    form.add_argument("--page", type=Path, help="put the table into this page, in place of the one there")
    options = form.parse_args()
    text = f"{_circumstances()}\n\n{_table()}"
    if options.page is None:
        print(text)
        return
    page = options.page.read_text(encoding="utf-8")
    begin, end = "<!-- matrix -->", "<!-- end of matrix -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    options.page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
