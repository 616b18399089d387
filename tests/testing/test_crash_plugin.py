"""The marker for pytest: a test is the check of a flow that is killed everywhere."""

import pytest

pytest_plugins = ["pytester"]

FLOWS = """
from pathlib import Path

import pytest

from mainspring import flow, task


@task
def charge(amount):
    with Path("ledger.txt").open("a") as ledger:
        ledger.write(f"{amount}\\n")
    return amount


@task
def increment(x):
    return x + 1


@flow(persist_result=True)
def paying():
    return charge(10)


@flow(persist_result=True)
def counting(start=0):
    return increment(increment(start))
"""


@pytest.fixture
def run(pytester: pytest.Pytester):
    """Run a test file in a pytest of its own."""

    def call(tests: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(FLOWS + tests)
        return pytester.runpytest_subprocess("-p", "no:randomly", "--strict-markers", *options)

    return call


def test_a_test_with_the_marker_is_the_check(run):
    """The test is called after each death, with what the flow has left."""
    told = run("""
@pytest.mark.crash_everywhere(flow=counting, every=3, kwargs={"start": 5})
def test_counts(crash):
    assert crash.result == 7
    assert crash.run.flow_name == "counting"
""")
    told.assert_outcomes(passed=1)


def test_a_failure_is_told_without_the_inside(run):
    """The report of a failed test is the message, and no traceback of ours."""
    told = run("""
@pytest.mark.crash_everywhere(flow=paying)
def test_is_paid_once(crash):
    assert Path("ledger.txt").read_text() == "10\\n"
""")
    told.assert_outcomes(failed=1)
    text = told.stdout.str()
    assert "The flow 'paying' is not safe to kill" in text
    assert "Look at the task 'charge'" in text
    assert "plugin.py" not in text
    assert "During handling" not in text


def test_other_fixtures_may_be_used(run):
    """A check may ask for fixtures, and need not ask for the crash."""
    told = run("""
@pytest.fixture
def expected():
    return "10\\n"


@pytest.mark.crash_everywhere(flow=paying, points=[3])
@pytest.mark.parametrize("name", ["ledger.txt"])
def test_is_paid(name, expected):
    assert Path(name).read_text() == expected
""")
    told.assert_outcomes(passed=1)


def test_flows_may_be_parameters(run):
    """With the marker on a parameter, one test checks several flows."""
    told = run("""
@pytest.mark.parametrize(
    "expected",
    [
        pytest.param(2, marks=pytest.mark.crash_everywhere(flow=counting, most=2)),
        pytest.param(10, marks=pytest.mark.crash_everywhere(flow=paying, points=[3])),
    ],
)
def test_result(crash, expected):
    assert crash.result == expected
""")
    told.assert_outcomes(passed=2)


def test_works_with_several_workers(run):
    """With pytest-xdist each worker kills what it is given."""
    told = run(
        """
@pytest.mark.crash_everywhere(flow=counting, most=3)
def test_first(crash):
    assert crash.result == 2


@pytest.mark.crash_everywhere(flow=counting, most=3)
def test_second():
    pass
""",
        "-n",
        "2",
    )
    told.assert_outcomes(passed=2)


def test_a_marker_without_a_flow_is_told(run):
    """What is wrong with the marker or its arguments is said in one line."""
    told = run("""
@pytest.mark.crash_everywhere
def test_nothing():
    pass


@pytest.mark.crash_everywhere(flow=print)
def test_no_flow():
    pass


def test_no_marker(crash):
    pass
""")
    told.assert_outcomes(failed=2, errors=1)
    text = told.stdout.str()
    assert "is to be used as `@pytest.mark.crash_everywhere(flow=..., ...)`" in text
    assert "crash_everywhere needs a flow" in text
    assert "The fixture `crash` is for tests with" in text


def test_the_marker_is_listed(run):
    """``pytest --markers`` says what it is for."""
    run("", "--markers").stdout.fnmatch_lines(
        ["@pytest.mark.crash_everywhere(flow=..., [*][*]options): kill the flow*"]
    )


def test_a_flow_without_its_keyword_is_refused(run):
    """Pytest would have called it with the test, and the test would not be there any more."""
    told = run("""
@flow
def taking(anything):
    return 1


@pytest.mark.crash_everywhere(taking)
def test_takes(crash):
    assert False
""")
    told.assert_outcomes(errors=1)
    told.stdout.fnmatch_lines(["*Write @pytest.mark.crash_everywhere(flow=taking)*"])
