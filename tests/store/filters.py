"""What every run store does with filters and orders, as tests: it finds what Python finds in all rows."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring import clock
from mainspring.filters import (
    FlowFilter,
    FlowRunFilter,
    FlowRunSort,
    FlowSort,
    IdFilter,
    LevelFilter,
    LinkFilter,
    LogFilter,
    LogSort,
    StartTimeFilter,
    StateFilter,
    StateNameFilter,
    StateTypeFilter,
    SubflowRunsFilter,
    TagsFilter,
    TaskRunFilter,
    TaskRunSort,
    TextFilter,
    TimeFilter,
    VersionFilter,
)
from mainspring.runs import FlowRun, Run, TaskRun
from mainspring.states import State, StateType
from mainspring.store import LogEntry, RunFilter, RunStore
from mainspring.store.protocol import Amendment, FlowQuery
from mainspring.store.sql.filters import flow_id
from tests.store.histories import NOON, advance, new_flow_run, new_task_run, record

TAGS = ["a", "A", 'say "a', "a\\", ",", "x,", ",y", "%", "_", "größe", "]", "[", "", "\t", "a,b", '"', 'a"']
NAMES = ["etl", "ETL-2", "größe", "GRÖSSE", "50%", "50_", "a'b", "it\\s", "été", "ÉTÉ", "nightly"]
FLOWS = ["etl", "Load", "größe"]
VERSIONS = [None, "1", "2"]
MINUTE = 60_000_000
FLOW_RUNS = 24
TASK_RUNS = 40


def key(kind: int, number: int) -> bytes:
    return UUID(int=(1 << 120) + (number << 64) + kind).bytes


FLOW_RUN_IDS = [UUID(bytes=key(1, number)) for number in range(FLOW_RUNS)]
TASK_RUN_IDS = [UUID(bytes=key(2, number)) for number in range(TASK_RUNS)]


def moment(number: int) -> Any:
    return clock.to_datetime(NOON) + timedelta(minutes=number)


def states_of(number: int) -> list[State]:
    """How the run with a number has gone on."""
    at = NOON + (number * 7 % 11) * MINUTE

    def state(kind: str, name: str | None = None, later: int = 1) -> State:
        return State(kind, name, at=at + later * MINUTE)

    lives = [
        [],
        [state("RUNNING"), state("COMPLETED", later=3)],
        [state("RUNNING"), state("FAILED", later=2)],
        [state("RUNNING"), state("FAILED", "TimedOut", later=4)],
        [state("RUNNING")],
        [
            state("RUNNING"),
            State(
                "SCHEDULED",
                "AwaitingRetry",
                at=at + 2 * MINUTE,
                state_details={"scheduled_time": moment(number + 5)},
            ),
        ],
        [state("CANCELLED")],
    ]
    return lives[number % len(lives)]


def some(values: Sequence[str], number: int, count: int) -> set[str]:
    return {values[(number * 5 + step * 3) % len(values)] for step in range(count)}


class History(NamedTuple):
    """Everything that is in the store, newest first."""

    flow_runs: list[FlowRun]
    task_runs: list[TaskRun]
    logs: list[LogEntry]


def fill(store: RunStore) -> History:
    flow_runs: list[FlowRun] = []
    task_runs: list[TaskRun] = []
    for number in range(FLOW_RUNS):
        begun = State("PENDING", at=NOON + (number * 7 % 11) * MINUTE)
        parent = key(2, number) if number % 5 == 4 else None
        run = FlowRun(
            key(1, number),
            NAMES[number % len(NAMES)],
            begun,
            FLOWS[number % len(FLOWS)],
            VERSIONS[number % len(VERSIONS)],
            tags=some(TAGS, number, number % 4),
            parent_task_run_key=parent,
        )
        run.claim(begun)
        run.expected_start_at += number % 3 * MINUTE
        record(store, advance(run, *states_of(number)))
        flow_runs.append(run)
    for number in range(TASK_RUNS):
        begun = State("PENDING", at=NOON + (number * 7 % 11) * MINUTE)
        around = None if number % 6 == 5 else key(1, number % FLOW_RUNS)
        task_run = TaskRun(
            key(2, number),
            NAMES[number * 3 % len(NAMES)],
            begun,
            "m:t",
            around,
            tags=some(TAGS, number + 1, number % 3),
        )
        task_run.claim(begun)
        record(store, advance(task_run, *states_of(number + 2)))
        task_runs.append(task_run)
    logs = [
        LogEntry(
            NOON + (number * 13 % 17) * MINUTE,
            10 * (number % 5 + 1),
            "x",
            f"line {number}",
            None if number % 4 == 3 else key(1, number % 5),
            None if number % 3 == 2 else key(2, number % 7),
        )
        for number in range(40)
    ]
    store.write([], logs)
    return History(flow_runs[::-1], task_runs[::-1], logs)


# The same in Python


def folded(text: str) -> str:
    return "".join(each.lower() if len(each.lower()) == 1 else each for each in text)


def fits_id(where: IdFilter | None, found: UUID) -> bool:
    if where is None:
        return True
    return (where.any_ is None or found in where.any_) and found not in (where.not_any_ or ())


def fits_text(where: TextFilter | None, text: str) -> bool:
    if where is None:
        return True
    likes = where.like_ is None or folded(where.like_) in folded(text)
    return likes and (where.any_ is None or text in where.any_)


def fits_tags(where: TagsFilter | None, tags: set[str]) -> bool:
    if where is None:
        return True
    return (
        (where.all_ is None or set(where.all_) <= tags)
        and (where.any_ is None or bool(set(where.any_) & tags))
        and (where.is_null_ is None or where.is_null_ is (not tags))
    )


def fits_state(where: StateFilter | None, state: State) -> bool:
    if where is None:
        return True
    return all(
        member is None
        or ((member.any_ is None or value in member.any_) and value not in (member.not_any_ or ()))
        for member, value in ((where.type, state.type), (where.name, state.name))
    )


def fits_time(where: TimeFilter | None, found: Any) -> bool:
    if where is None:
        return True
    if isinstance(where, StartTimeFilter) and where.is_null_ not in (None, found is None):
        return False
    if where.before_ is not None and not (found is not None and found <= where.before_):
        return False
    return where.after_ is None or (found is not None and found >= where.after_)


def fits_link(where: LinkFilter | None, found: UUID | None) -> bool:
    if where is None:
        return True
    return (where.any_ is None or found in where.any_) and where.is_null_ in (None, found is None)


def fits_run(where: Any, run: Run) -> bool:
    return (
        fits_id(where.id, run.id)
        and fits_text(where.name, run.name)
        and fits_tags(where.tags, set(run.tags))
        and fits_state(where.state, run.state)
        and fits_time(where.start_time, run.start_time)
        and fits_time(where.end_time, run.end_time)
        and fits_time(where.expected_start_time, run.expected_start_time)
    )


def fits_flow_run(where: FlowRunFilter | None, run: FlowRun, history: History) -> bool:
    if where is None:
        return True
    around = {each.key: each.flow_run_id for each in history.task_runs}
    parent = None if run.parent_task_run_key is None else around[run.parent_task_run_key]
    by_parent = where.parent_flow_run_id
    return (
        fits_run(where, run)
        and (where.flow_version is None or run.flow_version in (where.flow_version.any_ or ()))
        and fits_time(where.next_scheduled_start_time, run.next_scheduled_start_time)
        and fits_link(where.parent_task_run_id, run.parent_task_run_id)
        and (
            by_parent is None
            or (
                (by_parent.any_ is None or parent in by_parent.any_)
                and by_parent.is_null_ in (None, run.parent_task_run_key is None)
            )
        )
    )


def fits_task_run(where: TaskRunFilter | None, run: TaskRun, history: History) -> bool:
    if where is None:
        return True
    stands = any(each.parent_task_run_key == run.key for each in history.flow_runs)
    subflows = where.subflow_runs
    return (
        fits_run(where, run)
        and (subflows is None or subflows.exists_ in (None, stands))
        and fits_link(where.flow_run_id, run.flow_run_id)
    )


def fits_flow(where: FlowFilter | None, name: str, history: History) -> bool:
    if where is None:
        return True
    runs = [set(run.tags) for run in history.flow_runs if run.flow_name == name]
    tags = where.tags
    return (
        fits_id(where.id, flow_id(name))
        and fits_text(where.name, name)
        and (
            tags is None
            or (
                tags.is_null_ in (None, not any(runs))
                and (
                    (tags.all_ is None and tags.any_ is None)
                    or any(fits_tags(TagsFilter(all_=tags.all_, any_=tags.any_), each) for each in runs)
                )
            )
        )
    )


# Filters of all kinds


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def few(values: Sequence[Any], least: int = 0) -> st.SearchStrategy[Any]:
    return st.lists(st.sampled_from(values), min_size=least, max_size=4)


flags = maybe(st.booleans())
some_level = st.sampled_from([10, 25, 40])
moments = maybe(st.integers(-1, 16).map(moment))
parts = st.sampled_from(["e", "TL", "ö", "Ö", "É", "é", "%", "_", "'", "\\", "", "50", "ss", "ß", "zz"])
texts = st.builds(TextFilter, any_=maybe(few(NAMES)), like_=maybe(parts))
flow_names = st.builds(TextFilter, any_=maybe(few(FLOWS)), like_=maybe(parts))
tags = st.builds(
    TagsFilter, all_=maybe(few([*TAGS, "b", "A,"])), any_=maybe(few([*TAGS, "b"])), is_null_=flags
)
types = st.builds(StateTypeFilter, any_=maybe(few(list(StateType))), not_any_=maybe(few(list(StateType))))
state_names = st.builds(
    StateNameFilter,
    any_=maybe(few(["Completed", "TimedOut", "completed", "AwaitingRetry", "Running"])),
    not_any_=maybe(few(["Failed", "TimedOut"])),
)
states = st.builds(StateFilter, type=maybe(types), name=maybe(state_names))
times = st.builds(TimeFilter, before_=moments, after_=moments)
open_times = st.builds(StartTimeFilter, before_=moments, after_=moments, is_null_=flags)


def ids(known: Sequence[UUID]) -> st.SearchStrategy[IdFilter]:
    return st.builds(IdFilter, any_=maybe(few(known)), not_any_=maybe(few(known)))


def links(known: Sequence[UUID]) -> st.SearchStrategy[LinkFilter]:
    return st.builds(LinkFilter, any_=maybe(few(known)), is_null_=flags)


flow_run_filters = st.builds(
    FlowRunFilter,
    id=maybe(ids(FLOW_RUN_IDS)),
    name=maybe(texts),
    tags=maybe(tags),
    state=maybe(states),
    flow_version=maybe(st.builds(VersionFilter, any_=few(["1", "2", "3"]))),
    start_time=maybe(open_times),
    end_time=maybe(open_times),
    expected_start_time=maybe(times),
    next_scheduled_start_time=maybe(times),
    parent_flow_run_id=maybe(links(FLOW_RUN_IDS)),
    parent_task_run_id=maybe(links(TASK_RUN_IDS)),
)
task_run_filters = st.builds(
    TaskRunFilter,
    id=maybe(ids(TASK_RUN_IDS)),
    name=maybe(texts),
    tags=maybe(tags),
    state=maybe(states),
    start_time=maybe(open_times),
    end_time=maybe(open_times),
    expected_start_time=maybe(times),
    subflow_runs=maybe(st.builds(SubflowRunsFilter, exists_=flags)),
    flow_run_id=maybe(links(FLOW_RUN_IDS)),
)
flow_filters = st.builds(
    FlowFilter, id=maybe(ids([flow_id(name) for name in FLOWS])), name=maybe(flow_names), tags=maybe(tags)
)
# Most members of most filters are left out, or hardly anything would fit.
rare = st.integers(0, 3).flatmap(lambda number: flow_filters if number == 0 else st.none())
rare_task_runs = st.integers(0, 2).flatmap(lambda number: task_run_filters if number == 0 else st.none())
rare_flow_runs = st.integers(0, 2).flatmap(lambda number: flow_run_filters if number == 0 else st.none())

for_many = settings(
    max_examples=150,
    suppress_health_check=[  # it is only read, and each backend inherits the tests
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
    ],
)
ORDERS: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "ID_DESC": (lambda run: None, False),
    "START_TIME_ASC": (lambda run: run.started_at, False),
    "START_TIME_DESC": (lambda run: run.started_at, True),
    "EXPECTED_START_TIME_ASC": (lambda run: run.expected_start_at, False),
    "EXPECTED_START_TIME_DESC": (lambda run: run.expected_start_at, True),
    "NAME_ASC": (lambda run: run.name.encode(), False),
    "NAME_DESC": (lambda run: run.name.encode(), True),
    "NEXT_SCHEDULED_START_TIME_ASC": (
        lambda run: run.state.scheduled_at if run.state.is_scheduled() else None,
        False,
    ),
    "END_TIME_DESC": (lambda run: run.ended_at, True),
}


def in_order(runs: Sequence[Run], sort: str) -> list[bytes]:
    """The keys of runs, which come newest first, in an order; what has no value comes last."""
    value, falls = ORDERS[sort]
    known = [run for run in runs if value(run) is not None]
    rest = [run for run in runs if value(run) is None]
    known.sort(key=value, reverse=falls)
    return [run.key for run in [*known, *rest]]


class FilterConformance:
    """Subclasses define the fixture ``store``."""

    @pytest.fixture
    def store(self) -> Iterator[RunStore]:
        raise NotImplementedError

    @pytest.fixture
    def history(self, store: RunStore) -> History:
        return fill(store)

    @pytest.mark.contract("CL-7", "CL-20", "CL-21", "CL-33")
    @for_many
    @given(flow_run=flow_run_filters | st.none(), flow=rare, task_run=rare_task_runs)
    def test_flow_runs_fit_as_in_python(
        self,
        store: RunStore,
        history: History,
        flow_run: FlowRunFilter | None,
        flow: FlowFilter | None,
        task_run: TaskRunFilter | None,
    ) -> None:
        """Any filter of flow runs finds what the same filter finds in Python among all of them."""
        expected = [
            run.key
            for run in history.flow_runs
            if fits_flow_run(flow_run, run, history)
            and fits_flow(flow, run.flow_name, history)
            and (
                task_run is None
                or any(
                    each.flow_run_key == run.key and fits_task_run(task_run, each, history)
                    for each in history.task_runs
                )
            )
        ]
        where = RunFilter(flow=flow, flow_run=flow_run, task_run=task_run)
        assert [run.key for run in store.read_flow_runs(where)] == expected

    @pytest.mark.contract("CL-7", "CL-21")
    @for_many
    @given(task_run=task_run_filters | st.none(), flow=rare, flow_run=rare_flow_runs)
    def test_task_runs_fit_as_in_python(
        self,
        store: RunStore,
        history: History,
        task_run: TaskRunFilter | None,
        flow: FlowFilter | None,
        flow_run: FlowRunFilter | None,
    ) -> None:
        """Any filter of task runs finds what the same filter finds in Python among all of them."""
        around = {run.key: run for run in history.flow_runs}

        def fits_around(run: TaskRun) -> bool:
            if flow is None and flow_run is None:
                return True
            found = None if run.flow_run_key is None else around[run.flow_run_key]
            return (
                found is not None
                and fits_flow(flow, found.flow_name, history)
                and fits_flow_run(flow_run, found, history)
            )

        expected = [
            run.key for run in history.task_runs if fits_task_run(task_run, run, history) and fits_around(run)
        ]
        where = RunFilter(flow=flow, flow_run=flow_run, task_run=task_run)
        assert [run.key for run in store.read_task_runs(where)] == expected

    @pytest.mark.contract("CL-7", "CL-21")
    @for_many
    @given(flow=flow_filters | st.none(), flow_run=rare_flow_runs, task_run=rare_task_runs)
    def test_flows_fit_as_in_python(
        self,
        store: RunStore,
        history: History,
        flow: FlowFilter | None,
        flow_run: FlowRunFilter | None,
        task_run: TaskRunFilter | None,
    ) -> None:
        """Any filter of flows finds what the same filter finds in Python among all of them."""
        having = {
            run.flow_name
            for run in history.flow_runs
            if fits_flow_run(flow_run, run, history)
            and (
                task_run is None
                or any(
                    each.flow_run_key == run.key and fits_task_run(task_run, each, history)
                    for each in history.task_runs
                )
            )
        }
        expected = [name for name in sorted(FLOWS) if name in having and fits_flow(flow, name, history)]
        query = FlowQuery(flow=flow, flow_run=flow_run, task_run=task_run, sort=FlowSort.NAME_ASC)
        assert [found.name for found in store.read_flows(query)] == expected

    @pytest.mark.contract("CL-21", "CL-27")
    @for_many
    @given(
        levels=maybe(st.builds(LevelFilter, ge_=maybe(some_level), le_=maybe(some_level))),
        written=maybe(times),
        flow_runs=maybe(links(FLOW_RUN_IDS[:6])),
        task_runs=maybe(links(TASK_RUN_IDS[:8])),
        sort=st.sampled_from(LogSort),
        limit=st.sampled_from([None, 0, 3]),
        offset=st.sampled_from([0, 2]),
    )
    def test_log_lines_fit_as_in_python(
        self,
        store: RunStore,
        history: History,
        levels: LevelFilter | None,
        written: TimeFilter | None,
        flow_runs: LinkFilter | None,
        task_runs: LinkFilter | None,
        sort: LogSort,
        limit: int | None,
        offset: int,
    ) -> None:
        """Any filter of log lines finds what the same filter finds in Python, in the order that was asked for."""
        where = LogFilter(level=levels, timestamp=written, flow_run_id=flow_runs, task_run_id=task_runs)

        def fits_level(level: int) -> bool:
            if levels is None:
                return True
            return (levels.ge_ is None or level >= levels.ge_) and (levels.le_ is None or level <= levels.le_)

        expected = [
            line
            for line in history.logs
            if fits_level(line.level)
            and fits_time(written, line.timestamp)
            and fits_link(flow_runs, line.flow_run_id)
            and fits_link(task_runs, line.task_run_id)
        ]
        falls = sort is LogSort.TIMESTAMP_DESC
        if falls:
            expected.reverse()  # of one time, in the order of writing
        expected.sort(key=lambda line: line.at, reverse=falls)
        end = None if limit is None else offset + limit
        assert store.search_logs(where, sort, limit, offset) == expected[offset:end]

    @pytest.mark.contract("CL-22")
    @pytest.mark.parametrize("sort", list(FlowRunSort))
    def test_orders_of_flow_runs(self, store: RunStore, history: History, sort: FlowRunSort) -> None:
        """Flow runs come in the order that was asked for: what has no value last, what is equal newest first."""
        found = store.read_flow_runs(RunFilter(sort=sort))
        assert [run.key for run in found] == in_order(history.flow_runs, sort.value)
        page = store.read_flow_runs(RunFilter(sort=sort, limit=5, offset=3))
        assert [run.key for run in page] == [run.key for run in found][3:8]

    @pytest.mark.contract("CL-22")
    @pytest.mark.parametrize("sort", list(TaskRunSort))
    def test_orders_of_task_runs(self, store: RunStore, history: History, sort: TaskRunSort) -> None:
        """The same for task runs."""
        found = store.read_task_runs(RunFilter(sort=sort))
        assert [run.key for run in found] == in_order(history.task_runs, sort.value)

    @pytest.mark.parametrize("tag", TAGS)
    def test_every_tag_is_found(self, store: RunStore, tag: str) -> None:
        """A run is found by each of its tags, whatever is in them, and by no part of one or neighbours of two."""
        run, other = new_flow_run(tags={*TAGS}), new_flow_run(tags={*TAGS} - {tag})
        record(store, advance(run), advance(other))
        where = RunFilter(flow_run=FlowRunFilter(tags=TagsFilter(all_=[tag])))
        assert [found.key for found in store.read_flow_runs(where)] == [run.key]

    def test_many_ids(self, store: RunStore, history: History) -> None:
        """A filter may name more ids than a statement has room for values."""
        wanted = [*(UUID(int=number) for number in range(70_000)), *TASK_RUN_IDS]
        where = RunFilter(task_run=TaskRunFilter(id=IdFilter(any_=wanted)))
        assert len(store.read_task_runs(where)) == TASK_RUNS

    # Flows that were made known

    @pytest.mark.contract("CL-9")
    def test_flows_without_runs(self, store: RunStore) -> None:
        """A flow is known once it was made known, under the id that its runs give it as well."""
        made = store.write_flow("new", NOON)
        assert store.write_flow("new", NOON + 5) == made
        assert store.read_flows(FlowQuery()) == [made]
        run = FlowRun(key(1, 1), "r", State("PENDING", at=NOON - 5), "new")
        record(store, advance(run))
        (found,) = store.read_flows(FlowQuery(flow=FlowFilter(id=IdFilter(any_=[made.id]))))
        assert (found.id, clock.from_datetime(found.created)) == (made.id, NOON - 5)

    # From outside

    def test_unowned_runs_outlive_their_maker(self, store: RunStore) -> None:
        """A run that was made from outside belongs to nobody until somebody goes on with it."""
        run = new_flow_run()
        assert store.write_unowned([advance(run)]) == []
        run.recorded = run.state.key
        assert not store.renew_lease()
        assert not store.settle_dead_owners()
        assert store.write_unowned([advance(new_flow_run(), "RUNNING")]) == []
        rival = FlowRun(run.key, "rival", State("PENDING"), "etl")
        change = advance(rival)
        assert store.write_unowned([change]) == [change]
        record(store, advance(run, "RUNNING"))
        assert store.read_states(run.key)[-1].is_running()

    def test_states_from_outside_are_fenced(self, store: RunStore) -> None:
        """A state from outside is refused if it does not follow the newest one, and refuses those of the process."""
        run = new_task_run()
        record(store, advance(run, "RUNNING"))
        adopted = store.read_run(run.key)
        assert adopted is not None
        assert store.write_unowned([advance(adopted, "FAILED")]) == []
        late = advance(run, "COMPLETED")
        assert store.write([late]) == [late]
        assert store.write_unowned([late]) == [late]
        assert [state.name for state in store.read_states(run.key)] == ["Pending", "Running", "Failed"]

    @pytest.mark.contract("CL-12", "CL-33")
    def test_amended_runs(self, store: RunStore) -> None:
        """What is changed about a run replaces what was there, and the rest stays."""
        run = new_flow_run("old", tags={"a"}, parameters={"x": 1}, flow_version="1")
        record(store, advance(run))
        assert store.amend_run(run.key, Amendment(tags=["c", "b"], parameters={"y": [2]}))
        found = store.read_run(run.key)
        assert isinstance(found, FlowRun)
        assert (found.name, found.tags, found.parameters) == ("old", {"b", "c"}, {"y": [2]})
        assert store.amend_run(run.key, Amendment(flow_version="2", tags=[], parameters={}))
        found = store.read_run(run.key)
        assert isinstance(found, FlowRun)
        assert (found.flow_version, found.tags, found.parameters) == ("2", set(), {})
        assert store.amend_run(run.key, Amendment())
        assert not store.amend_run(key(9, 9), Amendment(name="x"))
        assert not store.amend_run(key(9, 9), Amendment())

    @pytest.mark.parametrize("make", [new_flow_run, new_task_run])
    def test_name_from_outside_stays(self, store: RunStore, make: Callable[..., Any]) -> None:
        """A run that was named from outside keeps the name, whatever its process calls it afterwards."""
        run = make(name="draft")
        record(store, advance(run))
        assert store.amend_run(run.key, Amendment(name="mine"))
        run.name = "final"
        record(store, advance(run, "RUNNING", "COMPLETED"))
        found = store.read_run(run.key)
        assert found is not None
        assert (found.name, found.state.name) == ("mine", "Completed")

    @pytest.mark.contract("CL-16")
    def test_dynamic_key_is_kept(self, store: RunStore) -> None:
        """A task run made with a dynamic key has it when it is read, and any other run the one made of its id."""
        given_one, own = new_task_run(dynamic_key="7"), new_task_run()
        record(store, advance(given_one), advance(own))
        for run in (given_one, own):
            found = store.read_run(run.key)
            assert isinstance(found, TaskRun)
            assert found.dynamic_key == run.dynamic_key
        assert given_one.dynamic_key == "7"
