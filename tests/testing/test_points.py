"""The named places in the engine: what passes them, and what may be done there."""

import ast
import asyncio
import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import mainspring
from mainspring import flow, get_client, points, task
from mainspring.exceptions import StoreUnavailable
from mainspring.recording import close_recorders, current_recorder
from mainspring.settings import reload_settings
from mainspring.testing.children import run_in_child
from mainspring.transactions import transaction
from tests.durability import points as outside

SOURCE = Path(mainspring.__file__).parent


def named_in_source() -> Iterator[str]:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "points.observer":
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno} makes up a name"
                yield str(node.args[0].value)


def calls_in(node: ast.AST) -> int:
    return sum(
        isinstance(inner, ast.Call) and ast.unparse(inner.func) == "points.observer"
        for inner in ast.walk(node)
    )


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What passes any point, from now on."""
    passed: list[tuple[str, Any]] = []
    monkeypatch.setattr(points, "observer", lambda name, about: passed.append((name, about)))
    return passed


def test_the_catalogue_names_the_points_that_are_there():
    """Each point of the source is in the catalogue, and the catalogue has no other."""
    assert set(named_in_source()) == set(points.POINTS)


def test_each_point_says_what_it_is_and_what_it_is_about():
    """The sentence of a point says what the observer gets."""
    assert not [name for name, text in points.POINTS.items() if "About: " not in text]


def test_nothing_is_evaluated_where_nobody_looks_on():
    """Each call of the observer is inside of a look whether there is one."""
    found = guarded = 0
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        found += calls_in(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "points.observer is not None":
                guarded += calls_in(node)
    assert found == guarded > 0


def test_a_flow_passes_its_points_in_order(seen: list[tuple[str, Any]]):
    """The functions of a flow and its tasks lie between a call and a return, and their commits follow these."""

    @task
    def double(x: int) -> int:
        return 2 * x

    @flow
    def doubling() -> int:
        return double(21)

    assert doubling() == 42
    calls = [(name, about[0].name) for name, about in seen if name.startswith(("task.", "flow."))]
    assert calls == [
        ("flow.call", "doubling"),
        ("task.call", "double"),
        ("task.returned", "double"),
        ("flow.returned", "doubling"),
    ]
    names = [name for name, _ in seen]
    assert names.count("store.commit") == names.count("store.committed")
    assert "store.commit" in names[names.index("task.returned") :]


def test_an_async_flow_passes_the_same_points(seen: list[tuple[str, Any]]):
    """Sync and async have the same points in the same order."""

    @task
    async def double(x: int) -> int:
        return 2 * x

    @flow
    async def doubling() -> int:
        return await double(21)

    assert asyncio.run(doubling()) == 42
    assert [name for name, _ in seen if name.startswith(("task.", "flow."))] == [
        "flow.call",
        "task.call",
        "task.returned",
        "flow.returned",
    ]


@pytest.mark.parametrize("name", ["task.call", "task.returned"])
def test_what_is_raised_at_a_task_is_raised_by_its_function(name: str, monkeypatch: pytest.MonkeyPatch):
    """A task whose call is made to fail fails, and is retried, as if its function had raised."""
    failures = iter([ConnectionError("made to fail")])

    def observer(passed: str, about: object) -> None:
        if passed == name:
            for failure in failures:
                raise failure

    @task(retries=1)
    def double(x: int) -> int:
        return 2 * x

    monkeypatch.setattr(points, "observer", observer)
    state = double(21, return_state=True)
    assert state.result() == 42
    with get_client(sync_client=True) as client:
        (run,) = client.read_task_runs()
    assert run.run_count == 2


def test_what_is_raised_at_a_hook_is_logged(monkeypatch: pytest.MonkeyPatch):
    """A hook that is made to fail stops neither the run nor the hooks after it."""
    called: list[str] = []

    def first(task: Any, run: Any, state: Any) -> None:
        called.append("first")

    def second(task: Any, run: Any, state: Any) -> None:
        called.append("second")

    @task(on_completion=[first, second])
    def double(x: int) -> int:
        return 2 * x

    def observer(passed: str, about: Any) -> None:
        if passed == "hook.call" and about[0] is first:
            raise ConnectionError("made to fail")

    monkeypatch.setattr(points, "observer", observer)
    assert double(21) == 42
    assert called == ["second"]


def test_a_statement_that_is_made_to_fail_fails_as_the_database_does(monkeypatch: pytest.MonkeyPatch):
    """What is raised in the place of a statement becomes the error of ours that says what to do."""

    def observer(passed: str, about: object) -> None:
        if passed == "store.statement":
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    current_recorder()
    monkeypatch.setattr(points, "observer", observer)

    @task
    def double(x: int) -> int:
        return 2 * x

    with pytest.raises(StoreUnavailable, match="the disk is full"):
        double(21)
    monkeypatch.setattr(points, "observer", None)
    assert double(21) == 42


def live_watched(home: Path, log: Path) -> None:
    """In a child: a flow with all that is durable, seen from inside and from outside."""
    environment = {"MAINSPRING_HOME": str(home), "POINTS": str(log), "TRACE": "1"}
    os.environ.update(environment)
    reload_settings()
    outside.install(environment)
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def observer(name: str, about: object) -> None:
        if name.startswith(("store.commit", "store.checkpoint", "journal.", "file.")):
            os.write(fd, f"{os.getpid()} {threading.current_thread().name} inside {name}\n".encode())

    points.observer = observer

    def hook(_: object) -> None:
        pass

    @task(result_storage_key="large")
    def large(letter: str) -> str:
        return 1_000_000 * letter

    @task(result_storage=home / "elsewhere", on_rollback=[hook], on_commit=[hook])
    def elsewhere(x: int) -> int:
        return x

    @flow(persist_result=True)
    def everything() -> int:
        large("a")
        large("b")
        with transaction():
            elsewhere(1)
            total = elsewhere(2)
        return total + sum(elsewhere.map([3, 4]).result())

    assert everything() == 9
    close_recorders()
    os.close(fd)


def test_whatever_is_durable_lies_between_points(tmp_path: Path):
    """Seen from outside, no two durable statements, writes, renamings or removals have no point between them."""
    log = tmp_path / "log"
    ending = run_in_child(partial(live_watched, tmp_path / "home", log))
    assert ending.error is None, ending.trace
    latest: dict[str, str] = {}
    labels: set[str] = set()
    unseen: list[str] = []
    for line in log.read_text().splitlines():
        found = re.fullmatch(r"\d+ (.+?) (inside|point \d+) (.+)", line)
        if found is None:  # statements and writes are told once more
            continue
        thread, kind, what = found.groups()
        if what.startswith("before "):
            labels.add(what.split()[1])
            if latest.get(thread) != "inside":
                unseen.append(line)
        latest[thread] = kind.split()[0]
    assert not unseen
    assert {"COMMIT", "INSERT", "PRAGMA", "write", "replace", "unlink"} <= labels
