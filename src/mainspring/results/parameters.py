"""The part of a result store that keeps the arguments of runs which another process is to begin or to go on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from mainspring._imports import modules_on_use
from mainspring.results.history import HistoryStorage

if TYPE_CHECKING:
    from mainspring import records
    from mainspring.filesystems import WritableFileSystem
    from mainspring.records import ResultRecord
    from mainspring.serializers import Serializer
else:
    records = modules_on_use("mainspring", "records")

__all__ = ["KeptParameters"]


class KeptParameters:
    """Arguments of runs under ``parameters/<id>``, beside the results.

    In the run store they are written in one commit with what is recorded of the run next.
    """

    __slots__ = ()
    serializer: Serializer[Any]

    def _storage(self) -> WritableFileSystem:
        raise NotImplementedError

    def store_parameters(self, identifier: UUID | str, parameters: dict[str, Any]) -> None:
        """Keep the arguments of a run that another process is to begin; raises as `write` does."""
        path, record = self._parameters(identifier, parameters)
        storage = self._storage()
        if isinstance(storage, HistoryStorage):
            storage.write_along(path, record.serialize())
        else:
            storage.write_path(path, record.serialize())

    async def astore_parameters(self, identifier: UUID | str, parameters: dict[str, Any]) -> None:
        """`store_parameters` for async code."""
        path, record = self._parameters(identifier, parameters)
        storage = self._storage()
        if isinstance(storage, HistoryStorage):
            await storage.awrite_along(path, record.serialize())
        else:
            await storage.awrite_path(path, record.serialize())

    def read_parameters(self, identifier: UUID | str) -> dict[str, Any]:
        """The arguments that were kept for a run; raises as `read` does."""
        content = self._storage().read_path(f"parameters/{identifier}")
        parameters: dict[str, Any] = records.ResultRecord.deserialize(content).result
        return parameters

    async def aread_parameters(self, identifier: UUID | str) -> dict[str, Any]:
        """`read_parameters` for async code."""
        content = await self._storage().aread_path(f"parameters/{identifier}")
        parameters: dict[str, Any] = records.ResultRecord.deserialize(content).result
        return parameters

    def parameters_path(self, identifier: UUID | str) -> str:
        """Where the arguments of a run are kept, in a form that other processes understand."""
        return self._storage().resolve_path(f"parameters/{identifier}")

    def has_parameters_at(self, path: str, identifier: UUID | str) -> bool:
        """Whether this store would find the arguments of a run that were kept at a path."""
        storage = self._storage()
        return storage.relative_path(path) == storage.relative_path(self.parameters_path(identifier))

    def _parameters(
        self, identifier: UUID | str, parameters: dict[str, Any]
    ) -> tuple[str, ResultRecord[Any]]:
        path = f"parameters/{identifier}"
        return path, records.ResultRecord(
            parameters, records.ResultRecordMetadata(path, serializer=self.serializer)
        )
