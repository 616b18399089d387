"""What a process does before it forks thousands of simulated ones: it makes ready what each would have to, for itself.

Code that has run is faster than code that has not, and a forked child has what its parent has worked out. So a flow of
our own is played first, in virtual time. That of the user is not: each process has to find its globals as they were.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from mainspring.client import open_client
from mainspring.concurrency.sync import concurrency
from mainspring.flows import flow
from mainspring.logging import get_run_logger
from mainspring.runtime import task_run
from mainspring.tasks import task
from mainspring.testing import rules
from mainspring.testing.homes import private_home
from mainspring.testing.traces import Trace
from mainspring.testing.virtual import virtual_time
from mainspring.transactions import atransaction, transaction

__all__ = ["WORTHWHILE", "rehearse", "take_processor"]

WORTHWHILE = 50
"""So many seeds have to come for the time that a rehearsal takes."""

_TIMES = 4

_trace = Trace()


class _RehearsedError(Exception):
    """What goes wrong in a rehearsal."""


def rehearse(folder: Path) -> None:
    """Play a flow with all that flows usually have, a few times, and keep what is there then from being looked at.

    For a process of our own, which does nothing else than fork simulated ones. It takes half a second.

    Args:
        folder: An empty one.
    """
    _trace.redirect(folder / "notes")
    handlers = logging.getLogger("mainspring").handlers
    before = handlers.copy()
    # what is wrong with the engine is for the seeds to show, as they can be played again
    with suppress(Exception), _silence(), private_home(folder / "home"):
        for _ in range(_TIMES):
            with virtual_time():
                _all_of_it()
                asyncio.run(_all_of_it_async())
        rules.problems(results=True, trace=_trace)
    handlers[:] = before
    gc.collect()
    gc.freeze()  # a collection here would touch, and so copy, what is shared with each child


def take_processor(number: int) -> None:
    """Have this process, and those that it forks, stay on one processor, and not be interrupted by its own threads.

    The threads of a simulated process take turns. If the next one wakes up on another processor, or before the last one
    has gone to sleep, that costs more than most of them do in their turn. Does nothing where the system cannot do it.

    Args:
        number: Which of those that it may use, from 0.
    """
    with suppress(AttributeError, OSError):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[number % len(allowed)]})
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


@contextmanager
def _silence() -> Generator[None]:
    """Nothing that is written to the terminal gets there."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# What is played


@_trace.hook
def _look(subject: object, run: object, state: object) -> None:
    del subject, run, state


@_trace.hook
def _settle(txn: object) -> None:
    del txn


@task(retries=2, retry_delay_seconds=[1, 10], retry_jitter_factor=0.5, on_running=[_look])
@_trace.function
def _fetch(number: int) -> int:
    if task_run.run_count == 1:
        raise _RehearsedError
    return number


@task(persist_result=True, tags=["rehearsal"], on_completion=[_look], on_failure=[_look])
@_trace.function
def _keep(number: int) -> int:
    with concurrency("rehearsal", occupy=1):
        return number


@task(persist_result=True)
@_trace.function
async def _akeep(number: int) -> int:
    await asyncio.sleep(1)
    return number


@task(timeout_seconds=1)
async def _dally() -> None:
    await asyncio.sleep(10)


for _each in (_keep, _akeep):
    _each.on_commit(_settle)
    _each.on_rollback(_settle)


@flow(persist_result=True, on_completion=[_look])
@_trace.function
def _part(count: int) -> int:
    return sum(_fetch.map(range(count)).result())


@flow(persist_result=True, on_running=[_look], on_completion=[_look])
@_trace.function
def _all_of_it(count: int = 2) -> int:
    with open_client() as client:
        client.create_or_update_concurrency_limit("tag:rehearsal", 2)
        client.create_or_update_concurrency_limit("rehearsal", 1)
    get_run_logger().info("rehearses")
    with transaction("outer"), transaction("inner"):
        _keep(1)
    with suppress(_RehearsedError), transaction("refused"):
        _keep(2)
        raise _RehearsedError
    kept = _keep.map(range(3))
    later = _keep.submit(7, wait_for=[kept[0]])
    return sum(kept.result()) + later.result() + _part(count)


@flow(on_completion=[_look])
@_trace.function
async def _all_of_it_async(count: int = 3) -> int:
    async with atransaction("outer"):
        await _akeep(1)
    with suppress(TimeoutError):
        await _dally()
    return sum(await asyncio.gather(*(_akeep(number) for number in range(count))))
