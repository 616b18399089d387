"""The points at which a process can die or meet a fault, counted from outside of the product.

`install` is called in a child process before a run store is opened. It puts watched connections, cursors and files in
the places of those of the standard library, and numbers what passes:

- *durable points*: before and after each entry of the journal, before and after each statement that makes something
  durable in a database (COMMIT, a change outside of a transaction, a checkpoint), before, in the middle of and after
  each write of a result file, and before and after each renaming and removal of a file. With ``KILL_AT=k`` the process
  dies at the k-th of them, by SIGKILL.
- *statements*, reads included; ROLLBACK is none, as it cannot fail. With ``FAULT=busy`` (full, ioerr, interrupt) and
  ``FAULT_AT=k`` the k-th one fails as SQLite would.
- *writes*: each write of a result file, and each renaming. With ``FAULT=enospc`` (or eio) the k-th one fails.

A fault happens once; with ``FAULT_LASTS=1`` all that follow fail, too. ``POINTS`` names a file that gets a line for
what happened, and with ``TRACE=1`` one for everything that passes.
"""

from __future__ import annotations

import builtins
import errno
import io
import itertools
import os
import re
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from mainspring import points as inside
from mainspring.recording import Recorder

__all__ = ["DATABASE_FAULTS", "STORAGE_FAULTS", "install", "tell_counts"]

DATABASE_FAULTS: dict[str, tuple[int, str, str]] = {
    "busy": (sqlite3.SQLITE_BUSY, "SQLITE_BUSY", "database is locked"),
    "full": (sqlite3.SQLITE_FULL, "SQLITE_FULL", "database or disk is full"),
    "ioerr": (sqlite3.SQLITE_IOERR, "SQLITE_IOERR", "disk I/O error"),
    "interrupt": (sqlite3.SQLITE_INTERRUPT, "SQLITE_INTERRUPT", "interrupted"),
}
_ENDS_TRANSACTION = {"full", "ioerr"}  # SQLite rolls back by itself when it meets one of these
STORAGE_FAULTS = {"enospc": errno.ENOSPC, "eio": errno.EIO}

_COMMENT = re.compile(r"--.*")
_DURABLE = {"COMMIT", "END"}
_CHANGING = {"INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "ALTER", "DROP"}
_DURABLE_PRAGMAS = ("PRAGMA JOURNAL_MODE = WAL", "PRAGMA WAL_CHECKPOINT")


class _Plan:
    """What is to happen in this process, and what has passed so far."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.folder = os.path.abspath(environment["MAINSPRING_HOME"]) + os.sep  # noqa: PTH100 - texts are compared
        self.kill_at = int(environment.get("KILL_AT", 0))
        self.fault = environment.get("FAULT", "")
        self.fault_at = int(environment.get("FAULT_AT", 0))
        self.lasts = bool(environment.get("FAULT_LASTS"))
        self.traces = bool(environment.get("TRACE"))
        self.log = os.open(environment["POINTS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._numbers: dict[str, Iterator[int]] = {kind: itertools.count(1) for kind in KINDS}
        self.passed = dict.fromkeys(KINDS, 0)

    def number(self, kind: str) -> int:
        """The number of the next thing of its kind, in all threads."""
        found = next(self._numbers[kind])
        self.passed[kind] = max(self.passed[kind], found)
        return found

    def tell(self, line: str) -> None:
        _write(self.log, f"{os.getpid()} {threading.current_thread().name} {line}\n".encode())

    def point(self, label: str) -> None:
        """Pass a durable point, or die there."""
        number = self.number("points")
        if self.traces:
            self.tell(f"point {number} {label}")
        if number == self.kill_at:
            self.tell(f"killed at point {number} {label}")
            os.kill(os.getpid(), signal.SIGKILL)
            while True:
                signal.pause()

    def fails(self, kind: str, label: str) -> bool:
        """Whether the next statement or write is to fail."""
        number = self.number(kind)
        if self.traces:
            self.tell(f"{kind} {number} {label}")
        faults = DATABASE_FAULTS if kind == "statements" else STORAGE_FAULTS
        if self.fault not in faults or not self.fault_at:
            return False
        fails = number >= self.fault_at if self.lasts else number == self.fault_at
        if self.fault == "busy" and "journal_mode" in label:  # is tried again for as long as a lock may last
            fails = number == self.fault_at
        if fails:
            self.tell(f"{self.fault} at {kind} {number} {label}")
        return fails


KINDS = ("points", "statements", "writes")
_plan: _Plan | None = None
_write = os.write  # as it is now: what is watched must not watch itself
_open, _replace, _rename, _unlink, _connect = (
    builtins.open,
    os.replace,
    os.rename,
    os.unlink,
    sqlite3.connect,
)


def install(environment: Mapping[str, str]) -> None:
    """Begin to watch; once in a process."""
    global _plan
    assert _plan is None
    _plan = _Plan(environment)
    inside.observer = _note_journal
    Recorder.journals_after = 1  # else there would be none in so short a program
    sqlite3.connect = _watched_connect  # type: ignore[assignment]
    builtins.open = io.open = _watched_open  # type: ignore[assignment]
    os.replace = _moving(_replace, "replace")
    os.rename = _moving(_rename, "rename")
    os.unlink = os.remove = _watched_unlink


def _note_journal(name: str, _: object) -> None:
    """What is put into a mapped file is seen by nobody outside."""
    if name.startswith("journal."):
        assert _plan is not None
        _plan.point(name)


def tell_counts() -> None:
    """Tell how many points, statements and writes have passed; to be called when all else is over."""
    if _plan is not None:
        _plan.tell(" ".join(["passed", *(f"{kind}={number}" for kind, number in _plan.passed.items())]))


# The database


def _watched_connect(*args: Any, **options: Any) -> sqlite3.Connection:
    return _connect(*args, **{"factory": _Connection, **options})


class _Cursor(sqlite3.Cursor):
    """A cursor whose statements are counted."""

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        return _pass(self.connection, sql, lambda: super(_Cursor, self).execute(sql, parameters))

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        return _pass(self.connection, sql, lambda: super(_Cursor, self).executemany(sql, parameters))

    def executescript(self, sql: str, /) -> NoReturn:
        raise NotImplementedError("A script commits what is around it, in ways that nobody can watch.")


class _Connection(sqlite3.Connection):
    """A connection whose statements are counted."""

    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        return self.cursor().executemany(sql, parameters)

    def executescript(self, sql: str, /) -> NoReturn:
        raise NotImplementedError("A script commits what is around it, in ways that nobody can watch.")

    def commit(self) -> None:
        self.execute("COMMIT")

    def rollback(self) -> None:
        self.execute("ROLLBACK")


def _pass(db: sqlite3.Connection, sql: str, execute: Callable[[], Any]) -> Any:
    """Let a statement pass, which may fail, or be one before or after which the process dies."""
    plan = _plan
    assert plan is not None
    label = " ".join(_COMMENT.sub("", sql).split())[:60]
    verb = label.partition(" ")[0].upper().rstrip(";")
    if verb != "ROLLBACK" and plan.fails("statements", label):
        code, name, message = DATABASE_FAULTS[plan.fault]
        if plan.fault in _ENDS_TRANSACTION and db.in_transaction:
            sqlite3.Connection.rollback(db)
        error = sqlite3.OperationalError(message)
        error.sqlite_errorcode, error.sqlite_errorname = code, name
        raise error
    is_durable = verb in _DURABLE or (not db.in_transaction and verb in _CHANGING)
    if not is_durable and not sql.upper().startswith(_DURABLE_PRAGMAS):
        return execute()
    plan.point(f"before {label}")
    answer = execute()
    plan.point(f"after {label}")
    return answer


# Files


def _watched_open(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
    plan = _plan
    assert plan is not None
    if mode == "xb" and os.path.abspath(file).startswith(plan.folder):  # noqa: PTH100
        return _File(file, "xb")
    return _open(file, mode, *args, **options)


class _File(io.FileIO):
    """A new file in the home of mainspring: what is written into it may stop half-way."""

    def write(self, content: Any, /) -> int:
        plan = _plan
        assert plan is not None
        view = memoryview(content)
        label = f"write of {len(view)} bytes"
        half = len(view) // 2
        if plan.fails("writes", label):
            super().write(view[:half])
            _fail(plan, str(self.name))
        plan.point(f"before {label}")
        super().write(view[:half])
        plan.point(f"half-way in {label}")
        written = super().write(view[half:])
        plan.point(f"after {label}")
        return half + written


def _moving(function: Callable[..., None], name: str) -> Callable[..., None]:
    def move(source: Any, target: Any, **options: Any) -> None:
        plan = _plan
        assert plan is not None
        if not os.path.abspath(target).startswith(plan.folder):  # noqa: PTH100
            return function(source, target, **options)
        label = f"{name} to {os.path.basename(target)[:12]}"  # noqa: PTH119
        if plan.fails("writes", label):
            _fail(plan, str(target))
        plan.point(f"before {label}")
        function(source, target, **options)
        plan.point(f"after {label}")
        return None

    return move


def _watched_unlink(path: Any, **options: Any) -> None:
    plan = _plan
    assert plan is not None
    if not os.path.abspath(path).startswith(plan.folder):  # noqa: PTH100
        return _unlink(path, **options)
    label = f"unlink of {os.path.basename(path)[:12]}"  # noqa: PTH119
    plan.point(f"before {label}")
    _unlink(path, **options)
    plan.point(f"after {label}")
    return None


def _fail(plan: _Plan, path: str) -> NoReturn:
    code = STORAGE_FAULTS[plan.fault]
    raise OSError(code, os.strerror(code), path)
