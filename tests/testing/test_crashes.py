"""Killing a flow everywhere: what holds is found to hold, and what does not is found and pointed at."""

import asyncio
import importlib.util
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from mainspring import flow, get_client, task
from mainspring.exceptions import ConfigurationError, ParameterTypeError
from mainspring.store.protocol import RunStore
from mainspring.testing import Crash, CrashError, crash_everywhere, virtual_time

EXAMPLES = Path(__file__).parents[2] / "examples"


@task
def increment(x: int) -> int:
    return x + 1


@task
def charge(amount: int) -> int:
    """Not safe: nothing tells that it was done before."""
    with Path("ledger.txt").open("a") as ledger:
        ledger.write(f"{amount}\n")
    return amount


@flow(persist_result=True)
def counting(start: int = 1) -> int:
    for _ in range(5):
        start = increment(start)
    return start


@flow(persist_result=True)
def paying() -> int:
    amount = increment(9)
    charge(amount)
    return increment(amount)


def charged_once(folder: Path) -> None:
    assert (folder / "ledger.txt").read_text() == "10\n"


def example(name: str) -> Any:
    """An example as a module of its own, which a test may change."""
    spec = importlib.util.spec_from_file_location(f"crashing_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# What holds


def test_a_flow_that_is_safe_holds_everywhere():
    """Each point is tried once, and the flow comes to the same each time."""
    report = crash_everywhere(counting)
    assert report.points >= 15
    assert [each.plan for each in report.rounds] == [(number,) for number in range(1, report.points + 1)]
    assert all(each.deaths for each in report.rounds)
    assert not report.failed
    assert report.culprit is None
    assert "all held" in str(report)


@pytest.mark.parametrize("misses", [1, 5])
def test_a_life_that_misses_its_point_is_lived_again(tmp_path: Path, misses: int):
    """A point that is not passed in some lives is tried up to three times; the report says if that was in vain."""
    lives = tmp_path / "lives"

    @flow(persist_result=True)
    def wavering() -> None:
        increment(1)
        with lives.open("a") as file:
            file.write("another\n")
        if not 2 < len(lives.read_text().splitlines()) <= 2 + misses:
            increment(2)

    report = crash_everywhere(wavering, lambda: True, every=6, at_once=1)
    assert [bool(each.deaths) for each in report.rounds] == [True, misses == 1]
    assert len(lives.read_text().splitlines()) == 5
    told = "2 deaths at 9 points" if misses == 1 else "1 deaths at 9 points (1 not reached)"
    assert str(report).endswith(f"{told}, all held")


def test_an_async_flow_is_called_in_a_loop():
    """An async flow is run and resumed as a sync one is."""

    @task
    async def double(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    @flow(persist_result=True)
    async def doubling() -> int:
        return await double(await double(1))

    assert crash_everywhere(doubling).points > 5


def test_generator_flows_come_to_the_list_of_what_they_yield():
    """What a generator flow yields is compared as a list, sync and async."""

    @flow(persist_result=True)
    def numbers() -> Iterator[int]:
        for number in range(2):
            yield increment(number)

    @flow(persist_result=True)
    async def later() -> AsyncIterator[int]:
        for number in range(2):
            yield number

    assert not crash_everywhere(numbers, every=2).failed
    assert not crash_everywhere(later, every=2).failed


def test_nothing_of_it_is_left_here(mainspring_home: Path, tmp_path: Path):
    """The process that asks keeps its home, its folder and its environment as they were."""
    before = os.getcwd(), dict(os.environ)  # noqa: PTH109
    crash_everywhere(counting, most=2)
    assert (os.getcwd(), dict(os.environ)) == before  # noqa: PTH109
    assert not mainspring_home.exists()


def test_arguments_are_passed():
    """The flow gets positional and named arguments in each life."""

    @flow(persist_result=True)
    def adding(a: int, b: int) -> int:
        return increment(a + b)

    seen = crash_everywhere(adding, lambda result: result == 42, args=(1,), kwargs={"b": 40}, most=3)
    assert len(seen.rounds) == 3


def test_a_check_gets_what_it_asks_for(tmp_path: Path):
    """A check sees the run, the store, the result and the folder, alone or together."""

    def check(run: Any, store: RunStore, result: int, folder: Path, crash: Crash) -> None:
        assert run.state.is_completed()
        assert store.read_run(run.key) is not None
        assert result == 6
        assert folder == Path.cwd()
        assert len(crash.deaths) <= 1

    crash_everywhere(counting, check, every=4)


def test_lives_of_a_round_work_in_one_folder_and_no_other(tmp_path: Path):
    """What is prepared is there in each round, and what tasks write is seen in that round only."""

    @task
    def append() -> str:
        lines = Path("names.txt").read_text().splitlines()
        if "Ada" not in lines:
            with Path("names.txt").open("a") as file:
                file.write("Ada\n")
        return Path("names.txt").read_text()

    @flow(persist_result=True)
    def listing() -> str:
        return append()

    def prepare() -> None:
        Path("names.txt").write_text("Grace\n")

    crash_everywhere(
        listing, lambda result: result == "Grace\nAda\n", prepare=prepare, home=tmp_path / "kept"
    )
    assert (tmp_path / "kept" / "round-1" / "work" / "names.txt").read_text() == "Grace\nAda\n"
    assert not (tmp_path / "names.txt").exists()


def test_several_deaths_in_a_row():
    """With two deaths, resumptions are killed, too, at points that a seed chooses."""
    report = crash_everywhere(counting, deaths=2, every=5, seed=7)
    twice = [each for each in report.rounds if len(each.plan) == 2]
    assert twice
    assert any(len(each.deaths) == 2 for each in twice)
    again = crash_everywhere(counting, points=[twice[0].plan])
    assert [each.plan for each in again.rounds] == [twice[0].plan]


def test_a_flow_that_keeps_nothing_is_called_again():
    """Where nothing can be resumed the flow is called again, and may be safe all the same."""

    @flow
    def forgetful() -> int:
        return increment(1)

    assert not crash_everywhere(forgetful).failed


class Slow:
    """An argument that takes so long to be kept that others see the run meanwhile."""

    def __reduce__(self) -> Any:
        time.sleep(0.3)
        return Slow, ()


def test_a_run_that_has_not_begun_is_called_again():
    """Where the run is there but not what it takes to resume it, it has recorded nothing; the flow is called again."""

    @flow(persist_result=True)
    def patient(_: Any) -> int:
        return increment(1)

    report = crash_everywhere(patient, args=(Slow(),), points=[1])
    (death,) = report.rounds[0].deaths
    assert death.startswith("after 'increment-")
    assert not report.failed


def test_mapped_tasks_and_subflows_hold():
    """Tasks on threads and flows in flows are killed and gone on with as well."""

    @flow(persist_result=True)
    def inner(x: int) -> int:
        return increment(x)

    @flow(persist_result=True)
    def outer() -> int:
        return sum(increment.map([1, 2, 3]).result()) + inner(1)

    assert not crash_everywhere(outer, every=2).failed


@pytest.mark.parametrize("name", ["quickstart", "payments"])
def test_examples_hold(name: str):
    """The examples that are flows without arguments are safe to kill."""
    module = example(name)
    report = crash_everywhere(module.settle if name == "payments" else module.quickstart, most=20)
    assert not report.failed


def test_the_example_of_subflows_holds():
    """What a flow of flows comes to is among what it may come to, wherever it is killed."""

    def found(result: list[Any] | None) -> bool:
        return result is None or len(result) == 2  # as nothing keeps what it has come to

    module = example("subflows")
    module.PACKAGES = ["json", "tomllib"]
    crash_everywhere(module.find_long_functions, found, args=(2,), most=6)


def test_the_example_of_pages_holds():
    """A flow that asks a server is killed while the server goes on."""

    def counted(result: int | None) -> bool:
        return result in (10, None)  # nothing keeps what it has come to, if the last point is among the six

    module = example("pages")
    module.PAGES = 4
    there: SimpleQueue[Any] = SimpleQueue()

    async def serve() -> None:
        async with module.internet() as port:
            done = asyncio.Event()
            there.put((port, partial(asyncio.get_running_loop().call_soon_threadsafe, done.set)))
            await done.wait()

    server = threading.Thread(target=asyncio.run, args=(serve(),))
    server.start()
    port, end = there.get(timeout=20)
    try:
        crash_everywhere(module.survey, counted, args=(port,), most=6)
    finally:
        end()
        server.join()


# What does not hold


def test_a_task_that_is_no_good_twice_is_pointed_at():
    """The message says at which points it was done twice, where the task is, and how to see it again."""
    with pytest.raises(CrashError) as caught:
        crash_everywhere(paying, charged_once)
    report = caught.value.report
    line = charge.fn.__code__.co_firstlineno
    assert report.culprit.task == "charge"
    assert report.culprit.place == f"{__file__}:{line}"
    message = str(caught.value)
    assert "before commit of Completed of 'charge-" in message
    assert "after 'charge-" in message
    assert f"Look at the task 'charge', {__file__}:{line}" in message
    number = report.failed[0].plan[0]
    assert f"points=[{number}]" in message
    with pytest.raises(CrashError, match=f"point {number}"):
        crash_everywhere(paying, charged_once, points=[number])
    assert isinstance(caught.value, AssertionError)


def test_a_bug_that_is_planted_in_an_example_is_found():
    """Without the question whether it was done before, the payments of the example are made twice."""
    module = example("payments")

    def paid_once(folder: Path) -> None:
        orders = [number for number, _ in module.Bank(str(folder / "bank.jsonl")).orders()]
        assert len(orders) == len(set(orders)) == len(module.BILLS)

    crash_everywhere(module.settle, paid_once, every=3)
    module.Bank.pay = module.Bank.carry_out
    with pytest.raises(CrashError) as caught:
        crash_everywhere(module.settle, paid_once)
    assert caught.value.report.culprit.task == "charge"
    assert f"{EXAMPLES / 'payments.py'}:" in str(caught.value)


def test_what_a_flow_does_outside_of_its_tasks_is_pointed_at():
    """If no task explains it, it is the function of the flow."""

    @flow(persist_result=True)
    def careless() -> int:
        with Path("ledger.txt").open("a") as ledger:
            ledger.write("10\n")
        return increment(1)

    with pytest.raises(CrashError, match=r"No task explains it.*outside of its tasks") as caught:
        crash_everywhere(careless, charged_once)
    assert caught.value.report.culprit is None


def test_another_result_is_a_failure():
    """Without a check, the flow has to come to what it comes to undisturbed."""

    @task
    def lives() -> int:
        with Path("lives.txt").open("a") as file:
            file.write(".")
        return len(Path("lives.txt").read_text())

    @flow(persist_result=True)
    def telling() -> int:
        return lives()

    with pytest.raises(CrashError, match="it came to 2, and undisturbed to 1"):
        crash_everywhere(telling)


def test_a_resumption_that_fails_is_a_failure():
    """A flow that cannot be gone on with is not safe, and its error is told."""

    @task
    def first() -> None:
        if Path("begun").exists():
            raise ValueError("begun before")
        Path("begun").touch()

    @flow(persist_result=True)
    def stubborn() -> None:
        first()

    with pytest.raises(CrashError, match="going on with it raised ValueError: begun before"):
        crash_everywhere(stubborn)


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        (lambda: False, "says no"),
        (lambda: ["one is missing", "one is too many"], "one is missing; one is too many"),
    ],
)
def test_checks_may_say_no_without_raising(check: Any, problem: str):
    """False, and a list of texts, is a failure; here already if nothing happens."""
    with pytest.raises(CrashError, match=f"fails if nothing happens to it: .*{problem}"):
        crash_everywhere(counting, check)


# What cannot be tried


def test_no_flow_is_refused():
    """A function that is no flow is refused."""
    with pytest.raises(ConfigurationError, match="needs a flow"):
        crash_everywhere(print)
    with pytest.raises(ConfigurationError, match="needs a flow"):
        crash_everywhere(increment)


def test_missing_arguments_are_told():
    """A flow that needs arguments and gets none is refused, and the message says where to give them."""

    @flow(persist_result=True)
    def adding(a: int, b: int) -> int:
        return a + b

    with pytest.raises(ParameterTypeError, match=r"missing a required argument: 'b'.*args=\(\.\.\.\)"):
        crash_everywhere(adding, args=(1,))


def test_a_flow_that_fails_undisturbed_is_not_killed():
    """A flow that fails by itself teaches nothing; its error and what it has printed are in the message."""

    @flow(persist_result=True)
    def broken() -> None:
        print("on my way")
        raise ValueError("out of order")

    with pytest.raises(
        CrashError, match=r"(?s)fails if nothing happens.*ValueError: out of order.*on my way"
    ):
        crash_everywhere(broken)


@pytest.mark.parametrize(
    "options",
    [
        {"every": 0},
        {"every": 1.5},
        {"most": 0},
        {"deaths": 0},
        {"points": []},
        {"points": [0]},
        {"points": ["a"]},
        {"points": 5},
        {"patience": "long"},
        {"home": 5},
        {"prepare": 4},
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]):
    """Numbers below one are refused, and so is what is none of its kind."""
    with pytest.raises(ConfigurationError):
        crash_everywhere(counting, **options)


def test_a_point_that_there_is_not_is_told():
    """A number beyond the last point is refused, with how many there are."""
    with pytest.raises(ConfigurationError, match=r"no point 1000: the flow has passed \d+ points"):
        crash_everywhere(counting, points=[1000])


def test_a_check_that_asks_for_what_there_is_not_is_refused():
    """The names that a check may ask for are told."""
    with pytest.raises(ConfigurationError, match=r"asks for 'ledger'.*run, store, result, folder, crash"):
        crash_everywhere(counting, lambda ledger: True)


def test_a_life_that_hangs_is_ended():
    """A life that does not end is killed after some time, which is a failure of its own."""

    @task
    def wait() -> None:
        if Path("begun").exists():
            time.sleep(600)
        Path("begun").touch()

    @flow(persist_result=True)
    def waiting() -> None:
        wait()

    with pytest.raises(CrashError, match="did not end within 3 seconds"):
        crash_everywhere(waiting, patience=3, most=3)


def test_it_is_told_if_the_system_cannot_fork(monkeypatch: pytest.MonkeyPatch):
    """Without fork there is a clear error."""
    monkeypatch.delattr(os, "fork")
    with pytest.raises(Exception, match="processes that are forked"):
        crash_everywhere(counting)


def test_a_loop_that_the_parent_keeps_is_not_used_in_a_child():
    """A process that has awaited something from sync code may fork children that do the same."""

    @task
    async def double(x: int) -> int:
        return 2 * x

    @flow(persist_result=True)
    async def doubling() -> int:
        return await double(1)

    @flow(persist_result=True)
    def around() -> int:
        return asyncio.run(doubling())

    with get_client(sync_client=True) as client:
        client.read_flow_runs()

    async def hook(*_: Any) -> None:
        await asyncio.sleep(0)

    awaiting = increment.with_options(on_completion=[hook])
    assert awaiting(1) == 2
    assert not crash_everywhere(around, every=4).failed
    assert awaiting(1) == 2


class Report:
    """What can be pickled, and says nothing of when it is equal to another one."""

    def __init__(self, lines: int) -> None:
        self.lines = lines


@flow(persist_result=True)
def reporting() -> Report:
    return Report(increment(1))


def test_a_result_without_equality_is_compared_by_what_it_holds():
    """Objects whose class has no ``__eq__`` come from another process each time, and may be the same all the same."""
    assert not crash_everywhere(reporting, points=[1, 3]).failed


@flow(persist_result=True)
def stamping() -> float:
    return increment(1) + time.time()


def test_a_result_that_is_another_each_time_needs_a_check():
    """What a flow comes to undisturbed has to be the same twice, or it cannot tell of harm."""
    with pytest.raises(CrashError, match=r"does not come to the same each time.*Give a check"):
        crash_everywhere(stamping, points=[1])
    assert not crash_everywhere(stamping, lambda: None, points=[1]).failed


class Office:
    @flow(persist_result=True)
    def opening(self) -> int:
        return increment(1)


def test_a_flow_that_is_a_method():
    """It is called and resumed with its object."""
    assert not crash_everywhere(Office().opening).failed


def test_virtual_time_is_refused():
    """Processes that are killed live in real time."""
    with virtual_time(), pytest.raises(ConfigurationError, match="cannot begin in virtual time"):
        crash_everywhere(counting)


def test_a_flow_that_waits_for_long_says_what_to_do():
    """Retries an hour apart would take that hour: the message names the flow, and what can be done."""

    @task(retries=1, retry_delay_seconds=3600)
    def fail() -> None:
        raise ConnectionError

    @flow
    def waiting() -> None:
        fail()

    with pytest.raises(CrashError, match=r"'waiting' does not end within 1 seconds.*give more patience"):
        crash_everywhere(waiting, patience=1)
