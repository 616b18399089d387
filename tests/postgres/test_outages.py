"""The server is away, for a moment or for long."""

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
import pytest

from mainspring import flow, task
from mainspring._interruption import Interruption, interrupt
from mainspring.exceptions import StoreUnavailable
from mainspring.recording import Recorder, use_recorder
from mainspring.store import LogEntry, RunFilter, SlotRequest
from mainspring.store.postgres import store as store_module
from mainspring.store.postgres.connections import MOST_CONNECTIONS
from mainspring.timeouts import timeout
from tests.postgres.conftest import Open
from tests.postgres.proxy import Proxy
from tests.store.histories import COMPLETED, NOON, RUNNING, advance, new_flow_run, new_task_run, record

PATIENCE = 20.0


@task
def add(x: int) -> int:
    return x + 1


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_calls_wait_for_the_server(proxy: Proxy, opened: Open) -> None:
    """What is asked of a store while the server is away is answered when it is back: reading, writing, locks."""
    store = opened(proxy.url)
    run = new_task_run()
    record(store, advance(run, RUNNING))
    done: list[str] = []
    work = {
        "read": lambda: store.read_run(run.key),
        "write": lambda: record(store, advance(run, COMPLETED)),
        "lock": lambda: store.take_lock("k", "me", NOON, None),
    }
    proxy.cut()
    threads = []
    for name, call in work.items():

        def do(name: str = name, call: Callable[[], object] = call) -> None:
            call()
            done.append(name)

        threads.append(threading.Thread(target=do))
        threads[-1].start()
    time.sleep(0.2)
    assert done == []
    proxy.mend()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(done) == sorted(work)
    assert store.read_states(run.key)[-1].type is COMPLETED


def test_a_server_that_stays_away(
    proxy: Proxy, opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a while calls end with an error that says which server is away, without the password, and what to do."""
    monkeypatch.setattr(store_module, "BUSY_SECONDS", 0.2)
    url = proxy.url.replace("postgres:@", "postgres:s3cret@")
    store = opened(url)
    record(store, advance(new_task_run(), RUNNING))
    proxy.cut()
    for call in (lambda: store.read_logs(b""), lambda: store.take_lock("k", "me", NOON, None)):
        with pytest.raises(StoreUnavailable, match=r"cannot be reached.*MAINSPRING_DATABASE_URL") as caught:
            call()
        assert f"127.0.0.1:{proxy.port}" in str(caught.value)
        assert "s3cret" not in str(caught.value)
    assert "s3cret" not in caplog.text + repr(store) + store.address
    proxy.mend()


def test_nothing_is_lost(proxy: Proxy, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that ends while the server is away raises; its history is written once the server is back."""
    monkeypatch.setattr(store_module, "BUSY_SECONDS", 0.2)
    store = opened(proxy.url)
    recorder = Recorder(store)
    with use_recorder(recorder):
        assert add(1) == 2
        proxy.cut()
        with pytest.raises(StoreUnavailable):
            add(2)
        proxy.mend()
        assert add(3) == 4
    recorder.flush()
    runs = store.read_task_runs(RunFilter())
    assert len(runs) == 3
    assert all(run.state.is_final() for run in runs)
    recorder.close()


def test_runs_go_on_while_connections_break(proxy: Proxy, opened: Open) -> None:
    """A flow whose connections break again and again finishes; each of its tasks is recorded once."""
    store = opened(proxy.url)
    recorder = Recorder(store)
    stop = threading.Event()

    def break_it() -> None:
        while not stop.wait(0.3):
            proxy.drop()

    @flow
    def many() -> int:
        futures = add.map(range(100))
        return sum(add(number) for number in range(60)) + sum(futures.result())

    breaker = threading.Thread(target=break_it)
    breaker.start()
    try:
        with use_recorder(recorder):
            assert many() == sum(range(1, 61)) + sum(range(1, 101))
    finally:
        stop.set()
        breaker.join()
    recorder.close()
    with psycopg.connect(store.url) as db:
        row = db.execute(
            "SELECT count(*), count(*) FILTER (WHERE state_type = 'COMPLETED') FROM task_runs"
        ).fetchone()
        assert row == (160, 160)
        row = db.execute("SELECT count(*) FROM states WHERE type IN ('COMPLETED')").fetchone()
        assert row == (161,)


def test_the_server_ends_all_connections(url: str, opened: Open) -> None:
    """Connections that an administrator ends, or a restart, are replaced by others without a word."""
    named = (
        f"{url}{'&' if '?' in url else '?'}application_name=to-be-ended"  # those of other tests are to stay
    )
    store = opened(named)
    for _ in range(3):
        run = new_task_run()
        record(store, advance(run, RUNNING))
        with psycopg.connect(url, autocommit=True) as db:
            ended = db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'to-be-ended'"
            ).fetchall()
            assert ended
        record(store, advance(run, COMPLETED))
        assert store.read_run(run.key) is not None


def test_a_process_that_stands_still_in_a_transaction(url: str, opened: Open) -> None:
    """The server ends a transaction of a process that was stopped, so nobody waits for it for ever."""
    store = opened(url)
    with store._connections.borrowed() as connection:
        row = connection.execute("SHOW idle_in_transaction_session_timeout").fetchone()
        assert row == ("10s",)
        connection.execute("SET idle_in_transaction_session_timeout = '50ms'")
        record(store, advance(new_task_run(), RUNNING))
    entered = 0

    def stand_still(cursor: object, owner: int | None) -> str:
        nonlocal entered
        entered += 1
        cursor.execute("SELECT 1").fetchone()  # type: ignore[attr-defined]
        if entered == 1:
            time.sleep(0.5)
        return "done"

    assert store._transact(stand_still) == "done"
    assert entered == 2


# Exceptions that strike anywhere


def use_all_connections(store: store_module.PostgresRunStore) -> None:
    """Have as many connections in use at once as there may be."""
    barrier = threading.Barrier(MOST_CONNECTIONS)
    failures: list[BaseException] = []

    def use() -> None:
        try:
            with store._connections.borrowed() as connection:
                barrier.wait(PATIENCE)
                assert connection.execute("SELECT 1").fetchone() == (1,)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(MOST_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    assert failures == []


def test_interrupts_in_the_middle_of_calls(url: str, opened: Open) -> None:
    """After many interrupts at any moment the store works, and has each run and each line once."""
    store = opened(url)
    interrupted = 0
    written: list[bytes] = []
    inside = False
    stop = threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def handle(*_: object) -> None:
        nonlocal inside
        if inside:
            inside = False
            raise KeyboardInterrupt

    def strike() -> None:
        pause = 0.001
        while not stop.wait(pause):
            pause = 0.001 + (pause * 1.7) % 0.02
            signal.pthread_kill(main, signal.SIGINT)

    before = signal.signal(signal.SIGINT, handle)
    striker = threading.Thread(target=strike)
    striker.start()
    try:
        while interrupted < 30:
            run = new_task_run()
            change = advance(run, RUNNING, COMPLETED)
            try:
                inside = True
                store.write([change])
                inside = False
            except KeyboardInterrupt:
                interrupted += 1
                store.write([change])  # as its recorder does
            written.append(run.key)
            store.read_run(run.key)
    finally:
        stop.set()
        striker.join()
        signal.signal(signal.SIGINT, before)
    use_all_connections(store)
    for key in written:
        assert len(store.read_states(key)) == 3


def test_interruptions_of_a_thread(url: str, opened: Open) -> None:
    """The same for exceptions that are sent to a thread."""
    store = opened(url)
    written: list[bytes] = []
    interrupted = 0
    done = threading.Event()

    def work() -> None:
        nonlocal interrupted
        while not done.is_set():
            try:
                request = SlotRequest(new_task_run().key, ["db"], 1, 10**12)
                run = new_flow_run()
                store.write([advance(run, RUNNING)])
                written.append(run.key)
                store.take_slots(request, NOON, None)
                store.release_slots(request.lease_key, NOON, 1.0)
            except Interruption:
                interrupted += 1

    store.write_limit("db", 10_000, True, 0)
    worker = threading.Thread(target=work)
    worker.start()
    assert worker.ident is not None
    while interrupted < 30 and worker.is_alive():
        interrupt(worker.ident)
        time.sleep(0.003)
    done.set()
    worker.join(PATIENCE)
    assert not worker.is_alive()
    use_all_connections(store)
    for key in written:
        assert len(store.read_states(key)) == 2


def test_a_time_limit_in_the_middle_of_a_call(url: str, opened: Open) -> None:
    """A time limit that ends a wait for the server leaves the store usable."""
    store = opened(url)
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE locks")
        for _ in range(3):
            with pytest.raises(TimeoutError), timeout(seconds=0.2):
                store.take_lock("k", "me", NOON, None)
        other.rollback()
    assert store.take_lock("k", "you", NOON, None) is None
    use_all_connections(store)


def test_lines_after_an_interrupted_write(url: str, opened: Open) -> None:
    """What was buffered when a write was interrupted after its commit is written once."""
    store = opened(url)
    recorder = Recorder(store)
    record(store, advance(new_task_run(), RUNNING))
    original = store._transact_once

    def interrupted(*args: object, **kwargs: object) -> object:
        original(*args, **kwargs)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    key = new_task_run().key
    store._transact_once = interrupted  # type: ignore[method-assign,assignment]
    recorder.log(LogEntry(NOON, 20, "log", "once", None, key))
    with suppress(KeyboardInterrupt):
        recorder.flush()
    store._transact_once = original  # type: ignore[method-assign]
    recorder.flush()
    recorder.close()
    with psycopg.connect(url) as db:
        assert db.execute("SELECT count(*) FROM logs").fetchone() == (1,)


# Forks and threads


def in_child(work: Callable[[], object]) -> None:
    """Call a function in a forked child; it must not raise there."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os.write(writer, b"ok")
        finally:
            os._exit(0)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], 2 * PATIENCE)
    told = os.read(reader, 2) if ready else b"time"
    os.close(reader)
    if told != b"ok":
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert told == b"ok"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child(url: str, opened: Open) -> None:
    """A forked child has connections and an owner of its own; those of its parent go on."""
    store = opened(url)
    ours, theirs = new_task_run(), new_task_run()
    record(store, advance(ours, RUNNING))
    key = store._own_key()

    def work() -> None:
        record(store, advance(theirs, RUNNING))
        assert store._own_key() != key
        assert store.read_run(ours.key) is not None
        record(store, advance(theirs, COMPLETED))

    in_child(work)
    record(store, advance(ours, COMPLETED))
    assert store._own_key() == key
    with psycopg.connect(url) as db:
        rows = db.execute("SELECT DISTINCT owner_id FROM task_runs").fetchall()
        assert len(rows) == 2


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks_while_threads_write(url: str, opened: Open) -> None:
    """Children that are forked while other threads are in the middle of calls work."""
    store = opened(url)
    done = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not done.is_set():
                record(store, advance(new_task_run(), RUNNING, COMPLETED))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            in_child(lambda: record(store, advance(new_task_run(), RUNNING)))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_fifty_threads(url: str, opened: Open) -> None:
    """Fifty threads that write, read, lock and ring at once share a few connections without waiting for ever."""
    store = opened(url)
    failures: list[BaseException] = []
    store.write_limit("db", 50, True, 0)

    def work(number: int) -> None:
        try:
            for turn in range(5):
                run = new_task_run()
                record(store, advance(run, RUNNING))
                assert store.read_run(run.key) is not None
                request = SlotRequest(run.key, ["db"], 1, 10**12)
                assert store.take_slots(request, NOON, None).granted
                store.take_lock(f"{number}", f"{turn}", NOON, None)
                store.release_lock(f"{number}", f"{turn}", NOON)
                store.settle_dead_owners()
                store.release_slots(request.lease_key, NOON, 1.0)
                record(store, advance(run, COMPLETED))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []
    assert len(store._connections._all) <= MOST_CONNECTIONS
    assert store.read_limits(["db"])[0].active_slots == 0
