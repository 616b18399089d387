"""Processes as they are named in lock files, and whether they are still there."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import msgspec

__all__ = ["Process", "boot_id", "is_running"]


class Process(msgspec.Struct, frozen=True):
    """One process on one host: its number alone does not do, for numbers are given out again.

    Args:
        pid: Its number.
        host: The name of its host.
        boot: What tells this start of the host from others, where the system says it.
        namespace: What its number is unique in: containers may share a host and number for themselves.
        started: When it was started, as the system counts; None where the system does not say.
    """

    pid: int
    host: str
    boot: str | None
    namespace: str | None
    started: str | None

    @classmethod
    def this(cls) -> Process:
        """The calling process."""
        pid = os.getpid()
        return cls(pid, os.uname().nodename, boot_id(), _namespace(), _started(pid))

    def is_dead(self) -> bool:
        """Whether it is known to be gone. A process that cannot be seen from here counts as alive."""
        if self.pid == os.getpid() and self.started == _started(self.pid):
            return False
        if self.host != os.uname().nodename:
            return False
        if self.boot != boot_id():
            return True  # the host has been started anew
        if self.namespace != _namespace():
            return False
        return not is_running(self.pid) or self.started != _started(self.pid)


def is_running(pid: int) -> bool:
    """Whether there is a process of that number here, which may be another one by now."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, and somebody else's
        pass
    return True


@cache
def boot_id() -> str | None:
    """What tells this start of the machine from others: containers share it, their host names differ."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return None


@cache
def _namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - the target is no path
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """The start time of a process, in ticks since the host was started; None if unknown or it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if state in "ZX" else fields[18]  # it may have ended without anybody having asked how
