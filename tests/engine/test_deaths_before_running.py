"""Flow runs whose process dies before they begin: what is recorded of them is true."""

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from mainspring import flow, points, resume_flow_run
from mainspring.exceptions import NotResumable
from mainspring.recording import current_recorder
from mainspring.store.sql.writing import Writing
from mainspring.testing.children import die, run_in_child
from mainspring.testing.lives import finished
from tests.engine.history import flow_runs, states_of

PATIENCE = 20.0

is_on_disk = threading.Event()


def watch(name: str, about: Any) -> None:
    """Notes that the history of a run has begun on disk."""
    if name != "store.committed" or not isinstance(about, tuple):
        return
    if any(isinstance(each, Writing) and each.changes for each in cast(Any, about)[1]):
        is_on_disk.set()


class Deadly:
    """An argument whose process dies when it is to be kept, after the background thread had its turn."""

    def __reduce__(self) -> Any:
        assert is_on_disk.wait(PATIENCE)
        die()


@flow(persist_result=True)
def taking(argument: object) -> None: ...


@flow(persist_result=True)
async def taking_async(argument: object) -> None: ...


@pytest.mark.parametrize("called", [taking, taking_async], ids=["sync", "async"])
@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["history", "folder"])
def test_a_run_is_not_resumable_before_its_parameters_are_kept(
    called: Any, is_elsewhere: bool, tmp_path: Path
) -> None:
    """A run whose process dies while it keeps the arguments is recorded as one that ended before it began."""
    if is_elsewhere:
        called = called.with_options(result_storage=str(tmp_path / "results"))

    def run() -> None:
        points.observer = watch
        finished(called(Deadly()))

    ending = run_in_child(run)
    assert ending.was_killed, ending

    store = current_recorder().store
    store.settle_dead_owners()
    (recorded,) = flow_runs()
    assert [state.name for state in states_of(recorded)] == ["Pending", "Crashed"]
    assert store.read_resumptions([recorded.key]) == {}
    with pytest.raises(NotResumable, match="ended before it began"):
        resume_flow_run(recorded.id, flow=called)
