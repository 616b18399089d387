"""The main example: run once as a script, then looked at from all sides."""

import re
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

from examples import flights
from mainspring.client import Client
from mainspring.runs import FlowRun, TaskRun
from tests.examples.script import Script, run, run_by_command

pytestmark = pytest.mark.slow

RUNNERS = [
    "threads=2",
    "processes=2",
    "inline",
    pytest.param("dask=2", marks=pytest.mark.distributed),
    pytest.param("ray=2", marks=pytest.mark.distributed),
]
PACKAGES = {"dask=2": "distributed", "ray=2": "ray"}


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Script:
    """The example after a run that ended well."""
    done = run("flights.py", tmp_path_factory.mktemp("flights") / "home")
    assert done.exit_code == 0, done.log
    return done


def main_run(client: Client) -> FlowRun:
    [flow_run] = client.read_flow_runs(top_level=True)
    return flow_run


def main_tasks(script: Script) -> list[TaskRun]:
    with script.history() as client:
        return client.read_task_runs([main_run(client).id])


def test_counts_all_flights(script: Script) -> None:
    """All flights of 2013 are reported."""
    assert "\n336,776 flights\n" in script.output


def test_fits_a_terminal(script: Script) -> None:
    """What is printed fits 80 columns, except for paths, which are as long as they are."""
    printed = [line for line in script.output.splitlines() if not line.startswith(("chart:", "next:"))]
    assert max(map(len, printed)) < 80


def test_tells_what_it_does(script: Script) -> None:
    """While it works it logs each month, the attempts to read the weather, and not much more."""
    lines = script.log.splitlines()
    assert sum("'clean " in line for line in lines) == 12
    assert sum("'read_weather-" in line and "Guessing" in line for line in lines) == 2
    assert len(lines) < 30


def test_draws_each_month(script: Script) -> None:
    """The chart whose path is printed lies beside the database, an SVG with a picture for each month."""
    chart = Path(re.findall(r"^chart: (.+)$", script.output, re.MULTILINE)[0])
    assert chart == script.home / "reports" / "flights.svg"
    root = ElementTree.parse(chart).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    pictures = [group for group in root.iter() if re.fullmatch(r"axes_\d+", group.get("id", ""))]
    assert len(pictures) == 12


def test_writes_the_summaries(script: Script) -> None:
    """Each summary lies beside the chart, and its flights add up to all."""
    for name in flights.SUMMARIES:
        header, *rows = (script.home / "reports" / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        column = header.split(",").index("flights")
        assert sum(int(row.split(",")[column]) for row in rows) == 336_776


def test_completes_all_tasks(script: Script) -> None:
    """The flow run and its task runs, 30 or more, are Completed."""
    with script.history() as client:
        assert main_run(client).state_name == "Completed"
    task_runs = main_tasks(script)
    assert len(task_runs) >= 30
    assert {task_run.state_name for task_run in task_runs} == {"Completed"}


def test_reads_the_weather_twice(script: Script) -> None:
    """One task needs a second attempt: the weather, whose column types cannot be told from a few lines."""
    [retried] = [task_run for task_run in main_tasks(script) if task_run.run_count != 1]
    assert retried.name.startswith("read_weather")
    assert retried.run_count == 2
    with script.history() as client:
        names = [state.name for state in client.read_task_run_states(retried.id)]
    assert names == ["Pending", "Running", "Retrying", "Completed"]


def test_tracks_the_report(script: Script) -> None:
    """The report is a subflow run, for which a task run stands in the main one."""
    with script.history() as client:
        [subflow_run] = [each for each in client.read_flow_runs() if each.flow_name == "report"]
        stand_in = client.read_task_run(subflow_run.parent_task_run_id or "")
        assert stand_in.flow_run_id == main_run(client).id
    assert subflow_run.state_name == "Completed"


def test_says_what_to_type_next(script: Script) -> None:
    """The last line is a command with an id that finds the flow run."""
    command, short_id = script.output.splitlines()[-1].removeprefix("next:").rsplit(" runs show ")
    assert Path(command.strip()).name == "mainspring"
    with script.history() as client:
        assert client.find_run(short_id).id == main_run(client).id


def printed_tables(script: Script) -> str:
    """What it prints but for paths and ids."""
    return "\n".join(
        line for line in script.output.splitlines() if not line.startswith(("chart:", "next:"))
    ).strip()


def written(script: Script) -> dict[str, str]:
    """The reports by name, but for the date of the chart and the ids in it, which matplotlib makes up."""
    texts = {file.name: file.read_text(encoding="utf-8") for file in (script.home / "reports").iterdir()}
    chart = re.sub(r"<dc:date>.*</dc:date>", "", texts["flights.svg"])
    return {**texts, "flights.svg": re.sub(r"\b([pm])[0-9a-f]{10}\b", r"\1", chart)}


def names_and_states(script: Script) -> list[tuple[str, str, int]]:
    """What ran, how it ended and in how many attempts; names that end in a part of an id without it."""
    with script.history() as client:
        runs = client.read_task_runs()
    return sorted(
        (re.sub(r"-(?:[0-9a-f]{3}|[0-9a-f]{8})$", "", run.name), run.state_name, run.run_count)
        for run in runs
    )


@pytest.mark.parametrize("runner", RUNNERS)
def test_runs_everywhere_with_the_same_results(script: Script, tmp_path: Path, runner: str) -> None:
    """What it prints, writes and leaves in the history does not depend on where its tasks run."""
    if runner in PACKAGES and find_spec(PACKAGES[runner]) is None:
        pytest.skip(f"{PACKAGES[runner]} is not installed")
    elsewhere = run_by_command("flights.py", tmp_path, "--runner", runner)
    assert elsewhere.exit_code == 0, elsewhere.log
    assert printed_tables(elsewhere) == printed_tables(script)
    assert written(elsewhere) == written(script)
    assert names_and_states(elsewhere) == names_and_states(script)


def test_lost_flights_are_an_error() -> None:
    """The check fails if a single flight is missing, and says where."""
    with pytest.raises(ValueError, match=r"336,776 flights everywhere, but found \{'file': 336775\}"):
        flights.check_totals.fn(336_775, {})
