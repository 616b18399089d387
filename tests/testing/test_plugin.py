"""The plugin for pytest, as other projects have it: in a process of its own, with no configuration of ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FLOWS = """
from mainspring import flow, task

@task
def double(number):
    print("doubling")
    return 2 * number

@flow(log_prints=True)
def double_all(numbers):
    return double.map(numbers).result()

@flow
async def adouble(number):
    return double(number)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a module of flows."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "flows.py").write_text(FLOWS)
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    return folder


def run(project: Path, tests: str, *options: str, ini: str = "", code: int = 0) -> str:
    """What pytest prints about some tests; their user's own home is a folder in the project."""
    (project / "test_flows.py").write_text(tests)
    with (project / "pytest.ini").open("a") as file:
        file.write(ini)
    plugins = ["-p", "no:cacheprovider", "-p", "no:randomly"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, *options],
        cwd=project,
        env={**os.environ, "MAINSPRING_HOME": str(project / "own-home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_fixtures(project: Path) -> None:
    """Each test has a home of its own, sync and async, in functions and in classes of unittest."""
    tests = """
import asyncio, threading, unittest
import pytest
from flows import adouble, double, double_all
from mainspring import get_client
from mainspring.testing import assert_states

def test_home(mainspring_home):
    assert not mainspring_home.exists()
    assert double_all([1, 2]) == [2, 4]
    assert mainspring_home.exists()
    assert len(get_client().read_task_runs()) == 2

def test_runs(run_store):
    assert run_store.task_runs() == []
    double_all([1])
    assert_states(run_store.task_run(double), ["Pending", "Running", "Completed"])
    assert "doubling" in run_store.logs()

def test_async(run_store):
    assert asyncio.run(adouble(2)) == 4
    assert_states(run_store.flow_run(adouble), ["Pending", "Running", "Completed"])

@pytest.mark.usefixtures("mainspring_home")
class TestUnit(unittest.TestCase):
    def test_one(self):
        double(1)
        self.assertEqual(len(get_client().read_task_runs()), 1)

    def test_two(self):
        double(1)
        self.assertEqual(len(get_client().read_task_runs()), 1)
"""
    assert "5 passed" in run(project, tests)
    assert not (project / "own-home").exists()


@pytest.mark.slow
def test_for_all_tests(project: Path) -> None:
    """An option gives each test a home, with workers of xdist as well."""
    tests = """
import unittest
import pytest
from flows import double
from mainspring import get_client

@pytest.mark.parametrize("number", range(4))
def test_one(number):
    double(number)
    assert len(get_client().read_task_runs()) == 1

class TestUnit(unittest.TestCase):
    def test_two(self):
        double(1)
        self.assertEqual(len(get_client().read_task_runs()), 1)
"""
    assert "5 passed" in run(project, tests, "-n", "2", ini="mainspring_autouse = true\n")
    assert not (project / "own-home").exists()


@pytest.mark.slow
def test_the_task_runner_is_an_option(project: Path) -> None:
    """Submitted tasks run in the thread of the test, unless an option says otherwise."""
    tests = """
import threading
from mainspring import flow, task

@task
def where():
    return threading.current_thread().name

@flow
def around():
    return where.submit().result()

def test_it(mainspring_home, pytestconfig):
    is_here = around() == threading.current_thread().name
    assert is_here == (pytestconfig.getini("mainspring_task_runner") == "inline")
"""
    run(project, tests)
    run(project, tests, ini="mainspring_task_runner = threads\n")


@pytest.mark.slow
def test_paths_that_differ_are_told_without_our_code(project: Path) -> None:
    """A test that fails shows both paths, and no line of mainspring's."""
    tests = """
from flows import double
from mainspring.testing import assert_states

def test_it(run_store):
    assert_states(double(1, return_state=True), ["Pending", "Completed"])
"""
    printed = run(project, tests, code=1)
    assert "went another way than expected" in printed
    assert "__tracebackhide__" not in printed


@pytest.mark.slow
def test_fixtures_are_documented(project: Path) -> None:
    """``pytest --fixtures`` tells what they are for."""
    printed = run(project, "", "--fixtures", code=0)
    assert "mainspring_home" in printed
    assert "A home of mainspring for this test" in printed
    assert "What happened in this test" in printed


@pytest.mark.slow
def test_the_plugin_loads_nothing() -> None:
    """Projects that have nothing to do with mainspring pay for its plugin next to nothing."""
    program = (
        "import sys, pytest; before = set(sys.modules); import mainspring.testing.plugin;"
        " print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    own = ("", "._imports", "._stacks", ".testing", ".testing.plugin")
    assert done.stdout.split() == [f"mainspring{name}" for name in own]
