"""Tests of events leave nobody subscribed, and every test begins with nobody."""

from collections.abc import Iterator

import pytest

from mainspring._events import receivers


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    """Whoever subscribes in a test leaves in it."""
    assert receivers.active == ()
    yield
    assert receivers.active == ()
