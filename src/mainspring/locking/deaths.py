"""Being told at once when another process of this host ends, where the system can say so.

One thread waits for the ends of all processes that somebody is interested in. It begins with the first of them and ends
when there is none left. Where there are no file descriptors of processes (other systems than Linux), nobody is told, so
this only makes quicker what is looked for anyway.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterable

from mainspring import _forks

__all__ = ["forget_deaths", "on_death"]

Told = Callable[[], object]
"""Called in a thread of this module; must neither raise nor take long."""


class _Watch:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[int, dict[Told, None]] = {}  # by process, in the order in which they came
        self._fds: dict[int, int] = {}  # processes by descriptor
        self._wake: tuple[int, int] | None = None

    def add(self, pid: int, told: Told) -> None:
        """Call ``told`` when a process ends; at once if it has."""
        with self._lock:
            known = self._told.get(pid)
            if known is not None:
                known[told] = None
                return
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                fd = -1
            except (AttributeError, OSError):  # not on this system, or too many are open
                return
            if fd >= 0:
                self._told[pid] = {told: None}
                self._fds[fd] = pid
                self._attend()
        if fd < 0:
            told()

    def remove(self, told: Told) -> None:
        """Call it no more."""
        with self._lock:
            for pid, known in list(self._told.items()):
                known.pop(told, None)
                if not known:
                    del self._told[pid]
            self._stir()

    def _attend(self) -> None:
        """Have the thread look at what is there now; the lock is held."""
        if self._wake is None:
            self._wake = os.pipe()
            threading.Thread(
                target=self._wait, args=(self._wake,), name="mainspring-deaths", daemon=True
            ).start()
        else:
            self._stir()

    def _stir(self) -> None:
        if self._wake is not None:
            os.write(self._wake[1], b"\0")

    def _wait(self, wake: tuple[int, int]) -> None:
        while True:
            with self._lock:
                for fd in [fd for fd, pid in self._fds.items() if pid not in self._told]:
                    del self._fds[fd]
                    os.close(fd)
                if not self._fds:
                    self._wake = None
                    for end in wake:
                        os.close(end)
                    return
                poller = select.poll()
                for fd in (*self._fds, wake[0]):
                    poller.register(fd, select.POLLIN)
            ready = [fd for fd, _ in poller.poll()]
            if wake[0] in ready:
                os.read(wake[0], 4096)
            with self._lock:
                ended = [self._fds[fd] for fd in ready if fd in self._fds]
                callbacks = dict.fromkeys(told for pid in ended for told in self._told.pop(pid, ()))
            for told in callbacks:
                told()


def on_death(pids: Iterable[int], told: Told) -> None:
    """Call ``told`` when one of these processes ends, once for each; at once for one that has ended.

    Args:
        pids: Their numbers. The calling process is left out.
        told: What is called, in some thread.
    """
    ours = os.getpid()
    for pid in pids:
        if pid != ours:
            _watch.add(pid, told)


def forget_deaths(told: Told) -> None:
    """Do not call ``told`` any more. It may be about to be called in this very moment."""
    _watch.remove(told)


@_forks.in_child
def _forget_inherited() -> None:
    """In a forked child: the thread is the parent's, and so is the interest."""
    global _watch
    _watch = _Watch()


_watch = _Watch()
