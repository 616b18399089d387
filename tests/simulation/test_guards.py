"""The simulation sees it when a guard of the product is gone: each of these is taken out, and some seed shows it."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring._engine import recorded
from mainspring.recording.buffer import Buffer
from mainspring.store.losses import Losses
from mainspring.store.sql import slots, writing
from mainspring.store.sql.store import SQLRunStore
from mainspring.testing import Faults, SimulationError, explore
from mainspring.transactions.recovery import _Recovery
from tests.simulation.programs import everything, transfers

pytestmark = pytest.mark.timeout(300)

ENOUGH = 400
"""Seeds within which the loss of a guard has to show."""


def explored(faults: Faults | None = None, program: Any = everything) -> str:
    """What is told of the first seed that shows something."""
    with pytest.raises(SimulationError) as caught:
        explore(program.main, ENOUGH, trace=program.trace, faults=faults, patience=20)
    return str(caught.value)


def test_states_follow_what_the_store_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing on although somebody else has settled the run."""
    append = writing._append

    def blind(db: Any, change: Any, *others: Any) -> Any:
        newest = db.execute(writing.table_of(change.run).newest, (change.run.key,)).fetchone()
        if newest is not None:
            change.follows = newest[0]
        return append(db, change, *others)

    monkeypatch.setattr(writing, "_append", blind)
    monkeypatch.setattr(Losses, "covers", lambda *_: False)
    assert "no way to go" in explored(Faults(0, 0, 0, 0, lost_lease=0.01, death=0, deaths=2))


def test_slots_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Granting slots that are taken."""
    monkeypatch.setattr(slots, "_too_much", lambda *_: None)
    assert "slots of" in explored()


def test_hooks_that_have_begun_are_not_called_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calling all hooks of a transaction again after a death among them."""
    call = _Recovery._call
    monkeypatch.setattr(_Recovery, "_call", lambda self, calls, begun, kind: call(self, calls, 0, kind))
    assert "was called again" in explored(Faults(0, 0, 0, 0, 0, death=0.01, deaths=3), transfers)


def test_runs_of_dead_processes_are_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving them as they were when their process died."""
    monkeypatch.setattr(SQLRunStore, "settle_dead_owners", lambda self: [])
    assert explored()


def test_what_could_not_be_written_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgetting what was to be written when a statement failed."""
    monkeypatch.setattr(Buffer, "put_back", lambda *_: None)
    assert explored(
        Faults(0, statement_fails=0.02, slow_commit=0, duplicate_wakeup=0, lost_lease=0, death=0), transfers
    )


def test_results_are_written_with_their_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entering Completed without what was returned."""

    def forget(self: Any, row: Any, record: Any, keeping: Any) -> None:
        del keeping
        self._kept_under = row.key
        record.mark_persisted()

    monkeypatch.setattr(recorded.RecordedRun, "_attach", forget)
    assert explored()
