"""Map over so many numbers, in one of several ways, and print the most memory the process had, in bytes."""

import resource
import sys

from mainspring import flow, task


@task
def double(number: int) -> int:
    return 2 * number


@flow
def pipeline(way: str, count: int) -> int:
    """The sum of the results."""
    if way == "results":
        return sum(double.map(iter(range(count))).results())
    return sum(double.map(range(count)).result())


if __name__ == "__main__":
    way, count = sys.argv[1], int(sys.argv[2])
    assert pipeline(way, count) == count * (count - 1)
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
