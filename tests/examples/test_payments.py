"""The example of payments does what it says; that it is safe to kill is shown in tests/testing."""

from pathlib import Path

import pytest

from examples import payments


def test_pays_each_bill_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bill is paid in an order of its own, and not again when the month is settled again."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert payments.settle() == sum(payments.BILLS.values())
    assert payments.Bank().orders() == [
        (f"2026-11/{name}", amount) for name, amount in payments.BILLS.items()
    ]
