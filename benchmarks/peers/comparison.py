"""The one table: peers by turns, round after round, and how many times as long as mainspring they take.

Of each work of each peer the fastest round counts. Equal work is compared in seconds: all interpreters are the same, on
the same machine, in the same minutes. What cannot be installed or fails is listed with the reason.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import Unmeasurable, circumstances
from benchmarks.peers.environments import PEERS, Peer, import_time, take_turn
from benchmarks.peers.works import IMPORT, WORKS
from benchmarks.reports import microseconds, write_into

__all__ = ["Row", "as_json", "as_markdown", "main", "measure"]


class Row(NamedTuple):
    """One peer, set up in one way.

    Attributes:
        name: What to call it, with its version.
        leaves: What a call leaves behind.
        seconds: The fastest round of each work.
        problems: What went wrong last, by work; by an empty text if it went wrong with the whole.
    """

    name: str
    leaves: str
    seconds: dict[str, float]
    problems: dict[str, str]

    def reports(self) -> list[str]:
        """What went wrong, and whether there is a figure in spite of it, from another round."""
        return [
            f"{'Failed in some rounds' if work in self.seconds else 'Not measured'}: "
            f"{self.name}{work and ', '}{work}. {problem}"
            for work, problem in self.problems.items()
        ]


def measure(
    peers: Sequence[Peer], rounds: int, is_quick: bool, home: Path, progress: Callable[[str], object]
) -> list[Row]:
    """All rows, those of a peer in the order in which it has them."""
    rows: dict[str, dict[str, Row]] = {peer.name: {} for peer in peers}
    lost: dict[str, str] = {}
    for number in range(rounds):
        for peer in peers:
            progress(f"round {number + 1} of {rounds}: {peer.name}")
            if peer.name in lost:
                continue
            folder = home / f"{peer.name}-{number}"
            try:
                found = take_turn(peer, folder, is_quick)
                imported = min(import_time(peer, folder) for _ in range(2))
            except Unmeasurable as reason:
                lost[peer.name] = str(reason)
                continue
            for variant in found["variants"]:
                name = variant["name"].replace(",", f" {found['version']},", 1)
                name = name if "," in variant["name"] else f"{name} {found['version']}"
                row = rows[peer.name].setdefault(name, Row(name, variant["leaves"], {}, {}))
                row.problems.update(variant["problems"])
                for work, seconds in {**variant["seconds"], IMPORT: imported}.items():
                    row.seconds[work] = min(seconds, row.seconds.get(work, seconds))
    return [
        row
        for peer in peers
        for row in (
            [Row(peer.name, "", {}, {"": lost[peer.name]})] if peer.name in lost else rows[peer.name].values()
        )
    ]


def cells(row: Row, ours: Row) -> list[str]:
    """The works of a row: seconds, and what multiple of ours they are."""
    found = []
    for work in WORKS:
        if work not in row.seconds:
            found.append("not measured" if {"", work} & row.problems.keys() else "")
        else:
            taken = row.seconds[work]
            text = microseconds(taken) if taken < 0.01 else f"{taken * 1e3:,.0f} ms"
            reference = ours.seconds.get(work)
            ratio = "" if reference is None or row is ours else f" ({times(taken / reference)})"
            found.append(f"{text}{ratio}")
    return found


def times(ratio: float) -> str:
    """A ratio, with as many digits as mean something."""
    return f"{ratio:,.0f} x" if ratio >= 10 else f"{ratio:.1f} x" if ratio >= 1 else f"{ratio:.2f} x"


def as_markdown(rows: Sequence[Row]) -> str:
    """One table: a row for each peer, a column for each work, and what is left of a call."""
    head = ["", *WORKS, "a call leaves"]
    lines = [head, ["---", *("--:" for _ in WORKS), "---"]]
    lines += [[row.name, *cells(row, rows[0]), row.leaves] for row in rows]
    text = [f"| {' | '.join(line)} |" if line[0] != "---" else f"|{'|'.join(line)}|" for line in lines]
    problems = [f"\n{problem}" for row in rows for problem in row.reports()]
    return "\n".join([circumstances(), "", *text, *problems])


def as_json(rows: Sequence[Row]) -> str:
    """For programs."""
    return json.dumps({"circumstances": circumstances(), "peers": [row._asdict() for row in rows]}, indent=2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and show."""
    from benchmarks.command import progress_of

    known = {peer.name: peer for peer in PEERS}
    parser = argparse.ArgumentParser(description="What others take for the same work.")
    parser.add_argument("names", nargs="*", metavar="PEER", help=f"some of: {', '.join([*known][1:])}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write JSON, too; - is the standard output")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table into this page")
    parser.add_argument("--rounds", type=int, default=5, help="of how many the fastest counts")
    parser.add_argument("--quick", action="store_true", help="see that it works; the figures mean nothing")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - known.keys():
        parser.error(f"There is no peer {', '.join(unknown)}. There are {', '.join([*known][1:])}.")
    peers = [peer for peer in PEERS if peer.name == "ours" or not options.names or peer.name in options.names]
    rounds = 1 if options.quick else options.rounds
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        progress_of(rounds * len(peers)) as progress,
    ):
        rows = measure(peers, rounds, options.quick, Path(folder), progress)
    if options.page is not None:
        write_into(options.page, "peers", as_markdown(rows))
    if str(options.json) == "-":
        print(as_json(rows))
        return 0
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(as_json(rows) + "\n", encoding="utf-8")
    print(as_markdown(rows))
    return 0
