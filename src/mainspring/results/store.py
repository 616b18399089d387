"""The result store: where and how the results of a run are kept, read and locked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mainspring._imports import modules_on_use
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import (
    ConfigurationError,
    SerializationError,
    StorageDriverMissing,
    StoragePathMissing,
    StoreError,
)
from mainspring.filesystems import WritableFileSystem, in_thread
from mainspring.results.defaults import (
    get_default_persist_setting,
    get_default_result_serializer,
    resolve_serializer,
)
from mainspring.results.history import LARGEST_ROW, HistoryStorage
from mainspring.results.keys import StorageKeyTemplate, new_storage_key
from mainspring.results.locations import (
    get_default_result_storage,
    is_usual,
    path_in,
    resolve_result_storage,
)
from mainspring.results.locks import LockedKeys
from mainspring.results.memory import Found, KeptRecord, RecordCache
from mainspring.results.parameters import KeptParameters
from mainspring.settings import Settings, get_current_settings

if TYPE_CHECKING:
    from mainspring import records
    from mainspring.locking.protocol import LockManager
    from mainspring.records import ResultRecord, ResultRecordMetadata, layout
    from mainspring.results.options import FlowOptions, TaskOptions
    from mainspring.serializers import Serializer
    from mainspring.store.results import KeptResult
else:
    layout = modules_on_use("mainspring.records", "layout")
    records = modules_on_use("mainspring", "records")

__all__ = ["ResultStore", "get_current_result_store", "get_result_store"]

_logger = logging.getLogger("mainspring.results")

_MAXIMUM_DERIVED = 256  # stores for tasks with options of their own, for each store


class ResultStore(LockedKeys, KeptParameters):
    """Where and how results are kept. Immutable, and safe to use from any thread.

    Args:
        result_storage: Where the results are: a file system, a path or an address; the default storage when None.
        metadata_storage: Where what is known about them is, if not beside them in the same file.
        lock_manager: What locks keys.
        persist_result: Whether results are kept; the setting ``results.persist_by_default`` by default.
        cache_result_in_memory: Whether the state of a run holds its value, and records are kept in memory. With
            False the value is loaded each time that it is asked for.
        serializer: What turns results into bytes, or its type; the setting ``results.default_serializer`` by default.
        storage_key_fn: Makes the key of a result that is kept without one.
        cache: The records kept in memory; stores that are derived from this one share them.
    """

    __slots__ = (
        "_derived",
        "cache",
        "cache_result_in_memory",
        "has_template",
        "lock_manager",
        "metadata_storage",
        "persist_result",
        "result_storage",
        "serializer",
        "storage_key_fn",
    )
    # declared for the type checkers, as the attributes cannot be set in the usual way
    result_storage: WritableFileSystem | None
    metadata_storage: WritableFileSystem | None
    persist_result: bool
    cache_result_in_memory: bool
    serializer: Serializer[Any]
    storage_key_fn: Callable[[], str]
    cache: RecordCache
    has_template: bool  # whether keys come from the storage key of a task, which counts for its own runs only
    _derived: dict[Any, ResultStore]

    def __init__(
        self,
        result_storage: Any = None,
        metadata_storage: Any = None,
        lock_manager: LockManager | None = None,
        persist_result: bool | None = None,
        cache_result_in_memory: bool = True,
        serializer: Serializer[Any] | str | None = None,
        storage_key_fn: Callable[[], str] = new_storage_key,
        cache: RecordCache | None = None,
    ) -> None:
        fields: dict[str, Any] = {
            "result_storage": None if result_storage is None else resolve_result_storage(result_storage),
            "metadata_storage": None
            if metadata_storage is None
            else resolve_result_storage(metadata_storage),
            "lock_manager": lock_manager,
            "persist_result": get_default_persist_setting() if persist_result is None else persist_result,
            "cache_result_in_memory": cache_result_in_memory,
            "serializer": (
                get_default_result_serializer() if serializer is None else resolve_serializer(serializer)
            ),
            "storage_key_fn": storage_key_fn,
            "cache": RecordCache() if cache is None else cache,
            "_derived": {},
            "has_template": isinstance(storage_key_fn, StorageKeyTemplate),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    # For the runs of flows and tasks

    def update_for_flow(self, flow: FlowOptions) -> ResultStore:
        """The store for the runs of a flow: its options where it has them, else those of this store."""
        return self._derive(flow, None, None, self.lock_manager)

    def update_for_task(self, task: TaskOptions, lock_manager: LockManager | None = None) -> ResultStore:
        """The store for the runs of a task: its options where it has them, else those of this store.

        Cheap; this store itself if there is nothing to change, and the same one for the same options. A storage key
        of a task counts for its own runs only.

        Args:
            task: The task.
            lock_manager: The one of the enclosing transaction; that of the task's cache policy wins.
        """
        policy = task.cache_policy
        key_storage = None if policy is None else policy.key_storage
        own_manager = None if policy is None else policy.lock_manager
        manager = own_manager or lock_manager or self.lock_manager
        return self._derive(task, task.result_storage_key, key_storage, manager)

    def _derive(
        self, options: FlowOptions, template: str | None, key_storage: Any, manager: LockManager | None
    ) -> ResultStore:
        persist = self.persist_result if options.persist_result is None else options.persist_result
        in_memory = options.cache_result_in_memory
        if in_memory is None:
            in_memory = self.cache_result_in_memory
        storage, serializer = options.result_storage, options.result_serializer
        if (
            storage is None
            and serializer is None
            and template is None
            and key_storage is None
            and persist == self.persist_result
            and in_memory == self.cache_result_in_memory
            and manager is self.lock_manager
            and self.result_storage is not None
            and not self.has_template
        ):
            return self
        wanted = storage, serializer, template, key_storage, persist, in_memory, id(manager)
        try:
            known = self._derived.get(wanted)
        except TypeError:  # a storage of the user's that cannot be hashed
            return self._make(*wanted[:6], manager)
        if known is None:
            known = self._make(*wanted[:6], manager)
            if len(self._derived) >= _MAXIMUM_DERIVED:
                self._derived.clear()
            self._derived[wanted] = known
        return known

    def _make(
        self,
        storage: Any,
        serializer: Any,
        template: str | None,
        key_storage: Any,
        persist: bool,
        in_memory: bool,
        manager: LockManager | None,
    ) -> ResultStore:
        key_function = self.storage_key_fn
        if template is not None:
            key_function = StorageKeyTemplate(template)
        elif self.has_template:  # the one of the task around
            key_function = new_storage_key
        return ResultStore(
            result_storage=self._storage() if storage is None else storage,
            metadata_storage=self.metadata_storage if key_storage is None else key_storage,
            lock_manager=manager,
            persist_result=persist,
            cache_result_in_memory=in_memory,
            serializer=self.serializer if serializer is None else serializer,
            storage_key_fn=key_function,
            cache=self.cache,
        )

    # Writing

    def create_result_record(
        self, obj: Any, key: str | None = None, expiration: datetime | None = None
    ) -> ResultRecord[Any]:
        """A record of ``obj``, to be kept under ``key``; nothing is written.

        Args:
            obj: The value.
            key: The key; a new one when None.
            expiration: From when on it is as good as gone for caches.

        Raises:
            TypeError: The key is not a text.
            ConfigurationError: The key leads out of the storage, or no storage could have it.
        """
        key = self.storage_key_fn() if key is None else key
        if not isinstance(key, str):
            raise TypeError(
                f"A storage key has to be a text, not {key!r} of type {type(key).__name__}. It comes from"
                f" {self.storage_key_fn!r} unless it was given."
            )
        storage = self._storage()
        metadata = records.ResultRecordMetadata(
            path_in(storage, key),
            expiration,
            self.serializer,
            is_separate=self.metadata_storage is not None,
            keeps_value=self.cache_result_in_memory,
            storage=storage,
        )
        return records.ResultRecord(obj, metadata)

    def write(
        self,
        obj: Any,
        key: Any = None,
        expiration: datetime | None = None,
        holder: str | None = None,
    ) -> ResultRecord[Any]:
        """Keep a value.

        Args:
            obj: The value.
            key: The key; a new one when None. ``write("key", value)`` is understood, too, as long as the value is
                neither a text nor None.
            expiration: From when on it is as good as gone for caches.
            holder: Who may write although the key is locked.

        Returns:
            The record that was written.

        Raises:
            SerializationError: The serializer cannot handle the value.
            LockedByAnother: Somebody else has locked the key.
            StorageError: The storage cannot be written.
        """
        record = self._record_to_write(obj, key, expiration)
        self.persist_result_record(record, holder)
        return record

    async def awrite(
        self,
        obj: Any,
        key: Any = None,
        expiration: datetime | None = None,
        holder: str | None = None,
    ) -> ResultRecord[Any]:
        """`write` for async code."""
        record = self._record_to_write(obj, key, expiration)
        await self.apersist_result_record(record, holder)
        return record

    def persist_result_record(self, result_record: ResultRecord[Any], holder: str | None = None) -> None:
        """Keep a record under its storage key; raises as `write` does."""
        for storage, path, content in self._files_of(result_record, holder):
            storage.write_path(path, content)
        result_record.mark_persisted()

    async def apersist_result_record(
        self, result_record: ResultRecord[Any], holder: str | None = None
    ) -> None:
        """`persist_result_record` for async code."""
        for storage, path, content in self._files_of(result_record, holder):
            await storage.awrite_path(path, content)
        result_record.mark_persisted()

    @property
    def is_in_history(self) -> bool:
        """Whether records are kept in the run store, so that they can be written in one commit with a state."""
        return self.metadata_storage is None and isinstance(self._storage(), HistoryStorage)

    @property
    def is_quick(self) -> bool:
        """Whether async code may look for records, and read small ones, without a thread."""
        return self.metadata_storage is None and self._storage().is_quick

    def pack(
        self, record: ResultRecord[Any], run_key: bytes | None = None, holder: str | None = None
    ) -> KeptResult:
        """A record as a row of the run store, also if it is to be kept elsewhere in the end; nothing is kept yet.

        Args:
            record: The record.
            run_key: The run whose result it is.
            holder: Who may write although the key is locked.

        Raises:
            SerializationError: The serializer cannot handle the value.
            LockedByAnother: Somebody else has locked the key.
            StorageError: The record is large, and its file cannot be written.
        """
        history, key, content = self._prepared(record, holder)
        return history.pack(key, content, run_key)

    async def apack(
        self, record: ResultRecord[Any], run_key: bytes | None = None, holder: str | None = None
    ) -> KeptResult:
        """`pack` for async code."""
        history, key, content = self._prepared(record, holder)
        return await history.apack(key, content, run_key)

    def _prepared(self, record: ResultRecord[Any], holder: str | None) -> tuple[HistoryStorage, str, bytes]:
        """Where rows are, whatever the storage of this store is, and what is to be put there."""
        storage = self._storage()
        key = storage.relative_path(record.metadata.storage_key or "")
        if self.lock_manager is not None:
            self._check_write(key, holder)
        if not isinstance(storage, HistoryStorage):
            storage = HistoryStorage(get_current_settings().local_storage_path)
        return storage, key, record.serialize()

    def remove(self, key: str) -> None:
        """Forget what is kept under a key; nothing if there is nothing.

        Raises:
            StorageError: It cannot be removed.
        """
        storage = self._storage()
        for place, path in ((storage, key), (self.metadata_storage, storage.relative_path(key))):
            if place is not None:
                with suppress(StoragePathMissing):
                    place.delete_path(path)
        self.cache.discard(storage.resolve_path(key))

    def _record_to_write(self, obj: Any, key: Any, expiration: datetime | None) -> ResultRecord[Any]:
        if isinstance(obj, str) and key is not None and not isinstance(key, str):
            obj, key = key, obj
        return self.create_result_record(obj, key, expiration)

    def _files_of(
        self, record: ResultRecord[Any], holder: str | None
    ) -> list[tuple[WritableFileSystem, str, bytes]]:
        """What is to be written where, in this order: who finds the metadata finds the value."""
        path = record.metadata.storage_key
        if path is None:
            raise ConfigurationError(
                "The record has no storage key, so it cannot be kept. Create it with a store."
            )
        storage = self._storage()
        key = storage.relative_path(path)
        self._check_write(key, holder)
        record.metadata.is_separate = self.metadata_storage is not None
        if self.metadata_storage is None:
            return [(storage, path, record.serialize())]
        payload = record.serialize_result()
        return [(storage, path, payload), (self.metadata_storage, key, record.serialize_metadata())]

    # Reading

    def exists(self, key: str) -> bool:
        """Whether there is a result under the key that has not expired; reads the metadata only.

        False also if the storage cannot be read now, with a warning: then the value is computed again.

        Raises:
            SerializationError: There is something under the key, but it is damaged.
            StorageDriverMissing: The storage is reached through a package that is not installed.
            ConfigurationError: The storage is not one that there is, or could never have the key.
            StoreError: The run store cannot be read.
        """
        return self.find(key) is not None

    def find(self, key: str) -> Found | None:
        """What is under the key, if it has not expired, for `open_found`; the value too if that costs no more.

        None also if the storage cannot be read now. Raises as `exists` does.
        """
        try:
            storage = self._storage()
            if not is_usual(key):
                path_in(storage, key)  # first, so that no function is called whose result cannot be kept
            metadata, payload = self._read_described_head(storage, key)
            described = records.ResultRecordMetadata.load_bytes(metadata)
            return None if described.is_expired else Found(described, payload)
        except (StoragePathMissing, FileNotFoundError):  # the latter of a file system of the user's
            return None
        except SerializationError as error:
            raise self._unusable(key, "is damaged", error) from error
        except (ConfigurationError, StorageDriverMissing, StoreError):
            raise
        except Exception as error:  # by rule R-28: what cannot be read for now is not there
            _logger.warning("The result under %r cannot be read, and counts as missing: %s", key, error)
            return None

    async def aexists(self, key: str) -> bool:
        """`exists` for async code."""
        return await self.afind(key) is not None

    async def afind(self, key: str) -> Found | None:
        """`find` for async code."""
        return self.find(key) if self.is_quick else await in_thread(self.find, key)

    def open_found(self, key: str, found: Found) -> ResultRecord[Any]:
        """The record that `find` has found; raises as `read` does."""
        return self._read(key) if found.payload is None else self._open(key, found.described, found.payload)

    async def aopen_found(self, key: str, found: Found) -> ResultRecord[Any]:
        """`open_found` for async code."""
        is_quick = found.payload is not None or self.is_quick
        return self.open_found(key, found) if is_quick else await in_thread(self.open_found, key, found)

    def read(self, key: str, holder: str | None = None) -> ResultRecord[Any]:
        """The record under a key; waits while somebody else has the key locked.

        Raises:
            StoragePathMissing: There is none.
            SerializationError: It is damaged, or the serializer cannot load it.
            RuntimeError: It was written by a serializer that is not known here.
            StorageError: The storage cannot be read.
        """
        if not self._may_read(key, holder):
            self.wait_for_lock(key)
        return self._read(key)

    async def aread(self, key: str, holder: str | None = None) -> ResultRecord[Any]:
        """`read` for async code."""
        if not self._may_read(key, holder):
            await self.await_for_lock(key)
        return self._read(key) if self.is_quick else await in_thread(self._read, key)

    def _read(self, key: str) -> ResultRecord[Any]:
        storage = self._storage()
        if self.metadata_storage is not None:
            known = self.metadata_storage.read_path(storage.relative_path(key))
            return self._join(key, known, self._read_described(key))
        path, fingerprint = self._remembered_as(key)
        kept = None if fingerprint is None else self.cache.get(path, fingerprint)
        if kept is not None and kept.payload is not None:
            record = self._join(key, kept.metadata, kept.payload)
            if not record.metadata.is_expired:
                return record
            self.cache.discard(path)
        content = storage.read_path(path)
        try:
            metadata, payload = layout.split_record(content)
        except SerializationError as error:
            raise self._unusable(key, "is damaged", error) from error
        record = self._join(key, metadata, payload)
        if fingerprint is not None and not record.metadata.is_expired:
            self.cache.put(path, KeptRecord(fingerprint, metadata, payload))
        return record

    def _read_described_head(self, storage: WritableFileSystem, key: str) -> tuple[bytes, bytes | None]:
        """The metadata of a record, and the value if both come in one small piece."""
        if self.metadata_storage is not None:
            return self.metadata_storage.read_path(storage.relative_path(key)), None
        if storage.is_quick:
            head = storage.read_head(key, LARGEST_ROW + 1)
            if len(head) <= LARGEST_ROW:  # so it is all that there is
                return layout.split_record(head)
        path, fingerprint = self._remembered_as(key)
        kept = None if fingerprint is None else self.cache.get(path, fingerprint)
        if kept is None:
            kept = KeptRecord(
                fingerprint, layout.read_metadata(lambda size: storage.read_head(path, size)), None
            )
            if fingerprint is not None:
                self.cache.put(path, kept)
        return kept.metadata, kept.payload

    def _read_described(self, key: str) -> bytes:
        """A value that is kept apart from its metadata, which is there."""
        try:
            return self._storage().read_path(key)
        except (StoragePathMissing, FileNotFoundError) as error:
            raise StoragePathMissing(
                f"There is metadata of a result under {key!r} in {self.metadata_storage!r}, but the result is gone from"
                f" {self._storage()!r}. Run with `refresh_cache=True` to compute it again. {error}"
            ) from error

    def _join(self, key: str, metadata: bytes, payload: bytes) -> ResultRecord[Any]:
        try:
            described = records.ResultRecordMetadata.load_bytes(metadata)
        except SerializationError as error:
            raise self._unusable(key, "cannot be loaded", error) from error
        return self._open(key, described, payload)

    def _open(self, key: str, described: ResultRecordMetadata, payload: bytes) -> ResultRecord[Any]:
        try:
            record = records.ResultRecord.from_payload(payload, described)
        except (SerializationError, RuntimeError) as error:
            raise self._unusable(key, "cannot be loaded", error) from error
        storage = self._storage()
        path = storage.resolve_path(key)
        if described.storage_key != path:  # it has been moved
            described.storage_key = path
        described.keeps_value = self.cache_result_in_memory
        described.storage = storage
        record.mark_persisted()
        return record

    def _unusable(self, key: str, why: str, error: Exception) -> Exception:
        kind = SerializationError if isinstance(error, SerializationError) else RuntimeError
        return kind(
            f"The result under {key!r} in {self._storage()!r} {why}, so it is neither used nor computed again."
            f" Delete it, or run with `refresh_cache=True`. {error}"
        )

    def _remembered_as(self, key: str) -> tuple[str, object | None]:
        """The path of a record, and the fingerprint that says whether it is the one kept in memory, if any."""
        storage = self._storage()
        path = storage.resolve_path(key)
        return path, storage.fingerprint(path) if self.cache_result_in_memory else None

    def _storage(self) -> WritableFileSystem:
        return get_default_result_storage() if self.result_storage is None else self.result_storage

    # As a value

    def _facts(self) -> tuple[Any, ...]:
        return (
            self.result_storage,
            self.metadata_storage,
            self.lock_manager,
            self.persist_result,
            self.cache_result_in_memory,
            self.serializer,
            self.storage_key_fn,
        )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("A ResultStore is immutable; make another one.")

    def __reduce__(self) -> tuple[type[ResultStore], tuple[Any, ...]]:
        return ResultStore, self._facts()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResultStore) and (self is other or self._facts() == other._facts())

    def __hash__(self) -> int:
        return hash((self.serializer, self.persist_result, self.cache_result_in_memory))

    def __repr__(self) -> str:
        return f"ResultStore(result_storage={self.result_storage!r}, serializer={self.serializer!r})"


_default: tuple[Settings, ResultStore] | None = None


def get_result_store() -> ResultStore:
    """The store of the active task or flow run; outside of any, one with the defaults of the settings."""
    global _default
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    active: ResultStore | None = None if task is None else task.result_store
    if active is None and flow is not None:
        active = flow.result_store
    if active is not None:
        return active
    settings = get_current_settings()
    known = _default
    if known is None or known[0] is not settings:
        known = _default = settings, ResultStore(result_storage=get_default_result_storage())
    return known[1]


get_current_result_store = get_result_store
