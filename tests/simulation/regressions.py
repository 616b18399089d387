"""Seeds that have shown what was wrong, and what that was. They stay.

Another version may take another course with the same seed, so each of these has a test of its own besides, with the
tests of what was at fault.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["REGRESSIONS", "Regression"]


class Regression(NamedTuple):
    """A seed that has shown something.

    Args:
        program: A module in `tests.simulation.programs`.
        seed: The seed.
        was: What was wrong.
    """

    program: str
    seed: int
    was: str


REGRESSIONS = [
    *(
        Regression(
            "everything_async",
            seed,
            "A task run whose event loop was blocked past its time limit, by a slow commit of another thread, before"
            " its function was called, ended Crashed with all around it: it was told that it was given up, when its"
            " next attempt was what had been decided.",
        )
        for seed in (13, 51, 101, 147, 183)
    ),
    *(
        Regression(
            "everything",
            seed,
            "A failed flow run that was to be resumed, when the store could not be written, had its failure hooks"
            " called once more, for the old failure.",
        )
        for seed in (1103, 1329)
    ),
    *(
        Regression(
            "everything",
            seed,
            "A flow run with parameters was on disk, and could be resumed, while its Running state was still to be"
            " written and its function was called already; resumed after a death then, it was in its first attempt"
            " again.",
        )
        for seed in (8, 9)
    ),
]
