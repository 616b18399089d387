"""A history to look into, made by flows that ran."""

from mainspring import flow, get_client, get_run_logger, tags, task
from mainspring.client import Client


@task(tags=["net"], retries=2)
def load(page: int) -> int:
    get_run_logger().info("page %s", page)
    if page == 3:
        raise ValueError("no page 3")
    return page


@task
def report() -> str:
    return "done"


@flow(name="nightly", flow_run_name="nightly-{pages}", version="7")
def nightly(pages: int) -> list[bool]:
    states = [load.with_options(retries=0)(page, return_state=True) for page in range(pages)]
    return [state.is_completed() for state in states]


@flow(name="summary")
def summary() -> str:
    return report()


def history() -> Client:
    """Three flow runs: two of one flow, with 2 and 4 task runs of which one failed, and one of another."""
    with tags("prod"):
        nightly(2)
    nightly(4)
    summary()
    return get_client()
