"""The benchmarks work. What they measure is nobody's business here: machines differ, and do other things, too."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.examples.script import ROOT


def run(script: str, *options: str, folder: Path = ROOT / "benchmarks") -> str:
    command = [sys.executable, folder / f"{script}.py", "--quick", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def figures(script: str, folder: Path = ROOT / "benchmarks") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(script, "--json", folder=folder))["figures"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("script", ["overhead", "results", "hashing", "many", "peer_mainspring"])
def test_measures_everything(script: str, mainspring_home: Path) -> None:
    """Each path has a time and is a multiple of another one, the first one of itself."""
    first, *others = figures(script)
    assert first["multiple"] == 1
    assert others
    assert all(figure["seconds"] > 0 and figure["multiple"] > 0 for figure in others)


@pytest.mark.slow
def test_measures_a_cluster_beside_bare_calls(mainspring_home: Path) -> None:
    """Each path on a cluster is a multiple of bare calls there, of which the lowest and the highest are told."""
    pytest.importorskip("distributed")
    *found, many = json.loads(run("clusters", "--json", "--cluster", "Dask"))["figures"]
    assert len(found) == 6
    assert all(each["spread"][0] <= each["multiple"] <= each["spread"][1] for each in found)
    assert many["growth"] >= 0


@pytest.mark.slow
def test_tells_which_peer_is_missing(tmp_path: Path) -> None:
    """A peer without an environment is reported, has no figure, and is no reason to stop."""
    folder = shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks")
    found = figures("peers", folder)
    missing = [figure for figure in found if figure["seconds"] is None]
    assert [figure["path"] for figure in missing] == ["joblib", "dbos"]
    assert all("make bench-peers" in figure["problem"] for figure in missing)
    assert any(figure["path"].endswith("cache hit") for figure in found)


@pytest.mark.slow
def test_writes_into_a_page(tmp_path: Path) -> None:
    """The table goes between its two marks, in place of what was there, and the rest of the page stays."""
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- results -->\n| of yesterday |\n<!-- end of results -->\nafter\n", encoding="utf-8"
    )
    run("results", "--page", str(page))
    before, marked, rest = page.read_text(encoding="utf-8").partition("<!-- results -->\n")
    table, _, after = rest.partition("<!-- end of results -->")
    assert (before, bool(marked), after) == ("before\n", True, "\nafter\n")
    assert "yesterday" not in table
    assert "| kept result |" in table


def test_the_page_has_a_place_for_each_table() -> None:
    """The page about performance has the marks of every benchmark."""
    page = (ROOT / "docs/explanation/performance.md").read_text(encoding="utf-8")
    for name in ("overhead", "results", "hashing", "clusters", "peers"):
        assert f"<!-- {name} -->\n" in page
        assert f"<!-- end of {name} -->\n" in page
