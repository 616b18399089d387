"""Creating, changing and deleting runs, and setting their states from outside."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from mainspring import flow, get_client, task
from mainspring.client import SetStateStatus
from mainspring.events import subscribe
from mainspring.exceptions import (
    ConfigurationError,
    MissingResult,
    NotDeletable,
    ObjectAlreadyExists,
    ObjectNotFound,
    SupersededRun,
)
from mainspring.filters import FlowRunSort
from mainspring.flow_engine import run_flow
from mainspring.runs import Constant, FlowRun, Parameter, TaskRun, TaskRunResult
from mainspring.states import (
    Cancelled,
    Completed,
    Failed,
    Paused,
    Pending,
    Running,
    Scheduled,
    State,
    StateType,
)
from mainspring.task_engine import run_task
from tests.client.making import history, nightly, report, summary

LIMIT = 20.0
ACCEPT, REJECT, WAIT, ABORT = SetStateStatus


def until(look: Callable[[], Any]) -> Any:
    """What a call gives, as soon as that is true."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"{look} has not come true")


def names(states: list[State]) -> list[str]:
    return [state.name for state in states]


# Creating


@pytest.mark.contract("CL-10")
@pytest.mark.invariants(is_over=False)
def test_created_flow_run() -> None:
    """A created flow run is pending, is in the store as it was made, and keeps the very objects of its caller."""
    client, unwritable = get_client(), object()
    parameters = {"pages": 3, "other": unwritable}
    run = client.create_flow_run(nightly, "mine", parameters, tags=["a"])
    assert run.parameters["other"] is unwritable
    found = client.read_flow_run(run.id)
    assert (found.name, found.flow_name, found.flow_version) == ("mine", "nightly", "7")
    assert (found.parameters, found.tags) == ({"pages": 3, "other": "<object>"}, {"a"})
    assert found.state == run.state
    assert found.state.is_pending()
    assert found.run_count == 0
    assert client.create_flow_run("by-name").name.startswith("by-name-")


@pytest.mark.contract("CL-10", "CL-16")
@pytest.mark.invariants(is_over=False)
def test_created_in_a_state() -> None:
    """A run can be created in another state, which counts as if it was entered."""
    client = get_client()
    due = Scheduled()
    run = client.create_flow_run(nightly, state=due)
    assert run.state.is_scheduled()
    assert run.state.id != due.id
    assert run.next_scheduled_start_time == run.expected_start_time == due.state_details.scheduled_time
    assert client.read_flow_runs(sort=FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC)[0].id == run.id
    failed = client.create_task_run(report, None, "1", state=Failed(message="no"))
    assert names(client.read_task_run_states(failed.id)) == ["Pending", "Failed"]
    began = client.create_task_run(report, None, "2", state=Running())
    assert client.read_task_run(began.id).run_count == 1


@pytest.mark.contract("CL-16", "CL-19")
@pytest.mark.invariants(is_over=False)
def test_created_task_run() -> None:
    """A created task run has what its task says, its own dynamic key, all tags, and the inputs that were given."""
    client = get_client()
    around = client.create_flow_run(nightly)

    @task(tags=["net"], retries=2, version="v1")
    def fetch() -> None: ...

    key = uuid4()
    inputs = {
        "x": [TaskRunResult(id=uuid4()), Parameter(name="p"), Constant(type="int")],
        "wait_for": [TaskRunResult(id=uuid4())],
        "__parents__": [],
    }
    run = client.create_task_run(fetch, around.id, 7, key, extra_tags=["b"], task_inputs=inputs)
    found = client.read_task_run(key)
    assert (run.id, found.dynamic_key, found.task_key) == (key, "7", fetch.task_key)
    assert (found.tags, found.task_version) == ({"net", "b"}, "v1")
    assert found.empirical_policy["retries"] == 2
    assert found.task_inputs == inputs
    assert found.flow_run_id == around.id
    assert found.state.is_pending()


@pytest.mark.invariants(is_over=False)
def test_created_twice() -> None:
    """An id that is taken, and parents that are not there, are refused, and nothing is changed."""
    client = get_client()
    run = client.create_flow_run(nightly, id=uuid4())
    with pytest.raises(ObjectAlreadyExists, match="already"):
        client.create_flow_run(summary, id=run.id)
    assert client.read_flow_run(run.id).flow_name == "nightly"
    with pytest.raises(ObjectNotFound):
        client.create_task_run(report, uuid4(), "1")
    with pytest.raises(ObjectNotFound):
        client.create_flow_run(nightly, parent_task_run_id=uuid4())
    assert client.read_task_runs() == []


@pytest.mark.contract("CL-10")
def test_created_runs_are_run() -> None:
    """An engine goes on with a created run, under its id; its states are one story."""
    client = get_client()
    run = client.create_flow_run(nightly, parameters={"pages": 1})
    assert run_flow(nightly, run, dict(run.parameters)) == [True]
    assert names(client.read_flow_run_states(run.id)) == ["Pending", "Running", "Completed"]
    single = client.create_task_run(report, None, "x")
    assert run_task(report, task_run=single) == "done"
    assert client.read_task_run(single.id).dynamic_key == "x"


def test_created_runs_outlive_their_process() -> None:
    """A run that a process has created is as it was after that process, and its death, and can be cancelled."""
    program = (
        "import os\n"
        "from mainspring import get_client\n"
        "print(get_client().create_flow_run('later').id, flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ
    )
    client = get_client()
    client.store.settle_dead_owners()
    run = client.read_flow_run(done.stdout.strip())
    assert run.state.is_pending()
    assert client.cancel_run(run.id).state.is_cancelled()


# Changing


@pytest.mark.contract("CL-12", "CL-33")
def test_updated_flow_run() -> None:
    """What is given replaces what was there; what is not given stays."""
    history()
    client = get_client()
    run = client.read_flow_runs(names=["nightly-2"])[0]
    client.update_flow_run(run.id, tags=["x", "y"], parameters={"pages": 9})
    found = client.read_flow_run(run.id)
    assert (found.tags, found.parameters, found.name) == ({"x", "y"}, {"pages": 9}, "nightly-2")
    client.update_flow_run(str(run.id), "8", {}, "other", [])
    found = client.read_flow_run(run.id)
    assert (found.flow_version, found.parameters, found.name, found.tags) == ("8", {}, "other", set())
    with pytest.raises(ObjectNotFound):
        client.update_flow_run(uuid4(), name="x")


@pytest.mark.contract("CL-12", "CL-17")
def test_names() -> None:
    """Runs get another name, and keep it when they go on."""
    client = get_client()
    run = client.create_flow_run(nightly, parameters={"pages": 0})
    client.set_flow_run_name(run.id, "renamed")
    run_flow(nightly, run, {"pages": 0})
    assert client.read_flow_run(run.id).name == "renamed"
    summary()
    (task_run,) = client.read_task_runs()
    client.set_task_run_name(task_run.id, "größe")
    assert client.read_task_run(task_run.id).name == "größe"
    with pytest.raises(ObjectNotFound):
        client.set_task_run_name(run.id, "no task run")


@pytest.mark.parametrize("change", [{"tags": "prod"}, {"tags": [1]}, {"name": 5}, {"name": ""}], ids=repr)
@pytest.mark.invariants(is_over=False)
def test_changes_that_cannot_be(change: dict[str, Any]) -> None:
    """Tags that are no list of texts, and names that are no text, are refused, and nothing is changed."""
    client = get_client()
    run = client.create_flow_run(nightly, name="before", tags=["x"])
    with pytest.raises(ConfigurationError):
        client.update_flow_run(run.id, parameters={"pages": 1}, **change)
    found = client.read_flow_run(run.id)
    assert (found.name, found.tags, found.parameters) == ("before", {"x"}, {})
    with pytest.raises(ConfigurationError, match="tags cannot be 'prod': give a list of texts"):
        client.create_flow_run(nightly, tags="prod")


# States


@pytest.mark.contract("CL-13")
def test_accepted_states() -> None:
    """A state that the rules have a move to is entered, as a copy, and told to subscribers."""
    client = get_client()
    run = client.create_flow_run(nightly)
    told: list[str] = []
    begun = Running()
    with subscribe(lambda event: told.append(event.event), prefix="mainspring.flow-run."):
        answer = client.set_flow_run_state(str(run.id), begun)
        assert (answer.status, answer.state.name, answer.details.reason) == (ACCEPT, "Running", None)
        assert answer.state.id != begun.id
        client.set_flow_run_state(run.id, Completed(message="by hand", data=1))
    assert [each.rpartition(".")[2] for each in told] == ["Running", "Completed"]
    found = client.read_flow_run(run.id)
    assert (found.state.message, found.run_count, found.state_id) == ("by hand", 1, found.state.id)
    assert found.end_time is not None
    with pytest.raises(MissingResult):
        found.state.result()
    assert names(client.read_flow_run_states(run.id)) == ["Pending", "Running", "Completed"]


@pytest.mark.contract("CL-13", "CL-18")
@pytest.mark.parametrize(
    ("life", "proposed", "status"),
    [
        ([], Completed(), REJECT),
        ([], Scheduled(), REJECT),
        ([], Failed(), ACCEPT),
        ([], Paused(), REJECT),
        ([Running()], Pending(), REJECT),
        ([Running()], Running(), REJECT),
        ([Running()], Running(name="Retrying"), ACCEPT),
        ([Running()], Completed(name="Fine"), ACCEPT),
        ([Running()], Cancelled(), ACCEPT),
        ([Failed()], Completed(), ABORT),
        ([Failed()], Paused(), ABORT),
        ([Failed()], Running(), ACCEPT),
        ([Running(), Completed()], Completed(), ABORT),
        ([Running(), Completed()], Completed(name="RolledBack"), ACCEPT),
    ],
    ids=lambda value: str(value),
)
@pytest.mark.invariants(by_hand=True, is_over=False)
def test_rules(life: list[State], proposed: State, status: SetStateStatus) -> None:
    """The rules are those of the state machine; what they refuse changes nothing, and force enters it all the same."""
    client = get_client()
    for kind in ("flow", "task"):
        run: Any = (
            client.create_flow_run("f") if kind == "flow" else client.create_task_run(report, None, "1")
        )
        propose = client.set_flow_run_state if kind == "flow" else client.set_task_run_state
        for state in life:
            assert propose(run.id, state).status is ACCEPT
        before = client.find_run(str(run.id)).state
        answer = propose(run.id, proposed)
        assert answer.status is status
        now = client.find_run(str(run.id)).state
        assert answer.state.id == now.id
        if status is not ACCEPT:
            assert now.id == before.id
            assert answer.details.reason
            forced = propose(run.id, proposed, force=True)
            assert forced.status is ACCEPT
            assert client.find_run(str(run.id)).state_name == proposed.name


@pytest.mark.contract("CL-13")
@pytest.mark.invariants(is_over=False)
def test_states_of_unknown_runs() -> None:
    """An id that no run of the kind has is not found."""
    client = get_client()
    run = client.create_flow_run(nightly)
    for propose, key in ((client.set_flow_run_state, uuid4()), (client.set_task_run_state, run.id)):
        with pytest.raises(ObjectNotFound):
            propose(key, Running())


@pytest.mark.invariants(is_over=False)
def test_what_is_no_state() -> None:
    """The name of a state is no state: it is refused, with how to make one, and nothing is changed."""
    client = get_client()
    run = client.create_flow_run(nightly)
    for force in (False, True):
        with pytest.raises(ConfigurationError, match="cannot enter 'Failed': give a state"):
            client.set_flow_run_state(run.id, "Failed", force)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="cannot enter"):
        client.create_flow_run(nightly, state="Failed")  # type: ignore[arg-type]
    assert [run.state_name for run in client.read_flow_runs()] == ["Pending"]


@pytest.mark.parametrize("loops", range(3))
def test_a_run_that_goes_on_is_cancelled_by_its_process(loops: int) -> None:
    """To set a run Cancelled that goes on in a process asks that one: WAIT, and it is Cancelled when it has stopped."""
    stopped = threading.Event()

    @flow
    def endless() -> None:
        try:
            while True:
                time.sleep(0.01)
        finally:
            stopped.set()

    thread = threading.Thread(target=lambda: endless(return_state=True))
    thread.start()
    client = get_client()
    (run,) = until(lambda: client.read_flow_runs(states=["RUNNING"]))
    answer = client.set_flow_run_state(run.id, Cancelled(message="enough"))
    assert (answer.status, answer.state.name) == (WAIT, "Running")
    assert answer.details.delay_seconds
    thread.join(LIMIT)
    assert stopped.is_set()
    final = client.read_flow_run(run.id).state
    assert (final.name, final.message) == ("Cancelled", "enough")


@pytest.mark.parametrize("force", [False, True])
def test_a_run_is_taken_from_its_process(force: bool) -> None:
    """Any other state, or force, takes the run away from its process, which is refused what it makes of it."""
    go = threading.Event()
    raised: list[BaseException] = []

    @task
    def slow() -> int:
        go.wait(LIMIT)
        return 1

    def call() -> None:
        try:
            slow()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    client = get_client()
    (run,) = until(lambda: client.read_task_runs(states=["RUNNING"]))
    state = Cancelled(message="settled") if force else Failed(message="settled")
    assert client.set_task_run_state(run.id, state, force=force).status is ACCEPT
    go.set()
    thread.join(LIMIT)
    assert [type(error) for error in raised] == [SupersededRun]
    assert names(client.read_task_run_states(run.id)) == ["Pending", "Running", state.name]


@pytest.mark.invariants(by_hand=True)
def test_states_of_subflow_runs() -> None:
    """A subflow run and the task run that stands for it show the same, whichever of them a state is proposed for."""

    @flow
    def outer() -> State:
        return summary(return_state=True)

    outer()
    client = get_client()
    (stand_in,) = client.read_task_runs(task_run_filter={"subflow_runs": {"exists_": True}})
    (subflow,) = client.read_flow_runs(parent_task_run_ids=[stand_in.id])
    assert client.set_task_run_state(stand_in.id, Failed(message="no"), force=True).status is ACCEPT
    assert client.read_flow_run(subflow.id).state.message == "no"
    assert client.read_task_run(stand_in.id).state_type is StateType.COMPLETED  # it was over


@pytest.mark.invariants(by_hand=True, is_over=False)
def test_an_open_subflow_run_is_mirrored() -> None:
    """The task run that stands for a subflow run enters what that is set to."""
    client = get_client()
    around = client.create_flow_run("outer")
    stand_in = client.create_task_run(report, around.id, "1", state=Running())
    subflow = client.create_flow_run("inner", parent_task_run_id=stand_in.id)
    client.set_flow_run_state(subflow.id, Failed(message="gone"))
    mirrored = client.read_task_run(stand_in.id).state
    assert (mirrored.name, mirrored.message) == ("Failed", "gone")


def test_two_at_once() -> None:
    """Of many who propose the end of a run at once, one is accepted, and the others are told that it is over."""
    client = get_client()
    run = client.create_flow_run("contested", state=Running())
    answers: list[SetStateStatus] = []

    def propose() -> None:
        answers.append(client.set_flow_run_state(run.id, Completed()).status)

    threads = [threading.Thread(target=propose) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert sorted(answers) == sorted([ACCEPT, *[ABORT] * 7])
    assert names(client.read_flow_run_states(run.id)) == ["Pending", "Running", "Completed"]


# Deleting


@pytest.mark.contract("CL-11", "CL-17")
def test_deleted_flow_run() -> None:
    """A flow run goes with its states, logs, task runs and subflow runs, and nothing else goes."""

    @flow
    def outer() -> list[bool]:
        summary()
        return nightly(4)

    outer()
    summary()
    client = get_client()
    (top,) = [run for run in client.read_flow_runs(top_level=True) if run.flow_name == "outer"]
    inside: list[FlowRun | TaskRun] = [*client.read_flow_runs(), *client.read_task_runs()]
    client.delete_flow_run(str(top.id))
    (left,) = client.read_flow_runs()
    (task_run,) = client.read_task_runs()
    assert task_run.flow_run_id == left.id
    gone = [run for run in inside if run.id not in (left.id, task_run.id)]
    assert len(gone) == 10
    for run in gone:
        assert client.store.read_states(run.key) == []
        assert client.read_logs(run.id) == []
    with pytest.raises(ObjectNotFound):
        client.delete_flow_run(top.id)


@pytest.mark.contract("CL-17")
def test_deleted_task_run() -> None:
    """A task run of a flow run that is over can be deleted alone; no flow run has its id."""
    summary()
    client = get_client()
    (run,) = client.read_task_runs()
    with pytest.raises(ObjectNotFound):
        client.delete_flow_run(run.id)
    client.delete_task_run(run.id)
    assert client.read_task_runs() == []
    assert len(client.read_flow_runs()) == 1
    with pytest.raises(ObjectNotFound):
        client.delete_task_run(run.id)


def test_runs_that_go_on_are_not_deleted() -> None:
    """A run that goes on is left alone, and the error says what to do."""
    client = get_client()
    refused: list[str] = []

    @flow
    def busy() -> None:
        (run,) = until(lambda: client.read_flow_runs(states=["RUNNING"]))
        with pytest.raises(NotDeletable) as error:
            client.delete_flow_run(run.id)
        refused.append(str(error.value))

    busy()
    assert "Cancel it" in refused[0]
    (run,) = client.read_flow_runs()
    assert run.state.is_completed()
    client.delete_flow_run(run.id)
    assert client.read_flow_runs() == []


def test_created_runs_are_deleted() -> None:
    """A run that nobody has begun can be deleted."""
    client = get_client()
    run = client.create_flow_run("never")
    client.delete_flow_run(run.id)
    assert client.read_flow_runs() == []


@pytest.mark.contract("CL-29")
def test_async_changing() -> None:
    """The async client changes the same things."""

    async def change() -> UUID:
        client = get_client(sync_client=False)
        run = await client.create_flow_run("by-hand", id=uuid4(), tags=["a"])
        await client.set_flow_run_name(run.id, "named")
        answer = await client.set_flow_run_state(run.id, Failed(), force=True)
        assert answer.status is ACCEPT
        task_run = await client.create_task_run(report, run.id, "1")
        await client.delete_task_run(task_run.id)
        await client.update_flow_run(run.id, tags=["b"])
        return run.id

    found = get_client().read_flow_run(asyncio.run(change()))
    assert (found.name, found.tags, found.state_name) == ("named", {"b"}, "Failed")
