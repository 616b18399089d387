"""What users pass by mistake or by design: objects that resist, functions without signatures, odd exceptions.

Each gives the error that is specified for it, and leaves a run behind that has ended.
"""

import asyncio
import copy
import functools
import logging
import operator
import pickle
import sys
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import pytest

from mainspring import flow, task
from mainspring._cancel_scopes import live
from mainspring.annotations import quote
from mainspring.context import TaskRunContext
from mainspring.exceptions import FailedRun, ParameterBindError, ParameterResolutionError
from mainspring.recording import current_recorder
from mainspring.states import Completed, Failed
from mainspring.tasks import Task
from mainspring.transactions import get_transaction
from tests.engine.history import only_task_run, query, sequence, task_runs
from tests.engine.scenarios import BoomError
from tests.engine.test_crashes import RaisingFuture
from tests.engine.traces import AsyncWorld, SyncWorld, World

WORLDS = pytest.mark.parametrize("world", [SyncWorld(), AsyncWorld()], ids=["sync", "async"])


Text = Callable[[Any], Coroutine[Any, Any, Any]]


async def give_back(x: Any) -> Any:
    return x


def call(world: World, text: Text, *args: Any, given: dict[str, Any] | None = None, **options: Any) -> Any:
    """What a call of a task with the text gives or raises."""
    work = Task(world.function(text), name="work", **options)

    async def main() -> Any:
        return await world.finish(work(*args, **(given or {})))

    return world.run(main())


def failure(error: BaseException) -> Text:
    async def text(x: Any) -> Any:
        raise error

    return text


def unfinished() -> int:
    """How many runs the store holds that have not ended."""
    current_recorder().flush()
    sql = "select count(*) from task_runs where state_type in ('PENDING', 'RUNNING', 'SCHEDULED')"
    return int(query(sql)[0][0])


# Arguments that resist


def resisting(method: str, base: type = object) -> Any:
    """An object whose special method raises."""

    def resist(self: Any, *_: Any) -> Any:
        raise BoomError(method)

    kind = type(f"Resisting{method.strip('_').title()}", (base,), {method: resist})
    return kind([1]) if base is list else kind()


IGNORED = [
    "__iter__",
    "__getattr__",
    "__eq__",
    "__hash__",
    "__repr__",
    "__str__",
    "__len__",
    "__bool__",
    "__contains__",
    "__getitem__",
    "__call__",
    "__await__",
    "__copy__",
    "__deepcopy__",
    "__reduce_ex__",
    "__next__",
    "__enter__",
    "__fspath__",
    "__index__",
    "__format__",
]


@pytest.mark.contract("T-40")
@WORLDS
@pytest.mark.parametrize("method", IGNORED)
def test_arguments_that_resist_are_passed_through(method: str, world: World) -> None:
    """What is not walked is not touched: no special method of an argument is called, at no depth."""
    thing = resisting(method)
    assert call(world, give_back, thing) is thing
    inside = [{"deep": (thing,)}]
    assert call(world, give_back, inside) is inside
    assert [sequence(run) for run in task_runs()] == ["Pending Running Completed"] * 2


class ClassRaises:
    """An object that does not even tell its class."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise BoomError("class")

    @__class__.setter
    def __class__(self, kind: Any) -> None: ...


@dataclass
class FieldRaises:
    """A record with a field that cannot be read."""

    x: int

    def __getattribute__(self, name: str) -> Any:
        if name == "x":
            raise BoomError("field")
        return object.__getattribute__(self, name)


def deep_list() -> list[Any]:
    deep: list[Any] = []
    for _ in range(20_000):
        deep = [deep]
    return deep


def bury(deep: list[Any]) -> None:
    """Take a deep list apart from the outside: its destructor would recurse."""
    while deep:
        deep = deep.pop()


UNWALKABLE: dict[str, Callable[[], Any]] = {
    "a list that cannot be iterated": lambda: resisting("__iter__", list),
    "a record with a field that raises": lambda: FieldRaises(1),
    "a future that raises": lambda: RaisingFuture(BoomError("future")),
    "a completed state whose result cannot be walked": lambda: Completed(data=resisting("__iter__", list)),
}


@pytest.mark.contract("E-43", "W-6")
@WORLDS
@pytest.mark.parametrize("name", UNWALKABLE)
@pytest.mark.parametrize("place", ["alone", "deep inside"])
def test_arguments_that_cannot_be_walked(name: str, place: str, world: World) -> None:
    """The run fails before it begins, with an error that names the parameter, advises `quote` and has a cause."""
    thing = UNWALKABLE[name]()
    with pytest.raises(ParameterResolutionError, match=r"parameter 'x'.*`quote`") as caught:
        call(world, give_back, thing if place == "alone" else [{"deep": thing}])
    assert isinstance(caught.value.__cause__, BoomError)
    assert sequence() == "Pending Failed"


@pytest.mark.contract("E-43", "W-6")
@WORLDS
def test_an_argument_nested_too_deep(world: World) -> None:
    """It is told like anything else that cannot be walked."""
    deep = deep_list()
    try:
        with pytest.raises(ParameterResolutionError, match=r"parameter 'x'.*`quote`") as caught:
            call(world, give_back, deep)
        assert isinstance(caught.value.__cause__, RecursionError)
        assert sequence() == "Pending Failed"
        del caught
    finally:
        bury(deep)


@pytest.mark.contract("T-40")
@WORLDS
def test_an_argument_that_hides_its_class(world: World) -> None:
    """It is passed through: its type is known without asking it."""
    thing = ClassRaises()
    assert call(world, give_back, [thing])[0] is thing
    assert sequence() == "Pending Running Completed"


@pytest.mark.contract("E-40", "E-43")
@WORLDS
@pytest.mark.parametrize("name", UNWALKABLE)
def test_quote_is_the_way_out(name: str, world: World) -> None:
    """What the advice says works: quoted, the same object reaches the function."""
    thing = UNWALKABLE[name]()

    async def hold(x: Any) -> list[Any]:
        return [x, 1]

    assert call(world, hold, quote(thing))[0] is thing
    assert sequence() == "Pending Running Completed"


@WORLDS
@pytest.mark.parametrize("name", list(UNWALKABLE)[:3])
def test_what_is_waited_for_cannot_be_walked(name: str, world: World) -> None:
    """The same in `wait_for`: an error, and a run that has ended."""
    with pytest.raises((BoomError, ParameterResolutionError)):
        call(world, give_back, 1, given={"wait_for": [UNWALKABLE[name]()]})
    assert sequence() == "Pending Failed"


def self_containing(kind: str) -> Any:
    """A container that holds itself, and a state."""
    state = Completed(data=5)
    if kind == "list":
        items: list[Any] = [state]
        items.append(items)
        return items
    if kind == "dict":
        table: dict[str, Any] = {"state": state}
        table["self"] = table
        return table
    record = Node(state)
    record.next = record
    return record


@dataclass
class Node:
    value: Any
    next: Any = None


@pytest.mark.contract("T-93", "E-39")
@WORLDS
@pytest.mark.parametrize("kind", ["list", "dict", "record"])
def test_containers_that_hold_themselves(kind: str, world: World) -> None:
    """They are walked once, and the states in them are resolved."""
    got = call(world, give_back, self_containing(kind))
    value = got[0] if kind == "list" else got["state"] if kind == "dict" else got.value
    assert value == 5
    assert sequence() == "Pending Running Completed"


class Checked(pydantic.BaseModel):
    """A model that refuses whatever is assigned to it once it is armed."""

    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True, validate_assignment=True, frozen=True)
    value: Any
    armed: bool = False

    @pydantic.model_validator(mode="after")
    def refuse(self) -> "Checked":
        if self.armed:
            raise BoomError("validator")
        return self


@pytest.mark.contract("T-94")
@WORLDS
def test_models_with_broken_validators(world: World) -> None:
    """Resolving a state inside of a model validates nothing: the model was valid when the user made it."""
    model = Checked(value=Completed(data=5))
    object.__setattr__(model, "armed", True)
    got = call(world, give_back, model)
    assert (got.value, type(got), got is model) == (5, Checked, False)
    assert sequence() == "Pending Running Completed"


UNCOPYABLE: dict[str, Callable[[], Any]] = {
    "a lock": threading.Lock,
    "a generator": lambda: (x for x in [1]),
    "a thing that cannot be pickled": lambda: resisting("__reduce_ex__"),
    "a module": lambda: sys,
    "a thing of a local class": lambda: type("Local", (), {})(),
}


@pytest.mark.contract("T-40")
@WORLDS
@pytest.mark.parametrize("name", UNCOPYABLE)
def test_values_that_cannot_be_copied_or_pickled(name: str, world: World) -> None:
    """Arguments and results stay the objects they are, so nothing needs to be copied."""
    thing = UNCOPYABLE[name]()
    held = [thing]
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError, BoomError)):
        pickle.loads(pickle.dumps(copy.deepcopy(held)))
    assert call(world, give_back, held) is held
    assert sequence() == "Pending Running Completed"


class Huge:
    """An object that takes ten megabytes to show."""

    def __repr__(self) -> str:
        return "x" * 10_000_000


@WORLDS
def test_an_argument_with_a_huge_repr(world: World, mainspring_home: Path) -> None:
    """It is never shown, so it does not matter."""
    thing = Huge()
    assert call(world, give_back, thing) is thing
    current_recorder().flush()
    assert sum(path.stat().st_size for path in mainspring_home.iterdir()) < 5_000_000


@pytest.mark.contract("T-37")
@WORLDS
def test_a_call_that_does_not_fit_with_a_huge_argument(world: World) -> None:
    """The error shows what was received, but not all of it."""
    with pytest.raises(ParameterBindError, match="too many positional arguments") as caught:
        call(world, give_back, Huge(), 2)
    assert len(str(caught.value)) < 10_000


@pytest.mark.contract("T-37")
@WORLDS
def test_a_call_that_does_not_fit_with_an_argument_that_cannot_be_shown(world: World) -> None:
    """The mistake is the call, and that is what the error tells."""
    with pytest.raises(ParameterBindError, match="too many positional arguments"):
        call(world, give_back, resisting("__repr__"), 2)
    assert task_runs() == []


# Functions that are none


class Adder:
    """A callable object, with attributes as given."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def __call__(self, x: int) -> int:
        return x + 1

    def method(self, x: int) -> int:
        return x + 2


@pytest.mark.contract("T-4", "T-8", "V-18")
@pytest.mark.parametrize(
    ("function", "args", "value", "name", "key"),
    [
        (len, ([1],), 1, "len", "len-unknown"),
        (operator.add, (1, 2), 3, "add", "add-unknown"),
        ([1, 1].count, (1,), 2, "count", "count-unknown"),
        (bytes.fromhex, ("00",), b"\0", "fromhex", "fromhex-unknown"),
        (functools.partial(Adder(), 5), (), 6, "partial", "partial-unknown"),
        (Adder().method, (1,), 3, "method", None),
        (Adder(), (1,), 2, "Adder", None),
        (Adder(__name__="named"), (1,), 2, "named", None),
        (Adder(__name__=None), (1,), 2, "Adder", None),
        (Adder(__doc__=5, __module__=None, __wrapped__=len, func=3), (1,), 2, "Adder", None),
        (lambda x: x, (1,), 1, "<lambda>", None),
        (functools.lru_cache(lambda x: x), (1,), 1, "<lambda>", None),
    ],
)
def test_callables_of_all_kinds(
    function: Any, args: tuple[Any, ...], value: Any, name: str, key: str | None
) -> None:
    """Whatever can be called and has a signature is a task, and its key tells its code where there is one."""
    work = task(function)
    assert work.name == name
    assert work(*args) == value
    assert work.task_key == key if key else len(work.task_key.rpartition("-")[2]) == 8
    assert sequence() == "Pending Running Completed"


@pytest.mark.contract("V-18")
@pytest.mark.parametrize("function", [max, min, int, dict, type, functools.partial(int, base=2)])
def test_callables_without_a_signature(function: Any) -> None:
    """They are refused where the task is defined, with the way out."""
    with pytest.raises(TypeError, match=r"Python cannot tell its signature.*Wrap it in a function"):
        task(function)


class NameRaises(Adder):
    @property
    def __name__(self) -> str:
        raise BoomError("name")


class EverythingRaises(Adder):
    def __getattr__(self, name: str) -> Any:
        raise BoomError(name)


ODD: dict[str, Callable[[], Any]] = {
    "a qualified name that is no text": lambda: Adder(__qualname__=5),
    "a name that is no text": lambda: Adder(__name__=5),
    "code that is none": lambda: Adder(__code__=5),
    "a name that raises": NameRaises,
    "attributes that raise": EverythingRaises,
}


@pytest.mark.contract("V-18")
@pytest.mark.parametrize("name", ODD)
def test_callables_with_odd_attributes(name: str) -> None:
    """They are named and keyed after their class, or refused with a clear error."""
    try:
        work = task(ODD[name]())
    except TypeError as error:
        refused = str(error)
    else:
        refused = ""
        assert isinstance(work.name, str)
        assert len(work.task_key.rpartition("-")[2]) == 8
        assert work(1) == 2
    assert not refused or "cannot be used" in refused


# Recursion


@pytest.mark.contract("E-138")
@WORLDS
def test_a_task_that_calls_itself(world: World) -> None:
    """A hundred levels of runs, each the parent of the next, all completed."""

    async def text(depth: int) -> int:
        return 0 if depth == 0 else 1 + await world.finish(work(depth - 1))

    work = Task(world.function(text), name="work")

    async def main() -> Any:
        return await world.finish(work(99))

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        assert world.run(main()) == 99
    finally:
        sys.setrecursionlimit(limit)
    runs = task_runs()
    assert [sequence(run) for run in runs] == ["Pending Running Completed"] * 100
    parents = [run.task_inputs["__parents__"][0].id for run in runs[1:]]  # type: ignore[union-attr]
    assert parents == [run.id for run in runs[:-1]]


@pytest.mark.parametrize("kind", ["task", "flow", "coroutine"])
def test_wherever_the_stack_is_full(kind: str) -> None:
    """The engine may come to the end of the stack anywhere on its way: all runs have ended, from their beginning."""

    @task
    def work(x: int) -> int:
        return work(x + 1)

    @flow
    def around(x: int) -> int:
        return inside(x + 1)

    @task
    def inside(x: int) -> int:
        return around(x + 1)

    @task
    async def coroutine(x: int) -> int:
        return await coroutine(x + 1)

    def call() -> Any:
        return asyncio.run(coroutine(0)) if kind == "coroutine" else work(0) if kind == "task" else around(0)

    def call_deep_down(depth: int) -> Any:
        return call_deep_down(depth - 1) if depth else call()

    limit = sys.getrecursionlimit()
    for depth in range(0, 28, 3):
        with pytest.raises(RecursionError):
            call_deep_down(depth)
        assert unfinished() == 0
        assert not live
    assert sys.getrecursionlimit() <= limit + 2 * 28
    sys.setrecursionlimit(limit)


def test_a_task_that_never_stops_calling_itself() -> None:
    """It ends like a function does, with a RecursionError, and every run on the way has ended; the next works."""

    @task
    def work(x: int) -> int:
        return work(x + 1)

    @task
    def fine() -> int:
        return 1

    with pytest.raises(RecursionError):
        work(0)
    assert not live
    assert TaskRunContext.get() is None
    assert get_transaction() is None
    assert fine() == 1
    assert unfinished() == 0
    assert len(task_runs("work")) > 10


# Exceptions that resist


class StrError(Exception):
    def __str__(self) -> str:
        raise BoomError("str")


class ReprError(Exception):
    def __repr__(self) -> str:
        raise BoomError("repr")


class TimeoutReprError(TimeoutError):
    def __repr__(self) -> str:
        raise BoomError("repr")


class SetattrError(Exception):
    def __setattr__(self, name: str, value: Any) -> None:
        raise BoomError("setattr")


@dataclass(frozen=True)
class FrozenError(Exception):
    """What people do write."""

    code: int


class GetattrError(Exception):
    def __getattr__(self, name: str) -> Any:
        raise BoomError("getattr")


class EqError(Exception):
    def __eq__(self, other: object) -> bool:
        raise BoomError("eq")

    def __hash__(self) -> int:
        raise BoomError("hash")


class BoolError(Exception):
    def __bool__(self) -> bool:
        raise BoomError("bool")


class SlottedError(Exception):
    __slots__ = ("x",)


class UnpicklableError(Exception):
    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.lock = threading.Lock()


EXCEPTIONS: dict[str, Callable[[], Exception]] = {
    "its __str__ raises": lambda: StrError("x"),
    "its __repr__ raises": lambda: ReprError("x"),
    "a timeout, its __repr__ raises": lambda: TimeoutReprError("x"),
    "its __setattr__ raises": lambda: SetattrError("x"),
    "a frozen dataclass": lambda: FrozenError(5),
    "its __getattr__ raises": lambda: GetattrError("x"),
    "its __eq__ and __hash__ raise": lambda: EqError("x"),
    "its __bool__ raises": lambda: BoolError("x"),
    "it has slots": lambda: SlottedError("x"),
    "it cannot be pickled": lambda: UnpicklableError("x", {}),
    "a group": lambda: ExceptionGroup("g", [ValueError(1), ExceptionGroup("h", [StrError("x")])]),
    "RecursionError": lambda: RecursionError("x"),
    "MemoryError": lambda: MemoryError(),
    "its text has control characters": lambda: ValueError("\0\x1b[31m"),
    "its text is huge": lambda: ValueError("x" * 1_000_000),
}


@pytest.mark.contract("E-68", "E-96", "E-97")
@WORLDS
@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize("name", EXCEPTIONS)
def test_exceptions_that_resist(name: str, retries: int, world: World) -> None:
    """The same object comes out, the run has failed, retried if wanted, and the store tells so."""
    error = EXCEPTIONS[name]()
    work = Task(world.function(failure(error)), name="work", retries=retries)
    caught: list[BaseException] = []

    async def main() -> None:
        try:
            await world.finish(work(1))
        except BaseException as out:  # here, as an event loop and pytest show what is not to be shown
            caught.append(out)

    world.run(main())
    assert len(caught) == 1
    assert caught[0] is error
    end = "TimedOut" if isinstance(error, TimeoutError) else "Failed"
    assert sequence() == f"Pending Running{' Retrying' * retries} {end}"
    with pytest.raises(FailedRun):
        only_task_run().state.result()


@WORLDS
def test_an_exception_whose_text_cannot_be_encoded(world: World) -> None:
    """Half of a character, as some file names have it, does not keep the run from being recorded."""
    error = ValueError("\ud800")
    logging.disable(logging.CRITICAL)  # what is captured could not be sent to the main process of the tests
    try:
        with pytest.raises(ValueError, match="\ud800") as caught:
            call(world, failure(error), 1)
    finally:
        logging.disable(logging.NOTSET)
    assert caught.value is error
    assert sequence() == "Pending Running Failed"


@pytest.mark.contract("X-15")
@WORLDS
def test_a_group_with_something_of_base_kind(world: World) -> None:
    """It crashes the run, like what is in it."""
    error = BaseExceptionGroup("g", [KeyboardInterrupt(), ValueError()])
    with pytest.raises(BaseExceptionGroup) as caught:
        call(world, failure(error), 1, retries=3)
    assert caught.value is error
    assert sequence() == "Pending Running Crashed"


# Hooks, conditions, names, options


@pytest.mark.contract("H-4", "E-84", "E-100")
@WORLDS
@pytest.mark.parametrize("method", ["__bool__", "__await__", "__getattr__", "__len__"])
def test_answers_that_resist(method: str, world: World) -> None:
    """A condition whose answer cannot be understood means no; what hooks return is nobody's business."""
    answer, error = resisting(method), BoomError()

    def odd(*_: Any) -> Any:
        return answer

    with pytest.raises(BoomError) as caught:
        call(world, failure(error), 1, retries=2, retry_condition_fn=odd, on_running=[odd], on_failure=[odd])
    assert caught.value is error
    assert sequence() == "Pending Running Failed"


class OddHook:
    """A hook that can be called, and nothing else."""

    def __init__(self, fails: bool) -> None:
        self.__dict__["fails"] = fails

    def __call__(self, *given: Any) -> None:
        if self.__dict__["fails"]:
            raise BoomError("hook")

    def __getattr__(self, name: str) -> Any:
        raise BoomError(name)

    def __repr__(self) -> str:
        raise BoomError("repr")


@pytest.mark.contract("H-4", "TX-33")
@WORLDS
@pytest.mark.parametrize(
    ("option", "fails"),
    [
        ("on_running", False),
        ("on_completion", False),
        ("on_running", True),
        ("on_completion", True),
        ("on_commit", False),
        ("on_commit", True),
    ],
)
def test_hooks_that_resist(option: str, fails: bool, world: World) -> None:
    """A hook that cannot even be named is no reason for a run to end otherwise."""
    assert call(world, give_back, 1, **{option: [OddHook(fails)]}) == 1
    rolled_back = option == "on_commit" and fails
    assert sequence() == "Pending Running Completed" + " RolledBack" * rolled_back


@pytest.mark.contract("TX-33", "E-131")
@WORLDS
@pytest.mark.parametrize("name", ["its __str__ raises", "its __repr__ raises", "its __bool__ raises"])
def test_what_a_commit_hook_raises_resists(name: str, world: World) -> None:
    """The transaction is rolled back as it is for any error, and the value of the run stands."""
    error = EXCEPTIONS[name]()

    def hook(_: Any) -> None:
        raise error

    assert call(world, give_back, 1, on_commit=[hook]) == 1
    assert sequence() == "Pending Running Completed RolledBack"


@pytest.mark.contract("W-6")
@WORLDS
@pytest.mark.parametrize("given", [5, Failed(), task], ids=["a number", "a state", "a function"])
def test_what_cannot_be_waited_for(given: Any, world: World) -> None:
    """`wait_for` wants a collection; the run fails before it begins."""
    with pytest.raises((TypeError, ParameterResolutionError), match="iterable"):
        call(world, give_back, 1, given={"wait_for": given})
    assert sequence() == "Pending Failed"


NUMBERS = [
    (option, number)
    for option in ("timeout_seconds", "retry_delay_seconds", "retry_jitter_factor")
    for number in ("nan", "inf")
]


@pytest.mark.contract("W-12")
@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_that_are_none(case: tuple[str, str]) -> None:
    """No limit, delay or jitter is infinite or not a number; the error names the option."""
    option, number = case
    with pytest.raises(ValueError, match=option):
        task(**{option: float(number)})(lambda: None)


@pytest.mark.parametrize("tags", [5, [1], [None], [["x"]]])
def test_tags_that_are_no_text(tags: Any) -> None:
    """They are refused where the task is defined: in the store they would make all history unreadable."""
    with pytest.raises(TypeError, match="tags"):
        task(tags=tags)(lambda: None)


@pytest.mark.contract("T-19")
@pytest.mark.parametrize("thing", [property(len), 5, "work", None, object()])
def test_what_is_no_function(thing: Any) -> None:
    """It is refused with the name of its type."""
    with pytest.raises(TypeError, match=f"'fn' must be callable; got {type(thing).__name__}"):
        Task(thing)


@pytest.mark.contract("T-94", "E-44")
@WORLDS
def test_a_task_without_parameters(world: World) -> None:
    """Nothing is resolved, and the parameters stay an empty dict."""
    seen = []

    def plain() -> None:
        context = TaskRunContext.get()
        assert context is not None
        seen.append(context.parameters)

    async def aplain() -> None:
        plain()

    work: Any = task(aplain if world.is_async else plain)
    asyncio.run(work()) if world.is_async else work()
    assert seen == [{}]
