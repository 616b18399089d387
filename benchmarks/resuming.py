"""Going on with a flow run that has failed after all of its steps: each is answered from what it returned."""

from __future__ import annotations

from benchmarks.cases import Case, Family, Turn, step
from benchmarks.logs import silence
from benchmarks.measuring import seconds_of
from mainspring import Flow, flow, get_client, resume_flow_run
from mainspring.filters import ALL

STEPS = 1_000


@flow(persist_result=True)
def breaking(steps: int) -> None:
    """A flow that does its steps and fails at its end, each time."""
    for number in range(steps):
        step(number)
    raise ConnectionError("so near")


@flow(persist_result=True)
def breaking_map(steps: int) -> None:
    """The same with a map."""
    step.map(range(steps)).wait()
    raise ConnectionError("so near")


def resumed(turn: Turn, which: Flow[[int], None] = breaking) -> float:
    """Seconds per step of a flow run that is gone on with."""
    run = which(turn.calls, return_state=True).state_details.flow_run_id
    assert run is not None
    seconds = seconds_of(lambda: resume_flow_run(run, flow=which, return_state=True))
    found = get_client().read_task_runs([run], states=["Cached"], limit=ALL)
    assert len(found) == turn.calls, "a resumed flow run does nothing twice"
    return seconds / turn.calls


FAMILY = Family(
    (
        Case("resume, per step", resumed, at_most=STEPS),
        Case("resume of a map, per element", lambda turn: resumed(turn, breaking_map), at_most=STEPS),
    ),
    around=silence,
)
