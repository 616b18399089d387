"""Tests of runners leave nothing running."""

from tests.engine.conftest import nothing_left

__all__ = ["nothing_left"]
