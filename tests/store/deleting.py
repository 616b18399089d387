"""What every run store does when runs are deleted, as tests: a part of the conformance suite."""

from typing import Any
from uuid import UUID

import pytest

from mainspring.identifiers import new_id
from mainspring.records import ResultRecordMetadata
from mainspring.runs import FlowRun, Resumption, Run, TaskRun
from mainspring.states import State
from mainspring.store import CacheKey, LogEntry, RunFilter, RunStore
from mainspring.store.cancellations import CancellationRequest
from mainspring.store.events import EventFilter, StoredEvent
from mainspring.store.pauses import PauseRecord, SuspensionRequest
from mainspring.store.results import CrashHooks, KeptResult, Settlement, StagedStep
from mainspring.store.sql import deleting as module
from tests.store.histories import (
    COMPLETED,
    CRASHED,
    FAILED,
    NOON,
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

TOO_LATE = "2001-01-01T00:00:00+00:00"


def keep(store: RunStore, run: Run, key: str, file: str | None = None, expiration: str | None = None) -> None:
    """Let a run complete with a result under a key."""
    described = ResultRecordMetadata(f"history://{key}").describe() or ""
    if expiration is not None:
        described = described.replace('"expiration":null', f'"expiration":"{expiration}"')
    state = State(COMPLETED, data=ResultRecordMetadata.load_bytes(described))
    change = advance(run, RUNNING, state)
    change.attachments = [KeptResult(key, None if file else "content", file, run.key)]
    record(store, change)


def tree(store: RunStore) -> tuple[FlowRun, TaskRun, FlowRun, TaskRun]:
    """A flow run, the task run that stands for a subflow in it, the subflow run, and a task run in that."""
    outer = finished_flow_run(store)
    stand_in = finished_task_run(store, outer)
    inner = finished_flow_run(store, parent_task_run_key=stand_in.key)
    return outer, stand_in, inner, finished_task_run(store, inner)


def are_there(store: RunStore, *runs: Run) -> list[bool]:
    return [store.read_run(run.key) is not None for run in runs]


def line(message: str, flow_run: Run | None = None, task_run: Run | None = None) -> LogEntry:
    keys = [None if run is None else run.key for run in (flow_run, task_run)]
    return LogEntry(NOON, 20, "tests", message, *keys)


class DeletingConformance:
    """A part of `RunStoreConformance`; the fixture ``store`` is that one's."""

    # What goes

    def test_a_deleted_run_is_gone(self, store: RunStore) -> None:
        """Its row and its states go; other runs stay as they are."""
        gone, stays = finished_task_run(store), finished_task_run(store)
        assert store.delete_runs([gone.key]) == 1
        assert are_there(store, gone, stays) == [False, True]
        assert store.read_states(gone.key) == []
        assert len(store.read_states(stays.key)) == 3

    def test_what_is_not_there_is_not_deleted(self, store: RunStore) -> None:
        """Unknown keys, a run that was deleted before, and no keys at all do no harm."""
        run = finished_flow_run(store)
        assert store.delete_runs([]) == 0
        assert store.delete_runs([run.key, new_id(), run.key]) == 1
        assert store.delete_runs([run.key]) == 0

    def test_what_is_inside_goes_too(self, store: RunStore) -> None:
        """A flow run goes with its task runs, its subflow runs, and theirs."""
        runs = tree(store)
        other = tree(store)
        assert store.delete_runs([runs[0].key]) == 4
        assert are_there(store, *runs) == [False] * 4
        assert are_there(store, *other) == [True] * 4

    def test_what_is_around_stays(self, store: RunStore) -> None:
        """The subflow run goes with the task run that stands for it, and the flow run around stays."""
        runs = tree(store)
        assert store.delete_runs([runs[1].key]) == 3
        assert are_there(store, *runs) == [True, False, False, False]

    def test_keys_of_one_tree(self, store: RunStore) -> None:
        """A run that is asked for, and is inside of another one that is, counts once."""
        runs = tree(store)
        assert store.delete_runs([run.key for run in reversed(runs)]) == 4
        assert are_there(store, *runs) == [False] * 4

    @pytest.mark.parametrize("batch", [1, 2, 3, 500])
    def test_more_than_fits_into_a_transaction(
        self, store: RunStore, batch: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever the size of a transaction, all goes that was asked for."""
        monkeypatch.setattr(module, "BATCH", batch)
        trees = [tree(store) for _ in range(3)]
        lone = [finished_task_run(store) for _ in range(5)]
        stays = tree(store)
        keys = [runs[0].key for runs in trees] + [run.key for run in lone]
        assert store.delete_runs(keys) == 17
        assert len(store.read_flow_runs(RunFilter())) == 2
        assert are_there(store, *stays) == [True] * 4
        assert not any(store.read_states(key) for key in keys)

    def test_an_interrupted_deletion_is_finished(
        self, store: RunStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A large flow run whose deletion was interrupted is not seen any more; the next call deletes the rest."""
        monkeypatch.setattr(module, "BATCH", 2)
        flow_run = finished_flow_run(store)
        task_runs = [finished_task_run(store, flow_run) for _ in range(5)]
        store.write([], [line("flow", flow_run)])
        delete_runs, calls = module._delete_runs, iter(range(9))

        def fail(*args: Any, **kwargs: Any) -> int:
            if next(calls) == 1:
                raise KeyboardInterrupt
            return delete_runs(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(module, "_delete_runs", fail)
            with pytest.raises(KeyboardInterrupt):
                store.delete_runs([flow_run.key])
        assert are_there(store, flow_run) == [False]
        assert sum(are_there(store, *task_runs)) == 3
        assert store.delete_runs([flow_run.key]) == 3
        assert not any(are_there(store, *task_runs))
        assert store.read_states(flow_run.key) == []
        assert store.read_logs(flow_run.key) == []

    def test_log_lines_go(self, store: RunStore) -> None:
        """Lines of deleted runs go, of flows, of tasks in them and outside of flows; others stay."""
        flow_run, alone = finished_flow_run(store), [finished_task_run(store) for _ in range(2)]
        inside = [finished_task_run(store, flow_run) for _ in range(2)]
        store.write([], [line("flow", flow_run), line("nobody")])
        store.write([], [line(str(index), flow_run, run) for index, run in enumerate(inside)])
        store.write([], [line(str(index), None, run) for index, run in enumerate(alone)])
        store.delete_runs([inside[0].key, alone[0].key])
        assert [entry.message for entry in store.read_logs(flow_run.key)] == ["flow", "1"]
        assert [entry.message for entry in store.read_logs(alone[1].key)] == ["1"]
        store.delete_runs([flow_run.key])
        assert store.read_logs(flow_run.key) == []
        assert store.read_logs(alone[0].key) == []

    def test_events_go(self, store: RunStore) -> None:
        """What happened in a run goes with it, in a flow or a task; what happened elsewhere stays."""
        flow_run, alone, stays = finished_flow_run(store), finished_task_run(store), finished_task_run(store)
        inside = finished_task_run(store, flow_run)
        stored = [
            StoredEvent(new_id(), NOON, f"event.{index}", "r", *keys, "{}")
            for index, keys in enumerate(
                [
                    (flow_run.key, None),
                    (flow_run.key, inside.key),
                    (None, alone.key),
                    (None, stays.key),
                    (None, None),
                ]
            )
        ]
        store.write([], events=stored)
        assert store.delete_runs([flow_run.key, alone.key]) == 3
        left = store.read_event_keys(EventFilter(prefixes=["event."]))
        assert {each.key for each in left} == {stored[3].key, stored[4].key}

    def test_what_belongs_to_a_run_goes(self, store: RunStore) -> None:
        """How to resume it, its pauses, requests about it, its crash hooks and its cache keys go with it."""
        flow_run = new_flow_run()
        flow_run.resumption = Resumption(entrypoint="m:f", parameters=f"history://parameters/{flow_run.id}")
        change = advance(flow_run, RUNNING)
        change.attachments = [CrashHooks(flow_run.key, "m:f")]
        record(store, change)
        store.open_pause(
            PauseRecord(flow_run_key=flow_run.key, key="#1", root_key=flow_run.key, requested=1, expires=2)
        )
        store.request_suspension(SuspensionRequest(flow_run.key, 1, 2))
        assert store.request_cancellation(CancellationRequest(flow_run.key, "why"), 1)
        task_run = finished_task_run(store, flow_run)
        parameters = KeptResult(f"parameters/{flow_run.id}", "{}")
        store.write([], [], [CacheKey(task_run.key, "key", {})], [parameters])
        record(store, advance(flow_run, CRASHED))
        assert store.read_crash_hooks() != []
        assert store.delete_runs([flow_run.key]) == 2
        assert store.read_resumptions([flow_run.key]) == {}
        assert store.read_pause(flow_run.key, "#1") is None
        assert store.read_suspension(flow_run.key) is None
        assert store.read_cancellations() == []
        assert store.read_crash_hooks() == []
        assert store.read_cache_key(task_run.key) is None
        assert store.read_result(parameters.key) is None

    # What stays

    @pytest.mark.parametrize("state", [PENDING, RUNNING, PAUSED])
    def test_a_run_that_goes_on_is_left_alone(self, store: RunStore, state: object) -> None:
        """A run that is not over, in a process that lives, stays with all that is inside of it."""
        flow_run = new_flow_run()
        record(store, advance(flow_run, *([state] if state is not PENDING else [])))  # type: ignore[list-item]
        task_run = finished_task_run(store, flow_run)
        lone = new_task_run()
        record(store, advance(lone))
        assert store.delete_runs([flow_run.key, task_run.key, lone.key]) == 0
        assert are_there(store, flow_run, task_run, lone) == [True] * 3

    def test_something_inside_goes_on(self, store: RunStore) -> None:
        """A flow run that has ended stays for as long as something inside of it goes on, however deep."""
        outer, stand_in, inner, _ = tree(store)
        late = new_task_run(inner)
        record(store, advance(late, RUNNING))
        assert store.delete_runs([outer.key, stand_in.key, inner.key]) == 0
        record(store, advance(late, FAILED))
        assert store.delete_runs([outer.key]) == 5

    def test_a_flow_run_around_goes_on(self, store: RunStore) -> None:
        """What is inside of a flow run that goes on, or is suspended, stays: that needs it to go on."""
        outer = new_flow_run()
        record(store, advance(outer, RUNNING))
        stand_in = finished_task_run(store, outer)
        inner = finished_flow_run(store, parent_task_run_key=stand_in.key)
        task_run = finished_task_run(store, inner)
        keys = [stand_in.key, inner.key, task_run.key]
        assert store.delete_runs(keys) == 0
        record(store, advance(outer, State(PAUSED, name="Suspended")))
        assert store.delete_runs(keys) == 0
        assert store.delete_runs([outer.key]) == 4

    def test_runs_that_never_began(self, store: RunStore) -> None:
        """A task run that was never ready does not keep its flow run, and can be deleted."""
        flow_run = finished_flow_run(store)
        for around in (flow_run, None):
            run = new_task_run(around)
            record(store, advance(run, State(PENDING, name="NotReady")))
            assert store.delete_runs([flow_run.key if around else run.key]) == (2 if around else 1)

    def test_a_run_that_moved_on_is_left_alone(
        self, store: RunStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run that is resumed while its deletion is prepared stays, however quickly it has ended again."""
        runs = [finished_flow_run(store), finished_flow_run(store)]
        tasks = [finished_task_run(store, runs[0]) for _ in range(5)]
        delete_trees = module.delete_trees

        def resume_before(*args: Any) -> int:
            record(store, *(advance(run, RUNNING, COMPLETED) for run in runs))
            return delete_trees(*args)

        monkeypatch.setattr(module, "delete_trees", resume_before)
        monkeypatch.setattr(module, "BATCH", 3)
        assert store.delete_runs([run.key for run in runs]) == 0
        assert are_there(store, *runs, *tasks) == [True] * 7

    def test_late_states_of_a_deleted_run(self, store: RunStore) -> None:
        """Whoever goes on with a run that was deleted is refused."""
        run = finished_flow_run(store)
        store.delete_runs([run.key])
        change = advance(run, RUNNING)
        assert store.write([change]) == [change]

    # Results

    def test_results_of_steps_go(self, store: RunStore) -> None:
        """A result under a key of the run's own goes with it; its file is unused from then on."""
        for run, key, file in ((new_task_run(), "a", None), (new_flow_run(), "b", "/file")):
            keep(store, run, key, file)
            assert store.delete_runs([run.key]) == 1
            assert store.read_result(key) is None
        assert store.read_unused_files() == ["/file"]

    def test_results_of_others_stay(self, store: RunStore) -> None:
        """What another run has kept under the same key stays, and so does the result that answered a deleted run."""
        first, second = new_task_run(), new_task_run()
        keep(store, first, "a")
        keep(store, second, "a")
        assert store.delete_runs([first.key]) == 1
        assert store.read_result("a") is not None

    @pytest.mark.parametrize("cached_results", [False, True])
    def test_cached_results_stay_unless_asked_for(self, store: RunStore, cached_results: bool) -> None:
        """A result under a cache key may answer later runs, so it stays unless it is to go."""
        run = new_task_run()
        keep(store, run, "a")
        store.write([], [], [CacheKey(run.key, "a", {"inputs.x": "digest"})])
        assert store.delete_runs([run.key], cached_results) == 1
        assert (store.read_result("a") is None) is cached_results

    def test_cached_results_that_nobody_can_find(self, store: RunStore) -> None:
        """Results that have expired, or whose key holds the id of the run or its flow run, go with it."""
        flow_run, expired = finished_flow_run(store), new_task_run()
        inside, alone = new_task_run(flow_run), new_task_run()
        keep(store, expired, "expired", expiration=TOO_LATE)
        keep(store, inside, "inside")
        keep(store, alone, "alone")
        store.write([], [], [CacheKey(expired.key, "expired", {"inputs.x": "digest"})])
        store.write([], [], [CacheKey(inside.key, "inside", {"RunId": str(flow_run.id)})])
        store.write([], [], [CacheKey(alone.key, "alone", {"RunId": str(UUID(bytes=alone.key))})])
        assert store.delete_runs([expired.key, flow_run.key, alone.key]) == 4
        assert [store.read_result(key) for key in ("expired", "inside", "alone")] == [None] * 3

    def test_results_elsewhere(self, store: RunStore) -> None:
        """A run whose result is in another storage is deleted, and that storage is left alone."""
        run = new_task_run()
        record(store, advance(run, RUNNING, State(COMPLETED, data=ResultRecordMetadata("s3://bucket/a"))))
        store.write([], [], [], [KeptResult("s3://bucket/a", "same key", None, run.key)])
        assert store.delete_runs([run.key]) == 1
        assert store.read_result("s3://bucket/a") is not None

    # Transactions

    def test_what_transactions_have_left(self, store: RunStore) -> None:
        """Staged steps and settlements go with the outermost flow run; files of staged results are unused then."""
        flow_run = new_flow_run()
        record(store, advance(flow_run, RUNNING))
        steps = []
        for name in ("staged", "settled"):
            run = new_task_run(flow_run)
            change = advance(run, RUNNING, COMPLETED)
            steps.append(StagedStep(run.key, flow_run.key, flow_run.key, name, file=f"/{name}"))
            change.attachments = [steps[-1]]
            record(store, change)
        settlement = Settlement(new_id(), flow_run.key, "COMMIT", b"")
        assert store.open_settlement(settlement, [steps[1].run_key])
        record(store, advance(flow_run, FAILED))
        assert store.delete_runs([steps[0].run_key]) == 0
        assert store.delete_runs([flow_run.key]) == 3
        left = store.read_leftovers(flow_run.key)
        assert (left.steps, left.settlements) == ([], [])
        assert sorted(store.read_unused_files()) == ["/settled", "/staged"]
