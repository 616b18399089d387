"""One request for slots: waiting for them, holding them, giving them back.

Everything is decided in `Slots._attempt`, which never waits: it asks the store and says after how many seconds to ask
again. The sync and the async way differ only in how they call it and how they pause.
"""

from __future__ import annotations

from mainspring import _forks, clock, points
from mainspring.concurrency._interrupts import TaskInterrupt, ThreadInterrupt
from mainspring.concurrency._keeper import keeper
from mainspring.concurrency._left_over import forget, note
from mainspring.concurrency._notices import Notice, acquired, keep_all, released, rows, tell
from mainspring.concurrency._terms import Terms
from mainspring.concurrency._waiting import AsyncWaiter, SyncWaiter, may_look_for_the_dead, wake
from mainspring.exceptions import (
    AcquireConcurrencySlotTimeoutError,
    ConcurrencySlotAcquisitionError,
    StoreError,
)
from mainspring.identifiers import new_id
from mainspring.logging import get_run_logger_or
from mainspring.store.limits import ConcurrencyLimit, SlotAnswer, SlotRequest
from mainspring.store.protocol import RunStore

__all__ = ["Slots"]

LOOK_PAUSE = 1.0
"""Seconds between looks at the store for whoever is in front in this process, as a hint may get lost."""

FIRST_PAUSE = 0.002
LONGEST_PAUSE = 0.05
"""The same where no hints come from other processes."""

PLACE_SECONDS = 300.0
"""A waiter that does not look at the store for so long loses its place in the queue. It keeps it three times as often,
which is all that those do who are not in front: they are woken when it is their turn."""

SURELY_WRITTEN = 1.0
"""After so many seconds, what was recorded is in the store, unless it cannot be written at all."""

_LOGGER = "concurrency"


class Slots:
    """Slots of some limits, asked for and, after `acquire`, held until `release`.

    Not for two threads at a time, except for the release.

    Args:
        terms: What is asked for.
        store: Where the limits are.
        holder: Type and key of what they are held for, for people to see.
        run_key: The run at whose end they are released if nobody did so before.

    Attributes:
        names: The names that were asked for.
        limits: The active limits of these names; known once acquired.
        occupancy_seconds: For how long they were held, once released; more than 0.
    """

    __slots__ = (
        "__weakref__",
        "_acquired",
        "_acquired_monotonic",
        "_deadline",
        "_interrupt",
        "_is_told",
        "_keep_place_at",
        "_looks",
        "_missing",
        "_pause",
        "_place",
        "_released",
        "_request",
        "_room_at",
        "_stored",
        "_terms",
        "_waiter",
        "_waits",
        "_was_forked",
        "key",
        "limits",
        "names",
        "occupancy_seconds",
        "run_key",
        "store",
    )

    def __init__(
        self, terms: Terms, store: RunStore, holder: tuple[str, bytes] | None, run_key: bytes | None
    ) -> None:
        self._terms = terms
        self.names = terms.names
        self.store = store
        self.run_key = run_key
        self.key = new_id()
        self.limits: list[ConcurrencyLimit] = []
        self.occupancy_seconds = 0.0
        microseconds = round(terms.lease_seconds * 1e6)
        self._request = SlotRequest(
            self.key, terms.names, terms.slots, microseconds, holder, terms.decays, terms.strict
        )
        self._waits = terms.max_retries != 0 and terms.timeout != 0
        self._stored = False  # True if there may be something to give back
        self._is_told = False
        self._missing: list[str] = []
        self._acquired: list[Notice | None] = []
        self._released: list[Notice | None] | None = None
        self._interrupt: ThreadInterrupt | TaskInterrupt | None = None
        self._was_forked = _generation
        self._waiter: SyncWaiter | AsyncWaiter | None = None

    # Taking

    def acquire(self) -> None:
        """Wait until the slots are there and take them; whatever is raised, nothing is left behind.

        Raises:
            ConcurrencySlotAcquisitionError: They cannot be had.
            AcquireConcurrencySlotTimeoutError: They were not free in time.
        """
        self._begin()
        try:
            pause = self._attempt(None)
            if pause is not None:
                waiter = self._waiter = SyncWaiter(self.store, self.names, self._terms.slots, self._place)
                waiter.join()
                waiter.listen()
                while pause is not None:
                    waiter.wait(pause)
                    pause = self._attempt(waiter)
            self._settle()
        except BaseException:
            self.release()
            raise

    async def aacquire(self) -> None:
        """`acquire` for async code: waits without blocking the event loop. Cancelling it leaves nothing behind."""
        self._begin()
        try:
            pause = await keeper.call(lambda: self._attempt(None))
            if pause is not None:
                waiter = self._waiter = AsyncWaiter(self.store, self.names, self._terms.slots, self._place)
                waiter.join()
                await keeper.call(waiter.listen)
                while pause is not None:
                    await waiter.wait(pause)
                    pause = await keeper.call(lambda: self._attempt(waiter))
            self._settle()
        except BaseException:
            await self.arelease()
            raise

    def _begin(self) -> None:
        timeout = self._terms.timeout
        now = clock.current().monotonic()
        self._deadline = None if timeout is None else now + timeout
        self._keep_place_at = now
        self._room_at = now
        self._pause = FIRST_PAUSE
        self._looks = 0
        self._place = 0
        self._stored = True  # before it is true: an interrupt may come at any time
        note(self)

    def _attempt(self, waiter: SyncWaiter | AsyncWaiter | None) -> float | None:
        """Look whether the slots are free and take them: None when they are ours, else how long to pause."""
        time = clock.current()
        is_due = waiter is None or waiter.woken or time.monotonic() >= self._keep_place_at
        if waiter is not None:
            waiter.woken = False
        try:
            if (is_due or self.store.may_take_slots(self._request, time.now())) and self._take(time):
                return None
            if may_look_for_the_dead(self.store) or not self._waits:
                self.store.settle_dead_owners()
                if self.store.may_take_slots(self._request, time.now()) and self._take(time):
                    return None
        except StoreError as error:
            raise ConcurrencySlotAcquisitionError(
                f"Slots of {self._limits_named()} could not be acquired: {error}"
            ) from error
        return self._next_pause(waiter, time.monotonic())

    def _take(self, time: clock.Clock) -> bool:
        now = time.now()
        wait_until = now + round(PLACE_SECONDS * 1e6) if self._waits else None
        if points.observer is not None:
            points.observer("slots.take", self.names)
        answer = self.store.take_slots(self._request, now, wait_until)
        monotonic = time.monotonic()
        if answer.refusal is not None:
            self._stored = False
            raise ConcurrencySlotAcquisitionError(
                f"Slots of {self._limits_named()} cannot be acquired: {answer.refusal}."
            )
        if not answer.granted:
            self._stored = self._waits
            self._place = answer.place
            self._keep_place_at = monotonic + PLACE_SECONDS / 3
            self._room_at = monotonic + (answer.retry_after or 0.0)
            return False
        self._accept(answer, monotonic)
        return True

    def _accept(self, answer: SlotAnswer, monotonic: float) -> None:
        self._missing = answer.missing
        self._acquired_monotonic = monotonic
        self.limits = answer.limits
        self._stored = bool(answer.limits) and not self._terms.decays
        if self._stored:
            keeper.watch(self, self._terms.lease_seconds)
        if points.observer is not None:
            points.observer("slots.taken", self.names)

    def _next_pause(self, waiter: SyncWaiter | AsyncWaiter | None, now: float) -> float:
        terms = self._terms
        if self._deadline is not None and now >= self._deadline:
            raise AcquireConcurrencySlotTimeoutError(
                f"Acquiring {terms.slots} slot(s) of {self._limits_named()} timed out after {terms.timeout}"
                f" second(s): others hold them or came first."
            )
        if terms.max_retries is not None and self._looks >= terms.max_retries:
            raise ConcurrencySlotAcquisitionError(
                f"{terms.slots} slot(s) of {self._limits_named()} were not free, and no more than"
                f" {terms.max_retries} retries were asked for."
            )
        if waiter is None and terms.max_retries is None:
            return 0.0  # nobody would have woken it until now, so it looks again as soon as somebody does
        self._looks += 1
        if waiter is not None and not waiter.is_first():
            pause = max(0.0, self._keep_place_at - now)
        elif self._room_at > now:  # decay is known beforehand
            pause = max(0.0, min(self._room_at, self._keep_place_at) - now)
        elif waiter is not None and self.store.bell.reaches_others and terms.max_retries is None:
            waiter.watch_rivals()
            pause = LOOK_PAUSE
        else:
            pause = self._pause
            self._pause = min(1.5 * pause, LONGEST_PAUSE)
        return pause if self._deadline is None else min(pause, self._deadline - now)

    def _settle(self) -> None:
        """The slots are ours: say so."""
        self._leave_queue()
        if self._missing and self._terms.tells:
            get_run_logger_or(_LOGGER).warning(
                "There is no concurrency limit named %s, so it does not limit anything here. Create it with"
                " get_client().create_or_update_concurrency_limit(name, limit=...).",
                ", ".join(map(repr, self._missing)),
            )
        if self.limits:
            self._is_told = self._stored
            self._acquired = acquired(self.limits, self._terms.slots)
            keep_all(self._acquired)
            tell(self._acquired)
        if not self._stored:
            forget(self)

    def _limits_named(self) -> str:
        return ", ".join(map(repr, self.names))

    # Holding

    @property
    def missing(self) -> list[str]:
        """The names that no limit has; known once acquired."""
        return self._missing

    def interrupt_by(self, interrupt: ThreadInterrupt | TaskInterrupt) -> None:
        """Use this to end the holder's block if the lease is lost."""
        self._interrupt = interrupt

    def lose(self, reason: str) -> None:
        """The lease could not be renewed: end the holder's block, or warn. Called by the background thread."""
        text = f"The lease on slots of {self._limits_named()} could not be renewed: {reason}."
        logger = get_run_logger_or(_LOGGER)
        if self._interrupt is not None:
            logger.error("%s The block that held them is cancelled.", text)
            self._interrupt.fire(text)
        else:
            logger.warning("%s Others may take them while this goes on.", text)

    # Giving back

    def release(self) -> None:
        """Give the slots back, or the place in the queue. May be called twice, and from any thread."""
        self._leave_queue()
        self._note_end()
        self._give_back()
        self._tell()

    async def arelease(self) -> None:
        """`release` for async code. If it is cancelled the slots are given back all the same."""
        self._leave_queue()
        self._note_end()
        if self._stored:
            await keeper.call(self._give_back)
        self._tell()

    def _leave_queue(self) -> None:
        if self._waiter is not None:
            self._waiter.leave()
            self._waiter = None

    def _note_end(self) -> None:
        """Date the end of holding them, before anybody else can have them."""
        if self._is_told and self._released is None and self._was_forked == _generation:
            self._released = released(self.limits, self._terms.slots, self._acquired)

    def _give_back(self) -> None:
        if not self._stored or self._was_forked != _generation:
            return
        keeper.forget(self.key)
        time = clock.current()
        if self.limits:
            self.occupancy_seconds = max(time.monotonic() - self._acquired_monotonic, 1e-6)
        try:
            ends = rows(self._released or ())
            if self.occupancy_seconds < SURELY_WRITTEN:
                ends = rows(self._acquired) + ends  # so that nobody reads of the end before the beginning
            if points.observer is not None:
                points.observer("slots.release", self.names)
            self.store.release_slots(self.key, time.now(), self.occupancy_seconds, ends)
        except StoreError as error:
            get_run_logger_or(_LOGGER).warning(
                "Slots of %s could not be released. Others get them when their lease runs out. %s",
                self._limits_named(),
                error,
            )
            keep_all(self._released or ())
        self._stored = False
        if points.observer is not None:
            points.observer("slots.released", self.names)
        wake(self.store, self.names, self._terms.slots)

    def _tell(self) -> None:
        forget(self)
        if self._is_told:
            self._is_told = False
            tell(self._released or ())


_generation = 0


@_forks.in_child
def _count_fork() -> None:
    """In a forked child: slots that were taken before are the parent's to give back."""
    global _generation
    _generation += 1
