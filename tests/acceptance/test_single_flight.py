"""Many processes want the same results at the same time, and each is computed once."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PROCESSES = 8
CALLS = 200
KEYS = 20

PROGRAM = """
import os, random, sys, time
from pathlib import Path
from mainspring import task
from mainspring.cache_policies import INPUTS
from mainspring.locking.filesystem import FileSystemLockManager
from mainspring.store_locks import StoreLockManager

folder, kind, calls, keys = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
manager = StoreLockManager() if kind == "store" else FileSystemLockManager(folder / "locks")

@task(cache_policy=INPUTS.configure(isolation_level="SERIALIZABLE", lock_manager=manager))
def compute(key):
    with open(folder / "journal", "a") as journal:
        journal.write(f"{key}\\n")
    time.sleep(0.005)
    return [key] * 3

wanted = [number % keys for number in range(calls)]
random.shuffle(wanted)
assert all(compute(key) == [key] * 3 for key in wanted)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.contract("K-21", "V-11")
@pytest.mark.parametrize("kind", ["files", "store"])
def test_each_result_is_computed_once(kind: str, tmp_path: Path) -> None:
    """Eight processes call one task two hundred times each with twenty keys: its body runs twenty times in all."""
    arguments = [str(tmp_path), kind, str(CALLS), str(KEYS)]
    running = [subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments]) for _ in range(PROCESSES)]
    assert [process.wait() for process in running] == [0] * PROCESSES
    assert Counter((tmp_path / "journal").read_text().split()) == {str(key): 1 for key in range(KEYS)}
