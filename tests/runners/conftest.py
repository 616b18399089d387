"""Tests of runners leave nothing running."""

from collections.abc import Iterator

import pytest

from mainspring.settings import temporary_settings
from mainspring.task_runners import ProcessPoolTaskRunner
from tests.engine.conftest import nothing_left
from tests.runners.remote import Meeting, attend

__all__ = ["nothing_left"]


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPoolTaskRunner]:
    """A started runner with two workers, for all tests of a module: starting one takes a while."""
    with ProcessPoolTaskRunner(max_workers=2) as runner:
        folder = tmp_path_factory.mktemp("workers")
        with temporary_settings({"home": folder}):
            meeting = Meeting(folder, 2)
            futures = [runner.submit(attend, {"meeting": meeting, "name": name}) for name in range(2)]
            assert len({future.result(timeout=60)[1] for future in futures}) == 2
        yield runner
