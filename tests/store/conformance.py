"""What every run store does, as tests. A backend subclasses `RunStoreConformance` and gives it a store."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from mainspring.exceptions import MissingResult, StoreError, StoreUnavailable
from mainspring.identifiers import new_id
from mainspring.runs import Constant, FlowRun, Parameter, Resumption, TaskRun, TaskRunResult
from mainspring.states import AwaitingRetry, State, StateDetails, StateType
from mainspring.store import CacheKey, Change, LogEntry, RunFilter, RunStore, SlotRequest
from mainspring.store.results import CrashHooks
from tests.store.aging import AgingConformance
from tests.store.cancellations import CancellationRowsConformance
from tests.store.deleting import DeletingConformance
from tests.store.events import EventRowsConformance
from tests.store.filters import FilterConformance
from tests.store.folding import FoldingConformance, ask
from tests.store.histories import (
    CANCELLING,
    COMPLETED,
    CRASHED,
    FAILED,
    NOON,
    PAUSED,
    PENDING,
    RUNNING,
    SCHEDULED,
    advance,
    facts,
    finished_flow_run,
    finished_task_run,
    new_flow_run,
    new_task_run,
    record,
)
from tests.store.pauses import PauseRowsConformance
from tests.store.results import ResultRowsConformance

EVERYTHING = RunFilter()


class RunStoreConformance(
    CancellationRowsConformance,
    EventRowsConformance,
    ResultRowsConformance,
    PauseRowsConformance,
    DeletingConformance,
    AgingConformance,
    FilterConformance,
    FoldingConformance,
):
    """Subclasses define the fixture ``store``."""

    @pytest.fixture
    def store(self) -> Iterator[RunStore]:
        raise NotImplementedError

    # Life and death

    def test_a_new_store_has_lost_nothing(self, store: RunStore) -> None:
        """A process that was never taken for dead is refused nothing."""
        assert not store.losses.any
        assert store.losses.refusal(new_flow_run()) is None

    def test_a_lease_without_anything_to_lose(self, store: RunStore) -> None:
        """A process with no unfinished run, slot or lock needs no lease; renewing it does no harm."""
        assert not store.renew_lease()
        finished_task_run(store)
        assert not store.renew_lease()

    def test_what_is_taken_is_noticed(self, store: RunStore) -> None:
        """Whoever renews leases is told when slots or a lock were taken, and not when they were not."""
        told: list[str] = []
        store.on_holding = lambda: told.append("held")
        assert store.take_lock("k", "me", NOON, None) is None
        assert store.take_lock("k", "you", NOON, None) is not None
        store.write_limit("db", 1, True, 0)
        for granted in (True, False):
            request = SlotRequest(new_id(), ["db"], 1, 1_000_000)
            assert store.take_slots(request, NOON, None).granted is granted
        assert told == ["held", "held"]

    def test_crash_hooks_of_runs_that_go_on(self, store: RunStore) -> None:
        """A note of crash hooks is of no interest while its run goes on, and is gone with its end."""
        run = new_task_run()
        change = advance(run, RUNNING)
        change.attachments = [CrashHooks(run.key, "module:task", "/module.py")]
        record(store, change)
        assert store.read_crash_hooks() == []
        end = advance(run, CRASHED)
        end.attachments = [CrashHooks(run.key, is_over=True)]
        record(store, end)
        assert store.read_crash_hooks() == []

    def test_crash_hooks_of_crashed_runs(self, store: RunStore) -> None:
        """The note of a run that was crashed by others is found, for tasks and flows, and can be claimed once."""
        notes = []
        for run in (new_flow_run(), new_task_run()):
            notes.append(CrashHooks(run.key, "module:name", "/module.py"))
            change = advance(run, RUNNING)
            change.attachments = [notes[-1]]
            record(store, change, advance(run, CRASHED))
        assert store.read_crash_hooks() == notes
        assert store.claim_crash_hooks(notes[0].run_key)
        assert not store.claim_crash_hooks(notes[0].run_key)
        assert store.read_crash_hooks() == notes[1:]

    # Recording

    def test_new_store_is_empty(self, store: RunStore) -> None:
        """A store that nobody wrote to has no runs, states or logs, and says so without an error."""
        assert store.read_flow_runs(EVERYTHING) == []
        assert store.read_task_runs(EVERYTHING) == []
        assert store.read_run(new_id()) is None
        assert store.read_states(new_id()) == []
        assert store.read_logs(new_id()) == []

    def test_task_run_reads_as_written(self, store: RunStore) -> None:
        """Every field of a task run comes back as it was when its newest state was written."""
        upstream = new_task_run()
        run = new_task_run(
            new_flow_run(),
            name="load-größe",
            tags={"nightly", "b"},
            task_version="v2",
            task_inputs={"x": [TaskRunResult(upstream.id)], "y": [Parameter("p"), Constant("int")], "z": []},
            empirical_policy={"retries": 2, "retry_delay": [1.5]},
        )
        run.flow_run_run_count = 3
        run.expected_start_at += 5
        record(store, advance(run, RUNNING, COMPLETED))
        found = store.read_run(run.key)
        assert type(found) is TaskRun
        assert facts(found) == facts(run)
        assert found.recorded == run.state.key

    def test_flow_run_reads_as_written(self, store: RunStore) -> None:
        """Every field of a flow run comes back as it was when its newest state was written."""
        run = new_flow_run(
            flow_version="7",
            parameters={"n": 1, "deep": {"list": [None, True, 1.5, "ä"]}},
            tags=["b", "a"],
            parent_task_run_key=new_id(),
        )
        record(store, advance(run, RUNNING, FAILED))
        found = store.read_run(run.key)
        assert type(found) is FlowRun
        assert facts(found) == facts(run)
        assert found.recorded == run.state.key

    def test_empty_fields_read_as_empty(self, store: RunStore) -> None:
        """What a run does not have is empty of the right type, not None."""
        found = store.read_run(finished_task_run(store).key)
        assert isinstance(found, TaskRun)
        assert (found.tags, found.task_inputs, found.empirical_policy) == (set(), {}, {})
        flow_run = store.read_run(finished_flow_run(store).key)
        assert isinstance(flow_run, FlowRun)
        assert (flow_run.tags, flow_run.parameters) == (set(), {})

    def test_states_read_as_written(self, store: RunStore) -> None:
        """All states of a run come back, oldest first, with id, time, message and details."""
        run = new_task_run(new_flow_run())
        due = datetime(2026, 8, 1, 12, 0, 0, 123, tzinfo=UTC)
        child = new_flow_run()
        change = advance(
            run,
            RUNNING,
            AwaitingRetry(scheduled_time=due, message="boom"),
            State(RUNNING, "Retrying"),
            State(
                FAILED,
                message="zu groß",
                state_details=StateDetails(retriable=False, child_flow_run_id=child.id),
            ),
        )
        record(store, change)
        found = store.read_states(run.key)
        assert found == change.states
        assert [state.key for state in found] == [state.key for state in change.states]
        assert found[2].scheduled_at == change.states[2].scheduled_at
        assert found[4].state_details.task_run_id == run.id
        assert found[4].state_details.flow_run_id == run.flow_run_id

    def test_current_state_of_run_is_complete(self, store: RunStore) -> None:
        """The state of a run that was read has the message and details of its newest state."""
        run = new_flow_run()
        record(store, advance(run, RUNNING, State(FAILED, message="no", state_details={"retriable": True})))
        found = store.read_run(run.key)
        assert found is not None
        assert found.state == run.state
        assert found.state.state_details.flow_run_id == run.id

    def test_results_are_not_kept(self, store: RunStore) -> None:
        """A completed run that was read says that its result is not there, instead of giving None."""
        run = new_task_run()
        record(store, advance(run, RUNNING, State(COMPLETED, data=42)))
        found = store.read_run(run.key)
        assert found is not None
        with pytest.raises(MissingResult):
            found.state.result()

    def test_history_grows_over_writes(self, store: RunStore) -> None:
        """A run written state by state has the same history as one written at once."""
        for run in (new_task_run(), new_flow_run()):
            record(store, advance(run))
            record(store, advance(run, RUNNING))
            record(store, advance(run, FAILED, State(RUNNING, "Retrying")))
            record(store, advance(run, COMPLETED))
            found = store.read_run(run.key)
            assert found is not None
            assert facts(found) == facts(run)
            assert [state.type for state in store.read_states(run.key)] == [
                PENDING,
                RUNNING,
                FAILED,
                RUNNING,
                COMPLETED,
            ]

    def test_counters_follow_retries(self, store: RunStore) -> None:
        """Attempts are counted, and time adds up over RUNNING states only, however it was written."""
        run = new_task_run()
        record(
            store,
            advance(
                run,
                State(RUNNING, at=NOON * 2),
                State(SCHEDULED, "AwaitingRetry", at=NOON * 2 + 10),
            ),
        )
        record(store, advance(run, State(RUNNING, "Retrying", at=NOON * 2 + 500)))
        record(store, advance(run, State(COMPLETED, at=NOON * 2 + 507)))
        found = store.read_run(run.key)
        assert found is not None
        assert (found.run_count, found.run_time) == (2, 17)
        assert (found.started_at, found.ended_at) == (NOON * 2, NOON * 2 + 507)

    def test_run_may_move_on_before_it_is_written(self, store: RunStore) -> None:
        """What is written of a run are the states in the change, not where the live run has got to."""
        run = new_task_run()
        first = advance(run, RUNNING)
        run.recorded = run.state.key
        second = advance(run, COMPLETED)
        store.write([first])
        found = store.read_run(run.key)
        assert found is not None
        assert (found.state.type, found.run_count, found.ended_at, found.run_time) == (RUNNING, 1, None, 0)
        record(store, second)
        found = store.read_run(run.key)
        assert found is not None
        assert facts(found) == facts(run)

    def test_name_follows_the_run(self, store: RunStore) -> None:
        """A run that got its name after it was first written is found under the new one."""
        run = new_task_run(name="draft")
        record(store, advance(run))
        run.name = "final"
        record(store, advance(run, RUNNING))
        assert [found.name for found in store.read_task_runs(EVERYTHING)] == ["final"]

    def test_how_to_go_on_with_a_flow_run(self, store: RunStore) -> None:
        """It is kept in the same transaction as a state, whenever it is known, as it is by then."""
        run, other = new_flow_run(), new_flow_run()
        record(store, advance(run), advance(other))
        assert store.read_resumptions([run.key, other.key]) == {}
        run.resumption = Resumption(entrypoint="etl:main", file="/etl.py", parameters="/p", attempt=1)
        record(store, advance(run, RUNNING))
        assert store.read_resumptions([run.key, other.key]) == {run.key: run.resumption}
        run.resumption = known = Resumption(problem="lone \ud800", step="abc", attempt=2)
        record(store, advance(run, FAILED))
        (found,) = store.read_resumptions([run.key]).values()
        assert (found.entrypoint, found.problem, found.step, found.attempt) == (None, "lone ?", "abc", 2)
        stale = advance(run, RUNNING)
        stale.follows = b"no such state...."
        run.resumption = Resumption(attempt=3)
        assert store.write([stale]) == [stale]
        assert store.read_resumptions([run.key])[run.key].attempt == known.attempt

    def test_what_has_not_begun_is_not_gone_on_with(self, store: RunStore) -> None:
        """How to go on with a flow run is kept with its first attempt, and not before, whoever knows it by then."""
        run, other = new_flow_run(), new_flow_run()
        run.resumption = other.resumption = known = Resumption(entrypoint="etl:main", parameters="/p")
        record(store, advance(run), advance(other, FAILED))
        record(store, advance(run, PENDING))
        assert store.read_resumptions([run.key, other.key]) == {}
        record(store, advance(run, RUNNING))
        assert store.read_resumptions([run.key, other.key]) == {run.key: known}

    def test_texts_that_utf8_cannot_hold(self, store: RunStore) -> None:
        """A message with a lone surrogate, as file names may have, is recorded with a mark in its place."""
        run = new_task_run()
        record(store, advance(run, State(FAILED, message="no \udcff here")))
        record(store, advance(run, State(RUNNING), State(COMPLETED, message="\udc00")))
        store.write([], [LogEntry(NOON, 20, "x", "\ud800!", task_run_key=run.key)])
        assert [state.message for state in store.read_states(run.key)] == [None, "no ? here", None, "?"]
        assert [entry.message for entry in store.read_logs(run.key)] == ["?!"]

    def test_nothing_to_write(self, store: RunStore) -> None:
        """Writing nothing does nothing."""
        assert store.write([]) == []

    # Fencing

    def test_known_run_is_not_made_again(self, store: RunStore) -> None:
        """A change that takes its run for new is refused if the run is there, and changes nothing."""
        run = finished_task_run(store)
        rival = TaskRun(run.key, "rival", State(PENDING), "other")
        change = advance(rival, RUNNING)
        assert store.write([change]) == [change]
        found = store.read_run(run.key)
        assert found is not None
        assert facts(found) == facts(run)
        assert len(store.read_states(run.key)) == 3

    @pytest.mark.parametrize("make", [new_task_run, new_flow_run])
    def test_superseded_attempt_changes_nothing(self, store: RunStore, make) -> None:
        """A change that follows a state which is no longer the newest is refused as a whole."""
        run = make()
        record(store, advance(run, RUNNING))
        adopted = store.read_run(run.key)
        assert adopted is not None
        record(store, advance(adopted, State(FAILED, message="settled by somebody else")))
        late = advance(run, COMPLETED)
        assert store.write([late]) == [late]
        found = store.read_run(run.key)
        assert found is not None
        assert found.state.message == "settled by somebody else"
        assert len(store.read_states(run.key)) == 3

    def test_unknown_run_is_not_continued(self, store: RunStore) -> None:
        """A change that follows a state of a run which is not there is refused."""
        run = new_task_run()
        run.recorded = new_id()
        change = advance(run, RUNNING)
        assert store.write([change]) == [change]
        assert store.read_run(run.key) is None

    def test_refusal_does_not_stop_the_others(self, store: RunStore) -> None:
        """Of several changes only those that do not follow are refused, wherever they stand."""
        run = finished_task_run(store)
        again = Change(run, [State(RUNNING)], new_id())
        before, after = advance(new_task_run(), RUNNING), advance(new_flow_run(), RUNNING)
        assert store.write([before, again, after]) == [again]
        assert store.read_run(before.run.key) is not None
        assert store.read_run(after.run.key) is not None

    def test_two_changes_of_one_run(self, store: RunStore) -> None:
        """One call may hold several changes of a run, in order."""
        run = new_task_run()
        first = advance(run, RUNNING)
        run.recorded = run.state.key
        record(store, first, advance(run, COMPLETED))
        assert [state.type for state in store.read_states(run.key)] == [PENDING, RUNNING, COMPLETED]

    def test_written_twice_is_written_once(self, store: RunStore) -> None:
        """A change may be written again after an interruption; what is there already is left out."""
        run = new_task_run()
        change = advance(run, RUNNING)
        record(store, change)
        assert store.write([change]) == []
        later = advance(run, COMPLETED)
        change.states += later.states
        assert store.write([change]) == []
        assert store.write([change, later]) == []
        assert store.read_states(run.key) == change.states
        found = store.read_run(run.key)
        assert found is not None
        assert facts(found) == facts(run)

    def test_times_never_go_back(self, store: RunStore) -> None:
        """A state from a clock that is behind the store's history is moved behind it."""
        run = new_task_run()
        record(store, advance(run, State(RUNNING, at=2 * NOON)))
        late = State(COMPLETED, at=NOON)
        store.write([Change(run, [late], run.recorded)])
        states = store.read_states(run.key)
        assert [state.at for state in states[1:]] == [2 * NOON, 2 * NOON + 1]
        assert late.at == 2 * NOON + 1

    def test_failed_write_writes_nothing(self, store: RunStore) -> None:
        """If one row cannot be written, none is, the error is a `StoreError`, and the store goes on."""
        good, bad = new_task_run(), new_task_run()
        bad.task_version = object()  # type: ignore[assignment]
        entry = LogEntry(NOON, 20, "x", "hello", task_run_key=good.key)
        with pytest.raises(StoreError, match=r"run store"):
            store.write([advance(good, RUNNING), advance(bad, RUNNING)], [entry])
        assert store.read_task_runs(EVERYTHING) == []
        assert store.read_logs(good.key) == []
        finished_task_run(store)
        assert len(store.read_task_runs(EVERYTHING)) == 1

    def test_interrupted_write_writes_nothing(self, store: RunStore) -> None:
        """An interrupt in the middle of a write comes through, and leaves the store as it was."""

        class Interrupting:
            def __bool__(self) -> bool:
                raise KeyboardInterrupt

        good, bad = new_task_run(), new_task_run()
        bad.tags = Interrupting()  # type: ignore[assignment]
        with pytest.raises(KeyboardInterrupt):
            store.write([advance(good, RUNNING), advance(bad, RUNNING)])
        assert store.read_task_runs(EVERYTHING) == []
        finished_task_run(store)

    # Reading many

    def test_newest_first(self, store: RunStore) -> None:
        """Lists begin with the newest run; limit and offset count from there."""
        runs = [finished_flow_run(store, name=str(number)) for number in range(5)]
        names = [run.name for run in store.read_flow_runs(EVERYTHING)]
        assert names == [run.name for run in sorted(runs, key=lambda run: run.key, reverse=True)]
        page = store.read_flow_runs(RunFilter(limit=2, offset=1))
        assert [run.name for run in page] == names[1:3]

    def test_filter_by_state(self, store: RunStore) -> None:
        """States are given as types or as names, in any case; a type covers all of its names."""
        changes = {
            "done": advance(new_task_run(name="done"), RUNNING, COMPLETED),
            "cached": advance(new_task_run(name="cached"), RUNNING, State(COMPLETED, "Cached")),
            "failed": advance(new_task_run(name="failed"), RUNNING, FAILED),
            "late": advance(new_task_run(name="late"), RUNNING, State(FAILED, "TimedOut")),
            "going": advance(new_task_run(name="going"), RUNNING),
        }
        record(store, *changes.values())

        def names(*states: str) -> set[str]:
            return {run.name for run in store.read_task_runs(RunFilter(states=states))}

        assert names("completed") == {"done", "cached"}
        assert names("Failed") == {"failed", "late"}
        assert names("timedout") == {"late"}
        assert names("CACHED", "RUNNING") == {"cached", "going"}
        assert names("FAILED", "COMPLETED") == {"done", "cached", "failed", "late"}
        assert names("NoSuchState") == names() == set()

    def test_filter_by_name(self, store: RunStore) -> None:
        """Names are compared whole."""
        for name in ("a", "b", "ab"):
            finished_flow_run(store, name=name)
        assert {run.name for run in store.read_flow_runs(RunFilter(names=["a", "ab", "no"]))} == {"a", "ab"}

    def test_filter_by_flow_run(self, store: RunStore) -> None:
        """Inside of flow runs are their task runs and the runs of their subflows."""
        parent, other = finished_flow_run(store), finished_flow_run(store)
        task_run, _ = finished_task_run(store, parent), finished_task_run(store, other)
        subflow = finished_flow_run(store, parent_task_run_key=task_run.key)
        for keys in ([parent.key], [parent.key, new_id()]):
            inside = RunFilter(flow_run_keys=keys)
            assert [run.key for run in store.read_task_runs(inside)] == [task_run.key]
            assert [run.key for run in store.read_flow_runs(inside)] == [subflow.key]
        nowhere = RunFilter(flow_run_keys=[])
        assert store.read_task_runs(nowhere) == store.read_flow_runs(nowhere) == []

    def test_filter_by_parent(self, store: RunStore) -> None:
        """Subflow runs are found by the task run that stands for them."""
        parent = finished_task_run(store)
        subflow = finished_flow_run(store, parent_task_run_key=parent.key)
        finished_flow_run(store, parent_task_run_key=new_id())
        where = RunFilter(parents=[parent.key])
        assert [run.key for run in store.read_flow_runs(where)] == [subflow.key]
        assert store.read_task_runs(where) == []

    def test_filter_top_level(self, store: RunStore) -> None:
        """At the top are flow runs that are no subflows and task runs outside of flows."""
        flow_run, task_run = finished_flow_run(store), finished_task_run(store)
        inner = finished_task_run(store, flow_run)
        finished_flow_run(store, parent_task_run_key=inner.key)
        top = RunFilter(top_level=True)
        assert [run.key for run in store.read_flow_runs(top)] == [flow_run.key]
        assert [run.key for run in store.read_task_runs(top)] == [task_run.key]

    def test_filters_restrict_together(self, store: RunStore) -> None:
        """A run has to fit all members of a filter."""
        flow_run = finished_flow_run(store)
        wanted = finished_task_run(store, flow_run, name="a")
        finished_task_run(store, flow_run, name="b")
        finished_task_run(store, name="a")
        where = RunFilter(flow_run_keys=[flow_run.key], names=["a"], states=["COMPLETED"], limit=5)
        assert [run.key for run in store.read_task_runs(where)] == [wanted.key]

    def test_filter_with_very_many_keys(self, store: RunStore) -> None:
        """A filter may hold more keys than a database takes as parameters."""
        flow_run = finished_flow_run(store)
        task_run = finished_task_run(store, flow_run)
        keys = [*(bytes(12) + number.to_bytes(4, "big") for number in range(40_000)), flow_run.key]
        assert [run.key for run in store.read_task_runs(RunFilter(flow_run_keys=keys))] == [task_run.key]

    def test_counts(self, store: RunStore) -> None:
        """Task runs are counted by flow run and state type; a flow run without any has an empty count."""
        busy, idle = finished_flow_run(store), finished_flow_run(store)
        finished_task_run(store, busy)
        finished_task_run(store, busy)
        record(store, advance(new_task_run(busy), RUNNING))
        finished_task_run(store)
        assert store.count_task_runs([busy.key, idle.key]) == {
            busy.key: {"COMPLETED": 2, "RUNNING": 1},
            idle.key: {},
        }
        assert store.count_task_runs([]) == {}

    # Shortened ids

    def test_find_by_beginning_and_end(self, store: RunStore) -> None:
        """A run is found by its id and by any beginning or end of it that no other id has."""
        task_run = TaskRun(bytes.fromhex("0198a1b2c3d4e5f6" * 2), "t", State(PENDING), "k")
        flow_run = FlowRun(bytes.fromhex("0298a1b2c3d4e5f7" * 2), "f", State(PENDING), "k")
        record(store, advance(task_run, RUNNING), advance(flow_run, RUNNING))

        def found(text: str) -> list[str]:
            return [run.name for run in store.find_runs(text)]

        assert (
            found(task_run.key.hex()) == found(str(task_run.id)) == found(task_run.key.hex().upper()) == ["t"]
        )
        assert found("01") == found("0198A1B") == found("f6") == found("5f6") == found("6") == ["t"]
        assert found("b2c3d4e5f7") == found("d4e5f7") == ["f"]
        assert found("0") == ["f", "t"]
        assert found("98a1") == []

    @pytest.mark.parametrize("text", ["", "-", "xyz", "0" * 33, "%", "0198 "])
    def test_find_by_what_is_no_id(self, store: RunStore, text: str) -> None:
        """A text that cannot be part of an id finds nothing."""
        finished_task_run(store)
        assert store.find_runs(text) == []

    def test_find_stops_at_limit(self, store: RunStore) -> None:
        """A text that fits many ids gives no more than the limit."""
        for _ in range(4):
            finished_task_run(store)
        finished_flow_run(store)
        assert len(store.find_runs("0", limit=3)) == 3

    # Logs

    def test_logs_of_a_task_run(self, store: RunStore) -> None:
        """A task run, in a flow or not, has the lines written for it, oldest first."""
        flow_run = finished_flow_run(store)
        for run in (finished_task_run(store, flow_run), finished_task_run(store)):
            late = LogEntry(NOON + 1, 20, "mainspring.task_runs", "two", run.flow_run_key, run.key)
            early = LogEntry(NOON, 30, "user", "one", run.flow_run_key, run.key)
            store.write([], [late, early])
            assert store.read_logs(run.key) == [early, late]

    def test_logs_of_a_flow_run(self, store: RunStore) -> None:
        """A flow run has its own lines and those of its task runs; equal times keep the order written."""
        flow_run = finished_flow_run(store)
        task_run, other = finished_task_run(store, flow_run), finished_task_run(store)
        entries = [
            LogEntry(NOON, 20, "x", "flow", flow_run.key),
            LogEntry(NOON, 20, "x", "task", flow_run.key, task_run.key),
            LogEntry(NOON, 20, "x", "flow again", flow_run.key),
        ]
        store.write([], [*entries, LogEntry(NOON, 20, "x", "elsewhere", None, other.key)])
        assert store.read_logs(flow_run.key) == entries

    def test_logs_share_the_transaction(self, store: RunStore) -> None:
        """Lines given with a change are written with it."""
        run = new_task_run()
        entry = LogEntry(NOON, 20, "x", "hello", None, run.key)
        assert store.write([advance(run, RUNNING)], [entry]) == []
        assert store.read_logs(run.key) == [entry]

    # Threads, closing

    def test_threads_share_a_store(self, store: RunStore) -> None:
        """Threads that write and read one store at a time lose nothing and meet no error."""
        errors: list[BaseException] = []

        def work() -> None:
            try:
                for _ in range(40):
                    run = new_task_run()
                    record(store, advance(run, RUNNING))
                    record(store, advance(run, COMPLETED))
                    found = store.read_run(run.key)
                    assert found is not None
                    assert found.state.type is COMPLETED
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert len(store.read_task_runs(EVERYTHING)) == 240

    def test_unfinished_runs_of_the_living_stay(self, store: RunStore) -> None:
        """Settling the runs of dead processes leaves those of this one alone."""
        run = new_task_run()
        record(store, advance(run, RUNNING))
        assert store.settle_dead_owners() == []
        assert store.read_states(run.key)[-1].type is RUNNING

    def test_every_state_can_be_the_newest(self, store: RunStore) -> None:
        """No type of state is special to the store."""
        for kind in (PENDING, SCHEDULED, PAUSED, CANCELLING):
            run = new_flow_run()
            record(store, advance(run, kind))
            found = store.read_run(run.key)
            assert found is not None
            assert found.state.type is kind

    def test_closed_store_says_so(self, store: RunStore) -> None:
        """Closing may be repeated; whatever is asked of a closed store raises `StoreUnavailable`."""
        run = finished_task_run(store)
        store.close()
        store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            store.read_run(run.key)
        with pytest.raises(StoreUnavailable, match="closed"):
            finished_task_run(store)

    def test_maintenance_is_harmless(self, store: RunStore) -> None:
        """Maintenance may be asked for at any time."""
        store.checkpoint()
        run = finished_task_run(store)
        store.checkpoint()
        assert store.read_run(run.key) is not None

    # Cache keys

    def test_cache_key_reads_as_written(self, store: RunStore) -> None:
        """Each field comes back; a run without a cache key has none."""
        run = new_task_run()
        entry = CacheKey(run.key, "k", {"inputs.x": "1", "inputs.größe": None}, "refresh", "a\nmessage")
        assert store.write([advance(run, RUNNING)], [], [entry]) == []
        assert store.read_cache_key(run.key) == entry
        assert store.read_cache_key(finished_task_run(store).key) is None

    @pytest.mark.parametrize("states", [[RUNNING], [RUNNING, COMPLETED], [RUNNING, SCHEDULED]])
    @pytest.mark.parametrize(
        ("key", "skipped", "message", "beside"),
        [
            ("k", None, None, 1),
            ("k", "refresh", None, 0),
            (None, "no key", None, 0),
            (None, "error", "no", 0),
        ],
    )
    def test_cache_key_that_comes_with_its_run(
        self,
        store: RunStore,
        states: list[StateType],
        key: str | None,
        skipped: str | None,
        message: str | None,
        beside: int,
    ) -> None:
        """It reads as any other; in the row of the run is one under which a result was looked up."""
        run = new_task_run()
        change = advance(run, *states)
        change.cache_key = entry = CacheKey(run.key, key, {"inputs.x": "1"}, skipped, message)
        assert store.write([change]) == []
        assert store.read_cache_key(run.key) == entry
        assert len(ask(store, "SELECT 1 FROM cache_keys WHERE task_run_id = ?", run.key)) == 1
        assert len(ask(store, "SELECT 1 FROM cache_key_rows WHERE task_run_id = ?", run.key)) == 1 - beside

    def test_cache_key_that_comes_with_later_states(self, store: RunStore) -> None:
        """It replaces the one that came with the first ones."""
        run = new_task_run()
        first = advance(run, RUNNING)
        first.cache_key = CacheKey(run.key, "one", {})
        store.write([first])
        second = advance(run, SCHEDULED)
        second.cache_key = entry = CacheKey(run.key, "two", {"inputs.x": "2"})
        store.write([second])
        assert store.read_cache_key(run.key) == entry
        assert ask(store, "SELECT key FROM cache_keys WHERE task_run_id = ?", run.key) == [("two",)]
        assert store.read_task_runs_of_cache_key("one", 9) == []
        assert [found.key for found in store.read_task_runs_of_cache_key("two", 9)] == [run.key]

    def test_cache_key_of_refused_states(self, store: RunStore) -> None:
        """It is refused with them."""
        run = finished_task_run(store)
        change = Change(run, [State(COMPLETED)], follows=State(RUNNING).key)
        change.cache_key = CacheKey(run.key, "k", {})
        assert store.write([change]) == [change]
        assert store.read_cache_key(run.key) is None

    def test_later_cache_key_of_a_run_replaces_the_earlier(self, store: RunStore) -> None:
        """A run that goes on elsewhere looks for its result again."""
        run = finished_task_run(store)
        for key in ("one", None):
            store.write([], [], [CacheKey(run.key, key, {})])
        found = store.read_cache_key(run.key)
        assert found == CacheKey(run.key, None, {})

    def test_cache_key_with_lone_surrogates(self, store: RunStore) -> None:
        """What UTF-8 cannot hold does not keep a run from being written."""
        run = new_task_run()
        store.write([advance(run, RUNNING)], [], [CacheKey(run.key, "\udc80", {"\udc80": "\udc80"})])
        assert store.read_run(run.key) is not None
        assert store.read_cache_key(run.key) is not None

    def test_earlier_cache_keys_are_those_of_the_function(self, store: RunStore) -> None:
        """Of runs of tasks whose function has the same name, newest first, if they had a key at all."""
        runs: list[TaskRun] = []
        for task_key in ("add-1", "add-2", "add_up-1", "add-1", "add-1", "add-1"):
            run = new_task_run()
            run.task_key = task_key
            record(store, advance(run, RUNNING, COMPLETED))
            runs.append(run)
        keys = [CacheKey(run.key, None if run is runs[3] else "k", {}) for run in runs]
        store.write([], [], keys)
        assert store.read_earlier_cache_keys(runs[4], 9) == [keys[1], keys[0]]
        assert store.read_earlier_cache_keys(runs[4], 1) == [keys[1]]

    def test_earlier_cache_keys_of_both_kinds(self, store: RunStore) -> None:
        """Those in rows of runs and those in rows of their own come in one order."""
        keys: list[CacheKey] = []
        for number in range(6):
            run = new_task_run()
            run.task_key = "add-1"
            change = advance(run, RUNNING, COMPLETED)
            key = CacheKey(run.key, f"k{number}", {})
            if number % 2:
                change.cache_key = key
            store.write([change], [], [] if number % 2 else [key])
            keys.append(key)
        store.write([], [], [changed := CacheKey(keys[1].task_run_key, "changed", {})])
        keys[1] = changed
        assert store.read_earlier_cache_keys(run, 9) == keys[4::-1]
        assert store.read_earlier_cache_keys(run, 2) == [keys[4], keys[3]]

    def test_task_runs_of_a_cache_key(self, store: RunStore) -> None:
        """The runs that had it, newest first."""
        runs = [finished_task_run(store) for _ in range(3)]
        keys = ("k", "other", "k")
        store.write([], [], [CacheKey(run.key, key, {}) for run, key in zip(runs, keys, strict=True)])
        found = store.read_task_runs_of_cache_key("k", 9)
        assert [facts(run) for run in found] == [facts(runs[2]), facts(runs[0])]
        assert len(store.read_task_runs_of_cache_key("k", 1)) == 1
