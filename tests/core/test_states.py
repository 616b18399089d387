"""States as values: their fields, constructors, predicates, results and exceptions, and many folded into one."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from mainspring import clock, states
from mainspring.annotations import quote, unmapped
from mainspring.exceptions import (
    CancelledRun,
    CrashedRun,
    FailedRun,
    MissingResult,
    PausedRun,
    RunCancelled,
    TerminationSignal,
    UnfinishedRun,
)
from mainspring.futures import FutureList
from mainspring.states import (
    TERMINAL_STATES,
    AwaitingConcurrencySlot,
    AwaitingRetry,
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    InfrastructurePending,
    Late,
    Paused,
    Pending,
    Retrying,
    Running,
    Scheduled,
    State,
    StateDetails,
    StateGroup,
    StateType,
    Submitting,
    Suspended,
    aget_state_exception,
    araise_state_exception,
    exception_to_crashed_state,
    exception_to_failed_state,
    format_exception,
    get_state_exception,
    is_state_iterable,
    raise_state_exception,
    return_value_to_state,
)
from tests.engine.clocks import JumpingClock

TYPES = [
    "SCHEDULED",
    "PENDING",
    "RUNNING",
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "CRASHED",
    "PAUSED",
    "CANCELLING",
]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def belonging(state: State, task_run: bytes | None = bytes(16), flow_run: bytes | None = None) -> State:
    state.belong_to(task_run, flow_run)
    return state


# Types and fields


@pytest.mark.contract("S-1")
def test_state_types() -> None:
    """There are nine types; each equals its name as text and prints as a member."""
    assert [kind.value for kind in StateType] == TYPES
    assert all(kind == kind.name == kind.value for kind in StateType)
    assert f"{StateType.COMPLETED}" == str(StateType.COMPLETED) == "StateType.COMPLETED"


@pytest.mark.contract("S-2")
def test_terminal_states() -> None:
    """Four types are final; paused and cancelling are not among them."""
    assert {"COMPLETED", "CANCELLED", "FAILED", "CRASHED"} == TERMINAL_STATES


@pytest.mark.contract("S-3")
def test_defaults() -> None:
    """Only the type is required; the time is now, everything else is empty."""
    fake = JumpingClock()
    with clock.use_clock(fake):
        state = State("RUNNING")
    assert (state.message, state.data, state.has_data) == (None, None, False)
    assert state.timestamp == clock.to_datetime(fake.time)
    assert state.state_details == StateDetails()
    assert isinstance(state.id, UUID)
    assert state.id == state.id != State("RUNNING").id
    assert state.created == state.updated == state.timestamp


@pytest.mark.contract("S-6")
def test_details_are_empty_at_first() -> None:
    """The details are those of the contract; two of them are flags, the others start as None."""
    details = StateDetails()
    flags = {"pause_reschedule", "untrackable_result"}
    assert {name for name in details.__struct_fields__ if getattr(details, name) is False} == flags
    assert {name for name in details.__struct_fields__ if getattr(details, name) is None} == {
        *(
            "flow_run_id",
            "task_run_id",
            "child_flow_run_id",
            "scheduled_time",
            "cache_key",
            "cache_expiration",
        ),
        *("deferred", "pause_timeout", "pause_key", "run_input_keyset", "refresh_cache", "retriable"),
        *("transition_id", "task_parameters_id"),
    }


@pytest.mark.contract("S-9")
def test_a_model_copy_keeps_the_id_and_renews_the_time() -> None:
    """`model_copy` is the same state, run and data included, at the current time; fields may be changed."""
    fake = JumpingClock()
    with clock.use_clock(fake):
        state = Completed(data=[1], message="m", state_details={"cache_key": "k"})
        state.belong_to(b"t" * 16, b"f" * 16)
        fake.time += 5
        copy = state.model_copy(update={"name": "Odd"})
    assert (copy.id, copy.name, copy.message, copy.type) == (state.id, "Odd", "m", "COMPLETED")
    assert copy.data is state.data
    assert copy.timestamp == clock.to_datetime(fake.time) > state.timestamp
    assert copy.state_details == state.state_details
    assert copy.state_details is not state.state_details


@pytest.mark.contract("S-9")
def test_a_fresh_copy_is_another_state() -> None:
    """`fresh_copy` has an id and time of its own."""
    fake = JumpingClock()
    with clock.use_clock(fake):
        state = Completed(data=[1], message="m")
        fake.time += 5
        copy = state.fresh_copy()
    assert copy.id != state.id
    assert copy.timestamp == copy.created == copy.updated == clock.to_datetime(fake.time)
    assert (copy.type, copy.name, copy.message, copy.data) == (
        state.type,
        state.name,
        state.message,
        state.data,
    )


@pytest.mark.contract("S-12", "R-50")
def test_what_goes_to_other_processes_has_no_values_in_it() -> None:
    """`to_state_create` keeps type, name, message and details, and drops data that is only in memory."""
    state = Failed(name="Odd", message="m", data=ValueError("secret"), state_details={"retriable": False})
    sent = state.to_state_create()
    assert (sent.type, sent.name, sent.message, sent.at) == ("FAILED", "Odd", "m", state.at)
    assert sent.state_details == state.state_details
    assert not sent.has_data


def test_an_unknown_type_is_refused() -> None:
    """A type is one of the nine."""
    with pytest.raises(ValueError, match="SLEEPING"):
        State("SLEEPING")


@pytest.mark.contract("S-4")
@pytest.mark.parametrize("kind", TYPES)
def test_a_missing_name_is_the_type_capitalised(kind: str) -> None:
    """A state without a name is called like its type."""
    assert State(kind).name == kind.capitalize()


@pytest.mark.contract("S-5")
def test_a_scheduled_state_is_due_now_unless_told_otherwise() -> None:
    """A SCHEDULED state always has a time."""
    state = State("SCHEDULED", timestamp=NOON)
    assert state.state_details.scheduled_time == NOON
    assert Scheduled(scheduled_time=NOON + timedelta(1)).state_details.scheduled_time == NOON + timedelta(1)


@pytest.mark.contract("S-19")
def test_details_may_be_a_mapping() -> None:
    """Details are given as a mapping or as an object; a constructor does not share the object."""
    details = StateDetails(pause_key="k")
    for given in (details, {"pause_key": "k"}):
        state = Paused(state_details=given, timeout_seconds=1)
        assert state.state_details.pause_timeout is not None
    assert details.pause_timeout is None


@pytest.mark.contract("S-7")
def test_equality_ignores_the_id() -> None:
    """States are equal if all but their ids is; two made at different times differ."""
    assert State("FAILED", timestamp=NOON, message="x") == State("FAILED", timestamp=NOON, message="x")
    assert State("FAILED", timestamp=NOON, message="x") != State("FAILED", timestamp=NOON, message="y")
    assert State("FAILED", timestamp=NOON) != State("FAILED", timestamp=NOON + timedelta(microseconds=1))
    assert State("FAILED") != "FAILED"


@pytest.mark.contract("S-8")
def test_states_work_in_sets() -> None:
    """Equal states of the same run have the same hash; states of different runs are told apart."""
    one, two = (belonging(State("FAILED", timestamp=NOON), bytes([n]) * 16) for n in (1, 2))
    assert len({one, two, one}) == 2
    assert hash(one) == hash(belonging(State("FAILED", timestamp=NOON), bytes([1]) * 16))


def test_fresh_copy() -> None:
    """A fresh copy has a new id and the time of the copying; the rest is the same, details are its own."""
    fake = JumpingClock()
    with clock.use_clock(fake):
        state = Paused(message="m", data=1, pause_key="k", timestamp=NOON)
        copy = state.fresh_copy()
    assert copy.id != state.id
    assert copy.timestamp == clock.to_datetime(fake.time)
    assert (copy.type, copy.name, copy.message, copy.data) == (state.type, state.name, "m", 1)
    assert copy.state_details == state.state_details
    assert copy.state_details is not state.state_details


@pytest.mark.contract("S-10", "W-15")
@pytest.mark.parametrize("data", [{}, {"type": "x"}, [], None, True, object()])
def test_data_is_left_alone(data: Any) -> None:
    """Whatever is given as data is what the result is."""
    assert Completed(data=data).result() is data


@pytest.mark.contract("S-11")
@pytest.mark.parametrize("kind", TYPES)
def test_predicates_look_at_the_type_alone(kind: str) -> None:
    """Exactly the predicate of the type is true, whatever the name; finality is that of the type."""
    state = State(kind, name="Completed")
    true = [each for each in TYPES if getattr(state, f"is_{each.lower()}")()]
    assert true == [kind]
    assert state.is_final() == (kind in TERMINAL_STATES)


@pytest.mark.contract("S-13")
def test_how_states_are_shown() -> None:
    """`repr` tells everything; `str` leaves out an empty message and a type that the name tells already."""
    assert repr(Failed(message="m", data=1)) == "Failed(message='m', type=FAILED, result=1)"
    shown = [Completed(), Failed(message="m"), Failed(name="TimedOut", message="m"), Retrying()]
    assert [str(state) for state in shown] == [
        "Completed()",
        "Failed('m')",
        "TimedOut('m', type=FAILED)",
        "Retrying(type=RUNNING)",
    ]


@pytest.mark.contract("V-3")
def test_moving_a_state_after_another() -> None:
    """A state that would not be later than its predecessor is put one microsecond after it."""
    earlier, later = State("PENDING", at=5), State("RUNNING", at=6)
    later.move_after(earlier)
    assert later.at == 6
    earlier.move_after(later)
    assert earlier.at == 7


@pytest.mark.contract("E-55", "E-154")
def test_a_stamped_state_shows_its_run() -> None:
    """The details of a state name the run it belongs to, also if they were read before."""
    state = Running()
    assert state.state_details.task_run_id is None
    belonging(state, b"t" * 16, b"f" * 16)
    assert state.state_details.task_run_id == UUID(bytes=b"t" * 16)
    assert state.state_details.flow_run_id == UUID(bytes=b"f" * 16)
    assert state.belongs_to_run


def test_naive_times_are_utc() -> None:
    """A time without a zone is taken as UTC."""
    assert State("PENDING", timestamp=NOON.replace(tzinfo=None)).timestamp == NOON


# Constructors


@pytest.mark.contract("S-14", "S-16")
@pytest.mark.parametrize(
    ("make", "kind", "name"),
    [
        (Scheduled, "SCHEDULED", "Scheduled"),
        (AwaitingConcurrencySlot, "SCHEDULED", "AwaitingConcurrencySlot"),
        (Late, "SCHEDULED", "Late"),
        (Suspended, "PAUSED", "Suspended"),
        (Submitting, "PENDING", "Submitting"),
        (InfrastructurePending, "PENDING", "InfrastructurePending"),
        (AwaitingRetry, "SCHEDULED", "AwaitingRetry"),
        (Pending, "PENDING", "Pending"),
        (Running, "RUNNING", "Running"),
        (Retrying, "RUNNING", "Retrying"),
        (Completed, "COMPLETED", "Completed"),
        (Failed, "FAILED", "Failed"),
        (Crashed, "CRASHED", "Crashed"),
        (Cancelling, "CANCELLING", "Cancelling"),
        (Cancelled, "CANCELLED", "Cancelled"),
        (Paused, "PAUSED", "Paused"),
    ],
)
def test_constructors(make: Any, kind: str, name: str) -> None:
    """Each constructor makes a state of its type and name, of any state class, with the given fields."""

    class MyState(State):
        __slots__ = ()

    state = make(MyState, message="m", data=1)
    assert type(state) is MyState
    assert (state.type, state.name, state.message, state.data) == (kind, name, "m", 1)


@pytest.mark.contract("S-18")
def test_a_suspended_run_is_paused_and_comes_back_elsewhere() -> None:
    """`Suspended` is a pause that is rescheduled, with the expiration and key of pauses."""
    assert Suspended().state_details.pause_reschedule is True
    assert Paused().state_details.pause_reschedule is False
    state = Suspended(pause_expiration_time=NOON, pause_key="k")
    assert (state.state_details.pause_timeout, state.state_details.pause_key) == (NOON, "k")
    with pytest.raises(ValueError, match="one of"):
        Suspended(timeout_seconds=1, pause_expiration_time=NOON)


@pytest.mark.contract("S-15")
def test_a_scheduled_time_given_twice_is_refused() -> None:
    """The time is an argument or a detail, not both."""
    with pytest.raises(ValueError, match="not both"):
        Scheduled(scheduled_time=NOON, state_details={"scheduled_time": NOON})


@pytest.mark.contract("S-17")
def test_paused_timeouts() -> None:
    """A pause expires at a given time or after given seconds."""
    fake = JumpingClock()
    with clock.use_clock(fake):
        after = Paused(timeout_seconds=5, reschedule=True, pause_key="k").state_details
    assert after.pause_timeout == clock.to_datetime(fake.time + 5_000_000)
    assert (after.pause_reschedule, after.pause_key) == (True, "k")
    assert Paused(pause_expiration_time=NOON).state_details.pause_timeout == NOON


@pytest.mark.contract("S-17")
@pytest.mark.parametrize(
    "given",
    [
        {"timeout_seconds": 1, "pause_expiration_time": NOON},
        {"timeout_seconds": 1, "state_details": {"pause_timeout": NOON}},
        {"pause_expiration_time": NOON, "state_details": {"pause_timeout": NOON}},
    ],
)
def test_a_pause_timeout_given_twice_is_refused(given: dict[str, Any]) -> None:
    """There is one expiration."""
    with pytest.raises(ValueError, match="Give one of"):
        Paused(**given)


# Results


@pytest.mark.contract("S-20")
def test_reading_a_result() -> None:
    """A completed state gives its data, also to async code."""
    state = Completed(data=[1])
    assert state.result() is state.data
    assert asyncio.run(state.aresult()) is state.data


@pytest.mark.contract("S-21")
def test_the_result_of_a_paused_state() -> None:
    """A paused run has no result yet, and the error carries the state."""
    state = Paused()
    with pytest.raises(PausedRun) as caught:
        state.result()
    assert caught.value.state is state


@pytest.mark.contract("S-21")
@pytest.mark.parametrize("kind", ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING"])
@pytest.mark.parametrize("raise_on_failure", [True, False])
def test_the_result_of_an_unfinished_state(kind: str, raise_on_failure: bool) -> None:
    """A run that is not over has no result, and the error names the type."""
    with pytest.raises(UnfinishedRun, match=kind):
        State(kind).result(raise_on_failure=raise_on_failure)


@pytest.mark.contract("S-22", "S-27")
@pytest.mark.parametrize(
    ("make", "wrapper"), [(Failed, FailedRun), (Crashed, CrashedRun), (Cancelled, CancelledRun)]
)
def test_the_result_of_a_failed_state(make: Any, wrapper: type[Exception]) -> None:
    """The exception is raised or, on request, returned; without data it is one made from the message."""
    error = ValueError("no")
    state = make(data=error)
    with pytest.raises(ValueError, match="no") as caught:
        state.result()
    assert caught.value is error
    assert state.result(raise_on_failure=False) is error
    bare = make(message="why")
    with pytest.raises(wrapper, match="why"):
        bare.result()
    assert type(bare.result(raise_on_failure=False)) is wrapper


@pytest.mark.contract("S-22", "T-112")
def test_other_data_of_a_failed_state_is_returned() -> None:
    """Without raising, data that is no exception is given back as it is."""
    assert Failed(message="m", data=True).result(raise_on_failure=False) is True


@pytest.mark.contract("S-23")
def test_a_completed_state_without_data_has_no_result() -> None:
    """No data is not the result None."""
    with pytest.raises(MissingResult):
        Completed().result()
    assert Completed(data=None).result() is None


@pytest.mark.contract("S-25")
@pytest.mark.parametrize("kind", ["SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "PAUSED", "CANCELLING"])
def test_only_failures_have_exceptions(kind: str) -> None:
    """Asking any other state for its exception is an error; raising from it does nothing."""
    with pytest.raises(ValueError, match="Expected failed or crashed state got"):
        get_state_exception(State(kind))
    raise_state_exception(State(kind))


@pytest.mark.contract("S-26", "S-46", "S-47")
def test_data_as_exceptions() -> None:
    """Exceptions stand for themselves, text and nothing are wrapped, states are followed to the failure."""
    base = BaseException("foo")
    inner = Failed(data=ValueError("inner"))
    assert get_state_exception(Failed(data=base)) is base
    assert str(get_state_exception(Failed(data="text", message="m"))) == "text"
    assert str(get_state_exception(Failed(message="m"))) == "m"
    assert str(get_state_exception(Failed()))
    assert get_state_exception(Failed(data=Failed(data=inner))) is inner.data
    assert get_state_exception(Failed(data=[Completed(), inner, Failed(data=KeyError())])) is inner.data
    with pytest.raises(ValueError, match="none were failed"):
        get_state_exception(Failed(data=[Completed()]))
    with pytest.raises(ValueError, match="Expected failed or crashed"):
        get_state_exception(Failed(data=Completed()))
    with pytest.raises(TypeError, match="int cannot be resolved into an exception"):
        get_state_exception(Failed(data=2))


@pytest.mark.contract("S-28")
@pytest.mark.parametrize("kind", ["FAILED", "CRASHED", "CANCELLED"])
def test_raising_the_exception_of_a_state(kind: str) -> None:
    """Failures of each kind are raised."""
    error = ValueError("no")
    with pytest.raises(ValueError, match="no") as caught:
        raise_state_exception(State(kind, data=error))
    assert caught.value is error


@pytest.mark.contract("S-29")
def test_collections_of_states() -> None:
    """Non-empty lists, sets and tuples of states alone count; annotations, dicts and mixtures do not."""
    state = Completed()
    assert all(map(is_state_iterable, ([state], {state}, (state, state), FutureList([state]))))
    others: list[Any] = [
        [],
        set(),
        (),
        [state, 1],
        {"k": state},
        state,
        quote([state]),
        unmapped([state]),
        iter([state]),
    ]
    assert not any(map(is_state_iterable, others))


# From return values


@pytest.mark.contract("S-31", "S-48")
def test_a_handmade_state_is_used_itself() -> None:
    """A state without a run is the answer; without data its result is None."""
    state = Completed(data=[1])
    assert return_value_to_state(state) is state
    assert return_value_to_state(Completed()).result() is None


@pytest.mark.contract("S-32", "S-44", "S-49")
@pytest.mark.parametrize("ids", [(bytes(16), None), (None, bytes(16))])
def test_a_state_of_a_run_is_folded(ids: tuple[bytes | None, bytes | None]) -> None:
    """A state that belongs to some run stays that run's; ours says that it completed, and holds it."""
    state = belonging(Completed(data=1), *ids)
    ours = return_value_to_state(state)
    assert ours is not state
    assert (ours.message, ours.result()) == ("All states completed.", state)


@pytest.mark.contract("S-32", "S-33", "S-45", "S-49")
@pytest.mark.parametrize(
    ("types", "kind", "message"),
    [
        ("COMPLETED COMPLETED", "COMPLETED", "All states completed."),
        ("COMPLETED CANCELLED FAILED", "CANCELLED", "1/3 states cancelled."),
        ("PAUSED COMPLETED FAILED", "PAUSED", "1/3 states paused."),
        ("FAILED CRASHED COMPLETED", "FAILED", "2/3 states failed."),
        ("RUNNING PENDING COMPLETED", "FAILED", "2/3 states are not final."),
        ("FAILED RUNNING", "FAILED", "1/2 states failed."),
    ],
)
@pytest.mark.parametrize("collect", [list, tuple, set])
def test_folding_states(types: str, kind: str, message: str, collect: Any) -> None:
    """Cancelled outranks paused, paused outranks failed; the given collection stays the data."""
    given = collect(State(each) for each in types.split())
    state = return_value_to_state(given)
    assert (state.type, state.message) == (kind, message)
    assert state.data is given


@pytest.mark.contract("S-35", "S-36")
@pytest.mark.parametrize("value", [None, 1, {"a": Completed()}, [Completed(), 1], quote([Failed()])])
def test_any_other_value_completes(value: Any) -> None:
    """A value, even one that mixes states and data, completes the run and is its result."""
    state = return_value_to_state(value)
    assert state.is_completed()
    assert state.result() is value


# From exceptions


@pytest.mark.contract("S-38", "S-40")
def test_an_exception_as_failed_state() -> None:
    """The message is the given one and ``Type: text``; other keywords go to the state."""
    error = ValueError("no")
    state = exception_to_failed_state(error, message="It broke.", name="Broken")
    assert (state.type, state.name, state.message) == ("FAILED", "Broken", "It broke. ValueError: no")
    assert state.state_details.retriable is False
    assert state.data is error
    assert exception_to_failed_state(ValueError()).message == "ValueError"


@pytest.mark.contract("S-38")
def test_the_exception_being_handled_is_the_default() -> None:
    """Without an argument it is the current exception; without one there is nothing to convert."""
    with pytest.raises(ValueError, match="No exception"):
        exception_to_failed_state()
    try:
        raise KeyError("k")
    except KeyError as raised:
        error, state = raised, exception_to_failed_state()
    assert state.data is error


@pytest.mark.contract("S-39", "E-144", "X-11")
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (asyncio.CancelledError(), "Execution was cancelled by the runtime environment."),
        (RunCancelled(), "Execution was cancelled by the runtime environment."),
        (KeyboardInterrupt(), "Execution was aborted by an interrupt signal."),
        (TerminationSignal(15), "Execution was aborted by a termination signal."),
        (SystemExit(1), "Execution was aborted by Python system exit call."),
        (BaseException("odd"), "Execution was interrupted by an unexpected exception: BaseException: odd"),
        (ValueError("odd"), "Execution was interrupted by an unexpected exception: ValueError: odd"),
    ],
)
def test_an_exception_as_crashed_state(error: BaseException, message: str) -> None:
    """Each way of being ended from outside has its sentence; the result raises an ordinary exception."""
    state = exception_to_crashed_state(error)
    assert (state.type, state.name, state.message) == ("CRASHED", "Crashed", message)
    with pytest.raises(ValueError if isinstance(error, ValueError) else CrashedRun):
        state.result()


def test_an_exception_that_cannot_be_shown() -> None:
    """A broken ``__str__`` does not hide the failure."""

    class ShyError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert (
        exception_to_failed_state(ShyError()).message == "ShyError: <the exception cannot be shown as text>"
    )


# Groups


@pytest.mark.contract("S-42")
def test_group_counts() -> None:
    """A group counts its states by type and kind of end."""
    group = StateGroup(map(State, ["COMPLETED", "FAILED", "CRASHED", "CANCELLED", "PAUSED", "RUNNING"]))
    assert (group.total_count, group.final_count, group.not_final_count) == (6, 4, 2)
    assert (group.cancelled_count, group.paused_count, group.fail_count) == (1, 1, 2)
    assert group.type_counts["COMPLETED"] == 1
    assert (group.any_cancelled(), group.any_failed(), group.any_paused()) == (True, True, True)
    assert (group.all_completed(), group.all_final()) == (False, False)


@pytest.mark.contract("S-42")
def test_group_of_completed_states() -> None:
    """Nothing failed, and all are final; a crashed state counts as failed."""
    group = StateGroup([Completed(), Completed()])
    assert (group.all_completed(), group.all_final()) == (True, True)
    assert (group.any_cancelled(), group.any_failed(), group.any_paused()) == (False, False, False)
    assert StateGroup([Crashed()]).any_failed()


@pytest.mark.contract("S-43")
def test_group_counts_as_text() -> None:
    """The text names the total, what is not final if anything, and each type that is there."""
    group = StateGroup([Completed(), Running(), Completed()])
    assert group.counts_message() == "total=3, not_final=1, 'COMPLETED'=2, 'RUNNING'=1"
    assert repr(group) == f"StateGroup<{group.counts_message()}>"
    assert StateGroup([Completed()]).counts_message() == "total=1, 'COMPLETED'=1"


def test_what_the_package_offers() -> None:
    """The list of public names is sorted and each name is there."""
    assert sorted(states.__all__, key=lambda name: (not name.isupper(), name)) == states.__all__
    assert all(hasattr(states, name) for name in states.__all__)


async def check_async_twins() -> None:
    error = ValueError("no")
    assert await aget_state_exception(Failed(data=error)) is error
    assert await araise_state_exception(Completed(data=1)) is None
    with pytest.raises(ValueError, match="no") as caught:
        await araise_state_exception(Failed(data=error))
    assert caught.value is error
    assert await Completed(data=7).aresult() == 7


@pytest.mark.contract("S-28", "V-35")
def test_results_and_exceptions_have_async_twins() -> None:
    """`aresult`, `aget_state_exception` and `araise_state_exception` are awaited and do the same."""
    asyncio.run(check_async_twins())


@pytest.mark.contract("S-41")
def test_an_exception_as_text() -> None:
    """``Type: text`` or the whole traceback; our own exceptions go without their module."""
    assert format_exception(ValueError("no")) == "ValueError: no"
    try:
        raise MissingResult("gone")
    except MissingResult as error:
        short, full = format_exception(error), format_exception(error, error.__traceback__)
    assert short == "MissingResult: gone"
    assert full.startswith("Traceback (most recent call last):")
    assert full.rstrip().endswith("\nMissingResult: gone")
    assert "test_an_exception_as_text" in full
