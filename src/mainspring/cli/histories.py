"""The history that reading commands read: opened if there is one, and nothing made if there is none."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mainspring.client import Client, open_client
from mainspring.exceptions import StoreUnavailable
from mainspring.settings import get_current_settings

__all__ = ["NO_RUNS", "open_history"]

NO_RUNS = "No runs yet. Run a flow with `mainspring run FILE.py`, or call one from any program."


@contextmanager
def open_history() -> Generator[Client | None]:
    """A client of the run store; None if there is no run store yet.

    Raises:
        StoreError: There is one, and it cannot be read.
    """
    with ExitStack() as scopes:
        try:
            client = scopes.enter_context(open_client())
        except StoreUnavailable:
            if not _is_missing():
                raise
            client = None
        yield client


def _is_missing() -> bool:
    path = Path(get_current_settings().run_store_url.removeprefix("sqlite:///")).expanduser()
    try:
        return not path.exists() or (path.is_file() and not path.stat().st_size)
    except OSError:
        return False  # out of reach, which is not the same
