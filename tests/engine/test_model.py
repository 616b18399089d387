"""The engine against a small model of what it must do, on programs that nobody thought of."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.model.performing import Performance
from tests.engine.model.programs import Attempt, Call, End, Program, calls
from tests.engine.model.reference import CallError, Model

FORMS = [(is_async, yields) for is_async in (False, True) for yields in (False, True)]
EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "200"))
"""How many programs are tried; a long run sets the variable to some tens of thousands."""

CLAUSES = (
    "E-39",
    "E-41",
    "E-42",
    "E-47",
    "E-50",
    "E-75",
    "E-76",
    "E-77",
    "E-78",
    "E-82",
    "E-84",
    "E-86",
    "E-88",
    "E-89",
    "E-92",
    "E-94",
    "E-96",
    "E-97",
    "E-98",
    "E-99",
    "E-100",
    "E-101",
    "E-102",
    "E-103",
    "E-104",
    "E-105",
    "E-106",
    "E-110",
    "E-111",
    "E-112",
    "E-113",
    "E-114",
    "E-127",
    "E-131",
    "E-138",
    "H-1",
    "H-2",
    "H-4",
    "H-9",
    "H-11",
    "H-16",
    "G-4",
    "G-6",
    "G-7",
    "G-10",
    "G-11",
    "G-14",
    "S-32",
    "V-1",
    "V-2",
    "V-3",
    "V-4",
    "V-5",
    "V-8",
    "V-25",
    "W-5",
    "W-6",
    "W-7",
    "W-8",
    "W-11",
    "W-16",
    "X-10",
    "X-11",
    "X-15",
    "X-17",
    "X-20",
    "X-21",
    "TX-18",
    "TX-20",
    "TX-26",
    "TX-28",
    "TX-32",
    "TX-36",
    "TX-71",
)


def expected(call: Call, is_async: bool, yields: bool, luck: float) -> Model:
    model = Model(yields, not (is_async and yields), luck)
    try:
        model.call(call, "r", None, None)
    except CallError:
        pass  # told by an event
    return model


@pytest.mark.slow
@pytest.mark.timeout(max(120, EXAMPLES))
@pytest.mark.contract(*CLAUSES)
@settings(max_examples=EXAMPLES)
@given(calls(2), st.sampled_from((0.5, 0.0, 0.25, 0.999)))
@pytest.mark.invariants(by_hand=True, is_over=False)
def test_the_engine_does_what_the_model_says(call: Call, luck: float) -> None:
    """Events in order, the recorded history of every run, and what comes out, in all four forms of tasks."""
    for is_async, yields in FORMS:
        model = expected(call, is_async, yields, luck)
        performance = Performance(is_async, yields, luck)
        performance.perform(call)
        assert performance.events == model.events, (is_async, yields)
        assert performance.runs() == model.runs


AGAIN = (Attempt(end=End.RUNNING), Attempt(end=End.RETURN))
"""What a task does that returns a running state, and then a value."""


def differs(program: Program) -> bool:
    """Whether the engine does anything else with a program than the model says, in the first form."""
    call = Call(program)
    performance = Performance(False, False, 0.5)
    performance.perform(call)
    return performance.events != expected(call, False, False, 0.5).events


@pytest.mark.contract("V-8", "E-107")
@pytest.mark.invariants(by_hand=True)
def test_running_hooks_follow_a_returned_running_state() -> None:
    """A returned running state is an entry into a RUNNING state, too."""
    assert not differs(Program(AGAIN, hooks=((False,), (), (), (), ())))


@pytest.mark.contract("E-107", "E-20")
@pytest.mark.invariants(by_hand=True)
def test_a_returned_running_state_is_no_result() -> None:
    """A run that returned a running state and then failed raises what it failed with."""
    assert not differs(Program((AGAIN[0], Attempt(end=End.RAISE))))


@pytest.mark.contract("E-107")
@pytest.mark.parametrize("end", [End.RUNNING, End.SCHEDULED])
@pytest.mark.invariants(by_hand=True)
def test_a_returned_state_that_asks_for_another_attempt(end: End) -> None:
    """The function is called again, after the scheduled time if there is one."""
    assert not differs(Program((Attempt(end=end), Attempt(end=End.RETURN))))
