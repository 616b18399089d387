"""Time that passes only while everybody waits for it: hours of delays in milliseconds of a test."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
import time
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from typing import Any, TypeVar, cast

from mainspring import _cancel_scopes, clock, identifiers
from mainspring._engine import isolation
from mainspring._events import receivers
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import ConfigurationError
from mainspring.recording import close_recorders
from mainspring.testing.belongings import put_aside
from mainspring.testing.jumping import JumpingWorld
from mainspring.testing.locks import active_world, enter_world, leave_world
from mainspring.testing.loops import BorrowedSelector
from mainspring.testing.options import require_patience
from mainspring.testing.signals import Signals
from mainspring.testing.stillness import StillnessWatch
from mainspring.testing.takeover import Takeover
from mainspring.testing.worlds import NANOSECONDS

__all__ = ["VirtualClock", "VirtualTime", "virtual_time"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_MICROSECOND = 1_000
_PATIENCE = 2.0
_VARIANT, _MANY = 0x800000, 1 << 22  # what marks a UUID as one, and how many numbers there is room for
_real_monotonic_ns, _real_time_ns = time.monotonic_ns, time.time_ns


class VirtualClock:
    """The clock of a block in virtual time. Safe to use from any thread.

    Args:
        world: Whose clock it is.
    """

    def __init__(self, world: JumpingWorld) -> None:
        self._world = world
        self._start = world.now

    def now(self) -> datetime:
        """The virtual wall time, with the time zone UTC. It stands still after the block."""
        return clock.to_datetime((self._world.now + self._world.epoch) // _MICROSECOND)

    def monotonic(self) -> float:
        """What ``time.monotonic()`` says in the block, in seconds."""
        return self._world.now / NANOSECONDS

    @property
    def elapsed(self) -> timedelta:
        """How much time has passed since the block was entered."""
        return timedelta(microseconds=(self._world.now - self._start) // _MICROSECOND)

    @property
    def jumps(self) -> int:
        """How often the clock has jumped, as everybody waited."""
        return self._world.jumps

    def advance(self, seconds: float | timedelta) -> None:
        """Let time pass for the calling thread: everything that is due until then happens before this returns.

        Args:
            seconds: How much.

        Raises:
            ConfigurationError: It is negative, or the calling thread has no part in the block.
        """
        duration = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)
        if not duration >= 0:
            raise ConfigurationError(
                f"The clock cannot be advanced by {duration:g} seconds: time does not go back."
            )
        if active_world() is not self._world or self._world.me() is None:
            raise ConfigurationError(
                "Only threads in a block in virtual time can advance its clock: the one that has entered it, and"
                " those begun in it."
            )
        self._world.sleep(duration)


class VirtualTime:
    """The block, as a context manager; or a decorator of functions, plain or async, that are called in one each."""

    def __init__(self, start: datetime | None = None, patience: float = 60.0) -> None:
        if start is not None and not isinstance(start, datetime):
            raise ConfigurationError(
                f"start={start!r} is no moment: give a datetime. One without a time zone is in UTC."
            )
        require_patience(patience)
        self._start = start
        self._patience = patience
        self._world: JumpingWorld | None = None
        self._undo: list[Callable[[], object]] = []

    def __call__(self, function: _Function) -> _Function:
        """Have a function called in virtual time: each call in a block of its own."""
        start, patience = self._start, self._patience
        if inspect.isclass(function):
            raise ConfigurationError(
                f"virtual_time() cannot be put on the class {function.__name__!r}: put it on its test methods, or use"
                " it as a block in a fixture."
            )
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(
                f"virtual_time() cannot be put on the generator {function.__name__!r}, whose consumer goes on outside"
                " while it is suspended: use it as a block inside."
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                with VirtualTime(start, patience):
                    return await function(*args, **kwargs)

            return cast(_Function, awaited)

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with VirtualTime(start, patience):
                return function(*args, **kwargs)

        return cast(_Function, called)

    def __enter__(self) -> VirtualClock:
        _require_rest()
        loop = _borrowable_loop()
        close_recorders()
        world = self._world = _make_world(self._start)
        put_back = put_aside()
        subscribed = receivers.active
        world.enter(threading.current_thread().name)
        enter_world(world)
        try:
            takeover = Takeover()
            self._undo.append(takeover.give_back)
            takeover.begin()
            self._undo.append(put_back)
            receivers.active = subscribed
            self._number_ids()
            if threading.current_thread() is threading.main_thread():
                signals = Signals(world)
                signals.begin()
                self._undo.append(signals.give_back)
            if loop is not None:
                self._borrow(loop)
            watch = StillnessWatch(world, self._patience)
            watch.begin()
            self._undo.append(watch.end)
        except BaseException:
            self._leave()
            raise
        return VirtualClock(world)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        world = self._world
        assert world is not None
        try:
            close_recorders()
            isolation.close_workers()
        finally:
            left = world.finish(_PATIENCE)
            self._leave()
            if left:
                _warn_of(left)
        if world.problem is not None and error is None:
            raise world.problem

    def _leave(self) -> None:
        subscribed = receivers.active
        while self._undo:
            self._undo.pop()()
        receivers.active = subscribed
        leave_world()
        self._world = None

    def _number_ids(self) -> None:
        """Have ids in the order in which they are made, though many are made at the same moment."""
        make, numbers = identifiers.SystemIdSource.new, count(1)

        def new(source: identifiers.SystemIdSource) -> bytes:
            made = bytearray(make(source))
            made[8:11] = (_VARIANT | next(numbers) % _MANY).to_bytes(3, "big")
            return bytes(made)

        setattr(identifiers.SystemIdSource, "new", new)  # noqa: B010 - type checkers know that methods are not to be set
        self._undo.append(lambda: setattr(identifiers.SystemIdSource, "new", make))

    def _borrow(self, loop: Any) -> None:
        selector, executor = loop._selector, loop._default_executor
        loop._selector = BorrowedSelector(selector)
        loop._default_executor = None  # its threads are not of the world

        def give_back() -> None:
            inner = loop._default_executor
            loop._selector, loop._default_executor = selector, executor
            if inner is not None:
                inner.shutdown(wait=False)

        self._undo.append(give_back)


def virtual_time(start: datetime | None = None, *, patience: float = 60.0) -> VirtualTime:
    """A block in which time passes only while all threads wait, and then at once: up to when the next one is due.

    Every delay, timeout, lease, expiry and sleep in the block follows its clock, those of mainspring and of
    ``time``, ``threading``, ``queue``, ``asyncio`` and ``concurrent.futures`` alike, in the thread that enters the
    block and in all that begin in it. Other threads, other processes and ``datetime.now()`` keep the real time.

    The history is written to the run store that settings name, with the times of this clock. Stores that are open
    are closed before the block and at its end.

    Args:
        start: The wall time at the beginning; now if it is left out. One without a time zone is in UTC.
        patience: Real seconds for which threads may wait for a time while others do nothing, as they wait for what is
            not of the block: a lock that was made before it, a process, a socket.

    Returns:
        A context manager that gives a `VirtualClock`, or a decorator for functions, plain or async.

    Raises:
        ConfigurationError: On entering, if a run is going on in this process, if the block is inside of another one
            or of a simulation, or if the running event loop is of a kind that cannot take part.
        StandstillError: In the block or at its end: all threads wait, and none of them for a time, or the patience has
            ended. It is then raised in all that wait for a time, too.
    """
    return VirtualTime(start, patience)


def _make_world(start: datetime | None) -> JumpingWorld:
    """A world that begins now.

    It does so at a whole second of the monotonic clock and at a whole microsecond of the wall clock, so that
    differences are exact for those who count in floats or microseconds.
    """
    moment = -(-_real_monotonic_ns() // NANOSECONDS) * NANOSECONDS
    wall = _real_time_ns() // _MICROSECOND if start is None else clock.from_datetime(start)
    is_main = threading.current_thread() is threading.main_thread()
    return JumpingWorld(moment, wall * _MICROSECOND - moment, threading.get_ident() if is_main else 0)


def _require_rest() -> None:
    """Refuse to begin where the clock cannot be exchanged.

    Raises:
        ConfigurationError: For one of the reasons that `virtual_time` names.
    """
    if active_world() is not None:
        raise ConfigurationError(
            "This process is in virtual time already, or in a simulation: blocks cannot be nested. Use the clock of"
            " the block around."
        )
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    if flow is not None or task is not None:
        raise ConfigurationError(
            "virtual_time() cannot begin inside of a flow or a task: its run has begun in real time. Enter the block"
            " first, and call the flow in it."
        )
    live = len(_cancel_scopes.live)
    if live:
        raise ConfigurationError(
            f"virtual_time() cannot begin while runs go on in this process, and {live} of them do. Wait for them"
            " first, or call them in the block."
        )


def _borrowable_loop() -> Any:
    """The running loop, if there is one.

    Raises:
        ConfigurationError: It is of a kind whose waits cannot be seen.
    """
    loop: Any = asyncio._get_running_loop()
    if loop is None:
        return None
    if not isinstance(loop, asyncio.SelectorEventLoop):
        raise ConfigurationError(
            f"virtual_time() cannot begin in an event loop of the kind {type(loop).__name__}: only the loops of"
            " asyncio itself can take part. Enter the block first, and call asyncio.run() in it."
        )
    return loop


def _warn_of(left: list[Any]) -> None:
    names = ", ".join(sorted(each.name for each in left))
    warnings.warn(
        f"Threads that were begun in virtual time have not ended with it, and go on in real time: {names}. Join them"
        " in the block, or have them end.",
        ResourceWarning,
        stacklevel=3,
    )


def _remain_alone() -> None:
    """In a forked child: of the threads of a world, only the one that forked is there."""
    world = active_world()
    if isinstance(world, JumpingWorld):
        world.remain_alone()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_remain_alone)
