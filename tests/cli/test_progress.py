"""Counting what runs are up to, and streams that are shared with a live display."""

from __future__ import annotations

import io
import threading
from collections import Counter

from mainspring import flow, task
from mainspring.cli.progress import Notice, Progress
from mainspring.cli.streams import GuardedStream
from mainspring.recording import current_recorder

attempts: list[int] = []


@task
def succeed() -> None: ...


@task
def fail() -> None:
    raise ValueError("no")


@task(retries=2)
def retry_at_once() -> None:
    attempts.append(1)
    if len(attempts) < 3:
        raise ConnectionError("gone")


@task(retries=1, retry_delay_seconds=0.001)
def retry_later() -> None:
    attempts.append(1)
    if len(attempts) < 2:
        raise ConnectionError("gone")


@flow
def inner() -> None:
    succeed()
    fail()


@flow
def outer() -> None:
    succeed()
    inner(return_state=True)
    blocked = fail.submit()
    succeed.submit(wait_for=[blocked]).wait()


def follow(call: object) -> tuple[Progress, list[Notice]]:
    """The progress of a call of a flow, and everything it found worth telling."""
    attempts.clear()
    progress = Progress()
    with current_recorder().listen(progress.note):
        call(return_state=True)  # type: ignore[operator]
    return progress, list(progress.take_in())


def test_task_runs_are_counted_by_what_they_are() -> None:
    """Each task run counts once, in the flow run it belongs to, the stand-in of a subflow included."""
    progress, _ = follow(outer)
    first, second = progress.flows.values()
    assert +first.counts == Counter({"completed": 1, "failed": 2, "not ready": 1})
    assert +second.counts == Counter({"completed": 1, "failed": 1})
    assert (first.depth, second.depth) == (0, 1)
    assert sum(progress.totals()[0].values()) == 6


def test_a_subflow_that_fails_is_told_once() -> None:
    """The task run that stands for a subflow is not told about beside it."""
    _, notices = follow(outer)
    failures = [notice.name.split("-")[0] for notice in notices if notice.kind == "failed"]
    assert failures == ["fail", "inner", "fail"]


def test_each_retry_is_told_once() -> None:
    """A retry is one notice and counts one, whether it waits or not."""
    for retried, number in ((retry_at_once, 2), (retry_later, 1)):

        @flow
        def retrying(chosen: object = retried) -> None:
            chosen()  # type: ignore[operator]

        progress, notices = follow(retrying)
        assert [notice.kind for notice in notices].count("retried") == number
        assert progress.totals()[1] == number


def test_nothing_is_kept_about_finished_runs() -> None:
    """What is remembered does not grow with the number of task runs that are done."""

    @flow
    def many() -> None:
        for _ in range(100):
            succeed()

    progress, _ = follow(many)
    assert progress.totals()[0]["completed"] == 100
    assert not progress._unfinished


def test_a_guard_passes_on() -> None:
    """Without a live display a guarded stream is the stream."""
    stream = io.StringIO()
    guard = GuardedStream(stream)
    assert guard.write("text") == 4
    guard.writelines([" and", " more"])
    assert stream.getvalue() == "text and more"
    assert guard.encoding == stream.encoding


def test_a_guard_gives_whole_lines() -> None:
    """Under a display lines are given when they end; what a carriage return overwrote is gone."""
    lines: list[str] = []
    stream = io.StringIO()
    guard = GuardedStream(stream)
    with guard.divert(lines.append):
        guard.write("one\ntw")
        assert (lines, guard.unfinished) == (["one"], ["tw"])
        guard.write("o\n10%\r20%\r")
        guard.write("\r30%")
        assert (lines, guard.unfinished) == (["one", "two"], ["30%"])
        guard.write("\nrest")
    assert lines == ["one", "two", "30%"]
    assert stream.getvalue() == "rest\n"


def test_a_guard_keeps_threads_apart() -> None:
    """Lines that two threads write piece by piece do not mix."""
    lines: list[str] = []
    guard = GuardedStream(io.StringIO())

    def write(who: str) -> None:
        for number in range(200):
            for piece in (who, " ", str(number), "\n"):
                guard.write(piece)

    with guard.divert(lines.append):
        threads = [threading.Thread(target=write, args=(who,)) for who in ("a", "b", "c")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(lines) == sorted(f"{who} {number}" for who in ("a", "b", "c") for number in range(200))
