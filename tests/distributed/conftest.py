"""What the tests of clusters share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deaths.conftest import dice
from tests.distributed.clusters import Cluster, cluster_of
from tests.durability.invariants import check_store

__all__ = ["dice"]

WITH_RAY = pytest.param("ray", marks=pytest.mark.ray)


@pytest.fixture(scope="module", params=["dask", WITH_RAY])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster of each kind, for all tests of a module: starting one takes a while."""
    pytest.importorskip({"dask": "distributed"}.get(request.param, request.param))
    with cluster_of(request.param) as cluster:
        yield cluster


@pytest.fixture
def runner(cluster: Cluster, mainspring_home: Path) -> Iterator[Any]:
    """A started runner on it. When the test is over, what it has left is as legal as after any other death."""
    with cluster.runner() as runner:
        yield runner
    check_store(mainspring_home / "mainspring.db")
