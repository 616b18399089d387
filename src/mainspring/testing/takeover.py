"""The standard library in the hands of a world: time, threads, locks, event loops and chance.

What is replaced are attributes of modules: those of the standard library, and wherever else somebody has imported one
of them by name. Replacements do as the originals for threads that are not of the world.
"""

from __future__ import annotations

import asyncio
import builtins
import functools
import logging
import os
import queue
import random
import select
import selectors
import sqlite3
import subprocess
import sys
import threading
import time
from _thread import allocate_lock as real_lock
from _thread import start_new_thread as start_real_thread
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import ModuleType, SimpleNamespace
from typing import Any

from mainspring import _forks, _interruption, clock, identifiers
from mainspring.exceptions import MainspringError
from mainspring.testing import databases, pipes
from mainspring.testing.locks import Lock, active_world
from mainspring.testing.loops import WorldSelector, wake_loop
from mainspring.testing.worlds import NANOSECONDS, Start, Strand, World

__all__ = ["Takeover", "look_around"]

_KEEP_THEIRS = {
    "threading",
    "_thread",
    "time",
    "_weakrefset",
    "importlib._bootstrap",
    "mainspring.testing.worlds",
    "mainspring.testing.jumping",
    "mainspring.testing.locks",
    "mainspring.testing.loops",
    "mainspring.testing.stillness",
    "mainspring.testing.takeover",
    "mainspring.testing.virtual",
}
"""Modules whose globals stay as they are: what is replaced in them is named below."""

_PROCESSORS = 2
"""So many there are in a simulation, wherever it is played: executors have a number of threads that depends on it."""

_REAL_LOCK = type(real_lock())
_REAL_RLOCK = type(threading.RLock())
_real = {name: getattr(time, name) for name in dir(time) if callable(getattr(time, name))}
_REAL_TIME = SimpleNamespace(**_real)
_real_join = threading.Thread.join
_real_is_alive = threading.Thread.is_alive
_real_interrupt = _interruption.interrupt
_real_start_joinable_thread: Callable[..., Any] = (
    getattr(threading, "_start_joinable_thread", None) or start_real_thread
)
_real_import = builtins.__import__


class Takeover:
    """What is exchanged, and how to give it back.

    Args:
        chance: Where ``os.urandom`` and ids come from; None to leave chance alone.
    """

    def __init__(self, chance: random.Random | None = None) -> None:
        self._chance = chance
        self._undo: list[Callable[[], object]] = []

    def begin(self) -> None:
        """Take everything over. A world must have been entered."""
        # made under a lock when it is first used, unless somebody has used asyncio before
        asyncio.get_event_loop_policy()  # pyright: ignore[reportDeprecated]
        substitutes = self.substitutes()
        known = set(sys.modules)
        self._undo.append(lambda: _correct_new_modules(known))
        self._exchange_globals(substitutes)
        for name in (*_TIMES, *(_WORK_TIMES if self._chance is not None else ())):
            self._set(time, name, substitutes[id(_real[name])])
        self._set(threading, "Lock", Lock)
        self._set(threading, "_allocate_lock", Lock)
        self._set(threading, "RLock", threading._PyRLock)  # type: ignore[attr-defined]
        self._set(threading, "_time", _monotonic)
        self._take_threads()
        self._set(queue, "SimpleQueue", queue._PySimpleQueue)  # type: ignore[attr-defined]
        self._set(selectors, "DefaultSelector", WorldSelector)
        self._set(select, "poll", pipes.Poller)
        self._set(os, "read", pipes.read)
        self._set(os, "write", pipes.write)
        self._set(BaseSelectorEventLoop, "_write_to_self", wake_loop)
        self._set(clock.SystemClock, "monotonic", staticmethod(_monotonic))
        self._set(_interruption, "interrupt", _interrupt)
        self._set(builtins, "__import__", _import)
        if self._chance is not None:
            self._take_chance(self._chance)
            self._take_numbers()
            self._set(sqlite3, "connect", databases.connect)
        else:  # other processes live in real time, and so does who waits for their end
            self._set(subprocess, "time", _REAL_TIME)
            self._set(subprocess, "_time", _real["monotonic"])
        _forks.renew()
        self._renew_logging()

    def give_back(self) -> None:
        """Undo all of that, in reverse order."""
        while self._undo:
            self._undo.pop()()

    def _set(self, owner: object, name: str, value: object) -> None:
        before = vars(owner)[name]
        self._undo.append(lambda: setattr(owner, name, before))
        setattr(owner, name, value)

    def substitutes(self) -> dict[int, Any]:
        """What takes the place of what, by identity: for those who have imported it by name."""
        found: dict[int, Any] = {id(_real[name]): substitute for name, substitute in _TIMES.items()}
        found[id(threading.Lock)] = Lock
        found[id(threading.RLock)] = threading._PyRLock  # type: ignore[attr-defined]
        found[id(queue.SimpleQueue)] = queue._PySimpleQueue  # type: ignore[attr-defined]
        found[id(selectors.DefaultSelector)] = WorldSelector
        found[id(_real_interrupt)] = _interrupt
        if self._chance is not None:
            found[id(os.urandom)] = self._chance.randbytes
            found |= {id(_real[name]): substitute for name, substitute in _WORK_TIMES.items()}
        return found

    def _exchange_globals(self, substitutes: Mapping[int, Any]) -> None:
        """Exchange what modules have imported by name, and the locks that they keep."""
        for module, name in _places(substitutes):
            value: object = vars(module).get(name)  # it may be another one by now
            kind = type(value)
            if kind is _REAL_LOCK:
                self._set(module, name, Lock())
            elif kind is _REAL_RLOCK:
                self._set(module, name, threading._PyRLock())  # type: ignore[attr-defined]
            elif id(value) in substitutes:
                self._set(module, name, substitutes[id(value)])

    def _take_threads(self) -> None:
        if hasattr(threading, "_start_joinable_thread"):  # Python 3.13
            self._set(threading, "_start_joinable_thread", _start_joinable_thread)
        elif hasattr(threading, "_start_new_thread"):
            self._set(threading, "_start_new_thread", _start_new_thread)
        else:
            raise MainspringError(
                f"Python {sys.version} begins threads in a way that cannot be simulated yet."
            )
        self._set(threading.Thread, "join", _join)
        self._set(threading.Thread, "is_alive", _is_alive)

    def _take_chance(self, chance: random.Random) -> None:
        state = random.getstate()
        self._undo.append(lambda: random.setstate(state))
        real_seed = random.Random.seed

        def seed(generator: Any, a: Any = None, version: int = 2) -> None:
            real_seed(generator, chance.getrandbits(64) if a is None else a, version)

        self._set(
            random.Random, "seed", seed
        )  # without an argument it asks the system, and not by `os.urandom`
        self._set(random, "seed", random._inst.seed)  # pyright: ignore[reportPrivateUsage]
        random.seed(chance.getrandbits(64))
        of_numpy: Any = sys.modules.get("numpy.random")
        if of_numpy is not None:
            self._undo.append(functools.partial(of_numpy.set_state, of_numpy.get_state()))
            of_numpy.seed(chance.getrandbits(32))
        ids = identifiers.current()
        if isinstance(ids, identifiers.SystemIdSource):
            self._undo.append(ids.seed)
            ids.seed(chance.getrandbits(64))
        self._set(os, "urandom", chance.randbytes)

    def _take_numbers(self) -> None:
        """Have what the standard library counts, or has in the order of addresses, be the same in every process."""
        self._set(os, "cpu_count", lambda: _PROCESSORS)
        if hasattr(os, "process_cpu_count"):  # Python 3.13
            self._set(os, "process_cpu_count", lambda: _PROCESSORS)
        self._set(threading, "_counter", count(1).__next__)
        self._set(ThreadPoolExecutor, "_counter", count().__next__)
        numbers = count(1)
        self._set(asyncio.tasks, "Task", _numbered(asyncio.tasks.Task, numbers))
        self._set(asyncio.futures, "Future", _numbered(asyncio.futures.Future, numbers))

    def _renew_logging(self) -> None:
        """Handlers keep locks, which are held while records are written."""
        references: list[Callable[[], logging.Handler | None]] = vars(logging)["_handlerList"]
        for reference in references:
            handler = reference()
            if handler is not None and handler.lock is not None:
                self._undo.append(functools.partial(setattr, handler, "lock", handler.lock))
                handler.createLock()


_found: tuple[int, list[tuple[ModuleType, str]]] = 0, []


def _places(substitutes: Mapping[int, Any]) -> list[tuple[ModuleType, str]]:
    """The globals that are to be exchanged. A look at all of them takes milliseconds, so it is kept for next time."""
    global _found
    number, places = _found
    if number != len(sys.modules):
        # the next one may take chance over, if this one does not
        wanted = {*substitutes, id(os.urandom), *(id(_real[name]) for name in _WORK_TIMES)}
        places = [
            (module, name)
            for _, module in sorted(sys.modules.items())
            if type(module) is ModuleType and module.__name__ not in _KEEP_THEIRS
            for name, value in vars(module).items()
            if id(value) in wanted or type(value) is _REAL_LOCK or type(value) is _REAL_RLOCK
        ]
        _found = len(sys.modules), places
    return places


def look_around() -> None:
    """Find now what is to be exchanged, so that processes which are forked later need not, each for itself."""
    _places(Takeover().substitutes())


def _correct_new_modules(known: set[str]) -> None:
    """Give modules that were imported meanwhile what they would have got outside, and locks like that."""
    real: dict[int, Any] = {
        id(substitute): _real[name] for name, substitute in (_TIMES | _WORK_TIMES).items()
    }
    real[id(Lock)] = threading.Lock
    real[id(threading._PyRLock)] = threading.RLock  # type: ignore[attr-defined]
    real[id(queue._PySimpleQueue)] = queue.SimpleQueue  # type: ignore[attr-defined]
    real[id(WorldSelector)] = selectors.DefaultSelector
    for key in set(sys.modules) - known:
        module = sys.modules.get(key)
        if type(module) is not ModuleType or module.__name__ in _KEEP_THEIRS:
            continue
        for name, value in list(vars(module).items()):
            if id(value) in real:
                setattr(module, name, real[id(value)])
            elif type(value) is Lock and not value.locked():
                setattr(module, name, threading.Lock())


# Numbers


def _numbered(kind: Any, numbers: Iterator[int]) -> Any:
    """A kind of future, or of task, whose hash is a number: asyncio keeps sets of them, and goes through these."""

    class Numbered(kind):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._number = next(numbers)
            kind.__init__(self, *args, **kwargs)

        def __hash__(self) -> int:
            return self._number

    Numbered.__name__ = Numbered.__qualname__ = kind.__name__
    return Numbered


# Time


def _read() -> int:
    world = active_world()
    if world is None or world.me() is None:
        return int(_real["monotonic_ns"]())
    return world.read()


def _wall() -> int:
    world = active_world()
    if world is None or world.me() is None:
        return int(_real["time_ns"]())
    return world.read() + world.epoch


def _time() -> float:
    return _wall() / NANOSECONDS


def _monotonic() -> float:
    return _read() / NANOSECONDS


def _work_clock(name: str, unit: int) -> Callable[[], Any]:
    """A clock of processor time: computing takes none, but for the looks at clocks."""
    real = _real[name]

    def read() -> Any:
        world = active_world()
        if world is None or world.me() is None:
            return real()
        world.read()
        return world.worked if unit == 1 else world.worked / unit

    return read


def _sleep(seconds: float, /) -> None:
    world = active_world()
    if world is None or world.me() is None:
        _real["sleep"](seconds)
        return
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    world.sleep(seconds)


_TIMES: dict[str, Callable[..., Any]] = {
    "time": _time,
    "time_ns": _wall,
    "monotonic": _monotonic,
    "monotonic_ns": _read,
    "perf_counter": _monotonic,
    "perf_counter_ns": _read,
    "sleep": _sleep,
}

_WORK_TIMES: dict[str, Callable[[], Any]] = {
    name: _work_clock(name, 1 if name.endswith("_ns") else NANOSECONDS)
    for name in ("process_time", "process_time_ns", "thread_time", "thread_time_ns")
    if name in _real  # not each system has a clock for each thread
}
"""Taken over where a seed decides what happens, as the real ones tell how fast the machine is."""


# Threads


def _start_new_thread(function: Callable[..., object], args: tuple[Any, ...], kwargs: Any = None) -> int:
    world = active_world()
    if world is None or world.me() is None:
        return start_real_thread(function, args, kwargs or {})
    return _spawn(world, function, args, kwargs or {})


def _start_joinable_thread(function: Callable[[], object], handle: Any = None, daemon: bool = True) -> Any:
    world = active_world()
    if world is None or world.me() is None:
        return _real_start_joinable_thread(function, handle=handle, daemon=daemon)

    def start(live: Callable[[], object]) -> int:
        # Nobody waits for the threads of a world when it ends.
        ident: int = _real_start_joinable_thread(live, handle=handle, daemon=True).ident
        return ident

    _spawn(world, function, (), {}, start)
    return handle


def _spawn(
    world: World, function: Callable[..., object], args: tuple[Any, ...], kwargs: Any, *start: Start
) -> int:
    thread = getattr(function, "__self__", None)
    strand = world.spawn(function, args, kwargs, getattr(thread, "name", "a thread"), *start)
    if isinstance(thread, threading.Thread):
        thread._strand = strand  # type: ignore[attr-defined]
    world.pause()
    return strand.ident


def _join(thread: threading.Thread, timeout: float | None = None) -> None:
    strand: Strand | None = getattr(thread, "_strand", None)
    world = active_world()
    if strand is None or world is None or world.me() is None:
        return _real_join(thread, timeout)
    if thread is threading.current_thread():
        raise RuntimeError("cannot join current thread")
    world.wait_for_end(strand, None if timeout is None else world.after(timeout))
    return None


def _is_alive(thread: threading.Thread) -> bool:
    strand: Strand | None = getattr(thread, "_strand", None)
    return _real_is_alive(thread) if strand is None else not strand.has_ended


def _interrupt(thread: int, kind: type[BaseException] = _interruption.Interruption) -> None:
    world = active_world()
    if world is not None and thread != threading.get_ident() and world.interrupt(thread, kind):
        return
    if world is not None:
        world.interrupt(thread, None)  # what is on its way is replaced
    _real_interrupt(thread, kind)


def _import(name: str, *args: Any, **kwargs: Any) -> Any:
    """Import with no other strand running: these would wait for the locks of imports, which are not of the world."""
    world = active_world()
    me = None if world is None else world.me()
    if me is None:
        return _real_import(name, *args, **kwargs)
    me.still += 1
    try:
        return _real_import(name, *args, **kwargs)
    finally:
        me.still -= 1
