"""Simulations, one or thousands: one seed after the other, over several processes, until one shows what is wrong."""

from __future__ import annotations

import inspect
import multiprocessing
import pickle
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import zip_longest
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from mainspring._processes.crews import processors
from mainspring.context import get_run_context
from mainspring.exceptions import ConfigurationError, MainspringError, MissingContextError, ParameterBindError
from mainspring.testing.episodes import Plan
from mainspring.testing.faults import NO_FAULTS, Faults
from mainspring.testing.locks import active_world
from mainspring.testing.options import require_number, require_patience
from mainspring.testing.rehearsals import WORTHWHILE, rehearse, take_processor
from mainspring.testing.simulation import Simulation, Stage, play, require_playable
from mainspring.testing.traces import Trace

__all__ = ["Exploration", "SimulationError", "SimulationWarning", "explore", "simulate"]

_TELLS = 30  # lines of the trace in a message
_PEACEFUL = -1  # the seed of the simulation that says what is expected; those of users are not negative


class SimulationError(MainspringError, AssertionError):
    """A simulation has shown that something is wrong: the message says what, and how to see it again.

    Args:
        message: That.
        simulation: What came of it.
    """

    def __init__(self, message: str, simulation: Simulation) -> None:
        super().__init__(message)
        self.simulation = simulation

    def __reduce__(self) -> Any:
        return SimulationError, (str(self), self.simulation)


class SimulationWarning(UserWarning):
    """A simulated flow takes something from outside, so its seed does not decide all that happens."""


class Exploration(NamedTuple):
    """What came of many simulations, all of which went well.

    Args:
        seeds: How many there were.
        lives: How many processes.
        faults: How often each kind of fault was met.
        seconds: How long it took.
        is_compared: Whether what came out was compared with what does without faults. It is if that is the same with
            two seeds; else nothing but the check of the user can tell.
    """

    seeds: int
    lives: int
    faults: Mapping[str, int]
    seconds: float
    is_compared: bool = True


def simulate(
    flow: Callable[..., Any],
    *,
    seed: int,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    faults: Faults | None = None,
    trace: Trace | None = None,
    check: Callable[[Simulation], object] | None = None,
    patience: float = 60.0,
    verify: bool = False,
) -> Simulation:
    """Run a flow in a world in which a seed decides what happens: who runs when, what time it is, and what goes wrong.

    Each process of the simulation is a forked child, with a run store of its own and an empty working directory. If it
    dies or the flow fails, the run is resumed in another one, the last of which meets no faults. Then the run store has
    to be in order, and what comes out has to be the same as without faults, if that is always the same.

    Time, chance, threads, locks and event loops of the standard library are simulated for the engine and for the flow
    alike. Clocks of ``datetime``, sockets and files are real, and are told as a `SimulationWarning` where they can be
    noticed. Processes are refused. Not to be called from a flow or a task.

    Args:
        flow: The flow, sync or async, or a function that calls some.
        seed: A number; the same one gives the same course of events, byte for byte in the trace.
        args: What the flow is called with.
        kwargs: The same, by name.
        faults: What may go wrong, and how likely: `Faults()` if it is None. `NO_FAULTS` for nothing.
        trace: What notes what user code sees, to be compared with the history. It goes to a file of each simulation.
        check: Called with the `Simulation` at the end; raises, or returns False, if something is wrong.
        patience: Seconds of real time after which a process counts as hanging.
        verify: Whether to simulate twice, and compare.

    Raises:
        SimulationError: Something is wrong. The message says how to see it again.
        ConfigurationError: The flow, the seed, the faults or an option cannot be used, or a run or simulation is going
            on in this process.
    """
    plan = _plan(flow, args, kwargs, faults, trace, check, patience)
    _require_seeds([seed])
    with Stage() as stage:
        expected = _expectation(plan, stage)
        _warn(expected.findings)
        simulation = _attempt(plan, seed, stage, expected, verify)
    _warn(simulation.findings)
    return _unless_wrong(plan, simulation)


def explore(
    flow: Callable[..., Any],
    seeds: int | Iterable[int] = 100,
    *,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    faults: Faults | None = None,
    trace: Trace | None = None,
    check: Callable[[Simulation], object] | None = None,
    patience: float = 60.0,
    workers: int | None = None,
) -> Exploration:
    """Simulate a flow with many seeds, over several processes, and stop at the first that shows what is wrong.

    The first seed is simulated twice, to see whether seeds decide what happens. Shows how far it is on a terminal.

    Args:
        flow: See `simulate`.
        seeds: Which, or how many, from 0.
        args: See `simulate`.
        kwargs: See `simulate`.
        faults: See `simulate`.
        trace: See `simulate`.
        check: See `simulate`.
        patience: See `simulate`.
        workers: How many processes; one for each processor if None.

    Raises:
        SimulationError: Something is wrong. The message says how to see it again.
        ConfigurationError: The flow, the seeds, the faults or an option cannot be used, or a run or simulation is going
            on in this process.
        MainspringError: A process ended before it was done with its seeds.
    """
    plan = _plan(flow, args, kwargs, faults, trace, check, patience)
    chosen = _chosen(seeds)
    if workers is not None:
        require_number("workers", workers, "a number of processes, or None")
    begun = time.monotonic()
    met: Counter[str] = Counter()
    lives = 0
    with Stage() as stage:
        expected = _expectation(plan, stage)
        _warn(expected.findings)
        # closed, so that no process goes on while somebody looks at the error
        with closing(_attempt_all(plan, chosen, stage, expected, workers or processors())) as found:
            for simulation in _shown(found, len(chosen)):
                _warn(simulation.findings)
                _unless_wrong(plan, simulation)
                lives += simulation.lives
                met.update(simulation.kinds)
    return Exploration(len(chosen), lives, dict(met), time.monotonic() - begun, expected.is_known)


def _plan(
    flow: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    faults: Faults | None,
    trace: Trace | None,
    check: Callable[[Simulation], object] | None,
    patience: float,
) -> Plan:
    _require_outside()
    require_playable(flow)
    faults = Faults() if faults is None else faults
    if not isinstance(faults, Faults):
        raise ConfigurationError(f"faults={faults!r}: give Faults(...), or NO_FAULTS.")
    faults.check()
    if check is not None and not callable(check):
        raise ConfigurationError(f"check={check!r}: give a function that is called with the Simulation.")
    if trace is not None and not isinstance(trace, Trace):
        raise ConfigurationError(
            f"trace={trace!r}: give a Trace, whose functions and hooks are those of the flow."
        )
    require_patience(patience)
    if isinstance(args, str) or not isinstance(args, Sequence):
        raise ConfigurationError(f"args={args!r}: give a list or tuple of arguments for the flow.")
    kwargs = {} if kwargs is None else kwargs
    if not isinstance(kwargs, Mapping):
        raise ConfigurationError(f"kwargs={kwargs!r}: give a dict of arguments for the flow.")
    _require_arguments(flow, args, kwargs)
    return Plan(flow, args, kwargs, faults, trace, check, patience)


def _require_outside() -> None:
    if active_world() is not None:
        raise ConfigurationError("A simulation cannot begin in virtual time or in another simulation.")
    try:
        get_run_context()
    except MissingContextError:
        return
    raise ConfigurationError(
        "A simulation cannot begin in a run: call simulate and explore from a test or a script, and not from a flow or"
        " a task."
    )


def _require_arguments(flow: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse what the flow cannot be called with: each seed would fail in the same way, and nothing seem wrong."""
    given = dict(kwargs)
    try:
        if hasattr(flow, "fn"):
            flow.take_options(given)
            flow.bind(tuple(args), given)
        else:
            inspect.signature(flow).bind(*args, **given)
    except (ParameterBindError, TypeError) as error:
        raise ConfigurationError(
            f"{_name(flow)} cannot be called with args={args!r}, kwargs={kwargs!r}: {error}"
        ) from None
    except ValueError:
        return  # a function in C may have no signature that Python knows


def _chosen(seeds: int | Iterable[int]) -> Sequence[int]:
    if isinstance(seeds, int):
        chosen: list[Any] = list(range(seeds))
    elif isinstance(seeds, Iterable):
        chosen = list(seeds)
    else:
        raise ConfigurationError(f"seeds={seeds!r}: give how many, or which.")
    _require_seeds(chosen)
    return chosen


def _require_seeds(seeds: Sequence[int]) -> None:
    for seed in list[Any](seeds):
        if not isinstance(seed, int) or seed < 0:
            raise ConfigurationError(f"The seed {seed!r} is none: give a whole number that is not negative.")
    if not seeds:
        raise ConfigurationError("No seeds are given: give how many, or which.")


# One after the other


class _Expectation(NamedTuple):
    """What comes out when nothing goes wrong."""

    is_known: bool
    value: Any
    error: str
    findings: Sequence[str]


def _expectation(plan: Plan, stage: Stage) -> _Expectation:
    peaceful = plan._replace(faults=NO_FAULTS, check=None)
    first, second = (
        _unless_wrong(plan, play(peaceful, seed, stage, audit=seed == _PEACEFUL))
        for seed in (_PEACEFUL, _PEACEFUL - 1)
    )
    is_known = first.error == second.error and _are_same(first.value, second.value)
    findings = first.findings
    if not is_known and plan.check is None:
        one, other = (f"raises {each.error}" if each.error else repr(each.value) for each in (first, second))
        findings += (
            f"Without faults {_name(plan.flow)} comes to {one} with one seed and to {other} with another, so what"
            " comes out is not compared. If it is to be the same, this is the fault to be found; if not, give a check.",
        )
    if is_known and first.error:
        findings += (
            f"Without faults {_name(plan.flow)} raises {first.error}: so that is what all seeds are to do.",
        )
    return _Expectation(is_known, first.value, first.error, findings)


def _unless_wrong(plan: Plan, simulation: Simulation) -> Simulation:
    if simulation.problems:
        raise _error(plan, simulation)
    return simulation


def _attempt(plan: Plan, seed: int, stage: Stage, expected: _Expectation, verify: bool) -> Simulation:
    def judge(simulation: Simulation) -> Sequence[str]:
        problems = list(_problems_of_value(simulation, expected)) if expected.is_known else []
        if not problems and verify:
            again = play(plan._replace(check=None), seed, stage, audit=True)
            problems += _problems_of_repetition(simulation, again, expected.findings)
        return problems

    return play(plan, seed, stage, judge=judge)


def _problems_of_value(simulation: Simulation, expected: _Expectation) -> Iterator[str]:
    if not simulation.returned and not simulation.error:
        return  # it died after it had completed
    if simulation.error != expected.error:
        told = simulation.error or "nothing"
        yield f"in the end it raises {told}, and without faults {expected.error or 'nothing'}"
    elif simulation.returned and not _are_same(simulation.value, expected.value):
        yield f"it returns {simulation.value!r}, and without faults {expected.value!r}"


def _are_same(one: Any, other: Any) -> bool:
    """Whether two values are equal or, if they cannot be, as those of classes without ``__eq__``, pickled alike."""
    try:
        if one == other:
            return True
    except Exception:  # noqa: S110 - values of users compare as they like
        pass
    return pickle.dumps(one) == pickle.dumps(other)


def _told(first: Simulation, second: Simulation, findings: Sequence[str]) -> str:
    """What was noticed that no seed decides."""
    found = dict.fromkeys((*findings, *first.findings, *second.findings))
    return "".join(f"\n  {each}" for each in found) or " what is not simulated."


def _problems_of_repetition(first: Simulation, second: Simulation, findings: Sequence[str]) -> Iterator[str]:
    for number, (one, other) in enumerate(zip_longest(first.trace, second.trace), 1):
        if one != other:
            yield (
                f"the same seed took two courses, so it does not decide all. Line {number} of the trace was"
                f"\n  {one}\nand the second time\n  {other}\nLook for:{_told(first, second, findings)}"
            )
            return
    one, other = first.value, second.value
    if not _are_same(one, other):
        yield (
            f"the same seed gave two values, so it does not decide all: {one!r}, and the second time {other!r}"
            f"\nLook for:{_told(first, second, findings)}"
        )


def _attempt_all(
    plan: Plan, seeds: Sequence[int], stage: Stage, expected: _Expectation, workers: int
) -> Generator[Simulation]:
    """Simulate all seeds, and yield what came of each as it comes.

    Raises:
        MainspringError: A process ended before it was done.
    """
    context = multiprocessing.get_context("fork")
    each_has_one = workers >= processors()
    processes: list[Any] = []
    sources: list[Any] = []
    left = set(seeds)
    try:
        for number in range(min(workers, len(seeds))):
            source, sink = context.Pipe(duplex=False)
            share = seeds[number::workers]
            process = context.Process(
                target=_work,
                args=(plan, share, stage, expected, sink, number == 0, number if each_has_one else None),
                daemon=True,
            )
            with warnings.catch_warnings():  # that there are other threads, which need nothing of the child's
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            sink.close()
            processes.append(process)
            sources.append(source)
        while sources:
            ready: list[Any] = wait(sources)
            for source in ready:
                try:
                    simulation: Simulation = source.recv()
                except EOFError:
                    sources.remove(source)
                else:
                    left.discard(simulation.seed)
                    yield simulation
        if left:
            codes = sorted({each.exitcode for each in processes if each.join() is None and each.exitcode})
            raise MainspringError(
                f"A process ended with {codes} before it was done with its seeds: nothing is known of"
                f" {sorted(left)[:10]}. What it wrote is above."
            )
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _work(
    plan: Plan,
    seeds: Sequence[int],
    stage: Stage,
    expected: _Expectation,
    sink: Connection,
    verifies: bool,
    processor: int | None,
) -> None:
    if processor is not None:
        take_processor(processor)
    if len(seeds) >= WORTHWHILE:
        with stage.scene(seeds[0]) as folder:
            rehearse(folder)
    for seed in seeds:
        simulation = _attempt(plan, seed, stage, expected, verify=verifies and seed == seeds[0])
        if simulation.problems:
            sink.send(simulation)
            return
        sink.send(simulation._replace(value=None, trace=(), output=""))


def _shown(simulations: Iterator[Simulation], number: int) -> Iterator[Simulation]:
    """The same, with a bar that shows how far it is, if somebody looks on."""
    if not sys.stderr.isatty():
        yield from simulations
        return
    from rich.console import Console
    from rich.progress import track

    # without a thread of its own, which would be there when processes are forked
    yield from track(simulations, "Seeds", number, console=Console(stderr=True), auto_refresh=False)


# What is told


def _warn(findings: Iterable[str]) -> None:
    for finding in findings:
        warnings.warn(finding, SimulationWarning, stacklevel=3)


def _name(flow: Any) -> str:
    return getattr(flow, "__name__", None) or repr(flow)


def _error(plan: Plan, simulation: Simulation) -> SimulationError:
    name = _name(plan.flow)
    problems = "".join(f"\n  {each}" for each in simulation.problems)
    met = "; ".join(simulation.met) or "nothing"
    trace = "".join(f"\n  {line}" for line in simulation.trace[-_TELLS:])
    again = f"seed={simulation.seed}" if simulation.seed >= 0 else "seed=0, faults=NO_FAULTS"
    hint = ""
    if "death" in simulation.kinds and getattr(plan.flow, "kind", None) == "flow":
        hint = f"\nIf a task must not be done twice, crash_everywhere({name}) names it."
    output = f"\nIt wrote:\n{simulation.output.rstrip()}" if simulation.output.strip() else ""
    which = (
        f"Seed {simulation.seed} shows what is wrong"
        if simulation.seed >= 0
        else "Without faults, this is wrong"
    )
    return SimulationError(
        f"{which} with {name}:{problems}\nIt met: {met}."
        f"\nSee it again with simulate({name}, {again}), and the same arguments and faults. All files, and the whole"
        f" trace, are in {simulation.home.parent}.{hint}\nThe end of the trace:{trace}{output}",
        simulation,
    )
