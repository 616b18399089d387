"""A flow with retries, nested transactions, limits, a map and a subflow, with everything traced."""

from __future__ import annotations

import random
import time

from mainspring import Transaction, flow, get_run_logger, tags, task
from mainspring.client import open_client
from mainspring.concurrency.sync import concurrency
from mainspring.runtime import task_run
from mainspring.testing.traces import Trace
from mainspring.transactions import transaction

trace = Trace()


class RefusedError(Exception):
    """What the last task of the block that is rolled back raises."""


@trace.hook
def on_running(task, run, state):
    pass


@trace.hook
def on_completion(task, run, state):
    pass


@trace.hook
def on_failure(task, run, state):
    pass


@trace.hook
def undo(txn: Transaction) -> None:
    time.sleep(0.01)


@trace.hook
def settle(txn: Transaction) -> None:
    time.sleep(0.01)


@task(retries=4, retry_delay_seconds=[1, 10, 60, 600], retry_jitter_factor=0.5, on_running=[on_running])
@trace.function
def fetch(number: int) -> int:
    """Fails now and then, as a server would, and not for ever."""
    if random.random() < 0.2 and task_run.run_count < 3:
        raise ConnectionError(number)
    time.sleep(random.random())
    return number


@task(persist_result=True, on_completion=[on_completion], on_failure=[on_failure])
@trace.function
def book(number: int) -> int:
    time.sleep(0.1)
    return number + 1


@task(persist_result=True)
@trace.function
def refuse() -> None:
    raise RefusedError


@task(tags=["database"])
@trace.function
def query(number: int) -> int:
    with concurrency("connection", occupy=1):
        time.sleep(random.random())
    return 10 * number


book.on_rollback(undo)
book.on_commit(settle)


@flow(persist_result=True, on_completion=[on_completion], task_runner="threads")
@trace.function
def part(count: int) -> int:
    return sum(fetch.map(range(count)).result())


@flow(
    persist_result=True,
    on_running=[on_running],
    on_completion=[on_completion],
    on_failure=[on_failure],
    task_runner="threads",  # also where tests have inline as the default
)
@trace.function
def main(count: int = 2) -> int:
    with open_client() as client:
        client.create_or_update_concurrency_limit("tag:database", 2)
        client.create_or_update_concurrency_limit("connection", 1)
    get_run_logger().info("begins")
    with transaction("outer"):
        total = book(1)
        with transaction("inner"):
            total += book(2)
            total += book(3)
    try:
        with transaction("refused"):
            book(4)
            refuse()
    except RefusedError:
        total += 100
    with tags("mapped"):
        queried = query.map(range(3))
        later = fetch.submit(7, wait_for=[queried[0]])
    return total + sum(queried.result()) + later.result() + part(count)
