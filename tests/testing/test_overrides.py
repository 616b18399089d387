"""Fakes in place of the functions of tasks and flows."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from unittest.mock import Mock

import pytest

from mainspring import Task, flow, get_client, task, unmapped
from mainspring.exceptions import SerializationError
from mainspring.task_runners import ProcessPoolTaskRunner
from mainspring.testing import Fake, OverrideError, assert_states, override


@task
def fetch(url: str, *, depth: int = 1) -> str:
    return f"real {url} {depth}"


@task
async def afetch(url: str) -> str:
    return f"real {url}"


@task
def steps(count: int) -> Iterator[int]:
    yield from range(count)


@task
async def asteps(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@flow
def report(url: str) -> str:
    return fetch(url)


def fake_of(url: str, *, depth: int) -> str:
    return f"fake {url} {depth}"


BEFORE = fetch.with_options(name="before")


@pytest.mark.parametrize(
    "call",
    [
        lambda: fetch("a"),
        lambda: fetch.submit("a").result(),
        lambda: fetch.map(["a"], depth=unmapped(1)).result()[0],
        lambda: BEFORE("a"),
        lambda: fetch.with_options(name="after")("a"),
        lambda: report("a"),
        lambda: fetch("a", return_state=True).result(),
    ],
    ids=["call", "submit", "map", "copy", "copy made inside", "subflow", "state"],
)
def test_every_way_to_call_gets_the_fake(call) -> None:
    """However a task is called, the fake is called in place of its function, and notes the arguments."""

    @flow
    def everything() -> str:
        return call()

    with override(fetch, fake_of) as fake:
        assert everything() == "fake a 1"
        assert fake.calls == [{"url": "a", "depth": 1}]
    assert everything() == "real a 1"
    assert len(fake.calls) == 1


def test_fakes_are_tracked_and_retried() -> None:
    """A run with a fake has the name, the retries and the states of a real one."""
    unsteady = fetch.with_options(retries=2)
    with override(fetch, outcomes=[ConnectionError("down"), ConnectionError, "there"]) as fake:
        state = unsteady("a", return_state=True)
    assert state.result() == "there"
    assert_states(state, ["Pending", "Running", "Retrying", "Retrying", "Completed"])
    assert len(fake.calls) == 3


def test_more_calls_than_outcomes() -> None:
    """A fake that has no outcome left says so."""
    with override(fetch, outcomes=["once"]):
        assert fetch("a") == "once"
        with pytest.raises(OverrideError, match="more often than the 1 times"):
            fetch("a")


def test_a_value_in_place_of_a_function() -> None:
    """``returns`` is a value, None included; ``raises`` an exception."""
    with override(fetch, returns=None):
        assert fetch("a") is None
    with override(fetch, raises=KeyError("a")), pytest.raises(KeyError):
        fetch("a")


def test_methods() -> None:
    """The fake of a method holds for all instances, and gets the instance first."""

    class Shop:
        @task
        def price(self, item: str) -> int:
            return 1

    shop, other = Shop(), Shop()
    with override(shop.price, lambda self, item: (self, item)):
        assert shop.price("a") == (shop, "a")
        assert other.price("b") == (other, "b")
    assert shop.price("a") == 1


def test_flows() -> None:
    """A flow may have a fake, too; its parameters are checked as ever."""
    with override(report, lambda url: url.upper()) as fake:
        assert report("a") == "A"
        assert report.submit("b").result() == "B"
    assert [each["url"] for each in fake.calls] == ["a", "b"]
    assert report("a") == "real a 1"


@pytest.mark.parametrize("is_async", [False, True])
def test_async_tasks(is_async: bool) -> None:
    """An async task takes a plain function or a coroutine function."""

    async def coroutine(url: str) -> str:
        return url

    with override(afetch, coroutine if is_async else lambda url: url) as fake:
        assert asyncio.run(afetch("a")) == "a"
    assert fake.calls == [{"url": "a"}]
    assert asyncio.run(afetch("a")) == "real a"


def test_generators() -> None:
    """A generator task takes a generator, or a function that returns what it is to yield."""

    async def collect() -> list[int]:
        return [value async for value in asteps(3)]

    async def numbers(count: int) -> AsyncIterator[int]:
        yield count

    def plain(count: int) -> Iterator[int]:
        yield count

    with override(steps, returns=[7, 8]), override(asteps, returns=[7, 8]):
        assert list(steps(3)) == [7, 8]
        assert asyncio.run(collect()) == [7, 8]
    with override(steps, plain), override(asteps, numbers):
        assert list(steps(3)) == [3]
        assert asyncio.run(collect()) == [3]
    assert list(steps(2)) == [0, 1]


def test_nesting() -> None:
    """The innermost block counts; when one ends, what was there before it is called again."""
    outer, inner = override(fetch, returns="outer"), override(fetch, returns="inner")
    with outer:
        with inner:
            assert fetch("a") == "inner"
        assert fetch("a") == "outer"
    outer.__enter__()
    inner.__enter__()
    outer.__exit__()  # in another order, as threads may do
    assert fetch("a") == "inner"
    inner.__exit__()
    assert fetch("a") == "real a 1"


def test_one_block_at_a_time() -> None:
    """An override that is in use is not entered again."""
    once = override(fetch, returns=1)
    with once, pytest.raises(RuntimeError, match="in use"):
        once.__enter__()
    assert fetch("a") == "real a 1"


def test_nothing_leaks_from_a_block_that_fails() -> None:
    """A block that raises restores the function like any other."""
    with pytest.raises(ZeroDivisionError), override(fetch, returns=1):
        raise ZeroDivisionError
    assert not fetch.arguments.has_stand_in


def test_threads_see_it() -> None:
    """Threads that the test starts by itself call the fake; blocks in many threads leave nothing behind."""
    got: list[str] = []

    def work() -> None:
        for _ in range(20):
            with override(fetch, returns="fake"):
                got.append(fetch("a"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == ["fake"] * 80
    assert not fetch.arguments.has_stand_in


def test_as_a_decorator() -> None:
    """Decorated functions have the block around each call, sync or async, and keep their signature."""

    @override(fetch, returns="fake")
    def sync(url: str) -> str:
        return fetch(url)

    @override(afetch, returns="fake")
    async def coroutine(url: str) -> str:
        await asyncio.sleep(0)
        return await afetch(url)

    assert sync("a") == sync("a") == "fake"
    assert asyncio.run(coroutine("a")) == "fake"
    assert sync.__name__ == "sync"
    assert fetch("a") == "real a 1"


async def _acoroutine(url: str, **_: object) -> str:
    return url


def _generator(url: str, **_: object) -> Iterator[str]:
    yield url


@pytest.mark.parametrize(
    ("fake", "words"),
    [
        (lambda: 1, "no parameter 'url'"),
        (lambda url: 1, "no parameter 'depth'"),
        (lambda depth, url: 1, "another order"),
        (lambda url, more, *, depth: 1, "its 'more'"),
        (3, "`returns=`"),
        (report, "report.fn"),
        (_acoroutine, "is async"),
        (_generator, "is a generator"),
    ],
)
def test_a_fake_that_does_not_fit_is_refused(fake, words: str) -> None:
    """What could not be called as the function is fails where it is given, not in the run."""
    with pytest.raises(OverrideError, match=words):
        override(fetch, fake)
    assert not fetch.arguments.has_stand_in


@pytest.mark.parametrize(
    "options",
    [{}, {"returns": 1, "raises": ValueError}, {"fn": fake_of, "returns": 1}, {"raises": 3}],
)
def test_options_that_do_not_go_together(options) -> None:
    """Exactly one thing takes the place of the function."""
    with pytest.raises(OverrideError):
        override(fetch, **options)


def test_only_tasks_and_flows() -> None:
    """A plain function has no fake: nobody could call it in its place."""
    with pytest.raises(OverrideError, match=r"\.fn"):
        override(fetch.fn, returns=1)  # type: ignore[arg-type]


def test_mocks() -> None:
    """A mock is a fake like any other function."""
    mock = Mock(return_value="mocked")
    with override(fetch, mock):
        assert fetch("a", depth=3) == "mocked"
    mock.assert_called_once_with("a", depth=3)


def test_the_function_itself_stays() -> None:
    """Inside of the block ``fn`` is the real function, which the fake may call."""
    with override(fetch, lambda url, *, depth: f"<{fetch.fn(url, depth=depth)}>"):
        assert fetch("a") == "<real a 1>"


def _in_process(subject: Task[..., str]) -> str:
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def elsewhere() -> str:
        return subject.submit("a").result()

    return elsewhere()


@pytest.mark.slow
def test_worker_processes_get_the_fake() -> None:
    """A task that goes to a worker process has its fake with it in the block; its calls are not noted here."""
    with override(fetch, lambda url, *, depth: f"fake {url}") as fake:
        assert _in_process(fetch) == "fake a"
        assert fake.calls == []
    assert _in_process(fetch) == "real a 1"


@pytest.mark.slow
def test_isolated_calls_get_the_fake() -> None:
    """So has one that is called in a process of its own."""
    isolated = fetch.with_options(isolation="process")
    with override(fetch, lambda url, *, depth: f"fake {url}"):
        assert isolated("a") == "fake a"
    assert isolated("a") == "real a 1"


@pytest.mark.slow
def test_outcomes_do_not_go_to_other_processes() -> None:
    """Outcomes are counted in one process, so a worker process refuses them instead of beginning anew."""
    isolated = fetch.with_options(isolation="process")
    with override(fetch, outcomes=["x"]), pytest.raises((SerializationError, OverrideError), match="counted"):
        isolated("a")


def test_a_fake_tells_what_it_is() -> None:
    """Its text has the name of the task and the number of calls."""
    with override(fetch, returns=1) as fake:
        fetch("a")
    assert isinstance(fake, Fake)
    assert "'fetch'" in repr(fake)
    assert len(get_client().read_task_runs(names=["fetch"])) == 1
