"""The example of an order that waits for a person does what it says."""

from pathlib import Path

import pytest

from tests.examples.script import run


@pytest.mark.parametrize(
    ("options", "outcome"), [((), "3 chairs, approved by Ada"), (("--refuse",), "3 chairs, refused by Ada")]
)
def test_orders_wait_between_processes(mainspring_home: Path, options: tuple[str, ...], outcome: str) -> None:
    """One process orders, one lists, one decides; what was reserved is not reserved again."""
    placed = run("approve.py", mainspring_home, "order", "3")
    assert placed.exit_code == 0, placed.log
    assert placed.output.splitlines() == ["reserving 3 chairs", "Suspended"]
    listed = run("approve.py", mainspring_home, "list")
    run_id, parameters = listed.output.split()
    assert parameters == '{"chairs":3}'
    decided = run("approve.py", mainspring_home, "approve", run_id, "--by", "Ada", *options)
    assert decided.exit_code == 0, decided.log
    assert decided.output.splitlines() == [outcome]
    assert run("approve.py", mainspring_home, "list").output == ""
