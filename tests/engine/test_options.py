"""Options of the decorators that do not exist."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from mainspring import Flow, Task, flow, task
from mainspring.annotations import NotSet


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
    assert [o.name for o in options] == [o.name for o in expected]
    assert [o.default for o in options if o.name != "log_prints"] == [
        o.default for o in expected if o.name != "log_prints"
    ]


@pytest.mark.contract("T-1", "T-2", "N-10")
def test_the_options_of_a_task() -> None:
    """Names, order and defaults are those of the contract; the last seven came later."""
    function, *options = inspect.signature(Task).parameters.values()
    assert (function.name, function.default) == ("fn", function.empty)
    given = {
        "cache_policy": NotSet,
        "cache_result_in_memory": True,
        "log_prints": False,
        "retry_on_crash": False,
    }
    names = [
        *("name", "description", "tags", "version", "cache_policy", "cache_key_fn", "cache_expiration"),
        *("task_run_name", "retries", "retry_delay_seconds", "retry_jitter_factor", "persist_result"),
        *("result_storage", "result_serializer", "result_storage_key", "cache_result_in_memory"),
        *("timeout_seconds", "log_prints", "refresh_cache", "on_completion", "on_failure", "on_rollback"),
        *("on_commit", "retry_condition_fn", "on_running", "on_crashed", "on_cancellation", "step_key"),
        *("retry_timeout_seconds", "isolation", "retry_on_crash"),
    ]
    assert [option.name for option in options] == names
    assert {option.name: option.default for option in options} == dict.fromkeys(names) | given
    assert inspect.signature(task).parameters["log_prints"].default is None
    assert task(lambda: None).log_prints is None
    assert Task(lambda: None).log_prints is False
