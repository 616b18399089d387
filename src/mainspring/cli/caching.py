"""What ``mainspring cache why`` does."""

from __future__ import annotations

import re

from mainspring import identifiers
from mainspring.cli.histories import open_history
from mainspring.cli.records import print_json
from mainspring.cli.rendering import Column, one_line, open_console, show, state_text, table
from mainspring.cli.texts import Text
from mainspring.cli.trees import find_run
from mainspring.client import CacheComponent, CacheExplanation
from mainspring.exceptions import ObjectNotFound
from mainspring.runs import TaskRun

__all__ = ["explain_found"]

_COLUMNS = [Column("component", yields=True), Column("then"), Column("now")]
_HASH = re.compile(r"[0-9a-f]{32}")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHOWN_LETTERS = 40
_SHOWN_THE_SAME = 8  # of the components that did not change, so many; with `TASK_CODE` there may be hundreds


def explain_found(run_id: str, as_json: bool) -> None:
    """Print why the task run whose id begins or ends with ``run_id`` used a kept result, or why not.

    Raises:
        ObjectNotFound: There is none, or it is a flow run.
        AmbiguousId: There are several.
        StoreError: The run store cannot be read.
    """
    with open_history() as client:
        run = find_run(client, run_id)
        assert client is not None
        if not isinstance(run, TaskRun):
            short = identifiers.shorten(run.key)
            raise ObjectNotFound(
                f"{run_id!r} is the flow run {one_line(run.name)}, and only task runs are cached. `mainspring runs"
                f" show {short}` lists those inside of it."
            )
        explanation = client.explain_caching(run.id)
    if as_json:
        print_json(explanation)
        return
    console = open_console()
    show(console, Text.assemble((one_line(run.name), "bold"), "  ").append_text(state_text(run.state)))
    show(console, Text(one_line(explanation.reason)))
    components = _shown_components(explanation)
    if components:
        show(console, Text())
        columns = _COLUMNS if explanation.other_task_run_id is not None else [_COLUMNS[0], _COLUMNS[2]]
        rows = [_row(each, has_other=len(columns) == len(_COLUMNS)) for each in components]
        show(console, table(console, columns, rows))
        left_out = len(explanation.components) - len(components)
        if left_out:
            show(console, Text(f"and {left_out} more that are the same", "dim"))


def _shown_components(explanation: CacheExplanation) -> list[CacheComponent]:
    """All components that changed, and some of the others."""
    if explanation.other_task_run_id is None:
        return explanation.components
    changed = set(explanation.changed)
    same = [each.name for each in explanation.components if each.name not in changed][:_SHOWN_THE_SAME]
    return [each for each in explanation.components if each.name in changed or each.name in same]


def _row(component: CacheComponent, has_other: bool) -> list[Text | str]:
    name = one_line(component.name)
    if not has_other:
        return [name, _brief(component.now)]
    if component.is_same:
        return [Text(name, "dim"), Text(_brief(component.then), "dim"), Text("same", "dim")]
    then, now = _brief(component.then), _brief(component.now)
    if then == now:  # they differ in what was cut off
        then, now = one_line(component.then or ""), one_line(component.now or "")
    return [Text(name, "bold"), Text(then, "red"), Text(now, "green")]


def _brief(text: str | None) -> str:
    """Hashes and ids shortened as people are used to, other texts to what a table has room for."""
    if text is None:
        return "none"
    if _HASH.fullmatch(text):
        return text[: identifiers.SHORT_LENGTH]
    if _ID.fullmatch(text):
        return text[-identifiers.SHORT_LENGTH :]
    line = one_line(text)
    return line if len(line) <= _SHOWN_LETTERS else f"{line[:_SHOWN_LETTERS]} ..."
