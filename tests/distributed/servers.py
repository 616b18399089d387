"""Clusters in processes of their own, which do not end with the program that uses them."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

import psutil

from tests.deaths.processes import environment, until

__all__ = ["OPEN", "Servers", "servers_of"]

OPEN = {"RAY_AUTH_MODE": "disabled"}
"""For a cluster of Ray, and those who use it: no token that both have to have."""


class Servers(NamedTuple):
    """A cluster.

    Args:
        address: Where it is.
        first: The process without which there is no cluster.
        others: Further ones that were started here: the workers of Dask.
    """

    address: str
    first: subprocess.Popen[bytes]
    others: Sequence[subprocess.Popen[bytes]]


@contextmanager
def _dask(folder: Path, variables: dict[str, str]) -> Iterator[Servers]:
    file = folder / "scheduler.json"
    common = ["--scheduler-file", str(file), "--no-dashboard", "--host", "127.0.0.1"]
    here = ["--local-directory", str(folder), "--nthreads", "1", "--no-nanny", "--death-timeout", "30"]
    with ExitStack() as stack:

        def start(*command: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [sys.executable, "-m", *command, *common],
                cwd=folder,
                env=environment(folder, **variables),
                stderr=subprocess.DEVNULL,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        scheduler = start("distributed.cli.dask_scheduler", "--port", "0")
        until(file.exists, "the scheduler")
        workers = [start("distributed.cli.dask_worker", *here) for _ in range(2)]
        yield Servers(_address_in(file), scheduler, workers)


def _address_in(file: Path) -> str:
    found: dict[str, str] = {}

    def is_complete() -> bool:
        try:
            found.update(json.loads(file.read_text()))
        except ValueError:  # it is being written
            return False
        return True

    until(is_complete, "the address")
    return found["address"]


@contextmanager
def _ray(folder: Path, variables: dict[str, str]) -> Iterator[Servers]:
    temporary = mkdtemp(
        prefix="ray-"
    )  # where nobody else looks for a cluster; the names of sockets must be short
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--head",
        "--num-cpus=2",
        f"--port={port}",
        "--include-dashboard=false",
        "--disable-usage-stats",
        "--dashboard-agent-listen-port=0",
        f"--temp-dir={temporary}",
        "--block",
    ]
    ray = str(Path(sys.executable).with_name("ray"))
    with (folder / "ray.log").open("wb") as log:
        process = subprocess.Popen(
            [ray, "start", *options],
            cwd=folder,
            env=environment(folder, **OPEN, **variables),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    started: list[psutil.Process] = []
    try:
        until(lambda: "Ray runtime started" in (folder / "ray.log").read_text(), "the start of Ray", 60)
        started = psutil.Process(process.pid).children(recursive=True)
        yield Servers(f"127.0.0.1:{port}", process, [])
    finally:
        started = [*started, *_children_of(process.pid)]
        process.kill()
        process.wait()
        for each in started:
            if each.is_running():
                each.kill()
        shutil.rmtree(temporary, ignore_errors=True)


def _children_of(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@contextmanager
def servers_of(kind: str, folder: Path, **variables: str) -> Iterator[Servers]:
    """A cluster with two workers, all of whose processes are gone after the block."""
    with {"dask": _dask, "ray": _ray}[kind](folder, variables) as servers:
        yield servers
