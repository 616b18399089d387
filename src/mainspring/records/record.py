"""A result and what is known about it: where it is kept, how it was written, until when it counts."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from functools import cache
from operator import is_
from typing import Any, Generic, TypeVar

import msgspec

from mainspring import clock
from mainspring._representation import shown
from mainspring.annotations import NotSet
from mainspring.exceptions import MissingResult, SerializationError, StoragePathMissing
from mainspring.filesystems import ReadableFileSystem
from mainspring.records.layout import join_record, split_record
from mainspring.records.locations import storage_of
from mainspring.serializers import PickleSerializer, Serializer, UnknownSerializer
from mainspring.states import StoredResult

__all__ = ["ResultRecord", "ResultRecordMetadata"]

R = TypeVar("R")

_DEFAULT_SERIALIZER = PickleSerializer()


class _Description(msgspec.Struct):
    """The metadata of a result as it is written."""

    storage_key: str | None = None
    expiration: str | None = None
    serializer: msgspec.Raw = msgspec.Raw(b"null")
    mainspring_version: str | None = None
    storage_block_id: str | None = None
    is_separate: bool = False


_decode = msgspec.json.Decoder(_Description).decode
_encode = msgspec.json.Encoder().encode


class _Written(msgspec.Struct):
    """The same for writing, in the order of the fields."""

    storage_key: str | None
    expiration: str | None
    serializer: msgspec.Raw
    mainspring_version: str | None
    storage_block_id: str | None


class _WrittenApart(_Written):
    """One whose value is elsewhere."""

    is_separate: bool = True


class ResultRecordMetadata(StoredResult):
    """What is known about a result without having it, and how to get it.

    As the data of a state it stands for the result: `get` loads the value from where ``storage_key`` says. Not to be
    changed once its record is stored.

    Args:
        storage_key: An absolute path, an address such as ``s3://bucket/key``, or what the storage of the active run
            understands.
        expiration: From when on the result is as good as gone for caches. Naive times are UTC.
        serializer: What the value was written with; pickle by default.
        mainspring_version: What wrote it; this version by default.
        storage_block_id: Free for whoever names storages by ids.
        is_separate: The value is stored alone, and this description elsewhere.

    Attributes:
        keeps_value: Whether `get` keeps the value for the next call. It is not stored.
        storage: The file system to load from, if it is known in this process. It is not stored.
    """

    __slots__ = (
        "_dumped",
        "_value",
        "expiration",
        "is_separate",
        "keeps_value",
        "mainspring_version",
        "serializer",
        "storage",
        "storage_block_id",
        "storage_key",
    )

    def __init__(
        self,
        storage_key: str | None = None,
        expiration: datetime | None = None,
        serializer: Serializer[Any] = _DEFAULT_SERIALIZER,
        mainspring_version: str | None = None,
        storage_block_id: str | None = None,
        *,
        is_separate: bool = False,
        keeps_value: bool = True,
        storage: ReadableFileSystem | None = None,
    ) -> None:
        if expiration is not None and expiration.tzinfo is None:
            expiration = expiration.replace(tzinfo=UTC)
        self.storage_key = storage_key
        self.expiration = expiration
        self.serializer = serializer
        self.mainspring_version = mainspring_version or _version()
        self.storage_block_id = storage_block_id
        self.is_separate = is_separate
        self.keeps_value = keeps_value
        self.storage = storage
        self._value: Any = NotSet
        self._dumped: tuple[tuple[Any, ...], bytes] | None = None

    @property
    def is_expired(self) -> bool:
        """True once the expiration has come."""
        until = self.expiration
        return until is not None and clock.from_datetime(until) <= clock.current().now()

    # As the data of a state

    def get(self) -> Any:
        """The value, from memory or loaded from storage.

        Raises:
            MissingResult: There is nothing under the storage key any more, or there is no storage key.
            SerializationError: What is there is damaged, or the serializer cannot load it.
            StorageError: The storage cannot be read.
        """
        if self._value is not NotSet:
            return self._value
        storage, key = self._place()
        try:
            return self._take(storage.read_path(key))
        except (StoragePathMissing, FileNotFoundError) as error:
            raise self._missing(error) from error

    async def aget(self) -> Any:
        """`get` for async code."""
        if self._value is not NotSet:
            return self._value
        storage, key = self._place()
        try:
            return self._take(await storage.aread_path(key))
        except (StoragePathMissing, FileNotFoundError) as error:
            raise self._missing(error) from error

    def has_cached_object(self) -> bool:
        return self._value is not NotSet

    def describe(self) -> str | None:
        return self.dump_bytes().decode()

    def _place(self) -> tuple[ReadableFileSystem, str]:
        if self.storage_key is None:
            raise MissingResult("The result was not kept: the record of it has no storage key.")
        return self.storage or storage_of(self.storage_key), self.storage_key

    def _take(self, content: bytes) -> Any:
        record: ResultRecord[Any]
        if self.is_separate:
            record = ResultRecord.from_payload(content, self)
        else:
            record = ResultRecord.deserialize(content, storage_key=self.storage_key)
        if self.keeps_value:
            self._value = record.result
        return record.result

    def _missing(self, error: Exception) -> MissingResult:
        return MissingResult(
            f"The result was to be kept under {self.storage_key!r}, and there is nothing: {error} It was removed, or"
            " could not be written, which the log of its run tells, or is in a storage that this machine does not"
            " reach."
        )

    # As JSON

    def dump_bytes(self) -> bytes:
        """The description as a JSON object in one line."""
        key, expiration = self.storage_key, self.expiration
        facts = key, expiration, self.serializer, self.is_separate  # all that may change before it is written
        known = self._dumped
        if known is not None and all(map(is_, facts, known[0])):
            return known[1]  # asked for twice for each kept result: for its state, and for itself
        until = None if expiration is None else expiration.isoformat()
        kind = _WrittenApart if self.is_separate else _Written
        try:
            serializer = msgspec.Raw(self.serializer.dump_configuration())
            dumped = _encode(kind(key, until, serializer, self.mainspring_version, self.storage_block_id))
        except TypeError as error:
            raise SerializationError(
                f"The options of the serializer {self.serializer!r} cannot be written beside a result: {error}."
            ) from error
        self._dumped = facts, dumped
        return dumped

    @classmethod
    def load_bytes(cls, data: bytes | str) -> ResultRecordMetadata:
        """The description that `dump_bytes` was called on.

        A serializer that is not known here is replaced by an `UnknownSerializer`.

        Raises:
            SerializationError: The data is something else.
        """
        try:
            described = _decode(data)
            until = described.expiration
            loaded = cls(
                described.storage_key,
                None if until is None else datetime.fromisoformat(until),
                _serializer(bytes(described.serializer)),
                described.mainspring_version,
                described.storage_block_id,
                is_separate=described.is_separate,
            )
        except (msgspec.DecodeError, TypeError, ValueError) as error:
            raise SerializationError(f"This is not the metadata of a result: {error}.") from error
        if isinstance(data, bytes) and b"\n" not in data:  # it is asked for again, for the state of its run
            facts = loaded.storage_key, loaded.expiration, loaded.serializer, loaded.is_separate
            loaded._dumped = facts, data
        return loaded

    def copy(self) -> ResultRecordMetadata:
        """The same description without the value."""
        return ResultRecordMetadata(
            self.storage_key,
            self.expiration,
            self.serializer,
            self.mainspring_version,
            self.storage_block_id,
            is_separate=self.is_separate,
            keeps_value=self.keeps_value,
            storage=self.storage,
        )

    def _facts(self) -> tuple[Any, ...]:
        return (
            self.storage_key,
            self.expiration,
            self.serializer,
            self.mainspring_version,
            self.storage_block_id,
            self.is_separate,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ResultRecordMetadata):
            return NotImplemented
        return self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash((self.storage_key, self.expiration))

    def __repr__(self) -> str:
        return (
            f"ResultRecordMetadata(storage_key={self.storage_key!r}, expiration={self.expiration!r},"
            f" serializer={self.serializer!r})"
        )


class ResultRecord(StoredResult, Generic[R]):
    """A result together with what is known about it.

    Args:
        result: The value.
        metadata: Where and how it is kept, or will be.
    """

    __slots__ = ("_is_persisted", "_payload", "metadata", "result")

    def __init__(self, result: R, metadata: ResultRecordMetadata | None = None) -> None:
        self.result = result
        self.metadata = ResultRecordMetadata() if metadata is None else metadata
        self._is_persisted = False
        self._payload: bytes | None = None

    @property
    def expiration(self) -> datetime | None:
        """From when on the result is as good as gone for caches."""
        return self.metadata.expiration

    @property
    def serializer(self) -> Serializer[Any]:
        """What the value is written with."""
        return self.metadata.serializer

    @property
    def storage_key(self) -> str | None:
        """Where the value is kept, or will be."""
        return self.metadata.storage_key

    @property
    def is_persisted(self) -> bool:
        """True once the record is in its storage."""
        return self._is_persisted

    def mark_persisted(self) -> None:
        """Say that the record is in its storage."""
        self._is_persisted = True
        self._payload = None

    # As the data of a state

    def get(self) -> R:
        return self.result

    async def aget(self) -> R:
        return self.result

    def has_cached_object(self) -> bool:
        return True

    def describe(self) -> str | None:
        """Where the value is kept, or will be once the transaction around its run is committed."""
        return None if self.metadata.storage_key is None else self.metadata.describe()

    # As bytes

    def prepare(self) -> None:
        """Serialize the value now, and keep the bytes until the record is stored.

        For whoever must know that several records can be written before the first one is. Later changes to the value
        are not stored.

        Raises:
            SerializationError: See `serialize_result`.
        """
        self._payload = self.serialize_result()

    def serialize(self) -> bytes:
        """The whole record, as `mainspring.records.layout` says.

        Raises:
            SerializationError: See `serialize_result`.
        """
        payload = self._payload
        if payload is None:  # first, as the metadata tells which library wrote it
            payload = self.serialize_result()
        return join_record(self.metadata.dump_bytes(), payload)

    def serialize_result(self) -> bytes:
        """The value alone.

        Raises:
            SerializationError: The serializer cannot handle it; the cause says why.
        """
        if self._payload is not None:
            return self._payload
        serializer = self.metadata.serializer
        try:
            payload: Any = serializer.dumps(self.result)
            if type(payload) is bytes:
                return payload
            if not isinstance(payload, bytes | bytearray):
                raise TypeError(f"its dumps() returned {shown(payload)}, which is no bytes")
            return bytes(payload)
        except Exception as error:  # whatever a library or the value's own code raises
            raise SerializationError(
                f"A result of type {type(self.result).__name__!r} cannot be written by the serializer"
                f" {serializer.type!r}: {type(error).__name__}: {str(error).rstrip('.')}. Choose another one with"
                " `result_serializer`, or keep no result with `persist_result=False`."
            ) from error

    def serialize_metadata(self) -> bytes:
        """The description alone."""
        return self.metadata.dump_bytes()

    @classmethod
    def deserialize(
        cls,
        data: bytes,
        backup_serializer: Serializer[Any] | None = None,
        *,
        storage_key: str | None = None,
    ) -> ResultRecord[Any]:
        """The record that `serialize` was called on; also one in the old flat form.

        Args:
            data: The bytes.
            backup_serializer: Loads the value if the data is no record but a value alone; the metadata is then
                the default one.
            storage_key: Where the data comes from, for messages.

        Raises:
            SerializationError: The data is damaged or something else, or the value cannot be loaded.
            RuntimeError: It was written by a serializer that is not known here.
        """
        try:
            described, payload = split_record(data)
            metadata = ResultRecordMetadata.load_bytes(described)
        except SerializationError as error:
            if backup_serializer is None:
                if storage_key is None:
                    raise
                raise SerializationError(
                    f"The result at {storage_key!r} cannot be loaded: {error}"
                ) from error
            return ResultRecord.from_payload(data, ResultRecordMetadata(serializer=backup_serializer))
        return ResultRecord.from_payload(payload, metadata)

    @classmethod
    def deserialize_from_result_and_metadata(cls, result: bytes, metadata: bytes) -> ResultRecord[Any]:
        """The record whose parts were stored apart; raises as `deserialize` does."""
        return cls.from_payload(result, ResultRecordMetadata.load_bytes(metadata))

    @classmethod
    def from_payload(cls, payload: bytes, metadata: ResultRecordMetadata) -> ResultRecord[Any]:
        """The record with the value that ``payload`` was made from.

        Raises:
            SerializationError: The value cannot be loaded.
            RuntimeError: It was written by a serializer that is not known here.
        """
        serializer = metadata.serializer
        try:
            value = serializer.loads(payload)
        except Exception as error:  # whatever a library or the value's own code raises
            if isinstance(serializer, UnknownSerializer):
                raise RuntimeError(
                    f"The result at {metadata.storage_key!r} cannot be loaded. {error}"
                ) from error
            raise SerializationError(
                f"The result at {metadata.storage_key!r} cannot be loaded by the serializer {serializer.type!r}:"
                f" {type(error).__name__}: {error}"
            ) from error
        return ResultRecord(value, metadata)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.metadata == other.metadata and bool(self.result == other.result)

    def __hash__(self) -> int:
        return hash(self.metadata)

    def __repr__(self) -> str:
        return f"ResultRecord(storage_key={self.storage_key!r}, result={self.result!r})"


def _serializer(configuration: bytes) -> Serializer[Any]:
    return _DEFAULT_SERIALIZER if configuration == b"null" else Serializer.load_configuration(configuration)


@cache
def _version() -> str:
    # The package itself is above this layer. It is loaded, as its submodules are.
    version: str = sys.modules[__name__.partition(".")[0]].__version__
    return version
