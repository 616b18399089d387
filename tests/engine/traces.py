"""Everything that happens in a run, in order: states, hooks, log lines, sleeps, and how the call ended.

A trace of the sync engine and one of the async engine are compared as they are, so they hold nothing that
differs from call to call: no ids, no addresses, and times only under a clock that jumps.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from mainspring import clock
from mainspring.client import get_client
from mainspring.identifiers import SystemIdSource, use_id_source
from mainspring.logging import RUN_LOGGERS
from mainspring.recording import current_recorder
from mainspring.runs import Run
from mainspring.settings import temporary_settings
from mainspring.states import State
from tests.engine.clocks import START, JumpingClock

ADDRESS = re.compile(r"0x[0-9a-f]+")
Event = tuple[Any, ...]


class SteadyIds(SystemIdSource):
    """Ids as ever, and always the same random number."""

    def uniform(self) -> float:
        return 0.75


class TracingClock(JumpingClock):
    """Notes each sleep; ``interrupt`` is raised by the next one."""

    def __init__(self, events: list[Event]) -> None:
        super().__init__()
        self.events = events
        self.interrupt: BaseException | None = None

    def sleep(self, seconds: float) -> None:
        self.events.append(("sleep", seconds))
        if self.interrupt is not None:
            error, self.interrupt = self.interrupt, None
            raise error
        super().sleep(seconds)


class Trace(logging.Handler):
    """Collects events while `recording` is active."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.events: list[Event] = []
        self.clock = TracingClock(self.events)
        self.runs: dict[bytes, Run] = {}

    def add(self, *event: Any) -> None:
        self.events.append(event)

    def emit(self, record: logging.LogRecord) -> None:
        text = ADDRESS.sub("0x", record.getMessage())
        self.add("log", record.levelname, text, record.exc_info is not None)

    def entered(self, run: Run, state: State) -> None:
        self.runs[run.key] = run
        self.add("state", run.name, state.type.value, state.name, state.message)

    def hook(self, name: str, error: BaseException | None = None, asynchronous: bool = False) -> Any:
        """A hook that notes its call and perhaps fails; commit and rollback hooks get one argument."""

        def call(*args: Any) -> None:
            shown = args[2].name if len(args) == 3 else args[0].state.name
            self.add("hook", name, shown)
            if error is not None:
                raise error

        async def acall(*args: Any) -> None:
            await asyncio.sleep(0)
            call(*args)

        hook = acall if asynchronous else call
        hook.__name__ = name
        return hook

    @contextmanager
    def recording(self) -> Iterator[None]:
        loggers = [logging.getLogger(name) for name in RUN_LOGGERS]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.addHandler(self)
            logger.setLevel(logging.DEBUG)
        try:
            with (
                temporary_settings({"logging.internal_level": "DEBUG"}),
                clock.use_clock(self.clock),
                use_id_source(SteadyIds()),
                current_recorder().listen(self.entered),
            ):
                yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.removeHandler(self)
                logger.setLevel(level)

    def stored(self) -> list[Event]:
        """The history of each run that was seen, as the store has it."""
        client = get_client()
        return [
            (
                run.name,
                [
                    (state.type.value, state.name, state.message, state.at - START)
                    for state in client.store.read_states(run.key)
                ],
                _facts(client.store.read_run(run.key)),
            )
            for run in self.runs.values()
        ]


def _facts(run: Run | None) -> tuple[Any, ...]:
    assert run is not None
    return run.name, run.run_count, run.start_time, run.end_time, run.total_run_time


class SyncWorld:
    """Runs texts written for async code without an event loop: nothing in them may really suspend."""

    is_async = False

    def function(self, text: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        def function(x: Any = 1) -> Any:
            return self.run(text(x))

        return function

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("it suspended")

    async def finish(self, value: Any) -> Any:
        return value

    async def pause(self, seconds: float) -> None:
        block(seconds)


class AsyncWorld:
    """Runs the same texts in an event loop."""

    is_async = True

    def function(self, text: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        async def function(x: Any = 1) -> Any:
            return await text(x)

        return function

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(coroutine)

    async def finish(self, value: Awaitable[Any]) -> Any:
        return await value

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


World = SyncWorld | AsyncWorld


def block(seconds: float) -> None:
    time.sleep(seconds)


async def outcome(call: Coroutine[Any, Any, Any]) -> Event:
    """How a call ended; its exception does not go further, so that no event loop dies of it."""
    try:
        value = await call
    except BaseException as error:
        return ("raise", type(error).__name__, ADDRESS.sub("0x", str(error)))
    if isinstance(value, State):
        value = repr(value)
    return ("return", value)
