"""What every run store does with requests to cancel runs, as tests: a part of the conformance suite."""

import pytest

from mainspring.identifiers import new_id
from mainspring.states import StateType
from mainspring.store import RunStore
from mainspring.store.cancellations import CancellationRequest
from tests.store.histories import (
    CANCELLING,
    COMPLETED,
    NOON,
    PAUSED,
    PENDING,
    RUNNING,
    SCHEDULED,
    advance,
    finished_task_run,
    new_flow_run,
    new_task_run,
    record,
)


class CancellationRowsConformance:
    """A part of `RunStoreConformance`; the fixture ``store`` is that one's."""

    @pytest.mark.parametrize("kind", [PENDING, SCHEDULED, RUNNING, PAUSED, CANCELLING])
    def test_a_request_reaches_the_process_of_the_run(self, store: RunStore, kind: StateType) -> None:
        """Whoever looks after an unfinished run, of a flow or a task, reads what is asked of it."""
        for run in (new_flow_run(), new_task_run()):
            record(store, advance(run, *([] if kind is PENDING else [kind])))
            asked = CancellationRequest(run.key, "enough")
            assert store.request_cancellation(asked, NOON)
            assert store.read_cancellations() == [asked]
            store.drop_cancellation(run.key)
            assert store.read_cancellations() == []

    def test_the_first_request_counts(self, store: RunStore) -> None:
        """Two requests for one run are one, with the reason of the first; several runs come in their order."""
        runs = [new_task_run(), new_flow_run()]
        for number, run in enumerate(runs):
            record(store, advance(run, RUNNING))
            for reason in ("first", "second"):
                assert store.request_cancellation(CancellationRequest(run.key, reason), NOON + number)
        assert store.read_cancellations() == [CancellationRequest(run.key, "first") for run in runs]

    def test_what_cannot_be_asked_for(self, store: RunStore) -> None:
        """A run that is over, or that nobody knows, is not asked to stop, and nothing is kept of that."""
        for key in (finished_task_run(store).key, new_id()):
            assert not store.request_cancellation(CancellationRequest(key, "late"), NOON)
        assert store.read_cancellations() == []

    def test_requests_that_came_too_late_are_forgotten(self, store: RunStore) -> None:
        """What is left of runs that have ended since goes with the next request."""
        over, other = new_task_run(), new_task_run()
        record(store, advance(over, RUNNING), advance(other, RUNNING))
        assert store.request_cancellation(CancellationRequest(over.key, "late"), NOON)
        record(store, advance(over, COMPLETED))
        assert store.request_cancellation(CancellationRequest(other.key, "in time"), NOON)
        assert store.read_cancellations() == [CancellationRequest(other.key, "in time")]

    def test_forgetting_what_is_not_there(self, store: RunStore) -> None:
        """To forget a request twice does no harm."""
        store.drop_cancellation(new_id())
