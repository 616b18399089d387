"""The one background thread for slots in a process: it renews leases, and it calls the store for async code.

It runs while there is something to do and ends soon after. It waits for nobody but the database: a pool that user
code can fill with waiting threads would have no thread left for the release that they wait for.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mainspring import _forks, clock
from mainspring.exceptions import StoreError

if TYPE_CHECKING:
    from mainspring.store.limits import LimitStore

__all__ = ["KEEPER", "RENEW_AFTER", "TRIES", "Keeper", "keeper"]

KEEPER = "mainspring-slots"
"""The name of the thread."""

RENEW_AFTER = 0.75
"""The part of a lease after which it is renewed."""

TRIES = 3
"""So many renewals have to fail, with growing pauses, before the holder is told."""

_TURN_SECONDS = 0.25
_BACK_OFF_SECONDS = 1.0

T = TypeVar("T")
_logger = logging.getLogger("mainspring.concurrency")


class Leased(Protocol):
    """Slots that are held."""

    @property
    def key(self) -> bytes: ...

    @property
    def store(self) -> LimitStore: ...

    def lose(self, reason: str) -> None:
        """The lease could not be renewed."""
        ...


class _Lease(weakref.ref[Any]):
    """When to renew a lease. It lives no longer than its holder: what nobody holds is not renewed."""

    __slots__ = ("context", "due", "failures", "key", "seconds", "store", "time")
    context: contextvars.Context
    due: float
    failures: int
    key: bytes
    seconds: float
    store: LimitStore
    time: clock.Clock

    def end(self) -> int:
        """When the lease runs out if it is renewed now: a wall time in microseconds."""
        return self.time.now() + round(self.seconds * 1e6)


class Keeper:
    """The background thread and its work. Safe to use from any thread and, for `call`, from any event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._leases: dict[bytes, _Lease] = {}

    def watch(self, slots: Leased, seconds: float) -> None:
        """Renew the lease on ``slots`` until `forget`, or until nobody has them any more."""
        lease = _Lease(slots, self._drop)
        lease.key = slots.key
        lease.store = slots.store
        lease.seconds = seconds
        lease.time = clock.current()
        lease.context = contextvars.copy_context()
        lease.failures = 0
        lease.due = lease.time.monotonic() + seconds * RENEW_AFTER
        self._leases[slots.key] = lease
        self._wake()

    def forget(self, key: bytes) -> None:
        """Renew a lease no more. May be called twice."""
        self._leases.pop(key, None)

    async def call(self, work: Callable[[], T]) -> T:
        """Do ``work`` in the thread, in the context of the caller; a cancelled caller does not stop it.

        Calls are done one after the other, in order.
        """
        import asyncio  # whoever awaits has it already

        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self.post(partial(_work_for, loop, future, contextvars.copy_context(), work))
        return await future

    def post(self, call: Callable[[], None]) -> None:
        """Call something in the thread. It should not raise."""
        self._calls.put(call)
        self._wake()

    def next_due(self) -> float | None:
        """When the next lease has to be renewed, by the monotonic clock; None if there is none."""
        return min((lease.due for lease in list(self._leases.values())), default=None)

    def renew_due(self) -> None:
        """Renew each lease whose time has come; the thread does so by itself."""
        by_store: dict[LimitStore, list[_Lease]] = {}
        for lease in list(self._leases.values()):
            if lease.time.monotonic() >= lease.due:
                by_store.setdefault(lease.store, []).append(lease)
        for store, leases in by_store.items():
            self._renew(store, leases)

    def _renew(self, store: LimitStore, leases: list[_Lease]) -> None:
        begun = [lease.time.monotonic() for lease in leases]
        try:
            lost = store.renew_slots([(lease.key, lease.end()) for lease in leases])
        except StoreError as error:
            for lease, now in zip(leases, begun, strict=True):
                self._fail(lease, now, error)
            return
        for lease, now in zip(leases, begun, strict=True):
            lease.failures = 0
            lease.due = now + lease.seconds * RENEW_AFTER
            if lease.key in lost and self._leases.pop(lease.key, None) is not None:
                self._tell(
                    lease, "it had run out, and its slots were given to others, or the limit was deleted"
                )

    def _fail(self, lease: _Lease, now: float, error: StoreError) -> None:
        """Try again, soon at first; the store may come back even after the holder was told."""
        lease.failures += 1
        if lease.failures < TRIES:
            lease.due = now + _BACK_OFF_SECONDS * 2 ** (lease.failures - 1)
        else:
            lease.due = now + lease.seconds * (1 - RENEW_AFTER)
        if lease.failures == TRIES:
            self._tell(lease, f"{TRIES} attempts failed, the last with: {error}")

    @staticmethod
    def _tell(lease: _Lease, reason: str) -> None:
        slots = lease()
        if slots is not None:
            lease.context.run(slots.lose, reason)

    def _drop(self, lease: _Lease) -> None:
        """The holder is gone without a release. Called by the garbage collector, so it takes no lock."""
        if lease.key in self._leases:
            self._calls.put(partial(_release, lease.store, lease.key, lease.time))
            self._leases.pop(lease.key, None)  # last, as the thread ends when there is nothing left to do

    # The thread

    def _wake(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=KEEPER, daemon=True)
                self._thread.start()

    def _work(self) -> None:
        time = clock.current()
        looked_at = time.monotonic()
        while True:
            is_idle = False
            try:
                try:
                    self._calls.get(timeout=_TURN_SECONDS)()
                except queue.Empty:
                    is_idle = True
                if is_idle or time.monotonic() - looked_at >= _TURN_SECONDS:
                    looked_at = time.monotonic()
                    self.renew_due()
            except Exception:  # whoever else needs the thread must not suffer from a bug in this call
                _logger.exception("The background thread for concurrency slots met an error")
            if is_idle:
                with self._lock:
                    if not self._leases and self._calls.empty():
                        self._thread = None
                        return

    def forget_inherited(self) -> None:
        """In a forked child: thread, leases and callers are the parent's."""
        self.__init__()  # type: ignore[misc]


def _work_for(loop: Any, future: Any, context: contextvars.Context, work: Callable[[], object]) -> None:
    try:
        reply = partial(_reply, future.set_result, future, context.run(work))
    except BaseException as error:  # belongs to the caller, whatever it is
        reply = partial(_reply, future.set_exception, future, error)
    try:
        loop.call_soon_threadsafe(reply)
    except RuntimeError:  # the loop was closed, so nobody waits for the answer
        pass


def _reply(answer: Callable[[Any], None], future: Any, value: object) -> None:
    if not future.done():
        answer(value)


def _release(store: LimitStore, key: bytes, time: clock.Clock) -> None:
    try:
        store.release_slots(key, time.now(), 0.0)
    except StoreError:
        pass  # the lease runs out


keeper = Keeper()
_forks.in_child(keeper.forget_inherited)
