"""Settings about logging: further loggers, colours, Python's own logging from a file."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from mainspring import flow, get_client, get_run_logger, task
from mainspring.logging import console
from mainspring.recording import current_recorder
from mainspring.settings import temporary_settings

LIBRARY = "a_library_of_somebody"


@pytest.fixture
def library() -> Iterator[logging.Logger]:
    """The logger of a library, left as it was found."""
    logger = logging.getLogger(LIBRARY)
    yield logger
    for each in (logger, logging.getLogger(f"{LIBRARY}.deep")):
        each.handlers.clear()
        each.setLevel(logging.NOTSET)


def in_another_process(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", dedent(program)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.contract("ST-14", "L-10")
def test_lines_of_extra_loggers_are_kept_with_their_run(library: logging.Logger) -> None:
    """What a named logger, or one below it, says inside of a run is stored with that: once, at its level and above."""

    @task
    def work() -> None:
        logging.getLogger(f"{LIBRARY}.deep").info("in the task")
        library.debug("too low")

    @flow
    def pipeline() -> None:
        library.warning("in the flow")
        work()

    library.error("in no run")
    with temporary_settings({"logging.extra_loggers": f"{LIBRARY},{LIBRARY}.deep"}):
        pipeline()
        library.error("in no run")
    client = get_client()
    flow_run, task_run = client.read_flow_runs()[0], client.read_task_runs()[0]
    entries = client.read_logs(flow_run.id)
    assert [(each.logger, each.message) for each in entries] == [
        (LIBRARY, "in the flow"),
        (f"{LIBRARY}.deep", "in the task"),
    ]
    assert [each.task_run_key for each in entries] == [None, task_run.key]


def test_other_loggers_are_left_alone(library: logging.Logger) -> None:
    """Without the setting nothing is stored, and no logger is changed."""

    @task
    def work() -> None:
        library.error("mine")

    work()
    assert get_client().read_logs(get_client().read_task_runs()[0].id) == []
    assert (library.handlers, library.level) == ([], logging.NOTSET)


def test_a_level_that_was_given_counts(library: logging.Logger) -> None:
    """An extra logger with a level of its own keeps it; passwords are masked in what is stored."""
    library.setLevel(logging.ERROR)

    @task
    def work() -> None:
        library.warning("too low")
        logging.getLogger(f"{LIBRARY}.deep").error("cannot reach s3://ada:lovelace1815@bucket")

    with temporary_settings(
        {"logging.extra_loggers": [LIBRARY], "results.default_storage": "s3://ada:lovelace1815@bucket"}
    ):
        work()
    (entry,) = get_client().read_logs(get_client().read_task_runs()[0].id)
    assert entry.message == "cannot reach s3://ada:***@bucket"


class Screen(io.StringIO):
    """Standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.contract("ST-14")
@pytest.mark.parametrize(
    ("colors", "variables", "coloured"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colours(
    monkeypatch: pytest.MonkeyPatch, colors: bool, variables: dict[str, str], coloured: bool
) -> None:
    """Levels are coloured on a terminal, unless the setting, NO_COLOR or the terminal is against it."""
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    record = logging.makeLogRecord({"levelno": logging.ERROR, "levelname": "ERROR", "msg": "no route"})
    with temporary_settings({"logging.colors": colors}):
        console.ConsoleHandler().emit(record)
    shown = screen.getvalue()
    assert "ERROR" in shown
    assert ("\x1b[31mERROR" in shown) is coloured
    monkeypatch.setattr(sys, "stderr", plain := io.StringIO())
    console.ConsoleHandler().emit(record)
    assert "\x1b" not in plain.getvalue()


CONFIGURATION = {
    "formatters": {"short": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {
        "out": {"class": "logging.StreamHandler", "formatter": "short", "stream": "ext://sys.stdout"}
    },
    "loggers": {"mainspring": {"handlers": ["out"]}, "mainspring.task_runs": {"level": "DEBUG"}},
}

PROGRAM = """
    import logging
    logging.getLogger("before").addHandler(logging.NullHandler())
    from mainspring import get_client, get_run_logger, task

    @task
    def work():
        get_run_logger().debug("hello")

    work()
    for entry in get_client().read_logs(get_client().read_task_runs()[0].id):
        print("stored:", entry.message)
    print(logging.getLogger("before").disabled)
"""


@pytest.mark.contract("ST-14")
@pytest.mark.parametrize("kind", ["json", "toml"])
def test_logging_from_a_file(tmp_path: Path, kind: str) -> None:
    """It is applied before the first run; lines are stored all the same, and what the program has set up stays."""
    file = tmp_path / f"logging.{kind}"
    toml = """
        [formatters.short]
        format = "%(levelname)s %(name)s: %(message)s"
        [handlers.out]
        class = "logging.StreamHandler"
        formatter = "short"
        stream = "ext://sys.stdout"
        [loggers.mainspring]
        handlers = ["out"]
        [loggers."mainspring.task_runs"]
        level = "DEBUG"
    """
    file.write_text(json.dumps(CONFIGURATION) if kind == "json" else dedent(toml))
    done = in_another_process(PROGRAM, MAINSPRING_LOGGING_CONFIG_PATH=str(file))
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["DEBUG mainspring.task_runs: hello", "stored: hello", "False"]


def test_logging_from_a_file_in_workers(tmp_path: Path) -> None:
    """Lines of worker processes are told by the process that has started them, once."""
    file = tmp_path / "logging.json"
    file.write_text(json.dumps(CONFIGURATION))
    program = tmp_path / "program.py"
    program.write_text(
        dedent("""
        from mainspring import flow, get_run_logger, task
        from mainspring.task_runners import ProcessPoolTaskRunner

        @task
        def work():
            get_run_logger().info("abroad")

        @task(isolation="process")
        def alone():
            get_run_logger().info("alone")

        @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
        def pipeline():
            work.submit().result()
            alone()

        if __name__ == "__main__":
            pipeline()
        """)
    )
    done = in_another_process(
        f"import runpy; runpy.run_path({str(program)!r}, run_name='__main__')",
        MAINSPRING_LOGGING_CONFIG_PATH=str(file),
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "INFO mainspring.task_runs: abroad",
        "INFO mainspring.task_runs: alone",
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("missing.toml", None, "cannot be read: No such file or directory"),
        ("logging.toml", "version = ", "is neither TOML nor, with the ending .json, JSON"),
        ("logging.json", "[]", "is neither TOML nor, with the ending .json, JSON"),
        ("logging.toml", "[handlers.x]\nclass = 'nowhere.Handler'", "Unable to configure handler 'x'"),
        ("logging.toml", "version = 2", "Unsupported version: 2"),
    ],
)
def test_a_configuration_that_cannot_be_used(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    """No run begins, and the error names the file; nothing of it is recorded."""
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    program = """
        from mainspring import task
        from mainspring.exceptions import ConfigurationError

        @task
        def work():
            raise AssertionError

        for _ in range(2):
            try:
                work()
            except ConfigurationError as error:
                print(error)
    """
    done = in_another_process(program, MAINSPRING_LOGGING_CONFIG_PATH=str(file))
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert first == second
    assert str(file) in first
    assert said in first


@pytest.mark.contract("ST-14")
def test_debug_mode_shows_lines_for_debugging() -> None:
    """The level that it forces is the one that run loggers have."""

    @task
    def work() -> None:
        get_run_logger().debug("details")

    with temporary_settings({"debug_mode": True, "logging.level": "ERROR"}):
        work()
        entries = get_client().read_logs(get_client().read_task_runs()[0].id)
    assert "details" in [each.message for each in entries]
    assert current_recorder() is not None
