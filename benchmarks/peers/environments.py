"""Processes of peers: each under its own interpreter, with a time limit that ends whatever it has started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measuring import Unmeasurable

__all__ = ["PEERS", "Peer", "import_time", "take_turn"]

ROOT = Path(__file__).parents[2]
LIMIT = 300
"""Seconds that a turn of a peer may take."""


class Peer(NamedTuple):
    """A peer.

    Attributes:
        name: Of its module here, and of its environment, ``.venv-NAME``.
        begins: What its users begin with. A package may load little by itself, so names are imported that they need.
    """

    name: str
    begins: str

    @property
    def interpreter(self) -> Path:
        """What runs it: this one for mainspring, for others that of the environment which the Makefile makes."""
        return Path(sys.executable) if self.name == "ours" else ROOT / f".venv-{self.name}" / "bin" / "python"


PEERS = (
    Peer("ours", "from mainspring import flow, task"),
    Peer("prefect", "from prefect import flow, task"),
    Peer("dbos", "from dbos import DBOS"),
    Peer("dask", "from distributed import Client"),
    Peer("ray", "import ray; ray.remote"),
    Peer("huey", "from huey import MemoryHuey, SqliteHuey"),
    Peer("joblib", "from joblib import Memory, Parallel, delayed"),
    Peer("hamilton", "from hamilton import driver"),
)


def take_turn(peer: Peer, folder: Path, is_quick: bool) -> dict[str, Any]:
    """What a peer's process finds out in a new folder.

    What it leaves behind stays until all is measured: some file systems are slow to make files for a minute after many
    were deleted, and whose turn is next would pay for it.

    Raises:
        Unmeasurable: There is no such interpreter, the process fails, or it takes too long.
    """
    folder.mkdir(parents=True)
    _run(
        peer, ["-m", f"benchmarks.peers.{peer.name}", str(folder), *(["--quick"] if is_quick else [])], folder
    )
    found: dict[str, Any] = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    return found


def import_time(peer: Peer, folder: Path) -> float:
    """Seconds of an interpreter that starts, imports what users of the peer begin with, and ends.

    Raises:
        Unmeasurable: It cannot.
    """
    start = time.perf_counter()
    _run(peer, ["-c", peer.begins], folder)
    return time.perf_counter() - start


def _run(peer: Peer, arguments: list[str], folder: Path) -> None:
    """Run a peer's interpreter, and end its whole process group if that takes too long."""
    if not peer.interpreter.exists():
        raise Unmeasurable("It has no environment. `make bench-peers` makes one.")
    environment = {**os.environ, "HOME": str(folder), "DO_NOT_TRACK": "1"}
    if peer.name != "ours":
        environment.pop("PYTHONPATH", None)
    with (folder / "errors").open("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [str(peer.interpreter), *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        # By an alarm, as `wait` with a limit only looks now and then: up to 50 ms apart, which is what imports take.
        is_over = threading.Event()
        alarm = threading.Thread(target=_end_unless, args=(is_over, process), daemon=True)
        alarm.start()
        try:
            code = process.wait()
        finally:
            is_late = not alarm.is_alive()
            is_over.set()
            alarm.join()
            _end(process)
        if is_late:
            raise Unmeasurable(f"It had not ended after {LIMIT} seconds.")
        errors.seek(0)
        lines = [line for line in errors.read().splitlines() if line.strip()]
    if code:
        raise Unmeasurable(lines[-1] if lines else f"It ended with the exit code {code}.")


def _end_unless(is_over: threading.Event, process: subprocess.Popen[bytes]) -> None:
    """End a process that is not over in time."""
    if not is_over.wait(LIMIT):
        os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a process and of those that it has started in its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
