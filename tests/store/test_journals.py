"""The journal beside the database: what was noted and not committed is there after any death, and nothing else is."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring import clock
from mainspring.store import RunFilter
from mainspring.store.protocol import Change, Journal, LogEntry
from mainspring.store.sql.journaling import Page
from mainspring.store.sqlite.journals import MappedJournal, read_pages
from mainspring.store.sqlite.store import SQLiteRunStore
from tests.store.children import child
from tests.store.histories import COMPLETED, RUNNING, advance, new_task_run, record


class _Owner:
    """As much of an owner as a journal looks at."""

    id = 7
    key = "0123456789abcdef"
    lease_expires = 2**62


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteRunStore]:
    with closing(SQLiteRunStore(path, "journal")) as opened:
        record(opened, advance(new_task_run()))  # it owns something from now on
        yield opened


def journal_of(store: SQLiteRunStore) -> Journal:
    journal = store.open_journal()
    assert journal is not None
    return journal


def finished() -> Change:
    """A run that is over, with all of its states."""
    return advance(new_task_run(), RUNNING, COMPLETED)


def pages_of(path: Path) -> list[Path]:
    return list(Path(f"{path}.owners").glob("*.journal"))


def names(store: Any) -> set[str]:
    return {run.name for run in store.read_task_runs(RunFilter())}


def left_by(journal: MappedJournal, folder: Path, settled: int) -> list[str]:
    """The lines that whoever finds the owner dead would write."""
    pages: list[Page] = [page for page in read_pages(folder, _Owner.key) if page[0] > settled]
    return [line for _, entries in sorted(pages) for entry in entries for line in _lines(entry)]


def _lines(entry: bytes) -> list[str]:
    _, logs, _ = msgspec.msgpack.decode(entry)
    return [log[5] for log in logs]


STEPS = st.lists(
    st.one_of(st.integers(0, 3000), st.sampled_from(["turn", "settle", "fail"])), min_size=1, max_size=60
)


@settings(max_examples=200)
@given(STEPS)
def test_what_is_not_settled_is_left(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int | str]
) -> None:
    """After any entries, turns of pages and commits that succeed or fail, what is left is what was not committed."""
    folder = tmp_path_factory.mktemp("owners")
    journal = MappedJournal(_Owner(), folder)  # type: ignore[arg-type]
    noted: list[str] = []
    committing: list[str] | None = None
    settled = page = 0
    is_stuck = False
    for count, step in enumerate(steps):
        if isinstance(step, int):
            line = f"{count} {'x' * step}"
            if not is_stuck and journal.note([], [LogEntry(1, 20, "test", line)], []):
                noted.append(line)
        elif step == "turn" and committing is None:
            page = journal.turn()
            committing = list(noted)
        elif step == "settle" and committing is not None:
            if page:
                settled = page
                journal.settle()
            noted = noted[len(committing) :]
            committing, is_stuck = None, False
        elif step == "fail" and committing is not None:
            committing, is_stuck = None, True
        assert left_by(journal, folder, settled) == noted
    shutil.rmtree(folder)


@given(st.integers(min_value=0, max_value=400), st.integers(min_value=0, max_value=255))
def test_an_entry_that_was_cut_short(tmp_path_factory: pytest.TempPathFactory, at: int, byte: int) -> None:
    """Whatever a death leaves of the last entry, all those before it are read, and it is not read as something else."""
    folder = tmp_path_factory.mktemp("owners")
    journal = MappedJournal(_Owner(), folder)  # type: ignore[arg-type]
    lines = [f"line {number}" for number in range(8)]
    for line in lines:
        assert journal.note([], [LogEntry(1, 20, "test", line)], [])
    (file,) = [each for each in folder.iterdir() if len(each.read_bytes().strip(b"\0")) > 2]
    content = bytearray(file.read_bytes())
    content[8 + at] = byte
    file.write_bytes(content)
    left = left_by(journal, folder, 0)
    assert left == lines[: len(left)]
    shutil.rmtree(folder)


def test_a_page_that_is_full(store: SQLiteRunStore) -> None:
    """What has no room on the page has to be committed; after that there is room again."""
    journal = journal_of(store)
    line = LogEntry(1, 20, "test", "x" * 100_000)
    assert journal.note([], [line], [])
    assert journal.note([], [line], [])
    assert not journal.note([], [line], [])
    store.write([], [line], page=journal.turn())
    journal.settle()
    assert journal.note([], [line], [])


def test_a_lease_that_has_run_out(path: Path) -> None:
    """Who may count as dead on another host notes nothing, but asks the database whether it does."""
    with closing(SQLiteRunStore(path, "journal", lease_seconds=0.001)) as store:
        record(store, advance(new_task_run()))
        journal = journal_of(store)
        change = finished()
        change.states[-1].at = clock.current().now() + 10_000_000
        assert not journal.note([change], [], [])


def test_text_that_is_no_text(store: SQLiteRunStore) -> None:
    """Half of a surrogate pair cannot be noted; the commit takes care of it."""
    journal = journal_of(store)
    assert not journal.note([], [LogEntry(1, 20, "test", "\ud800")], [])
    assert journal.note([], [LogEntry(1, 20, "test", "fine")], [])


DIES = """
store = SQLiteRunStore(path, "journal")
record(store, advance(new_task_run(name="committed")))
journal = store.open_journal()
from tests.store.test_journals import finished
from mainspring.store.protocol import CacheKey, LogEntry
from mainspring.store.results import KeptResult
def note(name, **more):
    change = finished()
    change.run.name = name
    change.attachments = [KeptResult(key=name, content="{}", run_key=change.run.key)]
    assert journal.note([change], [LogEntry(5, 20, "test", name, None, change.run.key)],
                        [CacheKey(change.run.key, name, {})])
    return change
"""


def test_what_a_killed_process_has_noted(path: Path) -> None:
    """Whoever finds it dead writes its runs, with their states, lines, cache keys and results; no file is left."""
    with child(path, DIES + "note('first'); note('second'); ready(); wait()") as dying:
        dying.line()
        dying.kill()
    with closing(SQLiteRunStore(path, "journal")) as store:
        assert "first" not in names(store)
        store.settle_dead_owners()
        assert names(store) >= {"committed", "first", "second"}
        first = next(run for run in store.read_task_runs(RunFilter()) if run.name == "first")
        assert [state.name for state in store.read_states(first.key)] == ["Pending", "Running", "Completed"]
        assert [line.message for line in store.read_logs(first.key)] == ["first"]
        found = store.read_result("first")
        assert found is not None
        assert found.run_key == first.key
        cache_key = store.read_cache_key(first.key)
        assert cache_key is not None
        assert cache_key.key == "first"
        assert not pages_of(path)


def test_what_was_committed_is_not_written_again(path: Path) -> None:
    """Who dies after the commit of a page, and before its end, has left nothing of it: deleted runs stay deleted."""
    script = """
first = note('first')
page = journal.turn()
store.write([first], page=page)
note('second')
ready(); wait()
"""
    with child(path, DIES + script) as dying:
        dying.line()
        with closing(SQLiteRunStore(path, "journal")) as store:
            (first,) = [run for run in store.read_task_runs(RunFilter()) if run.name == "first"]
            store.delete_runs([first.key])
            dying.kill()
            store.settle_dead_owners()
            assert names(store) == {"committed", "second"}


def test_a_page_that_both_sides_have_seen(path: Path) -> None:
    """A run that was noted again, further on, is written once, with all of its states."""
    script = """
from mainspring.store.protocol import Change
run = new_task_run(name="twice")
states = [run.state]
assert journal.note([Change(run, list(states), None)], [], [])
states = advance(run, RUNNING).states
assert journal.note([Change(run, list(states), None)], [], [])
ready(); wait()
"""
    with child(path, DIES + script) as dying:
        dying.line()
        dying.kill()
    with closing(SQLiteRunStore(path, "journal")) as store:
        (settled,) = [run for run in store.settle_dead_owners() if run.name == "twice"]
        assert [state.name for state in store.read_states(settled.key)] == ["Pending", "Running", "Crashed"]


def test_an_orderly_end(path: Path) -> None:
    """A journal goes with its owner; one that is not settled is left for the next opener, with the ownership."""
    with closing(SQLiteRunStore(path, "journal")) as store:
        record(store, finished())
        journal = journal_of(store)
        assert len(pages_of(path)) == 2
    assert not journal.is_open
    assert not pages_of(path)
    change = finished()
    with closing(SQLiteRunStore(path, "journal")) as store:
        record(store, finished())
        assert journal_of(store).note([change], [], [])
    with closing(SQLiteRunStore(path, "journal")) as store:
        store.settle_dead_owners()
        assert change.run.key in {run.key for run in store.read_task_runs(RunFilter())}


def test_a_forked_child_notes_nothing(store: SQLiteRunStore) -> None:
    """The journal is its parent's: a child finds it closed."""
    journal = journal_of(store)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if not journal.is_open else 1)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    assert journal.is_open


@pytest.mark.parametrize("where", ["memory", "disk", "process", "nothing written"])
def test_where_there_is_none(path: Path, where: str) -> None:
    """No journal for a store in memory, for other levels of durability, and before the first commit."""
    place = ":memory:" if where == "memory" else path
    with closing(SQLiteRunStore(place, where if where in ("disk", "process") else "journal")) as store:
        if where != "nothing written":
            record(store, advance(new_task_run()))
        assert store.open_journal() is None


def test_no_room_for_a_journal(store: SQLiteRunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk has no room for the files there is no journal, and nothing of it."""

    def refuse(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert store.open_journal() is None
    folder = Path(f"{store.url.removeprefix('sqlite:///')}.owners")
    assert not [each for each in folder.iterdir() if each.suffix == ".journal"]
