"""A cluster that has parcels made twice: what is recorded of a run is what one worker has made of it."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mainspring import unmapped
from mainspring._clusters.parcels import Answer, Reply, Verdict, read_letter
from mainspring._clusters.protocol import Delivery, Failure, WorkerLost
from mainspring._clusters.runner import ClusterTaskRunner
from mainspring._clusters.workplace import perform
from tests.deaths.processes import until
from tests.distributed import work
from tests.durability.invariants import check_store
from tests.engine.history import sequence, task_runs
from tests.runners import remote

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PATIENCE = 60


class Ticket:
    """A parcel whose values have all travelled with the answers."""

    native: Any = None

    def fetch(self) -> Reply:
        raise WorkerLost("nothing has stayed")

    def release(self) -> None:
        pass


Choice = Callable[[list["Future[Reply]"]], "Future[Reply] | None"]


class Pools:
    """A cluster of processes, each of which makes what it is given; ``choose`` says whose reply counts.

    Args:
        processes: The processes.
        copies: How many of them get each parcel.
    """

    def __init__(self, processes: Sequence[ProcessPoolExecutor], copies: int) -> None:
        self.processes = processes
        self.copies = copies
        self.parcels: list[bytes] = []
        self.choose: Choice = lambda replies: replies[0]

    def slots(self) -> int:
        return len(self.processes)

    def read_options(self) -> Mapping[str, Any]:
        return NO_OPTIONS

    def is_native(self, value: object) -> bool:
        return False

    def put(self, value: object) -> Any:
        return None

    def obstacle(self, options: Mapping[str, Any]) -> str | None:
        return None

    def send(
        self,
        parcel: bytes,
        inputs: Sequence[Any],
        options: Mapping[str, Any],
        deliver: Delivery,
        *,
        once: bool = False,
    ) -> Ticket:
        ticket = Ticket()
        self.parcels.append(parcel)
        replies = [self.perform(number, parcel) for number in range(self.copies)]
        chosen = self.choose(replies)

        def tell(reply: Future[Reply]) -> None:
            outcome: bytes | Failure = reply.result().letter if chosen else WorkerLost("It is lost.")
            deliver(ticket, outcome)

        (chosen or replies[0]).add_done_callback(tell)
        return ticket

    def perform(self, number: int, parcel: bytes) -> Future[Reply]:
        """Have one of the processes make the runs of a parcel."""
        return self.processes[number].submit(perform, parcel, ())

    def answers(self, number: int, parcel: bytes) -> Sequence[Answer]:
        """The same, and what it says of them."""
        return read_letter(self.perform(number, parcel).result(PATIENCE).letter).answers

    def close(self) -> None:
        pass


NO_OPTIONS: Mapping[str, Any] = {}


class PoolsTaskRunner(ClusterTaskRunner):
    """Runs tasks on such a cluster."""

    def __init__(self, pools: Pools) -> None:
        super().__init__()
        self.pools = pools

    def duplicate(self) -> PoolsTaskRunner:
        return PoolsTaskRunner(self.pools)

    def _connect(self) -> Pools:
        return self.pools


@pytest.fixture(scope="module")
def processes() -> Iterator[list[ProcessPoolExecutor]]:
    """Two processes that are no forks of this one."""
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        yield [stack.enter_context(ProcessPoolExecutor(1, mp_context=spawn)) for _ in range(2)]


@pytest.fixture
def pools(processes: list[ProcessPoolExecutor]) -> Pools:
    return Pools(processes, 1)


@pytest.fixture
def runner(pools: Pools, mainspring_home: Path) -> Iterator[PoolsTaskRunner]:
    with PoolsTaskRunner(pools) as runner:
        yield runner
    check_store(mainspring_home / "mainspring.db")


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("keeps", [True, False])
def test_made_again_when_it_is_over(
    runner: PoolsTaskRunner, pools: Pools, tmp_path: Path, number: int, keeps: bool
) -> None:
    """Whoever gets a parcel whose run is over answers with what is known of it; its own process still has the value."""
    noted = remote.note_and_add.with_options(persist_result=keeps)
    assert runner.submit(noted, {"folder": tmp_path, "x": 1}).result(timeout=PATIENCE) == 2
    (answer,) = pools.answers(number, pools.parcels[0])
    state, form, _ = answer.head
    expected = "record" if keeps else "none" if number else "value"
    assert (answer.verdict, state.name, form) == (Verdict.DONE, "Completed", expected)
    assert (sequence(), remote.notes(tmp_path)) == ("Pending Running Completed", ["1"])


@pytest.mark.parametrize("number", [0, 1])
def test_made_again_while_it_goes_on(
    runner: PoolsTaskRunner, pools: Pools, tmp_path: Path, number: int
) -> None:
    """Whoever gets a parcel whose run goes on says that it is taken, and changes nothing."""
    future = runner.submit(work.meet, {"folder": tmp_path, "name": "first"})
    until(lambda: "first" in work.met(tmp_path), "the run")
    second = pools.processes[number].submit(os.getpid) if number else None
    assert second is None or second.result(PATIENCE) != work.met(tmp_path)["first"]
    if number:
        (answer,) = pools.answers(number, pools.parcels[0])
        assert answer.verdict is Verdict.TAKEN
    (tmp_path / "end-first").touch()
    assert future.result(timeout=PATIENCE) == work.met(tmp_path)["first"]
    assert (sequence(), len(remote.notes(tmp_path))) == ("Pending Running Completed", 1)


def test_nobody_waits(runner: PoolsTaskRunner, pools: Pools, tmp_path: Path) -> None:
    """What comes to a worker when its runner is left does not begin."""
    assert runner.submit(remote.note_and_add, {"folder": tmp_path, "x": 1}).result(timeout=PATIENCE) == 2
    runner.cancel_all()
    (answer,) = pools.answers(1, pools.parcels[0])
    assert answer.verdict is Verdict.SKIPPED


@pytest.mark.parametrize("retries", [0, 8])
def test_parcels_that_are_made_twice_and_lost(
    runner: PoolsTaskRunner, pools: Pools, tmp_path: Path, dice: random.Random, retries: int
) -> None:
    """Whatever parcels are made twice and whatever replies are lost: no attempt is made twice, no run is lost."""

    def choose(replies: list[Future[Reply]]) -> Future[Reply] | None:
        return None if dice.random() < 0.2 else dice.choice(replies)

    pools.copies = 2
    pools.choose = choose
    parts = work.short.with_options(retries=retries)
    futures = runner.map(parts, {"folder": unmapped(tmp_path), "x": range(100)})
    futures.wait(timeout=PATIENCE)
    assert all(future.is_done() for future in futures)
    runs = {run.id: run for run in task_runs()}
    for x, future in enumerate(futures):
        run = runs[future.task_run_id]
        path = tmp_path / f"part-{x}"
        attempts = path.read_text().split() if path.exists() else []
        assert run.state_name == future.state.name
        assert run.state_name == "Completed" or not retries
        assert len(attempts) == len(set(attempts)), attempts
        assert len(attempts) <= max(run.run_count, 1)
