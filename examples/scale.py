"""Count words in a corpus that is larger than what one would hold in memory: a map over a generator.

At most 64 pages are under way at a time. A page is made when there is room for it, its counts are added up as soon as
they are there, and nothing is kept of it but the row in the history.
"""

import random
import resource
import sys
from collections import Counter
from collections.abc import Iterator

from mainspring import flow, task
from mainspring.task_runners import ThreadPoolTaskRunner

WORDS = ["main", "spring", "wheel", "escapement", "pallet", "balance", "jewel", "crown", "barrel", "pinion"]


def pages(count: int) -> Iterator[str]:
    """Pages of text, one after the other; in earnest they would come from a disk or a network."""
    for number in range(count):
        words = random.Random(number)  # noqa: S311 - a corpus that is the same in each run
        yield " ".join(words.choices(WORDS, weights=range(1, len(WORDS) + 1), k=200))


@task
def count_words(page: str) -> Counter[str]:
    """The words of one page."""
    return Counter(page.split())


@task
def most_common(page: str) -> str:
    """The word that a page has most often; a task that waits for another, and lends its turn meanwhile."""
    (word, _), *_ = count_words.submit(page).result().most_common(1)
    return word


@flow(task_runner=ThreadPoolTaskRunner(max_workers=4))
def corpus(count: int = 5_000) -> Counter[str]:
    """Add the counts up in whatever order they come."""
    counts: Counter[str] = Counter()
    for page_counts in count_words.map(pages(count), max_in_flight=64).results(in_order=False):
        counts.update(page_counts)
    return counts


@flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
def first_page_about(word: str) -> int:
    """The number of the first page that is about a word, of pages without an end; leaving them cancels the rest."""
    found = most_common.map(pages(sys.maxsize), max_in_flight=8).results()
    return next(number for number, common in enumerate(found) if common == word)


if __name__ == "__main__":
    total = corpus()
    print(f"{total.total():,} words, most of them {total.most_common(1)[0][0]!r}")
    print(f"page {first_page_about('jewel')} is the first one about jewels")
    unit = 1 if sys.platform == "darwin" else 1024
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(f"{memory / 2**20:.0f} MB of memory were enough", file=sys.stderr)
