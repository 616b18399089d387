"""Flows that leave their process until somebody resumes them, here or in another process."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mainspring import (
    aresume_flow_run,
    asuspend_flow_run,
    flow,
    get_client,
    pause_flow_run,
    resume_flow_run,
    suspend_flow_run,
    task,
)
from mainspring.cache_policies import NO_CACHE
from mainspring.exceptions import (
    FlowPauseTimeout,
    MissingContextError,
    NotPausedError,
    NotResumable,
    NotSuspendable,
    ObjectNotFound,
    ParameterTypeError,
    Pause,
    PausedRun,
)
from mainspring.identifiers import new_id, to_uuid
from mainspring.runs import FlowRun
from mainspring.states import State
from mainspring.transactions import transaction
from tests.engine.history import flow_runs, sequence, task_runs
from tests.engine.resumable import ROOT, Program
from tests.engine.waiting import LIMIT, Calling, paused, until

journal: list[str] = []


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    """Each test begins with an empty journal."""
    journal.clear()


@task(cache_policy=NO_CACHE)
def step(x: object) -> object:
    journal.append(f"step {x}")
    return x


@dataclass
class Approval:
    ok: bool


def newest(name: str | None = None) -> FlowRun:
    return [run for run in flow_runs() if name in (None, run.flow_name)][-1]


@flow(persist_result=True)
def ask() -> tuple[object, bool, object]:
    first = step(1)
    approval: Approval = suspend_flow_run(Approval)
    return first, approval.ok, step(2)


@pytest.mark.contract("S-18", "V-29", "X-17")
def test_a_run_leaves_and_is_resumed() -> None:
    """The call raises the signal with the suspended state; a resume calls the flow again, and no step twice."""
    with pytest.raises(Pause) as signal_:
        ask()
    run = newest()
    state = signal_.value.state
    assert isinstance(state, State)
    assert state.id == run.state.id
    assert (state.name, state.type.value) == ("Suspended", "PAUSED")
    assert state.state_details.pause_reschedule
    assert state.state_details.pause_key == "#1"
    assert resume_flow_run(run.id, {"ok": True}, flow=ask) == (1, True, 2)
    assert journal == ["step 1", "step 2"]
    assert sequence(newest()) == "Pending Running Suspended Running Completed"
    assert newest().run_count == 2


def test_the_state_instead_of_the_signal() -> None:
    """With ``return_state`` the call gives the suspended state, which has no result yet."""
    state = ask(return_state=True)
    assert state.name == "Suspended"
    with pytest.raises(PausedRun):
        state.result()
    done = resume_flow_run(newest().id, Approval(False), flow=ask, return_state=True)
    assert done.result() == (1, False, 2)


def test_bad_answers_change_nothing() -> None:
    """A wrong, missing or second input is refused, and the run is as it was."""
    before = ask(return_state=True)
    run = newest()
    with pytest.raises(ParameterTypeError, match="run_input"):
        resume_flow_run(run.id, {"ok": "perhaps"}, flow=ask)
    with pytest.raises(NotResumable, match="waits for an input"):
        resume_flow_run(run.id, flow=ask)
    assert newest().state.id == before.id
    assert journal == ["step 1"]
    resume_flow_run(run.id, {"ok": True}, flow=ask)
    with pytest.raises(NotResumable, match="has completed"):
        resume_flow_run(run.id, {"ok": True}, flow=ask)


def test_several_pauses() -> None:
    """Each resume answers the next call; those before it have their answers."""

    @flow(persist_result=True)
    def many() -> list[int]:
        return [suspend_flow_run(int) for _ in range(3)]

    state = many(return_state=True)
    run = newest()
    for number in range(2):
        state = resume_flow_run(run.id, number, flow=many, return_state=True)
        assert state.name == "Suspended"
    assert resume_flow_run(run.id, 2, flow=many) == [0, 1, 2]


def test_async_flows() -> None:
    """Async flows leave and are resumed in the same way."""

    @flow(persist_result=True)
    async def aask() -> int:
        answer: int = await asuspend_flow_run(int)
        return answer

    with pytest.raises(Pause):
        asyncio.run(aask())
    assert asyncio.run(aresume_flow_run(newest().id, 4, flow=aask)) == 4


def test_generator_flows() -> None:
    """The consumer gets the signal; a resume gives all values from the start."""

    @flow(persist_result=True)
    def counting() -> Any:
        yield 1
        yield suspend_flow_run(int)

    values = counting()
    assert next(values) == 1
    with pytest.raises(Pause):
        next(values)
    assert resume_flow_run(newest().id, 2, flow=counting) == [1, 2]
    assert sequence(newest()) == "Pending Running Suspended Running Completed"


def test_tasks_under_way_are_waited_for() -> None:
    """A run is suspended when what it has submitted is over, and the results of that are kept."""
    begun = threading.Event()

    @task
    def slow() -> int:
        begun.set()
        time.sleep(0.1)
        journal.append("slow")
        return 1

    @flow(persist_result=True)
    def whole() -> int:
        future = slow.submit()
        begun.wait()
        suspend_flow_run()
        return future.result()

    whole(return_state=True)
    assert [run.state_name for run in task_runs()] == ["Completed"]
    assert resume_flow_run(newest().id, flow=whole) == 1
    assert journal == ["slow"]


@flow(persist_result=True)
def part(x: int) -> int:
    step(x)
    answer: int = suspend_flow_run(int)
    return answer


@flow(persist_result=True)
def whole(submits: bool = False) -> tuple[object, int]:
    first = step("first")
    return first, (part.submit(7).result() if submits else part(7))


@pytest.mark.contract("V-29")
@pytest.mark.parametrize("submits", [False, True])
def test_subflows_take_the_run_around_along(submits: bool) -> None:
    """All runs around are suspended, too; the outermost one is resumed, and each goes on under its own id."""
    assert whole(submits, return_state=True).name == "Suspended"
    root, inner = newest("whole"), newest("part")
    assert inner.state.name == "Suspended"
    with pytest.raises(NotResumable, match=str(root.id)):
        resume_flow_run(inner.id, 1, flow=part)
    assert resume_flow_run(root.id, 5, flow=whole) == ("first", 5)
    assert journal == ["step first", "step 7"]
    assert len(flow_runs()) == 2
    for run in (newest("whole"), newest("part")):
        assert sequence(run) == "Pending Running Suspended Running Completed"


def test_who_cannot_be_suspended() -> None:
    """A run that nobody could go on with, or in a transaction, says why before anything has changed."""

    @flow
    def forgetful() -> None:
        suspend_flow_run()

    @flow
    def around() -> None:
        part(1)

    @flow(persist_result=True)
    def transacting() -> None:
        with transaction():
            suspend_flow_run()

    for call, reason in [
        (forgetful, "keeps no results"),
        (around, "flow around"),
        (transacting, "transaction"),
    ]:
        with pytest.raises(NotSuspendable, match=reason):
            call()
        assert "Suspended" not in sequence(newest(call.name))
    with pytest.raises(MissingContextError):
        suspend_flow_run()


def test_too_late() -> None:
    """A run that nobody has resumed in time becomes Failed when somebody tries, and can be resumed as such."""

    @flow(persist_result=True)
    def hasty() -> int:
        answer: int = suspend_flow_run(int, timeout=0.01 if not journal else 60)
        return answer

    hasty(return_state=True)
    run = newest()
    time.sleep(0.02)
    with pytest.raises(FlowPauseTimeout, match="too late"):
        resume_flow_run(run.id, 3, flow=hasty)
    assert newest().state.name == "Failed"
    journal.append("patient")
    assert resume_flow_run(run.id, flow=hasty, return_state=True).name == "Suspended"
    assert resume_flow_run(run.id, 3, flow=hasty) == 3


def test_too_late_after_a_request() -> None:
    """A run that was asked to leave has to be resumed in time, too."""

    @flow(persist_result=True)
    def asked() -> None:
        journal.append("begun")
        for _ in range(2_000 if len(journal) == 1 else 0):
            step(1)
            time.sleep(0.01)

    with Calling(lambda: asked(return_state=True)) as call:
        run = suspend_when_running("asked", timeout=0.01)
        assert call.result().name == "Suspended"
    with pytest.raises(FlowPauseTimeout, match="too late"):
        resume_flow_run(run.id, flow=asked)
    assert resume_flow_run(run.id, flow=asked, return_state=True).is_completed()


def test_an_input_that_only_the_flow_can_check() -> None:
    """The flow refuses it: the run is suspended as before, and whoever resumes it gets the error."""

    @dataclass
    class Local:
        amount: int

    @flow(persist_result=True)
    def local() -> int:
        answer: Local = suspend_flow_run(Local)
        return answer.amount

    local(return_state=True)
    for options in ({}, {"return_state": True}):
        with pytest.raises(ParameterTypeError, match="amount"):
            resume_flow_run(newest().id, {"amount": "many"}, flow=local, **options)  # type: ignore[arg-type]
        assert newest().state.name == "Suspended"
    assert resume_flow_run(newest().id, {"amount": 5}, flow=local) == 5


# From outside


@flow(persist_result=True)
def looping() -> int:
    for number in range(2_000):
        step(number)
        time.sleep(0.01)
    return 1


def suspend_when_running(name: str, timeout: float = 3600) -> FlowRun:
    """Ask a run to be suspended as soon as it runs."""
    runs: list[FlowRun] = until(
        lambda: [run for run in get_client().read_flow_runs(states=["RUNNING"]) if run.flow_name == name]
    )
    assert suspend_flow_run(flow_run_id=runs[0].id, timeout=timeout) is None
    return runs[0]


@pytest.mark.contract("V-29")
def test_a_running_run_is_asked() -> None:
    """It leaves between two of its calls, takes no input, and goes on when it is resumed."""
    with Calling(lambda: looping(return_state=True)) as call:
        run = suspend_when_running("looping")
        assert call.result().name == "Suspended"
    done = len(journal)
    with pytest.raises(NotPausedError, match="nothing in it waits for one"):
        resume_flow_run(run.id, 3, flow=looping)
    with Calling(lambda: resume_flow_run(run.id, flow=looping, return_state=True)) as call:
        until(lambda: len(journal) > done)
        suspend_when_running("looping")
        assert call.result().name == "Suspended"
    assert journal == [f"step {number}" for number in range(len(journal))]


@pytest.mark.contract("V-29", "V-34")
@pytest.mark.parametrize("boundary", ["submit", "map", "result", "subflow", "yield"])
def test_where_a_request_is_honoured(boundary: str) -> None:
    """A flow that does one kind of thing only leaves there."""

    @flow(persist_result=True)
    def inner() -> None: ...

    @flow(persist_result=True)
    def single() -> None:
        future = step.submit(0)
        for _ in range(2_000):
            time.sleep(0.01)
            if boundary == "submit":
                step.submit(1).wait()
            elif boundary == "map":
                step.map([1]).wait()
            elif boundary == "subflow":
                inner()
            else:
                future.result()

    @flow(persist_result=True)
    def yielding() -> Any:
        for number in range(2_000):
            time.sleep(0.01)
            yield number

    def call() -> object:
        return list(yielding()) if boundary == "yield" else single()

    with Calling(call) as calling:
        suspend_when_running("yielding" if boundary == "yield" else "single")
        with pytest.raises(Pause):
            calling.result()
    [root] = [run for run in flow_runs() if run.parent_task_run_key is None]
    assert root.state.name == "Suspended"


def test_not_inside_of_a_transaction() -> None:
    """A request waits for the end of the block, as what was done in there would be undone."""

    @flow(persist_result=True)
    def transacting() -> None:
        with transaction():
            for number in range(50):
                step(number)
                time.sleep(0.02)
            journal.append("end of the block")
        looping()

    with Calling(lambda: transacting(return_state=True)) as call:
        suspend_when_running("transacting")
        assert call.result().name == "Suspended"
    assert "end of the block" in journal


def test_bad_requests() -> None:
    """A run that is over, paused, forgetful, a subflow, or not there is not asked; the error says why."""

    @flow
    def forgetful() -> None:
        pause_flow_run(timeout=60)

    step(1)
    ask(return_state=True)
    with pytest.raises(NotSuspendable, match="it is Suspended"):
        suspend_flow_run(flow_run_id=newest().id)
    resume_flow_run(newest().id, {"ok": True}, flow=ask)
    with pytest.raises(NotSuspendable, match="it is Completed"):
        suspend_flow_run(flow_run_id=newest().id)
    whole(return_state=True)
    with pytest.raises(NotSuspendable, match=str(newest("whole").id)):
        suspend_flow_run(flow_run_id=newest("part").id)
    with pytest.raises(ObjectNotFound):
        suspend_flow_run(flow_run_id=to_uuid(new_id()))
    for options in ({"wait_for_input": int}, {"key": "k"}):
        with pytest.raises(TypeError, match="are for the flow that makes the call"):
            suspend_flow_run(flow_run_id=newest("whole").id, **options)  # type: ignore[arg-type]
    for timeout in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="Invalid `timeout`"):
            suspend_flow_run(flow_run_id=newest("whole").id, timeout=timeout)


# In other processes


PAUSING = """
    from dataclasses import dataclass
    from mainspring import pause_flow_run, suspend_flow_run

    @dataclass
    class Order:
        amount: int

    @flow(persist_result=True)
    def main():
        first = step(1)
        order = {call}(Order, timeout=600)
        return first, order.amount, step(order.amount)
"""
ANSWER = (
    "import sys; from mainspring import resume_flow_run; print(resume_flow_run(sys.argv[1], {'amount': 7}))"
)
WRONG = "import sys; from mainspring import resume_flow_run; resume_flow_run(sys.argv[1], {'amount': 'x'})"


def start(program: Program) -> "subprocess.Popen[str]":
    """The program in a process that goes on."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(program.file)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_a_pause_is_answered_by_another_process(tmp_path: Path) -> None:
    """The process that is paused notices the answer of another one, and goes on there."""
    program = Program(tmp_path, PAUSING.format(call="pause_flow_run"))
    process = start(program)
    try:
        run = paused("main")
        assert program.resume(run.id, ANSWER) == "None"
        assert process.wait(LIMIT) == 0, process.stderr
    finally:
        process.kill()
        process.communicate()
    assert sequence(newest()) == "Pending Running Paused Resuming Completed"
    assert program.journal == ["step 1", "step 7"]


@pytest.mark.slow
def test_a_paused_process_that_was_killed(tmp_path: Path) -> None:
    """Whoever has the input goes on with a paused run whose process is dead."""
    program = Program(tmp_path, PAUSING.format(call="pause_flow_run"))
    process = start(program)
    run = paused("main")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert program.resume(run.id, ANSWER) == "(1, 7, 7)"
    assert sequence(newest()) == "Pending Running Paused Running Completed"
    assert program.journal == ["step 1", "step 7"]


@pytest.mark.slow
def test_a_suspended_run_in_another_process(tmp_path: Path) -> None:
    """A process that has left a run may end; another one checks the input and goes on."""
    program = Program(tmp_path, PAUSING.format(call="suspend_flow_run"))
    assert program.run() == 1
    run = paused("main")
    with pytest.raises(AssertionError, match="ParameterTypeError"):
        program.resume(run.id, WRONG)
    assert newest().state.id == run.state.id
    assert program.resume(run.id, ANSWER) == "(1, 7, 7)"
    assert program.journal == ["step 1", "step 7"]


@pytest.mark.slow
def test_killed_between_the_answer_and_the_end(tmp_path: Path) -> None:
    """The input stays when the process that goes on with it dies, too."""
    program = Program(tmp_path, PAUSING.format(call="suspend_flow_run"))
    assert program.run() == 1
    run = paused("main")
    with pytest.raises(AssertionError):
        program.resume(run.id, ANSWER, DIE_AT="1")
    assert program.journal == ["step 1"]
    assert program.resume(run.id) == "(1, 7, 7)"


@pytest.mark.slow
def test_a_subflow_whose_paused_process_was_killed(tmp_path: Path) -> None:
    """The run around has crashed; it is resumed with the input that its subflow waits for."""
    program = Program(
        tmp_path,
        """
        from mainspring import pause_flow_run

        @flow
        def part(x):
            return step(x) + pause_flow_run(int, timeout=600)

        @flow(persist_result=True)
        def main():
            return step(1) + part(2)
        """,
    )
    process = start(program)
    paused("part")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    code = "import sys; from mainspring import resume_flow_run; print(resume_flow_run(sys.argv[1], 10))"
    assert program.resume(newest("main").id, code) == "13"
    assert program.journal == ["step 1", "step 2"]
    assert sequence(newest("part")) == "Pending Running Paused Running Completed"


@pytest.mark.slow
def test_a_forgetful_run_dies_with_its_process(tmp_path: Path) -> None:
    """A paused run that keeps no results cannot be resumed once its process is dead."""
    text = PAUSING.format(call="pause_flow_run").replace("persist_result=True", "")
    program = Program(tmp_path, text)
    process = start(program)
    run = paused("main")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with pytest.raises(NotResumable, match="keep no results"):
        resume_flow_run(run.id, {"amount": 7})
    assert newest().state.id == run.state.id
