"""Payments that are made once, wherever the process dies: each has a number that the bank knows when it is asked again.

Run it with ``python examples/payments.py``. The bank is a file beside it. That nothing is paid twice is tested by
killing the flow everywhere: ``crash_everywhere(settle)``, see `mainspring.testing`.
"""

import json
from pathlib import Path

from mainspring import flow, task

BILLS = {"rent": 900, "power": 80, "water": 35}


class Bank:
    """A bank that takes an order once: it knows each by its number."""

    def __init__(self, file: str = "bank.jsonl") -> None:
        self._file = Path(file)

    def orders(self) -> list[tuple[str, int]]:
        """All orders that were carried out: their numbers and amounts."""
        lines = self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else []
        return [(order["number"], order["amount"]) for order in map(json.loads, lines)]

    def pay(self, number: str, amount: int) -> None:
        """Carry out an order, unless that was done before."""
        if number not in dict(self.orders()):
            self.carry_out(number, amount)

    def carry_out(self, number: str, amount: int) -> None:
        """Carry out an order, whether or not that was done before."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"number": number, "amount": amount}) + "\n")


@task
def total(bills: dict[str, int]) -> int:
    """What all bills come to."""
    return sum(bills.values())


@task
def charge(month: str, name: str, amount: int) -> str:
    """Pay a bill. Its number is the same each time, so it may be asked for twice."""
    number = f"{month}/{name}"
    Bank().pay(number, amount)
    return number


@flow(persist_result=True)
def settle(month: str = "2026-11") -> int:
    """Pay all bills of a month."""
    for name, amount in BILLS.items():
        charge(month, name, amount)
    return total(BILLS)


if __name__ == "__main__":
    print(f"{settle()} paid in {len(Bank().orders())} orders")
