"""What the import of a module on use means for the garbage collector: nothing that a program could see."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import weakref
from collections.abc import Generator
from pathlib import Path

import pytest

from mainspring._imports import load

FROZEN = gc.get_freeze_count()

NAME = "tests_module_on_use"


class Node:
    """Something that can be in a circle."""

    def __init__(self) -> None:
        self.self = self


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """The name of a module that makes some objects, and is not imported yet."""
    (tmp_path / f"{NAME}.py").write_text(
        "import gc\nnodes = [[] for _ in range(5_000)]\nwas_on = gc.isenabled()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield NAME
    sys.modules.pop(NAME, None)


@pytest.mark.parametrize("is_on", [True, False])
def test_nothing_is_collected_meanwhile(module: str, is_on: bool) -> None:
    """The collector is off during the import, and as it was afterwards."""
    (gc.enable if is_on else gc.disable)()
    try:
        assert not load(module).was_on
        assert gc.isenabled() is is_on
    finally:
        gc.enable()


@pytest.mark.skipif(
    FROZEN > 0, reason="Python 3.12 has frozen objects of its own, and who has stays as they are"
)
def test_what_is_loaded_is_not_looked_at_at_once(module: str) -> None:
    """The objects of the module are among the old ones, so no collection is due because of them."""
    load(module)
    assert gc.get_count()[0] < 1_000


def test_garbage_is_collected_later(module: str) -> None:
    """What is garbage already, or becomes garbage, is found by the next full collection."""
    before, after = Node(), Node()
    told = [weakref.ref(before), weakref.ref(after)]
    del before
    load(module)
    del after
    gc.collect()
    assert [each() for each in told] == [None, None]
    assert gc.get_freeze_count() == FROZEN


def test_what_a_program_has_frozen_stays_frozen(module: str) -> None:
    """As before a fork, so that no collection touches what processes share."""
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        load(module)
        assert gc.get_freeze_count() == frozen > 0
    finally:
        gc.unfreeze()


ENDLESS = """
from collections import Counter

from mainspring import flow, get_client, task

@task
def inner(depth: int) -> int:
    return around(depth + 1)

@flow
def around(depth: int) -> int:
    return inner(depth + 1)

try:
    {call}
except RecursionError:
    print(Counter(run.state.name for run in get_client().read_task_runs()))
    print(Counter(run.state.name for run in get_client().read_flow_runs()))
"""


@pytest.mark.parametrize("call", ["inner(0)", "around(0)"])
def test_what_is_used_first_when_the_stack_is_full(call: str, mainspring_home: Path) -> None:
    """A program that comes to an endless recursion before anything else has failed in it leaves no run unfinished."""
    program = ENDLESS.format(call=call)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    names = set(re.findall(r"'(\w+)'", done.stdout))
    assert names
    assert names <= {"Failed", "Crashed"}, done.stdout
