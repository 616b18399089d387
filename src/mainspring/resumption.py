"""Going on with a flow run that is paused or did not end well, in any process that reaches its history and its results.

The flow is called again under the id of the run. What had finished is answered from kept results; what had not is
attempted again. This takes no more of a flow than that it keeps its results: ``@flow(persist_result=True)``.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import UUID

from mainspring import clock, pauses
from mainspring._core.transitions import Move, next_state
from mainspring._engine.flow_runs import read_flow_run
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.crash_hooks import call_crash_hooks
from mainspring.entrypoints import AnyFlow, flow_of, load_flow_and_flow_run, refusal
from mainspring.exceptions import (
    FlowPauseTimeout,
    MainspringError,
    NotPausedError,
    ParameterTypeError,
    StoragePathMissing,
)
from mainspring.flow_engine import collect_async, finish_async, new_engine, run_to_end
from mainspring.flows import Runner
from mainspring.recording import Recorder, current_recorder
from mainspring.results import ResultStore, get_result_store
from mainspring.runs import FlowRun, Resumption
from mainspring.states import State
from mainspring.store.pauses import PauseRecord
from mainspring.store.protocol import RunStore
from mainspring.transactions.recovery import check

__all__ = ["aresume_flow_run", "load_flow_and_flow_run", "resume_flow_run"]


def resume_flow_run(
    flow_run_id: UUID | str,
    run_input: Any = None,
    *,
    flow: AnyFlow | None = None,
    key: str | None = None,
    task_runner: Runner | None = None,
    return_state: bool = False,
) -> Any:
    """Go on with a flow run that is paused, failed, crashed or was cancelled, under its own id.

    A run that is paused in a process that lives goes on there: it gets the input, and this returns as soon as it has
    taken it, or after ten seconds. Any other run goes on here: its flow is called again, and this blocks until it is
    over. Finished task runs and subflows are answered from their kept results, pauses from their inputs, the rest is
    attempted again. The flow has all of its retries again. An async flow runs on an event loop of the calling thread.

    Args:
        flow_run_id: The id of the run; for a pause in a subflow that of the outermost run.
        run_input: What the run waits for: an object of the type, or what can be converted to it. None if it waits
            for none, or for something that has a default.
        flow: The flow, if it cannot be found where it was defined: in a function, a notebook, or a moved file.
        key: Which pause is meant, if several wait in the run: its key, or the id of the subflow run that waits.
        task_runner: Where its submitted tasks run from now on, if not where the flow says: a runner, a class of one, or
            the name of one ("processes=2").
        return_state: Return the state instead of the value: the final one, or that of a run that goes on elsewhere.

    Returns:
        What the flow returns; for a generator flow the list of what it yields, from its start. None for a run that goes
        on elsewhere: its future is ``FlowRunFuture(flow_run_id)``.

    Raises:
        NotResumable: The run cannot be gone on with: it is not over, has completed, is a subflow, has not kept what
            it takes, waits for an input and gets none, or somebody else goes on with it. Nothing was changed.
        NotPausedError: The same, as it waits for nothing, or not for an input.
        ParameterTypeError: The input is not what the run waits for. Nothing was changed.
        FlowPauseTimeout: The run has waited in vain. One that no process has in hand is ``Failed`` from now on, and can
            be resumed as such.
        ObjectNotFound: There is no such flow run.
        Pause: The run was suspended again.
        ConfigurationError: There is no task runner of that name. Nothing was changed.
        BaseException: Whatever comes out of the flow.
    """
    with _outside_of_runs():
        found = _find(flow_run_id, flow, run_input, key, task_runner)
        if isinstance(found, FlowRun):
            return _told(found, return_state)
        with found.input_taken():
            return run_to_end(found.engine(), "state" if return_state else "result")


async def aresume_flow_run(
    flow_run_id: UUID | str,
    run_input: Any = None,
    *,
    flow: AnyFlow | None = None,
    key: str | None = None,
    task_runner: Runner | None = None,
    return_state: bool = False,
) -> Any:
    """`resume_flow_run` for async code. A sync flow runs in a thread of its own."""
    import asyncio  # whoever awaits has it already

    with _outside_of_runs():
        found = await asyncio.to_thread(_find, flow_run_id, flow, run_input, key, task_runner)
        if isinstance(found, FlowRun):
            return _told(found, return_state)
        engine = found.engine()
        return_type: Any = "state" if return_state else "result"
        with found.input_taken():
            if found.flow.isasync:
                to_end: Any = collect_async if found.flow.isgenerator else finish_async
                return await to_end(engine, return_type)
            return await asyncio.to_thread(run_to_end, engine, return_type)


class _Found(NamedTuple):
    """What it takes to call the flow."""

    flow: AnyFlow
    run: FlowRun
    parameters: dict[str, Any]
    pause: PauseRecord | None = None  # that was answered

    @contextmanager
    def input_taken(self) -> Generator[None]:
        """A block in which the flow is called.

        Raises:
            ParameterTypeError: The flow has refused the input, which nobody else could check.
        """
        try:
            yield
        finally:
            pause = self.pause
            now = pause and current_recorder().store.read_pause(pause.flow_run_key, pause.key)
            if now is not None and now.answered is None and now.problem is not None:
                raise ParameterTypeError(now.problem)

    def engine(self) -> Any:
        """An engine that goes on with the run."""
        return new_engine(self.flow, self.parameters, self.run, resumes=True)


@contextmanager
def _outside_of_runs() -> Generator[None]:
    """A resumed run is a run of its own, whoever resumes it."""
    task_run, flow_run = TaskRunContext.activate(None), FlowRunContext.activate(None)
    try:
        yield
    finally:
        TaskRunContext.activate(task_run)
        FlowRunContext.activate(flow_run)


def _told(run: FlowRun, return_state: bool) -> State | None:
    """What there is to return for a run that goes on in its own process."""
    return read_flow_run(current_recorder().store, run.id).state if return_state else None


def _find(
    flow_run_id: UUID | str, flow: AnyFlow | None, run_input: Any, key: str | None, task_runner: Runner | None
) -> _Found | FlowRun:
    """The run, its flow and its parameters, if it can be gone on with here, after what it waits for was answered.

    A run that goes on in its own process is told so, and returned. Raises as `resume_flow_run` does.
    """
    recorder = current_recorder()
    recorder.flush()
    store = recorder.store
    store.catch_up()
    store.settle_dead_owners()  # the run may be one that nobody has found dead yet
    run = read_flow_run(store, flow_run_id)
    pause = _pause_in(store, run, run_input, key)
    if pause is not None and pauses.goes_on_elsewhere(store, pause):
        if task_runner is not None:
            raise refusal(
                run, "it goes on in its own process, where it has its task runner. Do not name another one"
            )
        pauses.tell(store, run, pauses.prepare(run, pause, run_input, None))
        return run
    if pause is None or run.state.is_paused():
        _require_left(store, run)
    if run.state.is_paused():
        _expire(recorder, run, pause)
    found = _load(store, run, flow, task_runner)
    if pause is not None and (run.state.is_paused() or run_input is not None):
        main = sys.modules.get(getattr(found.flow.fn, "__module__", ""))
        pauses.give(store, run, pauses.prepare(run, pause, run_input, main))
        found = found._replace(pause=pause)
    store.drop_suspension(run.key)  # from a process that did not get to it
    return found


def _pause_in(store: RunStore, run: FlowRun, run_input: Any, key: str | None) -> PauseRecord | None:
    """What waits for an answer in the run or its subflows.

    Raises:
        NotResumable: The run has completed, is a subflow, or nothing waits in it for the input.
    """
    if run.state.is_completed():
        raise refusal(run, "it has completed. Call its flow for another run")
    if run.parent_task_run_key is not None:
        raise pauses.subflow_refusal(run)
    pause = pauses.find_pause(store, run, key)
    if pause is None:
        pauses.refuse_input(run, run_input)
    return pause


def _require_left(store: RunStore, run: FlowRun) -> None:
    """Make sure that no process has the run in hand.

    Raises:
        NotPausedError: One has.
    """
    state = run.state
    if state.is_final():
        return
    if not state.is_paused():
        raise NotPausedError(str(refusal(run, f"it is not over: it is {state.name}")))
    if state.state_details.pause_reschedule:
        return
    if state.state_details.pause_key is None:
        raise NotPausedError(
            str(refusal(run, "its flow has returned the paused state, and waits for nothing"))
        )
    if pauses.is_in_hand(store, run.key):
        raise NotPausedError(str(refusal(run, "somebody else has resumed it, and it is about to go on")))


def _expire(recorder: Recorder, run: FlowRun, pause: PauseRecord | None) -> None:
    """Settle a run that has waited in vain, in no process.

    Raises:
        FlowPauseTimeout: It has.
    """
    now, until = clock.current().now(), run.state.state_details.pause_timeout
    if until is None or now < clock.from_datetime(until):
        return
    message = f"The run was paused, and nobody has resumed it until {until:%Y-%m-%d %H:%M:%S} UTC."
    if pause is None or recorder.store.close_pause(pause.flow_run_key, pause.key, now):
        state = next_state(run, Move.FAIL, now, message)
        recorder.enter(run, state, wait=True, confirm=True)
    raise FlowPauseTimeout(
        f"Flow run {run.name!r} ({run.id}) is not resumed: it was too late. {message} It can be resumed as a run that"
        f" has failed."
    )


def _load(store: RunStore, run: FlowRun, flow: AnyFlow | None, task_runner: Runner | None) -> _Found:
    """The flow and the parameters of a run that is over or was left; nothing is changed."""
    known = store.read_resumptions([run.key]).get(run.key)
    if known is None:
        raise refusal(
            run,
            "it was to keep no results, or ended before it began. Flows with `@flow(persist_result=True)` can be"
            " resumed",
        )
    run.resumption = known
    if known.parameters is None or (known.problem is not None and flow is None):
        advice = ". Pass the flow: `resume_flow_run(id, flow=...)`" if known.parameters else ""
        raise refusal(run, f"{known.problem}{advice}")
    if flow is None:
        flow = flow_of(run, known)
    # Those of the death that is gone on from, now that their module is there.
    call_crash_hooks(current_recorder())
    if flow.name != run.flow_name:
        raise refusal(run, f"it is a run of the flow {run.flow_name!r}, not of {flow.name!r}")
    flow = _on_runner(flow, task_runner)
    parameters = _parameters_of(run, known, flow)
    _check_leftovers(run, store)
    return _Found(flow, run, parameters)


def _on_runner(flow: Any, task_runner: Runner | None) -> AnyFlow:
    """The flow as it is, or on another runner."""
    return flow if task_runner is None else flow.running_on(task_runner)  # type: ignore[no-any-return]


def _check_leftovers(run: FlowRun, store: RunStore) -> None:
    """Find out whether what its transactions have left can be used here."""
    try:
        check(store.read_leftovers(run.key))
    except MainspringError as error:
        raise refusal(
            run, f"a commit or rollback that was going on cannot be finished here: {error}"
        ) from error


def _parameters_of(run: FlowRun, known: Resumption, flow: Any) -> dict[str, Any]:
    """The arguments of the run, from where its results are kept, completed with the defaults of new parameters."""
    options = flow.result_options
    if not options.persists_in(None):
        raise refusal(run, f"the flow {flow.name!r} keeps no results now. Give it `persist_result=True`")
    results: ResultStore = options.store_in(get_result_store())
    expected = results.parameters_path(run.id)
    if known.parameters is None or not results.has_parameters_at(known.parameters, run.id):
        raise refusal(
            run,
            f"its results are kept elsewhere: {known.parameters!r} is its, and {expected!r} would be here. Resume it"
            " with the storage and settings that it had",
        )
    signature = flow.arguments.signature.parameters
    given = _kept_parameters(run, results) if signature or run.parameters else {}
    parameters: dict[str, Any] = flow.arguments.complete(given)
    wrong = [name for name in given if name not in signature]
    wrong += [name for name, value in parameters.items() if value is signature[name].empty]
    if wrong:
        raise refusal(run, f"its flow takes other parameters now: see {', '.join(map(repr, wrong))}")
    for name in parameters.keys() - given.keys():
        parameters[name] = flow.convert_parameter(name, parameters[name])
    return parameters


def _kept_parameters(run: FlowRun, results: ResultStore) -> dict[str, Any]:
    """The arguments as they were kept; none if there were none to keep, apart from those that a flow is bound to."""
    try:
        return results.read_parameters(run.id)
    except Exception as error:  # of a storage or a class of the user's: it is the reason to tell
        if isinstance(error, StoragePathMissing) and not run.parameters:
            return {}
        raise refusal(run, f"its parameters cannot be read: {type(error).__name__}: {error}") from error
