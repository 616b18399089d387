"""The groups of settings. A setting is added here or in `Settings`, and nowhere else."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import msgspec

from mainspring.exceptions import ConfigurationError

__all__ = [
    "HOME",
    "EventSettings",
    "FlowSettings",
    "LoggingSettings",
    "ResultSettings",
    "StoredLogSettings",
    "TaskRunnerSettings",
    "TaskSettings",
]

HOME = "${MAINSPRING_HOME}"
"""What stands for the home directory in settings that are paths or addresses."""


class TaskRunnerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where submitted tasks run.

    Args:
        default: Where tasks of flows run that declare no task runner: "threads", "processes=2", "inline",
            "dask=tcp://10.0.0.5:8786", "ray=auto", or "module:name" of another one. When unset, on threads.
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

    default: str | None = None
    thread_pool_max_workers: int | None = None
    process_pool_max_workers: int | None = None
    isolation_max_workers: int | None = None
    max_in_flight: int = 1_000
    warn_of_dropped_futures: bool = True

    def __post_init__(self) -> None:
        if self.default is not None and not self.default.strip():
            raise ConfigurationError(
                "tasks.runner.default must not be empty. Leave it unset, and tasks run on threads."
            )
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

    def __post_init__(self) -> None:
        _check_retries("tasks", self.default_retries, self.default_retry_delay_seconds)


class FlowSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults for flows that do not say it themselves; see `TaskSettings`."""

    default_retries: int = 0
    default_retry_delay_seconds: float | list[float] = 0

    def __post_init__(self) -> None:
        _check_retries("flows", self.default_retries, self.default_retry_delay_seconds)


class ResultSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How results are kept.

    Args:
        persist_by_default: Whether results of runs that do not say it themselves outlive the process.
        default_serializer: What turns results into bytes unless a task or flow says it: the type of a
            serializer, for example "json" or "compressed/pickle".
        default_storage: Where results are kept unless a task or flow says it: a folder or the address of a
            file system ("s3://bucket/results"). When unset, the run store.
        local_storage_path: The folder for large results of the run store.
    """

    persist_by_default: bool = False
    default_serializer: str = "pickle"
    default_storage: str | None = None
    local_storage_path: Path = Path(f"{HOME}/storage")

    def __post_init__(self) -> None:
        if not self.default_serializer.strip():
            raise ConfigurationError(
                "results.default_serializer must not be empty. Leave it unset for 'pickle'."
            )
        if self.default_storage is not None and not self.default_storage.strip():
            raise ConfigurationError(
                "results.default_storage must not be empty. Leave it unset, and results are kept in the run store."
            )


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

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) < 0:
                raise ConfigurationError(f"events.{name} must not be negative; got {getattr(self, name)}.")


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
        extra_loggers: The names of further loggers, of libraries for example, whose lines are kept with the run
            in which they are written.
        colors: Whether lines on a terminal are coloured by their level.
        config_path: A TOML or JSON file in the form of `logging.config.dictConfig`, which is applied when the
            first run logger is used.
        to_api: Which lines are stored.
    """

    level: str = "INFO"
    internal_level: str = "WARNING"
    log_prints: bool = False
    extra_loggers: tuple[str, ...] = ()
    colors: bool = True
    config_path: Path | None = None
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


def _check_retries(group: str, retries: int, delays: float | list[float]) -> None:
    if retries < 0:
        raise ConfigurationError(f"{group}.default_retries must be >= 0; got {retries}. 0 means none.")
    for delay in delays if isinstance(delays, list) else [delays]:
        if not (math.isfinite(delay) and delay >= 0):
            raise ConfigurationError(
                f"{group}.default_retry_delay_seconds must be >= 0 and finite; got {delay:g}."
            )
