"""What a task's result depends on, turned into the key under which it is kept and found again.

A policy makes a text of a task run, or None for "no key". Policies are combined with ``+``, and ``- "name"`` leaves an
input out::

    INPUTS + TASK_SOURCE - "verbose"

The order of the parts does not count. A policy also says where keys are kept (``key_storage``) and how runs with one
key keep out of each other's way (``isolation_level``, ``lock_manager``); see :meth:`CachePolicy.configure`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Self

import msgspec

from mainspring import identifiers
from mainspring._representation import shown
from mainspring.exceptions import HashError
from mainspring.hashing import content_hash, content_hashes, references_of, source_of
from mainspring.runs import TaskRun

__all__ = [
    "DEFAULT",
    "FLOW_PARAMETERS",
    "INPUTS",
    "NONE",
    "NO_CACHE",
    "RUN_ID",
    "TASK_CODE",
    "TASK_SOURCE",
    "CacheKeyFnPolicy",
    "CachePolicy",
    "CompoundCachePolicy",
    "Examination",
    "FlowParameters",
    "Inputs",
    "RunId",
    "TaskCode",
    "TaskSource",
    "task_input_hash",
]

Explanation = dict[str, str | None]

OPTIONS = {
    "key_storage": "different storage locations",
    "isolation_level": "different isolation levels",
    "lock_manager": "different lock implementations",
}


class Examination:
    """What one look at a task run gave a policy.

    Args:
        key: The key of the run; None for no key.
        components: What goes into the key, each part for itself, as `CachePolicy.explain` gives it.
        error: Why there is no key, if that is an error.
    """

    __slots__ = ("components", "error", "key")

    def __init__(
        self, key: str | None, components: Explanation | None = None, error: HashError | None = None
    ) -> None:
        self.key = key
        self.components: Explanation = {} if components is None else components
        self.error = error

    def add(self, component: str, digest: str | None) -> None:
        """Put one more component in; a name that is taken gets a number."""
        place, count = component, 1
        while place in self.components:
            count += 1
            place = f"{component}#{count}"
        self.components[place] = digest

    def checked(self) -> str | None:
        """The key.

        Raises:
            HashError: It could not be computed.
        """
        if self.error is not None:
            raise self.error
        return self.key


@dataclass
class CachePolicy:
    """What makes a key. Derive from it and write `compute_key` for one of your own; as a dataclass, if it has options.

    Policies are equal if their options are. Operators never change them; safe to share between threads.

    Args:
        key_storage: Where records of keys are kept, apart from the results; beside these by default.
        isolation_level: Whether runs with the same key may run at the same time: an `IsolationLevel` or its value.
        lock_manager: What locks a key, for the level ``SERIALIZABLE``.
    """

    key_storage: Any = field(default=None, kw_only=True)
    isolation_level: Any = field(default=None, kw_only=True)
    lock_manager: Any = field(default=None, kw_only=True)

    _looks: ClassVar[bool] = False  # whether a class is one of ours in all that it says about its key

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # What a class of a user's says about its key must hold, whatever it is derived from.
        for base in cls.__mro__:
            if "examine" in vars(base):
                cls._looks = vars(base).get("_looks", False)
                return
            if "compute_key" in vars(base) or "explain" in vars(base):
                cls.examine = CachePolicy.examine  # type: ignore[method-assign]
                cls._looks = False
                return

    def __post_init__(self) -> None:
        self.isolation_level = getattr(self.isolation_level, "value", self.isolation_level)

    @classmethod
    def from_cache_key_fn(cls, cache_key_fn: Callable[[Any, dict[str, Any]], str | None]) -> CacheKeyFnPolicy:
        """The policy that calls a function with the run's context and inputs."""
        return CacheKeyFnPolicy(cache_key_fn)

    def compute_key(
        self,
        task_ctx: Any,
        inputs: Mapping[str, Any] | None,
        flow_parameters: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> str | None:
        """The key of a task run.

        Args:
            task_ctx: The run's `TaskRunContext`, or None.
            inputs: Its resolved arguments by name.
            flow_parameters: The arguments of the flow around it, or None.
            kwargs: Room for later versions.

        Returns:
            A text, or None: nothing is looked up and nothing is kept.

        Raises:
            HashError: An input cannot be hashed (also a ValueError). Leave it out of the policy, or use `NO_CACHE`.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define compute_key().")

    def explain(
        self,
        task_ctx: Any,
        inputs: Mapping[str, Any] | None,
        flow_parameters: Mapping[str, Any] | None,
    ) -> Explanation:
        """What goes into the key: a hash, an id or a key per component, to compare two runs by.

        Args:
            task_ctx: As for `compute_key`.
            inputs: Likewise.
            flow_parameters: Likewise.

        Returns:
            Texts by component; None for one that adds nothing, or cannot be hashed.
        """
        return {type(self).__name__: _attempt(self.compute_key, task_ctx, inputs, flow_parameters)}

    def examine(
        self,
        task_ctx: Any,
        inputs: Mapping[str, Any] | None,
        flow_parameters: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> Examination:
        """`compute_key` and `explain` at once; for the policies of this module not much dearer than the key alone.

        A class need not define it: it asks those two, or `compute_key` only if the class does not define `explain`.

        Args:
            task_ctx: As for `compute_key`.
            inputs: Likewise.
            flow_parameters: Likewise.
            kwargs: Likewise.

        Returns:
            Key and components. A `HashError` is in the answer and not raised.
        """
        found = Examination(None)
        try:
            found.key = self.compute_key(task_ctx, inputs, flow_parameters, **kwargs)
        except HashError as error:
            found.error = error
        if type(self).explain is CachePolicy.explain:
            found.components[type(self).__name__] = _text(found.key)
        else:
            with suppress(Exception):  # foreign code, and the key does not depend on what it says here
                told = self.explain(task_ctx, inputs, flow_parameters)
                found.components = {str(name): _text(part) for name, part in told.items()}
        return found

    def _look(self, run: _Asked, found: Examination) -> str | None:
        """The key, whose components, or the error for which there is none, are put into ``found``; if it `_looks`."""
        raise NotImplementedError

    def configure(
        self, key_storage: Any = None, lock_manager: Any = None, isolation_level: Any = None
    ) -> Self:
        """A deep copy with those options set that are given; storages and lock managers themselves are shared."""
        members = [self, *getattr(self, "policies", ())]
        shared = [value for member in members for value in (member.key_storage, member.lock_manager)]
        changed = copy.deepcopy(self, {id(value): value for value in shared if value is not None})
        if key_storage is not None:
            changed.key_storage = key_storage
        if lock_manager is not None:
            changed.lock_manager = lock_manager
        if isolation_level is not None:
            changed.isolation_level = getattr(isolation_level, "value", isolation_level)
        return changed

    def __add__(self, other: CachePolicy) -> CachePolicy:
        if not isinstance(other, CachePolicy):
            return NotImplemented
        if isinstance(other, _None):
            return self
        if isinstance(self, _None):
            return other
        return CompoundCachePolicy([self, other])

    def __sub__(self, name: str) -> CachePolicy:
        if not isinstance(name, str):
            raise TypeError(f"Can only subtract the name of an input from a cache policy, not {name!r}.")
        return self.without(name)

    def without(self, name: str) -> CachePolicy:
        """The policy without one input: itself, if it does not look at inputs."""
        return self


class _Asked(msgspec.Struct, eq=False):
    """The task run that a policy is asked about, as `CachePolicy.compute_key` is told of it."""

    task_ctx: Any
    inputs: Mapping[str, Any] | None
    flow_parameters: Mapping[str, Any] | None
    kwargs: Mapping[str, Any]


class _BuiltIn(CachePolicy):
    """A policy that finds its key and the components of it in one look."""

    _looks = True

    def compute_key(
        self,
        task_ctx: Any,
        inputs: Mapping[str, Any] | None,
        flow_parameters: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> str | None:
        """See `CachePolicy.compute_key`."""
        found = Examination(None)
        found.key = self._look(_Asked(task_ctx, inputs, flow_parameters, kwargs), found)
        return found.checked()

    def explain(
        self,
        task_ctx: Any,
        inputs: Mapping[str, Any] | None,
        flow_parameters: Mapping[str, Any] | None,
    ) -> Explanation:
        """See `CachePolicy.explain`."""
        found = Examination(None)
        self._look(_Asked(task_ctx, inputs, flow_parameters, {}), found)
        return found.components

    def examine(
        self,
        task_ctx: Any,
        inputs: Mapping[str, Any] | None,
        flow_parameters: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> Examination:
        """See `CachePolicy.examine`."""
        found = Examination(None)
        found.key = self._look(_Asked(task_ctx, inputs, flow_parameters, kwargs), found)
        return found


@dataclass
class CompoundCachePolicy(_BuiltIn):
    """Several policies as one. The key is a hash of their keys, in whatever order they were added.

    Compounds among the members are replaced by their members, and several `Inputs` by one that leaves out what any
    of them leaves out.

    Args:
        policies: The members.

    Raises:
        ValueError: Members have different storages, levels or lock managers, and nothing says which.
    """

    policies: list[CachePolicy] = field(default_factory=list["CachePolicy"])

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in OPTIONS:
            if getattr(self, option) is None:
                setattr(self, option, _agreed(self.policies, option))
        flat: list[CachePolicy] = []
        for policy in self.policies:
            flat += policy.policies if isinstance(policy, CompoundCachePolicy) else [policy]
        self.policies = _with_one_inputs(flat)

    def _look(self, run: _Asked, found: Examination) -> str | None:
        """A hash of the members' keys; None if none of them has one. The components are those of all members."""
        given: list[str] = []
        for policy in self.policies:
            if policy._looks:
                key = policy._look(run, found)
            else:
                own = policy.examine(run.task_ctx, run.inputs, run.flow_parameters, **run.kwargs)
                found.error = found.error or own.error
                for component, digest in own.components.items():
                    found.add(component, digest)
                key = own.key
            if key is not None:
                given.append(f"{len(key)}:{key}")
        if given and found.error is None:
            return content_hash(" ".join(sorted(given)))
        return None

    def without(self, name: str) -> CachePolicy:
        """A compound whose `Inputs` leave one name out; itself, if it has none."""
        members = [policy.without(name) for policy in self.policies]
        if all(new is old for new, old in zip(members, self.policies, strict=True)):
            return self
        return self._copy(policies=members)

    def _copy(self, policies: list[CachePolicy]) -> CompoundCachePolicy:
        options = {option: getattr(self, option) for option in OPTIONS}
        return CompoundCachePolicy(policies, **options)


class _None(_BuiltIn):
    """No key, ever. Added to another policy it changes nothing."""

    def _look(self, run: _Asked, found: Examination) -> str | None:
        """No key, and nothing that goes into it."""
        return None


@dataclass
class CacheKeyFnPolicy(_BuiltIn):
    """The key is what a function makes of the run's context and inputs.

    Args:
        cache_key_fn: The function; without one there is no key.

    Raises:
        TypeError: The function is async.
    """

    cache_key_fn: Callable[[Any, dict[str, Any]], str | None] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        function = self.cache_key_fn
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - not whether there is one, but which
        ):
            raise TypeError(
                f"The function for cache keys {shown(function)} is async, and nobody would await it. Make it a plain"
                " function; what has to be waited for can be an input of the task."
            )

    def _look(self, run: _Asked, found: Examination) -> str | None:
        """What the function returns, which is the only component."""
        key: str | None = None
        if self.cache_key_fn is not None:
            try:
                key = self.cache_key_fn(run.task_ctx, dict(run.inputs or {}))
            except HashError as error:
                found.error = found.error or error
        found.add("cache_key_fn", _text(key))
        return key


@dataclass
class Inputs(_BuiltIn):
    """The names and values of the inputs. No inputs, no key.

    Args:
        exclude: Names of inputs that do not count.
    """

    exclude: list[str] = field(default_factory=list[str])

    def _look(self, run: _Asked, found: Examination) -> str | None:
        """A hash of the inputs that count, and one of each."""
        inputs, exclude = run.inputs, self.exclude
        if not inputs:
            return None
        if exclude:
            inputs = {name: value for name, value in inputs.items() if name not in exclude}
        advice = (
            "Leave this input out with `cache_policy=... - 'name'`, say how values of its type are hashed in"
            " `mainspring.hashing.STABLE_TRANSFORMS`, or turn caching off with `cache_policy=NO_CACHE`."
        )
        return _hashed("inputs", inputs, found, advice)

    def without(self, name: str) -> Inputs:
        """The same without one more input."""
        changed = copy.copy(self)
        changed.exclude = [*self.exclude, name]
        return changed


class TaskSource(_BuiltIn):
    """The source text of the task's function. What the function calls does not count; see `TaskCode`."""

    def _look(self, run: _Asked, found: Examination) -> str | None:
        """A hash of the text; None without a run."""
        digest: str | None = None
        if run.task_ctx is not None:
            task = run.task_ctx.task
            digest = _source_hash(getattr(task, "source_code", None) or source_of(task.fn))
        found.add("task_source", digest)
        return digest


@dataclass
class TaskCode(_BuiltIn):
    """The code of the task's function, and all that it uses: helper functions and classes in turn, global values,
    what it has from functions around it, names and versions of libraries.

    It finds changes that `TaskSource` does not, and costs more: global values are hashed anew for each run.

    Args:
        exclude: Global names that do not count.
    """

    exclude: list[str] = field(default_factory=list[str])

    def _look(self, run: _Asked, found: Examination) -> str | None:
        """A hash of it all, and one of each function, class and global value; None without a run."""
        if run.task_ctx is None:
            found.add("task_code", None)
            return None
        try:
            references = references_of(run.task_ctx.task.fn, self.exclude)
        except HashError as error:
            advice = (
                "Leave this name out with `TaskCode(exclude=['name'])`, or pass its value as an argument."
            )
            found.error = found.error or _advised(error, advice)
            found.add("task_code", None)
            return None
        for name, digest in references.items():
            found.add(f"task_code.{name}", digest)
        return content_hash(references)


class FlowParameters(_BuiltIn):
    """The arguments of the flow around the run. No arguments, no key."""

    def _look(self, run: _Asked, found: Examination) -> str | None:
        """A hash of the arguments, and one of each."""
        return _hashed("flow_parameters", run.flow_parameters, found) if run.flow_parameters else None


class RunId(_BuiltIn):
    """The id of the flow run around the task run, or its own if there is none: no key outlives its flow run."""

    def _look(self, run: _Asked, found: Examination) -> str | None:
        """The id as text; None without a run."""
        key: str | None = None
        if run.task_ctx is not None:
            task_run = run.task_ctx.task_run
            if isinstance(task_run, TaskRun):
                key = _text_of_id(task_run.flow_run_key or task_run.key)
            else:  # something like it, in a test of somebody's
                key = str(task_run.flow_run_id or task_run.id)
        found.add("run_id", key)
        return key


def task_input_hash(context: Any, arguments: Mapping[str, Any]) -> str | None:
    """A ``cache_key_fn``: the task, its code and its arguments. The same in every flow run.

    Args:
        context: The run's `TaskRunContext`.
        arguments: The arguments by name.

    Returns:
        A key, or None if an argument cannot be hashed.
    """
    fn = inspect.unwrap(context.task.fn)
    code = getattr(fn, "__code__", None) or getattr(type(fn).__call__, "__code__", None)
    try:
        return content_hash((context.task.task_key, code, dict(arguments)), "arguments")
    except HashError:  # as this function is known: no key rather than an error
        return None


_source_hash = lru_cache(1024)(content_hash)  # the same few texts for all runs of a program
_text_of_id = lru_cache(16)(identifiers.to_text)  # the same flow run for many task runs


def _agreed(policies: list[CachePolicy], option: str) -> Any:
    """What the policies that set an option set it to."""
    given = [value for policy in policies if (value := getattr(policy, option)) is not None]
    if any(value != given[0] for value in given):
        raise ValueError(
            f"Cannot add cache policies with {OPTIONS[option]}: {given!r}."
            f" Add them first, then set one with `configure({option}=...)`."
        )
    return given[0] if given else None


def _with_one_inputs(policies: list[CachePolicy]) -> list[CachePolicy]:
    """The policies, with one `Inputs` in place of several."""
    several = [policy for policy in policies if type(policy) is Inputs]
    if len(several) < 2:
        return policies
    exclude = sorted({name for policy in several for name in policy.exclude})
    first = next((policy for policy in several if policy.exclude == exclude), None) or Inputs(exclude)
    rest = [policy for policy in policies if type(policy) is not Inputs]
    rest.insert(policies.index(several[0]), first)
    return rest


def _hashed(
    kind: str, values: Mapping[str, Any], found: Examination, advice: str | None = None
) -> str | None:
    """The hash of some values as the key, and a hash of each value as the components."""
    try:
        key, digests = content_hashes(values, kind, f"{kind}.")
    except HashError as error:  # the others are told all the same: it is to be found out why there is no key
        for name in sorted(values):
            found.add(f"{kind}.{name}", _attempt(content_hash, values[name]))
        found.error = found.error or (_advised(error, advice) if advice else error)
        return None
    if found.components.keys().isdisjoint(digests):
        found.components.update(digests)
    else:
        for component, digest in digests.items():
            found.add(component, digest)
    return key


def _advised(error: HashError, advice: str) -> HashError:
    advised = HashError(f"{error} So there is no cache key. {advice}", path=error.path)
    advised.__cause__ = error.__cause__
    return advised


def _text(component: Any) -> str | None:
    """A component for the history, which holds nothing but texts; a key that is none is reported elsewhere."""
    return component if isinstance(component, str) else None


def _attempt(compute: Callable[..., str | None], *args: Any) -> str | None:
    try:
        return compute(*args)
    except HashError:  # an explanation is for finding out why there is no key
        return None


INPUTS = Inputs()
"""The task's inputs."""

TASK_SOURCE = TaskSource()
"""The source text of the task's function."""

TASK_CODE = TaskCode()
"""The code of the task's function and of all that it uses."""

FLOW_PARAMETERS = FlowParameters()
"""The arguments of the flow."""

RUN_ID = RunId()
"""The flow run, or the task run outside of flows."""

NO_CACHE = _None()
"""No key, so nothing is looked up and nothing is kept for others."""

NONE = _None()
"""The older name of `NO_CACHE`."""

DEFAULT = INPUTS + TASK_SOURCE + RUN_ID
"""The same inputs and the same source, within one flow run."""
