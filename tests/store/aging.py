"""What every run store does about what is old, as tests: a part of the conformance suite."""

import pytest

from mainspring.identifiers import new_id
from mainspring.runs import FlowRun, Run, TaskRun
from mainspring.states import State, StateType
from mainspring.store import RunStore
from mainspring.store.aging import Ended
from mainspring.store.events import EventFilter, StoredEvent
from mainspring.store.results import KeptResult, StagedStep
from mainspring.store.sql import deleting as module
from tests.store.histories import (
    COMPLETED,
    CRASHED,
    FAILED,
    PAUSED,
    PENDING,
    RUNNING,
    advance,
    finished_flow_run,
    finished_task_run,
    new_flow_run,
    new_task_run,
    record,
)

THEN = 4_000_000_000_000_000  # in 2096: later than what was made just now
LATER = 2**62
_WHEN = ((THEN - 1, None), (THEN - 1, new_id()), (THEN, None))


def ended_at(store: RunStore, run: Run, at: int, type: StateType = COMPLETED) -> bytes:  # noqa: A002
    """Let a run end at a time."""
    record(store, advance(run, State(RUNNING, at=at - 1), State(type, at=at)))
    return run.key


class AgingConformance:
    """A part of `RunStoreConformance`; the fixture ``store`` is that one's."""

    def test_runs_that_ended_before(self, store: RunStore) -> None:
        """Runs of flows and of lone tasks that ended before the time are found, oldest first, and no others."""
        old = [ended_at(store, run, THEN - 1) for run in (new_task_run(), new_flow_run(), new_task_run())]
        for run in (new_task_run(), new_flow_run()):
            ended_at(store, run, THEN)
        assert store.find_ended_runs(Ended(THEN)) == sorted(old)
        assert store.find_ended_runs(Ended(THEN - 1)) == []

    def test_what_is_inside_is_not_old_by_itself(self, store: RunStore) -> None:
        """Task runs of flows and subflow runs are found with their outermost flow run alone."""
        outer = finished_flow_run(store)
        stand_in = finished_task_run(store, outer)
        finished_flow_run(store, parent_task_run_key=stand_in.key)
        assert store.find_ended_runs(Ended(LATER)) == [outer.key]

    def test_runs_that_are_not_over(self, store: RunStore) -> None:
        """Runs that wait, go on, are paused or suspended are never old; one that never began is over."""
        for states in ([], [RUNNING], [RUNNING, PAUSED], [RUNNING, State(PAUSED, name="Suspended")]):
            record(store, advance(new_flow_run(), *states))
        never = new_task_run()
        record(store, advance(never, State(PENDING, name="NotReady")))
        assert store.find_ended_runs(Ended(LATER)) == [never.key]

    def test_states_that_are_asked_for(self, store: RunStore) -> None:
        """Types and names of states count, in any case; what is neither finds nothing."""
        completed = finished_flow_run(store).key
        crashed = ended_at(store, new_flow_run(), THEN, CRASHED)
        run = new_task_run()
        record(store, advance(run, RUNNING, State(FAILED, name="TimedOut")))
        assert store.find_ended_runs(Ended(LATER, ["Completed"])) == [completed]
        assert store.find_ended_runs(Ended(LATER, ["timedout", "CRASHED"])) == [crashed, run.key]
        assert store.find_ended_runs(Ended(LATER, ["failed"])) == [run.key]
        assert store.find_ended_runs(Ended(LATER, ["nothing"])) == []
        assert store.find_ended_runs(Ended(LATER, [])) == []

    def test_the_newest_of_each_are_kept(self, store: RunStore) -> None:
        """The newest runs of each flow and task do not count as old, whether the newest are over or not."""

        def runs(make: object, count: int, **fields: object) -> list[bytes]:
            return [make(store, **fields).key for _ in range(count)]  # type: ignore[operator]

        etl = runs(finished_flow_run, 3)
        tasks = runs(finished_task_run, 3)
        report = FlowRun(new_id(), "other", State(PENDING), "report")
        report.state.belong_to(None, report.key)
        ended_at(store, report, THEN)
        other = TaskRun(new_id(), "other", State(PENDING), "examples:other")
        other.state.belong_to(other.key, None)
        ended_at(store, other, THEN)
        record(store, advance(new_flow_run(), RUNNING))
        assert store.find_ended_runs(Ended(LATER, keep=2)) == [*etl[:2], *tasks[:1]]
        assert store.find_ended_runs(Ended(LATER, keep=9)) == []

    def test_open_transactions_keep_a_run(self, store: RunStore) -> None:
        """A run whose transaction was never decided is not old: its hooks are still to be called by whoever resumes."""
        flow_run = new_flow_run()
        record(store, advance(flow_run, RUNNING))
        step = new_task_run(flow_run)
        change = advance(step, RUNNING, COMPLETED)
        change.attachments = [StagedStep(step.key, flow_run.key, flow_run.key)]
        record(store, change, advance(flow_run, CRASHED))
        assert store.find_ended_runs(Ended(LATER)) == []

    def test_interrupted_deletions_are_found(self, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """What an interrupted deletion of a large flow run has left is old."""
        monkeypatch.setattr(module, "BATCH", 1)
        flow_run = finished_flow_run(store)
        for _ in range(2):
            finished_task_run(store, flow_run)

        def fail(*_: object, **__: object) -> int:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, "_delete_runs", fail)
            with pytest.raises(KeyboardInterrupt):
                store.delete_runs([flow_run.key])
        assert store.find_ended_runs(Ended(LATER)) == [flow_run.key]
        assert store.count_deletable_runs([flow_run.key]) == 3
        store.delete_runs([flow_run.key])
        assert store.find_ended_runs(Ended(LATER)) == []

    def test_counting_before_deleting(self, store: RunStore) -> None:
        """As many runs are counted as a deletion would delete, and all stay."""
        flow_run, busy = finished_flow_run(store), new_flow_run()
        finished_task_run(store, flow_run)
        record(store, advance(busy, RUNNING))
        keys = [flow_run.key, busy.key, new_id()]
        assert store.count_deletable_runs(keys) == 2
        assert store.delete_runs(keys) == 2

    def test_results_whose_run_is_gone(self, store: RunStore) -> None:
        """Results of no run are found page by page; those of runs that are there, and parameters, are not."""
        run = finished_task_run(store)
        gone = [KeptResult(key, "content", None, new_id()) for key in ("b", "a", "d")]
        kept = [KeptResult("k", "c", None, run.key), KeptResult(f"parameters/{run.id}", "{}")]
        store.write([], [], [], [*gone, *kept, KeptResult("c", None, "/file")])
        assert store.read_results_without_runs(THEN // 4, "", 9) == []
        found = store.read_results_without_runs(LATER, "", 3)
        assert [(each.key, each.content, each.file) for each in found] == [
            ("a", "content", None),
            ("b", "content", None),
            ("c", None, "/file"),
        ]
        assert [each.key for each in store.read_results_without_runs(LATER, "c", 3)] == ["d"]
        assert store.delete_old_results(found) == 3
        assert store.delete_old_results(found) == 0
        assert store.read_result("a") is None
        assert store.read_unused_files() == ["/file"]

    def test_files_that_rows_lead_to(self, store: RunStore) -> None:
        """Files of results, of staged steps, and those that are unused but not removed."""
        run = new_task_run()
        change = advance(run, RUNNING, COMPLETED)
        change.attachments = [StagedStep(run.key, None, new_flow_run().key, "k", file="/staged")]
        record(store, change)
        store.write([], [], [], [KeptResult("a", None, "/kept"), KeptResult("b", None, "/gone")])
        store.delete_result("b")
        assert {"/kept", "/gone"} <= store.read_files()
        assert store.read_files() <= {"/kept", "/gone", "/staged"}

    def test_remains_do_not_hurt(self, store: RunStore) -> None:
        """Old events of no run go; runs, the process that wrote them, and what happened in runs or later stay."""
        run = new_flow_run()
        record(store, advance(run, RUNNING))
        events = [StoredEvent(new_id(), at, "event", "r", None, key, "{}") for at, key in _WHEN]
        store.write([], events=events)
        store.delete_remains(THEN)
        record(store, advance(run, COMPLETED))
        assert store.read_holder(run.key) == "us"
        left = store.read_event_keys(EventFilter(prefixes=["event"]))
        assert {each.key for each in left} == {events[1].key, events[2].key}
