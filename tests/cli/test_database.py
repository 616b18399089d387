"""``mainspring database``: what it is, bringing it up to date, and keeping it small."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

import mainspring
from mainspring import flow, get_client, task
from mainspring.cli.durations import parse_duration
from mainspring.cli.upkeep import format_size
from mainspring.exceptions import ConfigurationError
from mainspring.recording import close_recorders
from mainspring.store.sqlite import schema
from tests.cli.commands import COMMAND, Terminal, answer, command

NEWEST = len(schema.MIGRATIONS)


@task
def work() -> None:
    pass


@flow
def job() -> None:
    work()


@flow
def failing() -> None:
    raise ValueError


def out(*arguments: str) -> str:
    """What a command prints that does its work."""
    done = command("database", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(*arguments: str) -> str:
    """What a command says that cannot do its work."""
    done = command("database", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.fixture
def history(mainspring_home: Path) -> Path:
    """A database with three runs of one flow, one of another, and nobody who uses it."""
    for _ in range(3):
        job()
    failing(return_state=True)
    close_recorders()
    return mainspring_home / "mainspring.db"


# Version and schema


def test_version_of_a_database(history: Path) -> None:
    """Where it is, its version and that of this mainspring, its size, and how many runs it has."""
    facts = dict(line.split(maxsplit=1) for line in out("version").splitlines()[:4])
    assert facts["database"] == str(history)
    assert facts["version"] == f"{NEWEST}; this mainspring ({mainspring.__version__}) knows {NEWEST}"
    assert facts["size"].endswith(" kB")
    assert "flow runs  4" in out("version")
    assert answer("database", "version") == {
        "mainspring": mainspring.__version__,
        "kind": "sqlite",
        "location": str(history),
        "schema_version": NEWEST,
        "known_version": NEWEST,
        "size": history.stat().st_size,
        "flow_runs": 4,
        "task_runs": 3,
    }


def test_version_before_the_first_run(mainspring_home: Path) -> None:
    """That there is no database yet is an answer, and none is made."""
    assert "there is no database yet" in out("version")
    assert answer("database", "version")["schema_version"] is None
    assert not mainspring_home.exists()


@pytest.mark.no_invariants("the store cannot be opened")
def test_version_of_a_newer_database(history: Path) -> None:
    """A database that this mainspring cannot use is described, so that its user knows which one can."""
    with closing(sqlite3.connect(history)) as db:
        db.execute("PRAGMA user_version = 9999")
    assert "version    9999; this mainspring" in out("version")
    assert "Upgrade mainspring" in refused("migrate")
    assert "Upgrade mainspring" in refused("prune", "--older-than", "0s", "--yes")


def test_migrate_says_what_it_did(mainspring_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes a database, brings an older one up to date, and leaves one alone that is up to date."""
    assert out("migrate") == f"Made the database, version {NEWEST}.\n"
    assert out("migrate") == f"The database is up to date, version {NEWEST}. Nothing was changed.\n"
    (mainspring_home / "mainspring.db").unlink()
    with closing(sqlite3.connect(mainspring_home / "mainspring.db")) as db, monkeypatch.context() as before:
        before.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:5])
        schema.apply_migrations(db, "")
    assert out("migrate") == f"Brought the database from version 5 to version {NEWEST}.\n"
    assert answer("database", "migrate") == {"before": NEWEST, "after": NEWEST}


# Pruning


def test_prune_says_what_it_deleted(history: Path) -> None:
    """Runs with all that is inside of them; then what gives the room back."""
    assert out("prune", "--older-than", "0s", "--dry-run") == "Would delete 7 runs.\n"
    deleted, advice = out("prune", "--older-than", "0s", "--yes").splitlines()
    assert deleted == "Deleted 7 runs."
    assert "database vacuum" in advice
    assert out("prune", "--older-than", "0s", "--yes") == "Nothing is that old.\n"


def test_prune_by_state_and_number(history: Path) -> None:
    """Only runs in the states that are named, and not the newest of each flow."""
    arguments = ("prune", "--older-than", "0s", "--yes")
    assert "1 run." in out(*arguments, "--state", "Failed")
    assert "4 runs." in out(*arguments, "--keep", "1")
    assert out(*arguments, "-s", "nothing") == "Nothing of that kind is that old.\n"
    assert len(get_client().read_flow_runs()) == 1


def test_prune_as_json(history: Path) -> None:
    """What was deleted, or would be."""
    found = answer("database", "prune", "--older-than", "0s", "--dry-run")
    assert found == {
        "dry_run": True,
        "runs": 7,
        "results": 0,
        "files": 0,
        "file_bytes": 0,
        "orphans": 0,
        "orphan_bytes": 0,
    }
    assert answer("database", "prune", "--older-than", "30d", "--yes")["runs"] == 0


def test_prune_asks_for_a_word(history: Path) -> None:
    """Where nobody can be asked nothing is deleted without --yes; what would go is told."""
    assert "Delete 7 runs for ever?" in refused("prune", "--older-than", "0s")
    assert out("prune", "--older-than", "30d") == "Nothing is that old.\n"
    assert len(get_client().read_flow_runs()) == 4


@pytest.mark.parametrize(("said", "left"), [(b"n\n", 4), (b"yes\n", 0)])
def test_prune_at_a_terminal(history: Path, said: bytes, left: int) -> None:
    """Somebody at a terminal is asked."""
    terminal = Terminal([*COMMAND, "database", "prune", "--older-than", "0s"])
    terminal.read_until(lambda: b"[y/N]" in terminal.shown)
    terminal.write(said)
    assert terminal.wait() == 0
    assert len(get_client().read_flow_runs()) == left


def test_prune_before_the_first_run(mainspring_home: Path) -> None:
    """There is nothing to delete, and nothing is made."""
    assert out("prune", "--older-than", "1d", "--yes").startswith("No runs yet.")
    assert answer("database", "prune", "--older-than", "1d", "--yes")["runs"] == 0
    assert not mainspring_home.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "'--older-than'"),
        (["--older-than", "30"], "'30' is no duration"),
        (["--older-than", "-1d"], "'-1d' is no duration"),
        (["--older-than", "1d", "--keep", "-1"], "'--keep'"),
    ],
)
def test_prune_with_bad_input(history: Path, arguments: list[str], words: str) -> None:
    """A missing or wrong duration and a wrong number are one clear error each."""
    assert words in refused("prune", *arguments)


# Vacuuming


def test_vacuum_says_what_it_freed(history: Path) -> None:
    """The size before and after."""
    assert " before, " in out("vacuum")
    found = answer("database", "vacuum")
    assert found["after"] == history.stat().st_size


def test_vacuum_leaves_runs_in_peace(history: Path) -> None:
    """While a run goes on it is refused with the reason, unless it is forced."""

    @flow
    def meanwhile() -> None:
        assert "1 run(s) go on" in refused("vacuum")
        assert " before, " in out("vacuum", "--force")

    meanwhile()


def test_vacuum_before_the_first_run(mainspring_home: Path) -> None:
    """There is nothing to vacuum, which is an error, and nothing is made."""
    assert "There is no run store" in refused("vacuum")
    assert not mainspring_home.exists()


# Durations and sizes


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("90m", 1.5),
        ("12h", 12),
        ("30d", 720),
        ("2w", 336),
        ("1d12h", 36),
        (" 1 D 30m ", 24.5),
        ("0.5h", 0.5),
        ("0s", 0),
        ("360ms", 0.0001),
    ],
)
def test_durations(text: str, hours: float) -> None:
    """Numbers with a unit each, in any case, with or without blanks."""
    assert parse_duration(text, "--for") == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "d", "30", "1x", "d30", "1d 5", "-1d", "1e3s", "٣d", "nan d"])
def test_what_is_no_duration(text: str) -> None:
    """Everything else is refused with examples of what would do."""
    with pytest.raises(ConfigurationError, match=r"--for.*is no duration.*30d"):
        parse_duration(text, "--for")


@pytest.mark.parametrize("text", ["400000d", "9" * 400 + "w"])
def test_durations_of_ages(text: str) -> None:
    """A duration that no date has is refused."""
    with pytest.raises(ConfigurationError, match="thousand years"):
        parse_duration(text, "--for")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (12_345, "12.3 kB"),
        (999_999, "1.00 MB"),
        (10**16, "10000 TB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    """About three digits and a unit."""
    assert format_size(size) == text
