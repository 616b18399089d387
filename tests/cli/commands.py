"""Running the command as its users do: in a child process, in a pipe or on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from fcntl import ioctl
from pathlib import Path
from textwrap import dedent
from typing import Any

COMMAND = [sys.executable, "-W", "error", "-m", "mainspring"]
DEADLINE = 60.0

CONTROL_CODES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
BOXES = re.compile(r"[\u2500-\u257f]")


def command(
    *arguments: str, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``mainspring`` with these arguments in a pipe."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def answer(*arguments: str) -> Any:
    """What a reading command prints with ``--json``."""
    done = command(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def write_flow_file(folder: Path, text: str, name: str = "pipeline.py") -> Path:
    """A Python file with the usual imports and the given text."""
    file = folder / name
    file.write_text(
        "import sys, time\nfrom mainspring import flow, get_run_logger, task\n" + dedent(text).lstrip("\n")
    )
    return file


class Terminal:
    """A program on a terminal of its own. ``shown`` is all that it has written there."""

    def __init__(self, arguments: Sequence[str], width: int = 80, environment: dict[str, str] | None = None):
        primary, secondary = pty.openpty()
        ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        variables = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
        variables.update(TERM="xterm-256color", LC_ALL="C.UTF-8", **(environment or {}))
        self._file = primary
        self.shown = b""
        self.process = subprocess.Popen(
            arguments,
            stdin=secondary,
            stdout=secondary,
            stderr=secondary,
            env=variables,
            start_new_session=True,
        )
        os.close(secondary)

    def read_until(self, enough: Callable[[], bool]) -> None:
        """Take in what is written until it is enough, or until the command has ended."""
        deadline = time.monotonic() + DEADLINE
        while not enough():
            if not select.select([self._file], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"nothing more came after {self.shown[-2000:]!r}")
            try:
                some = os.read(self._file, 65536)
            except OSError:  # how Linux says that the other side is closed
                return
            if not some:
                return
            self.shown += some

    def write(self, text: bytes) -> None:
        """What typing does."""
        os.write(self._file, text)

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Read to the end and return the exit code."""
        self.read_until(lambda: False)
        os.close(self._file)
        return self.process.wait(DEADLINE)

    def lines(self) -> list[str]:
        """What is to be seen on the terminal now, with all that has scrolled away."""
        return seen(self.shown.decode(errors="ignore"))


def on_terminal(*arguments: str, width: int = 80, environment: dict[str, str] | None = None) -> Terminal:
    """Run a command on a terminal to its end."""
    terminal = Terminal([*COMMAND, *arguments], width, environment)
    terminal.wait()
    return terminal


_TOKEN = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|\x1b\][^\x07]*\x07|([\r\n])|([^\x1b\r\n]+)")


def seen(text: str) -> list[str]:
    """What an endless terminal shows of a text: the few control codes that live displays use."""
    lines = [""]
    row = column = 0
    for match in _TOKEN.finditer(text):
        argument, code, line_end, letters = match.groups()
        if letters:
            before = lines[row].ljust(column)
            lines[row] = before[:column] + letters + before[column + len(letters) :]
            column += len(letters)
        elif line_end == "\r":
            column = 0
        elif line_end == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif code == "A":
            row = max(0, row - int(argument or 1))
        elif code == "K":
            lines[row] = "" if argument == "2" else lines[row][:column]
    return [line.rstrip() for line in lines]
