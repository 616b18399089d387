"""The world of virtual time: all threads that can run do, and when none can, the clock jumps to where one can.

Whatever strands share is changed under a mutex that the operating system keeps. Signals strike in the main thread
between any two steps of it; while it has the mutex they wait until it has given that back.
"""

from __future__ import annotations

import inspect
import signal
import sys
import threading
from _thread import RLock as RealRLock
from _thread import get_ident
from collections.abc import Callable, Mapping
from enum import Enum
from time import monotonic_ns as real_monotonic_ns
from time import sleep as real_sleep
from typing import Any, NoReturn

from mainspring._interruption import wait_in_pieces
from mainspring.concurrency._keeper import KEEPER, keeper
from mainspring.testing.worlds import NANOSECONDS, StandstillError, Strand, World, frames_of

__all__ = ["ALARM", "JumpingWorld", "Mutex"]

ALARM = 0
"""Stands for the signal of the world's own alarm clock, which the real one has nothing to do with."""

_OURS = "mainspring-"
_HOUSEKEEPERS = {
    "mainspring-recorder"
}  # it has nothing more to do after a look or two, but goes on for a while
_OUTSIDERS = NANOSECONDS // 2  # how long threads from outside have to do something before all counts as lost
_LOOK_AGAIN = NANOSECONDS // 50
_SPIN = 20_000
_SPIN_NANOSECONDS = NANOSECONDS // 1000


class Mutex:
    """Held for moments. Handlers of signals are put off while the main thread has it, or waits for it.

    Args:
        main: The identity of the main thread; 0 if that is not of the world, so that no handlers are put off.
    """

    __slots__ = ("_lock", "_main", "depth", "handlers", "put_off")

    def __init__(self, main: int) -> None:
        self._lock = RealRLock()
        self._main = main
        self.depth = 0
        self.handlers: Mapping[int, Callable[[int, Any], object]] = {}
        self.put_off: list[int] = []

    def __enter__(self) -> None:
        if get_ident() == self._main:
            self.depth += 1
        self._lock.acquire()

    def __exit__(self, *exc: object) -> None:
        self._lock.release()
        if get_ident() == self._main:
            self.depth -= 1
            if not self.depth and self.put_off:
                self.ring()

    def ring(self) -> None:
        """Call the handlers that were put off, in the main thread. They may raise."""
        while self.put_off:
            number = self.put_off.pop(0)
            handler = self.handlers.get(number)
            if handler is not None:
                handler(number or signal.SIGALRM, inspect.currentframe())


class JumpingWorld(World):
    """A world in which strands run as ever, and time passes only while all of them wait.

    Args:
        start: See `World`.
        epoch: See `World`.
        main: The identity of the main thread; 0 if that is not of the world.
    """

    mutex: Mutex
    is_parallel = True
    looks = 3

    def __init__(self, start: int, epoch: int, main: int = 0) -> None:
        super().__init__(start, epoch)
        self.mutex = Mutex(main)
        self.jumps = 0
        self.alarm: int | None = None  # when the alarm clock of the main thread rings
        self.alarm_interval = 0
        self.steps = 0  # what strands have done, so that it can be seen from outside that they do nothing
        self.problem: StandstillError | None = None
        self._given_up: dict[Strand, StandstillError] = {}  # those whose time does not come
        self._main = main
        self._running = 0
        self._entering: Strand | None = None
        self._is_suspect = False  # perhaps nobody can go on
        self._story = ""
        self._end: tuple[int, int] | None = None  # the last moment here, and the same outside
        self._reads = 0

    def enter(self, name: str) -> None:
        """Make the calling thread the first strand: the one that hears of a deadlock."""
        self._running += 1
        self._entering = self.adopt(name)

    def read(self) -> int:
        """See `World.read`. Whoever reads the clock for ever, and does nothing else, sees it go."""
        self.steps += 1
        self._reads += 1
        if self._reads > _SPIN:
            self._pass_slowly()
        return self.now

    def _pass_slowly(self) -> None:
        with self.mutex:
            self.now += _SPIN_NANOSECONDS
            self._free_due()

    def _new(self, name: str) -> Strand:
        strand = super()._new(name)
        strand.is_housekeeper = strand.is_housekeeper or name in _HOUSEKEEPERS
        return strand

    def appointments(self) -> list[int]:
        """See `World.appointments`: leases on slots that are held are renewed in time."""
        due = keeper.next_due()
        if due is None:
            return []
        looks = [each.deadline for each in self.strands if each.deadline is not None and each.name == KEEPER]
        return [max(round(due * NANOSECONDS), *looks)] if looks else []

    # What strands do

    def add(self, strand: Strand) -> None:
        """See `World.add`."""
        with self.mutex:
            self._running += 1
        strand.gate.release()

    def end(self, strand: Strand) -> None:
        """See `World.end`."""
        with self.mutex:
            self._leave(strand)
            self._stand_still()

    def park(self, deadline: int | None, why: str) -> bool:
        """See `World.park`."""
        me = self.me()
        assert me is not None
        if self._end is not None:
            return self._live_on(me, deadline)
        try:
            with self.mutex:
                self.steps += 1
                self._reads = 0
                if me.token:
                    me.token = False
                    return True
                if deadline is not None and deadline <= self.now:
                    return False
                me.deadline, me.why, me.is_parked = deadline, why, True
                self._stand_still()
            me.gate.acquire()
            if self.mutex.put_off and me.ident == self._main:
                self.mutex.ring()
        except BaseException:  # a handler has raised: the strand runs, whether it was let go or not
            with self.mutex:
                if me.is_parked:
                    self._free(me)
                me.gate.acquire(blocking=False)
                me.token = False
                self._given_up.pop(me, None)
            raise
        if self._is_suspect and me is self._entering:
            return self._wait_for_outsiders(me, why)
        if me in self._given_up:
            raise self._given_up.pop(me)
        woken, me.token = me.token, False
        if self._end is not None and self._is_to_end(me):
            _end_thread()
        return woken

    def unpark(self, strand: Strand) -> None:
        """See `World.unpark`."""
        with self.mutex:
            strand.token = True
            if strand.is_parked:
                self._free(strand)

    def pause(self) -> None:
        """See `World.pause`. Others run anyway."""
        self.steps += 1
        self._reads = 0

    def interrupt(self, ident: int, kind: type[BaseException] | None) -> bool:
        """See `World.interrupt`."""
        with self.mutex:
            return super().interrupt(ident, kind)

    # Signals

    def rouse(self, ident: int) -> None:
        """Let a strand go on that has got a signal; whatever it waits for, it looks again."""
        strand = self._by_ident.get(ident)
        if strand is not None:
            self.unpark(strand)

    def set_alarm(self, seconds: float, interval: float) -> tuple[float, float]:
        """As ``signal.setitimer`` for the real timer."""
        with self.mutex:
            before = self.read_alarm()
            self.alarm = self.now + max(1, round(seconds * NANOSECONDS)) if seconds > 0 else None
            self.alarm_interval = round(interval * NANOSECONDS) if seconds > 0 else 0
        return before

    def read_alarm(self) -> tuple[float, float]:
        """As ``signal.getitimer`` for the real timer."""
        left = 0.0 if self.alarm is None else max(self.alarm - self.now, 1) / NANOSECONDS
        return left, self.alarm_interval / NANOSECONDS

    def _ring_alarm(self) -> None:
        self.alarm = self.now + self.alarm_interval if self.alarm_interval else None
        self.mutex.put_off.append(ALARM)
        main = self._by_ident.get(self._main)
        if main is not None:
            main.token = True
            if main.is_parked:
                self._free(main)

    # Time

    def _free(self, strand: Strand) -> None:
        strand.is_parked = False
        strand.deadline = None
        self._running += 1
        strand.gate.release()

    def _stand_still(self) -> None:
        """One strand runs less. If it was the last one, time passes."""
        self._running -= 1
        if self._running == 0 and self._end is None and self.strands:
            self._jump()

    def _jump(self) -> None:
        if self._free_ready():
            return
        while self._running == 0:
            times = [each for each in (self.next_deadline(), self.alarm) if each is not None]
            if not times:
                self._fail()
                return
            self.now = max(self.now, min(times))
            self.jumps += 1
            self._free_due()

    def _free_ready(self) -> bool:
        """Let those run who wait for files that have something to say by now."""
        ready = [each for each in self.strands if each.is_parked and each.look is not None and each.look()]
        for strand in ready:
            strand.token = True
            self._free(strand)
        return bool(ready)

    def _free_due(self) -> None:
        for strand in self.strands:
            if strand.is_parked and strand.deadline is not None and strand.deadline <= self.now:
                self._free(strand)
        if self.alarm is not None and self.alarm <= self.now:
            self._ring_alarm()

    def _fail(self) -> None:
        """Nobody can go on: the strand that entered first sees to it. If it has gone, nobody is left to care."""
        if self._entering is not None and self._entering.is_parked:
            self._story = self.told()
            self._is_suspect = True
            self._free(self._entering)

    def _wait_for_outsiders(self, me: Strand, why: str) -> bool:
        """Give threads that are not of the world some real time to let somebody go on.

        Raises:
            StandstillError: None of them does.
        """
        until = real_monotonic_ns() + _OUTSIDERS
        while self._running == 1 and not me.token and not self._has_ready() and real_monotonic_ns() < until:
            real_sleep(0.001)
        with self.mutex:
            self._is_suspect = False
            story = "" if self._running > 1 or me.token or self._free_ready() else self._story
        if story:
            self.problem = StandstillError(
                "Nobody can go on, and nobody waits for a time: each thread waits for something that another one of"
                f" them would have to do.\n{story}"
            )
            raise self.problem
        return self.park(None, why)

    def give_up_times(self, tell: Callable[[str], StandstillError]) -> None:
        """Raise an error where code of a user's waits for a time, if anybody else runs, and may be held up by it.

        If there is no such place, it is raised in calls of ours that wait for a time on behalf of such code, as those
        for results do. Whoever has entered the world hears of it at the end, if not before.

        Args:
            tell: Makes the error of where all strands are.
        """
        with self.mutex:
            waiting = [each for each in self.strands if each.is_parked and each.deadline is not None]
            places = {each: _place(each) for each in waiting}
            victims = [each for each in waiting if places[each] is _Place.USER]
            victims = victims or [each for each in waiting if places[each] is _Place.CALL]
            if not victims or self._running == 0 or self._end is not None:
                return
            problem = tell(self.told())
            self.problem = self.problem or problem
            for strand in victims:
                self._given_up[strand] = problem
                self._free(strand)

    def _has_ready(self) -> bool:
        return any(each.look() for each in tuple(self.strands) if each.is_parked and each.look is not None)

    # The end

    def finish(self, patience: float) -> list[Strand]:
        """End the world. Threads that wait for a time are ended; those that wait for others go on outside.

        Args:
            patience: Real seconds to wait for those that end.

        Returns:
            Those that go on, and do not just wait for work.
        """
        me = self.me()
        with self.mutex:
            self._end = self.now, real_monotonic_ns()
            left = [each for each in self.strands if each is not me]
            for strand in left:
                if strand.is_parked:
                    self._free(strand)
        until = real_monotonic_ns() + round(patience * NANOSECONDS)
        ending = [each for each in left if self._is_to_end(each)]
        while not all(each.has_ended for each in ending) and real_monotonic_ns() < until:
            real_sleep(0.0005)
        return [each for each in left if not each.has_ended and not _waits_for_work(each)]

    def _is_to_end(self, strand: Strand) -> bool:
        return strand is not self._entering and (
            strand.name.startswith(_OURS) or not strand.why.startswith("waits for a lock")
        )

    def _live_on(self, me: Strand, deadline: int | None) -> bool:
        """Wait in a world that has ended, as a thread outside does: by looking now and then."""
        assert self._end is not None
        if self._is_to_end(me):
            _end_thread()
        last, outside = self._end
        self.now = last + real_monotonic_ns() - outside
        wait = _LOOK_AGAIN if deadline is None else min(_LOOK_AGAIN, max(deadline - self.now, 0))
        real_sleep(wait / NANOSECONDS)
        woken, me.token = me.token, False
        return woken

    def remain_alone(self) -> None:
        """In a forked child: no strand but the calling one is there."""
        me = self.me()
        put_off, handlers = self.mutex.put_off, self.mutex.handlers
        self.mutex = Mutex(self._main)
        self.mutex.handlers = handlers
        put_off.clear()
        self.strands = [each for each in self.strands if each is me]
        self._by_ident = {each.ident: each for each in self.strands}
        self._entering = me
        self._running = len(self.strands)
        self.alarm = None


class _Place(Enum):
    """Where a thread waits."""

    USER = 1
    """In code of a user's."""

    CALL = 2
    """In code of ours that such code has called, and that has so much time."""

    OURS = 3
    """In code of ours for as long as it takes, or in a thread that is idle."""


def _place(strand: Strand) -> _Place:
    place = _Place.USER
    for frame in frames_of(strand.ident):
        name = frame.f_globals.get("__name__") or ""
        package = name.partition(".")[0]
        if frame.f_code is wait_in_pieces.__code__ and frame.f_locals["seconds"] is not None:
            place = _Place.CALL
        elif package == "mainspring":
            if place is _Place.USER and not name.startswith("mainspring.testing"):
                place = _Place.OURS
        elif package not in sys.stdlib_module_names:
            return place
    return _Place.OURS


def _end_thread() -> NoReturn:
    """Have the calling thread end, and nobody be told that it did so early."""
    thread: Any = threading.current_thread()
    thread._invoke_excepthook = _tell_nobody
    raise SystemExit


def _tell_nobody(thread: Any) -> None:
    """Stands in for what tells of an exception in a thread."""


def _waits_for_work(strand: Strand) -> bool:
    """Whether it is an idle thread of a pool of the standard library, which ends with the process at the latest."""
    return any(
        frame.f_code.co_name == "_worker" and frame.f_globals.get("__name__") == "concurrent.futures.thread"
        for frame in frames_of(strand.ident)
    )
