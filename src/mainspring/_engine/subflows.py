"""The runs of subflows that earlier attempts of a flow run have made."""

from __future__ import annotations

from mainspring._core.steps import Steps
from mainspring.recording import Recorder
from mainspring.runs import FlowRun
from mainspring.store.protocol import RunFilter

__all__ = ["earlier_runs"]


def earlier_runs(steps: Steps, parent: FlowRun, recorder: Recorder) -> dict[str, FlowRun]:
    """The newest run of each subflow that ``parent`` has called so far, by its step; read once for each attempt.

    Args:
        steps: Those of the attempt.
        parent: The flow run.
        recorder: Where its history goes.
    """
    if steps.earlier is None:
        recorder.flush()
        runs = recorder.store.read_flow_runs(RunFilter(flow_run_keys=[parent.key]))
        known = recorder.store.read_resumptions([run.key for run in runs])
        steps.earlier = {}
        for run in reversed(runs):  # the newest comes first, and is to win
            run.resumption = known.get(run.key)
            if run.resumption is not None and run.resumption.step is not None:
                steps.earlier[run.resumption.step] = run
    return steps.earlier
