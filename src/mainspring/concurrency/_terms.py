"""What a caller asks for, checked once and understood."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeGuard
from uuid import UUID

import msgspec

from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import ConfigurationError
from mainspring.identifiers import to_bytes

__all__ = [
    "DAY",
    "MINUTE",
    "MOST_SLOTS",
    "LeaseHolder",
    "Names",
    "Terms",
    "active_run",
    "check_limit",
    "check_name",
    "is_name",
    "listed",
    "understood_holder",
]

MINUTE = 60.0
DAY = 86_400.0
MOST_SLOTS = 2**31 - 1

Names = str | Iterable[str] | None


class LeaseHolder(msgspec.Struct, frozen=True):
    """For whom slots are held. A mapping with the same two members will do wherever one is taken.

    Attributes:
        type: What kind of thing it is.
        id: Its id.
    """

    type: Literal["flow_run", "task_run", "deployment"]
    id: UUID


class Terms:
    """What is asked for. Immutable by convention, so one may serve many requests.

    Args:
        names: The limits, see `listed`.
        occupy: How many slots of each.
        timeout_seconds: How long to wait at most; None for ever.
        max_retries: How often to look again at most; None as often as it takes.
        lease_seconds: For how long the slots survive a holder that says nothing.
        strict: Whether a missing limit is an error.
        raises: Whether the holder is interrupted when its lease is lost.
        decays: Whether slots are never given back: a rate limit.
        tells: Whether a missing limit is worth a warning.

    Raises:
        ConfigurationError: One of them cannot work.
    """

    __slots__ = (
        "decays",
        "lease_seconds",
        "max_retries",
        "names",
        "raises",
        "slots",
        "strict",
        "tells",
        "timeout",
    )

    def __init__(
        self,
        names: Names,
        occupy: int = 1,
        timeout_seconds: float | None = None,
        max_retries: int | None = None,
        lease_seconds: float = 5 * MINUTE,
        strict: bool = False,
        raises: bool = False,
        decays: bool = False,
        tells: bool = True,
    ) -> None:
        self.names = listed(names)
        if not _is_whole(occupy) or occupy < 1:
            raise ConfigurationError(
                f"occupy={occupy!r} cannot work: it is a whole number of slots, 1 or more."
            )
        if timeout_seconds is not None and not (_is_number(timeout_seconds) and timeout_seconds >= 0):
            raise ConfigurationError(
                f"timeout_seconds={timeout_seconds!r} cannot work: give 0 or more, or None to wait for ever."
            )
        if max_retries is not None and not (_is_number(max_retries) and max_retries >= 0):
            raise ConfigurationError(f"max_retries={max_retries!r} cannot work: give 0 or more, or None.")
        if not _is_number(lease_seconds) or not MINUTE <= lease_seconds <= DAY:
            raise ConfigurationError(
                f"lease_duration={lease_seconds!r} cannot work: give between {MINUTE:.0f} seconds and a day"
                f" ({DAY:.0f}). A living holder renews its lease by itself."
            )
        self.slots = occupy
        self.timeout = None if timeout_seconds is None or math.isinf(timeout_seconds) else timeout_seconds
        self.max_retries = max_retries
        self.lease_seconds = lease_seconds
        self.strict = strict
        self.raises = raises
        self.decays = decays
        self.tells = tells


def listed(names: Names) -> list[str]:
    """The names of limits in order, each once: of one name, any iterable of names, or None.

    Raises:
        ConfigurationError: One is empty, or no text.
    """
    if names is None:
        return []
    given: list[Any] = [names] if isinstance(names, str) or not hasattr(names, "__iter__") else list(names)
    for name in given:
        check_name(name)
    return sorted(set(given)) if len(given) > 1 else given


def is_name(name: object) -> bool:
    """True for what can be the name of a limit: a text of at least one character, which UTF-8 can hold."""
    if not isinstance(name, str) or not name:
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_name(name: object) -> None:
    """Refuse what cannot be the name of a limit.

    Raises:
        ConfigurationError: See `is_name`.
    """
    if not is_name(name):
        raise ConfigurationError(
            f"{name!r} cannot be the name of a concurrency limit: give a text of at least one character, without"
            f" surrogates."
        )


def check_limit(name: object, limit: object, slot_decay_per_second: object) -> None:
    """Refuse what cannot be a limit.

    Raises:
        ConfigurationError: The name is none, the limit is no whole number from 0 to `MOST_SLOTS`, or the decay is
            no number, less than 0 or infinite.
    """
    check_name(name)
    if not _is_whole(limit) or not 0 <= limit <= MOST_SLOTS:
        raise ConfigurationError(
            f"The concurrency limit {name!r} cannot have limit={limit!r}: give a whole number from 0 to {MOST_SLOTS}."
        )
    decay = slot_decay_per_second
    if not _is_number(decay) or not 0 <= decay < math.inf:
        raise ConfigurationError(
            f"The concurrency limit {name!r} cannot have slot_decay_per_second={decay!r}: give a number, 0 or more."
        )


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def active_run() -> tuple[str, bytes] | None:
    """Type and key of the innermost active run, or None."""
    task_context = TaskRunContext.get()
    if task_context is not None:
        return "task_run", task_context.task_run.key
    flow_context = FlowRunContext.get()
    if flow_context is not None and flow_context.flow_run is not None:
        return "flow_run", flow_context.flow_run.key
    return None


def understood_holder(holder: LeaseHolder | Mapping[str, Any] | None) -> tuple[str, bytes] | None:
    """Type and key of a holder that a caller named.

    Raises:
        ConfigurationError: It is none.
    """
    if holder is None:
        return None
    try:
        known = holder if isinstance(holder, LeaseHolder) else msgspec.convert(holder, LeaseHolder)
        return known.type, to_bytes(known.id)
    except (msgspec.ValidationError, AttributeError) as error:
        raise ConfigurationError(
            f"{holder!r} cannot hold slots: give a type (flow_run, task_run or deployment) and an id ({error})."
        ) from error
