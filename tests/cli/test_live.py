"""``mainspring run`` on a terminal: the live display, and what the flow prints above it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.commands import COMMAND, Terminal, answer, on_terminal, write_flow_file

WAITING = """
    from pathlib import Path

    @task
    def wait(signal):
        while not Path(signal).exists():
            time.sleep(0.01)

    @task
    def quick(): ...

    @flow
    def inner(signal):
        quick()
        wait(signal)

    @flow
    def pipeline(signal):
        quick()
        inner(signal)
"""
PRINTING = """
    @task
    def speak(who):
        for number in range(30):
            print("line", number, "of", who)
            print("warning", number, "of", who, file=sys.stderr)
            get_run_logger().info("log line %d of %s", number, who)
            time.sleep(0.01)

    @flow
    def pipeline():
        sys.stdout.write("begun, ")
        sys.stdout.flush()
        speak.map(["one", "two", "three"]).wait()
        print("ended")
"""


@pytest.fixture
def waiting(tmp_path: Path) -> tuple[Path, Path]:
    """A file with a flow that waits for another file to appear."""
    return write_flow_file(tmp_path, WAITING), tmp_path / "go on"


def start(file: Path, signal: Path) -> Terminal:
    return Terminal([*COMMAND, "run", f"{file}:pipeline", "-p", f'signal="{signal}"'])


def test_bars_show_each_flow_run(waiting: tuple[Path, Path]) -> None:
    """While it runs, a line per flow run has its bar and task runs by state; subflows are indented."""
    file, signal = waiting
    terminal = start(file, signal)
    terminal.read_until(lambda: sum("1 completed, 1 running" in line for line in terminal.lines()) == 2)
    outer, inner = [line for line in terminal.lines() if "1 completed, 1 running" in line]
    assert outer[2:].startswith("pipeline-")
    assert inner[4:].startswith("inner-")
    assert inner.startswith("  ")
    assert "━━━" in outer
    signal.touch()
    assert terminal.wait() == 0


def test_nothing_of_the_bars_is_left(waiting: tuple[Path, Path]) -> None:
    """In the end the bars are gone, the cursor is back, and the summary stands there."""
    file, signal = waiting
    signal.touch()
    terminal = start(file, signal)
    assert terminal.wait() == 0
    lines = [line for line in terminal.lines() if line]
    assert len(lines) == 3
    assert lines[0].startswith("✓ pipeline-")
    assert terminal.shown.rfind(b"\x1b[?25h") > terminal.shown.rfind(b"\x1b[?25l")


def test_the_display_is_redrawn_some_times_a_second(tmp_path: Path) -> None:
    """However many tasks run, the display is drawn by the clock, at most ten times a second."""
    text = "@task\ndef tick(): ...\n\n@flow\ndef pipeline():\n    for _ in range(3000): tick()\n    time.sleep(1)\n"
    terminal = on_terminal("run", str(write_flow_file(tmp_path, text)))
    (run,) = answer("runs", "ls")
    assert terminal.shown.count("━".encode()) > 0
    assert terminal.shown.count(b"\x1b[2K") <= 10 * (run["duration"] + 2)


def test_prints_appear_whole_above_the_bars(tmp_path: Path) -> None:
    """Prints, log lines and standard error of several threads stand there line by line, each once."""
    terminal = on_terminal("run", str(write_flow_file(tmp_path, PRINTING)))
    lines = terminal.lines()
    for who in ("one", "two", "three"):
        for number in range(30):
            assert lines.count(f"line {number} of {who}") == 1
            assert lines.count(f"warning {number} of {who}") == 1
            assert sum(line.endswith(f"  log line {number} of {who}") for line in lines) == 1
    assert lines.count("begun, ended") == 1


def test_standard_output_in_a_file_is_left_alone(tmp_path: Path) -> None:
    """With only standard error on a terminal, prints go where standard output goes."""
    file = write_flow_file(tmp_path, "@flow\ndef pipeline(): print('for the file')\n")
    output = tmp_path / "output"
    program = (
        "import subprocess, sys\n"
        f"with open({str(output)!r}, 'w') as file:\n"
        f"    sys.exit(subprocess.call({[*COMMAND, 'run', str(file)]!r}, stdout=file))"
    )
    terminal = Terminal([sys.executable, "-c", program])
    assert terminal.wait() == 0
    assert output.read_text() == "for the file\n"
    assert "for the file" not in terminal.shown.decode()


def test_failures_are_told_above_the_bars(tmp_path: Path) -> None:
    """A failed task is a line of its own, and the exception comes before the summary."""
    text = "@task\ndef fail(): raise ValueError('no')\n\n@flow\ndef pipeline(): fail()\n"
    terminal = on_terminal("run", str(write_flow_file(tmp_path, text)))
    lines = [line for line in terminal.lines() if line]
    assert "failed: ValueError: no" in lines[0]
    assert lines[1] == "ValueError: no"
    assert lines[-3].startswith("✗ pipeline-")


def test_ctrl_c_leaves_the_terminal_in_order(waiting: tuple[Path, Path]) -> None:
    """After Ctrl-C the bars are gone and the cursor is back."""
    terminal = start(*waiting)
    terminal.read_until(lambda: any("1 running" in line for line in terminal.lines()))
    terminal.interrupt()
    assert terminal.wait() == 130
    assert any(line.startswith("✗ pipeline-") for line in terminal.lines())
    assert terminal.shown.rfind(b"\x1b[?25h") > terminal.shown.rfind(b"\x1b[?25l")


def test_plain_turns_the_display_off(waiting: tuple[Path, Path]) -> None:
    """With ``--plain`` a terminal gets lines and no bars."""
    file, signal = waiting
    signal.touch()
    terminal = on_terminal("run", f"{file}:pipeline", "-p", f'signal="{signal}"', "--plain")
    assert any("started" in line for line in terminal.lines())
    assert "━" not in terminal.shown.decode()
    assert b"\x1b[?25l" not in terminal.shown


def test_no_color_is_respected(waiting: tuple[Path, Path]) -> None:
    """With NO_COLOR set nothing is coloured."""
    file, signal = waiting
    signal.touch()
    arguments = ["run", f"{file}:pipeline", "-p", f'signal="{signal}"']
    assert b"\x1b[32m" in on_terminal(*arguments).shown
    assert b"\x1b[32m" not in on_terminal(*arguments, environment={"NO_COLOR": "1"}).shown
