"""Why a task run used a kept result, or why it did not.

All of it is found out from the history afterwards. A run records the key under which it looked for a result, and what
the key was made of; the rest is comparing with other runs.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec

from mainspring import clock, identifiers
from mainspring._core.transitions import is_rolled_back
from mainspring.records import ResultRecordMetadata
from mainspring.runs import TaskRun
from mainspring.states import StateType
from mainspring.store.protocol import CacheKey, RunFilter, RunStore

__all__ = ["CacheComponent", "CacheExplanation", "CacheOutcome", "explain_caching"]

SEARCHED = 10_000
"""So many earlier runs of a task are compared at most, the newest."""

CacheOutcome = Literal[
    "used",
    "changed",
    "first",
    "missing",
    "damaged",
    "refresh",
    "no key",
    "error",
    "disabled",
    "generator",
    "uncached",
]


class CacheComponent(msgspec.Struct, frozen=True):
    """A part of a cache key in two runs.

    Attributes:
        name: Which part: ``inputs.x``, ``task_source`` ...
        then: What it was in the other run: mostly a hash. None if it had nothing of the kind, or nothing that can be
            hashed, or if there is no other run.
        now: What it was in the run that was asked about.
    """

    name: str
    then: str | None
    now: str | None

    @property
    def is_same(self) -> bool:
        """Whether both runs agree in it."""
        return self.then == self.now


class CacheExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the search for a kept result.

    Attributes:
        task_run_id: The run that was asked about.
        outcome: In a word: "used" (a kept result), "changed" (the key differs from those of earlier runs), "first" (no
            earlier run of the task had a key), "missing" (an earlier run had the same key, and there was nothing to be
            used), "damaged" (there was something, which could not be loaded, so the run failed), "refresh" (the result
            was to be computed anew), "no key" (the policy gave none), "error" (the key could not be computed, or no
            storage could have it), "disabled" (by a setting), "generator" (the task is one), "uncached" (it did not
            look for a result).
        reason: The same in a sentence.
        key: The key of the run, if it had one.
        other_task_run_id: The run whose result was used, or which ``then`` is about: of the earlier runs of the task
            the one that agrees in most components, the newest of several. None if there is none.
        components: What the key is made of, by name.
    """

    task_run_id: UUID
    outcome: CacheOutcome
    reason: str
    key: str | None = None
    other_task_run_id: UUID | None = None
    components: list[CacheComponent] = []

    @property
    def changed(self) -> list[str]:
        """The names of the components in which the runs differ; empty if there is no other run."""
        if self.other_task_run_id is None:
            return []
        return [component.name for component in self.components if not component.is_same]


_REASONS: dict[str, tuple[CacheOutcome, str]] = {
    "refresh": (
        "refresh",
        "It was to be computed anew, as `refresh_cache` of its task or the setting tasks.refresh_cache says.",
    ),
    "disabled": ("disabled", "The setting tasks.disable_caching has all cache policies ignored."),
    "generator": ("generator", "Its task is a generator, and what these yield is never kept."),
    "no key": ("no key", "Its cache policy gave no key, as `INPUTS` does for a task without arguments."),
    "error": ("error", "Its cache key could not be computed"),
}
_KEY_FUNCTION = "cache_key_fn"
_BEFORE_ERRORS = (
    "Task run encountered an exception: ",
    "Execution was interrupted by an unexpected exception: ",
)


def explain_caching(store: RunStore, run: TaskRun) -> CacheExplanation:
    """Why a task run used a kept result, or why it did not.

    Args:
        store: The run store that the run is in.
        run: The run, as the store has it.

    Raises:
        StoreError: The store cannot be read.
    """
    found = store.read_cache_key(run.key)
    if run.state.name == "Cached":
        return _used(store, run, found)
    if found is None:
        return _uncached(store, run)
    if found.skipped is not None:
        outcome, reason = _why_skipped(found)
        # Where nothing was asked for its components, there is nothing to compare.
        other = None if outcome == "refresh" or not found.components else _nearest(store, run, found)
        return _explanation(found, outcome, reason, other)
    if _failed_by(run, f"storage key {found.key!r}"):
        return _explanation(found, "error", f"No storage could have its key. {_failure(run)}", None)
    same = next(iter(_with_same_key(store, run, found)), None)
    other = None if same is None else store.read_cache_key(same.key)
    if _failed_by(run, f"result under {found.key!r}"):
        source = "somebody" if same is None else _named(same)
        reason = f"What {source} had kept under the same key could not be loaded. {_failure(run)}"
        return _explanation(found, "damaged", reason, other)
    if same is not None:
        reason = f"{_named(same)} had the same key, but {_why_missing(run, same)}."
        return _explanation(found, "missing", reason, other)
    nearest = _nearest(store, run, found)
    if nearest is None:
        return _explanation(found, "first", "No earlier run of the task had a cache key.", None)
    return _changed(store, found, nearest)


# Used


def _used(store: RunStore, run: TaskRun, found: CacheKey | None) -> CacheExplanation:
    """The run that kept the result is the last one that completed before with a result in the same place."""
    key = None if found is None else found.key
    others = [] if key is None else store.read_task_runs_of_cache_key(key, SEARCHED)
    kept = [
        each
        for each in others
        if each.state.name != "Cached"
        and _is_kept(each)
        and _place(each) == _place(run)
        and _before(each, run)
    ]
    if not kept:
        reason = "It used a kept result; this history does not have the run that kept it."
        return _explanation(found or CacheKey(run.key, None, {}), "used", reason, None)
    source = max(kept, key=lambda each: each.ended_at or 0)
    reason = f"It used the result that {_named(source)} had kept."
    assert found is not None
    return _explanation(found, "used", reason, store.read_cache_key(source.key))


# Not used


def _why_skipped(found: CacheKey) -> tuple[CacheOutcome, str]:
    """Outcome and reason where the run said itself why it looked for nothing."""
    assert found.skipped is not None
    outcome, reason = _REASONS[found.skipped]
    if outcome == "no key" and _KEY_FUNCTION in found.components and len(found.components) == 1:
        return outcome, f"Its `{_KEY_FUNCTION}` returned None, which means no key."
    if outcome == "error":
        told = found.message or "nobody has told why"
        return outcome, f"{reason}: {told.rstrip('.')}."
    return outcome, reason


def _uncached(store: RunStore, run: TaskRun) -> CacheExplanation:
    """Nothing is recorded about a key."""
    if _failed_by(run, "result storage key"):
        reason = f"Its storage key could not be made. {_failure(run)}"
        return CacheExplanation(task_run_id=run.id, outcome="error", reason=reason)
    return CacheExplanation(task_run_id=run.id, outcome="uncached", reason=_why_uncached(store, run))


def _failed_by(run: TaskRun, *marks: str) -> bool:
    """Whether a run did not end well because of an error whose message has one of these in it."""
    return (
        run.state.is_final() and not run.state.is_completed() and any(each in _failure(run) for each in marks)
    )


def _failure(run: TaskRun) -> str:
    """What a run says of its end, from the error on."""
    message = run.state.message or ""
    for beginning in _BEFORE_ERRORS:
        message = message.removeprefix(beginning)
    return message


def _why_uncached(store: RunStore, run: TaskRun) -> str:
    if store.read_flow_runs(RunFilter(parents=[run.key], limit=1)):
        return "It stands for a run of a flow, and runs of flows are not cached."
    if run.run_count == 0:
        return "It never began." if run.state.is_final() else "It has not begun yet."
    if run.state.has_data:
        return "Its result was kept, but its task has no cache policy (`NO_CACHE`), so no other result was looked for."
    return "Results of its task are not kept (see `persist_result`), so none was looked for."


def _with_same_key(store: RunStore, run: TaskRun, found: CacheKey) -> list[TaskRun]:
    """The earlier runs with the same key, those first that tell most.

    That are those with the same storage, then those of the same task, then those that kept something, then the newest.
    """
    assert found.key is not None
    others = store.read_task_runs_of_cache_key(found.key, SEARCHED)
    earlier = [each for each in others if each.key < run.key]
    return sorted(
        earlier,
        key=lambda each: (_is_elsewhere(each, run), each.task_key != run.task_key, not _is_kept(each)),
    )


def _why_missing(run: TaskRun, other: TaskRun) -> str:
    """Why a run could not use what an earlier one with the same key came to."""
    if not other.state.is_final():
        return f"it is {other.state.name} still"
    if other.state.is_completed() and _place(other) is None:
        return "its result could not be kept, as the log of that run tells"
    if not _is_kept(other):
        return f"it ended as {other.state.name}, of which nothing is kept"
    if not _before(other, run):
        return "it was still at work when this one looked for its result"
    if _is_elsewhere(other, run):
        return f"its result is kept elsewhere ({_place(other)})"
    expiration = other.state.data.expiration
    if expiration is not None and clock.from_datetime(expiration) <= _looked_at(run):
        return f"its result expired at {expiration:%Y-%m-%d %H:%M:%S} UTC"
    return (
        "its result was not there: it was removed, or waited for the end of a transaction, or the storage could not be"
        " read"
    )


def _changed(store: RunStore, found: CacheKey, nearest: CacheKey) -> CacheExplanation:
    """The key is another one than that of the run that comes nearest."""
    other = store.read_run(nearest.task_run_key)
    assert isinstance(other, TaskRun)
    explanation = _explanation(found, "changed", "", nearest)
    parts = ", ".join(explanation.changed) or "its policy"
    reason = f"No earlier run had this key. That of {_named(other)} comes nearest and differs in {parts}."
    return msgspec.structs.replace(explanation, reason=reason)


def _nearest(store: RunStore, run: TaskRun, found: CacheKey) -> CacheKey | None:
    """Of the earlier runs of the task, newest first, the one whose key has the most components in common."""

    def agreement(other: CacheKey) -> int:
        known = other.components
        return sum(known.get(name) == text for name, text in found.components.items() if text is not None)

    return max(store.read_earlier_cache_keys(run, SEARCHED), key=agreement, default=None)


# Facts


def _explanation(
    found: CacheKey, outcome: CacheOutcome, reason: str, other: CacheKey | None
) -> CacheExplanation:
    now = found.components
    then = {} if other is None else other.components
    return CacheExplanation(
        task_run_id=UUID(bytes=found.task_run_key),
        outcome=outcome,
        reason=reason,
        key=found.key,
        other_task_run_id=None if other is None else UUID(bytes=other.task_run_key),
        components=[
            CacheComponent(name, then.get(name), now.get(name))
            for name in (*now, *(each for each in then if each not in now))
        ],
    )


def _is_kept(run: TaskRun) -> bool:
    """Whether the run left a result for others."""
    state = run.state
    return state.type is StateType.COMPLETED and not is_rolled_back(state) and _place(run) is not None


def _place(run: TaskRun) -> str | None:
    """Where the result of a run is kept."""
    data = run.state.data if run.state.has_data else None
    return data.storage_key if isinstance(data, ResultRecordMetadata) else None


def _is_elsewhere(other: TaskRun, run: TaskRun) -> bool:
    """Whether two completed runs, of which not all need be kept, are known to use different places."""
    if not (run.state.is_completed() and other.state.is_completed()):
        return False
    here, there = _place(run), _place(other)
    return here is not None and there is not None and here != there


def _before(other: TaskRun, run: TaskRun) -> bool:
    """Whether one run had ended when the other one was to look for a result, or at least when that ended."""
    end = run.ended_at if run.state.name == "Cached" else _looked_at(run)
    return other.ended_at is not None and (end is None or other.ended_at <= end)


def _looked_at(run: TaskRun) -> int:
    return run.created_at if run.started_at is None else run.started_at


def _named(run: TaskRun) -> str:
    return f"{run.name} ({identifiers.shorten(run.key)})"
