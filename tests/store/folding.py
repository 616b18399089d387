"""What every run store does with runs whose states are folded into their rows."""

from collections.abc import Callable
from typing import Any

import pytest

from mainspring.runs import Run
from mainspring.states import State, StateDetails
from mainspring.store import RunStore
from tests.store.histories import (
    COMPLETED,
    FAILED,
    PENDING,
    RUNNING,
    SCHEDULED,
    advance,
    facts,
    new_flow_run,
    new_task_run,
    record,
)

OF_STATES = "run_id, position, id, type, name, timestamp, message, details, attempt, data"
PLAIN: dict[str, Callable[[], list[Any]]] = {
    "it completes": lambda: [RUNNING, COMPLETED],
    "it fails with a message": lambda: [RUNNING, State(FAILED, message="Division by zero.")],
    "its end has details": lambda: [
        RUNNING,
        State(FAILED, "TimedOut", state_details=StateDetails(retriable=False)),
    ],
}
OTHERS: dict[str, Callable[[], list[Any]]] = {
    "it never runs": lambda: [FAILED],
    "it is tried again": lambda: [RUNNING, SCHEDULED, State(RUNNING, "Retrying"), COMPLETED],
    "it goes on": lambda: [RUNNING],
    "its second state has a message": lambda: [State(RUNNING, message="At last."), COMPLETED],
    "its second state has a name of its own": lambda: [State(RUNNING, "Sprinting"), COMPLETED],
    "its second state has details": lambda: [
        State(RUNNING, state_details=StateDetails(pause_key="here")),
        COMPLETED,
    ],
}


def rolled_back() -> State:
    return State(COMPLETED, "RolledBack", "Undone.")


def ask(store: RunStore, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a query finds in the database, whichever it is."""
    return store._read(lambda db: db.execute(query, values).fetchall())  # type: ignore[attr-defined, no-any-return]


def rows_of(store: RunStore, run: Run, table: str = "states") -> list[tuple[Any, ...]]:
    return ask(store, f"SELECT {OF_STATES} FROM {table} WHERE run_id = ? ORDER BY position", run.key)


def states_of(store: RunStore, run: Run) -> list[tuple[Any, ...]]:
    """The same as `rows_of`, for as far as records of states go."""
    return [
        (run.key, position, state.key, state.type.value, state.name, state.at, state.message)
        for position, state in enumerate(store.read_states(run.key), 1)
    ]


class FoldingConformance:
    """Subclasses define the fixture ``store``."""

    @pytest.mark.parametrize("life", PLAIN)
    @pytest.mark.parametrize("make", [new_task_run, new_flow_run])
    def test_a_plain_life_is_one_row(self, store: RunStore, make: Any, life: str) -> None:
        """From Pending over Running to its end, all is in the row of the run, and read as if there were more rows."""
        run = make()
        change = advance(run, *PLAIN[life]())
        record(store, change)
        assert rows_of(store, run, "state_rows") == []
        assert [row[:7] for row in rows_of(store, run)] == states_of(store, run)
        assert [state.key for state in store.read_states(run.key)] == [state.key for state in change.states]
        found = store.read_run(run.key)
        assert found is not None
        assert facts(found) == facts(run)
        assert found.state.message == run.state.message
        assert found.state.state_details == run.state.state_details

    @pytest.mark.parametrize("life", OTHERS)
    def test_other_lives_have_rows(self, store: RunStore, life: str) -> None:
        """States that a row of a run has no room for, and those of runs that go on, have rows of their own."""
        run = new_task_run()
        change = advance(run, *OTHERS[life]())
        record(store, change)
        assert len(rows_of(store, run, "state_rows")) == len(change.states)
        assert rows_of(store, run, "state_rows") == rows_of(store, run)
        assert [row[:7] for row in rows_of(store, run)] == states_of(store, run)

    def test_a_first_state_later_than_the_run(self, store: RunStore) -> None:
        """A first state that was not entered when the run was created keeps its time."""
        run = new_task_run()
        run.created_at -= 1
        record(store, advance(run, RUNNING, COMPLETED))
        assert len(rows_of(store, run, "state_rows")) == 3
        assert rows_of(store, run)[0][5] == run.created_at + 1

    @pytest.mark.parametrize("make", [new_task_run, new_flow_run])
    def test_a_later_state_moves_the_others(self, store: RunStore, make: Any) -> None:
        """What was in the row of the run is moved as it is, so that its row can say where it stands now."""
        run = make()
        record(store, advance(run, RUNNING, State(COMPLETED, message="Well done.")))
        before = rows_of(store, run)
        record(store, advance(run, rolled_back()))
        assert rows_of(store, run, "state_rows") == rows_of(store, run)
        assert rows_of(store, run)[:3] == before
        assert [state.message for state in store.read_states(run.key)] == [
            None,
            None,
            "Well done.",
            "Undone.",
        ]
        table = "task_runs" if make is new_task_run else "flow_runs"
        columns = "pending_id, running_id, message, details, data"
        assert ask(store, f"SELECT {columns} FROM {table}") == [(None,) * 5]

    def test_attempts(self, store: RunStore) -> None:
        """The view of attempts has those of folded runs, too."""
        plain, undone = new_task_run(), new_task_run()
        record(store, advance(plain, RUNNING, COMPLETED), advance(undone, RUNNING, COMPLETED))
        record(store, advance(undone, rolled_back()))
        columns = "attempt, end_time - start_time >= 0, state_type, state_name"
        for run in (plain, undone):
            found = ask(store, f"SELECT {columns} FROM attempts WHERE run_id = ?", run.key)
            assert [tuple(row) for row in found] == [(1, True, "COMPLETED", "Completed")]

    def test_deleting(self, store: RunStore) -> None:
        """With its row all states of a run are gone."""
        run = new_task_run()
        record(store, advance(run, RUNNING, COMPLETED))
        assert store.delete_runs([run.key]) == 1
        assert ask(store, "SELECT * FROM states") == []

    def test_one_that_begins_as_something_else(self, store: RunStore) -> None:
        """Three states that do not begin with Pending have rows."""
        run = new_flow_run()
        run.state = State(SCHEDULED, at=run.created_at)
        run.state.belong_to(None, run.key)
        record(store, advance(run, RUNNING, COMPLETED))
        assert [row[3] for row in rows_of(store, run, "state_rows")] == ["SCHEDULED", "RUNNING", "COMPLETED"]
        assert PENDING not in {state.type for state in store.read_states(run.key)}
