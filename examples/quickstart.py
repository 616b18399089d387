"""The smallest pipeline worth tracking: count the lines of the files beside this one."""

from pathlib import Path

from mainspring import flow, task


@task(retries=2, retry_delay_seconds=1)  # on a network drive, a file may be away for a moment
def count_lines(path: Path) -> int:
    """The number of lines of one file."""
    return len(path.read_text(encoding="utf-8").splitlines())


@flow
def quickstart() -> int:
    """Count the lines of all files at the same time and add them up."""
    paths = sorted(Path(__file__).parent.glob("*.py"))
    total = sum(count_lines.map(paths).result())
    print(f"{total} lines in {len(paths)} files")
    return total


if __name__ == "__main__":
    quickstart()
