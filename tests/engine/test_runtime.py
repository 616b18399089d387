"""Facts about runs, overridden by the environment."""

from typing import Any
from uuid import UUID

import pytest

from mainspring import flow, runtime, task
from mainspring.exceptions import ConfigurationError

SOME_ID = UUID("01a2033d-7152-78fd-b365-7cde00642009")


@pytest.mark.contract("N-6")
@pytest.mark.parametrize(
    ("fact", "text", "value"),
    [
        ("id", str(SOME_ID), SOME_ID),
        ("name", "Ada", "Ada"),
        ("task_name", "load", "load"),
        ("flow_name", "nightly", "nightly"),
        ("parameters", '{"x": [1, 2]}', {"x": [1, 2]}),
        ("tags", "b, a,", ["a", "b"]),
        ("run_count", "3", 3),
    ],
)
@pytest.mark.parametrize("kind", ["task_run", "flow_run"])
def test_facts_from_the_environment(
    kind: str, fact: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable overrides the fact of its name, inside and outside of runs, converted to the fact's type."""
    facts = getattr(runtime, kind)
    if not hasattr(facts, fact):
        assert (kind, fact) in {("task_run", "flow_name"), ("flow_run", "task_name")}
        return
    inside: list[Any] = []

    @task
    def work(x: int) -> None:
        inside.append(getattr(facts, fact))

    @flow
    def pipeline(x: int) -> None:
        work(x)

    pipeline(0)
    monkeypatch.setenv(f"MAINSPRING__RUNTIME__{kind.upper()}__{fact.upper()}", text)
    pipeline(0)
    real, overridden = inside
    assert overridden == value == getattr(facts, fact)
    assert real != value
    others = {"id", "name", "parameters", "tags", "run_count"} - {fact}
    assert not any(getattr(facts, other) for other in others)


@pytest.mark.contract("N-6")
def test_the_other_kind_of_run_is_not_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable is about task runs or about flow runs."""
    monkeypatch.setenv("MAINSPRING__RUNTIME__TASK_RUN__NAME", "Ada")
    assert (runtime.task_run.name, runtime.flow_run.name) == ("Ada", None)


@pytest.mark.parametrize(
    ("fact", "text"), [("id", "one"), ("run_count", "often"), ("parameters", "[1]"), ("parameters", "{x")]
)
def test_texts_that_do_not_fit(fact: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable and what it was given."""
    variable = f"MAINSPRING__RUNTIME__FLOW_RUN__{fact.upper()}"
    monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigurationError) as caught:
        getattr(runtime.flow_run, fact)
    assert variable in str(caught.value)
    assert repr(text) in str(caught.value)


def test_facts_are_read_only() -> None:
    """Assigning one is refused, with the way to override it."""
    with pytest.raises(AttributeError, match="MAINSPRING__RUNTIME__TASK_RUN__NAME"):
        runtime.task_run.name = "Ada"
