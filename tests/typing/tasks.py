# pyright: reportUnnecessaryTypeIgnoreComment=true
"""What the type checkers infer about tasks: decorated functions keep their signatures."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, assert_type

from mainspring import State, Task, task, unmapped
from mainspring.futures import Future, FutureList


@task
def plain(x: int, y: str = "") -> float:
    return x + len(y)


@task(retries=2, retry_delay_seconds=[1, 2.5], tags={"a"}, timeout_seconds=1, on_completion=[print])
def configured(x: int) -> list[str]:
    return [str(x)]


@task
async def asynchronous(x: int) -> bytes:
    return bytes(x)


@task
def steps(n: int) -> Generator[int, str, bool]:
    received = yield n
    return bool(received)


@task
async def asteps(n: int) -> AsyncGenerator[int, None]:
    yield n


# Calls

as_function: Callable[[int, str], float] = plain
assert_type(plain(1), float)
assert_type(plain(1, y="a"), float)
assert_type(configured(1), list[str])
assert_type(steps(1), Generator[int, str, bool])
assert_type(asteps(1), AsyncGenerator[int, None])
coroutine: Coroutine[Any, Any, bytes] = asynchronous(1)


async def awaited() -> None:
    assert_type(await asynchronous(1), bytes)
    assert_type(await asynchronous(1, return_state=True), State)
    async for value in asteps(1):
        assert_type(value, int)


def consumed() -> Generator[int, str, None]:
    assert_type((yield from steps(1)), bool)


plain()  # type: ignore[call-overload]
plain("1")  # type: ignore[call-overload]
plain(1, z=2)  # type: ignore[call-overload]
configured(x="1")  # type: ignore[call-overload]
wrong: str = plain(1)  # type: ignore[assignment]


# States, and what is waited for

assert_type(plain(1, return_state=True), State)
assert_type(plain(1, wait_for=[1]), float)
assert_type(plain(1, return_state=True, wait_for=[1]), State)


# Submitting

assert_type(plain.submit(1), Future[float])
assert_type(plain.submit(1, wait_for=[plain.submit(2)]), Future[float])
assert_type(plain.submit(1, return_state=True), State)
assert_type(plain.submit(1).result(), float)
assert_type(asynchronous.submit(1), Future[bytes])
assert_type(asynchronous.submit(1).result(timeout=1), bytes)
assert_type(plain.submit(1).state, State)


async def await_futures() -> None:
    assert_type(await plain.submit(1), float)
    assert_type(await plain.map([1]), list[float])


# Methods


class Counter:
    @task
    def add(self, x: int) -> float:
        return float(x)

    @task
    async def aadd(self, x: int) -> str:
        return str(x)

    @staticmethod
    @task
    def double(x: int) -> int:
        return x * 2


counter = Counter()
assert_type(counter.add(1), float)
assert_type(counter.add.submit(1), Future[float])
assert_type(Counter.double(1), int)
assert_type(counter.aadd.submit(1), Future[str])


# Copies and hooks

copied_function: Callable[[int, str], float] = plain.with_options(retries=3)
assert_type(plain.with_options(name="other")(1), float)
assert_type(plain.with_options(isolation="process", retry_on_crash=True)(1), float)
plain.with_options(isolation="thread")  # type: ignore[arg-type]
plain.with_options(version="2")  # type: ignore[call-arg]
plain.with_options(retries="2")  # type: ignore[arg-type]


@plain.on_completion
def note(of: object, run: object, state: State) -> int:
    return 1


assert_type(note(1, 2, plain(1, return_state=True)), int)


# Definition

Task(plain.fn)
task(5)  # type: ignore[call-overload]
task(retries="2")  # type: ignore[call-overload]
task(isolation="thread")  # type: ignore[call-overload]
task(no_such_option=1)  # type: ignore[call-overload]


# Annotations and lists

assert_type(unmapped([1]).unwrap(), list[int])
assert_type(plain.map([1, 2]), FutureList[float])
assert_type(plain.map([1, 2])[0], Future[float])
assert_type(plain.map([1, 2]).result(), list[float])
assert_type(plain.map([1, 2], return_state=True), list[State])
assert_type(asynchronous.map([1, 2]).result(), list[bytes])
assert_type(plain.map(unmapped([1]), y=["a"]), FutureList[float])
