"""``mainspring limits``: what there is, who holds it, and changing it."""

import os
import re
from pathlib import Path

import pytest

from mainspring import flow, get_client, task
from mainspring.cli.limiting import complete_name
from mainspring.concurrency.sync import concurrency
from tests.cli.commands import COMMAND, Terminal, answer, command


def out(*arguments: str) -> str:
    """What a command prints that does its work."""
    done = command("limits", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(*arguments: str) -> str:
    """What a command says that cannot do its work, and changes nothing."""
    done = command("limits", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def rows(text: str) -> list[list[str]]:
    """The cells of a table in a pipe."""
    return [re.split(r"  +", line.strip()) for line in text.splitlines()]


# Reading


def test_there_are_none(mainspring_home: Path) -> None:
    """Before the first limit there is a hint, and nothing is made."""
    assert "limits set NAME N" in out("ls")
    assert answer("limits", "ls") == []
    assert complete_name("") == []
    assert not mainspring_home.exists()


def test_limits_are_a_table() -> None:
    """Each limit with how much of it is taken."""
    client = get_client()
    client.create_or_update_concurrency_limit("db", 2)
    client.create_or_update_concurrency_limit("tag:api", 10, active=False, slot_decay_per_second=0.5)
    with concurrency("db"):
        heading, *found = rows(out("ls"))
    assert heading == ["name", "limit", "active", "taken", "waiting", "decay", "average hold"]
    assert found == [
        ["db", "2", "yes", "1", "0", "100ms"],
        ["tag:api", "10", "no", "0", "0", "0.5/s", "100ms"],
    ]


@pytest.mark.contract("CC-15")
def test_limits_as_json() -> None:
    """The fields have the names that they have in Python."""
    limit = get_client().create_or_update_concurrency_limit("db", 2)
    assert answer("limits", "ls") == [
        {
            "id": str(limit.id),
            "name": "db",
            "limit": 2,
            "active": True,
            "active_slots": 0,
            "denied_slots": 0,
            "slot_decay_per_second": 0.0,
            "avg_slot_occupancy_seconds": 0.1,
        }
    ]


def test_who_holds_a_slot() -> None:
    """The run and the process that hold slots are shown, and who waits for some."""
    get_client().create_or_update_concurrency_limit("db", 1)
    shown, described = [], []

    @task
    def look() -> None:
        with concurrency("db"):
            shown.append(out("show", "db"))
            described.append(answer("limits", "show", "db"))

    @flow
    def job() -> None:
        look()

    job()
    ((_, *cells),) = rows(shown[0])[-1:]
    assert cells[0] == "held"
    assert cells[2].startswith("look")
    assert cells[4].startswith(f"pid {os.getpid()} on ")
    (holder,) = described[0]["holders"]
    assert (holder["slots"], holder["run_name"], holder["pid"]) == (1, cells[2], os.getpid())
    assert described[0]["waiting"] == []
    assert "Nobody holds" in out("show", "db")


def test_who_holds_slots_outside_of_runs() -> None:
    """A block outside of any run is shown as such."""
    get_client().create_or_update_concurrency_limit("db", 1)
    with concurrency("db"):
        assert "outside of runs" in out("show", "db")


@pytest.mark.parametrize("arguments", [["show"], ["rm", "--yes"]])
def test_unknown_limits(arguments: list[str]) -> None:
    """A name that no limit has is an error that says which there are."""
    verb, *more = arguments
    assert refused(verb, "db", *more).endswith(
        "'db', nor any other. `mainspring limits set NAME N` creates one."
    )
    get_client().create_or_update_concurrency_limit("other", 1)
    assert (
        refused(verb, "db", *more)
        == "Error: There is no concurrency limit named 'db'. The limits are: 'other'."
    )


def test_names_are_completed() -> None:
    """Names that begin with what was typed, each with how much is taken."""
    for name in ("db", "disk", "api"):
        get_client().create_or_update_concurrency_limit(name, 3)
    assert complete_name("d") == [("db", "0 of 3 taken"), ("disk", "0 of 3 taken")]


# Changing


def test_the_first_limit_of_all() -> None:
    """A limit can be set before anything has run: the database is made."""
    assert rows(out("set", "db", "3"))[1][:3] == ["db", "3", "yes"]
    assert get_client().read_concurrency_limit("db").limit == 3


def test_what_is_not_given_stays() -> None:
    """Changing the number leaves decay and activity as they are; each can be changed."""
    assert answer("limits", "set", "api", "10", "--decay", "0.5", "--inactive")["active"] is False
    changed = answer("limits", "set", "api", "0")
    assert (changed["limit"], changed["active"], changed["slot_decay_per_second"]) == (0, False, 0.5)
    changed = answer("limits", "set", "api", "5", "--active", "--decay", "0")
    assert (changed["limit"], changed["active"], changed["slot_decay_per_second"]) == (5, True, 0.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["db", "-1"], "cannot have limit=-1"),
        (["db", "99999999999"], "cannot have limit=99999999999"),
        (["db", "many"], "'N'"),
        (["db", "1.5"], "'N'"),
        (["db", "1", "--decay", "-1"], "slot_decay_per_second=-1.0"),
        (["db", "1", "--decay", "nan"], "slot_decay_per_second=nan"),
        (["db", "1", "--decay", "fast"], "'--decay'"),
        (["db", "1", "--decya", "2"], "--decya"),
        (["", "1"], "cannot be the name"),
        (["db"], "N"),
    ],
)
def test_what_cannot_be_a_limit(arguments: list[str], words: str) -> None:
    """A number below 0, no number, an unknown option and an empty name are one clear error each."""
    assert words in refused("set", *arguments)
    assert get_client().read_concurrency_limits() == []


# Deleting


def test_deleting_asks_for_a_word() -> None:
    """Where nobody can be asked, nothing is deleted without --yes."""
    get_client().create_or_update_concurrency_limit("db", 1)
    assert "Give --yes" in refused("rm", "db")
    assert out("rm", "db", "--yes") == "Deleted the limit db.\n"
    assert get_client().read_concurrency_limits() == []


@pytest.mark.parametrize(("said", "is_deleted"), [(b"n\n", False), (b"\n", False), (b"y\n", True)])
def test_deleting_at_a_terminal(said: bytes, is_deleted: bool) -> None:
    """Somebody at a terminal is asked, and told what is in use."""
    get_client().create_or_update_concurrency_limit("db", 1)
    terminal = Terminal([*COMMAND, "limits", "rm", "db"])
    terminal.read_until(lambda: b"[y/N]" in terminal.shown)
    terminal.write(said)
    assert terminal.wait() == 0
    assert b"0 of 1 slots taken" in terminal.shown
    assert (get_client().read_concurrency_limits() == []) is is_deleted
