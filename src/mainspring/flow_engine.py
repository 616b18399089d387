"""The flow engine: one run of one flow, from creation to its final state.

`run_flow` runs a flow; its forms are the same loops as in `mainspring.task_engine`. A flow
called inside a flow is a subflow: a task run of the parent stands for it there and goes through the same states.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from mainspring import _portal, identifiers, points
from mainspring._core.traverse import ATOMS
from mainspring._engine.background import background_runs
from mainspring._engine.drivers import AsyncDriver, SyncDriver
from mainspring._engine.flow_runs import BaseFlowRunEngine, FlowRunTimeoutError
from mainspring._engine.inputs import find_unfinished
from mainspring._engine.scopes import AsyncRunnerScope, AsyncRunScope, SyncRunnerScope, SyncRunScope
from mainspring._engine.signals import SignalCapture
from mainspring._imports import modules_on_use, names_on_use
from mainspring._processes.main_program import refuse_while_imported
from mainspring.exceptions import MissingResult, Pause
from mainspring.transactions.faces import adrive, drive

if TYPE_CHECKING:
    from mainspring import entrypoints
    from mainspring._core.outcomes import Outcome
    from mainspring._engine import submissions, suspension
    from mainspring._engine.resumable import Answer
    from mainspring.entrypoints import load_flow_and_flow_run
    from mainspring.futures import FlowRunFuture, background, promises, resolving, turns
    from mainspring.runs import FlowRun
else:
    entrypoints = modules_on_use("mainspring", "entrypoints")
    submissions, suspension = modules_on_use("mainspring._engine", "submissions", "suspension")
    background, promises, resolving, turns = modules_on_use(
        "mainspring.futures", "background", "promises", "resolving", "turns"
    )

__all__ = [
    "AsyncFlowRunEngine",
    "BaseFlowRunEngine",
    "FlowRunEngine",
    "FlowRunTimeoutError",
    "load_flow_and_flow_run",
    "run_flow",
    "run_flow_async",
    "run_flow_sync",
    "run_generator_flow_async",
    "run_generator_flow_sync",
]

__getattr__, __dir__ = names_on_use(__name__, {"mainspring.entrypoints": ["load_flow_and_flow_run"]})

ReturnType = Literal["state", "result"]


class LoadedFlowRunEngine(BaseFlowRunEngine):
    """An engine that finds the flow of a recorded run by itself (F-51)."""

    def _load(self, flow_run_id: UUID) -> tuple[Any, FlowRun | None]:
        return entrypoints.load_flow_and_flow_run(flow_run_id)


class FlowRunEngine(LoadedFlowRunEngine, SyncDriver):
    """Runs a sync flow in the calling thread."""

    def start(self, flow_run_id: UUID | None = None) -> SyncRunScope:
        """The scope around a run: it is created and begun on entering, its hooks run on leaving.

        Args:
            flow_run_id: The id for a new run; random when omitted.
        """
        return SyncRunScope(self, flow_run_id, None, begins=True)

    def find_answer(self) -> Answer | None:
        """What this call has come to already, in an earlier attempt of the flow run around (F-38, F-60).

        None for any other call, and if that is not known any more. An earlier run that did not complete is then the
        run of this engine, if the flow run around is resumed.
        """
        if not self._is_repeated():
            return None
        self.wait_for_inputs()
        state = self._take_up()
        if state is None:
            return None
        try:
            return self._answer(state, state.result())
        except MissingResult:  # by rule E-29: what has vanished is computed again
            self._reject_answer()
            return None

    def prepare(self) -> Outcome:
        """Prepare as every run does, then keep what it takes to go on with this one."""
        outcome = super().prepare()
        if self._must_note_resumption(outcome):
            known = self._find_resumption()
            if known.parameters is not None and self.parameters:
                try:
                    self._result_store.store_parameters(identifiers.to_text(self.run.key), self.parameters)
                except Exception as error:  # by rule: a run that cannot be resumed can still be run
                    known = self._resumption_without_parameters(error)
            self.run.resumption = known  # not earlier, as the background thread may write the run at any time
        return outcome

    def call_flow_fn(self) -> Any:
        """Call the flow's function once with a started task runner and settle what it returns (F-20, F-21)."""
        self.check_cancelled()
        with SyncRunnerScope(self):
            self.finish_leftovers()
            if points.observer is not None:
                points.observer("flow.call", (self.flow, self.run))
            result = self.flow.arguments.call(self.parameters)
            if points.observer is not None:
                points.observer("flow.returned", (self.flow, self.run))
            self.wait_for_returned(result)
        return self.settle_returned(result)

    def finish_leftovers(self) -> None:
        """Finish what attempts before this one had decided about transactions, and not done."""
        finishing = self._finishing()
        if finishing is not None:
            drive(finishing)

    def wait_for_returned(self, result: Any) -> None:
        """Wait for the runs of the futures in what the function returned, while their task runner is there."""
        for future in find_unfinished(result):
            future.wait()

    def settle_returned(self, result: Any) -> Any:
        """Settle what the function returned, with the states of the futures in it (F-20, F-21)."""
        undoing = self._undoing()
        if undoing is not None:
            drive(undoing)
        return self.handle_success(_with_states(result))

    def handle_success(self, result: Any) -> Any:
        """Enter the state that the result means; a failed one may be retried."""
        self.end_call()
        self._succeed(result)
        return result


class AsyncFlowRunEngine(LoadedFlowRunEngine, AsyncDriver):
    """Runs an async flow in the calling asyncio task."""

    def start(self, flow_run_id: UUID | None = None) -> AsyncRunScope:
        """The scope around a run: it is created and begun on entering, its hooks run on leaving.

        Args:
            flow_run_id: The id for a new run; random when omitted.
        """
        return AsyncRunScope(self, flow_run_id, None, begins=True)

    async def find_answer(self) -> Answer | None:
        """What this call has come to already, in an earlier attempt of the flow run around (F-38, F-60).

        None for any other call, and if that is not known any more. An earlier run that did not complete is then the
        run of this engine, if the flow run around is resumed.
        """
        if not self._is_repeated():
            return None
        await self.wait_for_inputs()
        state = self._take_up()
        if state is None:
            return None
        try:
            return self._answer(state, await state.aresult())
        except MissingResult:  # by rule E-29: what has vanished is computed again
            self._reject_answer()
            return None

    async def prepare(self) -> Outcome:
        """Prepare as every run does, then keep what it takes to go on with this one."""
        outcome = await super().prepare()
        if self._must_note_resumption(outcome):
            known = self._find_resumption()
            if known.parameters is not None and self.parameters:
                try:
                    await self._result_store.astore_parameters(
                        identifiers.to_text(self.run.key), self.parameters
                    )
                except Exception as error:  # by rule: a run that cannot be resumed can still be run
                    known = self._resumption_without_parameters(error)
            self.run.resumption = known  # not earlier, as the background thread may write the run at any time
        return outcome

    async def call_flow_fn(self) -> Any:
        """Call the flow's function once with a started task runner and settle what it returns (F-20, F-21)."""
        self.check_cancelled()
        async with AsyncRunnerScope(self):
            await self.finish_leftovers()
            if points.observer is not None:
                points.observer("flow.call", (self.flow, self.run))
            result = await self.flow.arguments.call(self.parameters)
            if points.observer is not None:
                points.observer("flow.returned", (self.flow, self.run))
            await self.wait_for_returned(result)
        return await self.settle_returned(result)

    async def finish_leftovers(self) -> None:
        """Finish what attempts before this one had decided about transactions, and not done."""
        finishing = self._finishing()
        if finishing is not None:
            await adrive(finishing)

    async def wait_for_returned(self, result: Any) -> None:
        """Wait for the runs of the futures in what the function returned, while their task runner is there."""
        for future in find_unfinished(result):
            await future.wait_async()

    async def settle_returned(self, result: Any) -> Any:
        """Settle what the function returned, with the states of the futures in it (F-20, F-21)."""
        undoing = self._undoing()
        if undoing is not None:
            await adrive(undoing)
        return await self.handle_success(_with_states(result))

    async def handle_success(self, result: Any) -> Any:
        """Enter the state that the result means; a failed one may be retried."""
        self.end_call()
        await self._succeed(result)
        return result


def _with_states(result: Any) -> Any:
    """What a flow has returned, with states for the futures in it; a value that is no container has none."""
    return result if type(result) in ATOMS else resolving.resolve_futures_to_states(result)


def run_flow(
    flow: Any,
    flow_run: FlowRun | None = None,
    parameters: dict[str, Any] | None = None,
    wait_for: Iterable[Any] | None = None,
    return_type: ReturnType = "result",
    resumes: bool = False,
) -> Any:
    """Run a flow, whatever kind it is.

    Args:
        flow: The flow.
        flow_run: A run record to execute instead of a new one.
        parameters: The arguments by parameter name, complete with defaults.
        wait_for: Futures and states that must be there first.
        return_type: "result" returns the value or raises; "state" returns the final state.
        resumes: ``flow_run`` has ended and is gone on with.

    Returns:
        The result or state of a sync flow, a coroutine for an async one, an iterator for a generator.
    """
    refuse_while_imported(f"Flow {flow.name!r}")
    if flow.isgenerator:
        runner: Any = run_generator_flow_async if flow.isasync else run_generator_flow_sync
    else:
        runner = run_flow_async if flow.isasync else run_flow_sync
    return runner(flow, flow_run, parameters, wait_for, return_type, resumes)


def run_flow_sync(
    flow: Any,
    flow_run: FlowRun | None = None,
    parameters: dict[str, Any] | None = None,
    wait_for: Iterable[Any] | None = None,
    return_type: ReturnType = "result",
    resumes: bool = False,
) -> Any:
    """`run_flow` for a sync flow."""
    engine = FlowRunEngine(flow, parameters, flow_run, wait_for, resumes=resumes)
    return finish_sync(engine, return_type)


def finish_sync(engine: FlowRunEngine, return_type: ReturnType) -> Any:
    """Run a flow to its end with an engine that was not started."""
    with SignalCapture():
        answer = engine.find_answer()
        if answer is not None:
            return answer.state if return_type == "state" else answer.value
        try:
            with engine.start():
                while engine.is_running():
                    with engine.run_context():
                        engine.call_flow_fn()
        except Pause:
            if return_type == "result" or not engine.is_left_suspended():
                raise
    return engine.state if return_type == "state" else engine.result()


async def run_flow_async(
    flow: Any,
    flow_run: FlowRun | None = None,
    parameters: dict[str, Any] | None = None,
    wait_for: Iterable[Any] | None = None,
    return_type: ReturnType = "result",
    resumes: bool = False,
) -> Any:
    """`run_flow` for an async flow."""
    engine = AsyncFlowRunEngine(flow, parameters, flow_run, wait_for, resumes=resumes)
    return await finish_async(engine, return_type)


async def finish_async(engine: AsyncFlowRunEngine, return_type: ReturnType) -> Any:
    """Run a flow to its end with an engine that was not started."""
    with SignalCapture():
        answer = await engine.find_answer()
        if answer is not None:
            return answer.state if return_type == "state" else answer.value
        try:
            async with engine.start():
                while engine.is_running():
                    async with engine.run_context():
                        await engine.call_flow_fn()
        except Pause:
            if return_type == "result" or not engine.is_left_suspended():
                raise
    return engine.state if return_type == "state" else await engine.result()


def run_generator_flow_sync(
    flow: Any,
    flow_run: FlowRun | None = None,
    parameters: dict[str, Any] | None = None,
    wait_for: Iterable[Any] | None = None,
    return_type: ReturnType = "result",
    resumes: bool = False,
) -> Generator[Any, Any, Any]:
    """`run_flow` for a sync generator flow; nothing happens before the first step.

    The iterator raises ``ValueError`` at its first step if ``return_type`` is not "result".
    """
    engine = FlowRunEngine(flow, parameters, flow_run, wait_for, resumes=resumes)
    return iterate_sync(engine, return_type)


def iterate_sync(engine: FlowRunEngine, return_type: ReturnType = "result") -> Generator[Any, Any, Any]:
    """Run a generator flow, a step at a time, with an engine that was not started.

    Raises:
        ValueError: ``return_type`` is not "result".
    """
    _require_result(return_type)
    with suspension.FlowSteps(engine) as steps:
        engine.find_answer()  # there is none, but an earlier run may be gone on with
        with engine.start():
            while engine.is_running():
                with engine.run_context():
                    with SyncRunnerScope(engine):
                        engine.finish_leftovers()
                        if points.observer is not None:
                            points.observer("flow.call", (engine.flow, engine.run))
                        generator = engine.flow.arguments.call(engine.parameters)
                        step, argument, result = generator.send, None, None
                        while True:
                            try:
                                value = step(argument)
                            except StopIteration as end:
                                result = getattr(end, "value", None)
                                break
                            engine.trace(value)
                            with suspension.FlowSuspension(steps):
                                try:
                                    step, argument = generator.send, (yield value)
                                except GeneratorExit:
                                    step = None
                                except BaseException as error:  # for the user's generator to handle
                                    step, argument = generator.throw, error
                            if step is None:
                                engine.closing = True
                                generator.close()
                                engine.end_closing()
                                break
                            signal = engine.told_to_stop() or engine.wanted_pause()
                            if signal is not None:
                                step, argument = generator.throw, signal
                        if points.observer is not None:
                            points.observer("flow.returned", (engine.flow, engine.run))
                        engine.wait_for_returned(result)
                    engine.settle_returned(result)
    return engine.result()


def run_generator_flow_async(
    flow: Any,
    flow_run: FlowRun | None = None,
    parameters: dict[str, Any] | None = None,
    wait_for: Iterable[Any] | None = None,
    return_type: ReturnType = "result",
    resumes: bool = False,
) -> AsyncGenerator[Any, Any]:
    """`run_flow` for an async generator flow; nothing happens before the first step.

    The iterator raises ``ValueError`` at its first step if ``return_type`` is not "result".
    """
    engine = AsyncFlowRunEngine(flow, parameters, flow_run, wait_for, resumes=resumes)
    return iterate_async(engine, return_type)


async def iterate_async(
    engine: AsyncFlowRunEngine, return_type: ReturnType = "result"
) -> AsyncGenerator[Any, Any]:
    """Run a generator flow, a step at a time, with an engine that was not started.

    Raises:
        ValueError: ``return_type`` is not "result".
    """
    _require_result(return_type)
    with suspension.FlowSteps(engine) as steps:
        await engine.find_answer()  # there is none, but an earlier run may be gone on with
        async with engine.start():
            while engine.is_running():
                async with engine.run_context():
                    async with AsyncRunnerScope(engine):
                        await engine.finish_leftovers()
                        if points.observer is not None:
                            points.observer("flow.call", (engine.flow, engine.run))
                        generator = engine.flow.arguments.call(engine.parameters)
                        step, argument, result = generator.asend, None, None
                        while True:
                            try:
                                value = await step(argument)
                            except StopAsyncIteration as end:
                                result = getattr(end, "value", None)
                                break
                            engine.trace(value)
                            with suspension.FlowSuspension(steps):
                                try:
                                    step, argument = generator.asend, (yield value)
                                except GeneratorExit:
                                    step = None
                                except BaseException as error:  # for the user's generator to handle
                                    step, argument = generator.athrow, error
                            if step is None:
                                engine.closing = True
                                await generator.aclose()
                                await engine.end_closing()
                                break
                            signal = engine.told_to_stop() or engine.wanted_pause()
                            if signal is not None:
                                step, argument = generator.athrow, signal
                        if points.observer is not None:
                            points.observer("flow.returned", (engine.flow, engine.run))
                        await engine.wait_for_returned(result)
                    await engine.settle_returned(result)
    await engine.result()


def run_to_end(engine: Any, return_type: ReturnType) -> Any:
    """Run a flow of any kind in the calling thread, with an engine that was not started.

    What a generator yields is collected: the list of it is the result.
    """
    flow = engine.flow
    if flow.isgenerator:
        return (
            _portal.run(turns.as_main(collect_async(engine, return_type)))
            if flow.isasync
            else collect_sync(engine, return_type)
        )
    return (
        _portal.run(turns.as_main(finish_async(engine, return_type)))
        if flow.isasync
        else finish_sync(engine, return_type)
    )


def submit_flow(flow: Any, parameters: dict[str, Any], wait_for: Iterable[Any] | None) -> FlowRunFuture[Any]:
    """Start a flow run in the background and return at once; arguments as for `run_flow`.

    It runs in a copy of the context of the caller, on a thread that is its own as soon as its inputs are there.

    Raises:
        RuntimeError: The flow run around has ended.
        RunCancelled: The run around was given up.
    """
    refuse_while_imported(f"Flow {flow.name!r}")
    missing = submissions.unfinished_inputs(parameters, wait_for)
    engine = new_engine(flow, parameters, wait_for=wait_for)
    engine.look_around()
    reservation = engine.reserve(inputs_are_there=not missing)
    promise = promises.Promise()
    label = partial("a run of flow {!r} ({})".format, flow.name, UUID(bytes=reservation.flow_run_key))
    submission = submissions.Submission(partial(run_to_end, engine, "state"), promise, label)
    engine.hand_over = partial(submission.settle, engine)
    if not background_runs().add(submission, missing):
        raise RuntimeError(
            f"The flow {flow.name!r} was not submitted: what would wait for its run has ended. Submit it before the"
            f" function of the flow around returns, or before the program ends."
        )
    return background.BackgroundFlowRun(reservation, promise)


def collect_sync(engine: FlowRunEngine, return_type: ReturnType) -> Any:
    """Run a generator flow to its end; the list of what it yields is its result, also in its state."""
    values: list[Any] = []
    try:
        for value in iterate_sync(engine):
            values.append(value)
    except Pause:
        if return_type == "result" or not engine.is_left_suspended():
            raise
        return engine.state
    except Exception:
        if return_type == "result" or not engine.is_run_of_ours():
            raise
        return engine.state
    engine.state.keep(values)
    return engine.state if return_type == "state" else values


async def collect_async(engine: AsyncFlowRunEngine, return_type: ReturnType) -> Any:
    """Run a generator flow to its end; the list of what it yields is its result, also in its state."""
    values: list[Any] = []
    try:
        async for value in iterate_async(engine):
            values.append(value)
    except Pause:
        if return_type == "result" or not engine.is_left_suspended():
            raise
        return engine.state
    except Exception:
        if return_type == "result" or not engine.is_run_of_ours():
            raise
        return engine.state
    engine.state.keep(values)
    return engine.state if return_type == "state" else values


def new_engine(
    flow: Any,
    parameters: dict[str, Any],
    flow_run: FlowRun | None = None,
    wait_for: Iterable[Any] | None = None,
    resumes: bool = False,
) -> Any:
    """The engine that a flow needs, not started; arguments as for `run_flow`."""
    kind: Any = AsyncFlowRunEngine if flow.isasync else FlowRunEngine
    return kind(flow, parameters, flow_run, wait_for, resumes=resumes)


def _require_result(return_type: str) -> None:
    if return_type != "result":
        raise ValueError("The return_type for a generator flow must be 'result'.")
