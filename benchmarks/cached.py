"""Results that are found again, by their inputs and the source of the function; with locks, too."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from benchmarks.cases import Case, Family, Turn, fresh, within_keeping
from benchmarks.measuring import answer
from mainspring import flow, task
from mainspring.cache_policies import DEFAULT, INPUTS, TASK_SOURCE, CachePolicy
from mainspring.context import get_run_context
from mainspring.locking.filesystem import FileSystemLockManager
from mainspring.locking.memory import MemoryLockManager
from mainspring.locking.protocol import LockManager
from mainspring.store_locks import StoreLockManager

FOUND = -1
"""The argument whose result is there from the second call on."""

BY_CONTENT = INPUTS + TASK_SOURCE

cached = task(persist_result=True, cache_policy=BY_CONTENT)(answer)


@task(persist_result=True, cache_policy=BY_CONTENT)
async def cached_async(x: int) -> dict[str, int]:
    """`answer` as an async task."""
    return answer(x)


@flow(persist_result=True)
async def hits_async(turn: Turn) -> float:
    """Seconds per hit of an async task."""
    return await turn.per_await(lambda: cached_async(FOUND))


@task
def key(turn: Turn, policy: CachePolicy) -> float:
    """Seconds per cache key."""
    context = get_run_context()
    return turn.per_call(lambda: policy.compute_key(context, {"x": 42}, {}))


def hits(turn: Turn) -> float:
    """Seconds per cache hit."""
    return within_keeping(lambda: turn.per_call(lambda: cached(FOUND)))


def misses(turn: Turn) -> float:
    """Seconds per cache miss, with the result that is kept."""
    return within_keeping(lambda: turn.per_call(lambda: cached(next(fresh))))


def keys(policy: CachePolicy) -> Callable[[Turn], float]:
    """Takes a turn of keys alone."""
    return lambda turn: within_keeping(lambda: key(turn, policy))


def serializable(make_locks: Callable[[Turn], LockManager], is_hit: bool) -> Callable[[Turn], float]:
    """Takes a turn of calls of a task that locks its key, by what keeps the lock."""

    def take(turn: Turn) -> float:
        policy = BY_CONTENT.configure(isolation_level="SERIALIZABLE", lock_manager=make_locks(turn))
        alone = cached.with_options(cache_policy=policy)
        arguments = itertools.repeat(FOUND) if is_hit else fresh
        return within_keeping(lambda: turn.per_call(lambda: alone(next(arguments))))

    return take


LOCKS: tuple[tuple[str, Callable[[Turn], LockManager]], ...] = (
    ("memory", lambda _: MemoryLockManager()),
    ("folder", lambda turn: FileSystemLockManager(turn.home / "locks")),
    ("run store", lambda _: StoreLockManager()),
)

FAMILY = Family(
    (
        Case("cache hit", hits, 3),
        Case("cache hit, async", lambda turn: asyncio.run(hits_async(turn)), 3),
        Case("cache miss", misses),
        Case("key alone, INPUTS", keys(INPUTS)),
        Case("key alone, INPUTS + TASK_SOURCE", keys(BY_CONTENT)),
        Case("key alone, DEFAULT", keys(DEFAULT)),
        *(
            Case(
                f"SERIALIZABLE cache {'hit' if is_hit else 'miss'}, locks in {kind}",
                serializable(make, is_hit),
                share=4,
            )
            for kind, make in LOCKS
            for is_hit in (False, True)
        ),
    )
)
