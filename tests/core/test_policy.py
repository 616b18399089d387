"""Options of tasks and flows, resolved and checked at definition."""

import math
from functools import partial
from typing import Any

import pytest

from mainspring._core.policy import RunPolicy, check_hooks, hook_name, resolve_delays
from mainspring.states import State, StateType


def resolve(**options: Any) -> RunPolicy:
    given: dict[str, Any] = {
        "noun": "Task run",
        "retries": 0,
        "retry_delay_seconds": None,
        "retry_jitter_factor": None,
        "retry_condition": None,
        "timeout_seconds": None,
        "hooks": {},
    }
    return RunPolicy.resolve(**given | options)


@pytest.mark.contract("W-12", "V-16", "T-23", "T-24", "T-25")
@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"retries": -1}, ValueError, "Invalid `retries`: -1 must be >= 0"),
        ({"retries": 1.5}, TypeError, "Invalid `retries`: expected a whole number; got 1.5"),
        ({"retries": "3"}, TypeError, "Invalid `retries`: expected a whole number; got '3'"),
        ({"retries": True}, TypeError, "Invalid `retries`: expected a whole number; got True"),
        ({"retry_delay_seconds": -1}, ValueError, "Invalid `retry_delay_seconds`: -1 must be >= 0"),
        ({"retry_delay_seconds": [1, -2]}, ValueError, "Invalid `retry_delay_seconds`: -2 must be >= 0"),
        ({"retry_delay_seconds": math.nan}, ValueError, "Invalid `retry_delay_seconds`: nan"),
        ({"retry_delay_seconds": "5"}, TypeError, "Invalid `retry_delay_seconds`: .*got '5'"),
        ({"retry_delay_seconds": ["5"]}, TypeError, "Invalid `retry_delay_seconds`: '5' is not a number"),
        ({"retry_delay_seconds": {1: 2}}, TypeError, "Invalid `retry_delay_seconds`"),
        ({"retry_delay_seconds": lambda n: "soon"}, TypeError, "Invalid `retry_delay_seconds`"),
        (
            {"retry_delay_seconds": [1] * 51},
            ValueError,
            "Can not configure more than 50 retry delays; got 51",
        ),
        ({"retry_jitter_factor": -0.1}, ValueError, "`retry_jitter_factor` must be >= 0"),
        ({"retry_jitter_factor": "much"}, TypeError, "Invalid `retry_jitter_factor`"),
        ({"retry_condition": "always"}, TypeError, "Expected `retry_condition_fn` to be callable; got str"),
        ({"timeout_seconds": -1}, ValueError, "Invalid `timeout_seconds`: -1 must be >= 0"),
        ({"timeout_seconds": "1s"}, TypeError, "Invalid `timeout_seconds`: expected a number; got '1s'"),
    ],
)
def test_bad_values_are_refused(options: dict[str, Any], kind: type[Exception], text: str) -> None:
    """A value that cannot work is refused at definition; the error names the option and the value."""
    with pytest.raises(kind, match=text):
        resolve(**options)


@pytest.mark.contract("T-9")
@pytest.mark.parametrize(("given", "expected"), [(None, None), (0, None), (0.0, None), (2, 2.0), (0.5, 0.5)])
def test_timeout(given: float | None, expected: float | None) -> None:
    """A limit is a float; zero and None mean none."""
    timeout = resolve(timeout_seconds=given).timeout
    assert timeout == expected
    assert timeout is None or type(timeout) is float


@pytest.mark.contract("T-11", "E-79", "T-29", "V-16")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, ()),
        (0, ()),
        ([], ()),
        ([0, 0.0], ()),
        (2, (2.0,)),
        (0.5, (0.5,)),
        ([1, 2.5], (1.0, 2.5)),
        ((1, 2), (1.0, 2.0)),
        ([0, 1], (0.0, 1.0)),
        (lambda retries: [retries] * retries, (3.0, 3.0, 3.0)),
        (lambda retries: retries, (3.0,)),
    ],
)
def test_delays(given: Any, expected: tuple[float, ...]) -> None:
    """Every form of delays becomes a tuple of floats; no delay at all becomes an empty one."""
    assert resolve_delays(given, 3) == expected


@pytest.mark.contract("T-23")
def test_fifty_delays_are_allowed() -> None:
    """The limit itself is within the limit."""
    assert len(resolve_delays([1] * 50, 100)) == 50


@pytest.mark.contract("T-75")
def test_the_recorded_policy_holds_what_was_configured() -> None:
    """The store is told what deviates from the defaults, and nothing else."""
    assert resolve().recorded == {}
    full = resolve(retries=2, retry_delay_seconds=[1, 2], retry_jitter_factor=0.5)
    assert full.recorded == {"retries": 2, "retry_delay": [1.0, 2.0], "retry_jitter_factor": 0.5}


@pytest.mark.contract("T-21")
@pytest.mark.parametrize("option", ["on_completion", "on_failure", "on_running", "on_commit", "on_rollback"])
def test_hooks_must_be_an_iterable_of_callables(option: str) -> None:
    """A lone function and a list of something else are refused, and the error shows how two hooks look."""
    usage = rf"@task\({option}=\[hook1, hook2\]\)"
    with pytest.raises(TypeError, match=f"Expected iterable for '{option}'; got function instead.*{usage}"):
        check_hooks(option, lambda: None, "task")
    with pytest.raises(TypeError, match=f"Expected callables in '{option}'; got str instead.*{usage}"):
        check_hooks(option, ["test"], "task")


@pytest.mark.contract("T-17")
def test_hook_lists_are_fresh() -> None:
    """No hooks are an empty list; given hooks are copied, so the caller's list is not shared."""
    given = [print]
    assert check_hooks("on_failure", None, "task") == []
    checked = check_hooks("on_failure", given, "task")
    assert checked == given
    assert checked is not given
    assert check_hooks("on_failure", (each for each in given), "task") == given


@pytest.mark.contract("H-5")
def test_hook_names() -> None:
    """A hook is called by its name, that of a partial's function, or that of its class."""

    def named() -> None: ...

    class Instance:
        def __call__(self) -> None: ...

    assert [hook_name(each) for each in (named, partial(named), Instance())] == ["named", "named", "Instance"]


@pytest.mark.contract("H-1", "H-2")
@pytest.mark.parametrize("kind", list(StateType))
def test_hooks_for_a_state(kind: StateType) -> None:
    """The hooks of a state are those of its type; a RUNNING one is no end and has none to finish with."""
    hooks = {StateType.COMPLETED: [print], StateType.RUNNING: [len]}
    found = RunPolicy("Task run", hooks=hooks).hooks_for(State(kind))
    assert found == ([print] if kind is StateType.COMPLETED else [])
