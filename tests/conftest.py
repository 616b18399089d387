"""What every test gets: a home of its own and a process without a past."""

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring.logging import RUN_LOGGERS, console
from mainspring.recording import close_recorders
from mainspring.settings import current


def reset_process_state() -> None:
    """Forget what the product keeps for the whole process. The one place for it."""
    close_recorders()
    current._root = None  # so that settings are read when they are needed, whatever the test has left
    current._told.clear()
    console._ready = False  # so that run loggers take the level that this test's settings say
    for name in RUN_LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def mainspring_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty MAINSPRING_HOME, not yet created; no other MAINSPRING_* variable is set."""
    for name in [name for name in os.environ if name.startswith("MAINSPRING_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "mainspring-home"
    monkeypatch.setenv("MAINSPRING_HOME", str(home))
    reset_process_state()
    yield home
    reset_process_state()
    left = [each for each in threading.enumerate() if each.name == "mainspring-supervisor"]
    assert not left, (
        "a recorder of this test was not closed, and its supervisor looks after a closed store for ever"
    )
