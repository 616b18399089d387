"""The context managers: slots around a block, sync and async, and what both make of their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from mainspring.concurrency._interrupts import TaskInterrupt, ThreadInterrupt, interrupt_here
from mainspring.concurrency._slots import Slots
from mainspring.concurrency._terms import LeaseHolder, Names, Terms, active_run, understood_holder
from mainspring.context import current_scope
from mainspring.exceptions import ConcurrencySlotAcquisitionError, ConfigurationError, StoreError
from mainspring.recording import current_recorder
from mainspring.store.protocol import RunStore

__all__ = ["AsyncBlock", "SyncBlock", "block_terms", "rate_request"]


class _Block:
    """What the sync and the async block share. May be entered again when it was left."""

    __slots__ = ("_holder", "_interrupt", "_slots", "_terms")

    def __init__(self, terms: Terms, holder: tuple[str, bytes] | None) -> None:
        self._terms = terms
        self._holder = holder
        self._slots: Slots | None = None
        self._interrupt: ThreadInterrupt | TaskInterrupt | None = None

    def _request(self) -> Slots | None:
        """The slots to acquire; None if no limits were named.

        Raises:
            RuntimeError: The block was entered before.
            RunCancelled: The attempt around was given up, and nobody would give them back in time.
        """
        if self._slots is not None:
            raise RuntimeError("This block is entered already. Call concurrency() anew for another one.")
        if not self._terms.names:
            return None
        scope = current_scope()
        if scope is not None:
            scope.refuse_late()
        self._slots = _request(self._terms, self._holder)
        return self._slots

    def _guard(self, slots: Slots) -> None:
        if self._terms.raises and slots.limits:
            self._interrupt = interrupt_here()
            slots.interrupt_by(self._interrupt)

    def _end(self, error: BaseException | None) -> tuple[Slots | None, BaseException | None]:
        """The slots to release, and what to raise then."""
        interrupt, self._interrupt = self._interrupt, None
        lost = None if interrupt is None else interrupt.close(error)
        slots, self._slots = self._slots, None
        return slots, lost


class SyncBlock(_Block):
    """Slots around a ``with`` block."""

    __slots__ = ()

    def __enter__(self) -> None:
        slots = self._request()
        if slots is not None:
            try:
                slots.acquire()
            except BaseException:
                self._slots = None
                raise
            self._guard(slots)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        slots, lost = self._end(error)
        if slots is not None:
            slots.release()
        if lost is not None:
            raise lost from None


class AsyncBlock(_Block):
    """Slots around an ``async with`` block."""

    __slots__ = ()

    async def __aenter__(self) -> None:
        slots = self._request()
        if slots is not None:
            try:
                await slots.aacquire()
            except BaseException:
                self._slots = None
                raise
            self._guard(slots)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        slots, lost = self._end(error)
        if slots is not None:
            await slots.arelease()
        if lost is not None:
            raise lost from None


def block_terms(
    names: Names,
    occupy: int,
    timeout_seconds: float | None,
    max_retries: int | None,
    lease_duration: float,
    strict: bool,
    holder: LeaseHolder | Mapping[str, Any] | None,
    raise_on_lease_renewal_failure: bool | None,
) -> tuple[Terms, tuple[str, bytes] | None]:
    """The arguments of ``concurrency``, checked.

    Raises:
        ConfigurationError: One of them cannot work.
    """
    terms = Terms(
        names,
        occupy,
        timeout_seconds,
        max_retries,
        lease_duration,
        strict,
        raises=strict if raise_on_lease_renewal_failure is None else raise_on_lease_renewal_failure,
    )
    return terms, understood_holder(holder)


def rate_request(names: Names, occupy: int, timeout_seconds: float | None, strict: bool) -> Slots | None:
    """What ``rate_limit`` is to acquire; None if no limits were named.

    Raises:
        ConfigurationError: An argument cannot work.
        ConcurrencySlotAcquisitionError: The run store cannot be opened.
    """
    terms = Terms(names, occupy, timeout_seconds, strict=strict, decays=True)
    return _request(terms, None) if terms.names else None


def _request(terms: Terms, holder: tuple[str, bytes] | None) -> Slots:
    run = active_run()
    return Slots(terms, _store(terms), holder or run, None if run is None else run[1])


def _store(terms: Terms) -> RunStore:
    try:
        return current_recorder().store
    except (StoreError, ConfigurationError) as error:
        raise ConcurrencySlotAcquisitionError(
            f"Slots of {', '.join(map(repr, terms.names))} cannot be acquired: {error}"
        ) from error
