"""Modules that one thread is importing while others run tasks: to these it is as if nobody had asked for them yet."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from mainspring._imports import loaded
from mainspring.serializers import JSONSerializer, PickleSerializer, Serializer
from mainspring.serializers.base import find_object

PATIENCE = 60.0
"""Seconds that a slow machine may take for what takes a moment."""

NAME = "tests_module_that_takes_long"
SOURCE = """
import builtins

class Early:
    pass

builtins.tests_stop()

from pickle import dumps, loads

class Late:
    pass
"""


@contextmanager
def importing(folder: Path, patch: pytest.MonkeyPatch) -> Generator[threading.Event]:
    """A block in which another thread is importing the module; it ends that when the event is set."""
    has_begun, may_end = threading.Event(), threading.Event()

    def stop() -> None:
        has_begun.set()
        assert may_end.wait(PATIENCE)

    (folder / f"{NAME}.py").write_text(SOURCE)
    patch.syspath_prepend(str(folder))
    patch.setattr("builtins.tests_stop", stop, raising=False)
    thread = threading.Thread(target=import_module, args=(NAME,))
    thread.start()
    try:
        assert has_begun.wait(PATIENCE)
        yield may_end
    finally:
        may_end.set()
        thread.join()
        sys.modules.pop(NAME, None)


def test_a_module_is_loaded_at_the_end_of_its_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its import and meanwhile there is none, although `sys.modules` has it from the beginning on."""
    assert loaded(NAME) is None
    with importing(tmp_path, monkeypatch) as may_end:
        assert NAME in sys.modules
        assert loaded(NAME) is None
        may_end.set()
        assert import_module(NAME) is loaded(NAME)


def test_a_module_without_a_specification() -> None:
    """The main program and modules that were made by hand are loaded."""
    assert loaded("__main__") is sys.modules["__main__"]


@pytest.mark.parametrize(
    "make",
    [partial(JSONSerializer, jsonlib=NAME, object_encoder=None), partial(PickleSerializer, picklelib=NAME)],
    ids=["json", "pickle"],
)
def test_a_serializer_waits_for_its_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], Serializer[Any]]
) -> None:
    """It writes with a library that another thread has only begun to import."""
    (tmp_path / f"{NAME}.py").write_text("from pickle import dumps, loads")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        serializer = make()  # perhaps in another process
        del sys.modules[NAME]
    with importing(tmp_path, monkeypatch) as may_end:
        threading.Timer(0.05, may_end.set).start()
        assert serializer.dumps_binary(1)


def test_a_class_that_is_there_is_found_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in a module already is taken without a wait for its import, which may itself wait for the caller."""
    with importing(tmp_path, monkeypatch):
        assert find_object(f"{NAME}.Early") is sys.modules[NAME].Early


def test_a_class_that_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not in a module before the end of its import is waited for."""
    with importing(tmp_path, monkeypatch) as may_end:
        threading.Timer(0.05, may_end.set).start()
        found = find_object(f"{NAME}.Late")
        assert found is sys.modules[NAME].Late


PROGRAM = """
import sys, threading
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import PathFinder

NAME = sys.argv[1]
has_begun, may_end = threading.Event(), threading.Event()

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != NAME:
            return None
        spec = PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module

        def exec_module(module):
            has_begun.set()
            may_end.wait()
            execute(module)

        spec.loader.exec_module = exec_module
        return spec

from mainspring import flow, pause_flow_run, task
from mainspring.concurrency.sync import concurrency
from mainspring.exceptions import FlowPauseTimeout
from mainspring.locking.protocol import default_holder
from mainspring.serializers import JSONSerializer
from mainspring.transactions import transaction

assert NAME not in sys.modules, "it would be no test"
sys.meta_path.insert(0, Finder)
thread = threading.Thread(target=import_module, args=(NAME,), daemon=True)
thread.start()
has_begun.wait()

@dataclass
class Point:
    x: int

def is_retried(task, run, state):
    return True

@task(retries=1, retry_condition_fn=is_retried, persist_result=True, result_serializer="json")
def returns(x):
    return Point(x)

@task
def is_interrupted():
    raise KeyboardInterrupt

@flow
def inner():
    return returns(1)

@flow(log_prints=True)
def outer():
    inner.submit().result()
    returns.submit(2).result()
    returns.map([3, 4]).result()
    try:
        is_interrupted()
    except KeyboardInterrupt:
        pass
    with concurrency("nobody limits it"), transaction(key="key") as block:
        block.set("a", 1)
    assert default_holder() and JSONSerializer().dumps(Point(1))
    try:
        pause_flow_run(timeout=0.01)
    except FlowPauseTimeout:
        pass

outer()
assert NAME in sys.modules and len(vars(sys.modules[NAME])) < 20, "it would be no test"
may_end.set()
thread.join()
print("done")
"""


@pytest.mark.parametrize("name", ["asyncio", "multiprocessing.process", "pydantic"])
def test_a_program_goes_on_while_a_thread_imports(name: str, tmp_path: Path, mainspring_home: Path) -> None:
    """Nothing that does without a module fails, or waits, while another thread is importing that module."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    made = subprocess.run(
        [sys.executable, str(path), name], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (made.returncode, made.stdout) == (0, "done\n"), made.stderr
