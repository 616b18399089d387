"""Cache policies: what makes a key, how policies are combined, and what they say about it."""

import copy
import dataclasses
import functools
import pickle
import textwrap
import threading
from collections.abc import Callable, Mapping
from datetime import date
from enum import Enum
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring import identifiers, task
from mainspring.cache_policies import (
    DEFAULT,
    FLOW_PARAMETERS,
    INPUTS,
    NO_CACHE,
    NONE,
    RUN_ID,
    TASK_CODE,
    TASK_SOURCE,
    CacheKeyFnPolicy,
    CachePolicy,
    CompoundCachePolicy,
    FlowParameters,
    Inputs,
    RunId,
    TaskCode,
    TaskSource,
    task_input_hash,
)
from mainspring.context import TaskRunContext
from mainspring.exceptions import HashError
from mainspring.hashing import content_hash
from mainspring.hashing.digests import content_hashes
from mainspring.runs import TaskRun
from mainspring.states import Pending


def made(source: str) -> Any:
    """A task whose function was never in a file."""
    namespace: dict[str, Any] = {"__name__": "made"}
    exec(textwrap.dedent(source), namespace)
    return task(namespace["f"])


@task
def work(x: int) -> int:
    return x


@task
def other_work(x: int) -> int:
    return x + 1


def context(of: Any = work, run: bytes | None = None, flow_run: bytes | None = None) -> TaskRunContext:
    """The context of a run of a task."""
    key = run or identifiers.new_id()
    return TaskRunContext(of, TaskRun(key, "run", Pending(), of.task_key, flow_run_key=flow_run))


def key(
    policy: CachePolicy,
    task_ctx: Any = None,
    inputs: Mapping[str, Any] | None = None,
    flow_parameters: Mapping[str, Any] | None = None,
) -> str | None:
    return policy.compute_key(task_ctx, inputs, flow_parameters)


ID = b"0123456789abcdef"
OTHER_ID = b"fedcba9876543210"
POLICIES: list[CachePolicy] = [
    Inputs(),
    Inputs(exclude=["x"]),
    TaskSource(),
    FlowParameters(),
    RunId(),
    TaskCode(),
    CacheKeyFnPolicy(lambda *_: "key"),
    Inputs() + RunId(),
]
for_each_policy = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)

# Each policy


@pytest.mark.contract("K-1")
def test_the_base_class_leaves_the_key_to_others() -> None:
    """It is a dataclass, and says who has to compute the key."""
    assert dataclasses.is_dataclass(CachePolicy)

    class Own(CachePolicy):
        """Defines nothing."""

    with pytest.raises(NotImplementedError, match="Own"):
        CachePolicy.compute_key(Own(), None, None, None)


@pytest.mark.contract("K-3", "K-33")
def test_inputs() -> None:
    """Names and values count, their order and all else does not; without inputs there is no key."""
    assert key(INPUTS, inputs=None) is None
    assert key(INPUTS, inputs={}) is None
    base = key(INPUTS, inputs={"x": 42, "z": 1})
    assert base == key(INPUTS, context(flow_run=ID), {"z": 1, "x": 42}, {"a": 1})
    assert len({base, key(INPUTS, inputs={"y": 42, "z": 1}), key(INPUTS, inputs={"x": 43, "z": 1})}) == 3


@pytest.mark.contract("K-3", "K-33")
def test_excluded_inputs_do_not_count() -> None:
    """Whether they are there or not."""
    policy = Inputs(exclude=["y"])
    assert (
        key(policy, inputs={"x": 1}) == key(policy, inputs={"x": 1, "y": 2}) == key(INPUTS, inputs={"x": 1})
    )
    assert key(policy, inputs={"x": 2}) != key(policy, inputs={"x": 1})
    assert key(policy, inputs={"y": 1}) is not None


@pytest.mark.contract("K-4")
def test_task_source() -> None:
    """The text of the function counts, and nothing else; without a run there is no key."""
    assert key(TASK_SOURCE) is None
    assert key(TASK_SOURCE, context(), {"x": 1}, {"a": 1}) == key(TASK_SOURCE, context(flow_run=ID))
    assert key(TASK_SOURCE, context()) != key(TASK_SOURCE, context(other_work))


@pytest.mark.contract("K-4", "K-34")
def test_task_source_without_a_file() -> None:
    """Compiled code is told apart when there is no text."""
    one, same, other = (made(f"def f(x): return x + {number}") for number in (1, 1, 2))
    assert key(TASK_SOURCE, context(one)) == key(TASK_SOURCE, context(same))
    assert key(TASK_SOURCE, context(one)) != key(TASK_SOURCE, context(other))


class Adder:
    """A callable object."""

    __name__ = "adder"

    def __init__(self, amount: int) -> None:
        self.amount = amount

    def __call__(self, x: int) -> int:
        return x + self.amount


@pytest.mark.contract("K-4")
def test_task_source_of_a_callable_object() -> None:
    """Its class counts."""
    assert key(TASK_SOURCE, context(task(Adder(1)))) == key(TASK_SOURCE, context(task(Adder(2))))
    assert key(TASK_SOURCE, context(task(Adder(1)))) != key(TASK_SOURCE, context())


class Carried:
    """A task as far as policies care, which has brought its source along from another machine."""

    def __init__(self, fn: Callable[..., Any], source_code: str) -> None:
        self.fn = fn
        self.name = "carried"
        self.task_key = "carried"
        self.source_code = source_code


def test_a_task_may_bring_its_source_along() -> None:
    """Then nobody looks for a file."""
    there = made("def f(x): return x").fn
    assert key(TASK_SOURCE, context(Carried(there, "def f(x): ..."))) == key(
        TASK_SOURCE, context(Carried(len, "def f(x): ..."))
    )
    assert key(TASK_SOURCE, context(Carried(there, "a"))) != key(TASK_SOURCE, context(Carried(there, "b")))


@pytest.mark.contract("K-5")
def test_flow_parameters() -> None:
    """Names and values of the flow's arguments count; without any there is no key."""
    assert key(FLOW_PARAMETERS, context(), {"x": 1}, None) is None
    assert key(FLOW_PARAMETERS, context(), {"x": 1}, {}) is None
    base = key(FLOW_PARAMETERS, None, None, {"a": 1, "b": 2})
    assert base == key(FLOW_PARAMETERS, context(), {"x": 1}, {"b": 2, "a": 1})
    assert base != key(FLOW_PARAMETERS, None, None, {"a": 1, "b": 3})


@pytest.mark.contract("K-6")
def test_run_id() -> None:
    """That of the flow run, or that of the task run outside of flows; without a run there is no key."""
    inside, outside = context(run=ID, flow_run=OTHER_ID), context(run=ID)
    assert key(RUN_ID) is None
    assert key(RUN_ID, inside) == str(inside.task_run.flow_run_id)
    assert key(RUN_ID, outside) == str(outside.task_run.id)


@pytest.mark.contract("K-7")
def test_none_never_gives_a_key() -> None:
    """Whatever there is; both names are the same policy."""
    for policy in (NONE, NO_CACHE):
        assert key(policy, context(), {"x": 1}, {"a": 1}) is None
    assert NONE == NO_CACHE


@pytest.mark.contract("K-8")
def test_key_functions() -> None:
    """A function is called with the context and the inputs; without one there is no key."""
    calls: list[Any] = []

    def make_key(*args: Any) -> str:
        calls.append(args)
        return "my key"

    policy = CachePolicy.from_cache_key_fn(make_key)
    assert policy == CacheKeyFnPolicy(cache_key_fn=make_key) == CacheKeyFnPolicy(make_key)
    run = context()
    assert key(policy, run, {"x": 1}, {"a": 1}) == "my key"
    assert calls == [(run, {"x": 1})]
    assert key(CacheKeyFnPolicy(), run, {"x": 1}) is None


@pytest.mark.contract("K-9")
def test_a_compound_hashes_the_keys_of_its_members() -> None:
    """Members without a key are left out; if none has one, there is no key."""
    compound = CompoundCachePolicy(policies=[INPUTS, FLOW_PARAMETERS])
    assert key(CompoundCachePolicy()) is None
    assert key(compound) is None
    both = key(compound, None, {"x": 1}, {"a": 1})
    assert len({both, key(compound, None, {"x": 1}), key(compound, None, None, {"a": 1}), None}) == 4
    assert key(compound, None, {"x": 1}) == key(CompoundCachePolicy([INPUTS, NONE]), None, {"x": 1})


@pytest.mark.contract("K-40")
def test_the_order_of_addition_does_not_count() -> None:
    """Every order of the members gives the same key."""
    run = context(flow_run=ID)
    members = [INPUTS, TASK_SOURCE, RUN_ID, FLOW_PARAMETERS]
    sums = [functools.reduce(lambda one, two: one + two, order) for order in permutations(members)]
    assert len({key(policy, run, {"x": 1}, {"a": 1}) for policy in sums}) == 1


@given(st.lists(st.text(max_size=3), max_size=4), st.lists(st.text(max_size=3), max_size=4))
def test_compounds_of_different_keys_differ(one: list[str], two: list[str]) -> None:
    """Keys are not just written one after the other."""

    def compound(keys: list[str]) -> CachePolicy:
        return CompoundCachePolicy([CacheKeyFnPolicy(lambda *_, text=text: text) for text in keys])

    assert (key(compound(one)) == key(compound(two))) is (sorted(one) == sorted(two))


@pytest.mark.contract("K-10", "K-35")
def test_default_is_inputs_source_and_run() -> None:
    """Each of them alone changes the key; flow parameters do not."""
    assert Inputs() + TaskSource() + RunId() == DEFAULT
    base = key(DEFAULT, context(run=ID), {"x": 1})
    assert base == key(DEFAULT, context(run=ID), {"x": 1}, {"a": 1})
    others = [
        key(DEFAULT, context(run=ID), {"x": 2}),
        key(DEFAULT, context(other_work, run=ID), {"x": 1}),
        key(DEFAULT, context(run=OTHER_ID), {"x": 1}),
    ]
    assert len({base, *others}) == 4


@pytest.mark.contract("K-35")
def test_default_with_all_combinations_of_run_ids() -> None:
    """A flow run's id counts before that of the task run."""
    contexts = [context(), context(), context(flow_run=ID), context(flow_run=OTHER_ID)]
    assert len({key(DEFAULT, run, {"x": 1}) for run in contexts}) == 4
    again = [context(flow_run=ID), context(flow_run=ID)]
    assert len({key(DEFAULT, run, {"x": 1}) for run in again}) == 1


@pytest.mark.contract("K-42")
def test_task_code_finds_changed_helpers() -> None:
    """Where `TASK_SOURCE` sees no change, `TASK_CODE` does."""
    program = """
        def helper(x): return x + {}
        def f(x): return helper(x)
    """
    one, same, other = (context(made(program.format(number))) for number in (1, 1, 2))
    assert key(TASK_SOURCE, one) == key(TASK_SOURCE, other)
    assert key(TASK_CODE, one) == key(TASK_CODE, same) != key(TASK_CODE, other)
    assert key(TASK_CODE) is None


def test_task_code_says_what_to_exclude() -> None:
    """A global value that has no hash is named, and can be left out."""
    of = made("""
        values = (number for number in [])
        def f(): return values
    """)
    with pytest.raises(HashError, match=r"made\.f\.values.*TaskCode\(exclude="):
        key(TASK_CODE, context(of))
    assert key(TaskCode(exclude=["values"]), context(of))
    assert TASK_CODE.explain(context(of), None, None) == {"task_code": None}


@pytest.mark.contract("K-8")
def test_a_function_for_keys_is_not_async() -> None:
    """It is refused where the policy is made, as nobody would await it; so is an object that is called like one."""

    async def later(context: Any, inputs: Any) -> str:
        return "k"

    class Later:
        async def __call__(self, context: Any, inputs: Any) -> str:
            return "k"

    for function in (later, functools.partial(later), Later()):
        with pytest.raises(TypeError, match=r"is async.*plain function"):
            CachePolicy.from_cache_key_fn(function)  # type: ignore[arg-type]


# Algebra


@pytest.mark.contract("K-11")
@for_each_policy
def test_policies_compare_by_value(policy: CachePolicy) -> None:
    """A copy is equal; policies of other kinds or with other options are not."""
    assert copy.deepcopy(policy) == policy
    assert policy.configure(key_storage="elsewhere") != policy
    assert sum(policy == other for other in POLICIES) == 1


@pytest.mark.contract("K-11")
@for_each_policy
def test_operators_change_nothing(policy: CachePolicy) -> None:
    """Operands are what they were before."""
    before = copy.deepcopy(policy)
    assert policy + FLOW_PARAMETERS is not policy
    _ = FLOW_PARAMETERS + policy, policy - "y", policy + policy
    assert policy == before


@pytest.mark.contract("K-12", "K-36")
@for_each_policy
def test_adding_none_changes_nothing(policy: CachePolicy) -> None:
    """On either side the other operand itself comes out."""
    assert policy + NONE is policy
    assert NO_CACHE + policy is policy


@pytest.mark.contract("K-12", "K-13", "K-16")
def test_sums_are_flat() -> None:
    """Members of compounds become members of the new compound; the old ones stay as they were."""
    one, two = INPUTS + TASK_SOURCE, RUN_ID + FLOW_PARAMETERS
    assert CompoundCachePolicy([INPUTS, TASK_SOURCE]) == INPUTS + TASK_SOURCE
    assert one + RUN_ID == CompoundCachePolicy([INPUTS, TASK_SOURCE, RUN_ID])
    assert one + two == CompoundCachePolicy([INPUTS, TASK_SOURCE, RUN_ID, FLOW_PARAMETERS])
    assert CompoundCachePolicy([one, CompoundCachePolicy([two])]) == one + two
    assert one == CompoundCachePolicy([INPUTS, TASK_SOURCE])


@pytest.mark.contract("K-15", "K-16")
def test_several_inputs_become_one() -> None:
    """It leaves out what any of them leaves out."""
    compound = Inputs(exclude=["b"]) + RUN_ID + Inputs(exclude=["c", "a"])
    assert compound == CompoundCachePolicy([Inputs(exclude=["a", "b", "c"]), RUN_ID])
    assert CompoundCachePolicy([INPUTS]) == INPUTS + INPUTS


@pytest.mark.contract("K-14")
def test_a_name_is_subtracted_from_inputs() -> None:
    """A new policy leaves out one more name; only names can be subtracted."""
    assert Inputs(exclude=["b"]) - "a" == Inputs(exclude=["b", "a"])
    assert Inputs() == INPUTS
    for policy in POLICIES:
        with pytest.raises(TypeError, match="name of an input"):
            policy - 1  # type: ignore[operator]


@pytest.mark.contract("K-15")
def test_subtraction_without_inputs_changes_nothing() -> None:
    """A policy that does not look at inputs is returned as it is."""
    for policy in (RUN_ID, TASK_SOURCE, NONE, RUN_ID + TASK_SOURCE):
        assert policy - "x" is policy


@pytest.mark.contract("K-15")
def test_subtraction_from_a_compound() -> None:
    """Its inputs leave out the name, its options stay."""
    policy = DEFAULT.configure(key_storage="here") - "x" - "y"
    assert policy == CompoundCachePolicy(
        [Inputs(exclude=["x", "y"]), TASK_SOURCE, RUN_ID], key_storage="here"
    )
    run = context()
    assert key(policy, run, {"x": 1, "z": 1}) == key(policy, run, {"x": 2, "z": 1})
    assert key(policy, run, {"x": 1, "z": 1}) != key(policy, run, {"x": 1, "z": 2})


# Configuration


class Level(str, Enum):
    """Levels as an enum has them."""

    SERIALIZABLE = "SERIALIZABLE"


class Manager:
    """A lock manager as far as policies care: it cannot be copied."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


@pytest.mark.contract("K-17")
@for_each_policy
def test_every_policy_has_options(policy: CachePolicy) -> None:
    """They are unset at first; a level is kept as its text."""
    assert (policy.key_storage, policy.isolation_level, policy.lock_manager) == (None, None, None)
    named = policy.configure(isolation_level="SERIALIZABLE")
    assert named.isolation_level == "SERIALIZABLE"
    assert policy.configure(isolation_level=Level.SERIALIZABLE) == named
    assert Inputs(isolation_level=Level.SERIALIZABLE) == Inputs(isolation_level="SERIALIZABLE")


@pytest.mark.contract("K-18")
@for_each_policy
def test_configure_makes_a_copy(policy: CachePolicy) -> None:
    """The original keeps its values, options that are not given stay, and so does the key."""
    manager = Manager()
    first = policy.configure(lock_manager=manager)
    second = first.configure(key_storage="here", isolation_level=Level.SERIALIZABLE)
    assert (second.key_storage, second.lock_manager) == ("here", manager)
    assert second.isolation_level == "SERIALIZABLE"
    assert (first.key_storage, first.isolation_level, first.lock_manager) == (None, None, manager)
    assert policy.lock_manager is None
    run = context()
    assert key(second, run, {"x": 1, "y": 1}, {"a": 1}) == key(policy, run, {"x": 1, "y": 1}, {"a": 1})


@pytest.mark.contract("K-18")
def test_a_configured_copy_shares_no_lists() -> None:
    """What is changed in a copy is not changed in the original."""
    policy = Inputs(exclude=["x"])
    policy.configure(key_storage="here").exclude.append("y")
    assert policy.exclude == ["x"]


@pytest.mark.contract("K-19")
def test_sums_have_the_options_of_their_members() -> None:
    """Options of either side hold for the sum, on both sides the same ones, too."""
    manager = Manager()
    one = INPUTS.configure(key_storage="here", lock_manager=manager)
    two = RUN_ID.configure(isolation_level="SERIALIZABLE", lock_manager=manager)
    for both in (one + two, two + one, CompoundCachePolicy([one, two]), (one + two) + TASK_SOURCE):
        assert both.key_storage == "here"
        assert both.isolation_level == "SERIALIZABLE"
        assert both.lock_manager is manager


@pytest.mark.contract("K-19")
@pytest.mark.parametrize(
    ("option", "one", "two", "message"),
    [
        ("key_storage", "here", "there", "different storage locations"),
        ("isolation_level", "SERIALIZABLE", "READ_COMMITTED", "different isolation levels"),
        ("lock_manager", Manager(), Manager(), "different lock implementations"),
    ],
)
def test_sums_with_different_options_are_refused(option: str, one: Any, two: Any, message: str) -> None:
    """Unless somebody has decided which one holds."""
    with pytest.raises(ValueError, match=message):
        _ = INPUTS.configure(**{option: one}) + RUN_ID.configure(**{option: two})
    decided = (INPUTS.configure(**{option: one}) + RUN_ID).configure(**{option: two})
    assert getattr(decided + TASK_SOURCE, option) == two


# Failures


def test_an_input_without_hash_is_an_error_that_says_what_to_do() -> None:
    """It names the input and the part to blame, and what there is to do; it is also a ValueError."""
    with pytest.raises(ValueError, match=r"inputs\['x'\]\[0\]") as caught:
        key(DEFAULT, context(), {"x": [threading.Lock()], "y": 1})
    assert isinstance(caught.value, HashError)
    assert caught.value.path == "inputs['x'][0]"
    for advice in ("- 'name'", "STABLE_TRANSFORMS", "NO_CACHE", "pickle"):
        assert advice in str(caught.value)
    assert key(DEFAULT - "x", context(), {"x": [threading.Lock()], "y": 1})


def test_a_hash_error_survives_pickling() -> None:
    """A task in another process may have raised it."""
    with pytest.raises(HashError) as caught:
        key(INPUTS, inputs={"x": threading.Lock()})
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.path) == (str(caught.value), caught.value.path)


@pytest.mark.contract("T-100")
def test_task_input_hash() -> None:
    """Task, code and arguments count, the run does not; arguments without hash give no key."""
    one, same, code, name = (
        context(made(source), flow_run=flow_run)
        for source, flow_run in [
            ("def f(x): return x + 1", ID),
            ("def f(x): return x + 1", OTHER_ID),
            ("def f(x): return x + 2", ID),
            ("def g(x): return x + 1\nf = g", ID),
        ]
    )
    base = task_input_hash(one, {"x": 1})
    assert base == task_input_hash(same, {"x": 1})
    assert len({base, *(task_input_hash(run, {"x": 1}) for run in (code, name))}) == 3
    assert task_input_hash(one, {"x": 2}) != base
    assert task_input_hash(one, {"x": {1, 2}}) == task_input_hash(one, {"x": {2, 1}})
    assert task_input_hash(one, {"x": threading.Lock()}) is None
    assert task_input_hash(context(task(Adder(1))), {"x": 1}) != task_input_hash(context(), {"x": 1})
    assert key(CacheKeyFnPolicy(task_input_hash), one, {"x": 1}) == base


# Explanations


def test_explain_tells_every_component() -> None:
    """Each input, each flow parameter, the source and the run have a line of their own."""
    policy = DEFAULT + FLOW_PARAMETERS - "y"
    run = context(flow_run=ID)
    told = policy.explain(run, {"x": 1, "y": 2, "z": threading.Lock()}, {"a": 1})
    assert list(told) == ["inputs.x", "inputs.z", "task_source", "run_id", "flow_parameters.a"]
    assert told["inputs.z"] is None
    assert told["run_id"] == str(run.task_run.flow_run_id)
    changed = policy.explain(run, {"x": 2, "z": 1}, {"a": 1})
    assert {name for name in told if told[name] != changed[name]} == {"inputs.x", "inputs.z"}


def test_explain_tells_components_of_one_kind_apart() -> None:
    """Functions are numbered, own policies go by their class, and no-cache adds nothing."""

    class Daily(CachePolicy):
        """A policy of a user."""

        def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str:
            return "monday"

    policy = CacheKeyFnPolicy(lambda *_: "one") + CacheKeyFnPolicy(lambda *_: "two") + Daily()
    assert policy.explain(None, None, None) == {
        "cache_key_fn": "one",
        "cache_key_fn#2": "two",
        "Daily": "monday",
    }
    assert NO_CACHE.explain(None, {"x": 1}, None) == {}
    told = TASK_CODE.explain(context(), None, None)
    assert f"task_code.{__name__}.work" in told


# Keys and components in one look


class Source:
    """Stands for a task that brings its source along."""

    source_code = "def f(x):\n    return x\n"


def fixed_context() -> TaskRunContext:
    run = TaskRun(ID, "run", Pending(), "t", flow_run_key=OTHER_ID)
    return TaskRunContext(Source(), run)  # type: ignore[arg-type]


def cycle() -> list[Any]:
    values: list[Any] = [1]
    values.append(values)
    return values


SHARED = [1] * 30
MANY = {"b": [1, 2.5, "ä" * 200, None], "a": {"k": {3, 1}}, "c": SHARED, "d": SHARED, "e": date(2026, 1, 2)}
AROUND = {"b": 2, "a": (1,)}
CYCLE = cycle()


@pytest.mark.contract("K-33", "K-35")
@pytest.mark.parametrize(
    ("policy", "inputs", "golden"),
    [
        (INPUTS, {"x": 1}, "5b86e993f93eefee4a8343b8d5e9f0d6"),
        (INPUTS, MANY, "6d143d4fcb309d4cb05d2662f21c8e63"),
        (INPUTS, {"x": CYCLE, "y": CYCLE}, "c1c41a562999daac7b1292f85b1126e8"),
        (INPUTS - "x", {"x": 1}, "f6442079068da1287c0ba7585ad3b841"),
        (TASK_SOURCE, {}, "a17fbe45bcbc03d925bae8c4be7ffe71"),
        (FLOW_PARAMETERS, {}, "cc36f8bfe3943bd8a80861300114dd5a"),
        (RUN_ID, {}, "66656463-6261-3938-3736-353433323130"),
        (DEFAULT, {"x": 1}, "fe8f45c450903cfcdcef52c9fd437617"),
        (CacheKeyFnPolicy(lambda *_: "k") + INPUTS, {"x": 1}, "88c8481070b8f5369d0c8d76a5901bd6"),
    ],
)
def test_keys_stay_what_they_are(policy: CachePolicy, inputs: dict[str, Any], golden: str) -> None:
    """What was kept is found again by later versions; they compute the keys that this one does."""
    assert key(policy, fixed_context(), inputs, AROUND) == golden
    assert policy.examine(fixed_context(), inputs, AROUND).key == golden


@pytest.mark.contract("K-9")
@pytest.mark.parametrize("inputs", [{"x": 1, "y": MANY}, {"x": CYCLE}, {"x": threading.Lock(), "y": 1}, {}])
@pytest.mark.parametrize(
    "policy", [*POLICIES, FLOW_PARAMETERS + INPUTS, NO_CACHE], ids=lambda policy: type(policy).__name__
)
def test_an_examination_agrees_with_key_and_explanation(policy: CachePolicy, inputs: dict[str, Any]) -> None:
    """It has the key that the policy computes, or the error, and the components that it explains."""
    run = context(flow_run=ID)
    found = policy.examine(run, inputs, AROUND)
    assert found.components == policy.explain(run, inputs, AROUND)
    if found.error is None:
        assert found.checked() == key(policy, run, inputs, AROUND)
    else:
        with pytest.raises(HashError) as raised:
            key(policy, run, inputs, AROUND)
        assert str(raised.value) == str(found.error)
        assert None in found.components.values()
        with pytest.raises(HashError):
            found.checked()


class OwnInputs(Inputs):
    """Computes the key of `Inputs` in its own way."""

    def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str | None:
        return f"own-{super().compute_key(task_ctx, inputs, flow_parameters)}"


class OwnWords(CachePolicy):
    """Says what goes into its key."""

    def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str | None:
        return "monday"

    def explain(self, task_ctx: Any, inputs: Any, flow_parameters: Any) -> dict[str, str | None]:
        return {"day": "monday"}


class Speechless(OwnWords):
    """Fails to say it."""

    def explain(self, task_ctx: Any, inputs: Any, flow_parameters: Any) -> dict[str, str | None]:
        raise OSError("no words")


@pytest.mark.contract("K-1")
def test_policies_of_users_need_no_examine() -> None:
    """What they define of key and explanation holds, alone and in a sum, whatever they derive from."""
    found = OwnInputs().examine(None, {"x": 1}, None)
    assert found.key == key(OwnInputs(), None, {"x": 1}) == f"own-{key(INPUTS, None, {'x': 1})}"
    assert list(found.components) == ["inputs.x"]
    both = (OwnInputs() + OwnWords()).examine(None, {"x": 1}, None)
    assert list(both.components) == ["inputs.x", "day"]
    assert both.key == key(OwnInputs() + OwnWords(), None, {"x": 1})
    speechless = Speechless().examine(None, None, None)
    assert (speechless.key, speechless.components) == ("monday", {})


@given(
    st.dictionaries(
        st.text(max_size=8), st.recursive(st.integers() | st.text() | st.none(), st.lists), max_size=4
    )
)
def test_one_walk_hashes_a_dict_and_its_values(values: dict[str, Any]) -> None:
    """The hashes are those of walks of their own."""
    whole, parts = content_hashes(values)
    assert whole == content_hash(values)
    assert parts == {name: content_hash(value) for name, value in values.items()}
    assert list(parts) == sorted(values)
