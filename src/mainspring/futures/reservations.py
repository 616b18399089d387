"""The ids of runs that are not there yet."""

from __future__ import annotations

from mainspring import identifiers

__all__ = ["Reservation"]


class Reservation:
    """The ids that a flow run will have which was submitted, so that it can be spoken of before it begins.

    They change if the call turns out to be answered by an earlier run, or to go on with one: then they are that one's.

    Args:
        is_subflow: Whether a task run will stand for it in the flow run around.
    """

    __slots__ = ("flow_run_key", "stand_in_key")

    def __init__(self, is_subflow: bool) -> None:
        self.stand_in_key = b"" if is_subflow else None
        self.renew()

    def renew(self) -> None:
        """Take ids that nobody has used."""
        self.flow_run_key = identifiers.new_id()
        if self.stand_in_key is not None:
            self.stand_in_key = identifiers.new_id()
