"""Parameters of flows: checked and converted by their annotations, refused with all that is wrong, described."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import functools
import subprocess
import sys
import threading
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NewType,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    Unpack,
)

import cloudpickle
import pytest
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr
from typing_extensions import TypedDict

from mainspring import Flow, flow, resume_flow_run, task
from mainspring.context import FlowRunContext
from mainspring.exceptions import FailedRun, MainspringError, ParameterBindError, ParameterTypeError
from mainspring.runs import Parameter
from mainspring.states import Completed, State
from tests.engine.history import flow_runs, only_flow_run, only_task_run, sequence

if TYPE_CHECKING:
    pass


class Color(enum.Enum):
    RED = "red"


class Item(BaseModel):
    name: str
    price: float = 1.0


class Node(BaseModel):
    value: int
    children: list[Node] = []


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Pair(NamedTuple):
    left: int
    right: int


class Options(TypedDict, total=False):
    depth: int


class Meteor: ...


class CanFly(Protocol):
    def fly(self) -> None: ...


UserId = NewType("UserId", int)
T = TypeVar("T")
N = TypeVar("N", bound=int)
P = ParamSpec("P")
A_METEOR = Meteor()


def returned(annotation: Any, value: Any) -> Any:
    """What a flow gets for a value if its parameter has the annotation."""

    def same(x):
        return x

    same.__annotations__ = {"x": annotation}
    return flow(name="same")(same)(value)


def refusal(made: Any, *args: Any, **kwargs: Any) -> list[str]:
    """The lines of a refused call, one for each problem."""
    with pytest.raises(ParameterTypeError, match="invalid parameters") as caught:
        made(*args, **kwargs)
    return [line.removeprefix("  - ") for line in str(caught.value).splitlines()[1:]]


# Conversion


@pytest.mark.contract("F-15", "F-63")
@pytest.mark.parametrize(
    ("annotation", "given", "wanted"),
    [
        (int, "3", 3),
        (int, 3.0, 3),
        (float, 3, 3.0),
        (bool, "yes", True),
        (str | None, None, None),
        (int | str, "3", "3"),
        (list[int], ("1", 2), [1, 2]),
        (dict[str, list[float]], {"a": ["1"]}, {"a": [1.0]}),
        (tuple[int, ...], ["1"], (1,)),
        (set[int], ["1", 1], {1}),
        (Color, "red", Color.RED),
        (Color, Color.RED, Color.RED),
        (Literal["a", 1], 1, 1),
        (date, "2024-02-29", date(2024, 2, 29)),
        (Decimal, "1.10", Decimal("1.10")),
        (Path, "a/b", Path("a/b")),
        (Item, {"name": "a", "price": "2"}, Item(name="a", price=2)),
        (list[Item], [{"name": "a"}], [Item(name="a")]),
        (Item | None, {"name": "a"}, Item(name="a")),
        (Node, {"value": 1, "children": [{"value": "2"}]}, Node(value=1, children=[Node(value=2)])),
        (Point, {"x": "1"}, Point(1)),
        (Pair, ("1", 2), Pair(1, 2)),
        (Options, {"depth": "1"}, {"depth": 1}),
        (UserId, "7", 7),
        (N, "7", 7),
        (Annotated[int, Field(gt=2)], "3", 3),
        ("list[Item] | None", [{"name": "a"}], [Item(name="a")]),
        ("'int'", "3", 3),
        (None, None, None),
    ],
    ids=str,
)
def test_conversion(annotation: Any, given: Any, wanted: Any) -> None:
    """A flow gets what its annotation says, made of what it was given, as pydantic makes it."""
    value = returned(annotation, given)
    assert value == wanted
    assert type(value) is type(wanted)


@pytest.mark.contract("F-15", "F-63")
@pytest.mark.parametrize(
    ("annotation", "given"),
    [
        (Any, "3"),
        (object, "3"),
        (Self, "3"),
        (T, "3"),
        (Meteor, A_METEOR),
        (Meteor | None, A_METEOR),
        (list, ["3"]),
        (dict, {"a": "3"}),
        (Point, Point("not checked again")),
        (Iterable[int], ["3"]),
        (Iterator[int], iter(["3"])),
        (CanFly, A_METEOR),
        (type, int),
        ("Unheard", "3"),
        ("list[Unheard]", "3"),
        ("enum.Nothing", "3"),
        (list[Meteor], [A_METEOR]),
        (Callable[[int], int], abs),
    ],
    ids=[
        "Any",
        "object",
        "Self",
        "TypeVar",
        "class",
        "union",
        "list",
        "dict",
        "dataclass",
        "Iterable",
        "Iterator",
        "Protocol",
        "type",
        "unknown",
        "unknown in list",
        "no attribute",
        "list of class",
        "Callable",
    ],
)
def test_what_passes_as_it_is(annotation: Any, given: Any) -> None:
    """Instances of the type pass; so does all where there is no type, or one that only type checkers know."""
    value = returned(annotation, given)
    assert value == given if annotation == list[Meteor] else value is given


def test_values_that_fit_stay_the_same_objects() -> None:
    """Nothing is copied if all parameters fit at a glance."""

    @flow
    def plain(n: int, text: str | None, items: list, of: Meteor, *rest: float, **named: str) -> None: ...

    given = plain.arguments.bind((1, None, [1], A_METEOR, 1.0), {"a": "b"})
    assert plain.validate_parameters(given) is given


def test_variadic_parameters() -> None:
    """Each of ``*args`` and ``**kwargs`` is converted, and named by its position or name if it does not fit."""

    @flow
    def many(*numbers: int, **named: Item) -> Any:
        return numbers, named

    assert many("1", 2, a={"name": "b"}) == ((1, 2), {"a": Item(name="b")})
    lines = refusal(many, 1, "x", a={"nme": "b"})
    assert [line.partition(": ")[0] for line in lines] == ["numbers.1", "named.a.name"]


def test_parameters_of_other_kinds() -> None:
    """Positional-only and keyword-only ones, ``Unpack``, and ``P.args`` and ``P.kwargs``."""

    @flow
    def kinds(a: int, /, b: int, *, c: int, **options: Unpack[Options]) -> Any:
        return a, b, c, options

    @flow
    def free(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return fn(*args, **kwargs)

    assert kinds("1", "2", c="3", depth="4") == (1, 2, 3, {"depth": 4})
    assert free(int, "7", base=8) == 7


def test_names_that_pydantic_uses_itself() -> None:
    """A parameter may be called like a part of pydantic's models, or begin with an underscore."""

    @flow
    def named(copy: int, schema: int, model_config: int, json: int, _x: int, self: int) -> Any:
        return copy + schema + model_config + json + _x + self

    assert named("1", "2", "3", "4", "5", "6") == 21


@pytest.mark.contract("F-64")
@pytest.mark.parametrize("is_async", [False, True])
def test_defaults_are_converted(is_async: bool) -> None:
    """A dict as the default of a model reaches the body as the model; None as a default is always fine."""

    def body(item: Item = {"name": "a"}, n: int = None) -> Any:  # noqa: B006, RUF013
        return item, n

    async def abody(item: Item = {"name": "a"}, n: int = None) -> Any:  # noqa: B006, RUF013
        return item, n

    result: Any = asyncio.run(flow(abody)()) if is_async else flow(body)()
    assert result == (Item(name="a"), None)


def test_typed_dicts_of_the_standard_library() -> None:
    """Pydantic cannot use these before Python 3.12: then they pass as they are."""

    class Made(typing.TypedDict):
        n: int

    value = returned(list[Made], [{"n": "1"}])
    assert value == [{"n": 1 if sys.version_info >= (3, 12) else "1"}]
    assert returned(Made, {"n": 1}) == {"n": 1}


def test_local_types_in_texts() -> None:
    """An annotation that is a text may name a class of the function around."""

    @dataclasses.dataclass
    class Local:
        x: int

    @flow
    def nested(local: Local, others: list[Local] | None = None) -> Any:
        return local

    assert nested({"x": "1"}) == Local(1)


def test_callables_of_other_kinds() -> None:
    """Partial functions, wrapped functions and callable objects are validated as what they are made of."""

    def add(x: int, y: int) -> int:
        return x + y

    @functools.wraps(add)
    def wrapped(*args: Any, **kwargs: Any) -> int:
        return add(*args, **kwargs)

    class Adder:
        def __call__(self, x: int, y: int) -> int:
            return x + y

    for function in (functools.partial(add, y=1), wrapped, Adder()):
        made: Any = flow(name="add")(function)
        assert made(x="1", y="2") == 3


def test_other_processes_validate_likewise() -> None:
    """A flow that has travelled knows its types, also those of the function in which it was defined."""

    class Local: ...

    @flow
    def traveller(local: Local, n: int = 1) -> Any:
        return n

    assert traveller(Local(), "3") == 3
    arrived = cloudpickle.loads(cloudpickle.dumps(traveller))
    assert arrived(Local(), "3") == 3
    assert refusal(arrived, 1) == [
        "local: Input should be an instance of " + Local.__qualname__ + "; given was 1"
    ]


# Methods


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    @flow(persist_result=True)
    def sell(self, n: int) -> str:
        if self.name == "closed":
            raise FailedRun("closed")
        return f"{self.name} {n}"

    @flow
    @classmethod
    def make(cls, n: int) -> Any:
        return cls, n

    @flow
    @staticmethod
    def count(n: int) -> int:
        return n


class ModelShop(BaseModel):
    name: str

    @flow
    def sell(self, n: int) -> str:
        return f"{self.name} {n}"

    model_config = {"ignored_types": (Flow,)}


@pytest.mark.contract("F-11")
def test_methods() -> None:
    """Flows are methods of all kinds, of classes and models; what they are bound to is no recorded parameter."""
    shop = Shop("corner")
    assert shop.sell("2") == "corner 2"
    assert Shop.make("3") == (Shop, 3)
    assert Shop.count("4") == 4
    assert ModelShop(name="model").sell("5") == "model 5"
    assert [dict(run.parameters) for run in flow_runs()] == [{"n": 2}, {"n": 3}, {"n": 4}, {"n": 5}]
    bound = shop.sell.arguments.bind((shop, 1), {})
    assert shop.sell.serialize_parameters(bound) == {"n": 1}
    assert list(shop.sell.parameters["properties"]) == ["n"]


def test_a_resumed_method_still_has_its_instance() -> None:
    """The instance is kept with the parameters, though it is not shown with them."""
    with pytest.raises(FailedRun):
        Shop("closed").sell("2")
    state = resume_flow_run(only_flow_run().id, return_state=True)
    assert state.name == "Failed"
    assert "closed" in str(state.message)


# Refusal


@pytest.mark.contract("F-15", "F-77")
@pytest.mark.parametrize("is_async", [False, True])
def test_a_bad_call_is_a_failed_run(is_async: bool) -> None:
    """It is recorded with its reason, hooks for failures run, and nothing is attempted, not even with retries."""
    told: list[Any] = []
    called: list[int] = []

    def body(n: int) -> None:
        called.append(n)

    async def abody(n: int) -> None:
        called.append(n)

    options: Any = {"name": "f", "retries": 3, "on_failure": [lambda *facts: told.append(facts)]}
    options["on_running"] = [lambda *facts: told.append("running")]
    made: Any = flow(**options)(abody if is_async else body)
    with pytest.raises(ParameterTypeError, match="invalid parameters") as caught:
        asyncio.run(made("x")) if is_async else made("x")
    assert isinstance(caught.value, MainspringError | TypeError)
    run = only_flow_run()
    assert (sequence(run), run.run_count, called) == ("Pending Failed", 0, [])
    assert "invalid parameters" in str(run.state.message)
    ((_, told_run, state),) = told
    assert told_run.id == run.id
    assert state.is_failed()


@pytest.mark.contract("F-15")
def test_all_problems_are_listed() -> None:
    """Each bad field is named by its path, with what was expected, and what was given if that is short."""

    @flow
    def order(
        n: int, items: list[Item], color: Color, *, point: Point, when: date = date(2024, 1, 1)
    ) -> None: ...

    items = [{"name": "a"}] * 3 + [{"name": "b", "price": "much"}, {}]
    assert refusal(order, "x" * 500, items, "blue", point={"x": 1, "y": None}, when="soon") == [
        "n: Input should be a valid integer, unable to parse string as an integer; given was '"
        + "x" * 59
        + "...",
        "items.3.price: Input should be a valid number, unable to parse string as a number; given was 'much'",
        "items.4.name: Field required",
        "color: Input should be 'red'; given was 'blue'",
        "point.y: Input should be a valid integer; given was None",
        "when: Input should be a valid date or datetime, input is too short; given was 'soon'",
    ]


class Unanswering(type):
    def __instancecheck__(cls, instance: object) -> bool:
        raise RuntimeError("no answer")

    def __repr__(cls) -> str:
        raise RuntimeError("no name")


class Odd(metaclass=Unanswering): ...


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (Meteor, "x: Input should be an instance of Meteor; given was 1"),
        (Iterable[int], "x: Input should be an instance of Iterable; given was 1"),
        (Odd, "x: it cannot be validated: RuntimeError: no name"),
    ],
    ids=["class", "Iterable", "odd class"],
)
def test_instances_of_other_classes(annotation: Any, said: str) -> None:
    """What is no instance is refused, also by a class that does not answer."""
    assert refusal(lambda: returned(annotation, 1)) == [said]


def test_unknown_and_missing_parameters() -> None:
    """``validate_parameters`` refuses these, too, and lists them with the others."""

    @flow
    def two(a: int, b: int, c: int = 1) -> None: ...

    assert refusal(two.validate_parameters, {"b": "x", "z": 1})[0] == "a: It is missing"
    assert refusal(two.validate_parameters, {"b": "x", "z": 1})[2] == "z: There is no such parameter"
    assert two.validate_parameters({"a": "1", "b": 2}) == {"a": 1, "b": 2}


def test_calls_that_do_not_fit_name_all_problems() -> None:
    """Unknown and missing arguments are found before there is a run, and all of them are named."""

    @flow
    def two(a: int, b: int) -> None: ...

    with pytest.raises(ParameterBindError) as caught:
        two(z=1, y=2)
    for problem in ("argument: 'a'", "argument: 'b'", "unexpected keyword argument 'z'", "argument 'y'"):
        assert problem in str(caught.value)
    assert flow_runs() == []


def refuse_odd(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


def break_down(value: int) -> int:
    raise KeyError("in the validator")


def test_validators_that_raise() -> None:
    """What a validator of the user's raises is a reason like any other, and the cause if it is no refusal."""

    @flow
    def checked(
        a: Annotated[int, AfterValidator(refuse_odd)], b: Annotated[int, AfterValidator(break_down)]
    ) -> None: ...

    with pytest.raises(ParameterTypeError) as caught:
        checked(3, 4)
    text = str(caught.value)
    assert "a: Value error, must be even; given was 3" in text
    assert "b: it cannot be validated: KeyError: 'in the validator'" in text
    assert isinstance(caught.value.__cause__, KeyError)


def test_annotations_that_pydantic_cannot_use() -> None:
    """A type that cannot be validated is named as the problem."""

    class Strange:
        @classmethod
        def __get_pydantic_core_schema__(cls, *_: object) -> Any:
            raise RuntimeError("no schema")

    @flow
    def strange(x: list[Strange]) -> None: ...

    (line,) = refusal(strange, [1])
    assert line == "x: it cannot be validated: RuntimeError: no schema"


def test_data_that_contains_itself() -> None:
    """A loop in the data of a recursive model is a bad value like any other."""
    loop: dict[str, Any] = {"value": 1}
    loop["children"] = [loop]
    (line,) = refusal(lambda: returned(Node, loop))
    assert line.startswith("x.children.0: Recursion error")


def test_secrets_are_not_shown() -> None:
    """Values of secret types, under secret names, and in containers are not in the message."""

    class Login(BaseModel):
        password: int

    @flow
    def enter(a: Annotated[SecretStr, Field(min_length=20)], login: Login, api_key: int, d: int) -> None: ...

    lines = refusal(enter, "hunter1", {"password": "hunter2"}, "hunter3", {"k": "hunter4"})
    assert len(lines) == 4
    assert "hunter" not in "".join(lines)
    assert "hunter" not in str(only_flow_run().state.message)


@pytest.mark.contract("F-61")
def test_states_of_which_one_has_bad_parameters() -> None:
    """A flow that returns the states of two subflows, one of them called badly, has failed with half of them."""

    @flow
    def child(n: int) -> int:
        return n

    @flow
    def parent() -> Any:
        return child(1, return_state=True), child("x", return_state=True)

    state: State = parent(return_state=True)
    assert (state.name, state.message) == ("Failed", "1/2 states failed.")


# Switching it off


def test_without_validation() -> None:
    """``validate_parameters=False`` passes everything as it is, and ``with_options`` switches it on and off."""

    @flow(validate_parameters=False)
    def free(n: int, item: Item = {"name": "a"}) -> Any:  # noqa: B006
        return n, item

    assert not free.should_validate_parameters
    assert free("3") == ("3", {"name": "a"})
    strict = free.with_options(validate_parameters=True)
    assert strict.should_validate_parameters
    assert strict("3") == (3, Item(name="a"))
    assert strict.with_options(name="other").should_validate_parameters
    assert not free.with_options(name="other").should_validate_parameters


def bad_annotations() -> list[Any]:
    namespace: dict[str, Any] = {"any_": any}
    text = "def number(x: 5): ...\ndef function(x: any_): ...\ndef values(x: [int]): ...\n"
    text += "def text(x: 'the number of days'): ...\ndef quoted(x: '5'): ..."
    exec(compile(text, "<text>", "exec", dont_inherit=True), namespace)
    return [value for name, value in namespace.items() if name not in ("any_", "__builtins__")]


@pytest.mark.contract("F-7")
@pytest.mark.parametrize("function", bad_annotations(), ids=lambda function: function.__name__)
def test_annotations_that_are_no_types(function: Any) -> None:
    """They are refused when the flow is defined, unless nothing is validated."""
    with pytest.raises(ValueError, match=r"x: .*not annotated with a type.*validate_parameters=False"):
        flow(function)
    assert flow(validate_parameters=False)(function)(1) is None


# What sees the converted values


def test_everybody_sees_the_converted_values() -> None:
    """The body, the run's name, the context, hooks, the history and tasks' inputs."""
    seen: dict[str, Any] = {}

    @task
    def take(item: Item) -> None: ...

    def hook(flow: Any, run: Any, state: Any) -> None:
        seen["hook"] = run.parameters["item"]

    @flow(flow_run_name="of {item.name}", on_running=[hook])
    def pipeline(item: Item) -> None:
        context = FlowRunContext.get()
        assert context is not None
        assert context.parameters is not None
        seen["context"] = context.parameters["item"]
        seen["body"] = item
        take(item)

    pipeline({"name": "a"})
    assert set(map(type, seen.values())) == {Item}
    run = only_flow_run()
    assert (run.name, run.parameters) == ("of a", {"item": {"name": "a", "price": 1.0}})
    assert only_task_run().task_inputs == {"item": [Parameter(name="item")]}


def test_futures_are_resolved_before() -> None:
    """What is validated are the results of futures and states, not they themselves."""

    @task
    def give() -> dict[str, Any]:
        return {"name": "a"}

    @flow
    def child(item: Item, n: int) -> Any:
        return item, n

    @flow
    def parent() -> Any:
        return child(give.submit(), Completed(data="3"))

    assert parent() == (Item(name="a"), 3)


def double(value: int) -> int:
    return 2 * value


fails = True


@flow(persist_result=True)
def doubling(n: Annotated[int, BeforeValidator(double)]) -> int:
    if fails:
        raise FailedRun("first")
    return n


@pytest.mark.contract("F-15")
def test_a_resumed_run_has_what_was_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parameters are those that the first attempt had, and are not converted a second time."""
    with pytest.raises(FailedRun):
        doubling(2)
    monkeypatch.setattr(sys.modules[__name__], "fails", False)
    assert resume_flow_run(only_flow_run().id) == 4


@flow(persist_result=True)
def small(item: Item) -> str:
    calls.append(item)
    return item.name


@flow(persist_result=True)
def large() -> str:
    name = small({"name": "a"})
    if fails:
        raise FailedRun("first")
    return name


calls: list[Any] = []


def test_a_finished_subflow_is_known_by_what_was_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subflow that was called with something to be converted is not called again."""
    calls.clear()
    with pytest.raises(FailedRun):
        large()
    monkeypatch.setattr(sys.modules[__name__], "fails", False)
    assert resume_flow_run(flow_runs("large")[0].id if flow_runs("large") else flow_runs()[0].id) == "a"
    assert calls == [Item(name="a")]


# Recording and describing


@pytest.mark.contract("F-16")
def test_serialized_parameters() -> None:
    """What JSON can hold, and placeholders: of objects, futures, states, and what raises when it is encoded."""

    class Raises(BaseModel):
        x: int = 1

        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError

    @task
    def one() -> int:
        return 1

    @flow
    def f(**kwargs: Any) -> Any:
        future = one.submit()
        found = f.serialize_parameters({"future": future, "list": [future]})
        future.wait()
        return Completed(data=found)

    assert f() == {"future": "<ConcurrentFuture>", "list": ["<ConcurrentFuture>"]}
    given = {
        "n": 1,
        "model": Item(name="a"),
        "models": [Node(value=1)],
        "point": Point(1),
        "color": Color.RED,
        "day": date(2024, 1, 1),
        "path": Path("a/b"),
        "meteor": A_METEOR,
        "state": Completed(data=1),
        "raises": Raises.model_construct(x=1),
        "items": {1},
    }
    assert f.serialize_parameters(given) == {
        "n": 1,
        "model": {"name": "a", "price": 1.0},
        "models": [{"value": 1, "children": []}],
        "point": {"x": 1, "y": 0},
        "color": "red",
        "day": "2024-01-01",
        "path": "a/b",
        "meteor": "<Meteor>",
        "state": "<State>",
        "raises": "<Raises>",
        "items": [1],
    }


@pytest.mark.contract("F-16")
def test_secrets_are_not_serialized() -> None:
    """Secrets of pydantic do not get into the history, alone or in models."""

    class Login(BaseModel):
        password: SecretStr

    @flow
    def enter(login: Login, key: SecretStr) -> None: ...

    enter({"password": "hunter2"}, "hunter3")
    assert set(only_flow_run().parameters) == {"login", "key"}
    assert "hunter" not in str(only_flow_run().parameters)


@pytest.mark.contract("F-16", "F-63")
def test_parameters_that_cannot_be_encoded_do_not_fail_the_run() -> None:
    """Objects of all kinds go to the flow as they are, and to the history as what can be said of them."""

    class Raises(BaseModel):
        lock: Any

        def model_dump(self, **_: Any) -> Any:
            raise RuntimeError

    @flow
    def f(a: Raises, b: threading.Thread, c: dict[str, Any], d: Color, e: Sequence[Item]) -> Any:
        return a, b

    thread = threading.Thread()
    raises = Raises(lock=threading.Lock())
    a, b = f(raises, thread, {"x": {1: thread}}, "red", [{"name": "z"}])
    assert a is raises
    assert b is thread
    run = only_flow_run()
    assert run.state.is_completed()
    assert run.parameters == {
        "a": {"lock": "<lock>"},
        "b": "<Thread>",
        "c": {"x": {"1": "<Thread>"}},
        "d": "red",
        "e": [{"name": "z", "price": 1.0}],
    }


@pytest.mark.contract("F-10")
def test_the_schema() -> None:
    """``flow.parameters`` is a JSON schema: properties in order with their defaults, and what they refer to."""

    @flow
    def f(
        n: int,
        item: Item,
        free,
        odd: Meteor = A_METEOR,
        items: list[Item] | None = None,
        *rest: float,
        **more: str,
    ) -> None: ...

    schema = f.parameters
    assert (schema["title"], schema["type"], schema["required"]) == (
        "Parameters",
        "object",
        ["n", "item", "free"],
    )
    properties = schema["properties"]
    assert [each["position"] for each in properties.values()] == list(range(7))
    assert properties["n"] == {"title": "n", "position": 0, "type": "integer"}
    assert properties["item"] == {"title": "item", "position": 1, "$ref": "#/definitions/Item"}
    assert properties["free"] == {"title": "free", "position": 2}
    assert properties["odd"] == {"title": "odd", "position": 3, "default": "<Meteor>"}
    assert properties["items"]["default"] is None
    assert properties["rest"]["items"] == {"type": "number"}
    assert properties["more"]["additionalProperties"] == {"type": "string"}
    assert schema["definitions"]["Item"]["properties"]["price"]["type"] == "number"
    assert not f.isasync
    assert not f.isgenerator
    assert f.should_validate_parameters
    assert f.on_failure_hooks == []
    assert not f.ismethod


# Cost

LIGHT = """
import sys
from mainspring import flow
assert not any(name.startswith("pydantic") for name in sys.modules)

class Own: ...

@flow
def plain(n: int, text: str | None, own: Own, items: list, free, anything: "Any" = 1, *rest: float, **named: bool):
    return n

assert plain(1, None, Own(), [1], 2, 3, 1.5, on=True) == 1
assert plain.validate_parameters(dict(n=1, text="a", own=Own(), items=[], free=1)) is not None
assert not any(name.startswith("pydantic") for name in sys.modules)
assert plain("2", "b", Own(), [], 2) == 2
assert "pydantic" in sys.modules
"""


def test_pydantic_is_imported_on_use() -> None:
    """Plain annotations with values of these types do without it, a value to be converted brings it in."""
    subprocess.run([sys.executable, "-W", "error", "-c", LIGHT], check=True, timeout=60)
