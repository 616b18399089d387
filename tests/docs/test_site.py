"""The documentation as a site."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS

CLAUSE = re.compile(r"\([A-Z]{1,2}-\d+")
LOADED = re.compile(r'<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)="((?:https?:)?//[^"]+)"')


@pytest.mark.slow
@pytest.mark.timeout(400)  # it reads all pages, which takes a minute on a machine that has other work
def test_site(tmp_path: Path) -> None:
    """It builds without a warning (a dead link is one), loads nothing from elsewhere and names no clauses to users."""
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", "-d", tmp_path / "tree"]
    done = subprocess.run([*command, DOCS, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {
        path.relative_to(tmp_path): path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")
    }
    assert {page.relative_to(DOCS).with_suffix(".html") for page in DOCS.rglob("*.md")} <= pages.keys()
    assert not [url for text in pages.values() for url in LOADED.findall(text)]
    assert not [path for path, text in pages.items() if path.match("api/*") and CLAUSE.search(text)]
