"""Programs performed by the real engine, in each of the four forms of tasks."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from mainspring import clock
from mainspring.annotations import allow_failure, quote
from mainspring.client import get_client
from mainspring.context import TaskRunContext
from mainspring.exceptions import Abort, Pause
from mainspring.futures import ConcurrentFuture
from mainspring.identifiers import SystemIdSource, new_id, use_id_source
from mainspring.recording import current_recorder
from mainspring.runs import TaskRun
from mainspring.states import (
    Cancelled,
    Completed,
    Crashed,
    Failed,
    Paused,
    Pending,
    Running,
    Scheduled,
    State,
)
from mainspring.task_engine import run_task
from mainspring.tasks import Task
from mainspring.transactions import transaction
from tests.engine.clocks import START
from tests.engine.model.programs import HOOKS, SCHEDULED_SECONDS, Block, Call, End, Input, Program
from tests.engine.model.reference import Run
from tests.engine.traces import AsyncWorld, SyncWorld, TracingClock

TIME_LIMIT = 0.05


class BoomError(Exception):
    """What goes wrong in programs."""


class Meteor(BaseException):
    """Something that is no ordinary exception."""


class HookError(Exception):
    """What hooks, conditions and name functions raise."""


RAISED: dict[End, type[BaseException]] = {
    End.RAISE: BoomError,
    End.TIMEOUT: TimeoutError,
    End.INTERRUPT: KeyboardInterrupt,
    End.EXIT: SystemExit,
    End.METEOR: Meteor,
    End.PAUSE: Pause,
    End.ABORT: Abort,
}
RETURNED: dict[End, Callable[[], Any]] = {
    End.RETURN: lambda: "RETURN",
    End.COMPLETED: lambda: Completed(name="Fine", message="COMPLETED"),
    End.FAILED: lambda: Failed(message="FAILED"),
    End.CANCELLED: lambda: Cancelled(message="CANCELLED"),
    End.PAUSED: lambda: Paused(message="PAUSED"),
    End.MIXED: lambda: [Completed(), Failed()],
    End.RUNNING: lambda: Running(message="RUNNING"),
    End.SCHEDULED: lambda: Scheduled(
        scheduled_time=clock.to_datetime(clock.current().now() + round(SCHEDULED_SECONDS * 1e6))
    ),
}
FAILURE = Failed(data=BoomError("failure"))


def future(state: State) -> ConcurrentFuture[Any]:
    """A future of a run that is over."""
    wrapped = concurrent.futures.Future[State]()
    wrapped.set_result(state)
    return ConcurrentFuture(new_id(), wrapped)


ARGUMENTS: dict[Input, Callable[[], Any]] = {
    Input.PLAIN: lambda: 1,
    Input.COMPLETED: lambda: [{"state": Completed(data=5)}],
    Input.FUTURE: lambda: (future(Completed(data=6)),),
    Input.QUOTED: lambda: quote(Completed()),
    Input.ALLOWED: lambda: allow_failure([FAILURE]),
    Input.ALLOWED_NOT_READY: lambda: allow_failure(Pending(name="NotReady")),
    Input.WAIT_ALLOWED: lambda: 2,
    Input.FAILED: lambda: FAILURE,
    Input.FAILED_FUTURE: lambda: future(FAILURE),
    Input.PENDING: lambda: [{"deep": {1: Pending()}}],
    Input.ALLOWED_CRASHED: lambda: allow_failure(Crashed()),
    Input.WAIT_FAILED: lambda: 1,
}
WAITED: dict[Input, Callable[[], Any]] = {
    Input.WAIT_FAILED: lambda: [{"state": FAILURE}],
    Input.WAIT_ALLOWED: lambda: [allow_failure(FAILURE), future(Completed(data=1)), "plain"],
}


class SteadyLuck(SystemIdSource):
    """Ids as ever, and always the same random number."""

    def __init__(self, luck: float) -> None:
        super().__init__()
        self.luck = luck

    def uniform(self) -> float:
        return self.luck


class Performance:
    """One program, performed by the engine in one form of tasks.

    The texts are written once, with ``await``; without an event loop nothing in them really suspends.
    """

    def __init__(self, is_async: bool, yields: bool, luck: float) -> None:
        self.world = AsyncWorld() if is_async else SyncWorld()
        self.yields = yields
        self.luck = luck
        self.events: list[tuple[Any, ...]] = []
        self.errors: dict[str, BaseException] = {}
        self.keys: list[bytes] = []

    def perform(self, call: Call) -> None:
        """Perform the program and leave its story in ``events``."""
        logging.disable(logging.CRITICAL)
        try:
            with (
                clock.use_clock(TracingClock(self.events)),
                use_id_source(SteadyLuck(self.luck)),
                current_recorder().listen(self.entered),
            ):
                self.world.run(self.call_and_catch_all(call))
        finally:
            logging.disable(logging.NOTSET)

    def runs(self) -> list[Run]:
        """The runs as the store has them, in the order of their creation."""
        store = get_client().store
        names: dict[object, str] = {}
        found = []
        for key in self.keys:
            run = store.read_run(key)
            assert isinstance(run, TaskRun)
            names[run.id] = run.name
            parents = [names[each.id] for each in run.task_inputs.get("__parents__", [])]
            states = [(each.type.value, each.name, each.at - START) for each in store.read_states(key)]
            start = None if run.started_at is None else run.started_at - START
            end = None if run.ended_at is None else run.ended_at - START
            parent = parents[0] if parents else None
            found.append(Run(run.name, parent, states, run.run_count, start, end, run.run_time))
        return found

    # What happens

    def entered(self, run: Any, state: State) -> None:
        if run.key not in self.keys:
            self.keys.append(run.key)
        self.events.append(("state", run.name, state.type.value, state.name))

    def error(self, label: str, kind: type[BaseException] = BoomError) -> BaseException:
        self.errors[label] = error = kind(label)
        return error

    def show_error(self, error: BaseException) -> str:
        """The label of an exception that a program has raised, told by identity; the type of any other."""
        for label, known in self.errors.items():
            if known is error:
                return label
        return type(error).__name__

    def check_context(self, name: str | None) -> None:
        context = TaskRunContext.get()
        active = None if context is None else context.task_run.name
        if active != name:
            self.events.append(("in the wrong context", active, name))

    # Calls

    async def call_and_catch_all(self, call: Call) -> None:
        try:
            await self.call(call, "r", None)
        except BaseException:
            pass  # told by an event
        self.check_context(None)

    async def call(self, call: Call, name: str, caller: str | None) -> None:
        try:
            if call.block is Block.NONE:
                await self.run(call, name, caller)
                return
            with transaction():
                await self.run(call, name, caller)
                if call.block is Block.BROKEN:
                    raise self.error(f"{name} broken")
        except Exception:
            if not call.caught:
                raise

    async def run(self, call: Call, name: str, caller: str | None) -> None:
        task, event = self.task(call.program, name)
        wait_for = WAITED[call.program.input]() if call.program.input in WAITED else None
        try:
            returned = run_task(
                task,
                parameters=task.bind((ARGUMENTS[call.program.input](),), {}),
                wait_for=wait_for,
                return_type="state" if call.wants_state and not self.yields else "result",
                context={"cancel_event": event},
            )
            if self.yields:
                value = await self.consume(returned, name, caller, call.take)
            else:
                value = await self.world.finish(returned)
        except BaseException as error:
            self.events.append(("raised", name, self.show_error(error)))
            raise
        finally:
            self.check_context(caller)
        if call.wants_state and not self.yields:
            value = value.name
        elif isinstance(value, State):
            value = value.message or "SCHEDULED"
        elif isinstance(value, list):
            value = "MIXED"
        self.events.append(("returned", name, str(value)))

    async def consume(self, iterator: Any, name: str, caller: str | None, take: int | None) -> Any:
        taken = 0
        while True:
            try:
                value = await anext(iterator) if self.world.is_async else next(iterator)
            except (StopIteration, StopAsyncIteration) as end:
                return getattr(end, "value", None)
            self.check_context(caller)
            self.events.append(("yielded", name, *value))
            taken += 1
            if taken == take:
                await self.world.finish(iterator.aclose() if self.world.is_async else iterator.close())
                return "closed"

    # Tasks

    def task(self, program: Program, name: str) -> tuple[Task[..., Any], threading.Event]:
        event = threading.Event()
        if program.cancelled_at == 1:
            event.set()
        attempts = iter(range(1, 100))

        def steps(x: Any) -> AsyncGenerator[Any]:
            return self.text(program, name, next(attempts), event, x)

        options = {
            option: [self.hook(option, name, *each) for each in enumerate(program.hooks_of(option))]
            for option in HOOKS
        }
        task = Task(
            self.function(steps),
            name=name,
            retries=program.retries,
            retry_delay_seconds=list(program.delays),
            retry_jitter_factor=program.jitter,
            retry_condition_fn=self.condition(program, name) if program.condition else None,
            timeout_seconds=TIME_LIMIT if program.attempts[0].end is End.SLOW else None,
            task_run_name=self.name_function(name) if program.nameless else None,
            **options,
        )
        return task, event

    async def text(
        self, program: Program, name: str, number: int, event: threading.Event, x: Any
    ) -> AsyncGenerator[Any]:
        """What the user's function does: yields ("yield", value), and at last ("return", value)."""
        doing = program.attempt(number)
        if program.cancelled_at == number + 1:
            event.set()
        if doing.end is End.SLOW:
            await self.world.pause(5)
        shown = "Completed" if isinstance(x, State) else repr(x).replace(repr(FAILURE.data), "'failure'")
        self.events.append(("attempt", name, number, shown))
        for index, step in enumerate((*doing.steps, None)):
            if self.yields:
                try:
                    yield "yield", (number, index)
                except GeneratorExit:
                    self.events.append(("closed", name, number, index))
                    raise
            if isinstance(step, float):
                clock.current().advance(step)  # type: ignore[attr-defined]
            elif step is not None:
                await self.call(step, f"{name}.{number}{'abc'[index]}", name)
            self.check_context(name)
        if doing.end in RAISED:
            raise self.error(f"{name} {number}", RAISED[doing.end])
        yield "return", RETURNED[doing.end]()

    def function(self, steps: Callable[[Any], AsyncGenerator[Any]]) -> Callable[..., Any]:
        """The steps as a function of this performance's form."""
        run = self.world.run

        def plain(x: Any) -> Any:
            return run(last(steps(x)))

        async def aplain(x: Any) -> Any:
            return await last(steps(x))

        def generator(x: Any) -> Generator[Any, None, Any]:
            walk = steps(x)
            try:
                while True:
                    kind, value = run(walk.__anext__())
                    if kind == "return":
                        return value
                    yield value
            finally:
                run(walk.aclose())

        async def agenerator(x: Any) -> AsyncGenerator[Any]:
            walk = steps(x)
            try:
                async for kind, value in walk:
                    if kind == "yield":
                        yield value
            finally:
                await walk.aclose()

        if self.yields:
            return agenerator if self.world.is_async else generator
        return aplain if self.world.is_async else plain

    def hook(self, option: str, name: str, index: int, fails: bool) -> Callable[..., None]:
        def hook(*given: Any) -> None:
            seen = [given[2].name] if len(given) == 3 else []
            self.events.append((option, name, index, *seen))
            if fails:
                raise HookError

        return hook

    def condition(self, program: Program, name: str) -> Callable[..., bool]:
        def condition(_: object, __: object, state: State) -> bool:
            error = state.data if isinstance(state.data, BaseException) else None
            self.events.append(("asked", name, self.show_error(error) if error else state.name))
            if program.condition == "raises":
                raise HookError
            return program.condition == "yes"

        return condition

    def name_function(self, name: str) -> Callable[[], str]:
        def name_function() -> str:
            raise self.error(f"{name} nameless")

        return name_function


async def last(walk: AsyncGenerator[Any]) -> Any:
    """What comes at the end of the steps."""
    steps = [step async for step in walk]
    return steps[-1][1]
