"""What goes to a worker of a cluster, and what comes back.

A parcel is one or several runs of one task that were submitted in the same context. The reply has an answer for each
of them, in their order. What a run came to travels with its answer if it is small. If not, it stays with the reply,
where the cluster keeps it, and goes from there to whoever needs it.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from mainspring._processes.channel import Packed
from mainspring._processes.relays import Audience
from mainspring.runs import TaskRun

__all__ = [
    "SMALL",
    "Answer",
    "Far",
    "Given",
    "Head",
    "Letter",
    "Order",
    "Parcel",
    "Reply",
    "Verdict",
    "beside",
    "read_letter",
    "wrap_parcel",
    "writable",
]

SMALL = 65_536
"""Bytes up to which a value travels with the answer."""


class Head(NamedTuple):
    """The outside of a parcel, which every version can read.

    Args:
        version: That of mainspring where it was packed.
        python: That of Python there.
    """

    version: str
    python: str

    @classmethod
    def here(cls) -> Head:
        """What is so in this process."""
        version: str = sys.modules[__name__.partition(".")[0]].__version__
        return cls(version, f"{sys.version_info.major}.{sys.version_info.minor}")


class Far:
    """Stands among the arguments for what another run of the cluster has come to, or will.

    Args:
        reply: The number of the input that is the reply in which it is.
        number: The number of its answer in there.
    """

    __slots__ = ("number", "reply")

    def __init__(self, reply: int, number: int) -> None:
        self.reply = reply
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return Far, (self.reply, self.number)


class Given:
    """Stands among the arguments for a value of the cluster itself.

    Args:
        number: The number of the input that is the value.
    """

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return Given, (self.number,)


class Order(NamedTuple):
    """What a worker is told about one run.

    Args:
        run: The record of the run.
        step: The step of its flow run, see `mainspring.task_runners.calls.Call`.
        retries: How many retries of the run were granted elsewhere.
        losses: How many lost attempts of it were made good elsewhere.
        parameters: Its arguments, packed; with `Far` and `Given` in them.
        wait_for: The replies that it waits for besides.
        has_inputs: Whether there is a `Far` or a `Given` in any of that.
    """

    run: TaskRun
    step: tuple[str, bool] | None
    retries: int
    losses: int
    parameters: Packed
    wait_for: Sequence[Far] | None
    has_inputs: bool


class Parcel(NamedTuple):
    """The inside of a parcel.

    Args:
        owner: The process that the runs belong to, see `mainspring.store.protocol.RunStore.owner`.
        session: Tells the runner that has sent it from others, see `sessions`.
        database: Where history goes, see `reach`.
        flow_files: See `FlowFiles`.
        context: What was active where the runs were submitted, packed.
        task: The task, packed.
        audience: Who listens there.
        orders: The runs.
    """

    owner: int | None
    session: str
    database: Any
    flow_files: Any
    context: bytes
    task: bytes
    audience: Audience
    orders: Sequence[Order]


class Verdict(IntEnum):
    """What an answer says.

    DONE: what the run has come to. RAISED: an exception came out of it that ends more than the run. REFUSED: the run
    could not be made, as something in the parcel could not be made again. SKIPPED: it did not begin, as nobody wants
    it any more. UNMET: it did not begin, as it is not known what another run has come to that its arguments come
    from. TAKEN: somebody else has begun it, and has not come to an end as far as is known. UNREACHABLE: the run
    store cannot be reached from there, and nothing was begun. LATE: its time was over, and it was ended.
    """

    DONE = 1
    RAISED = 2
    REFUSED = 3
    SKIPPED = 4
    TAKEN = 5
    UNREACHABLE = 6
    UNMET = 7
    LATE = 8


class Answer(NamedTuple):
    """What became of one run.

    Args:
        verdict: The kind of answer.
        head: The state, what the value is, and words about it; see `mainspring.task_runners.working`.
        packed: The value, if it is small; None if it has stayed with the reply.
        seconds: How long it took.
    """

    verdict: Verdict
    head: Any
    packed: Packed | None = ()
    seconds: float = 0.0


class Letter(NamedTuple):
    """What is told about a parcel.

    Args:
        answers: One for each run; a single one if it holds for all of them.
        messages: What has happened meanwhile, for those who listen, as kinds and heads of frames.
        worker: What people call the process that tells it.
        histories: What was recorded inside of each call, pickled, if the run store is not reached from there.
    """

    answers: Sequence[Answer]
    messages: Sequence[tuple[int, Any]]
    worker: str
    histories: Sequence[bytes | None] = ()


class Reply:
    """The answers to a parcel, and the values that have stayed here.

    Args:
        letter: The pickle of the `Letter`.
        values: Large values, packed, by the number of their answer.
    """

    __slots__ = ("letter", "values")

    def __init__(self, letter: bytes, values: dict[int, list[Any]] | None = None) -> None:
        self.letter = letter
        self.values = values or {}

    def __sizeof__(self) -> int:
        """What a cluster is told about how much memory this takes."""
        return 64 + len(self.letter) + sum(len(part) for packed in self.values.values() for part in packed)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Large values go beside the pickle, without being copied, where that is possible."""
        return type(self), (
            self.letter,
            {key: beside(packed, protocol) for key, packed in self.values.items()},
        )

    @property
    def answers(self) -> Sequence[Answer]:
        """The answers."""
        return read_letter(self.letter).answers

    def value(self, number: int) -> Packed:
        """A large value."""
        return writable(self.values[number])


def beside(packed: Packed, protocol: int) -> list[Any]:
    """Packed values so that they go beside a pickle of that protocol, without being copied, where that is possible."""
    kind: Any = bytes if protocol < 5 else pickle.PickleBuffer
    return [kind(part) for part in packed]


def writable(packed: Packed) -> Packed:
    """The same in memory that may be written to, as arrays that are made of it may be."""
    if len(packed) < 2:  # there are none
        return packed
    content, *buffers = packed
    return [content, *map(bytearray, buffers)]


def read_letter(content: bytes) -> Letter:
    """A letter that was pickled."""
    answers, messages, worker, histories = pickle.loads(content)
    return Letter([Answer(*answer) for answer in answers], messages, worker, histories)


def wrap_parcel(parcel: Parcel) -> bytes:
    """A parcel as bytes.

    Raises:
        Exception: Whatever a part of a record raises that cannot be pickled.
    """
    return pickle.dumps((tuple(Head.here()), pickle.dumps(tuple(parcel), 5)), 5)
