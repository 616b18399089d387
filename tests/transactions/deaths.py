"""What tests of transactions whose process dies share: a journal over processes, and processes that die or stop."""

import asyncio
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mainspring.recording import close_recorders, current_recorder
from mainspring.states import is_stored
from mainspring.store.postgres.dialect import PipelinedCursor
from mainspring.store.sqlite import SQLiteRunStore
from tests.engine.scenarios import BoomError

DIED = 70
DONE = 0


def note(line: str) -> None:
    """Write a line into the journal, unless it is to fail here; then die or stop if this is the place for that."""
    if line in os.environ.get("FAIL_AT", "").split(","):
        raise BoomError(line)
    with journal_file().open("a") as file:
        file.write(f"{line}\n")
    if line == os.environ.get("DIE_AT"):
        os._exit(DIED)
    if line == os.environ.get("STOP_AT"):
        os.kill(os.getpid(), signal.SIGSTOP)


def journal_file() -> Path:
    return Path(os.environ["JOURNAL"])


def journal() -> list[str]:
    """What all processes have noted so far."""
    return journal_file().read_text().splitlines() if journal_file().exists() else []


class Tell:
    """A hook that notes its name, the named value ``n``, and what was staged; it can be pickled.

    Args:
        name: What it tells.
    """

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, txn: Any) -> None:
        note(self.told(txn))

    def told(self, txn: Any) -> str:
        staged = txn.staged_value
        value = staged.get() if is_stored(staged) else staged
        text = value if not isinstance(value, str) else f"{value[:4]}{len(value)}"
        return f"{self.__name__} n={txn.get('n', None)} {text}"


class TellLater(Tell):
    """The same as an async hook."""

    async def __call__(self, txn: Any) -> None:
        await asyncio.sleep(0)
        note(self.told(txn))


def begin(call: Callable[[], Any], **environment: str) -> int:
    """Make a call in another process that is a copy of this one; its id. What is awaitable is awaited."""
    close_recorders()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # of threads: the one of the test's time limit is let go
        pid = os.fork()
    if pid:
        return pid
    code = 71
    try:
        os.environ.update(environment)
        try:
            made = call()
            if hasattr(made, "__await__"):
                asyncio.run(made)
            code = DONE
        except Exception as error:
            with journal_file().open("a") as file:
                file.write(f"ended by {type(error).__name__}\n")
            code = 72
        close_recorders()
    finally:
        os._exit(code)


def end(pid: int) -> int:
    """Wait for a process; its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die(call: Callable[[], Any], at: str, **environment: str) -> None:
    """Let a process die while it makes a call, right after it has noted a line."""
    assert end(begin(call, DIE_AT=at, **environment)) == DIED, journal()


def _trace_postgres(trace: Callable[[str], None]) -> None:
    original = PipelinedCursor.execute

    def execute(self: PipelinedCursor, statement: str, values: Any = (), /) -> Any:
        trace(statement)
        return original(self, statement, values)

    PipelinedCursor.execute = execute  # type: ignore[method-assign]


def die_at_write(call: Callable[[], Any], number: int) -> bool:
    """Let a process die when it begins or ends its so-and-so-many-th write to the run store.

    Returns:
        False if it came to its end before; that may have been an error.
    """

    def counted() -> Any:
        left = iter(range(number))

        def trace(statement: str) -> None:
            if statement.startswith(("BEGIN", "COMMIT")) and next(left, None) is None:
                os._exit(DIED)

        store: Any = current_recorder().store
        store.delete_result("nothing")
        if isinstance(store, SQLiteRunStore):
            store._writer.db.set_trace_callback(trace)
        else:
            _trace_postgres(trace)
        return call()

    return end(begin(counted)) == DIED


def stop(call: Callable[[], Any], at: str) -> int:
    """Let a process stop while it makes a call, right after it has noted a line; its id."""
    pid = begin(call, STOP_AT=at)
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), journal()
    return pid


def go_on(pid: int) -> int:
    """Let a stopped process go on to its end; its exit code."""
    os.kill(pid, signal.SIGCONT)
    return end(pid)
