"""Options of the decorators that do not exist."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring import flow, task


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
