"""What a process has lost because others took it for dead, and why nothing of it is written any more.

A process whose lease has run out may be declared dead by another host, which settles its runs. If it was only stopped
and comes back, it finds that out by its first write. Everything that belongs to its runs of that time is refused for
ever: their states, results and log lines, and whatever begins inside of them.

Runs that others have seen would be refused anyway, as their newest state is not the one that follows. What is here is
about the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mainspring import clock
from mainspring._core.transitions import is_rolled_back
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import OwnershipLost
from mainspring.logging import get_logger
from mainspring.runs import FlowRun, Run, TaskRun

if TYPE_CHECKING:
    from mainspring.store.results import KeptResult

__all__ = ["Loss", "LossListener", "Losses"]

LossListener = Callable[[Sequence[Run]], object]
"""Gets the runs that were going on here and are lost."""

_logger = get_logger("store")


class Loss:
    """One declaration of death of this process.

    Args:
        ended: When, by the clock of whoever declared it.
        by: Who that was.
        database: Where.
        noticed: When this process found out, by its own clock.
    """

    __slots__ = ("by", "database", "ended", "noticed")

    def __init__(self, ended: int, by: str, database: str, noticed: int) -> None:
        self.ended = ended
        self.noticed = noticed
        self.by = by
        self.database = database

    def error(self, what: str) -> OwnershipLost:
        """The error for something that is refused, which ``what`` names."""
        when = clock.to_datetime(self.ended).strftime("%Y-%m-%d %H:%M:%S UTC")
        return OwnershipLost(
            f"{what} was refused: this process had not renewed its lease in time, so {self.by} took it for dead at"
            f" {when} and settled its runs in {self.database}. Resume them with `mainspring runs resume`, or raise"
            f" MAINSPRING_LEASE_SECONDS if this process is stopped for long now and then."
        )


class Losses:
    """The losses of this process in one store. Safe to use from any thread.

    Attributes:
        any: Whether there are any. False costs one look.
        live: The unfinished runs of this process that were written, by key; whoever writes runs keeps it.
    """

    def __init__(self) -> None:
        self.any = False
        self.live: Mapping[bytes, Run] = {}
        self._lock = threading.Lock()
        self._newest: Loss | None = None
        self._runs: dict[bytes, Run] = {}  # as objects: a resumed run has the same key, and is another one
        self._attempts: dict[bytes, int] = {}  # of the flow runs among them
        self._untold: list[tuple[Loss, Sequence[Run]]] = []
        self._listeners: tuple[LossListener, ...] = ()

    def listen(self, listener: LossListener) -> None:
        """Call ``listener`` when runs are lost, in the thread that finds out and with no locks held.

        It must neither raise nor take long.
        """
        with self._lock:
            self._listeners = (*self._listeners, listener)

    def note(self, loss: Loss) -> None:
        """Refuse from now on what belongs to the runs that go on now."""
        lost = list(self.live.values())
        with self._lock:
            for run in lost:
                self._add(run)
            self._newest = loss
            self._untold.append((loss, lost))
            self.any = True

    def tell(self) -> None:
        """Say so in the log, once for each loss, and tell the listeners."""
        with self._lock:
            untold, self._untold = self._untold, []
            listeners = self._listeners
        for loss, runs in untold:
            count = f"{len(runs)} run(s) that were going on"
            _logger.error("%s", loss.error(f"What this process still writes of {count}"))
            for listener in listeners:
                listener(runs)

    def _add(self, run: Run) -> None:
        self._runs[run.key] = run
        if isinstance(run, FlowRun):
            self._attempts[run.key] = run.run_count

    def abandon(self) -> None:
        """In a forked child: another thread may have held the lock."""
        self._lock = threading.Lock()

    # What is refused

    def refusal(self, run: Run) -> OwnershipLost | None:
        """The error for a state of ``run``; None if it is not lost."""
        newest = self._newest
        if newest is None or not self._covers(run, run.recorded is None):
            return None
        return newest.error(f"The state {run.state.name} of {type(run).__name__} {run.name!r} ({run.id})")

    def check(self, what: str, keys: Iterable[bytes | None] = ()) -> None:
        """Refuse something that belongs to a lost run: one of ``keys``, or the run of the calling context.

        Raises:
            OwnershipLost: It does.
        """
        flow_run, task_run = FlowRunContext.get(), TaskRunContext.get()
        around: list[Any] = []
        if flow_run is not None:
            around.append(flow_run.flow_run)
        if task_run is not None:
            around.append(task_run.task_run)
        is_lost = any(run is not None and self._runs.get(run.key) is run for run in around)
        if (is_lost or any(key in self._runs for key in keys)) and self._newest is not None:
            raise self._newest.error(what)

    def covers(self, run: Run, is_new: bool) -> bool:
        """Whether nothing of a run is to be written: it is one of the lost, or begins inside of one.

        One that is not is taken up again if it has the id of a lost one: it has been resumed here.
        """
        with self._lock:
            is_lost = self._covers(run, is_new)
            if not is_lost:
                self._runs.pop(run.key, None)
            return is_lost

    def covers_line(self, flow_run_key: bytes | None, task_run_key: bytes | None) -> bool:
        """Whether a log line is of a lost run."""
        return flow_run_key in self._runs or task_run_key in self._runs

    def may_keep(self, result: KeptResult) -> bool:
        """Whether a result may be kept that comes without a state."""
        return result.run_key not in self._runs

    def _covers(self, run: Run, is_new: bool) -> bool:
        """Whether a run is one of the lost, or begins inside of one."""
        if self._runs.get(run.key) is run:
            return True
        if isinstance(run, TaskRun):
            attempt = self._attempts.get(run.flow_run_key or b"")
            is_inside = attempt is not None and run.flow_run_run_count <= attempt
            is_lost = is_inside and (is_new or is_rolled_back(run.state))
        else:
            around = getattr(run, "parent_task_run_key", None)
            is_lost = is_new and around in self._runs
        if not is_lost and is_new and self._newest is not None:
            # The clock of the other host may be fast: what begins from now on is new whatever it says.
            is_lost = run.created_at <= min(self._newest.ended, self._newest.noticed)
        if is_lost:
            self._add(run)
        return is_lost
