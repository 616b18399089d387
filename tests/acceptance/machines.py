"""Processes, of one machine or several, that share a database, and what they leave in it, seen by plain SQL."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterable
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.deaths.processes import PATIENCE, Process, environment
from tests.postgres.server import fresh_schema

__all__ = ["DATABASES", "Place", "Program", "Rows", "place_in"]

DATABASES = ("sqlite", "postgresql")

PROGRAMS = "tests.acceptance.programs"

Rows = list[tuple[Any, ...]]


class Program(Process):
    """A program that is running.

    Args:
        process: Its process.
        errors: The file with what it says on its standard error.
    """

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        super().__init__(process)
        self.errors = errors

    def line(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the program ended with {self.process.wait()}: {self.errors.read_text()}"
        return line.strip()

    def facts(self, word: str) -> list[str]:
        """What follows ``word`` in the next line that begins with it."""
        while True:
            first, *rest = self.line().split(" ")
            if first == word:
                return rest

    def end(self, seconds: float = 4 * PATIENCE) -> list[str]:
        """Close its input and wait for a good end; the lines that were not read."""
        out, _ = self.process.communicate(timeout=seconds)
        errors = self.errors.read_text()
        assert self.process.returncode == 0, f"ended with {self.process.returncode}: {errors}"
        assert "Traceback" not in errors, errors
        return out.splitlines()


class Place:
    """A folder, and a database that all programs started here share.

    Args:
        kind: Which database it is, one of `DATABASES`.
        folder: Where the programs run.
        url: The address of the database.
    """

    def __init__(self, kind: str, folder: Path, url: str) -> None:
        self.kind = kind
        self.folder = folder
        self.url = url
        self._started = 0

    @contextmanager
    def start(
        self, name: str, *arguments: object, module: str = PROGRAMS, url: str | None = None, **variables: str
    ) -> Generator[Program]:
        """Run a program; it is killed at the end of the block.

        Args:
            name: Which of the programs.
            arguments: Its arguments.
            module: Where it is.
            url: Another way to the database.
            variables: Settings, in the names of the environment without what they begin with: ``HOST_ID="a"``.
        """
        self._started += 1
        errors = self.folder / f"errors-{self._started}"
        settings = {f"MAINSPRING_{key}": value for key, value in variables.items()}
        inherited = {key for key in os.environ if key.startswith("MAINSPRING_")} - {"MAINSPRING_HOME"}
        known = {key: value for key, value in environment(self.folder).items() if key not in inherited}
        with (
            errors.open("w") as stderr,
            subprocess.Popen(
                [sys.executable, "-W", "error", "-m", module, name, *map(str, arguments)],
                cwd=self.folder,
                env={**known, "MAINSPRING_DATABASE_URL": url or self.url, **settings},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            ) as process,
        ):
            program = Program(process, errors)
            try:
                yield program
            finally:
                program.kill()

    def run(self, name: str, *arguments: object, **options: str) -> list[str]:
        """Run a program to a good end; its lines."""
        with self.start(name, *arguments, **options) as program:
            return program.end()

    @contextmanager
    def start_all(
        self, programs: Iterable[tuple[tuple[object, ...], dict[str, str]]]
    ) -> Generator[list[Program]]:
        """Run several programs at the same time: `start` for each of these arguments."""
        with ExitStack() as stack:
            yield [
                stack.enter_context(self.start(str(name), *arguments, **options))
                for (name, *arguments), options in programs
            ]

    def rows(self, query: str, *values: object) -> Rows:
        """What a query finds."""
        if self.kind == "sqlite":
            with closing(sqlite3.connect(self.folder / "mainspring.db", timeout=PATIENCE)) as db:
                return db.execute(query, values).fetchall()
        with psycopg.connect(self.url, autocommit=True) as db:
            return db.execute(query.replace("?", "%s").encode(), values).fetchall()

    def lines(self, name: str) -> list[str]:
        """The lines of a file that the programs have written."""
        path = self.folder / name
        return path.read_text(encoding="ascii").splitlines() if path.exists() else []


@contextmanager
def place_in(kind: str, url: str | None = None) -> Generator[Place]:
    """An empty folder and an empty database of a kind, which go with the block.

    Args:
        kind: One of `DATABASES`.
        url: The database, if it is not to be a new one.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        if url is None:
            is_file = kind == "sqlite"
            url = f"sqlite:///{folder}/mainspring.db" if is_file else stack.enter_context(fresh_schema())
        yield Place(kind, folder, url)
