"""Concurrency limits for sync code: `concurrency` around a block, and `rate_limit`.

Limits are created with `mainspring.client.Client.create_or_update_concurrency_limit`. A name without a limit limits
nothing: there is a warning, or an error with ``strict``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from mainspring.concurrency._blocks import SyncBlock, block_terms, rate_request
from mainspring.concurrency._terms import LeaseHolder, Names
from mainspring.exceptions import AcquireConcurrencySlotTimeoutError, ConcurrencySlotAcquisitionError

__all__ = [
    "AcquireConcurrencySlotTimeoutError",
    "ConcurrencySlotAcquisitionError",
    "concurrency",
    "rate_limit",
]


def concurrency(
    names: Names,
    occupy: int = 1,
    timeout_seconds: float | None = None,
    create_if_missing: bool | None = None,
    max_retries: int | None = None,
    lease_duration: float = 300,
    strict: bool = False,
    holder: LeaseHolder | Mapping[str, Any] | None = None,
    raise_on_lease_renewal_failure: bool | None = None,
) -> AbstractContextManager[None]:
    """Hold slots of limits around a block. Waits until all of them are free, and takes them together.

    The slots are given back however the block is left. If the process dies, they are free as soon as somebody who
    waits for them notices, or else when the lease runs out. May be used in a thread with a running event
    loop, which it blocks while it waits.

    Args:
        names: One name, or any number of them. With none nothing is limited.
        occupy: How many slots of each limit.
        timeout_seconds: How long to wait at most, from here on; None for ever, 0 not at all.
        create_if_missing: Has no effect, for limits are never made by those who use them. Accepted so that code
            that gives it can stay as it is.
        max_retries: How often to look again at most if the slots are not free; None as often as it takes.
        lease_duration: Seconds for which slots survive a holder that is not heard of, from 60 to 86,400. A living
            holder renews its lease by itself.
        strict: Raise if there is no limit of one of the names.
        holder: For whom the slots are held, to be seen in the run store; the active run when omitted.
        raise_on_lease_renewal_failure: Cancel the block if the lease cannot be renewed, which raises
            `mainspring.exceptions.ConcurrencyLeaseLost`. Otherwise there is a warning. As ``strict`` when omitted.

    Raises:
        ConfigurationError: An argument cannot work.
        ConcurrencySlotAcquisitionError: On entering: the slots cannot be had, for the reason that it gives.
        AcquireConcurrencySlotTimeoutError: On entering: they were not free in time.
    """
    return SyncBlock(
        *block_terms(
            names,
            occupy,
            timeout_seconds,
            max_retries,
            lease_duration,
            strict,
            holder,
            raise_on_lease_renewal_failure,
        )
    )


def rate_limit(
    names: Names,
    occupy: int = 1,
    timeout_seconds: float | None = None,
    create_if_missing: bool | None = None,
    strict: bool = False,
) -> None:
    """Wait until slots of limits are free, take them, and go on. They become free again by decay only.

    Args:
        names: One name, or any number of them, of limits with ``slot_decay_per_second``.
        occupy: How many slots of each limit.
        timeout_seconds: How long to wait at most; None for ever, 0 not at all.
        create_if_missing: Has no effect, see `concurrency`.
        strict: Raise if there is no limit of one of the names.

    Raises:
        ConfigurationError: An argument cannot work.
        ConcurrencySlotAcquisitionError: The slots cannot be had, for the reason that it gives.
        AcquireConcurrencySlotTimeoutError: They were not free in time.
    """
    slots = rate_request(names, occupy, timeout_seconds, strict)
    if slots is not None:
        slots.acquire()
