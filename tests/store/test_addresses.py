"""From addresses to stores."""

from contextlib import closing
from pathlib import Path

import pytest

from mainspring.exceptions import ConfigurationError
from mainspring.store import open_store
from tests.store.histories import finished_task_run


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("sqlite:///runs.db", "runs.db"),
        ("sqlite:///deep/er/runs.db", "deep/er/runs.db"),
        ("sqlite:///~/runs.db", "home/runs.db"),
        ("~/runs.db", "home/runs.db"),
        ("runs.db", "runs.db"),
        ("with ?#% ä.db", "with ?#% ä.db"),
        (Path("some/runs"), "some/runs"),
    ],
)
def test_address_of_a_file(address: str | Path, file: str, tmp_path: Path) -> None:
    """An address of any accepted form makes the file it names, with the directories above it."""
    with closing(open_store(address)) as store:
        assert (tmp_path / file).is_file()
        assert store.url == f"sqlite:///{tmp_path / file}"


def test_url_opens_the_same_store(tmp_path: Path) -> None:
    """The address that a store tells leads to it from any directory: four slashes before an absolute path."""
    with closing(open_store("runs.db")) as store:
        run = finished_task_run(store)
    assert store.url.startswith("sqlite:////")
    with closing(open_store(store.url, create=False)) as store:
        assert store.read_run(run.key) is not None


@pytest.mark.parametrize("address", ["sqlite://", "sqlite:///", "sqlite:///:memory:", ":memory:"])
def test_address_of_memory(address: str, tmp_path: Path) -> None:
    """A store in memory makes no file and shares nothing with another."""
    with closing(open_store(address)) as one, closing(open_store(address)) as two:
        assert one.url == "sqlite://"
        run = finished_task_run(one)
        assert two.read_run(run.key) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("mysql://me:secret@host/db", "'mysql://', which is not supported"),
        ("postgresql://", "names no PostgreSQL database"),
        ("postgresql+psycopg://me:secret@host/db", "leave out what follows the +"),
        ("sqlite://runs.db", "two slashes where a path needs three"),
        ("sqlite:runs.db", "is not the address of a run store"),
        ("", "is not the address of a run store"),
        ("a\0b", "is not the address of a run store"),
    ],
)
def test_address_of_nothing_known(address: str, says: str, tmp_path: Path) -> None:
    """Any other address is refused with the setting, what is accepted, and no password."""
    with pytest.raises(ConfigurationError) as caught:
        open_store(address)
    message = str(caught.value)
    assert says in message
    assert "MAINSPRING_DATABASE_URL" in message
    assert "sqlite:///" in message
    assert "secret" not in message
    assert list(tmp_path.iterdir()) == []
