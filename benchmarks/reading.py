"""How soon a large history is read: lists of runs and single runs, as reads and as whole commands, in milliseconds.

The history has 10,000 flow runs of 20 flows with 100,000 task runs, of which some failed, have tags, or have logged
something; one flow run has 2,000 task runs. It is written once, by what writes all histories. The unit is a
millisecond. A read is what a command does between opening the run store and printing. A command is a process of its
own: the start of the interpreter is in it, which is the first row, and so is what Python loads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

from benchmarks.measuring import Figure, Meter
from mainspring import clock, identifiers
from mainspring._core.transitions import enter
from mainspring.cli.listing import Selection, select_runs
from mainspring.cli.trees import RunTree
from mainspring.client import Client
from mainspring.filters import ALL
from mainspring.runs import FlowRun, Run, TaskRun
from mainspring.states import State, StateType
from mainspring.store.addresses import open_store
from mainspring.store.protocol import Change, LogEntry, RunStore

__all__ = ["FLOW_RUNS", "TASK_RUNS", "build_history"]

FLOW_RUNS = 10_000
TASK_RUNS = 100_000
FLOWS = 20
WIDEST = 2_000
"""Task runs of the flow run that has the most."""

BUDGET = 100
MILLISECOND = 1e-3

SUBFLOW_EVERY = 50
"""Of so many flow runs one is a subflow run."""

_BATCH = 1_000
_NOT_PASSED_ON = ("MAINSPRING_DATABASE_URL", "PYTHONDONTWRITEBYTECODE")
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND


class History(identifiers.SystemIdSource):
    """Makes runs, and ids that fit the time that a run was made at. The same ones for each seed.

    Args:
        begin: The time of the first run, in microseconds.
    """

    def __init__(self, begin: int) -> None:
        super().__init__()
        self.seed(7)
        self.at = begin
        self.logs: list[LogEntry] = []

    def new(self) -> bytes:
        """An id of the time that the history has come to."""
        milliseconds, rest = divmod(self.at, 1_000)
        top = milliseconds << 80 | 0x7000_8000_0000_0000_0000 | (rest * 4096 // 1_000) << 64
        return (top | self._random.getrandbits(62)).to_bytes(16, "big")

    def flow_run(self, number: int, stand_in: TaskRun | None = None) -> FlowRun:
        """A flow run that has not begun; the one that a task run stands for, if one is given."""
        name = f"flow-{number % FLOWS}"
        tags = {"nightly"} if number % 3 == 0 else {"rare"} if number % 997 == 0 else ()
        parent = None if stand_in is None else stand_in.key
        return FlowRun(
            self.new(), f"{name}-{number}", self._pending(), name, "1", {"number": number}, tags, parent
        )

    def task_run(self, flow_run: FlowRun | None, name: str = "load_page") -> TaskRun:
        """A task run that has not begun."""
        key = self.new()
        around = None if flow_run is None else flow_run.key
        tags = {"net"} if self._random.random() < 0.1 else ()
        run = TaskRun(
            key,
            f"{name}-{key.hex()[-3:]}",
            self._pending(),
            f"{name}-1a2b3c4d",
            around,
            tags,
            None,
            {"page": []},
        )
        run.flow_run_run_count = 0 if flow_run is None else 1
        return run

    def ended(self, run: Run, inside: int = 0) -> Change:
        """Let a run begin and end; ``inside`` is how long ago it began, in microseconds."""
        fails = self._random.random() < 0.02
        last = StateType.FAILED if fails else StateType.COMPLETED
        entered = [run.state]
        for kind, at in ((StateType.RUNNING, self.at - inside), (last, self.at + 2_000)):
            state = State(kind, message="ValueError: no such page" if fails and kind is last else None, at=at)
            enter(run, state)
            entered.append(state)
        self.at += 2_500
        return Change(run, entered, None)

    def say(self, run: TaskRun) -> None:
        """Let a task run log a line."""
        self.logs.append(
            LogEntry(self.at, 20, "mainspring.task_runs", "page loaded", run.flow_run_key, run.key)
        )

    def _pending(self) -> State:
        return State(StateType.PENDING, at=self.at)


def changes(history: History, flow_runs: int, task_runs: int) -> Iterator[Change]:
    """Everything that is to be written, in its order."""
    widest = min(WIDEST, task_runs // 10)
    subflows = flow_runs // SUBFLOW_EVERY
    each, more = divmod(task_runs - widest - subflows, flow_runs)
    flow_run: FlowRun | None = None
    for number in range(flow_runs):
        begin = history.at
        stand_in = (
            history.task_run(flow_run, "subflow") if number % SUBFLOW_EVERY == SUBFLOW_EVERY - 1 else None
        )
        if stand_in is not None:
            yield history.ended(stand_in)
        flow_run = history.flow_run(number, stand_in)
        count = each + (number < more) + (widest if number == flow_runs // 2 else 0)
        for index in range(count):
            # one in a hundred is outside of flows
            run = history.task_run(None if index == 0 and number % 10 == 0 else flow_run)
            yield history.ended(run)
            if index == 1:
                history.say(run)
        yield history.ended(flow_run, history.at - begin)
        history.at += 100 * _DAY // flow_runs


def build_history(store: RunStore, flow_runs: int = FLOW_RUNS, task_runs: int = TASK_RUNS) -> None:
    """Write a history of the last hundred days into an empty store."""
    history = History(clock.current().now() - 101 * _DAY)
    with identifiers.use_id_source(history):
        rest = changes(history, flow_runs, task_runs)
        while batch := list(islice(rest, _BATCH)):
            refused = store.write(batch, history.logs)
            assert not refused, "each run is new"
            history.logs.clear()


SELECTIONS = {
    "runs ls": Selection(),
    "runs ls --all": Selection(everything=True),
    "runs ls --state failed": Selection(["failed"]),
    "runs ls --state TimedOut --all": Selection(["TimedOut"], everything=True),
    "runs ls --name 1234": Selection(name="1234"),
    "runs ls --tag rare": Selection(tags=["rare"]),
    "runs ls --since 1d": Selection(since="1d"),
    "runs ls --sort ended": Selection(order="ended"),
    "runs ls --sort name": Selection(order="name"),
    "runs ls --all --name 1234": Selection(everything=True, name="1234"),
    "runs ls --all --tag rare": Selection(everything=True, tags=["rare"]),
    "runs ls --all --since 1d": Selection(everything=True, since="1d"),
    "runs ls --all --sort ended": Selection(everything=True, order="ended"),
}


def show(client: Client, run_id: str) -> None:
    """What ``runs show`` reads."""
    run = client.find_run(run_id)
    client.store.read_states(run.key)
    if isinstance(run, FlowRun):
        RunTree.read(client, run)
        client.count_task_runs([run.id])
    else:
        client.store.read_logs(run.key)


def reads(client: Client) -> Iterator[tuple[str, Callable[[], object]]]:
    """What the commands read, by what they are called."""
    for name, selection in SELECTIONS.items():
        yield name, partial(listed, client, selection)
    for name, run in examples(client).items():
        yield f"runs show, {name}", partial(show, client, identifiers.shorten(run.key))
    (newest,) = client.read_flow_runs(limit=1)
    yield "runs show, by a whole id", partial(show, client, str(newest.id))


def listed(client: Client, selection: Selection) -> None:
    """What ``runs ls`` reads."""
    runs = select_runs(client, selection)
    client.count_task_runs([run.id for run in runs if isinstance(run, FlowRun)])


def examples(client: Client) -> dict[str, Run]:
    """Runs to be shown."""
    (flow_run,), (task_run,) = client.read_flow_runs(limit=1), client.read_task_runs(limit=1)
    (stand_in,) = client.read_task_runs(names=["subflow"], limit=1) or [task_run]
    counts = client.count_task_runs([run.id for run in client.read_flow_runs(limit=ALL)])
    widest = client.read_flow_run(max(counts, key=lambda run_id: sum(counts[run_id].values())))
    return {"a flow run": flow_run, "a flow run of 2,000 task runs": widest, "a task run": stand_in}


def measure(meter: Meter, home: Path) -> list[Figure]:
    """All figures."""
    database = home / "mainspring.db"
    with closing(open_store(database)) as store:
        if not database.exists() or not Client(store).read_flow_runs(limit=1):
            scale = 1 if meter.calls == Meter().calls else 100
            build_history(store, FLOW_RUNS // scale, TASK_RUNS // scale)
        client = Client(store)
        figures = [
            Figure(f"read: {name}", meter.best(read), MILLISECOND, BUDGET) for name, read in reads(client)
        ]
        ids = {name: identifiers.shorten(run.key) for name, run in examples(client).items()}
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    environment["MAINSPRING_HOME"] = str(home)
    commands = {words: words for words in ("runs ls", "runs ls --json", "runs ls --all --sort ended")}
    commands.update({f"runs show, {name}": f"runs show {short}" for name, short in ids.items()})
    bare = partial(start, ["-c", "pass"], environment)
    figures.insert(0, Figure("bare interpreter", meter.best(bare), MILLISECOND))
    for name, words in commands.items():
        run = partial(start, ["-m", "mainspring", *words.split()], environment)
        run()  # after which all modules are compiled
        figures.append(Figure(f"command: {name}", meter.best(run), MILLISECOND, BUDGET))
    return figures


def start(arguments: list[str], environment: dict[str, str]) -> None:
    """Run Python to its end."""
    subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)
