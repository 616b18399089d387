"""Going on with flow runs that did not end well: what had finished is not done again."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mainspring import aresume_flow_run, flow, get_client, points, resume_flow_run, task
from mainspring.cache_policies import INPUTS, NO_CACHE
from mainspring.context import FlowRunContext
from mainspring.exceptions import CancelledRun, NotResumable, ObjectNotFound, StoreError
from mainspring.flow_engine import run_flow
from mainspring.results import get_default_result_storage
from mainspring.runs import FlowRun
from mainspring.settings import temporary_settings
from mainspring.states import Cancelled, State
from mainspring.transactions import transaction
from tests.engine.history import flow_runs, messages, query, sequence, states_of, task_runs
from tests.engine.resumable import ARESUME, Program

KILLED = -signal.SIGKILL

journal: list[str] = []
broken: set[str] = set()


class BrokenError(Exception):
    """What a step raises that is to fail."""


@pytest.fixture(autouse=True)
def nothing_noted() -> Iterator[None]:
    """Each test begins with an empty journal and nothing broken."""
    journal.clear()
    broken.clear()
    yield
    journal.clear()
    broken.clear()


def note(line: str) -> int:
    if line in broken:
        raise BrokenError(line)
    journal.append(line)
    return len(journal)


@task
def step(x: object) -> int:
    return note(f"step {x}")


@task(cache_policy=NO_CACHE)
def draw(x: object = "") -> int:
    return note(f"draw {x}".strip())


def top(name: str | None = None) -> FlowRun:
    """The newest run of a flow that nobody has called from a flow."""
    (run,) = [
        run for run in flow_runs() if run.parent_task_run_key is None and name in (None, run.flow_name)
    ][-1:]
    return run


def break_at(line: str, call: Callable[[], Any]) -> FlowRun:
    """Run a flow that fails at one step, which then works."""
    broken.add(line)
    with pytest.raises(BrokenError):
        call()
    broken.clear()
    return top()


# In other processes


CHAIN = """
    @flow(persist_result=True)
    def main():
        total = sum(step(x) for x in range(3))
        return total, draw(), draw(), step(3)
"""
CHAIN_OF_AWAITS = """
    @task
    async def astep(x):
        note(f"step {x}")
        return x

    @task(cache_policy=NO_CACHE)
    async def adraw():
        return note("draw")

    @flow(persist_result=True)
    async def main():
        total = sum([await astep(x) for x in range(3)])
        return total, await adraw(), await adraw(), await astep(3)
"""
LINES = ["draw", "draw", "step 0", "step 1", "step 2", "step 3"]


@pytest.mark.slow
@pytest.mark.parametrize("text", [CHAIN, CHAIN_OF_AWAITS], ids=["sync", "async"])
@pytest.mark.parametrize("at", [1, 2, 4, 5])
def test_killed_at_any_step(tmp_path: Path, text: str, at: int) -> None:
    """Wherever the process is killed, another one goes on: each step is finished once, and values are the same."""
    program = Program(tmp_path, text)
    assert program.run(DIE_AT=str(at)) == KILLED
    assert len(program.journal) == at
    assert program.resume(top().id) == "(3, 4, 5, 3)"
    assert program.journal == LINES
    run = top()
    assert sequence(run) == "Pending Running Crashed Running Completed"
    assert run.run_count == 2


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path) -> None:
    """A resumed run that is killed is resumed like any other, with what all of its processes have finished."""
    program = Program(tmp_path, CHAIN)
    assert program.run(DIE_AT="1") == KILLED
    run = top()
    for at in (4, 5):
        program.fail_to_resume(run.id, DIE_AT=str(at))
        assert len(program.journal) == at
    assert program.resume(run.id, ARESUME) == "(3, 4, 5, 3)"
    assert program.journal == LINES
    assert top().run_count == 4


@pytest.mark.slow
def test_a_map_goes_on_at_the_element_that_failed(tmp_path: Path) -> None:
    """Of twenty elements, those that had finished are answered; the others are attempted."""
    program = Program(
        tmp_path,
        """
        @flow(persist_result=True, task_runner=ThreadPoolTaskRunner(max_workers=1))
        def main():
            return sum(step.map(range(20)).result())
        """,
    )
    assert program.run(FAIL_AT="step 10") == 1
    assert "step 9" in program.journal
    assert "step 10" not in program.journal
    assert program.resume(top().id) == str(sum(range(20)))
    assert program.journal == sorted(f"step {x}" for x in range(20))


@pytest.mark.slow
@pytest.mark.parametrize("at", [3, 11])
def test_a_map_whose_process_was_killed(tmp_path: Path, at: int) -> None:
    """A map of calls without keys goes on at the element where its process was killed."""
    program = Program(
        tmp_path,
        """
        @task(cache_policy=NO_CACHE)
        def one(x):
            note(f"one {x:02}")
            return x

        @flow(persist_result=True, task_runner=ThreadPoolTaskRunner(max_workers=1))
        def main():
            return one.map(list(range(20))).result()
        """,
    )
    assert program.run(DIE_AT=str(at)) == KILLED
    assert program.resume(top().id) == str(list(range(20)))
    assert program.journal == [f"one {x:02}" for x in range(20)]


@pytest.mark.slow
@pytest.mark.contract("F-38")
@pytest.mark.parametrize("at", [1, 3, 4])
def test_subflows_whose_process_was_killed(tmp_path: Path, at: int) -> None:
    """A finished subflow is answered, and the one that was going on goes on, each under its own id."""
    program = Program(
        tmp_path,
        """
        @flow
        def part(x):
            return step(x) + draw()

        @flow(persist_result=True)
        def main():
            return part(10), part(20), step(30)
        """,
    )
    assert program.run(DIE_AT=str(at)) == KILLED
    assert program.resume(top().id) == "(12, 24, 30)"
    assert program.journal == ["draw", "draw", "step 10", "step 20", "step 30"]
    assert [run.state_name for run in flow_runs()] == ["Completed"] * 3
    stand_ins = [run for run in task_runs() if run.task_key == "part"]
    assert [run.state_name for run in stand_ins] == ["Completed"] * 2


@pytest.mark.slow
def test_tasks_in_tasks(tmp_path: Path) -> None:
    """A finished task is not called again, nor what it called; one in an eager transaction is finished by itself."""
    program = Program(
        tmp_path,
        """
        from mainspring.transactions import transaction

        @task
        def outer(x):
            with transaction(commit_mode="EAGER"):
                step(x)
            return draw()

        @flow(persist_result=True)
        def main():
            return outer(1), outer(2)
        """,
    )
    assert program.run(DIE_AT="3") == KILLED
    assert program.resume(top().id) == "(2, 4)"
    assert program.journal == ["draw", "draw", "step 1", "step 2"]


@pytest.mark.slow
def test_retries_of_a_step_that_died(tmp_path: Path) -> None:
    """A step that was in its last attempt has all of its attempts again."""
    program = Program(
        tmp_path,
        """
        @task(retries=1)
        def shaky():
            attempt = Path(__file__).with_name("attempts")
            with attempt.open("a") as file:
                file.write(".")
            if attempt.read_text() in (".", "..."):
                raise ConnectionError
            return note("shaky")

        @flow(persist_result=True)
        def main():
            return step(1), shaky()
        """,
    )
    assert program.run(DIE_AT="1") == KILLED
    assert program.resume(top().id) == "(1, 2)"
    assert program.journal == ["shaky", "step 1"]
    assert (tmp_path / "attempts").read_text() == "...."
    assert task_runs()[-1].run_count == 2


@pytest.mark.slow
def test_one_of_several_processes_wins(tmp_path: Path) -> None:
    """Of processes that resume one run at once, one does, and the others are told."""
    program = Program(tmp_path, CHAIN)
    assert program.run(DIE_AT="2") == KILLED
    run = top()

    def attempt(_: int) -> str:
        try:
            return program.resume(run.id)
        except AssertionError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(attempt, range(4)))
    assert answers.count("(3, 4, 5, 3)") == 1
    refusals = "NotResumable", "NotPausedError"  # before the winner has entered Running, and after
    assert sum(any(each in answer for each in refusals) for answer in answers) == 3
    assert program.journal == LINES
    assert sequence(top()) == "Pending Running Crashed Running Completed"


@pytest.mark.slow
def test_a_file_that_runs_its_flow_when_it_is_imported(tmp_path: Path) -> None:
    """Its runs are refused, with what to do about it; so are those of a file that is gone."""
    program = Program(
        tmp_path,
        """
        @flow(persist_result=True)
        def main():
            return step(1)

        main()
        """,
    )
    assert program.run(FAIL_AT="step 1") == 1
    run = top()
    assert "__main__" in program.fail_to_resume(run.id, FAIL_AT="")
    assert sequence(run) == "Pending Running Failed"
    program.file.unlink()
    assert "NotResumable" in program.fail_to_resume(run.id)


# Steps


@flow(persist_result=True)
def equal_calls() -> list[int]:
    return [step(1), step(1), draw(1), draw(1), draw(2)]


@pytest.mark.contract("T-118")
def test_equal_calls() -> None:
    """With the default policy they share a result; without a key each has its own, before and after a resume."""
    run = break_at("draw 2", equal_calls)
    assert resume_flow_run(run.id) == [1, 1, 2, 3, 4]
    assert journal == ["step 1", "draw 1", "draw 1", "draw 2"]


@task(cache_policy=None)
def unkeyed(x: int) -> int:
    return note(f"unkeyed {x}")


@task(persist_result=False)
def unkept() -> int:
    return note("unkept")


@flow(persist_result=True)
def kinds_of_keys() -> tuple[int, ...]:
    return unkeyed(1), step.with_options(cache_policy=INPUTS)(5), unkept(), draw("end")


def test_what_is_not_kept_is_done_again() -> None:
    """Steps without a policy are found by their identity; what keeps no result is called again."""
    run = break_at("draw end", kinds_of_keys)
    assert resume_flow_run(run.id) == (1, 2, 4, 5)
    assert journal == ["unkeyed 1", "step 5", "unkept", "unkept", "draw end"]


@flow(persist_result=True)
def in_any_order() -> list[int]:
    order = [1, 2, 3] if not journal else [3, 1, 2]
    return [draw(x) for x in order] + [step("last")]


def test_order_of_different_steps_is_free() -> None:
    """A flow that asks for its steps in another order finds them."""
    run = break_at("step last", in_any_order)
    assert resume_flow_run(run.id) == [3, 1, 2, 4]
    assert journal == ["draw 1", "draw 2", "draw 3", "step last"]


@flow(persist_result=True)
def many_at_once() -> list[int]:
    futures = [draw.submit("same") for _ in range(10)]
    return [*[future.result() for future in futures], step("last")]


def test_submitted_equal_calls_keep_their_order() -> None:
    """Equal calls that are submitted are told apart by the order of the program, not of the threads."""
    seen: list[int] = []
    broken.add("step last")
    with pytest.raises(BrokenError):
        many_at_once()
    seen = [run.state.result() for run in task_runs() if run.task_key == draw.task_key]
    by_creation = query("SELECT count(*) FROM task_runs")
    assert by_creation == [(11,)]
    broken.clear()
    values = resume_flow_run(top().id)
    assert sorted(values) == list(range(1, 12))
    assert sorted(seen) == list(range(1, 11))
    again = {run.state.result() for run in task_runs() if run.state_name == "Cached"}
    assert again == set(range(1, 11))


class Connection:
    """Something that has no content to be told by."""

    def __reduce__(self) -> str:
        raise TypeError("an open connection")


@flow(persist_result=True)
def with_connections() -> list[int]:
    named = draw.with_options(step_key="query")
    return [named(Connection()), named(Connection()), step("last")]


def test_steps_with_a_name() -> None:
    """A name tells a step without its inputs; a name that is used twice counts its uses."""
    broken.add("step last")
    with pytest.raises(BrokenError):
        with_connections()
    broken.clear()
    assert resume_flow_run(top().id) == [1, 2, 3]
    assert len(journal) == 3


@flow(persist_result=True)
def renamed() -> list[int]:
    inputs = [0, 0] if not journal else [len(journal), len(journal)]
    one, other = (step.with_options(step_key=name) for name in ("one", "other"))
    return [one(inputs[0]), other(inputs[1]), step("last")]


def test_a_name_counts_instead_of_the_default_policy() -> None:
    """A named step is found though its inputs have changed, and shares nothing with another name."""
    run = break_at("step last", renamed)
    assert journal == ["step 0", "step 0"] or journal == ["step 0", "step 1"]
    assert resume_flow_run(run.id) == [1, 2, 3]
    assert len(journal) == 3


@pytest.mark.parametrize(("key", "error"), [(3, TypeError), ("", ValueError)])
def test_step_keys_are_texts(key: Any, error: type[Exception]) -> None:
    """A key that is no text, or an empty one, is refused when the task is defined."""
    with pytest.raises(error, match="step_key"):
        task(step_key=key)(lambda: None)


@task
def caller(x: int) -> int:
    with transaction(commit_mode="EAGER"):
        draw("inner")
    return note(f"caller {x}")


@flow(persist_result=True)
def scopes() -> list[int]:
    return [caller(1), caller(2), draw("inner")]


def test_steps_are_told_by_what_is_around_them() -> None:
    """An inner step of a finished task is not taken for the equal inner step of an unfinished one."""
    broken.add("caller 2")
    with pytest.raises(BrokenError):
        scopes()
    broken.clear()
    inner = [run.state.result() for run in task_runs() if run.task_key == draw.task_key]
    assert inner == [1, 3]
    assert resume_flow_run(top().id) == [2, 4, 5]
    cached = [run.state.result() for run in task_runs() if run.state_name == "Cached"]
    assert cached == [2, 3]
    assert journal == ["draw inner", "caller 1", "draw inner", "caller 2", "draw inner"]


# Retries of the flow


@flow(persist_result=True, retries=1)
def retried() -> list[int]:
    values = [step("kept"), draw("anew")]
    if len(journal) < 3:
        raise BrokenError("first attempt")
    return [*values, draw("end")]


@pytest.mark.contract("F-30")
def test_a_retry_is_no_resume() -> None:
    """A retry calls tasks without a key anew; a resume goes on with the attempt that had ended, which was a retry."""
    run = break_at("draw end", retried)
    assert journal == ["step kept", "draw anew", "draw anew"]
    assert resume_flow_run(run.id) == [1, 3, 4]
    assert journal == ["step kept", "draw anew", "draw anew", "draw end"]
    assert sequence(run) == "Pending Running Retrying Failed Running Completed"


@flow(persist_result=True, retries=1)
def retried_after_a_resume() -> int:
    value = draw("x")
    note(f"attempt {FlowRunContext.get().flow_run.run_count}")  # type: ignore[union-attr]
    return value


def test_a_resumed_run_has_its_retries_again() -> None:
    """The first attempt after a resume goes on; a retry of it begins anew."""
    broken.update({"attempt 1", "attempt 2", "attempt 3"})
    with pytest.raises(BrokenError):
        retried_after_a_resume()
    assert resume_flow_run(top().id) == 3
    assert journal == ["draw x", "draw x", "draw x", "attempt 4"]
    assert sequence(top()) == "Pending Running Retrying Failed Running Retrying Completed"


# Subflows


@flow
def part(x: int) -> int:
    return note(f"part {x}")


@flow
def listed(x: int) -> list[int]:
    return [note(f"part {x}")]


@flow(persist_result=True, retries=1)
def calls_parts() -> list[Any]:
    values = [listed(1), listed(2)]
    if note("attempt") == 3:
        raise BrokenError("first attempt")
    return [*values, step(values[0])]


@pytest.mark.contract("F-38", "F-60")
def test_a_retry_does_not_call_completed_subflows_again() -> None:
    """Their kept values are used, no further runs are made, and a value is known to come from its run."""
    assert calls_parts() == [[1], [2], 5]
    assert journal == ["part 1", "part 2", "attempt", "attempt", "step [1]"]
    assert len(flow_runs()) == 3
    first, second, last = task_runs()
    assert [first.state_name, second.state_name] == ["Completed"] * 2
    assert [run_input.id for run_input in last.task_inputs["x"]] == [first.id]  # type: ignore[union-attr]


@flow(persist_result=True)
async def apart(x: int) -> int:
    return note(f"part {x}")


@flow(persist_result=True, retries=1)
async def calls_parts_async() -> list[int]:
    values = [await apart(1), await apart(2)]
    if note("attempt") == 3:
        raise BrokenError("first attempt")
    return values


@pytest.mark.contract("F-60")
def test_a_retry_does_not_call_completed_async_subflows_again() -> None:
    """The same holds for async flows."""
    assert asyncio.run(calls_parts_async()) == [1, 2]
    assert journal == ["part 1", "part 2", "attempt", "attempt"]


@flow(persist_result=True, retries=1)
def retries_a_failed_part() -> int:
    if "tried" in journal:
        broken.clear()
    else:
        journal.append("tried")
    return part(1)


@pytest.mark.contract("F-60")
def test_a_retry_calls_a_failed_subflow_again() -> None:
    """It gets a new run, and the failed one stays as it was."""
    broken.add("part 1")
    assert retries_a_failed_part() == 2
    failed, completed = [run for run in flow_runs() if run.flow_name == "part"]
    assert (sequence(failed), sequence(completed)) == ("Pending Running Failed", "Pending Running Completed")


@flow(persist_result=True)
def two_parts() -> tuple[int, int, int]:
    return part(1), nested(2), note("end")


@flow
def nested(x: int) -> int:
    return step(x) + part(x) + draw(x)


def test_a_resume_goes_on_with_a_failed_subflow() -> None:
    """The unfinished subflow goes on under its own id, with its steps and subflows; its stand-in tells the same."""
    run = break_at("draw 2", two_parts)
    before = {each.id for each in flow_runs()}
    assert resume_flow_run(run.id) == (1, 2 + 3 + 4, 5)
    assert journal == ["part 1", "step 2", "part 2", "draw 2", "end"]
    assert {each.id for each in flow_runs()} == before
    (child,) = [each for each in flow_runs() if each.flow_name == "nested"]
    (stand_in,) = [each for each in task_runs() if each.task_key == "nested"]
    assert sequence(child) == sequence(stand_in) == "Pending Running Failed Running Completed"


def test_a_subflow_is_not_resumed_alone() -> None:
    """Whoever tries is told which run to resume."""
    run = break_at("draw 2", two_parts)
    (child,) = [each for each in flow_runs() if each.flow_name == "nested"]
    with pytest.raises(NotResumable, match=str(run.id)):
        resume_flow_run(child.id)


# Parameters and results


@flow(persist_result=True)
def with_parameters(numbers: list[int], options: dict[str, Any] | None = None) -> tuple[Any, ...]:
    note("begun")
    return numbers, options, note("end")


def test_parameters_by_value() -> None:
    """A resumed flow gets the arguments of the run as they were, defaults and types included."""
    broken.add("end")
    with pytest.raises(BrokenError):
        with_parameters([1, 2], {"a": {3}, "b": (4, b"5")})
    broken.clear()
    numbers, options, _ = resume_flow_run(top().id)
    assert (numbers, options) == ([1, 2], {"a": {3}, "b": (4, b"5")})


@flow(persist_result=True)
async def awaited() -> int:
    first = await adraw()
    return first + note("end")


@task(cache_policy=NO_CACHE)
async def adraw() -> int:
    return note("draw")


def test_async_and_sync_flows_from_async_and_sync_code() -> None:
    """Each of the two functions resumes both kinds of flows."""

    def in_a_thread(run_id: object) -> Any:  # which ends, and with it the event loop that it keeps
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(resume_flow_run, str(run_id)).result()

    for resume in (in_a_thread, lambda run_id: asyncio.run(aresume_flow_run(run_id))):
        journal.clear()
        run = break_at("end", lambda: asyncio.run(awaited()))
        assert resume(run.id) == 1 + 2
        run = break_at("end", lambda: with_parameters([1]))
        assert resume(run.id)[0] == [1]
        assert sequence(run) == "Pending Running Failed Running Completed"


@flow(persist_result=True)
def ends_cancelled() -> Any:
    return Cancelled(message="enough") if note("asked") == 1 else "done"


def test_a_cancelled_run_and_states() -> None:
    """A cancelled run is gone on with; the state is given instead of the value if that is asked for."""
    with pytest.raises(CancelledRun):
        ends_cancelled()
    state = resume_flow_run(str(top().id), return_state=True)
    assert isinstance(state, State)
    assert (state.name, state.result()) == ("Completed", "done")


@flow
def keeps_by_setting() -> int:
    return draw() + note("end")


def test_the_setting_is_enough() -> None:
    """A flow that does not say is resumable where the settings say that results are kept."""
    with temporary_settings({"results.persist_by_default": True}):
        run = break_at("end", keeps_by_setting)
        assert resume_flow_run(run.id) == 3
    assert journal == ["draw", "end"]


@flow(persist_result=True)
def supervisor(run_id: str) -> Any:
    return resume_flow_run(run_id)


def test_resumed_inside_of_a_flow() -> None:
    """A run that another flow resumes stays a run of its own."""
    run = break_at("end", lambda: with_parameters([1]))
    assert supervisor(str(run.id))[0] == [1]
    assert [each.parent_task_run_key for each in flow_runs()] == [None, None]
    assert task_runs() == []


# Refusals


def refused(run_id: object, match: str, **options: Any) -> None:
    """Resuming is refused for a reason, and nothing is changed."""
    tables = ("flow_runs", "task_runs", "states", "resumptions")
    before = [query(f"SELECT * FROM {table}") for table in tables]
    with pytest.raises(NotResumable, match=match):
        resume_flow_run(str(run_id), **options)
    get_client()
    assert [query(f"SELECT * FROM {table}") for table in tables] == before


@flow(persist_result=True)
def resumes_itself() -> None:
    (run,) = flow_runs()
    refused(run.id, "not over: it is Running")


def test_what_has_not_ended_badly() -> None:
    """Runs that go on or have completed, and ids that are none, are refused."""
    resumes_itself()
    refused(top().id, "has completed")
    step("x")
    for unknown in (uuid4(), task_runs()[0].id):
        with pytest.raises(ObjectNotFound, match=str(unknown)):
            resume_flow_run(unknown)


@flow
def keeps_nothing() -> None:
    note("end")


def test_a_flow_that_keeps_nothing() -> None:
    """The refusal says what would have helped; nothing is kept about such runs."""
    run = break_at("end", keeps_nothing)
    assert query("SELECT * FROM resumptions") == []
    refused(run.id, "persist_result=True")


def test_a_flow_in_a_function() -> None:
    """It runs as usual, with one warning for all of its runs, and is resumed if it is passed."""

    @flow(persist_result=True)
    def local(x: int) -> int:
        return draw(x) + note("end")

    run = break_at("end", lambda: local(7))
    assert sum("cannot be resumed" in line for line in messages(run)) == 1
    refused(run.id, "defined inside of a function.*flow=")
    refused(run.id, "not of 'with-parameters'", flow=with_parameters)
    refused(run.id, "keeps no results", flow=local.with_options(persist_result=False))
    assert resume_flow_run(run.id, flow=local) == 3
    assert journal == ["draw 7", "end"]
    local(7)
    assert sum("cannot be resumed" in line for line in messages(top())) == 0


def test_a_copy_that_has_no_name() -> None:
    """A copy with other options is not taken for the flow that it was made from."""
    run = break_at("end", keeps_nothing.with_options(persist_result=True))
    refused(run.id, "may be a copy")


def test_parameters_that_cannot_be_kept() -> None:
    """The run goes on with a warning, and resuming it says why it cannot be."""
    broken.add("end")
    with pytest.raises(BrokenError):
        with_parameters.with_options(validate_parameters=False)(Connection())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    broken.clear()
    run = top()
    assert sum("cannot be resumed" in line for line in messages(run)) <= 1  # once for each flow
    refused(run.id, "parameters could not be kept: .*an open connection")
    refused(run.id, "parameters could not be kept", flow=with_parameters)


def test_results_that_are_elsewhere(tmp_path: Path) -> None:
    """Where its results would not be found, a run is refused instead of done twice."""
    run = break_at("end", lambda: with_parameters([1]))
    moved = with_parameters.with_options(result_storage=str(tmp_path / "elsewhere"))
    refused(run.id, "kept elsewhere", flow=moved)


def test_parameters_that_are_gone() -> None:
    """Without its arguments a run cannot be gone on with."""
    run = break_at("end", lambda: with_parameters([1]))
    get_default_result_storage().delete_path(f"parameters/{run.id}")
    refused(run.id, "parameters cannot be read")


def test_a_flow_that_takes_something_else_now() -> None:
    """A flow whose parameters have other names since is not called with the old ones."""
    run = break_at("end", lambda: with_parameters([1]))

    @flow(name="with-parameters", persist_result=True)
    def changed(values: list[int]) -> None: ...

    refused(run.id, "other parameters now: see 'numbers', 'options', 'values'", flow=changed)


@pytest.mark.parametrize("durability", ["process", "relaxed"])
def test_somebody_else_was_quicker(durability: str) -> None:
    """Who comes second is told so before anything of the flow runs, and leaves no trace, in any durability."""
    with temporary_settings({"durability": durability}):
        run = break_at("end", lambda: with_parameters([1]))
        stale = get_client().read_flow_run(run.id)
        resume_flow_run(run.id)
        before = [each.id for each in states_of(run)], messages(run), list(journal)
        with pytest.raises(NotResumable, match="somebody else"):
            run_flow(with_parameters, stale, {"numbers": [2], "options": None}, resumes=True)
        assert ([each.id for each in states_of(run)], messages(run), list(journal)) == before


@pytest.mark.contract("E-29")
@pytest.mark.invariants(by_hand=True)
def test_running_a_record_again_is_no_resume() -> None:
    """A run record that is executed once more by hand does everything anew, and its earlier results stay."""
    assert equal_calls() == [1, 1, 2, 3, 4]
    run = get_client().read_flow_run(top().id)
    old = [each for each in task_runs() if each.task_key == draw.task_key]
    assert run_flow(equal_calls, run)[2:] == [5, 6, 7]
    assert [each.state.result() for each in old] == [2, 3, 4]


def test_a_resume_that_the_store_refuses_calls_no_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run came to is told once, also if it cannot be gone on with as its store cannot be written."""

    def tell(flow: object, run: FlowRun, state: State) -> None:
        note(f"{state.name}")

    @flow(persist_result=True, on_failure=[tell])
    def whole() -> int:
        return step(1)

    broken.add("step 1")
    whole(return_state=True)
    (run,) = flow_runs()
    broken.clear()

    def fail(name: str, about: object) -> None:
        if name == "store.statement" and "DELETE FROM cancellations" in str(about):
            raise StoreError("disk I/O error")  # whatever database it is

    with monkeypatch.context() as patch:
        patch.setattr(points, "observer", fail)
        with pytest.raises(StoreError):
            resume_flow_run(run.id, flow=whole)
    assert journal == ["Failed"]
    assert resume_flow_run(run.id, flow=whole) == 2
