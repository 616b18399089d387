"""Whatever a process does when it is killed, nothing of it is left: no unfinished run, no slot, no lock."""

import os
import random
from pathlib import Path

import pytest

from tests.deaths.loops import killed_and_opened, killed_beside_a_peer
from tests.deaths.processes import start

EXAMPLES = int(os.environ.get("DEATHS_EXAMPLES", "8"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 5 * EXAMPLES)]


def test_the_next_opening_finds_the_dead(folder: Path, dice: random.Random) -> None:
    """After the next opening of the store nothing of a killed process is unfinished, taken or locked."""
    for _ in range(EXAMPLES):
        _, before, after = killed_and_opened(folder, dice)
        assert after == (0, 0, 0), f"it had {before}"


def test_a_running_peer_finds_the_dead(folder: Path, dice: random.Random) -> None:
    """A process in which a run goes on notices a death by itself, and stays as it was."""
    with start("watching", folder) as peer:
        peer.wait_for("begun")
        for _ in range(EXAMPLES):
            killed_beside_a_peer(folder, dice)
        peer.go_on()
        peer.rest()
