"""Tasks: how they are defined, what is refused, methods, copies and calls."""

import asyncio
import functools
import inspect
import logging
import threading
from collections.abc import Callable
from typing import Any, Self

import pytest

from mainspring import Task, task
from mainspring.exceptions import MainspringError, ParameterBindError, ReservedArgumentError
from mainspring.states import Failed
from mainspring.tasks import exponential_backoff
from tests.engine.history import only_task_run, sequence, task_runs
from tests.engine.scenarios import BoomError


def hook(*_: object) -> None: ...


def other_hook(*_: object) -> None: ...


# Definition


def test_the_decorator_is_used_bare_or_with_options() -> None:
    """Both forms make a task of the function."""

    @task
    def bare(x: int) -> int:
        return x

    @task(name="named", retries=2)
    def with_options(x: int) -> int:
        return x

    assert isinstance(bare, Task)
    assert isinstance(with_options, Task)
    assert (with_options.name, with_options.retries) == ("named", 2)
    assert bare(1) == with_options(1) == 1


@pytest.mark.contract("T-3", "T-4", "T-5")
def test_a_task_looks_like_its_function() -> None:
    """Name, docstring, module and the wrapped function are those of the function."""

    def work(x: int) -> int:
        """Do the work.

        In detail.
        """
        return x

    decorated = task(work)
    assert decorated.fn is work
    assert decorated.__wrapped__ is work  # type: ignore[attr-defined]
    assert (decorated.__name__, decorated.__module__) == ("work", __name__)  # type: ignore[attr-defined]
    assert decorated.__doc__ == work.__doc__
    assert decorated.name == "work"
    assert decorated.description == "Do the work.\n\nIn detail."
    assert inspect.signature(decorated) == inspect.signature(work)


@pytest.mark.contract("T-4", "V-18")
def test_other_callables() -> None:
    """Callable objects, partials and builtins can be tasks, called like their class or function."""

    class Adder:
        def __call__(self, x: int, y: int) -> int:
            return x + y

    class AsyncAdder:
        async def __call__(self, x: int) -> int:
            return x + 1

    adder = task(Adder())
    assert (adder.name, adder(1, 2)) == ("Adder", 3)
    aadder = task(AsyncAdder())
    assert aadder.isasync
    assert asyncio.run(aadder(1)) == 2
    partial = task(functools.partial(Adder(), 5))
    assert partial(1) == 6
    assert task(len)([1, 2]) == 2
    assert all(each.task_key for each in (adder, aadder, partial))


@pytest.mark.contract("T-6")
def test_tags_and_version() -> None:
    """Tags are a set of the task's own, the version is as given."""
    tags = ["a", "b", "a"]
    decorated = task(tags=tags, version="1")(hook)
    tags.append("c")
    assert set(decorated.tags) == {"a", "b"}
    assert (decorated.version, task(hook).version) == ("1", None)


@pytest.mark.contract("T-7")
def test_kinds_of_functions() -> None:
    """Async and generator functions are told from plain ones."""

    def plain() -> None: ...
    async def coroutine() -> None: ...
    def generator() -> Any:
        yield

    async def agenerator() -> Any:
        yield

    kinds = [
        (each.isasync, each.isgenerator)
        for each in map(task, (plain, coroutine, generator, agenerator))  # type: ignore[arg-type]
    ]
    assert kinds == [(False, False), (True, False), (False, True), (True, True)]


@pytest.mark.contract("T-8", "T-28")
def test_task_keys() -> None:
    """A key is the name and a hash of the code: equal code of one name has one key, other code another."""

    def make(text: str) -> Task[..., Any]:
        namespace: dict[str, Any] = {}
        exec(f"def work(x):\n    return {text}", namespace)
        return task(namespace["work"])

    key = make("x + 1").task_key
    name, _, digest = key.rpartition("-")
    assert (name, len(digest)) == ("work", 8)
    assert make("x + 1").task_key == key
    assert make("x * 1").task_key != key


@pytest.mark.contract("T-17")
def test_hook_lists() -> None:
    """Lists are empty by default and those given otherwise."""
    bare = task(lambda: None)
    given = task(
        on_completion=[hook], on_failure=(other_hook,), on_commit=[hook], on_rollback=[hook, other_hook]
    )(hook)
    names = [
        "on_completion_hooks",
        "on_failure_hooks",
        "on_commit_hooks",
        "on_rollback_hooks",
        "on_running_hooks",
    ]
    assert [getattr(bare, name) for name in names] == [[]] * 5
    assert [getattr(given, name) for name in names] == [[hook], [other_hook], [hook], [hook, other_hook], []]


@pytest.mark.contract("H-8")
@pytest.mark.parametrize("name", ["on_running", "on_completion", "on_failure", "on_commit", "on_rollback"])
def test_hooks_registered_by_decorator(name: str) -> None:
    """Registering appends the function and gives it back."""
    decorated: Any = task(lambda: None)
    assert getattr(decorated, name)(hook) is hook
    assert getattr(decorated, name)(other_hook) is other_hook
    assert getattr(decorated, f"{name}_hooks") == [hook, other_hook]


@pytest.mark.contract("T-101")
def test_exponential_backoff() -> None:
    """Delays double from the factor on, and there are at most fifty."""
    assert exponential_backoff(10)(4) == [10, 20, 40, 80]
    assert len(exponential_backoff(1)(100)) == 50
    assert task(retries=3, retry_delay_seconds=exponential_backoff(0.5))(hook).retry_delay_seconds == (
        0.5,
        1,
        2,
    )


# Bad input at definition


@pytest.mark.contract("T-19")
@pytest.mark.parametrize("thing", [None, 5, "text", [], object()])
def test_what_is_not_callable_is_refused(thing: Any) -> None:
    """Only callables can be tasks, and the error says what was decorated."""
    message = "'fn' must be callable; got .*Put @task on a function"
    with pytest.raises(TypeError, match=message):
        Task(thing)
    with pytest.raises(TypeError, match=message):
        task(retries=1)(thing)


def test_positional_options_are_refused() -> None:
    """``@task("name")`` is a mistake that is told at once."""
    with pytest.raises(TypeError, match="got str"):
        task("name")  # type: ignore[call-overload]


class Shop:
    """Tasks in every form that a class body can hold."""

    name = "the shop"

    def __init__(self, name: str = "") -> None:
        self.name = name or self.name

    @task
    def method(self, x: int = 0) -> str:
        return f"{self.name} {x}"

    @task
    @classmethod
    def above_class(cls, x: int = 0) -> str:
        return f"{cls.name} {x}"

    @classmethod
    @task
    def below_class(cls, x: int = 0) -> str:
        return f"{cls.name} {x}"

    @task
    @staticmethod
    def above_static(x: int = 0) -> str:
        return f"static {x}"

    @staticmethod
    @task
    def below_static(x: int = 0) -> str:
        return f"static {x}"

    @task
    async def amethod(self, x: int = 0) -> str:
        return f"{self.name} {x}"

    @task
    @classmethod
    async def aclass(cls, x: int = 0) -> str:
        return f"{cls.name} {x}"

    @task
    @staticmethod
    async def astatic(x: int = 0) -> str:
        return f"static {x}"


class Branch(Shop):
    """A subclass with a name of its own."""

    name = "the branch"


@pytest.mark.contract("T-27", "T-35", "V-17")
@pytest.mark.parametrize("owner", [Branch, Branch("mine")], ids=["class", "instance"])
def test_class_and_static_methods(owner: Any) -> None:
    """Both orders of the two decorators work, on the class and on an instance, sync and async."""
    assert owner.above_class(1) == owner.below_class(1) == "the branch 1"
    assert owner.above_static(1) == owner.below_static(1) == "static 1"
    assert asyncio.run(owner.aclass(1)) == "the branch 1"
    assert asyncio.run(owner.astatic(1)) == "static 1"
    assert owner.above_class.with_options(name="copy")(x=2) == "the branch 2"
    assert owner.above_static.with_options(name="copy")(x=2) == "static 2"


@pytest.mark.contract("V-17")
def test_a_method_may_be_called_on_its_class() -> None:
    """`Class.method(instance)` is what it is for plain methods."""
    assert Shop.method(Shop("mine"), 3) == "mine 3"
    assert asyncio.run(Shop.amethod(Branch(), 3)) == "the branch 3"


@pytest.mark.contract("V-17")
def test_what_kind_of_method_a_task_is() -> None:
    """`ismethod`, `isclassmethod` and `isstaticmethod` tell."""
    kinds = [
        (each.ismethod, each.isclassmethod, each.isstaticmethod)
        for each in (
            Shop.method,
            Shop().method,
            Shop.above_class,
            Shop().above_class,
            Shop.above_static,
            Shop().above_static,
        )
    ]
    assert kinds == [
        (False, False, False),
        (True, False, False),
        (True, True, False),
        (True, True, False),
        (False, False, True),
        (False, False, True),
    ]


@pytest.mark.contract("T-34", "W-13")
def test_bound_tasks_of_two_instances_do_not_mix() -> None:
    """Each keeps its own instance, whichever was taken first."""
    first, second = Shop("first").method, Shop("second").method
    assert (first(), second(), first()) == ("first 0", "second 0", "first 0")


@pytest.mark.contract("T-20")
@pytest.mark.parametrize("name", ["return_state", "wait_for"])
def test_reserved_names(name: str) -> None:
    """A parameter with the name of an argument of calls is refused."""
    namespace: dict[str, Any] = {}
    exec(f"def work({name}): ...", namespace)
    with pytest.raises(ReservedArgumentError, match=f"'{name}' is a reserved argument name"):
        task(namespace["work"])


@pytest.mark.contract("T-21")
@pytest.mark.parametrize("option", ["on_completion", "on_failure"])
def test_bad_hooks(option: str) -> None:
    """Hooks are a list of functions; the error shows how one looks."""
    with pytest.raises(TypeError, match=f"Expected iterable for '{option}'; got function instead"):
        task(**{option: hook})(hook)
    with pytest.raises(TypeError, match=f"Expected callables in '{option}'; got str instead"):
        task(**{option: ["hook"]})(hook)


@pytest.mark.contract("T-22")
@pytest.mark.parametrize("name", [5, object(), ["x"]])
def test_bad_run_names(name: Any) -> None:
    """A run name is a text or a function."""
    with pytest.raises(TypeError, match=r"Expected string or callable for 'task_run_name'; got \w+ instead"):
        task(task_run_name=name)(hook)


@pytest.mark.contract("W-12", "T-23", "T-24", "T-25", "V-16")
@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"retries": -1}, ValueError, "`retries`"),
        ({"retries": 1.5}, TypeError, "`retries`"),
        ({"retry_delay_seconds": "soon"}, TypeError, "Invalid `retry_delay_seconds`"),
        ({"retry_delay_seconds": -1}, ValueError, "`retry_delay_seconds`"),
        ({"retry_delay_seconds": [1] * 51}, ValueError, "Can not configure more"),
        ({"retry_jitter_factor": -1}, ValueError, "`retry_jitter_factor` must be >= 0"),
        ({"retry_condition_fn": "never"}, TypeError, "retry_condition_fn"),
        ({"timeout_seconds": "1"}, TypeError, "`timeout_seconds`"),
        ({"timeout_seconds": -1}, ValueError, "`timeout_seconds`"),
        ({"no_such_option": 1}, TypeError, "no_such_option"),
    ],
)
def test_bad_options(options: dict[str, Any], kind: type[Exception], text: str) -> None:
    """A bad value is refused where the task is defined, by the decorator as by the class."""
    for define in (lambda: task(**options)(hook), lambda: Task(hook, **options)):
        with pytest.raises(kind, match=text):
            define()


# Calls


@pytest.mark.contract("T-36", "T-37")
@pytest.mark.parametrize(
    ("args", "kwargs", "reason"),
    [
        ((1,), {}, "missing a required argument: 'y'"),
        ((1, 2), {"x": 3}, "multiple values for argument 'x'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1, 2), {"z": 3}, "unexpected keyword argument 'z'"),
    ],
)
def test_a_call_that_does_not_fit(args: Any, kwargs: Any, reason: str) -> None:
    """It is refused before anything runs, for sync and async tasks alike, and leaves no run behind."""

    @task
    def work(x: int, y: int) -> None: ...

    @task
    async def awork(x: int, y: int) -> None: ...

    for each in (work, awork):
        with pytest.raises(ParameterBindError, match=reason):
            each(*args, **kwargs)
    assert task_runs() == []


@pytest.mark.contract("T-36", "T-38")
def test_calls() -> None:
    """Sync tasks return, async ones give a coroutine; without a flow both run in the calling thread."""

    @task
    def work() -> Any:
        return threading.get_ident()

    @task
    async def awork() -> Any:
        return threading.get_ident()

    assert work() == threading.get_ident()
    coroutine = awork()
    assert inspect.iscoroutine(coroutine)
    assert asyncio.run(coroutine) == threading.get_ident()
    assert [run.flow_run_id for run in task_runs()] == [None, None]


@pytest.mark.contract("X-22", "E-145")
def test_a_sync_task_in_an_event_loop() -> None:
    """Called from async code it runs inline, in the thread of the loop."""

    @task
    def inner() -> int:
        return threading.get_ident()

    @task
    async def outer() -> int:
        return inner()

    assert asyncio.run(outer()) == threading.get_ident()


@pytest.mark.contract("H-3")
def test_an_async_hook_of_a_sync_task_in_an_event_loop() -> None:
    """A sync task called from async code runs its async hooks to completion without a deadlock."""
    events = []

    async def slow(task: Any, run: Any, state: Any) -> None:
        await asyncio.sleep(0.001)
        events.append(state.name)

    @task(on_completion=[slow])
    def inner() -> None: ...

    async def main() -> None:
        inner()

    asyncio.run(main())
    inner()
    assert events == ["Completed"] * 2


@pytest.mark.contract("T-39")
def test_asking_for_the_state() -> None:
    """The final state is returned, and failures do not raise."""

    @task
    def work(x: int) -> float:
        return 1 / x

    assert work(2, return_state=True).result() == 0.5
    state = work(0, return_state=True)
    assert state.is_failed()
    with pytest.raises(ZeroDivisionError):
        state.result()
    assert work(1, return_state=False) == 1


@pytest.mark.contract("H-14", "H-15", "H-6")
def test_what_hooks_get() -> None:
    """Hooks get task, run and the very state that the caller gets; partials and defaults are fine."""
    from mainspring.context import get_run_context
    from mainspring.logging import get_run_logger

    seen: list[Any] = []

    def note(task: Any, run: Any, state: Any, extra: int = 0) -> None:
        get_run_logger().info("in a hook")
        seen.append((task, run, state, extra, get_run_context().task_run, run.state))  # type: ignore[union-attr]

    @task(on_completion=[note, functools.partial(note, extra=1)])
    def work() -> int:
        return 1

    state = work(return_state=True)
    assert [each[3] for each in seen] == [0, 1]
    for of, run, given, _, active, current in seen:
        assert of is work
        assert run is active
        assert given is current is state
        assert run.id == only_task_run().id


@pytest.mark.contract("H-5", "L-21")
def test_hooks_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Start and success of a hook are logged with its name and the state's when the engine is to tell."""
    from mainspring.settings import temporary_settings

    @task(on_completion=[hook])
    def work() -> None: ...

    with caplog.at_level(logging.INFO), temporary_settings({"logging.internal_level": "INFO"}):
        work()
    assert caplog.messages[:2] == [
        "Running hook 'hook' in response to entering state 'Completed'",
        "Hook 'hook' finished running successfully",
    ]


@pytest.mark.contract("H-4", "L-22")
def test_a_failing_hook_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The error of a hook is logged with its traceback, and the run is what it was."""

    def bad(*_: object) -> None:
        raise BoomError("in hook")

    @task(on_completion=[bad, hook])
    def work() -> int:
        return 1

    assert work() == 1
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "'bad'" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], BoomError)


@pytest.mark.contract("E-81", "V-6", "L-22", "E-80")
def test_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A failure is logged with its traceback, and speaks of retries only if there were any."""

    @task
    def plain() -> None:
        raise BoomError

    @task(retries=1)
    def retried() -> None:
        raise BoomError

    for each in (plain, retried):
        with pytest.raises(BoomError):
            each()
    failures = [each for each in caplog.records if "failed with exception" in each.getMessage()]
    assert [("Retries are exhausted" in each.getMessage()) for each in failures] == [False, True]
    assert all(each.exc_info for each in failures)


@pytest.mark.contract("E-80", "L-21")
def test_retries_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Each granted retry names the exception, its number and its delay."""
    from mainspring import clock
    from mainspring.settings import temporary_settings
    from tests.engine.clocks import JumpingClock

    @task(retries=2, retry_delay_seconds=[0, 2])
    def work() -> None:
        raise BoomError("no")

    with (
        caplog.at_level(logging.INFO),
        temporary_settings({"logging.internal_level": "INFO"}),
        clock.use_clock(JumpingClock(tick=1)),
        pytest.raises(BoomError),
    ):
        work()
    announced = [message for message in caplog.messages if "Retry" in message]
    assert len(announced) == 2
    assert "BoomError('no')" in announced[0]
    assert "Retry 1/2" in announced[0]
    assert "immediately" in announced[0]
    assert "Retry 2/2" in announced[1]
    assert "2 second(s)" in announced[1]


# Names that cannot be made: a terminal state in each case


def not_text() -> Any:
    return None


def raising() -> str:
    raise BoomError("no name")


@pytest.mark.contract("T-98", "W-6", "E-37")
@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        (not_text, TypeError, "for 'task_run_name' returned type NoneType but a string is required"),
        (raising, BoomError, "no name"),
        ("{unknown}", KeyError, "unknown"),
        ("{0}", IndexError, "out of range"),
        ("{x.missing}", AttributeError, "missing"),
        ("{", ValueError, "Single"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_name_that_cannot_be_made_fails_the_run(
    name: Any, kind: type[Exception], text: str, is_async: bool
) -> None:
    """The error reaches the caller, the run is Failed and says why, and the function was not called."""
    called = []

    @task(task_run_name=name)
    def work(x: int = 1) -> None:
        called.append(x)

    @task(task_run_name=name)
    async def awork(x: int = 1) -> None:
        called.append(x)

    with pytest.raises(kind, match=text):
        asyncio.run(awork()) if is_async else work()
    assert called == []
    run = only_task_run()
    assert sequence(run) == "Pending Failed"
    assert kind.__name__ in (run.state.message or "")


@pytest.mark.contract("T-22")
def test_a_run_name_replaced_later() -> None:
    """What is no name at run time fails the run with the same error as at definition."""

    @task
    def work() -> None: ...

    work.run_name = 5  # type: ignore[assignment]
    with pytest.raises(TypeError, match="Expected string or callable for 'task_run_name'; got int instead"):
        work()
    assert sequence() == "Pending Failed"


@pytest.mark.contract("E-43", "W-6")
def test_an_input_that_cannot_be_resolved() -> None:
    """Any error while resolving names the parameter, advises `quote`, and fails the run."""
    from collections import namedtuple

    from mainspring.exceptions import ParameterResolutionError

    class Pair(namedtuple("Pair", "a b")):  # noqa: PYI024 - a constructor of its own is the point
        __slots__ = ()

        def __new__(cls, a: int) -> Self:
            return super().__new__(cls, a, a)

    from mainspring.states import Completed

    @task
    def work(x: Any) -> None: ...

    with pytest.raises(ParameterResolutionError, match=r"parameter 'x'.*`quote`") as caught:
        work(Pair(Completed(data=1)))  # type: ignore[arg-type]
    assert caught.value.__cause__ is not None
    assert sequence() == "Pending Failed"


# Methods


class Counter:
    def __init__(self, start: int) -> None:
        self.start = start

    @task
    def add(self, x: int) -> int:
        return self.start + x

    @task
    async def aadd(self, x: int) -> int:
        return self.start + x

    @classmethod
    @task
    def make(cls, start: int) -> Any:
        return cls(start)

    @staticmethod
    @task
    def double(x: int) -> int:
        return x * 2

    @task
    def whoami(self) -> Any:
        return self

    @task
    def steps(self) -> Any:
        yield self.start
        yield self.start + 1


@pytest.mark.contract("T-30", "T-33")
def test_access_to_a_method_task() -> None:
    """Access on the class gives the task, on an instance a bound one."""
    assert isinstance(Counter.add, Task)
    assert not Counter.add.ismethod
    bound = Counter(1).add
    assert isinstance(bound, Task)
    assert bound.ismethod
    assert not Counter.add.ismethod


@pytest.mark.contract("T-31")
def test_the_instance_is_the_first_parameter() -> None:
    """It is the very same object and shows up under its name."""
    from mainspring import runtime

    seen = []

    class Thing:
        @task
        def work(self, x: int) -> None:
            seen.append(dict(runtime.task_run.parameters))

    thing = Thing()
    thing.work(2)
    assert seen == [{"self": thing, "x": 2}]
    assert seen[0]["self"] is thing
    counter = Counter(1)
    assert counter.whoami() is counter
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        model_config = pydantic.ConfigDict(ignored_types=(Task,))
        x: int

        @task
        def whoami(self) -> Any:
            return self

    model = Model(x=1)
    assert model.whoami() is model


@pytest.mark.contract("T-32", "T-34", "W-13")
def test_instances_do_not_mix() -> None:
    """Two bound tasks taken first and called later each see their own instance, in threads too."""
    first, second = Counter(10), Counter(20)
    add_first, add_second = first.add, second.add
    assert [add_first(1), add_second(1), add_first(2), Counter.add(second, 3)] == [11, 21, 12, 23]
    results = []

    def work(bound: Callable[[int], int], base: int) -> None:
        results.extend([bound(x) - base - x for x in range(20)])

    threads = [threading.Thread(target=work, args=(Counter(base).add, base)) for base in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 80


@pytest.mark.contract("T-35", "V-17")
def test_kinds_of_methods() -> None:
    """Sync, async, class, static and generator methods all work."""
    counter = Counter(5)
    assert counter.add(1) == 6
    assert asyncio.run(counter.aadd(1)) == 6
    assert Counter.make(7).start == 7
    assert Counter.double(4) == counter.double(4) == 8
    assert list(counter.steps()) == [5, 6]
    assert Counter.add(counter, 2) == 7


def test_hooks_of_a_method_are_those_of_the_class() -> None:
    """A hook registered on the class's task runs for calls through instances."""
    events = []

    class Thing:
        @task
        def work(self) -> None: ...

    @Thing.work.on_completion
    def note(task: Any, run: Any, state: Any) -> None:
        events.append(state.name)

    Thing().work()
    assert events == ["Completed"]


def test_with_options_of_a_bound_method_stays_bound() -> None:
    """A copy of a bound task has the same instance."""
    assert Counter(3).add.with_options(retries=1)(1) == 4


# Copies


FULL: dict[str, Any] = {
    "name": "full",
    "description": "described",
    "tags": {"a"},
    "task_run_name": "run",
    "retries": 2,
    "retry_delay_seconds": [1, 2],
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": hook,
    "timeout_seconds": 5,
    "log_prints": True,
    "on_running": [hook],
    "on_completion": [hook],
    "on_failure": [hook],
    "on_commit": [hook],
    "on_rollback": [hook],
}


def options_of(of: Any) -> dict[str, Any]:
    return {
        **{name: getattr(of, f"{name}_hooks" if name in HOOKS else name) for name in FULL},
        "version": of.version,
        "fn": of.fn,
    }


HOOKS = {"on_running", "on_completion", "on_failure", "on_commit", "on_rollback"}


@pytest.mark.contract("T-69", "T-70", "T-73", "W-14")
def test_a_copy_keeps_everything() -> None:
    """Options that are not named keep their values, version and all hooks included; lists are copies."""
    original = task(**FULL, version="v")(other_hook)
    copy = original.with_options()
    assert copy is not original
    assert options_of(copy) == options_of(original)
    assert copy.version == "v"
    for name in HOOKS:
        assert getattr(copy, f"{name}_hooks") is not getattr(original, f"{name}_hooks")


CHANGES: dict[str, Any] = {
    "name": "changed",
    "description": "other",
    "tags": {"b"},
    "task_run_name": "other",
    "retries": 7,
    "retry_delay_seconds": (3.0,),
    "retry_jitter_factor": 0.1,
    "retry_condition_fn": other_hook,
    "timeout_seconds": 9.0,
    "log_prints": False,
    "on_running": [other_hook],
    "on_completion": [other_hook],
    "on_failure": [other_hook],
    "on_commit": [other_hook],
    "on_rollback": [other_hook],
}


@pytest.mark.contract("T-69", "T-72")
@pytest.mark.parametrize("name", CHANGES)
def test_a_copy_changes_what_is_named(name: str) -> None:
    """Each option can be changed, alone, and the original stays as it was."""
    original = task(**FULL)(other_hook)
    before = options_of(original)
    copy = original.with_options(**{name: CHANGES[name]})
    assert options_of(original) == before
    assert options_of(copy) == {**before, name: CHANGES[name]}


@pytest.mark.contract("T-70", "L-26")
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("retries", 0, 0),
        ("retry_delay_seconds", 0, ()),
        ("log_prints", None, None),
        ("log_prints", False, False),
        ("task_run_name", None, None),
    ],
)
def test_falsy_values_are_honoured(name: str, value: Any, expected: Any) -> None:
    """Some options can be unset through a copy."""
    assert getattr(task(**FULL)(hook).with_options(**{name: value}), name) == expected


@pytest.mark.contract("T-71")
@pytest.mark.parametrize(
    "name",
    ["name", "description", "tags", "timeout_seconds", "retry_condition_fn", *sorted(HOOKS)],
)
def test_none_means_keep(name: str) -> None:
    """Other options cannot be unset: None keeps them."""
    original = task(**FULL)(hook)
    assert options_of(original.with_options(**{name: None})) == options_of(original)


@pytest.mark.contract("T-69")
def test_what_a_copy_accepts() -> None:
    """The options of a copy are those of the decorator, but for the version."""
    accepted = set(inspect.signature(Task.with_options).parameters) - {"self"}
    of_class = set(inspect.signature(Task).parameters) - {"fn", "version"}
    assert accepted == of_class
    with pytest.raises(TypeError, match="version"):
        task(hook).with_options(version="2")  # type: ignore[call-arg]


def test_bad_options_of_a_copy() -> None:
    """A copy is checked like a definition."""
    with pytest.raises(ValueError, match="`retries`"):
        task(hook).with_options(retries=-1)


def test_errors_are_ours() -> None:
    """Errors about calls can be caught as a package error as well as a TypeError."""

    @task
    def work() -> None: ...

    with pytest.raises(MainspringError):
        work(1)  # type: ignore[call-arg]


@pytest.mark.contract("T-124")
def test_annotations_may_be_anything() -> None:
    """Parameter annotations are not interpreted."""

    class Odd:
        pass

    @task
    def work(x: Odd, y: "Undefined", z: 5) -> "nonsense!":  # type: ignore # noqa: F722, F821, PGH003
        return x

    assert work(1, 2, 3) == 1


@pytest.mark.contract("E-92", "T-112")
def test_a_returned_failed_state_raises_nothing() -> None:
    """The state that a function made is its value; reading it is up to the caller."""

    @task
    def work() -> Any:
        return Failed(message="no", data=True)

    state = work()
    assert state.result(raise_on_failure=False) is True
