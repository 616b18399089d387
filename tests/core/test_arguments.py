"""Binding calls and calling by parameters, against what Python itself does."""

import inspect
import keyword
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring._core.arguments import Arguments
from mainspring.exceptions import MainspringError, ParameterBindError, ReservedArgumentError

Call = tuple[tuple[Any, ...], dict[str, Any]]


def plain(a, b=2, *rest, c, d=4, **more): ...
def positional_only(a, b=2, /, c=3): ...
def positional_only_end(a, /): ...
def keyword_only(*, a, b=2): ...
def nothing(): ...
def everything(*args, **kwargs): ...
def positional_and_variadic(a, /, *args, b): ...
def tricky_names(_function, _values, self, bind): ...


class Greeter:
    def greet(self, name, punctuation="!"):
        return f"{name}{punctuation}"

    def __call__(self, x, y=1):
        return x, y


FUNCTIONS: list[Callable[..., Any]] = [
    plain,
    positional_only,
    positional_only_end,
    keyword_only,
    nothing,
    everything,
    positional_and_variadic,
    tricky_names,
    Greeter().greet,
    Greeter(),
    lambda x=(), *, y=None: None,
]
NAMES = st.sampled_from(["a", "b", "c", "d", "rest", "more", "x", "self", "name", "_function"])
CALLS = st.tuples(
    st.lists(st.integers(), max_size=4).map(tuple), st.dictionaries(NAMES, st.integers(), max_size=4)
)


def expected(function: Callable[..., Any], call: Call) -> dict[str, Any]:
    """What `inspect` says about a call; raises TypeError if it does not fit."""
    bound = inspect.signature(function).bind(*call[0], **call[1])
    bound.apply_defaults()
    return dict(bound.arguments)


def check(function: Callable[..., Any], call: Call) -> None:
    arguments = Arguments(function, "the-task")
    reason = None
    try:
        wanted = expected(function, call)
    except TypeError as error:
        reason = str(error)
    if reason is not None:
        with pytest.raises(ParameterBindError) as caught:
            arguments.bind(*call)
        assert reason in str(caught.value)
    else:
        bound = arguments.bind(*call)
        assert bound == wanted
        assert list(bound) == list(wanted)


@pytest.mark.contract("T-36", "T-37")
@given(function=st.sampled_from(FUNCTIONS), call=CALLS)
def test_bind_agrees_with_inspect(function: Callable[..., Any], call: Call) -> None:
    """Binding gives what `inspect.Signature.bind` with defaults gives, or quotes its reason."""
    check(function, call)


@st.composite
def functions(draw: st.DrawFn) -> Callable[..., Any]:
    """Any function that Python can define: each kind of parameter, with and without defaults."""
    names = draw(
        st.lists(
            st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True).filter(
                lambda name: not keyword.iskeyword(name) and name not in ("return_state", "wait_for")
            ),
            unique=True,
            max_size=6,
        )
    )
    kinds = sorted(draw(st.lists(st.sampled_from([0, 1, 3]), min_size=len(names), max_size=len(names))))
    parameters = []
    defaulted = False
    for name, kind in zip(names, map(inspect._ParameterKind, kinds), strict=True):
        with_default = draw(st.booleans())
        if kind is not inspect.Parameter.KEYWORD_ONLY:
            with_default = defaulted = with_default or defaulted
        default = draw(st.integers()) if with_default else inspect.Parameter.empty
        parameters.append(inspect.Parameter(name, kind, default=default))
    if draw(st.booleans()):
        index = sum(parameter.kind < 2 for parameter in parameters)
        parameters.insert(index, inspect.Parameter("star_args", inspect.Parameter.VAR_POSITIONAL))
    if draw(st.booleans()):
        parameters.append(inspect.Parameter("star_kwargs", inspect.Parameter.VAR_KEYWORD))

    def function(*args: Any, **kwargs: Any) -> Call:
        return args, kwargs

    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function


def calls(function: Callable[..., Any]) -> st.SearchStrategy[Call]:
    """Calls of ``function`` that more or less fit.

    Positional-only names are no keywords here: before Python 3.13 `inspect` is wrong about them.
    """
    keywords = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY
    ]
    names = st.sampled_from([*keywords, "unknown"])
    return st.tuples(
        st.lists(st.integers(), max_size=6).map(tuple), st.dictionaries(names, st.integers(), max_size=6)
    )


@given(data=st.data(), function=functions())
def test_any_signature_binds_like_inspect(data: st.DataObject, function: Callable[..., Any]) -> None:
    """Whatever the kinds and defaults of the parameters, binding agrees with `inspect`."""
    check(function, data.draw(calls(function)))


@pytest.mark.contract("E-135")
@given(data=st.data(), function=functions())
def test_calling_with_bound_parameters_is_the_call(data: st.DataObject, function: Callable[..., Any]) -> None:
    """Bind and call together hand the function an equivalent call: it binds to the same parameters."""
    arguments = Arguments(function, "the-task")
    try:
        parameters = arguments.bind(*data.draw(calls(function)))
    except ParameterBindError:
        return
    assert expected(function, arguments.call(parameters)) == parameters


def test_a_positional_only_name_is_free_for_other_keywords() -> None:
    """As in Python itself, the name of a positional-only parameter may come again among the keywords."""

    def function(a, /, **more):
        return a, more

    arguments = Arguments(function, "the-task")
    assert arguments.call(arguments.bind((1,), {"a": 2})) == (1, {"a": 2})


@pytest.mark.contract("T-40")
def test_identity_is_kept() -> None:
    """Arguments and defaults reach the function as the same objects."""
    default: list[int] = []

    def function(x, y=default):
        return x, y

    value = object()
    arguments = Arguments(function, "the-task")
    x, y = arguments.call(arguments.bind((value,), {}))
    assert x is value
    assert y is default


def test_an_argument_may_have_any_equality() -> None:
    """Values whose comparison fails or is not a truth value are only passed on."""

    class Odd:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("do not compare me")

        __hash__ = None  # type: ignore[assignment]

    odd = Odd()
    arguments = Arguments(lambda x: x, "the-task")
    assert arguments.call(arguments.bind((odd,), {})) is odd


@pytest.mark.contract("T-37")
@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (((1,), {}), "missing a required argument: 'y'"),
        (((1, 2), {"x": 3}), "multiple values for argument 'x'"),
        (((1, 2, 3), {}), "too many positional arguments"),
        (((1, 2), {"z": 3}), "got an unexpected keyword argument 'z'"),
    ],
)
def test_a_call_that_does_not_fit_is_explained(call: Call, reason: str) -> None:
    """The error names the task, quotes Python's reason, and shows the signature and what was received."""

    def function(x, y): ...

    with pytest.raises(ParameterBindError) as caught:
        Arguments(function, "the-task").bind(*call)
    text = str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, MainspringError)
    for part in ("'the-task'", reason, "(x, y)", str(call[0]), str(call[1])):
        assert part in text
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__, "Python's own traceback adds nothing"


@pytest.mark.contract("T-20")
@pytest.mark.parametrize("name", ["return_state", "wait_for"])
@pytest.mark.parametrize(
    "form", ["def f({0}): ...", "def f(*, {0}=1): ...", "def f(*{0}): ...", "def f(**{0}): ..."]
)
def test_reserved_names_are_refused(name: str, form: str) -> None:
    """A parameter named like an argument of calls is refused, of whatever kind it is."""
    namespace: dict[str, Any] = {}
    exec(form.format(name), namespace)
    with pytest.raises(ReservedArgumentError, match=f"'{name}' is a reserved argument name") as caught:
        Arguments(namespace["f"], "the-task")
    assert isinstance(caught.value, TypeError)


def test_a_function_without_a_signature_is_refused() -> None:
    """What Python cannot describe cannot be bound; the error says what to do."""
    with pytest.raises(TypeError, match=r"'the-task' cannot be used: .*Wrap it in a function"):
        Arguments(type, "the-task")


def test_bind_and_call_a_partial() -> None:
    """A partial's remaining parameters are those that are bound."""

    def function(x, y, z=3):
        return x, y, z

    arguments = Arguments(partial(function, 1, z=9), "the-task")
    assert arguments.call(arguments.bind((2,), {})) == (1, 2, 9)


@pytest.mark.contract("T-55")
def test_given_leaves_defaults_out_and_complete_adds_them() -> None:
    """What a call names itself is told apart from defaults; together they are what binding gives."""
    arguments = Arguments(plain, "the-task")
    call: Call = ((1,), {"c": 3, "extra": 5})
    given_only = arguments.given(*call)
    assert given_only == {"a": 1, "c": 3, "more": {"extra": 5}}
    assert arguments.complete(given_only) == arguments.bind(*call)


def test_complete_without_variadic_arguments() -> None:
    """Variadic parameters that nothing was given for are empty."""
    arguments = Arguments(plain, "the-task")
    assert arguments.complete({"a": 1, "c": 3}) == {"a": 1, "b": 2, "rest": (), "c": 3, "d": 4, "more": {}}


def test_given_explains_like_bind() -> None:
    """A map call that does not fit gets the same explanation as a plain call."""
    with pytest.raises(ParameterBindError, match="missing a required argument: 'x'"):
        Arguments(lambda x: x, "the-task").given((), {})


def test_an_error_inside_a_default_is_not_a_binding_error() -> None:
    """The function's own TypeError is not mistaken for a call that does not fit."""

    def function(x):
        raise TypeError("mine")

    arguments = Arguments(function, "the-task")
    with pytest.raises(TypeError, match="mine") as caught:
        arguments.call(arguments.bind((1,), {}))
    assert not isinstance(caught.value, ParameterBindError)
