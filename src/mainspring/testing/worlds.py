"""Threads that run as a scheduler says, on a clock that jumps.

A *world* has strands: threads, each with a gate that it waits at. All that a thread may wait for comes down to three
operations: a strand *parks* until it is *unparked* or a deadline passes, and it *pauses* where another might run. What
the standard library offers is made of these by `mainspring.testing.takeover`, for the engine and for its user alike.

Time passes in two ways: a jump to the next deadline when nobody can run, and, if the world says so, a tick with each
look at the clock, so that who waits for a moment in a loop gets there.

There are two kinds of worlds. In a `SeededWorld` one strand runs at a time, and a random generator says which, so the
same seed gives the same course of events. In a `mainspring.testing.jumping.JumpingWorld` all that can run do, as ever.
"""

from __future__ import annotations

import sys
import traceback
from _thread import allocate_lock as real_lock
from _thread import get_ident
from _thread import start_new_thread as start_real_thread
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from random import Random
from time import sleep as real_sleep
from types import FrameType
from typing import Any

from mainspring.exceptions import MainspringError

__all__ = ["NANOSECONDS", "SeededWorld", "StandstillError", "Start", "Strand", "World", "frames_of"]

Start = Callable[[Callable[[], object]], int]
"""Begins a real thread, which is to call what it is given, and returns the ident of that."""

NANOSECONDS = 1_000_000_000
_TICK = 1_000

HOUSEKEEPERS = {"mainspring-progress", "mainspring-slots", "mainspring-supervisor"}
"""Threads that look after something again and again, for as long as there is something."""

_VAIN_LOOKS = 2_000
"""So often they look while nobody waits for a time, and something of theirs may help: a lease that expires, say."""
_OWN = (
    "mainspring/testing/worlds.py",
    "mainspring/testing/jumping.py",
    "mainspring/testing/takeover.py",
    "mainspring/testing/locks.py",
    "/threading.py",
)


class StandstillError(MainspringError):
    """Nobody in a world can run, and no time that anybody waits for comes: the message says who waits where."""


class Strand:
    """A thread of a world.

    Args:
        number: Its number in the order of beginning.
        name: For people.
    """

    __slots__ = (
        "deadline",
        "gate",
        "has_ended",
        "ident",
        "is_housekeeper",
        "is_parked",
        "look",
        "name",
        "number",
        "pending",
        "still",
        "token",
        "waiters",
        "why",
    )

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.gate = real_lock()
        self.gate.acquire()
        self.ident = 0
        self.is_housekeeper = name in HOUSEKEEPERS
        self.deadline: int | None = None
        self.is_parked = False
        self.token = False  # it was unparked before it parked
        self.pending: type[BaseException] | None = None  # what another strand raises in it
        self.still = 0  # so many reasons not to let others run now
        self.why = ""
        self.has_ended = False
        self.waiters: list[Strand] = []  # who waits for its end
        self.look: Callable[[], bool] | None = None  # whether files that it waits for have something to say

    def __repr__(self) -> str:
        return f"#{self.number} ({self.name})"


def _start(live: Callable[[], object]) -> int:
    return start_real_thread(live, ())


class World:
    """What both kinds have in common.

    Args:
        start: The first moment of the monotonic clock, in nanoseconds.
        epoch: What to add for the wall clock, in nanoseconds.
    """

    mutex: Any
    """Held by whoever changes what strands share."""

    tick = 0
    """How far each look at the clock moves it, in nanoseconds."""

    looks = 8
    """So often housekeepers look while all others wait for a later time; then that comes. Else an hour would be 36,000
    looks."""

    is_parallel = False
    """Whether strands run at the same time, so that one of them may wait for what is not of the world."""

    def __init__(self, start: int, epoch: int) -> None:
        self.now = start
        self.worked = 0  # how far looks at the clock have moved it
        self.epoch = epoch
        self.strands: list[Strand] = []
        self._by_ident: dict[int, Strand] = {}
        self._count = 0
        self._looks = 0  # of housekeepers, since anybody else has waited for the time that has come

    def me(self) -> Strand | None:
        """The strand of the calling thread; None for a thread that is not of this world."""
        return self._by_ident.get(get_ident())

    def read(self) -> int:
        """The moment, in nanoseconds of the monotonic clock."""
        self.now += self.tick
        self.worked += self.tick
        return self.now

    def adopt(self, name: str) -> Strand:
        """Make the calling thread a strand that runs."""
        strand = self._new(name)
        self._enter(strand)
        return strand

    def spawn(
        self,
        function: Callable[..., object],
        args: tuple[Any, ...],
        kwargs: Any,
        name: str,
        start: Start = _start,
    ) -> Strand:
        """Begin a thread that is a strand.

        Args:
            function: What it calls.
            args: With what.
            kwargs: The same, by name.
            name: What people call it.
            start: Begins the real thread.
        """
        strand = self._new(name)

        def live() -> None:
            strand.gate.acquire()
            self._enter(strand)
            try:
                function(*args, **kwargs)
            except SystemExit:
                pass
            finally:
                self.end(strand)

        try:
            strand.ident = start(live)
        except BaseException:  # the system has no more threads
            self.strands.remove(strand)
            raise
        self.add(strand)
        return strand

    def _new(self, name: str) -> Strand:
        with self.mutex:
            strand = Strand(self._count, name)
            self._count += 1
            self.strands.append(strand)
        return strand

    def _enter(self, strand: Strand) -> None:
        strand.ident = get_ident()
        self._by_ident[strand.ident] = strand

    def _leave(self, strand: Strand) -> None:
        strand.has_ended = True
        self._by_ident.pop(strand.ident, None)
        self.strands.remove(strand)
        for waiter in strand.waiters:
            self.unpark(waiter)

    # What the schedulers do

    def add(self, strand: Strand) -> None:
        """Let a new strand run, now or later."""
        raise NotImplementedError

    def end(self, strand: Strand) -> None:
        """The calling strand is over; the thread may still have some steps to do that are nobody's business."""
        raise NotImplementedError

    def park(self, deadline: int | None, why: str) -> bool:
        """Wait until `unpark` or the deadline, in nanoseconds of the monotonic clock. True for the former."""
        raise NotImplementedError

    def unpark(self, strand: Strand) -> None:
        """Let a strand go on; if it is not parked, it will not wait when it parks for the next time."""
        raise NotImplementedError

    def pause(self) -> None:
        """A point at which other strands may run."""

    def choose(self, number: int) -> int:
        """Which of so many that wait for the same comes first."""
        return 0

    # What is made of that

    def after(self, seconds: float) -> int:
        """The deadline so many seconds from now: some time passes if it is any, however little that may be.

        Differences of times are not exact, and who waits for what is left of one would else wait for it for ever.
        """
        return self.now + (max(1, round(seconds * NANOSECONDS)) if seconds > 0 else 0)

    def sleep(self, seconds: float) -> None:
        """Let time pass for the calling strand."""
        deadline = self.after(seconds)
        if seconds <= 0:
            self.pause()
        while self.now < deadline:
            self.park(deadline, f"sleeps for {seconds:g} s")
        self.deliver()

    def wait_for_end(self, strand: Strand, deadline: int | None) -> bool:
        """Wait until a strand is over; False if the deadline passes before."""
        me = self.me()
        assert me is not None
        strand.waiters.append(me)
        while not strand.has_ended and (deadline is None or self.now < deadline):
            self.park(deadline, f"waits for the end of {strand}")
        if me in strand.waiters:
            strand.waiters.remove(me)
        self.deliver()
        return strand.has_ended

    def interrupt(self, ident: int, kind: type[BaseException] | None) -> bool:
        """Raise an exception in a strand, when it can be: at the next operation at which it holds nothing new.

        Returns:
            False if the thread is not of this world.
        """
        strand = self._by_ident.get(ident)
        if strand is None:
            return False
        strand.pending = kind
        return True

    def deliver(self) -> None:
        """Raise what another strand has sent to the calling one."""
        me = self.me()
        if me is not None and me.pending is not None:
            kind, me.pending = me.pending, None
            raise kind

    def next_deadline(self) -> int | None:
        """What time comes when all strands are parked; None if that would change nothing."""
        awaited = self.appointments()
        looked_at: list[int] = []
        for strand in self.strands:
            if strand.deadline is not None:
                (looked_at if strand.is_housekeeper else awaited).append(strand.deadline)
        soonest = min(awaited, default=None)
        look = min(looked_at, default=None)
        if look is None or (soonest is not None and soonest <= look):
            self._looks = 0
            return soonest
        self._looks += 1
        if self._looks <= (_VAIN_LOOKS if soonest is None else self.looks):
            return look
        self._looks = 0
        return soonest

    def appointments(self) -> list[int]:
        """When housekeepers have something to do that must not be missed, as far as that is known."""
        return []

    def told(self) -> str:
        """Where all strands are, for people."""
        frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
        lines: list[str] = []
        for strand in self.strands:
            until = "" if strand.deadline is None else f" until {strand.deadline / NANOSECONDS:.6f}"
            what = f"{strand.why}{until}" if strand.is_parked else "could run"
            lines.append(f"{strand}: {what}")
            frame = frames.get(strand.ident)
            if frame is not None:
                lines += [f"    {line}" for line in _outer(frame)]
        return "\n".join(lines)


def frames_of(thread: int) -> Iterator[FrameType]:
    """Where a thread is: its frames, the innermost first; none if it has ended."""
    frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage] - it is documented
    while frame is not None:
        yield frame
        frame = frame.f_back


def _outer(frame: Any) -> Iterator[str]:
    """The innermost lines of a stack that are not of the world itself."""
    stack = [each for each in traceback.extract_stack(frame) if not each.filename.endswith(_OWN)]
    for each in stack[-3:]:
        yield f"{each.filename}:{each.lineno} in {each.name}"


class SeededWorld(World):
    """A world in which one strand runs at a time, and chance says which.

    Args:
        random: Where all chance comes from.
        start: See `World`.
        epoch: See `World`.
        rate: How likely another strand runs after an operation at which it could.
        lingering: How likely a strand takes its time there, as one does that the system has others run before.
    """

    tick = _TICK

    patience = 5.0
    """After so many real seconds in which nothing has happened, a strand counts as stuck; at the latest after twice as
    many."""

    def __init__(self, random: Random, start: int, epoch: int, rate: float, lingering: float = 0.0) -> None:
        super().__init__(start, epoch)
        self.mutex = real_lock()  # free whenever somebody wants it, as one strand runs at a time
        self.rate = rate
        self.lingering = lingering
        self.random = random
        self._random = random.random
        self.steps = 0
        self.switches = 0
        self.problem: BaseException | None = None
        self._running: Strand | None = None
        self._ready: list[Strand] = []
        self._soonest: int | None = None  # no deadline is earlier
        self._over = real_lock()
        self._over.acquire()

    def run(self, function: Callable[[], object], name: str) -> None:
        """Call ``function`` in a first strand, and come back when it has returned. Other strands stay where they are.

        Raises:
            StandstillError: Nobody could go on.
            MainspringError: A strand did not come back from somewhere outside of this world.
        """
        first = self._new(name)

        def live() -> None:
            first.gate.acquire()
            self._enter(first)
            try:
                function()
            except BaseException as error:
                self.problem = self.problem or error
            self._over.release()
            real_lock_forever()

        first.ident = start_real_thread(live, ())
        self._running = first
        self._ready.append(first)
        first.gate.release()
        steps = -1
        while not self._over.acquire(timeout=self.patience):
            if self.steps == steps:
                self.problem = self.problem or self._stuck()
                break
            steps = self.steps
        if self.problem is not None:
            raise self.problem

    def me(self) -> Strand | None:
        """See `World.me`."""
        running = self._running
        ident = get_ident()
        return running if running is not None and running.ident == ident else self._by_ident.get(ident)

    def add(self, strand: Strand) -> None:
        """See `World.add`."""
        self._ready.append(strand)

    def end(self, strand: Strand) -> None:
        """See `World.end`."""
        self._leave(strand)
        self._ready.remove(strand)
        following = self._next()
        if following is not None:
            self._hand_over(following)

    def park(self, deadline: int | None, why: str) -> bool:
        """See `World.park`."""
        me = self._running
        assert me is not None
        self.steps += 1
        if me.token:
            me.token = False
            return True
        me.deadline, me.why, me.is_parked = deadline, why, True
        self._ready.remove(me)
        if deadline is not None and (self._soonest is None or deadline < self._soonest):
            self._soonest = deadline
        self._yield_to(self._next())
        woken, me.token = me.token, False
        return woken

    def unpark(self, strand: Strand) -> None:
        """See `World.unpark`."""
        strand.token = True
        if strand.is_parked:
            self._free(strand)

    def pause(self) -> None:
        """See `World.pause`."""
        me = self._running
        if me is None or me.still or me.ident != get_ident():
            return
        self.steps += 1
        if self._soonest is not None and self._soonest <= self.now:
            self._free_due()
        if len(self.strands) == 1:
            return
        chance = self._random()
        if chance < self.lingering:
            self._linger(me)
        elif len(self._ready) > 1 and chance < self.lingering + self.rate:
            self._yield_to(self._pick())

    def choose(self, number: int) -> int:
        """See `World.choose`."""
        return int(self._random() * number) if number > 1 else 0

    def dawdle(self, likelihood: float) -> None:
        """Take up to 10 ms, or none, as what is done at such a place may; else short work would never overlap."""
        me = self._running
        if me is not None and not me.still and self._random() < likelihood:
            self._linger(me)
        else:
            self.pause()

    def _linger(self, me: Strand) -> None:
        pending, me.token = me.token, False  # what wakes it is for what it waits for next
        woken = self.park(self.now + round(10 ** self.random.uniform(4, 7)), "takes its time")
        me.token = pending or woken

    @contextmanager
    def undisturbed(self) -> Generator[None]:
        """Let no other strand run in the block, unless the calling one parks."""
        me = self._running
        assert me is not None
        me.still += 1
        try:
            yield
        finally:
            me.still -= 1

    def _free(self, strand: Strand) -> None:
        strand.is_parked = False
        strand.deadline = None
        self._ready.append(strand)

    def _free_due(self) -> None:
        """Let those run whose deadlines have passed."""
        now, soonest = self.now, None
        for strand in self.strands:
            deadline = strand.deadline
            if deadline is None:
                continue
            if deadline <= now:
                self._free(strand)
            elif soonest is None or deadline < soonest:
                soonest = deadline
        self._soonest = soonest

    def _next(self) -> Strand | None:
        """Who runs now that the calling strand does not; None if the world has come to its end."""
        if self._soonest is not None and self._soonest <= self.now:
            self._free_due()
        while not self._ready:
            soonest = self.next_deadline()
            if soonest is None:
                self._fail(StandstillError(f"Nobody can go on, and nobody waits for a time.\n{self.told()}"))
                return None
            self.now = max(self.now, soonest)
            self._free_due()
        return self._pick()

    def _pick(self) -> Strand:
        return self._ready[self.choose(len(self._ready))]

    def _yield_to(self, following: Strand | None) -> None:
        me = self._running
        assert me is not None
        if following is me:
            return
        if following is not None:
            self._hand_over(following)
        me.gate.acquire()

    def _hand_over(self, following: Strand) -> None:
        self.switches += 1
        self._running = following
        following.gate.release()

    def _fail(self, problem: BaseException) -> None:
        """End the world: whoever called `run` is told, and nobody runs any more."""
        self.problem = problem
        self._over.release()

    def _stuck(self) -> MainspringError:
        where = self.told()
        return MainspringError(
            f"{self._running} has not come back for {self.patience:g} seconds: it computes, or waits for something"
            " outside of the simulation, such as a process, a socket, a lock of another library, or a thread that was"
            f" there before.\n{where}"
        )


def real_lock_forever() -> None:
    """Keep the calling thread from ever doing anything again."""
    while True:
        real_sleep(3600)
