"""Fakes: another function in place of the one of a task or flow, for a block."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Generator, Iterable
from functools import partial, update_wrapper
from typing import Any, NoReturn, Self, TypeVar, cast

from mainspring import _forks
from mainspring._core.arguments import Arguments, Body
from mainspring._engine.subject import Subject, shape_of
from mainspring._representation import name_of
from mainspring.annotations import NotSet
from mainspring.exceptions import MainspringError

__all__ = ["Fake", "OverrideError", "override"]

F = TypeVar("F", bound=Callable[..., Any])

_KINDS = inspect.Parameter
_BY_POSITION = (_KINDS.POSITIONAL_ONLY, _KINDS.POSITIONAL_OR_KEYWORD)
_FORMS = "a function, `returns=`, `raises=` or `outcomes=`"

_lock = threading.Lock()
_active: dict[Body, list[Fake]] = {}  # the innermost last
_forks.remake_in_child(globals(), _lock=threading.Lock)


class OverrideError(MainspringError, TypeError):
    """A fake cannot take the place of the function that it was given for."""


class Fake:
    """What is called in place of a function, and what it was called with.

    Args:
        subject: The task or flow.
        fn: What makes the result of a call.
    """

    def __init__(self, subject: Subject[..., Any], fn: Callable[..., Any]) -> None:
        self._name = subject.name
        self._arguments: Arguments | None = subject.arguments
        self._fn = fn
        self.calls: list[dict[str, Any]] = []
        """The arguments of each call so far, by the names of the real parameters, defaults applied; a retry is a call.
        Calls in other processes are not among them."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._name!r}, called {len(self.calls)} times>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._note(args, kwargs)
        return self._fn(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {"_name": self._name, "_arguments": None, "_fn": self._fn, "calls": []}

    def _note(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._arguments is not None:  # in another process nobody would see it
            self.calls.append(self._arguments.bind(args, kwargs))


class _AsyncFake(Fake):
    """In place of a coroutine function; a plain function will do, too."""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._note(args, kwargs)
        value: Any = self._fn(*args, **kwargs)
        if inspect.isawaitable(value):
            value = await cast(Any, value)
        return value


class _GeneratorFake(Fake):
    """In place of a generator; a function that returns something to iterate over will do, too."""

    def __call__(self, *args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        self._note(args, kwargs)
        values: Generator[Any, Any, Any] = self._fn(*args, **kwargs)  # or anything else to iterate over
        return (yield from values)


class _AsyncGeneratorFake(Fake):
    """In place of an async generator; what gives something to iterate over will do, too."""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._note(args, kwargs)
        values = self._fn(*args, **kwargs)
        if inspect.isawaitable(values):
            values = await values
        if not hasattr(values, "__aiter__"):
            for value in values:
                yield value
        else:
            async for value in values:
                yield value


class override:  # noqa: N801 - is used like a function
    """A block in which something else is called in place of the function of a task or flow.

    Everything around the call stays: the run, its name, retries, time limits, hooks, kept results. It does not matter
    how the task is called, by whom, or in which thread. Copies (``with_options``, methods of instances) have the same
    fake, those that are made inside as well. A task that is sent to a worker process takes its fake along; tasks
    that are called over there by other tasks are the real ones. ``task.fn`` is always the real function.

    ::

        with override(fetch, returns={"status": "ok"}) as fake:
            report()
        assert fake.calls == [{"url": "https://example.org"}]

    Blocks may be nested, and the innermost counts. The fake holds for the whole process, so do not run tests that
    override the same task in several threads at a time. As a decorator it does the same for each call of a
    function, sync or async.

    Args:
        subject: The task or flow.
        fn: The fake. It takes what the function takes, by position where that can be. For an async function a plain
            one will do, and for a generator one that returns a list.
        returns: Each call returns this.
        raises: Each call raises this, an exception or a type of exceptions.
        outcomes: One for each call, in this order: exceptions are raised, everything else is returned.

    Raises:
        OverrideError: ``subject`` is no task or flow, what is to be called cannot take its place, or not exactly one of
            ``fn``, ``returns``, ``raises`` and ``outcomes`` is given.
    """

    def __init__(
        self,
        subject: Subject[..., Any],
        fn: Callable[..., Any] | None = None,
        *,
        returns: Any = NotSet,
        raises: BaseException | type[BaseException] | None = None,
        outcomes: Iterable[Any] | None = None,
    ) -> None:
        __tracebackhide__ = True  # what is wrong is where the fake is given
        if not isinstance(subject, Subject):
            raise OverrideError(
                f"override() takes a task or a flow; got {subject!r}. Pass what @task or @flow has made, not its .fn."
            )
        given = [fn is not None, returns is not NotSet, raises is not None, outcomes is not None]
        if sum(given) != 1:
            raise OverrideError(
                f"override() of {subject.name!r} takes one of {_FORMS}; got {sum(given)} of them."
            )
        if fn is not None:
            _check(subject, fn)
        if raises is not None:
            _check_raised(subject, raises)
        self._subject = subject
        self._fn, self._returns, self._raises = fn, returns, raises
        self._outcomes = None if outcomes is None else tuple(outcomes)
        self._fake: Fake | None = None

    def __enter__(self) -> Fake:
        if self._fake is not None:
            raise RuntimeError(f"This override of {self._subject.name!r} is in use. Make another one.")
        self._fake = fake = _kind_of(self._subject)(self._subject, self._function())
        body = self._subject.arguments.body
        with _lock:
            _active.setdefault(body, []).append(fake)
            body.function = fake
        return fake

    def __exit__(self, *_: object) -> None:
        fake, self._fake = self._fake, None
        arguments = self._subject.arguments
        with _lock:
            fakes = _active[arguments.body]
            fakes[:] = [each for each in fakes if each is not fake]  # others may have ended in another order
            if not fakes:
                del _active[arguments.body]
            arguments.body.function = fakes[-1] if fakes else arguments.function

    def __call__(self, function: F) -> F:
        """The function with the block around each call."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise OverrideError(
                f"override() cannot decorate {name_of(function, '__name__')!r}, as it is a generator. Write `with"
                " override(...):` in it."
            )
        if not inspect.isroutine(function):
            raise OverrideError(
                f"override() decorates functions; got {function!r}. Pass the fake as second argument, and"
                " decorate the test, or use it in `with`."
            )
        if inspect.iscoroutinefunction(function):

            async def acalled(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return cast(F, update_wrapper(acalled, function))

        def called(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return cast(F, update_wrapper(called, function))

    def _again(self) -> Self:
        return type(self)(
            self._subject, self._fn, returns=self._returns, raises=self._raises, outcomes=self._outcomes
        )

    def _function(self) -> Callable[..., Any]:
        """What makes the results of the calls of one block."""
        if self._fn is not None:
            return self._fn
        if self._raises is not None:
            return partial(_raise, self._raises)
        if self._outcomes is not None:
            return _Outcomes(self._subject.name, self._outcomes)
        return partial(_return, self._returns)


class _Outcomes:
    """Gives one outcome after the other; threads may call it at the same time."""

    def __init__(self, name: str, outcomes: tuple[Any, ...]) -> None:
        self._name = name
        self._outcomes = outcomes
        self._numbers = iter(range(len(outcomes)))

    def __call__(self, *_: Any, **__: Any) -> Any:
        number = next(self._numbers, None)
        if number is None:
            raise OverrideError(
                f"The fake of {self._name!r} was called more often than the {len(self._outcomes)} times for which it"
                " has outcomes. Give one for each attempt, too."
            )
        outcome = self._outcomes[number]
        if _can_be_raised(outcome):
            raise outcome
        return outcome

    def __reduce__(self) -> NoReturn:
        raise OverrideError(
            f"The fake of {self._name!r} has outcomes, which are counted in this process: it cannot go to a worker"
            " process. Use the task runner 'inline' or 'threads', or give a function."
        )


def _can_be_raised(value: Any) -> bool:
    return isinstance(value, BaseException) or (isinstance(value, type) and issubclass(value, BaseException))


def _return(value: Any, *_: Any, **__: Any) -> Any:
    return value


def _raise(error: BaseException | type[BaseException], *_: Any, **__: Any) -> NoReturn:
    raise error


def _kind_of(subject: Subject[..., Any]) -> type[Fake]:
    if subject.isgenerator:
        return _AsyncGeneratorFake if subject.isasync else _GeneratorFake
    return _AsyncFake if subject.isasync else Fake


def _check_raised(subject: Subject[..., Any], raises: object) -> None:
    if not _can_be_raised(raises):
        raise OverrideError(f"The fake of {subject.name!r} cannot raise {raises!r}, as that is no exception.")


def _check(subject: Subject[..., Any], fn: object) -> None:
    """Refuse what cannot be called in place of the function.

    Raises:
        OverrideError: It cannot.
    """
    __tracebackhide__ = True
    if isinstance(fn, Subject):
        raise OverrideError(
            f"The fake of {subject.name!r} is a {fn.kind}, whose calls would be runs of their own. Pass its function:"
            f" {fn.name}.fn"
        )
    if not callable(fn):
        raise OverrideError(
            f"The fake of {subject.name!r} cannot be called: {fn!r}. To return it, pass it as `returns=`."
        )
    is_generator, is_async = shape_of(fn)
    if is_async and not subject.isasync:
        raise OverrideError(
            f"The fake of {subject.name!r} is async, and the function is not, so nobody would await it. Write it"
            " with `def`."
        )
    if is_generator and not subject.isgenerator:
        raise OverrideError(
            f"The fake of {subject.name!r} is a generator, and the function is none. Let it return a value."
        )
    problem = _misfit(subject, fn)
    if problem:
        signature = subject.arguments.signature
        raise OverrideError(
            f"The fake of {subject.name!r} does not take what the function takes, {subject.name}{signature}: {problem}."
        )


def _misfit(subject: Subject[..., Any], fn: Callable[..., Any]) -> str | None:
    """Why some calls of the function would not fit the fake, None if all do."""
    try:
        theirs = inspect.signature(fn).parameters
    except (TypeError, ValueError):  # it is made of C, and nobody can tell
        return None
    ours = subject.arguments.signature.parameters
    kinds = {parameter.kind for parameter in theirs.values()}
    positions = [name for name, p in theirs.items() if p.kind in _BY_POSITION]
    filled: set[str] = set()
    for number, name in enumerate(name for name, p in ours.items() if p.kind in _BY_POSITION):
        if number < len(positions):
            filled.add(positions[number])
            if positions[number] != name and positions[number] in ours:
                return (
                    f"its parameters have another order; the one at {name!r} is called {positions[number]!r}"
                )
        elif _KINDS.VAR_POSITIONAL not in kinds:
            return f"it has no parameter {name!r}"
    for name, parameter in ours.items():
        if parameter.kind is _KINDS.KEYWORD_ONLY:
            theirs_is_named = name in theirs and theirs[name].kind in (
                _KINDS.KEYWORD_ONLY,
                _KINDS.POSITIONAL_OR_KEYWORD,
            )
            if not theirs_is_named and _KINDS.VAR_KEYWORD not in kinds:
                return f"it has no parameter {name!r} that can be given by name"
            filled.add(name)
        elif parameter.kind is _KINDS.VAR_POSITIONAL and _KINDS.VAR_POSITIONAL not in kinds:
            return f"it does not take *{name}"
        elif parameter.kind is _KINDS.VAR_KEYWORD and _KINDS.VAR_KEYWORD not in kinds:
            return f"it does not take **{name}"
    for name, parameter in theirs.items():
        is_single = parameter.kind not in (_KINDS.VAR_POSITIONAL, _KINDS.VAR_KEYWORD)
        if is_single and name not in filled and parameter.default is parameter.empty:
            return f"nobody would give it its {name!r}"
    return None
