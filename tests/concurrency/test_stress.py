"""Many threads, tasks and processes at one limit: never too many at a time, and nobody waits for the dead."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mainspring import clock
from mainspring.client import Client
from mainspring.concurrency import asyncio as async_form
from mainspring.concurrency import sync as sync_form
from tests.concurrency.usage import in_use, running, wait_for

ROOT = Path(__file__).parents[2]
LIMIT = 3


class Journal:
    """Who entered and left, written by everybody to the end of one file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.path = path

    def write(self, slots: int) -> None:
        """Note that so many slots were entered or, if negative, are about to be left."""
        os.write(self._file, f"{slots:+d}\n".encode())

    def most(self) -> tuple[int, int]:
        """The most slots that were held at a time, and how many blocks there were."""
        steps = [int(line) for line in self.path.read_text().split()]
        held = most = 0
        for step in steps:
            held += step
            most = max(most, held)
        assert held == 0
        return most, len(steps) // 2


@pytest.fixture
def journal(tmp_path: Path, client: Client) -> Iterator[Journal]:
    """A journal, of a limit "db"."""
    client.create_or_update_concurrency_limit("db", LIMIT)
    journal = Journal(tmp_path / "journal")
    yield journal
    os.close(journal._file)


def check(journal: Journal, blocks: int) -> None:
    most, count = journal.most()
    assert count == blocks
    assert most <= LIMIT
    assert in_use("db") == 0


@pytest.mark.slow
@pytest.mark.contract("CC-4", "CC-8", "CC-16")
def test_threads(journal: Journal) -> None:
    """Threads that take one to three slots are never more than the limit allows, and all get their turn."""

    def work() -> None:
        for _ in range(15):
            slots = random.randint(1, LIMIT)
            with sync_form.concurrency("db", slots):
                journal.write(slots)
                clock.current().sleep(random.random() / 1000)
                journal.write(-slots)

    with running(*[work] * 12):
        pass
    check(journal, 180)


@pytest.mark.slow
@pytest.mark.contract("CC-4", "CC-8", "CC-34")
def test_asyncio_tasks(journal: Journal) -> None:
    """The same for asyncio tasks, a third of which are cancelled at some time."""
    blocks = 0

    async def work() -> None:
        nonlocal blocks
        for _ in range(5):
            slots = random.randint(1, LIMIT)
            async with async_form.concurrency("db", slots):
                journal.write(slots)
                blocks += 1
                try:
                    await asyncio.sleep(random.random() / 1000)
                finally:
                    journal.write(-slots)

    async def main() -> None:
        tasks = [asyncio.create_task(work()) for _ in range(30)]
        for task in tasks[::3]:
            await asyncio.sleep(random.random() / 100)
            task.cancel()
        await asyncio.wait(tasks)
        assert not [task for task in tasks if not task.cancelled() and task.exception()]

    asyncio.run(main())
    check(journal, blocks)


def start(home: Path, script: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process with the same run store; what it prints can be read."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "MAINSPRING_HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def child(home: Path, script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """`start`, killed at the end of the block."""
    with start(home, script, *arguments) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.contract("CC-4", "CC-8", "CC-16")
def test_processes(journal: Journal, mainspring_home: Path) -> None:
    """The same for threads and asyncio tasks in several processes."""
    script = """
    import asyncio, sys, threading
    from pathlib import Path
    from tests.concurrency.test_stress import Journal, async_form, sync_form

    journal = Journal(Path(sys.argv[1]))

    def work():
        for slots in (1, 2, 1, 3, 1):
            with sync_form.concurrency("db", slots):
                journal.write(slots)
                journal.write(-slots)

    async def awork():
        for slots in (1, 2, 1, 3, 1):
            async with async_form.concurrency("db", slots):
                journal.write(slots)
                await asyncio.sleep(0)
                journal.write(-slots)

    async def main():
        await asyncio.gather(*[awork() for _ in range(3)])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    asyncio.run(main())
    for thread in threads:
        thread.join()
    """
    processes = [start(mainspring_home, script, journal.path) for _ in range(4)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    check(journal, 4 * 6 * 5)


HOLDER = """
import sys
from mainspring.concurrency.sync import concurrency
with concurrency("db", int(sys.argv[1]), lease_duration=86_400):
    print("inside", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.slow
@pytest.mark.contract("CC-44", "CC-32")
@pytest.mark.parametrize("reads", [False, True])
def test_killed_holder_frees_its_slots(journal: Journal, mainspring_home: Path, reads: bool) -> None:
    """The slots of a process that was killed are free, and shown as free, long before its lease runs out."""
    with child(mainspring_home, HOLDER, LIMIT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        assert in_use("db") == LIMIT
        with pytest.raises(TimeoutError), sync_form.concurrency("db", timeout_seconds=0.01):
            pytest.fail("was not to get in")
        process.send_signal(signal.SIGKILL)
        process.wait()
        if reads:
            assert in_use("db") == 0
        with sync_form.concurrency("db", LIMIT, timeout_seconds=0):
            pass


@pytest.mark.slow
@pytest.mark.contract("CC-44")
def test_killed_holder_lets_waiters_in(journal: Journal, client: Client, mainspring_home: Path) -> None:
    """Somebody who was waiting already finds out by himself that the holder was killed."""
    with child(mainspring_home, HOLDER, LIMIT) as process:
        assert process.stdout is not None
        process.stdout.readline()

        def work() -> None:
            with sync_form.concurrency("db", timeout_seconds=30):
                pass

        with running(work):
            wait_for(lambda: client.store.read_limits(["db"])[0].denied_slots)
            process.kill()


@pytest.mark.slow
@pytest.mark.contract("CC-44")
def test_killed_waiter_is_in_nobodys_way(journal: Journal, client: Client, mainspring_home: Path) -> None:
    """The place in the queue of a process that was killed is not kept."""
    with sync_form.concurrency("db"), child(mainspring_home, HOLDER, LIMIT) as process:
        wait_for(lambda: client.store.read_limits(["db"])[0].denied_slots)
        process.kill()
        process.wait()
        with sync_form.concurrency("db", timeout_seconds=30):
            pass


@pytest.mark.slow
@pytest.mark.contract("CC-45")
def test_release_in_another_process_is_noticed(journal: Journal, mainspring_home: Path) -> None:
    """Slots that another process releases are soon taken by who waits here."""
    with child(mainspring_home, HOLDER, LIMIT) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()

        def work() -> None:
            with sync_form.concurrency("db", timeout_seconds=30):
                pass

        with running(work):
            process.stdin.close()
            assert process.wait() == 0


@pytest.mark.slow
def test_forked_child_leaves_the_parents_slots_alone(client: Client, mainspring_home: Path) -> None:
    """A forked child that leaves the block gives nothing back, and takes slots of its own."""
    client.create_or_update_concurrency_limit("db", LIMIT)
    script = """
    import os
    from mainspring.client import get_client
    from mainspring.concurrency.sync import concurrency
    with concurrency("db"):
        pid = os.fork()
        if pid:
            assert os.waitpid(pid, 0)[1] == 0
            assert get_client().read_concurrency_limit("db").active_slots == 1
    if not pid:
        assert get_client().read_concurrency_limit("db").active_slots == 1
        with concurrency("db", 2):
            assert get_client().read_concurrency_limit("db").active_slots == 3
    """
    process = start(mainspring_home, script)
    process.communicate()
    assert process.returncode == 0
    assert in_use("db") == 0
