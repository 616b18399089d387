"""The history that reading commands read: opened if there is one, and nothing made if there is none."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from mainspring.client import Client, open_client
from mainspring.exceptions import StoreMissing

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
        except StoreMissing:
            client = None
        yield client
