"""An order that waits for a person: the process that places it ends, and the one that approves it goes on.

Run it three times, as three people would::

    python examples/approve.py order 12
    python examples/approve.py list
    python examples/approve.py approve ID --by Ada

Between these nothing runs. What the order has come to so far is in the history, and is not done again.
"""

import argparse
from dataclasses import dataclass
from uuid import UUID

import msgspec

from mainspring import flow, get_client, resume_flow_run, suspend_flow_run, task

WEEK = 7 * 24 * 3600


@dataclass
class Approval:
    """What a person says to an order."""

    by: str
    ok: bool = True


@task
def reserve(chairs: int) -> str:
    """Put some chairs aside; done once, however long the approval takes."""
    print(f"reserving {chairs} chairs")
    return f"{chairs} chairs"


@task
def deliver(goods: str, by: str) -> str:
    """Send what was reserved."""
    return f"{goods}, approved by {by}"


@flow(persist_result=True)
def order(chairs: int) -> str:
    """Reserve, wait for an approval, deliver."""
    goods = reserve(chairs)
    approval: Approval = suspend_flow_run(wait_for_input=Approval, timeout=WEEK, key="approval")
    return deliver(goods, approval.by) if approval.ok else f"{goods}, refused by {approval.by}"


def waiting() -> list[tuple[UUID, str]]:
    """The orders that nobody has approved or refused."""
    runs = get_client().read_flow_runs(states=["Suspended"])
    return [(run.id, msgspec.json.encode(run.parameters).decode()) for run in runs]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("order").add_argument("chairs", type=int)
    actions.add_parser("list")
    approving = actions.add_parser("approve")
    approving.add_argument("id")
    approving.add_argument("--by", required=True)
    approving.add_argument("--refuse", action="store_true")
    given = parser.parse_args()
    if given.action == "order":
        print(order(given.chairs, return_state=True).name)
    elif given.action == "list":
        for run_id, parameters in waiting():
            print(run_id, parameters)
    else:
        print(resume_flow_run(given.id, Approval(given.by, not given.refuse)))


if __name__ == "__main__":
    main()
