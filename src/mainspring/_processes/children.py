"""A worker process as its parent sees it."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from typing import Any

from mainspring._processes.channel import Channel, Frame, Kind, Packed
from mainspring._processes.leashes import Leash
from mainspring._processes.main_program import GUARD, WORKER
from mainspring._processes.portability import unpack_error
from mainspring._processes.relays import Inbox
from mainspring._processes.serving import Setup, serve
from mainspring.exceptions import WorkerDied, WorkerNotStarted
from mainspring.logging import get_logger
from mainspring.states.conversion import describe_exception

__all__ = ["PATIENCE", "Child"]

PATIENCE = 10.0
"""Seconds that a worker has to end after it was told to, before it is made to."""

_TOLD = frozenset({Kind.LOG, Kind.EVENT, Kind.STATE})


class Child:
    """One worker process. Used by one thread at a time, except for `cancel`, `wake`, `strike`, `kill` and `close`.

    Args:
        process: The process, which was started.
        channel: Our end of the connection.
        leads: What the process starts belongs to it, and is killed with it.
    """

    def __init__(self, process: Any, channel: Channel, leads: bool = False) -> None:
        self.process = process
        self.pid: int = process.pid
        self.context_number = 0  # of the context that it was told last
        self._channel = channel
        self._leads = leads
        self._calls = 0
        self._ending = threading.Lock()
        self._closing = threading.Lock()  # held for moments
        self._is_over = False  # its end was noticed, and its number may be that of another process by now
        self._code: int | None = None
        self.wake_fd, self._waker = os.pipe()
        os.set_blocking(self.wake_fd, False)

    @classmethod
    def start(cls, number: int, leads: bool = False) -> Child:
        """Start a process. It is ready for nothing until it was set up.

        Args:
            number: What tells it from others in names.
            leads: Have it lead a process group of its own, so that all that it starts can be killed with it.

        Raises:
            Exception: There can be none.
        """
        import multiprocessing  # on use: most programs need no processes

        context = multiprocessing.get_context("spawn")
        ours, theirs = socket.socketpair()
        process = context.Process(target=serve, args=(theirs, leads), name=f"{WORKER}-{number}", daemon=False)
        try:
            # An interrupt from the keyboard goes to the process, too, and it cannot tell what to do before it serves.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, Channel(ours), leads)

    def set_up(self, setup: Setup, packed: Packed, inbox: Inbox) -> None:
        """Make it ready for calls.

        Raises:
            WorkerNotStarted: It died, or its initializer failed.
        """
        try:
            frame = self.call(Kind.SETUP, setup, packed, inbox)
        except EOFError as gone:
            code = self.exit_code()
            raise WorkerNotStarted(
                f"A worker process {_end_of(code)} before it was ready for work; what it wrote to standard"
                f" error says more. Each worker process imports the main program, which must not run anything then."
                f" {GUARD} A program that is read from standard input cannot be imported.",
                exit_code=code,
            ) from gone
        if frame.kind is Kind.UNREADY:
            cause = unpack_error(frame.head, frame.packed)
            raise WorkerNotStarted(
                f"A worker process could not be set up. Its initializer failed: {describe_exception(cause)}"
            ) from cause

    def call(self, kind: Kind, head: Any, packed: Packed, inbox: Inbox, leash: Leash | None = None) -> Frame:
        """Send a frame and wait for the answer; what is told meanwhile goes to the inbox.

        Raises:
            EOFError: The process died.
            WaitOver: So the leash says. The process is to be killed: nobody knows what it does.
        """
        self._calls += kind is Kind.CALL
        if leash is None:
            return self._converse(kind, head, packed, inbox, None)
        leash.held_by(self.wake, self)
        try:
            return self._converse(kind, head, packed, inbox, leash)
        finally:
            leash.held_by(None)
            if leash.stop is not None:
                self.settle_down()

    def _converse(self, kind: Kind, head: Any, packed: Packed, inbox: Inbox, leash: Leash | None) -> Frame:
        if leash is not None:
            leash.remaining()
            leash.is_sending = True
        try:
            self._channel.send(kind, head, packed, leash)
        except OSError:  # it is dead; what it has sent before is still to be read
            pass
        if leash is not None:
            leash.is_sending = False
        while True:
            frame = self._channel.receive(leash)
            if frame.kind is Kind.LIMIT and leash is not None:
                leash.limit, leash.facts = frame.head
            elif frame.kind not in _TOLD:
                return frame
            else:
                inbox.take(frame)

    def interrupt(self, reason: str) -> None:
        """Tell it to end the call that it is at."""
        try:
            self._channel.send(Kind.INTERRUPT, (self._calls, reason))
        except OSError:  # it is dead, and whoever waits for it notices
            pass

    def wake(self) -> None:
        """Have the thread that waits for an answer look up."""
        with self._closing:
            if self._waker >= 0:  # else it does not wait any more
                os.write(self._waker, b"!")

    def settle_down(self) -> None:
        """Forget that somebody has called `wake`."""
        try:
            os.read(self.wake_fd, 4_096)
        except OSError:  # nobody has, or it was closed
            pass

    def cancel(self) -> None:
        """Tell it that nothing is to begin any more."""
        try:
            self._channel.send(Kind.CANCEL)
        except OSError:  # it is dead, and whoever waits for it notices
            pass

    def is_alive(self) -> bool:
        """Whether the process is there."""
        try:
            return not self._is_over and bool(self.process.is_alive())
        except ValueError:  # another thread has noticed its end just now
            return False

    def exit_code(self) -> int | None:
        """How the process ended, once nothing comes from it any more; one that has not ended is made to."""
        self.close()
        if self._leads:
            self.strike()  # what it has started, while its number is its own
        if not self._wait(PATIENCE):
            self.strike()
            self._wait(PATIENCE)
        return self._code

    def death(self) -> WorkerDied:
        """The exception that says how it died."""
        code = self.exit_code()
        hint = " If nobody has killed it, the system was short of memory." if code == -signal.SIGKILL else ""
        return WorkerDied(f"Worker process {self.pid} {_end_of(code)}.{hint}", exit_code=code)

    def close(self) -> None:
        """Close the connection, which ends the process if it has not ended. May be called twice, by any thread."""
        with self._closing:
            self._channel.close()
            for fd in (self.wake_fd, self._waker):
                if fd >= 0:
                    os.close(fd)
            self.wake_fd = self._waker = -1

    def dismiss(self) -> None:
        """Tell it to end."""
        try:
            self._channel.send(Kind.EXIT)
        except OSError:  # it has ended
            pass

    def end(self, deadline: float, inbox: Inbox) -> None:
        """Wait for its end, and hear what it still has to tell; force it at the deadline."""
        try:
            while True:
                self._channel.give_up_after(max(deadline - time.monotonic(), 0.001))
                inbox.take(self._channel.receive())
        except (EOFError, TimeoutError):
            pass
        self.close()
        if not self._wait(max(deadline - time.monotonic(), 0.05)):
            get_logger("task_runner.processpool").warning(
                "Worker process %s did not end within %g seconds and is killed. Does a task leave threads running?",
                self.pid,
                PATIENCE,
            )
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        self.strike()
        self.close()
        self._wait(PATIENCE)

    def strike(self) -> None:
        """Send the signal that ends it, and what it has started if it leads that, and wait for nothing."""
        if self._is_over:
            return
        if self._leads:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except OSError:  # it leads nothing yet, or there is nobody any more
                pass
        try:
            self.process.kill()
        except ValueError:  # another thread has noticed its end just now
            pass

    def _wait(self, seconds: float) -> bool:
        """Wait for its end; False if it does not come in time."""
        end = time.monotonic() + seconds
        with self._ending:
            if self._is_over:
                return True
            process = self.process
            process.join(seconds)
            # Another thread that waits for any process may have been told instead, and knows in a moment.
            while process.exitcode is None and not self._is_gone() and time.monotonic() < end:
                time.sleep(0.001)
            if process.exitcode is None and not self._is_gone():
                return False
            self._code, self._is_over = process.exitcode, True
            if self._code is not None:
                process.close()  # now: an exception may hold all of this for long
        return True

    def _is_gone(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except OSError:
            return True
        return False


def _end_of(code: int | None) -> str:
    """What a process did, from its exit code."""
    if code is None:
        return "ended in a way that is not known"
    if code >= 0:
        return f"ended itself with exit code {code}"
    try:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"was killed by signal {-code}"
