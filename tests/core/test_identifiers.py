"""Ids: version 7, ordered by time, never the same twice, also across forks."""

import os
import subprocess
import sys
import threading
from uuid import RFC_4122, UUID

import pytest

from mainspring import identifiers
from mainspring.identifiers import SystemIdSource, new_id, use_id_source


@pytest.mark.contract("V-32")
def test_ids_are_uuids_of_version_7() -> None:
    """Version and variant are those of RFC 9562, in each of many ids."""
    for _ in range(1000):
        uuid = UUID(bytes=new_id())
        assert (uuid.version, uuid.variant) == (7, RFC_4122)


@pytest.mark.contract("V-32")
def test_ids_carry_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first 48 bits are the milliseconds of the wall clock, the next 12 the fraction."""
    monkeypatch.setattr(identifiers.time, "time_ns", lambda: 1_800_000_000_123_500_000)
    uuid = UUID(bytes=new_id())
    assert uuid.int >> 80 == 1_800_000_000_123
    assert (uuid.int >> 64) & 0xFFF == 2048


@pytest.mark.contract("V-32")
def test_later_ids_are_greater(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids made at later microseconds sort later."""
    now = 1_800_000_000_000_000_000
    ids = []
    for step in range(0, 3_000_000, 1_000):
        monkeypatch.setattr(identifiers.time, "time_ns", lambda step=step: now + step)
        ids.append(new_id())
    assert ids == sorted(ids)


def test_ids_of_threads_differ() -> None:
    """Threads that make ids at the same time never make the same one."""
    ids: list[bytes] = []

    def work() -> None:
        ids.extend([new_id() for _ in range(2000)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 8000


FORK = """
import os, sys
from mainspring.identifiers import SystemIdSource
import mainspring.identifiers as identifiers
source = SystemIdSource()
source.new()
identifiers.time.time_ns = lambda: 0  # the time must not be what tells the ids apart
r, w = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        os.write(w, source.new())
        os._exit(0)
    os.wait()
ids = {os.read(r, 16) for _ in range(3)} | {source.new()}
sys.exit(len(ids) != 4)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_children_draw_other_numbers() -> None:
    """Parent and children of a fork do not repeat each other's ids, even within the same tick of the clock."""
    assert subprocess.run([sys.executable, "-c", FORK], check=False).returncode == 0


def test_uniform() -> None:
    """Random numbers for jitter are in [0, 1) and not all alike."""
    numbers = [SystemIdSource().uniform() for _ in range(100)]
    assert all(0 <= number < 1 for number in numbers)
    assert len(set(numbers)) > 90


def test_ids_come_from_the_source_of_the_context() -> None:
    """Within a block another source is asked, after it the first one again."""

    class Fixed:
        def new(self) -> bytes:
            return b"x" * 16

        def uniform(self) -> float:
            return 0.25

    with use_id_source(Fixed()) as source:
        assert identifiers.current() is source
        assert new_id() == b"x" * 16
    assert new_id() != b"x" * 16


def test_forms_of_an_id() -> None:
    """Bytes, UUID and text are the same id; what is no id is refused."""
    key = new_id()
    uuid = identifiers.to_uuid(key)
    assert identifiers.to_bytes(key) == identifiers.to_bytes(uuid) == identifiers.to_bytes(str(uuid)) == key
    assert identifiers.to_uuid(None) is None
    with pytest.raises(ValueError, match="is no id: give a UUID"):
        identifiers.to_bytes("nonsense")


def test_short_ids_tell_runs_of_the_same_moment_apart() -> None:
    """A shortened id is the random end of the id."""
    key = new_id()
    assert identifiers.shorten(key) == identifiers.shorten(UUID(bytes=key)) == key.hex()[-8:]
    assert identifiers.shorten(key, 4) == key.hex()[-4:]


def test_an_id_as_text_is_that_of_its_uuid() -> None:
    """No UUID has to be made for it."""
    for key in (new_id(), bytes(16), b"\xff" * 16):
        assert identifiers.to_text(key) == str(UUID(bytes=key))
