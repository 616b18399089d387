"""How sure is a median? A bootstrap on all processors: the same sample, drawn from again a few thousand times.

Run it with ``python examples/processes.py``. Each task draws its share of the resamples in a process of its own, from
random numbers of its own, so the answer is the same on every machine, whatever runs where and when.
"""

import os
import random
import statistics
import sys

from mainspring import flow, task, unmapped
from mainspring.task_runners import ProcessPoolTaskRunner

SHARES = 8


def waiting_times(count: int) -> list[float]:
    """Minutes that customers waited, most of them short: a skewed sample, as real ones are."""
    chance = random.Random(2013)  # noqa: S311 - for statistics
    return [round(chance.lognormvariate(1.5, 0.8), 1) for _ in range(count)]


@task(retries=2, task_run_name="resample, share {share}")  # a worker that is killed costs one attempt
def resampled_medians(sample: list[float], share: int, draws: int) -> tuple[list[float], int]:
    """The medians of samples drawn from the sample, and the process that drew them."""
    chance = random.Random(share)  # noqa: S311 - for statistics
    medians = [statistics.median(chance.choices(sample, k=len(sample))) for _ in range(draws)]
    return medians, os.getpid()


@task
def interval(medians: list[float], confidence: float) -> tuple[float, float]:
    """Between which values the median lies, with this confidence."""
    ordered = sorted(medians)
    outside = round(len(ordered) * (1 - confidence) / 2)
    return ordered[outside], ordered[-outside - 1]


@flow(task_runner=ProcessPoolTaskRunner())
def processes(size: int = 500, draws: int = 4_000, confidence: float = 0.95) -> tuple[float, float]:
    """Estimate the median of a sample, and how far off it may be."""
    sample = waiting_times(size)
    shares = resampled_medians.map(unmapped(sample), range(SHARES), draws // SHARES).result()
    low, high = interval([median for medians, _ in shares for median in medians], confidence)
    print(f"half of the customers waited {statistics.median(sample)} minutes or less,")
    print(f"and with {confidence:.0%} confidence that median is between {low} and {high}")
    workers = {pid for _, pid in shares}
    print(f"{draws:,} resamples in {len(workers)} process{'es' * (len(workers) > 1)}", file=sys.stderr)
    return low, high


if __name__ == "__main__":
    processes()
