"""The benchmarks work. What they measure is nobody's business here: machines differ, and do other things, too."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cases import Case, Family, Turn
from benchmarks.measuring import Figure, Meter, Unmeasurable
from benchmarks.registry import ALONE, TABLES, names_of
from benchmarks.rounds import take_rounds
from tests.examples.script import ROOT

FAMILIES = names_of([])
ELSEWHERE = {"postgres", "reading", "sizes"}
"""What takes a server, or is in units of its own: each has a test of its own."""


def run(*arguments: str, folder: Path = ROOT) -> str:
    command = [sys.executable, "-m", *arguments, "--quick"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tables(*arguments: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = json.loads(run(*arguments, "--json", "-"))["tables"]
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_measures_everything(tmp_path: Path, mainspring_home: Path) -> None:
    """Each path of a table has a time and is a multiple of another one, the first one of itself; plots are drawn."""
    names = [name for name in FAMILIES if name not in ELSEWHERE]
    found = tables("benchmarks", *names, "--plots", str(tmp_path))
    assert found.keys() == TABLES.keys() - ELSEWHERE
    for first, *others in found.values():
        assert first["multiple"] == 1
        assert others
        assert [each["problem"] for each in others if each["problem"]] == []
        assert all(each["is_size"] or (each["seconds"] > 0 and each["multiple"] > 0) for each in others)
        assert all((each["verdict"] in ("met", "over")) is (each["budget"] is not None) for each in others)
    assert {path.name for path in tmp_path.iterdir()} == {"budgets.svg", "many.svg"}


@pytest.mark.slow
@pytest.mark.postgres
def test_measures_postgresql(mainspring_home: Path) -> None:
    """The paths with the history in PostgreSQL have times, too."""
    ((_, *others),) = tables("benchmarks", "postgres").values()
    assert [each["problem"] for each in others if each["problem"]] == []


@pytest.mark.slow
def test_measures_a_cluster_beside_bare_calls(mainspring_home: Path) -> None:
    """Each path on a cluster is a multiple of bare calls there, of which the lowest and the highest are told."""
    pytest.importorskip("distributed")
    *found, many = tables("benchmarks.clusters", "--cluster", "Dask")["clusters"]
    assert len(found) == 6
    assert all(each["spread"][0] <= each["multiple"] <= each["spread"][1] for each in found)
    assert many["growth"] >= 0


@pytest.mark.slow
def test_tells_which_peer_is_missing(tmp_path: Path) -> None:
    """A peer without an environment is reported, has no figure, and is no reason to stop."""
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks")
    printed = run("benchmarks.peers", "joblib", "--json", "-", folder=tmp_path)
    ours, _, missing = json.loads(printed)["peers"]
    assert set(ours["seconds"]) >= {"one call", "result found again", "import"}
    assert missing["seconds"] == {}
    assert "make bench-peers" in missing["problems"][""]


@pytest.mark.slow
def test_writes_into_a_page(tmp_path: Path) -> None:
    """A table goes between its two marks, in place of what was there; the rest stays, and bars go beside the page."""
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- starting -->\n| of yesterday |\n<!-- end of starting -->\nafter\n", encoding="utf-8"
    )
    run("benchmarks", "starting", "--page", str(page))
    before, marked, rest = page.read_text(encoding="utf-8").partition("<!-- starting -->\n")
    table, _, after = rest.partition("<!-- end of starting -->")
    assert (before, bool(marked), after) == ("before\n", True, "\nafter\n")
    assert "yesterday" not in table
    assert "| import mainspring |" in table
    assert "<svg" in (tmp_path / "budgets.svg").read_text(encoding="utf-8")


def test_the_page_has_a_place_for_each_table() -> None:
    """The page about performance has the marks of every benchmark."""
    page = (ROOT / "docs/explanation/performance.md").read_text(encoding="utf-8")
    for name in (*TABLES, "clusters", "peers"):
        assert f"<!-- {name} -->\n" in page
        assert f"<!-- end of {name} -->\n" in page


def test_a_name_is_a_family_or_a_table() -> None:
    """Families are named one by one, or by the table that they are in; another name is an error that tells all."""
    assert names_of(["cached", "results"]) == list(TABLES["results"])
    assert names_of(["maps"]) == ["maps"]
    with pytest.raises(ValueError, match="There is no benchmark 'mops'"):
        names_of(["mops"])
    assert set(FAMILIES) >= ALONE


def test_a_verdict_compares_with_the_budget() -> None:
    """A figure at its budget meets it, one above is over it, and one without a budget or a time has no verdict."""
    assert Figure("path", 4.0, 1.0, 4).verdict == "met"
    assert Figure("path", 4.1, 1.0, 4).verdict == "over"
    assert Figure("path", 4.0, 1.0).verdict == ""
    assert Figure("path", None, 1.0, 4, "no reason").verdict == ""


def test_what_cannot_be_measured_is_told_beside_the_rest(tmp_path: Path) -> None:
    """A path that fails, and a family that cannot be measured, have reasons; all others have their fastest round."""
    turns: dict[str, int] = {}

    def take(turn: Turn) -> float:
        turns["good"] = turns.get("good", 0) + 1
        return 1.0 / turns["good"]

    def fail(_: Turn) -> float:
        raise OSError("no")

    @contextmanager
    def unmeasurable(_: Path) -> Iterator[None]:
        raise Unmeasurable("There is no server.")
        yield

    unit = Case("unit", lambda _: 1.0)
    families = {
        "here": Family((Case("good", take), Case("bad", fail)), unit),
        "elsewhere": Family((Case("far", take),), unit, unmeasurable),
    }
    found = take_rounds(families, Meter(2, 40), tmp_path)
    first, good, bad = found["here"]
    assert (first.multiple, good.seconds, bad.seconds) == (1.0, 0.25, None)
    assert good.rounds == (0.5, 0.25)
    assert bad.problem == "OSError: no"
    assert found["elsewhere"][1].problem == "There is no server."
