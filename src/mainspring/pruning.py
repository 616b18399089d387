"""Keeping a run store small: deleting runs that ended long ago, and what nobody can use any more.

`prune` does it for the run store of the settings. It can be called while others work with the store: runs are deleted
some hundreds at a time, and nothing is touched that is not over.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from mainspring import clock
from mainspring.exceptions import ConfigurationError, SerializationError, StorageError
from mainspring.filesystems import LocalFileSystem, remove_file
from mainspring.filters import texts
from mainspring.recording import current_recorder
from mainspring.records import ResultRecordMetadata
from mainspring.records.layout import read_metadata
from mainspring.settings import get_current_settings
from mainspring.store.aging import Ended, OldResult
from mainspring.store.protocol import RunStore
from mainspring.store.reading import large_records, read_file, remove_unused_files

__all__ = ["Pruned", "prune"]

Progress = Callable[[int, int], object]

_TOGETHER = 500
_OURS = re.compile(r"[0-9a-f]{32}")
_LEAST_AGE_SECONDS = 86_400  # a younger file may be about to get its row


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What `prune` has deleted, or would delete.

    Args:
        runs: Runs, those inside of flow runs included.
        results: Results whose run had gone before.
        files: Files of results.
        file_bytes: How large these were.
        orphans: Files of results that no row leads to, and which were left.
        orphan_bytes: How large these are.
    """

    runs: int = 0
    results: int = 0
    files: int = 0
    file_bytes: int = 0
    orphans: int = 0
    orphan_bytes: int = 0


def prune(
    older_than: timedelta,
    *,
    states: Sequence[str] | None = None,
    keep: int = 0,
    cached_results: bool = False,
    orphaned_files: bool = False,
    dry_run: bool = False,
    store: RunStore | None = None,
    progress: Progress | None = None,
) -> Pruned:
    """Delete what is old from the run store of the settings.

    Runs go that are over and ended longer ago than ``older_than``: flow runs with all that is inside of them, and task
    runs outside of flows, with their states, logs and results. Left alone are runs that are paused, suspended or go on,
    flow runs inside of which something goes on, and runs whose transactions were not brought to an end. Results under
    cache keys stay until they expire, as later runs may be answered from them.

    May be called from any thread, and blocks for as long as it takes. If it is interrupted, what was deleted is gone,
    and the next call goes on.

    Args:
        older_than: How long ago a run has ended.
        states: Only runs in states of these types or names, in any case; all that are over when None.
        keep: Keep the newest so many runs of each flow, and of each task outside of flows.
        cached_results: Also delete results under cache keys, of runs that are deleted or were before.
        orphaned_files: Also remove files from the folder for large results that no row leads to, and which are older
            than a day. Only if no other run store has its files in the same folder.
        dry_run: Delete nothing, only count.
        store: Another run store than that of the settings.
        progress: Called now and then with two numbers: how many of the runs that are old were looked at, and how many
            there are. What is inside of flow runs does not count there.

    Returns:
        What was deleted.

    Raises:
        ConfigurationError: One of the arguments cannot work.
        StoreError: The run store cannot be read or written.
    """
    if not isinstance(older_than, timedelta):
        raise ConfigurationError(f"older_than={older_than!r} cannot work: give a timedelta.")
    states = texts("states", states)
    if older_than < timedelta(0) or keep < 0:
        raise ConfigurationError(
            f"Cannot prune with older_than={older_than}, keep={keep}: neither can be negative."
        )
    if store is None:
        recorder = current_recorder()
        recorder.flush()
        store = recorder.store
    store.settle_dead_owners()
    before = clock.ago(older_than)
    runs = _prune_runs(store, Ended(before, states, keep), cached_results, dry_run, progress)
    results = 0 if states is not None else _prune_results(store, before, cached_results, dry_run)
    if not dry_run:
        store.delete_remains(before)
    files, file_bytes = _remove_files(store, dry_run)
    orphans = list(_orphans(store))
    orphan_bytes = sum(size for _, size in orphans)
    if orphaned_files:
        files, file_bytes = files + len(orphans), file_bytes + orphan_bytes
        if not dry_run:
            for path, _ in orphans:
                remove_file(path, missing_ok=True)
        orphans, orphan_bytes = [], 0
    return Pruned(
        runs=runs,
        results=results,
        files=files,
        file_bytes=file_bytes,
        orphans=len(orphans),
        orphan_bytes=orphan_bytes,
    )


def _prune_runs(
    store: RunStore, which: Ended, cached_results: bool, dry_run: bool, progress: Progress | None
) -> int:
    keys = store.find_ended_runs(which)
    deleted = 0
    for start in range(0, len(keys), _TOGETHER):
        if progress is not None:
            progress(start, len(keys))
        some = keys[start : start + _TOGETHER]
        if dry_run:
            deleted += store.count_deletable_runs(some)
        else:
            deleted += store.delete_runs(some, cached_results)
    return deleted


# Results


def _prune_results(store: RunStore, before: int, cached_results: bool, dry_run: bool) -> int:
    """Delete results whose runs are gone, those that have expired or all of them."""
    deleted, after = 0, ""
    while some := store.read_results_without_runs(before, after, _TOGETHER):
        after = some[-1].key
        old = [result for result in some if cached_results or _has_expired(result)]
        deleted += len(old) if dry_run else store.delete_old_results(old)
    return deleted


def _has_expired(result: OldResult) -> bool:
    described = _described(result)
    return described is not None and described.is_expired


def _described(result: OldResult) -> ResultRecordMetadata | None:
    """What is known about a result; None if it has no description, or one that cannot be read here."""
    content = None if result.content is None else result.content.encode()
    file = result.file or ""

    def read_head(size: int) -> bytes:
        return read_file(file, large_records(), size) if content is None else content[:size]

    try:
        return ResultRecordMetadata.load_bytes(read_metadata(read_head))
    except (SerializationError, StorageError):
        return None


# Files


def _remove_files(store: RunStore, dry_run: bool) -> tuple[int, int]:
    """Remove the files of results that are gone; how many there were on this machine, and their bytes."""
    sizes = {file: size for file in store.read_unused_files() if (size := _size_of(Path(file))) is not None}
    if not dry_run:
        remove_unused_files(store)
        sizes = {file: size for file, size in sizes.items() if _size_of(Path(file)) is None}
    return len(sizes), sum(sizes.values())


def _orphans(store: RunStore) -> Iterator[tuple[Path, int]]:
    """The files in the folder for large results that nothing in the store leads to, and their sizes.

    Files of a day or less are left out, as their rows may be under way, and so is what may be a result that somebody
    keeps in the same folder by a storage of his own, or an earlier version has kept there.
    """
    folder = Path(get_current_settings().local_storage_path)
    known: set[str] | None = None
    oldest = time.time() - _LEAST_AGE_SECONDS
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        size = _size_of(path, oldest) if _OURS.fullmatch(path.name) else None
        if size is None:
            continue
        if known is None:
            known = {Path(file).name for file in store.read_files()} | set(_names_elsewhere(store))
        if path.name not in known and not _is_of_other_storage(path):
            yield path, size


def _names_elsewhere(store: RunStore) -> Iterator[str]:
    for data in store.read_places_elsewhere():
        try:
            described: dict[str, Any] = msgspec.json.decode(data)
        except msgspec.DecodeError:
            continue
        yield str(described.get("storage_key")).rpartition("/")[2]


def _is_of_other_storage(path: Path) -> bool:
    """Whether a file is named by the key of its result, as it would be in any storage but the run store."""
    files = LocalFileSystem()
    try:
        described = ResultRecordMetadata.load_bytes(
            read_metadata(lambda size: files.read_head(str(path), size))
        )
    except (SerializationError, StorageError):
        return True  # a value alone, say, whose description is elsewhere
    return (described.storage_key or path.name).rpartition("/")[2] == path.name


def _size_of(path: Path, oldest: float | None = None) -> int | None:
    """The size of a regular file; None if it is none, is not there, or is younger than ``oldest``."""
    try:
        found = path.lstat()
    except OSError:
        return None
    if not path.is_file() or path.is_symlink() or (oldest is not None and found.st_mtime > oldest):
        return None
    return found.st_size
