"""Passwords in settings are found and masked, and nothing else is."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mainspring.settings import Settings
from mainspring.settings.secrets import MASK, Secrets, secrets_of, without_secrets
from mainspring.settings.values import to_plain

URL = "postgresql+psycopg://ada:lovelace1815@db.example:5432/runs"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"cannot reach {URL}", "cannot reach postgresql+psycopg://ada:***@db.example:5432/runs"),
        ("the password is lovelace1815!", "the password is ***!"),
        ("password=lovelace1815 host=db", "password=*** host=db"),
        ("ada at db.example has runs", "ada at db.example has runs"),
        ("", ""),
    ],
)
def test_a_distinctive_password(text: str, masked: str) -> None:
    """It is masked wherever it occurs; user, host and database are no secrets."""
    secrets = Secrets([URL])
    assert secrets.mask(text) == masked
    assert secrets.in_text(text) is (text != masked)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres:postgres@localhost/runs",
        "postgresql://ada:abc@localhost/abcd",
        "postgresql://localhost/?user=ada&password=abc",
    ],
)
def test_a_password_that_is_a_common_word(url: str) -> None:
    """Short ones, and those that are part of the address, are masked inside of addresses only."""
    secrets = Secrets([url])
    shown = secrets.mask(f"at {url}")
    assert MASK in shown
    assert ":abc" not in shown
    assert ":postgres@" not in shown
    assert "=abc" not in shown
    assert secrets.mask("postgres says abc") == "postgres says abc"


def test_shapes_of_a_password() -> None:
    """One that is quoted in the address is found as it is meant, too, and as `repr` shows it."""
    secrets = Secrets(["postgresql://ada:love%27lace%5C1815@db/runs"])
    assert secrets.mask("love%27lace%5C1815") == MASK
    assert secrets.mask("love'lace\\1815") == MASK
    assert MASK in secrets.mask(repr("love'lace\\1815"))


@pytest.mark.parametrize(
    "text", ["", "sqlite:///runs.db", "postgresql://ada@db/runs", "s3://bucket/results", "/a:b@c", "12:30"]
)
def test_addresses_without_passwords(text: str) -> None:
    """They hold no secrets."""
    secrets = Secrets([text])
    assert not secrets
    assert secrets.mask(text) == text
    assert not secrets.in_text(text)


@given(
    st.text(st.characters(exclude_characters=":/?#@% \t\n\r", exclude_categories=["Z", "C"]), min_size=6),
    st.text(),
)
def test_nothing_of_a_long_password_is_left(password: str, before: str) -> None:
    """Whatever stands around it, a long password is never in a masked text."""
    secrets = Secrets([f"postgresql://{'0' * 3}:{password}@1/2"])
    assume(password not in f"postgresql://000:@1/2{MASK}" and password not in before)
    shown = secrets.mask(f"{before} {password} {{'p': {password!r}}}")
    assert password not in shown.replace(MASK, "\0")


def test_secrets_of_settings() -> None:
    """All texts among the settings are looked through; the plain data is masked as a copy."""
    settings = Settings(database_url=URL)
    plain = to_plain(settings)
    shown = without_secrets(settings, {**plain, "list": [URL, 1]})
    assert shown["database_url"] == "postgresql+psycopg://ada:***@db.example:5432/runs"
    assert shown["list"] == [shown["database_url"], 1]
    assert plain["database_url"] == URL
    assert secrets_of(settings) is secrets_of(settings)
    assert not secrets_of(Settings())
