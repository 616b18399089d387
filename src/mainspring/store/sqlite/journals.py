"""The journal of a process, in two files beside the lock of its ownership.

The files are mapped into memory. To note something is to copy some hundred bytes there, with no call of the system and
no other thread let in; and what is in the pages of a file is not lost by the death of whoever put it there. The pages
are taken by turns: one is filled while the entries of the other are being committed.

A page begins with its number, and each entry with its length and a checksum, which depends on that number. So what an
earlier use has left behind the last entry, or a death in the middle of one, is no entry.
"""

from __future__ import annotations

import os
from binascii import crc32
from collections.abc import Collection, Sequence
from pathlib import Path
from struct import Struct
from struct import error as StructError  # noqa: N812 - a class
from typing import TYPE_CHECKING

from mainspring import points
from mainspring._imports import modules_on_use
from mainspring.filesystems import remove_file
from mainspring.store.sql.owners import JOURNAL_SUFFIX

if TYPE_CHECKING:
    from mmap import mmap

    from mainspring.store.changes import CacheKey, Change, LogEntry
    from mainspring.store.sql import journaling
    from mainspring.store.sql.journaling import Page
    from mainspring.store.sql.owners import Owner
else:
    journaling = modules_on_use("mainspring.store.sql", "journaling")

__all__ = ["CAN_MAP", "MappedJournal", "pages_in_use", "read_pages", "remove_pages"]

CAN_MAP = hasattr(os, "posix_fallocate")
"""Whether the system can promise room on the disk, without which writing into a mapping would kill the process."""

_PAGE_BYTES = 256 * 1024
_NUMBER = Struct("<Q")
_HEAD = Struct("<II")  # of an entry
_FIRST = _NUMBER.size


class MappedJournal:
    """See `Journal`.

    Args:
        owner: This process.
        folder: Where the lock files are.

    Raises:
        OSError: The files cannot be made, or the disk has no room for them.
    """

    __slots__ = ("_at", "_folder", "_number", "_owner", "_page", "_pages", "_turned", "_unsettled", "is_open")

    def __init__(self, owner: Owner, folder: Path) -> None:
        self._owner = owner
        self._folder = folder
        self._pages: list[mmap] = []
        try:
            for path in _paths(folder, owner.key):
                self._pages.append(_mapped(path))
        except BaseException:
            remove_pages(folder, owner.key)
            raise
        self._number = 0
        self._turned = 0
        self._unsettled = False
        self._at = 0
        self._begin_page()
        self.is_open = True

    def _begin_page(self) -> None:
        self._number += 1
        self._page = page = self._pages[self._number % 2]
        _NUMBER.pack_into(page, 0, self._number)
        self._at = _FIRST

    def note(
        self, changes: Collection[Change], logs: Sequence[LogEntry], cache_keys: Sequence[CacheKey]
    ) -> bool:
        """See `Journal.note`."""
        owner = self._owner
        for change in changes:
            if change.states[-1].at >= owner.lease_expires:
                return False
        try:
            entry = journaling.encode_entry(changes, logs, cache_keys, owner.id)
        except (ValueError, TypeError, OverflowError):
            return False
        begin = self._at + _HEAD.size
        end = begin + len(entry)
        if end > _PAGE_BYTES:
            return False
        if points.observer is not None:
            points.observer("journal.note", changes)
        page = self._page
        page[begin:end] = entry
        _HEAD.pack_into(page, self._at, len(entry), crc32(entry, self._number & 0xFFFFFFFF))
        self._at = end
        if points.observer is not None:
            points.observer("journal.noted", changes)
        return True

    def turn(self) -> int:
        """See `Journal.turn`."""
        self._turned = number = self._number
        if self._unsettled:
            return (
                number  # with the page before it, whose commit has failed: there is no third one to turn to
            )
        if self._at == _FIRST:
            return 0
        self._unsettled = True
        self._begin_page()
        return number

    def settle(self) -> None:
        """See `Journal.settle`."""
        if self._unsettled:
            self._unsettled = False
            if self._turned == self._number:
                self._begin_page()

    @property
    def is_settled(self) -> bool:
        """Whether everything that was noted is committed."""
        return not self._unsettled and self._at == _FIRST

    def close(self) -> None:
        """Note nothing any more. The files stay."""
        self.is_open = False

    def remove(self) -> None:
        """Remove the files: nothing in them counts any more."""
        self.close()
        remove_pages(self._folder, self._owner.key)


def _mapped(path: Path) -> mmap:
    from mmap import mmap  # only few programs have so many tasks that it is worth while

    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        os.posix_fallocate(fd, 0, _PAGE_BYTES)
        return mmap(fd, _PAGE_BYTES)
    finally:
        os.close(fd)


def _paths(folder: Path, key: str) -> list[Path]:
    return [folder / f"{key}.{number}{JOURNAL_SUFFIX}" for number in range(2)]


def read_pages(folder: Path, key: str) -> list[Page]:
    """The entries that an owner has left.

    Args:
        folder: Where the lock files are.
        key: The key of the owner.

    Raises:
        OSError: They cannot be read.
    """
    pages: list[Page] = []
    for path in _paths(folder, key):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        if len(content) >= _FIRST:
            (number,) = _NUMBER.unpack_from(content)
            pages.append((number, _entries(content, number)))
    return pages


def pages_in_use(folder: Path, own_key: str | None) -> dict[str, int]:
    """The number of the newest page with anything on it, for the key of each owner but the own one.

    Args:
        folder: Where the lock files are.
        own_key: The key of this process.
    """
    found: dict[str, int] = {}
    try:
        # in an order, as the system has them in any
        names = sorted(each.name for each in os.scandir(folder) if each.name.endswith(JOURNAL_SUFFIX))
    except FileNotFoundError:
        return found
    for name in names:
        key = name.partition(".")[0]
        if key == own_key:
            continue
        try:
            with (folder / name).open("rb") as file:
                content = file.read(_FIRST + _HEAD.size)
                content += file.read(_HEAD.unpack_from(content, _FIRST)[0])
        except (OSError, StructError):
            continue  # it is being made, or was removed just now
        (number,) = _NUMBER.unpack_from(content)
        if _entries(content, number):
            found[key] = max(found.get(key, 0), number)
    return found


def _entries(content: bytes, number: int) -> list[bytes]:
    entries: list[bytes] = []
    at = _FIRST
    while at + _HEAD.size <= len(content):
        length, checksum = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        entry = content[at : at + length]
        if not length or len(entry) < length or crc32(entry, number & 0xFFFFFFFF) != checksum:
            break
        entries.append(entry)
        at += length
    return entries


def remove_pages(folder: Path, key: str) -> None:
    """Remove what an owner has left, once it is settled."""
    for path in _paths(folder, key):
        remove_file(path, missing_ok=True)
