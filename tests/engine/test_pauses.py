"""Flows that stand still in their process until somebody resumes them."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic
import pytest

from mainspring import (
    apause_flow_run,
    aresume_flow_run,
    flow,
    get_client,
    pause_flow_run,
    resume_flow_run,
    task,
)
from mainspring.context import FlowRunContext
from mainspring.events import subscribe
from mainspring.exceptions import (
    FlowPauseTimeout,
    MissingContextError,
    NotPausedError,
    NotResumable,
    ObjectNotFound,
    ParameterTypeError,
    PausedRun,
)
from mainspring.identifiers import new_id, to_uuid
from mainspring.recording import current_recorder
from mainspring.runs import FlowRun
from mainspring.states import Paused
from mainspring.task_runners import ThreadPoolTaskRunner
from tests.engine.history import flow_runs, sequence, task_runs
from tests.engine.waiting import Calling, paused, until


@dataclass
class Approval:
    ok: bool
    by: str = "nobody"


class Order(msgspec.Struct):
    amount: int


class Model(pydantic.BaseModel):
    amount: int


@task
def step(x: int) -> int:
    return x


def newest() -> FlowRun:
    return flow_runs()[-1]


@pytest.mark.contract("S-17", "S-6")
def test_a_run_waits_and_goes_on_with_the_input() -> None:
    """The run is Paused while the function waits, and goes on in the same attempt with the input as its type."""

    @flow
    def ask() -> int:
        answer: int = pause_flow_run(int, timeout=60, key="amount")
        return answer

    with Calling(ask) as call:
        run = paused()
        details = run.state.state_details
        assert details.pause_key == "amount"
        assert details.pause_timeout is not None
        assert details.run_input_keyset == {"response": "amount", "schema": "amount"}
        assert not details.pause_reschedule
        assert resume_flow_run(run.id, "7") is None
        assert call.result() == 7
    assert sequence(newest()) == "Pending Running Paused Resuming Completed"
    assert newest().run_count == 1


def test_a_run_that_waits_for_nothing_but_to_be_resumed() -> None:
    """Without a type there is no input, and the call returns None; the resumer may ask for the state."""

    @flow
    def ask() -> object:
        return pause_flow_run(timeout=60)

    with Calling(ask) as call:
        state = resume_flow_run(paused().id, return_state=True)
        assert state.name in ("Resuming", "Completed")
        assert call.result() is None


@pytest.mark.parametrize(
    ("kind", "given", "wanted"),
    [
        (int, 3, 3),
        (str, "x", "x"),
        (Approval, {"ok": True}, Approval(True)),
        (Approval, Approval(False, "me"), Approval(False, "me")),
        (Order, {"amount": "4"}, Order(4)),
        (Order, Order(5), Order(5)),
        (Model, {"amount": 6}, Model(amount=6)),
        (Model, Model(amount=7), Model(amount=7)),
        (dict[str, int], {"a": "1"}, {"a": 1}),
        (list[int] | None, None, None),
        (tuple[int, int], (1, 2), (1, 2)),
        (Any, {1: {2}}, {1: {2}}),
    ],
    ids=str,
)
def test_inputs_of_all_kinds(kind: Any, given: object, wanted: object) -> None:
    """An input arrives as its type, whether it was given as that or as what can be converted to it."""

    @flow
    def ask() -> object:
        return pause_flow_run(kind, timeout=60)

    with Calling(ask) as call:
        resume_flow_run(paused().id, given)
        assert call.result() == wanted
        assert type(call.result()) is type(wanted)


@pytest.mark.parametrize(
    ("kind", "wanted"), [(Approval | None, None), (int | None, None)], ids=["class", "number"]
)
def test_an_input_that_may_be_none(kind: Any, wanted: object) -> None:
    """Whoever gives no input gives None, if the type allows that."""

    @flow
    def ask() -> object:
        return pause_flow_run(kind, timeout=60)

    with Calling(ask) as call:
        resume_flow_run(paused().id)
        assert call.result() == wanted


def test_an_input_that_is_all_defaults() -> None:
    """A class all of whose fields have defaults needs no input."""

    @dataclass
    class Options:
        size: int = 3

    @flow
    def ask() -> object:
        return pause_flow_run(Options, timeout=60)

    with Calling(ask) as call:
        resume_flow_run(paused().id, {})
        assert call.result() == Options(3)


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        (int, "x", 1),
        (Approval, {"by": "me"}, {"ok": True}),
        (Order, {"amount": "x"}, {"amount": 1}),
        (list[Order] | None, [{"amount": "x"}], [{"amount": 1}]),
        (dict[str, int], [1], {}),
    ],
    ids=str,
)
def test_an_input_of_a_wrong_type(kind: Any, wrong: object, right: object) -> None:
    """It is refused before anything has changed, and the run is still paused."""

    @flow
    def ask() -> object:
        return pause_flow_run(kind, timeout=60)

    with Calling(ask) as call:
        run = paused()
        with pytest.raises(ParameterTypeError, match=r"cannot be resumed with this input[^$]*run_input"):
            resume_flow_run(run.id, wrong)
        assert paused().state.id == run.state.id
        resume_flow_run(run.id, right)
        call.result()


def test_an_input_that_only_the_flow_can_check() -> None:
    """The type of a function is not known to others: the flow refuses the input and waits on, and both say so."""

    @dataclass
    class Local:
        amount: int

    @flow
    def ask() -> int:
        answer: Local = pause_flow_run(Local, timeout=60)
        return answer.amount

    with Calling(ask) as call:
        run = paused()
        with pytest.raises(ParameterTypeError, match="amount"):
            resume_flow_run(run.id, {"amount": "many"})
        assert paused().id == run.id
        resume_flow_run(run.id, {"amount": 8})
        assert call.result() == 8
    lines = [line.message for line in get_client().read_logs(run.id)]
    assert any("is still paused" in line for line in lines)


@pytest.mark.contract("U-22")
def test_a_missing_or_unwanted_input() -> None:
    """An input that is needed and not given, or given and not wanted, is refused; nothing changes."""

    @flow
    def ask() -> object:
        return pause_flow_run(timeout=60), pause_flow_run(int, timeout=60)

    with Calling(ask) as call:
        run = paused()
        with pytest.raises(NotPausedError, match="it waits for none"):
            resume_flow_run(run.id, 3)
        resume_flow_run(run.id)
        until(lambda: paused().state.state_details.pause_key == "#2")
        with pytest.raises(NotResumable, match=r"waits for an input.*integer"):
            resume_flow_run(run.id)
        resume_flow_run(run.id, 4)
        assert call.result() == (None, 4)


@pytest.mark.contract("U-22")
def test_what_is_not_paused_takes_no_input() -> None:
    """Inputs for runs that are running, over, or not there are errors that say which; nothing changes."""
    reached, go_on = threading.Event(), threading.Event()

    @flow(persist_result=True)
    def work(fails: bool) -> None:
        reached.set()
        go_on.wait()
        if fails:
            raise ValueError

    with Calling(lambda: work(True)):
        reached.wait()
        run = until(lambda: get_client().read_flow_runs(states=["RUNNING"]))[0]
        for given in ({}, {"run_input": 3}):
            with pytest.raises(NotPausedError):
                resume_flow_run(run.id, **given)
        go_on.set()
    with pytest.raises(NotPausedError, match="It is Failed"):
        resume_flow_run(run.id, 3, flow=work)
    work(False)
    with pytest.raises(NotResumable, match="it has completed"):
        resume_flow_run(newest().id, 3)
    with pytest.raises(ObjectNotFound):
        resume_flow_run(to_uuid(new_id()), 3)  # type: ignore[arg-type]


@pytest.mark.contract("U-22")
def test_nobody_comes_in_time() -> None:
    """The flow gets an error that it may catch, and goes on running; a late answer is refused."""

    @flow
    def ask() -> int:
        try:
            pause_flow_run(int, timeout=0.05)
        except FlowPauseTimeout:
            return step(5)
        return 0

    assert ask() == 5
    assert sequence(newest()) == "Pending Running Paused Resuming Completed"


def test_nobody_comes_in_time_and_the_flow_fails() -> None:
    """An error that the flow does not catch fails it; the next attempt asks again."""
    asked: list[int] = []

    @flow(retries=1)
    def ask() -> None:
        asked.append(1)
        pause_flow_run(int, timeout=0.05)

    with pytest.raises(FlowPauseTimeout, match=r"not resumed within 0\.05"):
        ask()
    assert sequence(newest()) == "Pending Running Paused Resuming Retrying Paused Resuming Failed"
    assert len(asked) == 2


def test_a_retry_gets_the_input_that_was_given() -> None:
    """The next attempt of a flow does not ask again for what it was told."""
    attempts: list[int] = []

    @flow(retries=1)
    def ask() -> int:
        answer: int = pause_flow_run(int, timeout=60)
        attempts.append(answer)
        if len(attempts) == 1:
            raise ValueError
        return answer

    with Calling(ask) as call:
        resume_flow_run(paused().id, 3)
        assert call.result() == 3
    assert attempts == [3, 3]


def test_a_key_stands_for_one_pause() -> None:
    """Two calls with one key are one pause: the second gets the answer of the first at once."""

    @flow
    def ask() -> object:
        return pause_flow_run(int, timeout=60, key="k"), pause_flow_run(str | int, timeout=60, key="k")

    with Calling(ask) as call:
        resume_flow_run(paused().id, 3)
        assert call.result() == (3, 3)


def test_tasks_go_on_during_a_pause() -> None:
    """What was submitted before the pause runs during it, and its results count, as the attempt is the same."""
    go_on = threading.Event()

    @task
    def slow() -> int:
        go_on.wait(20)
        return 1

    @flow(persist_result=True, task_runner=ThreadPoolTaskRunner(max_workers=1))
    def ask() -> int:
        future = slow.submit()
        pause_flow_run(timeout=60)
        go_on.set()
        return future.result() + step.submit(1).result()

    with Calling(ask) as call:
        resume_flow_run(paused().id)
        assert call.result() == 2
    assert {run.state_name for run in task_runs()} == {"Completed"}


def test_async_flows() -> None:
    """An async flow lets its event loop go on, also if it is resumed from there."""

    @flow
    async def ask() -> int:
        answer: int = await apause_flow_run(int, timeout=60)
        return answer

    async def both() -> int:
        asking: Any = asyncio.ensure_future(ask())
        run = await asyncio.to_thread(paused)
        await aresume_flow_run(run.id, 6)
        answer: int = await asking
        return answer

    assert asyncio.run(both()) == 6
    assert sequence(newest()) == "Pending Running Paused Resuming Completed"


def test_resuming_from_the_thread_of_the_event_loop() -> None:
    """A sync resume in the thread that has to take the answer does not wait for that."""

    @flow
    async def ask() -> int:
        answer: int = await apause_flow_run(int, timeout=60)
        return answer

    async def both() -> int:
        asking: Any = asyncio.ensure_future(ask())
        run = await asyncio.to_thread(paused)
        resume_flow_run(run.id, 6)
        answer: int = await asking
        return answer

    assert asyncio.run(both()) == 6


def test_a_sync_pause_would_stop_an_event_loop() -> None:
    """It is refused before anything has changed."""

    @flow
    async def ask() -> None:
        pause_flow_run()

    with pytest.raises(RuntimeError, match="await apause_flow_run"):
        asyncio.run(ask())
    assert sequence(newest()) == "Pending Running Failed"


def test_cancelling_a_pause() -> None:
    """A flow that stops waiting by itself is running again."""

    @flow
    async def ask() -> int:
        try:
            async with asyncio.timeout(0.05):
                await apause_flow_run(timeout=60)
        except TimeoutError:
            return step(1)
        return 0

    assert asyncio.run(ask()) == 1
    assert sequence(newest()) == "Pending Running Paused Resuming Completed"


@pytest.mark.parametrize("is_async", [False, True])
def test_the_time_limit_goes_on(is_async: bool) -> None:
    """A flow with a time limit times out while it waits."""

    @flow(timeout_seconds=0.1)
    def ask() -> None:
        pause_flow_run(timeout=60)

    @flow(timeout_seconds=0.1)
    async def aask() -> None:
        await apause_flow_run(timeout=60, poll_interval=30)

    with pytest.raises(TimeoutError):
        asyncio.run(aask()) if is_async else ask()
    assert sequence(newest()) == "Pending Running Paused Resuming TimedOut"


def test_generator_flows() -> None:
    """A generator flow pauses between what it yields."""

    @flow
    def ask() -> Any:
        yield 1
        yield pause_flow_run(int, timeout=60)

    with Calling(lambda: list(ask())) as call:
        resume_flow_run(paused().id, 2)
        assert call.result() == [1, 2]


def test_subflows() -> None:
    """A subflow pauses alone; it is resumed by the id of the outermost run, which its own id leads to."""

    @flow
    def part() -> int:
        answer: int = pause_flow_run(int, timeout=60)
        return answer

    @flow
    def whole() -> int:
        return part()

    with Calling(whole) as call:
        run = paused()
        [root] = [each for each in flow_runs() if each.flow_name == "whole"]
        assert run.flow_name == "part"
        assert root.state.is_running()
        with pytest.raises(NotResumable, match=str(root.id)):
            resume_flow_run(run.id, 1)
        resume_flow_run(root.id, 2)
        assert call.result() == 2
    [stand_in] = task_runs()
    assert sequence(stand_in) == "Pending Running Paused Resuming Completed"
    assert stand_in.run_count == 1


def test_several_subflows_that_wait() -> None:
    """Of several pauses in a run, one is chosen by its key; without it the error names the keys."""

    @flow
    def part(name: str) -> str:
        answer: str = pause_flow_run(str, timeout=60, key=name)
        return answer

    @flow
    def whole() -> list[str]:
        return [future.result() for future in [part.submit(name) for name in "ab"]]

    with Calling(whole) as call:
        until(lambda: len(get_client().read_flow_runs(states=["PAUSED"])) == 2)
        [root] = [each for each in flow_runs() if each.flow_name == "whole"]
        with pytest.raises(NotResumable, match=r"several pauses wait in it.*'a' of .*'b' of"):
            resume_flow_run(root.id, "x")
        with pytest.raises(NotResumable, match="no pause waits in it with the key 'c'"):
            resume_flow_run(root.id, "x", key="c")
        resume_flow_run(root.id, "B", key="b")
        resume_flow_run(root.id, "A", key=str(paused().id))
        assert call.result() == ["A", "B"]


def test_two_answers_at_once() -> None:
    """One of two resumes wins; the other one says that somebody else was first."""

    @flow
    def ask() -> int:
        answer: int = pause_flow_run(int, timeout=60)
        return answer

    outcomes: list[object] = []

    def answer(run: FlowRun, number: int) -> None:
        try:
            resume_flow_run(run.id, number)
            outcomes.append(number)
        except NotResumable as error:
            outcomes.append(error)

    with Calling(ask) as call:
        run = paused()
        with Calling(lambda: answer(run, 1)), Calling(lambda: answer(run, 2)):
            pass
        numbers = [each for each in outcomes if isinstance(each, int)]
        assert numbers == [call.result()]
        assert len(outcomes) == 2


def test_events_tell_of_pauses() -> None:
    """Both states of a pause are events of the flow run, like all states."""
    told: list[str] = []

    @flow
    def ask() -> None:
        pause_flow_run(timeout=60)

    def note(event: Any) -> None:
        told.append(event.event)

    with subscribe(note), Calling(ask) as call:
        resume_flow_run(paused().id)
        call.result()
    names = [name.rpartition(".")[2] for name in told if "flow-run" in name]
    assert names == ["Pending", "Running", "Paused", "Resuming", "Completed"]


def test_hooks_are_for_attempts() -> None:
    """Hooks of the flow are called for its beginning and its end, not for a pause."""
    called: list[str] = []

    def note(_: object, __: object, state: Any) -> None:
        called.append(state.name)

    @flow(on_running=[note], on_completion=[note])
    def ask() -> None:
        pause_flow_run(timeout=60)

    with Calling(ask) as call:
        resume_flow_run(paused().id)
        call.result()
    assert called == ["Running", "Completed"]


@pytest.mark.contract("F-62", "S-21")
def test_a_state_that_a_flow_has_returned() -> None:
    """Nothing waits in a run whose function has returned a paused state, so nobody can resume it."""

    @flow(persist_result=True)
    def left() -> object:
        return Paused()

    with pytest.raises(PausedRun):
        left()
    assert left(return_state=True).is_paused()
    with pytest.raises(NotPausedError, match="has returned the paused state"):
        resume_flow_run(newest().id, flow=left)


@pytest.mark.contract("C-7")
def test_pauses_are_counted_in_the_context() -> None:
    """The context of a flow run knows how many pauses it has come to."""

    @flow
    def ask() -> list[int]:
        context = FlowRunContext.get()
        assert context is not None
        before = context.observed_flow_pauses.get("counter", 0)
        pause_flow_run(timeout=60)
        return [before, *context.observed_flow_pauses.values()]

    with Calling(ask) as call:
        resume_flow_run(paused().id)
        assert call.result() == [0, 1]


@pytest.mark.contract("U-22")
def test_only_in_flows() -> None:
    """Outside of a flow, and in a task, there is a clear error."""
    with pytest.raises(MissingContextError, match="outside of any"):
        pause_flow_run()

    @task
    def asking() -> None:
        pause_flow_run()

    @flow
    def whole() -> None:
        asking()

    with pytest.raises(MissingContextError, match="in the task run 'asking"):
        whole()


def test_one_pause_at_a_time() -> None:
    """A second pause of the same run, in another asyncio task, is refused while the first one waits."""

    @flow
    async def ask() -> None:
        first = asyncio.ensure_future(apause_flow_run(timeout=60))
        run = await asyncio.to_thread(paused)
        with pytest.raises(RuntimeError, match="paused already"):
            await apause_flow_run(timeout=60)
        await aresume_flow_run(run.id)
        await first

    asyncio.run(ask())
    assert sequence(newest()) == "Pending Running Paused Resuming Completed"


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"timeout": 0}, ValueError, "timeout"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"timeout": float("inf")}, ValueError, "timeout"),
        ({"timeout": 1e30}, ValueError, "timeout"),
        ({"timeout": "1"}, TypeError, "timeout"),
        ({"timeout": True}, TypeError, "timeout"),
        ({"timeout": None}, TypeError, "timeout"),
        ({"poll_interval": 0}, ValueError, "poll_interval"),
        ({"poll_interval": float("nan")}, ValueError, "poll_interval"),
        ({"poll_interval": None}, TypeError, "poll_interval"),
        ({"key": 3}, TypeError, "key"),
        ({"key": ""}, ValueError, "key"),
        ({"key": "#1"}, ValueError, "key"),
        ({"wait_for_input": 3}, TypeError, "wait_for_input"),
        ({"wait_for_input": "int"}, TypeError, "wait_for_input"),
        ({"wait_for_input": Approval(True)}, TypeError, "wait_for_input"),
        ({"wait_for_input": Callable[[int], int]}, None, ""),
    ],
    ids=str,
)
def test_bad_arguments(options: Any, kind: type[Exception] | None, text: str) -> None:
    """They are refused before anything has changed, by their names."""

    @flow
    def ask() -> None:
        pause_flow_run(**{"timeout": 0.01, **options})

    if kind is None:
        with pytest.raises(FlowPauseTimeout):
            ask()
        return
    with pytest.raises(kind, match=f"Invalid `{text}`"):
        ask()
    assert sequence(newest()) == "Pending Running Failed"


def test_what_is_kept_of_a_pause() -> None:
    """The history has the schema and the input of a pause, for whoever reads it."""

    @flow
    def ask() -> object:
        return pause_flow_run(Approval, timeout=60)

    with Calling(ask) as call:
        run = paused()
        resume_flow_run(run.id, {"ok": "yes"})
        call.result()
    found = current_recorder().store.read_pause(run.key, "#1")
    assert found is not None
    assert msgspec.json.decode(found.schema or "")["required"] == ["ok"]
    assert msgspec.json.decode(found.input) == {"ok": True, "by": "nobody"}  # type: ignore[arg-type]
