"""What no seed decides is named, with the line in which it is, or refused; what a seed does decide is no worry."""

import _thread
import datetime
import os
import random
import socket
import subprocess
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.testing import NO_FAULTS, Simulation, SimulationError, SimulationWarning, simulate


@pytest.fixture(autouse=True)
def kept_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failing simulations leave is removed with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def line_of(text: str) -> str:
    """Where this module has a line with such an end."""
    lines = Path(__file__).read_text().splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if line.endswith(f" {text}") and "#" in line]
    return f"{__file__}:{number}"


@task
def stamp() -> int:
    return datetime.datetime.now(datetime.UTC).year  # the clock of datetime


@flow
def stamped() -> int:
    return stamp()


def test_clock_of_datetime_is_named() -> None:
    """A flow that reads the clock of ``datetime`` works, and is told where it does so."""
    with pytest.warns(SimulationWarning, match="reads the real clock by datetime.now") as told:
        simulate(stamped, seed=0, faults=NO_FAULTS)
    assert [each.message.args[0].split(" in ")[0] for each in told] == [line_of("the clock of datetime")]
    assert told[0].filename == __file__


@flow
def dated() -> int:
    return time.gmtime().tm_year + datetime.date.today().year  # noqa: DTZ011 - other clocks


def test_other_real_clocks_are_named() -> None:
    """So are those of ``date`` and of C."""
    with pytest.warns(SimulationWarning) as told:
        simulate(dated, seed=0, faults=NO_FAULTS)
    messages = [each.message.args[0] for each in told]
    assert all(line_of("other clocks") in message for message in messages)
    assert {"time.gmtime()" in message for message in messages} == {True, False}
    assert {"date.today()" in message for message in messages} == {True, False}


@task
def shell() -> int:
    return subprocess.run(["true"], check=False).returncode  # the process


@flow
def shelling() -> int:
    return shell()


def test_processes_are_refused() -> None:
    """A flow that starts a process cannot be simulated, and is told where and what to do."""
    with pytest.raises(
        SimulationError, match="starts a process, which a simulation has no power over"
    ) as raised:
        simulate(shelling, seed=0)
    assert line_of("the process") in str(raised.value)
    assert "mainspring.testing.override" in str(raised.value)


@flow(task_runner="processes=1")
def in_a_worker() -> int:
    return stamp.submit().result()


@task(isolation="process")
def isolated() -> int:
    return 1


@flow
def isolating() -> int:
    return isolated()


@pytest.mark.parametrize("kind", [in_a_worker, isolating], ids=lambda each: each.__name__)
def test_processes_for_tasks_are_refused(kind: Any) -> None:
    """So are worker processes and isolated tasks."""
    with pytest.raises(SimulationError, match="starts a process, which a simulation has no power over"):
        simulate(kind, seed=0)


@flow
def calling() -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect("nobody.socket")  # the socket
        except FileNotFoundError:
            return "nobody is there"
    return "somebody is there"


def test_sockets_are_named() -> None:
    """A flow that talks to others works, and is told where it does so."""
    with pytest.warns(SimulationWarning, match="by a socket: no seed decides what comes back") as told:
        assert simulate(calling, seed=0, faults=NO_FAULTS).value == "nobody is there"
    assert line_of("the socket") in str(told[0].message)


@flow
def drawing() -> tuple[float, ...]:
    system = random.SystemRandom()
    return random.random(), system.random(), random.Random().random(), *os.urandom(4), time.time()


def test_chance_of_the_flow_is_the_seed() -> None:
    """Random numbers of the flow are decided by the seed, from wherever they come."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*is not compared")
        values = [simulate(drawing, seed=seed, faults=NO_FAULTS, verify=True).value for seed in (1, 1, 2)]
    assert values[0] == values[1]
    assert values[0] != values[2]


@flow
def drawing_with_numpy() -> float:
    import numpy as np

    return float(np.random.default_rng().random() + np.random.rand())


@pytest.mark.filterwarnings("ignore:.*is not compared")
def test_chance_of_numpy_is_the_seed() -> None:
    """So is that of numpy, which asks the system for a seed."""
    pytest.importorskip("numpy")
    import numpy as np

    first = simulate(drawing_with_numpy, seed=1, faults=NO_FAULTS)
    np.random.rand()
    assert simulate(drawing_with_numpy, seed=1, faults=NO_FAULTS).value == first.value


@flow
def drawing_itself() -> float:
    random.seed()
    return random.random()


@pytest.mark.filterwarnings("ignore:.*is not compared")
def test_seeding_anew_is_decided_by_the_seed() -> None:
    """So is what a flow draws after it has seeded its generator from the system."""
    assert len({simulate(drawing_itself, seed=seed, faults=NO_FAULTS).value for seed in (1, 1, 2)}) == 2


@flow
def reading(path: str) -> str:
    return Path(path).read_text()


def test_value_that_the_seed_does_not_decide_is_found(tmp_path: Path) -> None:
    """With ``verify``, a flow that returns another value the second time is found, though its course is the same."""
    path = tmp_path / "value"
    path.write_text("0")

    def change(simulation: Simulation) -> None:
        path.write_text(path.read_text() + "0")

    with pytest.raises(SimulationError, match="the same seed gave two values"):
        simulate(reading, seed=0, args=[str(path)], faults=NO_FAULTS, verify=True, check=change)


@flow
def threading_itself() -> list[int]:
    lock = threading.Lock()
    order: list[int] = []

    def work(number: int) -> None:
        for _ in range(3):
            with lock:
                order.append(number)
            time.sleep(random.random())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return order


@pytest.mark.filterwarnings("ignore:.*is not compared")
def test_own_threads_are_simulated() -> None:
    """Threads that a flow begins itself run as the seed says, and nothing is told of them."""
    orders = {tuple(simulate(threading_itself, seed=seed, faults=NO_FAULTS).value) for seed in (1, 1, 2)}
    assert len(orders) == 2


@flow
def computing() -> None:
    while True:  # it computes
        pass


@flow
def waiting_for_a_real_lock() -> None:
    lock = _thread.allocate_lock()
    lock.acquire()
    lock.acquire()  # it waits


@pytest.mark.parametrize("stuck", [computing, waiting_for_a_real_lock], ids=lambda each: each.__name__)
def test_what_does_not_come_back_is_told(stuck: Any) -> None:
    """A flow that computes for ever, or waits for what is not simulated, is told with the line in which it is."""
    with pytest.raises(SimulationError, match="has not come back for 1 seconds") as raised:
        simulate(stuck, seed=0, patience=6)
    assert f"in {stuck.__name__}" in str(raised.value)
    assert __file__ in str(raised.value)


@flow
def waiting_for_nothing() -> None:
    threading.Event().wait()  # godot


def test_deadlock_is_told_at_once() -> None:
    """A flow that waits for what nobody will do is told so, with the line in which it waits."""
    begun = time.monotonic()
    with pytest.raises(SimulationError, match="Nobody can go on") as raised:
        simulate(waiting_for_nothing, seed=0)
    assert line_of("godot") in str(raised.value)
    assert time.monotonic() - begun < 60


@flow
def counting_calls(path: str) -> int:
    with Path(path).open("a") as file:
        file.write(".")
    time.sleep(Path(path).stat().st_size)
    return 0


def test_course_that_the_seed_does_not_decide_is_found(tmp_path: Path) -> None:
    """With ``verify``, a flow that does as a file outside says is found, with the first line that is different."""
    with pytest.raises(SimulationError, match="the same seed took two courses") as raised:
        simulate(counting_calls, seed=0, args=[str(tmp_path / "calls")], faults=NO_FAULTS, verify=True)
    assert "Look for: what is not simulated." in str(raised.value)


@flow
def sleeping_by_the_clock() -> int:
    time.sleep(1 + datetime.datetime.now(datetime.UTC).timestamp() % 1000)  # the culprit
    return 0


def test_culprit_of_a_course_is_named() -> None:
    """With ``verify``, what the flow takes from outside is named where its course differs."""
    with (
        pytest.warns(SimulationWarning, match="reads the real clock"),
        pytest.raises(SimulationError, match="the same seed took two courses") as raised,
    ):
        simulate(sleeping_by_the_clock, seed=0, faults=NO_FAULTS, verify=True)
    assert line_of("the culprit") in str(raised.value)


@pytest.mark.filterwarnings("ignore:.*is not compared")
def test_watching_ends_with_the_simulation() -> None:
    """After a simulation the process of the test may do what the flow may not."""
    simulate(drawing, seed=0, faults=NO_FAULTS)
    assert subprocess.run(["true"], check=False).returncode == 0
