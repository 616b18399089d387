"""What a tracing user function saw is what the history says, and where it is not, that is told."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import re
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainspring import flow, task
from mainspring.cache_policies import INPUTS
from mainspring.client import open_client
from mainspring.exceptions import ConfigurationError
from mainspring.recording import current_recorder
from mainspring.testing.children import die, run_in_child
from mainspring.testing.rules import invariants, problems
from mainspring.testing.traces import Note, Trace
from mainspring.transactions import transaction
from tests.store.forging import forge


@pytest.fixture(params=["memory", "file"])
def trace(request: pytest.FixtureRequest, tmp_path: Path) -> Trace:
    """A trace of either kind."""
    return Trace() if request.param == "memory" else Trace(tmp_path / "trace")


def told(trace: Trace) -> str:
    """The notes, in short: what and in which attempt."""
    return " ".join(f"{note.what}-{note.attempt}" for note in trace.notes)


def differences(trace: Trace) -> list[str]:
    """What a history and a trace do not agree about, with # for ids; what else is wrong is left out."""
    without = problems()
    return [re.sub(r"\b[0-9a-f]{8}\b", "#", each) for each in problems(trace=trace) if each not in without]


# What is noted


def test_a_function(trace: Trace) -> None:
    """Each attempt of a run is noted, with how it ended."""
    failures = [ValueError("no"), ValueError("no")]

    @task(retries=2)
    @trace.function
    def work(number: int) -> int:
        if failures:
            raise failures.pop()
        return number

    assert work(7) == 7
    assert told(trace) == "called-1 raised-1 called-2 raised-2 called-3 returned-3"
    assert len({note.run for note in trace.notes}) == 1
    invariants(trace=trace)


def test_a_coroutine(trace: Trace) -> None:
    """Coroutine functions are traced likewise."""

    @task
    @trace.function
    async def work() -> int:
        await asyncio.sleep(0)
        return 1

    assert asyncio.run(work()) == 1
    assert told(trace) == "called-1 returned-1"
    invariants(trace=trace)


def test_a_generator(trace: Trace) -> None:
    """A generator returns when it is used up, and is left when it is closed."""

    @task
    @trace.function
    def numbers() -> Generator[int, None, str]:
        yield 1
        yield 2
        return "end"

    assert list(numbers()) == [1, 2]
    some = numbers()
    assert next(some) == 1
    some.close()
    assert told(trace) == "called-1 returned-1 called-1 left-1"
    invariants(trace=trace, is_over=False)


def test_an_async_generator(trace: Trace) -> None:
    """Async generators pass on what is sent and thrown into them."""
    got: list[object] = []

    @trace.function
    async def numbers() -> AsyncGenerator[int, str]:
        got.append((yield 1))
        try:
            yield 2
        except ValueError as error:
            got.append(error)
        yield 3

    async def use() -> list[int]:
        inner = numbers()
        found = [await inner.asend(None), await inner.asend("sent"), await inner.athrow(ValueError())]  # type: ignore[arg-type]
        found += [each async for each in inner]
        return found

    assert asyncio.run(use()) == [1, 2, 3]
    assert got[0] == "sent"
    assert isinstance(got[1], ValueError)
    assert told(trace) == "called-0 returned-0"


@pytest.mark.parametrize("kind", ["sync", "async", "generator", "async generator"])
def test_a_function_stays_what_it_is(kind: str) -> None:
    """Name, signature, kind and the key of a task are those of the function."""

    def plain(x: int, *, y: str = "a") -> int:
        return x

    async def coroutine(x: int, *, y: str = "a") -> int:
        return x

    def generator(x: int, *, y: str = "a") -> Generator[int]:
        yield x

    async def async_generator(x: int, *, y: str = "a") -> AsyncGenerator[int]:
        yield x

    kinds: dict[str, Callable[..., Any]] = {
        "sync": plain,
        "async": coroutine,
        "generator": generator,
        "async generator": async_generator,
    }
    fn = kinds[kind]
    traced = Trace().function(fn)
    assert inspect.signature(traced) == inspect.signature(fn)
    assert traced.__qualname__ == fn.__qualname__
    assert task(traced).task_key == task(fn).task_key
    for question in (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    ):
        assert question(traced) == question(fn)


def test_hooks_and_lines(trace: Trace) -> None:
    """Hooks and lines of a run are noted, and are in the history once."""

    @trace.hook
    def begun(task: Any, run: Any, state: Any) -> None: ...

    @trace.hook
    async def done(task: Any, run: Any, state: Any) -> None: ...

    @trace.hook
    def last(task: Any, run: Any, state: Any) -> None: ...

    @task(on_running=[begun], on_completion=[done, last])
    @trace.function
    def work() -> None:
        trace.log("at work")
        trace.log("at work")

    work()
    assert told(trace) == "hook-1 called-1 logged-1 logged-1 returned-1 hook-1 hook-1"
    assert [note.place for note in trace.notes if note.what == "hook"] == [0, 0, 1]
    invariants(trace=trace)


def test_transactions(trace: Trace) -> None:
    """Hooks of a transaction are noted with why they are called, and which they are."""

    @task(persist_result=True)
    def work() -> None: ...

    work.on_commit(trace.hook(lambda txn: None))
    work.on_rollback(trace.hook(lambda txn: None))
    work.on_rollback(trace.hook(lambda txn: None))

    @flow
    def pipeline() -> None:
        with transaction():
            work()
        try:
            with transaction():
                work.with_options(refresh_cache=True)()
                raise ValueError
        except ValueError:
            pass

    pipeline()
    assert [note.phase for note in trace.notes] == ["commit", "rollback", "rollback"]
    _, later, earlier = (note.place for note in trace.notes)
    assert later is not None
    assert earlier is not None
    assert later > earlier
    invariants(trace=trace)


def test_cached_runs_are_not_called(trace: Trace) -> None:
    """A run that is answered from a kept result has no call."""

    @task(cache_policy=INPUTS, persist_result=True)
    @trace.function
    def work(number: int) -> int:
        return number

    work(1)
    work(1)
    assert told(trace) == "called-1 returned-1"
    invariants(trace=trace)


def test_flows_and_what_is_in_them(trace: Trace) -> None:
    """A traced flow and its traced tasks are told from one another."""

    @task
    @trace.function
    def work() -> int:
        return 1

    @flow(retries=1)
    @trace.function
    def pipeline() -> int:
        done = work.submit().result() + work()
        if trace.notes[-1].name and sum(note.what == "raised" for note in trace.notes) == 0:
            raise ValueError
        return done

    assert pipeline() == 2
    assert len({note.run for note in trace.notes}) == 5
    invariants(trace=trace)


# Processes


def test_a_trace_in_memory_stays_in_its_process() -> None:
    """A trace without a file refuses to go elsewhere, as its notes would be lost there."""
    with pytest.raises(ConfigurationError, match="give it a file"):
        pickle.dumps(Trace())


def test_a_trace_in_a_file_goes_along(tmp_path: Path) -> None:
    """A trace in a file is the same one in another process."""
    trace = Trace(tmp_path / "trace")
    other: Trace = pickle.loads(pickle.dumps(trace))
    other.function(len)([])
    assert [note.what for note in trace.notes] == ["called", "returned"]
    assert trace.notes == other.notes


def test_notes_outlive_a_death(tmp_path: Path) -> None:
    """What was noted before a process was killed is there, and that the history may not have the run is no problem."""
    trace = Trace(tmp_path / "trace")

    @task
    @trace.function
    def fatal() -> None:
        die()

    assert run_in_child(fatal).was_killed
    assert told(trace) == "called-1"
    current_recorder()  # which settles what the dead process has left
    invariants(trace=trace, is_over=False)


def test_a_torn_note_is_left_out(tmp_path: Path) -> None:
    """A line that a death has cut off is no note."""
    file = tmp_path / "trace"
    trace = Trace(file)
    assert trace.notes == []
    trace.function(len)([])
    with file.open("ab") as end:
        end.write(b'{"what":"call')
    assert [note.what for note in trace.notes] == ["called", "returned"]


# What is wrong is found


class Sample:
    """A run with a retry, hooks and a line, and what was noted of it."""

    def __init__(self) -> None:
        self.trace = trace = Trace()
        failures = [ValueError("no")]

        @trace.hook
        def begun(task: Any, run: Any, state: Any) -> None: ...

        @trace.hook
        def done(task: Any, run: Any, state: Any) -> None: ...

        @trace.hook
        def last(task: Any, run: Any, state: Any) -> None: ...

        @task(task_run_name="work", retries=1, on_running=[begun], on_completion=[done, last])
        @trace.function
        def work() -> None:
            trace.log("at work")
            if failures:
                raise failures.pop()

        work()
        assert told(trace) == (
            "hook-1 called-1 logged-1 raised-1 hook-2 called-2 logged-2 returned-2 hook-2 hook-2"
        )
        assert differences(trace) == []

    def rearrange(self, *order: int) -> None:
        """Let the trace have these of its notes, in this order."""
        notes = self.trace.notes
        self.trace._noted = [(number, notes[index]) for number, index in enumerate(order)]

    def change(self, index: int, **members: Any) -> None:
        """Let a note be a different one."""
        number, note = self.trace._noted[index]
        facts = {name: getattr(note, name) for name in Note.__struct_fields__}
        self.trace._noted[index] = (number, Note(**{**facts, **members}))


EXPECTED = "task run 'work' (#)"


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ((0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9), "work was called 2 times in attempt 2"),
        ((0, 1, 2, 3, 4, 6, 8, 9), "work was not called in attempt 2, which is Completed"),
        ((0, 1, 2, 3, 4, 5, 6, 8, 9), "work has not ended in attempt 2, which is Completed"),
        ((0, 5, 6, 7, 8, 9, 1, 2, 3, 4), "work was called in attempt 1 after attempt 2"),
        ((0, 1, 2, 3, 5, 4, 6, 7, 8, 9), "begun for Retrying was called after the call in attempt 2 of"),
        ((0, 1, 2, 3, 4, 5, 6, 8, 7, 9), "done for Completed was called before the end in attempt 2 of"),
        ((0, 1, 2, 3, 4, 5, 6, 7, 9, 8), "done for Completed was called after"),
        ((8, 0, 1, 2, 3, 4, 5, 6, 7, 9), "begun for Running was called after"),
        ((0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9), "done was called 2 times for Completed"),
        ((0, 1, 3, 4, 5, 6, 6, 7, 8, 9), None),
        ((0, 1, 2, 3, 4, 5, 7, 8, 9), "has logged 'at work' 1 times, and it is kept 2 times"),
        ((0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9), "has logged 'at work' 3 times, and it is kept 2 times"),
    ],
)
def test_another_order_is_noticed(order: tuple[int, ...], expected: str | None) -> None:
    """Notes that are missing, doubled or in another order are told of, with the run that they are about."""
    sample = Sample()
    sample.rearrange(*order)
    found = differences(sample.trace)
    if expected is None:
        assert found == []
    else:
        assert any(each.startswith(EXPECTED) and expected in each for each in found), found


def test_a_failure_that_counts_as_success_is_noticed() -> None:
    """What has raised is not Completed."""
    sample = Sample()
    sample.change(7, what="raised")
    assert any(
        "work has raised in attempt 2, which is Completed" in each for each in differences(sample.trace)
    )


def test_a_call_in_no_attempt_is_noticed() -> None:
    """A call that the history has no attempt for is told of, unless another process has made it."""
    sample = Sample()
    for index in (5, 7):
        sample.change(index, attempt=3)
    assert any("in attempt 3, which the history does not have" in each for each in differences(sample.trace))
    for index in (5, 7):
        sample.change(index, attempt=3, process=1)
    assert not any("in attempt 3" in each for each in differences(sample.trace))


def test_a_hook_for_no_state_is_noticed() -> None:
    """A hook follows a state that is in the history."""
    sample = Sample()
    sample.change(8, state="00" * 16)
    assert any(
        "done was called for a state that the history does not have" in each
        for each in differences(sample.trace)
    )


def test_a_call_in_spite_of_a_kept_result_is_noticed() -> None:
    """A run that says it has used a kept result has called nothing."""
    sample = Sample()
    forge("UPDATE state_rows SET name = 'Cached' WHERE name = 'Completed'")
    assert any("which says that a kept result was used" in each for each in differences(sample.trace))


def test_a_run_without_a_call_is_noticed() -> None:
    """A run of a task of which others were traced has been called, too."""
    trace = Trace()

    @task(task_run_name="work-{number}")
    @trace.function
    def work(number: int) -> None: ...

    work(1)
    work(2)
    trace._noted = trace._noted[:2]
    assert differences(trace) == ["task run 'work-2' (#) is Completed, and its function was not called"]


def test_a_lost_line_is_noticed() -> None:
    """Each line is kept as often as it was logged."""
    sample = Sample()
    forge("DELETE FROM logs WHERE id = (SELECT min(id) FROM logs WHERE message = 'at work')")
    (found,) = differences(sample.trace)
    assert found == f"{EXPECTED} has logged 'at work' 2 times, and it is kept 1 times"


def noted(phase: str, *hooks: tuple[str, int]) -> Trace:
    trace = Trace()
    for number, (name, place) in enumerate(hooks):
        note = Note(what="hook", name=name, process=1, transaction="order", phase=phase, place=place)
        trace._noted.append((number, note))
    return trace


@pytest.mark.parametrize(
    ("phase", "hooks", "expected"),
    [
        ("commit", (("a", 0), ("b", 1)), []),
        ("rollback", (("b", 1), ("a", 0)), []),
        ("commit", (("b", 1), ("a", 0)), ["commit hook a was called after b"]),
        ("rollback", (("a", 0), ("b", 1)), ["rollback hook b was called after a"]),
        ("commit", (("a", 0), ("a", 0)), ["commit hook a was called 2 times"]),
    ],
)
def test_hooks_of_transactions(phase: str, hooks: tuple[tuple[str, int], ...], expected: list[str]) -> None:
    """Commit hooks are called in order, rollback hooks the other way round, each at most once."""
    current_recorder()
    assert differences(noted(phase, *hooks)) == [f"transaction order: {each}" for each in expected]


def test_a_hook_that_another_process_calls_again_is_noticed() -> None:
    """Who goes on with a transaction of a dead process does not know the lists of its hooks, but their names."""
    trace = noted("commit", ("a", 0))
    current_recorder()
    (number, note), again = (
        trace._noted[0],
        Note(what="hook", name="a", process=2, transaction="order", phase="commit"),
    )
    trace._noted = [(number, msgspec.structs.replace(note, alone=True)), (1, again)]
    assert differences(trace) == ["transaction order: commit hook a was called again by another process"]


def test_functions_side_by_side_are_noticed() -> None:
    """Functions of tagged task runs are not at work at the same time if the limit on the tag does not let them."""
    trace = Trace()
    current_recorder()
    with open_client() as client:
        client.create_or_update_concurrency_limit("tag:heavy", 1)

    @task(task_run_name="{name}", tags=["heavy"])
    @trace.function
    def work(name: str) -> None: ...

    work("first")
    work("second")
    assert differences(trace) == []
    notes = trace.notes
    trace._noted = [(number, notes[index]) for number, index in enumerate((0, 2, 1, 3))]
    assert differences(trace) == [
        "2 slots of tag:heavy were taken at note 1, and there were 1: by task run 'first' (#), task run 'second' (#)"
    ]
