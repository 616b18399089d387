"""Options of the decorators that do not exist."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from mainspring import Flow, Task, flow, task


@pytest.mark.parametrize("decorator", [task, flow])
def test_a_misspelled_option_names_the_one_that_was_meant(decorator: Any) -> None:
    """The error says which option there is instead, before any function is decorated."""
    with pytest.raises(TypeError, match=r"has no option 'retrys'\. Did you mean 'retries'\?"):
        decorator(retrys=3)


@pytest.mark.parametrize(("decorator", "option"), [(task, "tags"), (flow, "task_runner")])
def test_an_unknown_option_lists_those_there_are(decorator: Any, option: str) -> None:
    """The error of an option that resembles none shows all of them."""
    with pytest.raises(TypeError, match=rf"@{decorator.__name__} has no option 'x_y_z'\. It has: .*{option}"):
        decorator(lambda: None, x_y_z=1)


@pytest.mark.contract("T-2")
@pytest.mark.parametrize(("decorator", "made"), [(task, Task), (flow, Flow)])
def test_a_decorator_shows_its_options(decorator: Any, made: Any) -> None:
    """Its signature has the function first, and by name every option of what it makes, with its default."""
    first, *options = inspect.signature(decorator).parameters.values()
    assert (first.name, first.kind, first.default) == ("__fn", first.POSITIONAL_ONLY, None)
    assert {option.kind for option in options} == {inspect.Parameter.KEYWORD_ONLY}
    expected = list(inspect.signature(made).parameters.values())[1:]
    assert [(o.name, o.default) for o in options] == [(o.name, o.default) for o in expected]
