"""How a task or flow wants its results kept: the options checked once, and what they come to inside other runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring import clock
from mainspring._imports import modules_on_use
from mainspring.annotations import NotSet
from mainspring.context import RunContext
from mainspring.results import ResultStore
from mainspring.serializers import Serializer
from mainspring.settings import get_current_settings
from mainspring.states import State, is_stored
from mainspring.store.results import Attachment, KeptResult
from mainspring.transactions.base import BaseTransaction

if TYPE_CHECKING:
    from mainspring import cache_policies
    from mainspring.cache_policies import CachePolicy
else:
    cache_policies = modules_on_use("mainspring", "cache_policies")

__all__ = ["Keeping", "ResultOptions", "checked_key", "is_kept_by_commit"]

_logger = logging.getLogger("mainspring.tasks")


class Keeping(Enum):
    """When and how a result is written.

    ROW: in the run store, in the same commit as the state. FILE: to another storage, before the state is entered.
    STAGED: in the run store, in the same commit, to be published by the transaction. LATER: by the transaction.
    """

    ROW = "row"
    FILE = "file"
    STAGED = "staged"
    LATER = "later"


class ResultOptions:
    """The options about results of one task or flow, as they hold after checking.

    Args:
        persist_result: Whether results are kept; None leaves it to the run around and the settings.
        result_storage: Where: a file system, a folder or an address.
        result_serializer: As which bytes: a serializer or its type.
        cache_result_in_memory: Whether the state goes on holding a result that is kept.
        result_storage_key: Under which key: a template over parameters and facts of the run.
        cache_policy: What results depend on; NotSet for the default one.
        cache_key_fn: A function that gives the key instead of the policy.
        cache_expiration: How long a kept result counts.
        refresh_cache: Whether to run and overwrite what is kept; None leaves it to the settings.
        of_task: False for a flow, to which the settings for tasks do not apply.
        is_named: Whether the user names the steps of a task: then the default policy does not apply.

    ``has_policy`` tells whether there is a policy that gives keys.

    Raises:
        TypeError: An option is of a wrong type.
    """

    __slots__ = (
        "_inherits",
        "_of_task",
        "cache_expiration",
        "cache_key_fn",
        "cache_policy",
        "cache_result_in_memory",
        "given_cache_policy",
        "given_persist_result",
        "has_policy",
        "persist_result",
        "refresh_cache",
        "result_serializer",
        "result_storage",
        "result_storage_key",
    )

    cache_policy: CachePolicy | None

    def __init__(
        self,
        persist_result: bool | None = None,
        result_storage: Any = None,
        result_serializer: Any = None,
        cache_result_in_memory: bool = True,
        result_storage_key: str | None = None,
        cache_policy: CachePolicy | type[NotSet] | None = NotSet,
        cache_key_fn: Callable[..., Any] | None = None,
        cache_expiration: timedelta | None = None,
        refresh_cache: bool | None = None,
        of_task: bool = True,
        is_named: bool = False,
    ) -> None:
        _check_storage(result_storage)
        _check("result_serializer", result_serializer, (str, Serializer), "a serializer or its type")
        _check("result_storage_key", result_storage_key, (str,), "a template as text")
        _check("cache_expiration", cache_expiration, (timedelta,), "a timedelta")
        if cache_policy is not NotSet and cache_policy is not None:
            _check("cache_policy", cache_policy, (cache_policies.CachePolicy,), "a cache policy")
        if cache_key_fn is not None and not callable(cache_key_fn):
            raise TypeError(f"Invalid `cache_key_fn`: expected a function; got {cache_key_fn!r}.")
        self.result_storage = result_storage
        self.result_serializer = result_serializer
        self.result_storage_key = result_storage_key
        self.cache_result_in_memory: bool | None = cache_result_in_memory
        self.cache_key_fn = cache_key_fn
        self.cache_expiration = cache_expiration
        self.refresh_cache = refresh_cache
        self._of_task = of_task
        self.given_cache_policy = cache_policy
        self.given_persist_result = persist_result
        is_default = self._resolve_policy(cache_policy, persist_result, is_named)
        policy = None if is_default else self.cache_policy
        self.has_policy = is_default or (policy is not None and policy != cache_policies.NO_CACHE)
        self._inherits = (
            result_storage is None
            and result_serializer is None
            and result_storage_key is None
            and cache_result_in_memory
            and not _is_configured(policy)
        )

    def expiration_at(self, now: int) -> datetime | None:
        """Until when a result that is kept now counts, by a time in microseconds; None for ever."""
        if self.cache_expiration is None:
            return None
        try:
            return clock.to_datetime(now) + self.cache_expiration
        except OverflowError:  # later than there are dates
            return None

    def __getattr__(self, name: str) -> Any:
        """The default policy: where no result is kept nobody asks for it, and policies need not be loaded."""
        if name != "cache_policy":
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self
            )
        self.cache_policy = policy = cache_policies.DEFAULT
        return policy

    def _resolve_policy(self, given: Any, persist: bool | None, is_named: bool) -> bool:
        """What policy holds, and whether results are kept because of it (T-12 to T-15).

        Returns:
            Whether it is the default one, which is left to be looked up.
        """
        is_given = given is not NotSet
        if self.cache_key_fn is not None:
            if is_given and given is not None:
                _logger.warning(
                    "Both `cache_policy` and `cache_key_fn` are given: `cache_key_fn` will be used."
                )
            given, is_given = cache_policies.CachePolicy.from_cache_key_fn(self.cache_key_fn), True
        is_real = is_given and given is not None and given != cache_policies.NO_CACHE
        if persist is None and (
            is_real
            or self.result_storage_key is not None
            or self.result_storage is not None
            or self.result_serializer is not None
        ):
            persist = True
        self.persist_result = persist
        if persist is False:
            if is_real:
                _logger.warning("Ignoring `cache_policy` because `persist_result` is False.")
            self.cache_policy = None if is_given and given is None else cache_policies.NO_CACHE
        elif is_given:
            self.cache_policy = given
        elif self.result_storage_key is not None:
            self.cache_policy = None
        elif is_named or get_current_settings().tasks.default_no_cache:
            self.cache_policy = cache_policies.NO_CACHE
        else:
            return True
        return False

    def persists_in(self, outer: RunContext | None) -> bool:
        """Whether results of a run inside of ``outer`` are kept (R-71, R-77)."""
        own = self.persist_result
        if own is not None:
            return own
        settings = get_current_settings()
        if self._of_task and settings.tasks.default_persist_result is not None:
            return settings.tasks.default_persist_result
        if outer is not None and outer.persist_result is not None:
            return outer.persist_result
        return settings.results.persist_by_default

    def store_in(self, outer: ResultStore) -> ResultStore:
        """Where results of a run inside of ``outer`` are kept: as these options say, else as out there."""
        return outer if self._inherits and not outer.has_template else outer.update_for_task(self)


def _is_configured(policy: CachePolicy | None) -> bool:
    return policy is not None and (policy.key_storage is not None or policy.lock_manager is not None)


def _check(option: str, value: Any, kinds: tuple[type, ...], expected: str) -> None:
    if value is not None and not isinstance(value, kinds):
        raise TypeError(f"Invalid `{option}`: expected {expected}; got {value!r}.")


def _check_storage(storage: Any) -> None:
    if storage is None or isinstance(storage, str | Path) or hasattr(storage, "write_path"):
        return
    raise TypeError(
        f"Invalid `result_storage`: expected a file system, a folder or an address such as 's3://bucket/results';"
        f" got {storage!r}."
    )


def checked_key(key: Any) -> str | None:
    """The key of a policy, which may come from a function of the user's.

    Raises:
        TypeError: It is no text.
    """
    if key is None or isinstance(key, str):
        return key
    raise TypeError(
        f"a key has to be a text or None, and the policy gave {key!r} of type {type(key).__name__}"
    )


def is_kept_by_commit(
    state: State, attachments: Sequence[Attachment], transaction: BaseTransaction | None
) -> bool:
    """Whether the result of a completed run waits for nothing but the commit of its state.

    Args:
        state: The state, with a record of the result.
        attachments: What is written with it.
        transaction: That of the attempt.
    """
    data = state.data
    if not state.is_completed() or not is_stored(data) or not getattr(data, "is_persisted", False):
        return False
    if transaction is not None and transaction.is_locking:  # whoever gets the lock next looks for the result
        return False
    return all(type(each) is KeptResult for each in attachments)
