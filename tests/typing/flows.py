# pyright: reportUnnecessaryTypeIgnoreComment=true
"""What the type checkers infer about flows."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, assert_type
from uuid import UUID

from mainspring import Flow, State, flow
from mainspring.futures import DistributedFuture, FlowRunFuture, Future, RunFuture, as_completed


@flow
def plain(x: int, y: str = "") -> float:
    return x + len(y)


@flow(retries=1, name="configured", timeout_seconds=2.5, log_prints=True)
async def configured(x: int) -> str:
    return str(x)


a_flow: Flow[..., float] = plain
as_function: Callable[[int, str], float] = plain
assert_type(plain(1), float)
assert_type(plain(1, y="a"), float)
assert_type(plain(1, return_state=True), State)
assert_type(plain(1, wait_for=[1]), float)
coroutine: Coroutine[Any, Any, str] = configured(1)
copied_function: Callable[[int, str], float] = plain.with_options(retries=2)


async def awaited() -> None:
    assert_type(await configured(1), str)
    assert_type(await configured(1, return_state=True), State)


future = plain.submit(1, y="a")
assert_type(future, FlowRunFuture[float])
assert_type(future.result(), float)
assert_type(future.flow_run_id, UUID)
assert_type(configured.submit(1), FlowRunFuture[str])
assert_type(plain.submit(1, wait_for=[future]), FlowRunFuture[float])
assert_type(plain.submit(1, return_state=True), State)
a_future: RunFuture[float] = future
distributed: Future[int] = DistributedFuture[int](UUID(int=0))
assert_type(FlowRunFuture[int]("0").result(timeout=1), int)
as_completed([future, distributed])


@flow
def numbers(x: int) -> Iterator[int]:
    yield x


assert_type(next(numbers(1)), int)


async def results() -> None:
    assert_type(await future.aresult(), float)
    assert_type(await DistributedFuture[int]("0").result_async(), int)


class Pipelines:
    @flow
    def add(self, x: int) -> float:
        return float(x)


assert_type(Pipelines().add(1), float)

plain()  # type: ignore[call-overload]
plain("1")  # type: ignore[call-overload]
flow(retries="2")  # type: ignore[call-overload]
flow(no_such_option=1)  # type: ignore[call-overload]
