"""What the pages say is what happens."""

from pathlib import Path

import pytest

from tests.docs import pages

EXAMPLES = {path: pages.parse(path) for path in pages.PAGES}


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [path for path, examples in EXAMPLES.items() if examples],
    ids=lambda path: str(path.relative_to(pages.ROOT)),
)
def test_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of a page runs, after those before it, and prints what the page shows."""
    monkeypatch.chdir(tmp_path)
    for example in EXAMPLES[path]:
        example.evaluate()


def test_every_language_is_meant() -> None:
    """Each block is in a language that is run, makes the site, or is a part of some output."""
    known = {"python", "output", "sql", "console", "text", "toml", "{toctree}", "{eval-rst}"}
    known.add("postgresql")  # for administrators: only shown
    found = {
        line.removeprefix("```").split()[0]
        for path in pages.PAGES
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("```") and line != "```"
    }
    assert found <= known
