"""Named places in the engine at which a test may look on, wait, fail or die.

A place asks whether somebody looks on, and passes its name if so; else it costs the reading of one global. Nobody
looks on but `mainspring.testing`, and who wants to write something like it.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["POINTS", "Observer", "observer"]

Observer = Callable[[str, object], object]
"""Called in the thread that passes a point, with the name of the point and what it is about. What it raises comes out
there."""

observer: Observer | None = None
"""Who looks on in this process; None for nobody. Set it while nothing runs."""

POINTS: dict[str, str] = {}
"""What each point is, by name. Each has one meaning and may be in several places."""
