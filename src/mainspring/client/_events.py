"""The methods of clients that are about what has happened and what happens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mainspring._imports import modules_on_use
from mainspring.client._entering import Enterable
from mainspring.filters import page_of

if TYPE_CHECKING:
    from mainspring._events.records import Event
    from mainspring.client import _following as following
    from mainspring.client._following import EventStream, Since
    from mainspring.client._runs import Id
else:
    following = modules_on_use("mainspring.client", "_following")

__all__ = ["EventMethods"]


class EventMethods(Enterable):
    """The methods about events."""

    def read_events(
        self,
        prefix: str | Iterable[str] = "",
        run_id: Id | None = None,
        since: Since | None = None,
        until: Since | None = None,
        limit: int | None = None,
    ) -> list[Event]:
        """What has happened, oldest first: the events of states, of limits, and those that programs emitted.

        The table of states has no index over times, so this takes longer the more there is in the store; with
        ``run_id`` it does not.

        Args:
            prefix: How the names of wanted events begin, or several such beginnings.
            run_id: Only what happened in this run, with all that ran inside of it.
            since: Only what happened then or later: a time, or how long ago that is.
            until: Only what happened before.
            limit: At most so many, the newest; 200 when omitted, `mainspring.filters.ALL` for all.

        Raises:
            ObjectNotFound: There is no such run.
            ConfigurationError: One of the arguments cannot work.
        """
        limit, _ = page_of(limit, None)
        return following.read_events(
            self.store, following.filtered(self.store, prefix, run_id, since, until), limit
        )

    def follow_events(
        self,
        prefix: str | Iterable[str] = "",
        run_id: Id | None = None,
        since: Since | None = None,
        follow: bool = True,
    ) -> EventStream:
        """What happens from now on in all processes that share the run store, to iterate over in a ``with`` block.

        Args:
            prefix: How the names of wanted events begin, or several such beginnings.
            run_id: Only what happens in this run, with all that runs inside of it.
            since: Begin then: a time, or how long ago that is. From now on when omitted.
            follow: Wait for what is still to happen. Without that the loop ends with the newest event; it begins with
                the oldest one unless ``since`` is given.

        Returns:
            The stream, to be entered. It is for one reader at a time.

        Raises:
            ObjectNotFound: There is no such run.
            ConfigurationError: One of the arguments cannot work.
        """
        return following.EventStream(
            self.store, following.filtered(self.store, prefix, run_id, since), follow
        )
