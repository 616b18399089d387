"""Time for tests: a clock that stands still until somebody sleeps, and then jumps."""

import asyncio

START = 1_800_000_000_000_000  # a wall time in 2027, in microseconds


class JumpingClock:
    """A clock whose sleeps take no time.

    ``slept`` lists the seconds of each sleep. With a ``tick``, every look at the wall time takes so many
    microseconds.
    """

    def __init__(self, tick: int = 0) -> None:
        self.time = START
        self.tick = tick
        self.slept: list[float] = []

    def now(self) -> int:
        self.time += self.tick
        return self.time

    def monotonic(self) -> float:
        return self.time / 1e6

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.time += round(seconds * 1e6)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(max(seconds, 0))

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)
