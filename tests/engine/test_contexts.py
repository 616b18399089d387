"""Contexts: holding, copying, travelling to other processes; settings and clients as contexts."""

import asyncio
import contextvars
import logging
import pickle
import threading
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import pytest

from mainspring import Task, flow, get_run_logger, runtime, tags, task
from mainspring.client import AsyncClientContext, Client, SyncClientContext, get_client
from mainspring.context import (
    ContextModel,
    EngineContext,
    FlowRunContext,
    SettingsContext,
    TagsContext,
    TaskRunContext,
    get_run_context,
    get_settings_context,
    hydrated_context,
    serialize_context,
    with_context,
)
from mainspring.exceptions import ConfigurationError, MissingContextError
from mainspring.results import ResultStore
from mainspring.runs import FlowRun, TaskRun
from mainspring.settings import Settings, get_current_settings, temporary_settings
from mainspring.states import Pending
from mainspring.task_engine import run_task_sync
from mainspring.task_runners import TaskRunner, ThreadPoolTaskRunner
from tests.engine import travellers
from tests.engine.history import flow_runs, messages, only_task_run, sequence, task_runs
from tests.engine.travellers import carried, in_another_process

A_FLOW_RUN = b"f" * 16


def flow_run() -> FlowRun:
    return FlowRun(A_FLOW_RUN, "of-the-flow", Pending(), "voyage", tags={"a"})


def in_thread(function: Callable[[], Any]) -> Any:
    """What a function gives in a new thread, which inherits nothing."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


# Holding


@pytest.mark.contract("C-1")
def test_fields_are_known() -> None:
    """There are no other fields than those of the class, neither in the constructor nor later."""
    with pytest.raises(TypeError, match="colour"):
        FlowRunContext(colour="red")  # type: ignore[call-arg]
    context = FlowRunContext(flow=travellers.voyage, result_store=object())
    with pytest.raises(AttributeError):
        context.colour = "red"  # type: ignore[attr-defined]
    assert FlowRunContext.get() is None
    with context:
        assert FlowRunContext.get() is context


@pytest.mark.contract("C-1")
def test_kinds_are_independent() -> None:
    """Each class has its own variable: entering one says nothing about another."""
    with FlowRunContext():
        assert TaskRunContext.get() is None
        assert not TagsContext.get().current_tags


@pytest.mark.contract("C-2")
def test_a_copy_is_entered_inside_the_original() -> None:
    """A copy is another context with the same fields, entered on its own, with other values if wanted."""
    context = FlowRunContext(travellers.voyage, flow_run(), log_prints=True)
    with context:
        copy = context.model_copy()
        with copy:
            assert FlowRunContext.get() is copy
            assert copy is not context
            assert (copy.flow, copy.flow_run) == (context.flow, context.flow_run)
            assert copy.start_time == context.start_time
        assert FlowRunContext.get() is context
        assert context.model_copy(update={"log_prints": False}).log_prints is False
    assert context.log_prints is True
    with pytest.raises(TypeError, match="no field 'colour'"):
        context.model_copy(update={"colour": "red"})


@pytest.mark.contract("C-7", "C-25")
def test_the_context_of_a_flow_run() -> None:
    """It has the objects that it was given, and defaults for the rest; both of its names are one class."""
    run, runner, client = flow_run(), ThreadPoolTaskRunner(), object()
    context = FlowRunContext(flow=travellers.voyage, flow_run=run, task_runner=runner, client=client)
    assert context.flow is travellers.voyage
    assert context.flow_run is run
    assert context.task_runner is runner
    assert context.client is client
    assert (context.log_prints, context.parameters, context.detached) == (False, None, False)
    assert EngineContext is FlowRunContext


@pytest.mark.contract("C-6", "C-9", "C-25")
def test_the_context_of_a_task_run() -> None:
    """It has the objects that it was given, defaults for the rest, and a start time that is now."""
    run, client = travellers.add.create_local_run(), object()
    before = datetime.now().astimezone()
    context = TaskRunContext(travellers.add, run, client=client)
    assert context.task is travellers.add
    assert context.task_run is run
    assert context.client is client
    assert (context.log_prints, context.parameters) == (False, None)
    assert before <= context.start_time <= datetime.now().astimezone()


@pytest.mark.contract("C-10")
def test_a_context_without_flow_and_run() -> None:
    """Whoever reads the context copes with what is not there: tasks, names, loggers, facts."""

    @task(task_run_name="named {x}")
    def work(x: int) -> int:
        get_run_logger().info("inside")
        return x

    with FlowRunContext() as context:
        assert get_run_context() is context
        assert (runtime.flow_run.id, runtime.flow_run.flow_name, runtime.flow_run.tags) == (None, None, [])
        get_run_logger().info("a line of no run")
        assert work(3) == 3
        with pytest.raises(RuntimeError, match="needs the task runner"):
            work.submit(3)
    run = only_task_run()
    assert (run.name, run.flow_run_id) == ("named 3", None)
    assert messages(run) == ["inside"]


@pytest.mark.contract("C-12", "C-13")
def test_tags_are_never_none() -> None:
    """Without a context there is one without tags; inside of blocks there are those of all of them."""
    assert TagsContext.get().current_tags == set()
    with tags("a", "b"), tags("c") as active:
        assert active == TagsContext.get().current_tags == {"a", "b", "c"}
    assert TagsContext.get().current_tags == set()


# Settings


@pytest.mark.contract("C-14")
def test_settings_contexts_are_told_apart_by_their_settings() -> None:
    """Contexts with equal settings are equal and have the same hash, lists among the settings included."""
    first, second = SettingsContext(Settings()), SettingsContext(Settings())
    assert first == second
    assert hash(first) == hash(second)
    with temporary_settings({"tasks.default_retry_delay_seconds": [1, 2], "home": "/elsewhere"}) as settings:
        other = SettingsContext(settings)
    assert other != first
    assert other in {other: 1}
    assert hash(other) != hash(first)
    assert first != "settings"


@pytest.mark.contract("C-14")
def test_the_root_is_seen_everywhere() -> None:
    """Outside of blocks there is one context for the process, in new threads and event loops alike."""

    async def look() -> SettingsContext:
        return get_settings_context()

    root = SettingsContext.get()
    assert root is not None
    assert root is get_settings_context() is in_thread(SettingsContext.get) is asyncio.run(look())
    assert root.settings is get_current_settings()


@pytest.mark.contract("C-14")
def test_one_mechanism() -> None:
    """Blocks of either kind see each other: settings and their context are never of two opinions."""
    with temporary_settings({"debug_mode": True}) as settings:
        assert get_settings_context().settings is settings is get_current_settings()
        with SettingsContext(Settings(debug_mode=False, home=settings.home)) as inner:
            assert SettingsContext.get() is inner
            assert get_current_settings() is inner.settings
            with temporary_settings({"tasks.default_retries": 3}) as innermost:
                assert (innermost.debug_mode, innermost.tasks.default_retries) == (False, 3)
            assert get_current_settings() is inner.settings
        assert get_current_settings() is settings
        assert in_thread(get_current_settings).debug_mode is False
    assert get_current_settings().debug_mode is False


@pytest.mark.contract("C-14", "C-26")
def test_entering_settings_creates_the_home(tmp_path: Path) -> None:
    """The home directory is there inside, however deep; `temporary_settings` alone makes none."""
    home = tmp_path / "a" / "b"
    with temporary_settings({"home": home}) as settings:
        assert not home.exists()
    handlers = logging.getLogger("mainspring").handlers[:]
    with SettingsContext(settings):
        assert home.is_dir()
    with SettingsContext(settings):
        assert home.is_dir()
    assert logging.getLogger("mainspring").handlers == handlers


@pytest.mark.contract("C-14")
def test_a_home_that_cannot_be_created(tmp_path: Path) -> None:
    """It is only warned about: the settings hold all the same."""
    (tmp_path / "file").touch()
    context = SettingsContext(Settings(home=tmp_path / "file" / "home"))
    with pytest.warns(RuntimeWarning, match="cannot be created.*MAINSPRING_HOME") as caught:
        context.__enter__()
    assert caught[0].filename == __file__
    assert get_current_settings() is context.settings
    context.__exit__()
    assert SettingsContext.get() is not context


@pytest.mark.contract("C-15")
def test_no_settings(tmp_path: Path) -> None:
    """Where the environment gives no valid settings there is no context, and asking for it says why."""

    def look() -> tuple[bool, str, str]:
        with pytest.raises(MissingContextError) as caught:
            get_settings_context()
        return SettingsContext.get() is None, str(caught.value), type(caught.value.__cause__).__name__

    nothing, text, cause = in_another_process(tmp_path, look, MAINSPRING_DURABILITY="forever")
    assert nothing
    assert "No settings context found" in text
    assert "durability cannot be 'forever'" in text
    assert "MAINSPRING_DURABILITY" in text
    assert cause == "ConfigurationError"


# Clients


@pytest.mark.contract("C-18")
def test_a_client_for_a_block() -> None:
    """Inside, everybody gets the same client; nested use opens none and closes none."""
    assert SyncClientContext.get() is None
    with SyncClientContext.get_or_create() as outer:
        client = get_client()
        assert client is outer.client
        with SyncClientContext.get_or_create() as inner:
            assert inner is outer
            assert get_client(sync_client=True) is client
        with outer:
            assert SyncClientContext.get() is outer
        assert get_client() is client
        assert outer.client is client
        travellers.add(1)
        assert [run.name for run in get_client().read_task_runs()] == ["add"]
    assert SyncClientContext.get() is None
    assert get_client() is not client
    with pytest.raises(RuntimeError, match="only inside of its block"):
        _ = outer.client
    with pytest.raises(RuntimeError, match="Asymmetric use of context"):
        outer.__exit__()


@pytest.mark.contract("C-18")
def test_an_async_client_for_a_block() -> None:
    """As for the sync client, with `async with`; sync clients are another matter."""

    async def main() -> None:
        async with AsyncClientContext.get_or_create() as outer:
            client = get_client(sync_client=False)
            assert client is outer.client
            async with AsyncClientContext.get_or_create() as inner, outer:
                assert inner is outer is AsyncClientContext.get()
                assert get_client(sync_client=False) is client
            assert outer.client is client
            assert isinstance(get_client(), Client)
            assert await client.read_task_runs() == []
        assert AsyncClientContext.get() is None
        assert get_client(sync_client=False) is not client
        with pytest.raises(RuntimeError, match="async with"):
            AsyncClientContext().__enter__()

    asyncio.run(main())


@pytest.mark.contract("V-37")
def test_an_async_client_stays_on_its_loop() -> None:
    """Another event loop that inherits the context opens a client of its own."""

    async def look() -> tuple[object, object]:
        direct = get_client(sync_client=False)
        async with AsyncClientContext.get_or_create() as context:
            return direct, context.client

    async def main() -> None:
        async with AsyncClientContext.get_or_create() as context:
            copied = contextvars.copy_context()
            direct, shared = await asyncio.to_thread(lambda: copied.run(asyncio.run, look()))
            assert context.client not in (direct, shared)
            assert await look() == (context.client, context.client)

    asyncio.run(main())


def test_a_client_that_cannot_be_opened(tmp_path: Path) -> None:
    """An error while opening leaves no context behind, and the context can be entered later."""
    context = SyncClientContext()
    with temporary_settings({"database_url": "ftp://nowhere"}), pytest.raises(ConfigurationError):
        context.__enter__()
    assert SyncClientContext.get() is None
    with context:
        assert get_client() is context.client


def test_a_copy_of_a_client_context() -> None:
    """A copy opens a client of its own."""
    with SyncClientContext() as context, context.model_copy() as copy:
        assert copy.client is not context.client
        with pytest.raises(TypeError, match="no field 'client'"):
            context.model_copy(update={"client": None})


# Serialising


@pytest.mark.contract("C-4", "C-6", "C-8")
def test_what_a_flow_run_context_ships() -> None:
    """What was set, by name, with the start; never the client or the runner."""
    run, store = flow_run(), ResultStore()
    context = FlowRunContext(
        travellers.voyage,
        run,
        ThreadPoolTaskRunner(),
        {"x": 1},
        True,
        store,
        client=object(),
    )
    assert context.serialize() == {
        "flow": travellers.voyage,
        "flow_run": run,
        "parameters": {"x": 1},
        "log_prints": True,
        "result_store": store,
        "start_time": context.start_time,
    }
    empty = FlowRunContext()
    assert empty.serialize() == {"start_time": empty.start_time}


@pytest.mark.contract("C-4", "C-6", "C-9")
def test_what_a_task_run_context_ships() -> None:
    """What was set, by name, with the start; never the client."""
    run = travellers.add.create_local_run()
    context = TaskRunContext(travellers.add, run, {"x": 1}, persist_result=False, client=object())
    assert context.serialize() == {
        "task": travellers.add,
        "task_run": run,
        "parameters": {"x": 1},
        "persist_result": False,
        "start_time": context.start_time,
    }


@pytest.mark.contract("C-4")
def test_cloudpickle_carries_what_is_shipped() -> None:
    """The dict of a real run survives, flow and task of the test's own included."""

    @task
    def work() -> dict[str, Any]:
        return serialize_context()

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=3))
    def pipeline(x: int) -> dict[str, Any]:
        with tags("a"):
            return work()

    shipped = pipeline(1)
    arrived = carried(shipped)
    assert arrived["flow_run_context"]["flow_run"].id == shipped["flow_run_context"]["flow_run"].id
    assert arrived["flow_run_context"]["parameters"] == {"x": 1}
    assert arrived["flow_run_context"]["flow"].name == "pipeline"
    assert arrived["task_run_context"]["task"].task_key == work.task_key
    assert arrived["tags_context"] == {"current_tags": {"a"}}
    assert arrived["settings_context"] == shipped["settings_context"]


@pytest.mark.contract("C-19")
def test_the_four_keys() -> None:
    """They are always there; what is not active is an empty dict, and settings always are."""
    settings = get_settings_context().serialize()
    nothing: dict[str, Any] = {"flow_run_context": {}, "task_run_context": {}, "tags_context": {}}
    assert serialize_context() == {**nothing, "settings_context": settings}
    with FlowRunContext(travellers.voyage, flow_run()) as context, tags("a"):
        assert serialize_context() == {
            "flow_run_context": context.serialize(),
            "task_run_context": {},
            "tags_context": {"current_tags": {"a"}},
            "settings_context": settings,
        }


@pytest.mark.contract("C-24", "V-37")
def test_secrets_in_shipped_settings() -> None:
    """Passwords go along as they are, because the other side needs them, unless they are unwanted."""
    url = "postgresql://ada:lovelace1815@db/runs"
    with temporary_settings({"database_url": url, "results.default_storage": "s3://k:lovelace1815@b"}):
        shipped = serialize_context()["settings_context"]["settings"]
        shown = serialize_context(include_secrets=False)["settings_context"]["settings"]
        with hydrated_context({"settings_context": {"settings": shipped}}):
            assert get_current_settings().database_url == url
    assert shipped["database_url"] == url
    assert shown["database_url"] == "postgresql://ada:***@db/runs"
    assert "lovelace1815" not in str(shown)
    assert {**shown, "database_url": url, "results": shipped["results"]} == shipped


# Hydrating


@pytest.mark.contract("C-20")
@pytest.mark.parametrize("given", [None, {}, {"cancel_event": threading.Event()}])
def test_nothing_to_hydrate(given: dict[str, Any] | None) -> None:
    """Nothing, and what is not known, changes nothing."""
    before = serialize_context()
    with FlowRunContext() as context, tags("a"), hydrated_context(given):
        assert FlowRunContext.get() is context
        assert TagsContext.get().current_tags == {"a"}
        assert serialize_context()["settings_context"] == before["settings_context"]
    assert serialize_context() == before


@pytest.mark.contract("C-20", "C-23", "C-25")
def test_hydrating_in_the_same_process(tmp_path: Path) -> None:
    """Everything is active inside and nothing afterwards; flow and task are the same, runs equal."""
    run = travellers.add.create_local_run()
    store, client = ResultStore(tmp_path), object()
    with (
        temporary_settings({"tasks.default_retries": 4}),
        FlowRunContext(
            travellers.voyage, flow_run(), result_store=store, log_prints=True, client=object()
        ) as of_flow,
        TaskRunContext(travellers.add, run, {"x": 1}, result_store=store) as of_task,
        tags("a"),
    ):
        shipped = serialize_context()
    before = serialize_context()
    with hydrated_context({**shipped, "unknown": 1}, client):
        flow_context, task_context = FlowRunContext.get(), TaskRunContext.get()
        assert flow_context is not None
        assert task_context is not None
        assert flow_context is not of_flow
        assert task_context is not of_task
        assert flow_context.flow is travellers.voyage
        assert task_context.task is travellers.add
        assert flow_context.flow_run == of_flow.flow_run
        assert task_context.task_run == run
        assert task_context.parameters == {"x": 1}
        assert flow_context.log_prints
        assert (flow_context.start_time, task_context.start_time) == (of_flow.start_time, of_task.start_time)
        assert flow_context.client is client is task_context.client
        for hydrated in (flow_context.result_store, task_context.result_store):
            assert hydrated == store
            assert hydrated is not store
        assert TagsContext.get().current_tags == {"a"}
        assert get_current_settings().tasks.default_retries == 4
    assert serialize_context() == before


class Noticing(ThreadPoolTaskRunner):
    """A runner that notices when it is started and left, and under which settings."""

    seen: list[tuple[str, int, bool]]

    def note(self, what: str) -> None:
        self.seen.append((what, get_current_settings().tasks.default_retries, FlowRunContext.get() is None))

    def duplicate(self) -> Self:
        copy = super().duplicate()
        copy.seen = self.seen
        copy.note("copied")
        return copy

    def __enter__(self) -> Self:
        self.note("started")
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.note("left")


@pytest.mark.contract("C-20", "C-21")
@pytest.mark.parametrize("error", [None, KeyError("inside")])
@pytest.mark.no_invariants("the flow run of the context was never recorded")
def test_the_runner_of_a_hydrated_flow_run(error: Exception | None) -> None:
    """It is a started copy, made under the hydrated settings, and left with the context, also after an error."""
    runner = Noticing()
    runner.seen = []
    voyage = travellers.voyage.with_options(task_runner=runner)
    with temporary_settings({"tasks.default_retries": 5}), FlowRunContext(voyage, flow_run()):
        shipped = serialize_context()
    with nullcontext() if error is None else pytest.raises(KeyError, match="inside"):  # noqa: SIM117
        with hydrated_context(shipped):
            context = FlowRunContext.get()
            assert context is not None
            assert context.detached
            assert isinstance(context.task_runner, TaskRunner)
            assert context.task_runner is not runner
            assert travellers.add.submit(1).result() == 2
            assert travellers.add.map([1, 2], y=0).result() == [1, 2]
            if error is not None:
                raise error
    assert runner.seen == [("copied", 5, True), ("started", 5, True), ("left", 5, True)]
    assert {run.flow_run_key for run in task_runs()} == {A_FLOW_RUN}


def test_settings_of_another_version() -> None:
    """Settings that do not exist here are refused by name, without telling the values of the others."""
    plain = {**get_settings_context().serialize()["settings"], "colour": "secret"}
    with (
        pytest.raises(ConfigurationError, match=r"colour.*same version") as caught,
        hydrated_context({"settings_context": {"settings": plain}}),
    ):
        pass
    assert "secret" not in str(caught.value)


def test_equal_settings_stay_the_same_object() -> None:
    """What is opened for some settings is found by identity, so equal ones are not replaced."""
    current = get_current_settings()
    with hydrated_context(serialize_context()):
        assert get_current_settings() is current


@pytest.mark.contract("E-134")
@pytest.mark.no_invariants("the flow run of the context was never recorded")
def test_a_task_sees_the_flow_run_it_was_shipped_with() -> None:
    """A serialized flow run context is all that a run needs to belong to its flow run."""

    @task
    def work() -> object:
        return runtime.flow_run.id

    run = flow_run()
    with FlowRunContext(flow_run=run) as context:
        shipped = {"flow_run_context": context.serialize()}
    with hydrated_context(shipped):
        assert run_task_sync(work) == run.id
    assert only_task_run().flow_run_id == run.id


# Other processes


@pytest.mark.contract("C-23")
@pytest.mark.parametrize("thing", [travellers.add, travellers.voyage, travellers.Ship.hail])
def test_what_can_be_imported_stays_itself(thing: Any) -> None:
    """Tasks and flows of modules travel by name, as functions do, so each stays one object."""
    assert carried(thing) is thing


def test_copies_travel_with_their_options() -> None:
    """A copy with other options keeps them, and shares the function of what can be imported."""
    copy = travellers.add.with_options(name="sum", retries=2)
    arrived = carried(copy)
    assert arrived is not copy
    assert (arrived.name, arrived.retries, arrived.tags, arrived.task_key) == ("sum", 2, {"t"}, copy.task_key)
    assert arrived.fn is travellers.add.fn
    assert (arrived(1), arrived.bind((2,), {})) == (2, {"x": 2, "y": 1})


def test_a_bound_method_travels_with_its_instance() -> None:
    """The instance goes along, and the method still is its method."""
    assert carried(travellers.Ship("Beagle").hail)() == "ahoy, Beagle"


def test_local_tasks_travel_by_value(tmp_path: Path) -> None:
    """What cannot be imported goes as a whole: function, defaults, options, hooks, and itself in itself."""
    ended: list[str] = []

    def note(task: Task[..., Any], run: TaskRun, state: Any) -> None:
        ended.append(state.name)

    @task(retries=1, on_completion=[note])
    def countdown(n: int, *, step: int = 1) -> int:
        return n if n <= 0 else countdown.fn(n - step)

    def elsewhere(given: Task[..., int]) -> tuple[object, ...]:
        hooks_agree = given.on_completion_hooks is given.policy.hooks_for(given(3, return_state=True))
        return given(3), given(n=3, step=5), given.retries, given.task_key, hooks_agree

    key = countdown.task_key
    assert in_another_process(tmp_path, elsewhere, countdown) == (0, -2, 1, key, True)
    assert in_another_process(tmp_path, lambda fn: fn(2), countdown.fn) == 0
    assert ended == []


@pytest.mark.contract("C-21", "C-23", "C-24", "V-37")
def test_a_run_goes_on_in_another_process(tmp_path: Path) -> None:
    """There, settings, flow run, parent, tags and runner are those of here, and its history is in one place."""

    @task
    def outer() -> dict[str, Any]:
        return serialize_context()

    @flow
    def pipeline(x: int) -> dict[str, Any]:
        with tags("a"):
            return outer()

    @task
    def tell() -> None:
        get_run_logger().debug("from afar")

    def elsewhere(context: dict[str, Any]) -> tuple[object, ...]:
        with hydrated_context(context):
            facts = runtime.flow_run.id, dict(runtime.flow_run.parameters), runtime.task_run.name
            tell()
            return travellers.add(1), travellers.add.submit(2).result(), *facts

    with temporary_settings({"logging.level": "DEBUG"}):
        shipped = pipeline(7)
        arrived = in_another_process(tmp_path / "not-here", elsewhere, shipped)
    (run,) = flow_runs()
    of_outer, of_tell = (_only(task_runs(), each.task_key) for each in (outer, tell))
    assert arrived == (2, 3, run.id, {"x": 7}, of_outer.name)
    assert not (tmp_path / "not-here").exists()
    added = [each for each in task_runs() if each.task_key == travellers.add.task_key]
    assert [(each.flow_run_id, sorted(each.tags), sequence(each)) for each in added] == [
        (run.id, ["a", "t"], "Pending Running Completed")
    ] * 2
    assert [parent.id for parent in added[0].task_inputs["__parents__"]] == [of_outer.id]
    assert of_tell.flow_run_id == run.id
    assert messages(of_tell) == ["from afar"]


def _only(runs: list[TaskRun], task_key: str) -> TaskRun:
    (run,) = [run for run in runs if run.task_key == task_key]
    return run


def test_a_state_keeps_its_id_on_the_way() -> None:
    """Ids of states are made late, but not so late that each copy makes its own."""
    run = travellers.add.create_local_run()
    arrived = carried(run)
    assert (arrived.id, arrived.state_id, arrived.state) == (run.id, run.state_id, run.state)


def test_contexts_have_a_common_base() -> None:
    """Every context can be serialized and copied."""
    for kind in (FlowRunContext, TaskRunContext, TagsContext, SettingsContext, SyncClientContext):
        assert issubclass(kind, ContextModel)


@pytest.mark.contract("V-33", "V-37")
def test_a_function_with_its_context_can_be_pickled_by_anybody() -> None:
    """``with_context`` takes along what is active where it is called, and keeps name and docstring."""

    @flow
    def outer(x: int) -> bytes:
        with tags("abroad"):
            return pickle.dumps(with_context(_told))

    there = pickle.loads(outer(1))
    assert there(2) == ("outer", {"abroad"}, 2)
    assert there.__name__ == "_told"


@pytest.mark.contract("V-33")
def test_a_coroutine_function_with_its_context() -> None:
    """The context is active until the coroutine has ended."""

    async def told(value: int) -> object:
        await asyncio.sleep(0)
        return _told(value)

    @flow
    def outer() -> bytes:
        return pickle.dumps(with_context(told))

    assert asyncio.run(pickle.loads(outer())(3)) == ("outer", set(), 3)


def _told(value: int) -> object:
    return runtime.flow_run.flow_name, set(TagsContext.get().current_tags), value
