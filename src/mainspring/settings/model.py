"""The settings there are. A setting is added here and nowhere else: its name, type, default, meaning."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Literal

import msgspec

from mainspring.exceptions import ConfigurationError

__all__ = [
    "EventSettings",
    "FlowSettings",
    "LoggingSettings",
    "ResultSettings",
    "Settings",
    "StoredLogSettings",
    "TaskRunnerSettings",
    "TaskSettings",
]

Durability = Literal["process", "disk", "relaxed"]

LONGEST_LEASE_SECONDS = 1_000_000_000
"""Some thirty years, which any clock can add to now."""


class TaskRunnerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where submitted tasks run.

    Args:
        thread_pool_max_workers: The most tasks that go on at a time on a thread runner that does not say it itself;
            when unset, there is no limit.
        process_pool_max_workers: The most worker processes of a process runner that does not say it itself; when
            unset, as many as there are processors for this process.
        isolation_max_workers: The most processes for tasks with ``isolation="process"``; when unset, as many as there
            are processors for this process. Read when the first one is started.
        max_in_flight: How many runs of one map are under way at a time, unless the map says.
        warn_of_dropped_futures: Whether it is a warning, and not only a line for debugging, when nobody holds the
            future of a run any more that is not over.
    """

    thread_pool_max_workers: int | None = None
    process_pool_max_workers: int | None = None
    isolation_max_workers: int | None = None
    max_in_flight: int = 1_000
    warn_of_dropped_futures: bool = True

    def __post_init__(self) -> None:
        limits = (
            "thread_pool_max_workers",
            "process_pool_max_workers",
            "isolation_max_workers",
            "max_in_flight",
        )
        for name in limits:
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ConfigurationError(f"tasks.runner.{name} must be at least 1; got {number}.")


class TaskSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults for tasks that do not say it themselves.

    Args:
        default_retries: How many times a failed task run is attempted again.
        default_retry_delay_seconds: Seconds before a retry, or a list of them, one per retry.
        default_persist_result: Whether results are kept; with None the enclosing run decides, and outside of
            any run ``results.persist_by_default``.
        default_no_cache: Tasks that name no cache policy are not cached.
        disable_caching: No task is cached, whatever policy it names.
        refresh_cache: Functions run and overwrite what is in the cache.
        runner: Where submitted tasks run.
    """

    default_retries: int = 0
    default_retry_delay_seconds: float | list[float] = 0
    default_persist_result: bool | None = None
    default_no_cache: bool = False
    disable_caching: bool = False
    refresh_cache: bool = False
    runner: TaskRunnerSettings = TaskRunnerSettings()


class FlowSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults for flows that do not say it themselves; see `TaskSettings`."""

    default_retries: int = 0
    default_retry_delay_seconds: float | list[float] = 0


class ResultSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How results are kept.

    Args:
        persist_by_default: Whether results of runs that do not say it themselves outlive the process.
        default_serializer: What turns results into bytes unless a task or flow says it: the type of a
            serializer, for example "json" or "compressed/pickle".
        default_storage: Where results are kept unless a task or flow says it: a folder or the address of a
            file system ("s3://bucket/results"). When unset, the run store.
        local_storage_path: The folder for large results of the run store; ``storage`` in ``home`` when unset.
    """

    persist_by_default: bool = False
    default_serializer: str = "pickle"
    default_storage: str | None = None
    local_storage_path: Path | None = None


class EventSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events are kept, and how large events may be.

    Args:
        enabled: Whether events that programs emit, and those of limits, are kept in the run store, where other
            processes see them. The events of states are made of the history, which is always kept.
        maximum_labels_per_resource: How many labels a resource may have.
        maximum_related_resources: How many resources may be related to an event.
        maximum_size_bytes: How long an event may be as JSON.
    """

    enabled: bool = True
    maximum_labels_per_resource: int = 500
    maximum_related_resources: int = 500
    maximum_size_bytes: int = 1_500_000


class StoredLogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which lines of run loggers are kept in the run store.

    Args:
        enabled: Whether any are.
        max_log_size: How many characters of a line are kept; the rest is cut off.
    """

    enabled: bool = True
    max_log_size: int = 1_000_000

    def __post_init__(self) -> None:
        if self.max_log_size < 1:
            raise ConfigurationError(
                f"logging.to_api.max_log_size must be at least 1; got {self.max_log_size}. To store no lines set"
                f" logging.to_api.enabled to false."
            )


class LoggingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is logged.

    Args:
        level: The lowest level that run loggers pass on.
        internal_level: The lowest level of the lines that the engine itself writes about runs. By default
            it reports what went wrong; with INFO also every start, retry and end.
        log_prints: Whether ``print`` in tasks and flows goes to the run logger unless they say otherwise.
        to_api: Which lines are stored.
    """

    level: str = "INFO"
    internal_level: str = "WARNING"
    log_prints: bool = False
    to_api: StoredLogSettings = StoredLogSettings()

    def __post_init__(self) -> None:
        for name in ("level", "internal_level"):
            level = getattr(self, name).upper()
            if level not in logging.getLevelNamesMapping():
                raise ConfigurationError(
                    f"logging.{name} is no logging level: {level!r}. Use one of"
                    f" {', '.join(logging.getLevelNamesMapping())}."
                )
            msgspec.structs.force_setattr(self, name, level)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings.

    Args:
        home: The folder for everything mainspring keeps.
        database_url: Where the run store is; a file in ``home`` when unset.
        durability: What a committed state survives: the death of the process (``process``), a power cut
            (``disk``), or neither for some milliseconds (``relaxed``).
        host_id: What tells this host from others that share the run store; its name when unset. Processes with the same
            id see each other's deaths by a lock, others by a lease.
        lease_seconds: For how long others wait for a sign of life of a process on another host, at least 1.
        debug_mode: Log states in full.
        tasks: Defaults for tasks.
        flows: Defaults for flows.
        results: How results are kept.
        events: Which events are kept, and how large they may be.
        logging: What is logged.
    """

    home: Path = Path("~/.mainspring")
    database_url: str | None = None
    durability: Durability = "process"
    host_id: str | None = None
    lease_seconds: float = 30.0
    debug_mode: bool = False
    tasks: TaskSettings = TaskSettings()
    flows: FlowSettings = FlowSettings()
    results: ResultSettings = ResultSettings()
    events: EventSettings = EventSettings()
    logging: LoggingSettings = LoggingSettings()

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "home", self.home.expanduser())
        if self.host_id is not None and not self.host_id.strip():
            raise ConfigurationError(
                "host_id must not be empty. Leave it unset, and the name of this host is used."
            )
        if not (math.isfinite(self.lease_seconds) and 1 <= self.lease_seconds <= LONGEST_LEASE_SECONDS):
            raise ConfigurationError(
                f"lease_seconds must be at least 1 and at most {LONGEST_LEASE_SECONDS:,}; got {self.lease_seconds:g}."
            )

    @property
    def run_store_url(self) -> str:
        """The address of the run store: ``database_url``, or the file ``mainspring.db`` in ``home``."""
        if self.database_url is not None:
            return self.database_url
        return f"sqlite:///{(self.home / 'mainspring.db').absolute()}"

    @property
    def local_storage_path(self) -> Path:
        """The folder for large results: ``results.local_storage_path``, or ``storage`` in ``home``."""
        given = self.results.local_storage_path
        return self.home / "storage" if given is None else given.expanduser()
