"""The versions that are tested are the versions that are allowed."""

import tomllib
from collections.abc import Iterable

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.architecture.source import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
GROUPS = PROJECT["dependency-groups"]

MISSING = Version("0")
OLDEST_EXTRAS = ("dask", "postgres", "ray")
"""Those that `make test-oldest` has in their oldest versions."""


def requirements(*lists: Iterable[object]) -> list[Requirement]:
    return [Requirement(text) for texts in lists for text in texts if isinstance(text, str)]


def pinned(file: str) -> dict[str, Version]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pins = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in pins}


def test_constraints_hold_every_direct_dependency() -> None:
    """Each package that pyproject.toml names is pinned, at a version in its range."""
    pins = pinned("constraints.txt")
    named = requirements(PROJECT["build-system"]["requires"], RUNTIME, *EXTRAS.values(), *GROUPS.values())
    wrong = [
        str(requirement)
        for requirement in named
        if pins.get(canonicalize_name(requirement.name), MISSING) not in requirement.specifier
    ]
    assert not wrong, "run `make constraints`"


def test_oldest_constraints_are_the_lower_bounds() -> None:
    """`make test-oldest` tests exactly the oldest versions of what it can test."""
    bounds = {
        canonicalize_name(requirement.name): Version(bound.version)
        for requirement in requirements(RUNTIME, GROUPS["demo"], *(EXTRAS[extra] for extra in OLDEST_EXTRAS))
        for bound in requirement.specifier
        if bound.operator in (">=", "==")
    }
    pins = pinned("constraints-oldest.txt")
    assert pins == {"dask": pins.get("distributed"), **bounds}, (
        "distributed goes with one version of dask only"
    )


def test_dependencies_have_an_upper_bound() -> None:
    """A new major release of a runtime dependency is let in by hand, after a test."""
    operators = {
        requirement.name: {bound.operator for bound in requirement.specifier}
        for requirement in requirements(RUNTIME)
    }
    assert operators == {name: {">=", "<"} for name in operators}
