"""Whether results that are said to be kept can be had."""

from __future__ import annotations

from collections.abc import Iterator

from mainspring.runs import FlowRun, TaskRun
from mainspring.store.protocol import RunFilter, RunStore
from mainspring.testing.rules.facts import Facts

__all__ = ["problems"]


def problems(facts: Facts, store: RunStore) -> Iterator[str]:
    """Runs of completed flow runs that are kept, and whose results are not.

    What another run has taken over, and was then rolled back, is kept no more than there.
    """
    for flow_run in store.read_flow_runs(RunFilter(states=["COMPLETED"])):
        steps = store.read_task_runs(RunFilter(states=["COMPLETED"], flow_run_keys=[flow_run.key]))
        undone = {run.state.stored_as for run in steps if run.state_name == "RolledBack"}
        kept: list[FlowRun | TaskRun] = [flow_run, *steps]
        for run in kept:
            if not run.state.has_data or run.state.stored_as in undone:
                continue
            try:
                run.state.result()
            except Exception as error:  # whatever it is: it is the finding
                reason = f"{type(error).__name__}: {error}"
                yield f"{facts.who(run.key)} is {run.state_name}, and its result cannot be had: {reason}"
