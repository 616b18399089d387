# pyright: reportUnnecessaryTypeIgnoreComment=true
"""What the type checkers infer about the kit for tests."""

from pathlib import Path
from typing import Any, assert_type

from mainspring import State, flow, task
from mainspring.client import Client
from mainspring.runs import FlowRun, TaskRun
from mainspring.testing import Fake, Harness, assert_states, harness, override


@task
def fetch(url: str) -> int:
    return len(url)


@task
async def afetch(url: str) -> int:
    return len(url)


@flow
def report(url: str) -> int:
    return fetch(url)


# Fakes


def fake_of(url: str) -> int:
    return 3


with override(fetch, fake_of) as fake:
    assert_type(fake, Fake)
    assert_type(fake.calls, list[dict[str, Any]])
with (
    override(afetch, returns=3),
    override(report, raises=ValueError),
    override(fetch, outcomes=[3, ValueError()]),
):
    pass
override(len, returns=3)  # type: ignore[arg-type]
override(fetch, raises=3)  # type: ignore[arg-type]


@override(fetch, returns=3)
def decorated(number: int) -> str:
    return str(fetch(str(number)))


@override(fetch, returns=3)
async def adecorated(number: int) -> str:
    return str(fetch(str(number)))


assert_type(decorated(1), str)


# What happened

with harness(runner="threads", settings={"tasks.default_retries": 2}) as runs:
    assert_type(runs, Harness)
    assert_type(runs.home, Path)
    assert_type(runs.client, Client)
    assert_type(runs.task_runs(fetch), list[TaskRun])
    assert_type(runs.task_run("fetch"), TaskRun)
    assert_type(runs.flow_runs(), list[FlowRun])
    assert_type(runs.flow_run(report), FlowRun)
    assert_type(runs.states(runs.flow_run()), list[State])
    assert_type(runs.logs(), list[str])
    assert_states(runs.flow_run(), ["Pending", "Running", "Completed"])
harness(runner=3)  # type: ignore[arg-type]
