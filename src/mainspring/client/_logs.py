"""The methods of clients that are about what runs have logged."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from mainspring import clock
from mainspring.client._entering import Enterable
from mainspring.client._runs import key_of
from mainspring.exceptions import ConfigurationError
from mainspring.filters import LogFilter, LogSort, page_of, record_of, sort_of
from mainspring.store.protocol import LogEntry

if TYPE_CHECKING:
    from mainspring.client._runs import Id

__all__ = ["LogCreate", "LogMethods"]


class LogCreate(msgspec.Struct, frozen=True, kw_only=True):
    """A log line to be recorded.

    Args:
        message: The text.
        level: As in `logging`.
        name: The name of the logger.
        timestamp: When it was written; now when omitted. Naive times are UTC.
        flow_run_id: The flow run that it belongs to.
        task_run_id: The task run that it belongs to.
    """

    message: str
    level: int = logging.INFO
    name: str = "mainspring"
    timestamp: datetime | None = None
    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None


class LogMethods(Enterable):
    """The methods about log lines."""

    def read_logs(
        self,
        log_filter: LogFilter | Mapping[str, Any] | Id | None = None,
        limit: int | None = None,
        offset: int | None = None,
        sort: LogSort | str | None = None,
    ) -> list[LogEntry]:
        """The log lines that fit, oldest first unless ``sort`` says otherwise.

        Args:
            log_filter: Only these lines. An id stands for the lines of that task run, or of that flow run and its task
                runs.
            limit: At most so many, 200 when omitted; `mainspring.filters.ALL` for all.
            offset: Leave out so many of the first.
            sort: The order.

        Raises:
            ConfigurationError: The filter, the order, or a number cannot work.
        """
        limit, start = page_of(limit, offset)
        order = sort_of(LogSort, sort, LogSort.TIMESTAMP_ASC)
        if isinstance(log_filter, UUID | str):
            lines = self.store.read_logs(key_of(log_filter))
            if order is LogSort.TIMESTAMP_DESC:
                lines.reverse()
            return lines[start : start + limit]
        return self.store.search_logs(record_of(LogFilter, log_filter), order, limit, start)

    def create_logs(self, logs: Iterable[LogCreate | LogEntry | Mapping[str, Any]]) -> None:
        """Record log lines: all of them, or none.

        Args:
            logs: The lines, as `LogCreate`, as mappings with its members, or as they were read.

        Raises:
            ConfigurationError: One of them is none.
        """
        lines = [_line(each) for each in logs]
        self.store.write([], lines)


def _line(given: LogCreate | LogEntry | Mapping[str, Any]) -> LogEntry:
    if isinstance(given, LogEntry):
        return given
    try:
        line = record_of(LogCreate, given)
        if line is None:
            raise ConfigurationError("None is no log line.")
        checked = msgspec.convert(msgspec.structs.asdict(line), LogCreate)
    except (TypeError, msgspec.ValidationError) as error:  # a member is missing, or of another type
        raise ConfigurationError(f"{given!r} is no log line: {error}.") from error
    moment, flow_run, task_run = checked.timestamp, checked.flow_run_id, checked.task_run_id
    return LogEntry(
        clock.current().now() if moment is None else clock.from_datetime(moment),
        checked.level,
        checked.name,
        checked.message,
        None if flow_run is None else flow_run.bytes,
        None if task_run is None else task_run.bytes,
    )
