"""The backends of this package keep the contract of run stores."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring.store import RunStore, open_store
from tests.postgres.server import fresh_schema
from tests.store.conformance import RunStoreConformance


class TestSQLiteFile(RunStoreConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[RunStore]:
        store = open_store(f"sqlite:///{tmp_path}/runs.db")
        yield store
        store.close()


class TestSQLiteMemory(RunStoreConformance):
    @pytest.fixture
    def store(self) -> Iterator[RunStore]:
        store = open_store("sqlite://")
        yield store
        store.close()


@pytest.mark.postgres
class TestPostgreSQL(RunStoreConformance):
    @pytest.fixture
    def store(self) -> Iterator[RunStore]:
        with fresh_schema() as url:
            store = open_store(url)
            yield store
            store.close()
