"""What a worker of a cluster does with a parcel: it makes the runs, and writes their history if it reaches the store.

The cluster may hand out a parcel twice: when it loses sight of a worker, which may be alive, or needs a reply again
that is gone. So each run is claimed in the run store before anything of it is done, in one commit for the parcel. The
claim of a run that somebody else has begun is refused. It is not begun a second time, and the answer says what has
become of it as far as that is known.
"""

from __future__ import annotations

import contextvars
import os
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mainspring._clusters.errands import Bundle
from mainspring._clusters.hearing import Hearing
from mainspring._clusters.inputs import Unmet, place_inputs
from mainspring._clusters.outposts import run_errands
from mainspring._clusters.parcels import SMALL, Answer, Head, Order, Parcel, Reply, Verdict, writable
from mainspring._clusters.reach import Database, Unreachable, open_recorder
from mainspring._clusters.sessions import sessions
from mainspring._core.traverse import is_atomic
from mainspring._engine.places import crash_note
from mainspring._processes.channel import pack, unpack
from mainspring._processes.flow_files import FlowFiles
from mainspring._processes.portability import pack_error
from mainspring.annotations import quote
from mainspring.clock import MICROSECONDS
from mainspring.context import hydrated_context
from mainspring.exceptions import ConfigurationError, SupersededRun
from mainspring.futures.promises import Promise
from mainspring.recording import Recorder
from mainspring.runs import TaskRun
from mainspring.store.results import Attachment
from mainspring.task_runners.calls import Call
from mainspring.task_runners.proceeds import Proceeds
from mainspring.task_runners.threads import ThreadPoolTaskRunner

__all__ = ["make_room", "perform"]

_REMEMBERED = 64
"""Tasks and contexts that a worker keeps, as parcel after parcel has the same."""

_MOST_ANSWERED = 500
"""Small answers that a worker keeps."""

_lock = threading.Lock()
_known: OrderedDict[bytes, Any] = OrderedDict()
_answered: OrderedDict[bytes, Answer] = OrderedDict()
_pool: ThreadPoolTaskRunner | None = None


def perform(parcel: bytes, inputs: Sequence[Any], step_aside: Callable[[], object] | None = None) -> Reply:
    """Make the runs of a parcel; never raises what comes of one.

    Args:
        parcel: See `parcels.wrap_parcel`.
        inputs: The replies and values of the cluster that the runs need.
        step_aside: Called, in the calling thread, if runs in here wait for others on the same cluster, so that these
            get the place of the calling thread.
    """
    desk = _Desk(step_aside)
    token = _desk.set(desk)
    try:
        return _perform(parcel, inputs, desk)
    finally:
        _desk.reset(token)


def make_room() -> bool:
    """Say that what goes on here is about to wait for other runs on the cluster.

    Returns:
        False if this is no worker of a cluster.
    """
    desk = _desk.get()
    if desk is not None:
        desk.leave()
    return desk is not None


class _Desk:
    """Where the thread is that the cluster has given to a parcel. Others do the work; it waits for them."""

    def __init__(self, step_aside: Callable[[], object] | None) -> None:
        self._step_aside = step_aside
        self._stir = threading.Condition()
        self._left = 0
        self._leaves = False

    def leave(self) -> None:
        """Have the thread let others have its place."""
        with self._stir:
            self._leaves = True
            self._stir.notify_all()

    def wait(self, promises: Sequence[Promise]) -> None:
        """Return when all of these have come to something."""
        self._left = len(promises)
        for promise in promises:
            promise.add_done_callback(self._count)
        with self._stir:
            while self._left:
                if self._leaves and self._step_aside is not None:
                    step_aside, self._step_aside = self._step_aside, None
                    step_aside()
                self._stir.wait()

    def _count(self, _: object) -> None:
        with self._stir:
            self._left -= 1
            if not self._left:
                self._stir.notify_all()


_desk: contextvars.ContextVar[_Desk | None] = contextvars.ContextVar("mainspring_desk", default=None)


def _perform(parcel: bytes, inputs: Sequence[Any], desk: _Desk) -> Reply:
    head, content = pickle.loads(parcel)
    if Head(*head) != Head.here():
        return _refuse_version(Head(*head))
    try:
        opened = pickle.loads(content)
        if isinstance(opened, Bundle):
            FlowFiles(*opened.flow_files).find()
            return _reply(*run_errands(opened, _remembered, inputs, desk.wait))
        opened = Parcel(*opened)
        FlowFiles(*opened.flow_files).find()
        context, task = _remembered(opened.context), _remembered(opened.task)
    except BaseException as error:  # whatever importing a module of the user's does
        return _reply([Answer(Verdict.REFUSED, *pack_error(error))])
    with hydrated_context(context):
        try:
            recorder = open_recorder(Database(*opened.database))
        except Unreachable as problem:
            return _reply([Answer(Verdict.UNREACHABLE, str(problem))])
        hearing = Hearing()
        with hearing.listen(opened.audience, recorder):
            work = _Work(opened, task, recorder, [Order(*order) for order in opened.orders])
            answers = work.do(inputs, desk)
    return _reply(answers, hearing.messages)


class _Begun(NamedTuple):
    """A run that was begun here."""

    call: Call
    proceeds: Proceeds
    promise: Promise

    def is_recorded(self) -> bool:
        """Whether the state that the run was left in is in the run store; only final ones are by themselves."""
        run = self.call.record
        return run is not None and run.recorded == run.state.key


class _Work:
    """A parcel that is being worked on."""

    def __init__(self, parcel: Parcel, task: Any, recorder: Recorder, orders: list[Order]) -> None:
        self._parcel = parcel
        self._task = task
        self._recorder = recorder
        self._orders = orders

    def do(self, inputs: Sequence[Any], desk: _Desk) -> list[Answer]:
        """Make the runs, and wait for all of them."""
        keys = {order.run.key for order in self._orders}
        with sessions.at_work(self._parcel.session, self._recorder.store, keys) as session:
            if session is None:
                return [Answer(Verdict.SKIPPED, None)]
            ready = [self._prepare(order, inputs) for order in self._orders]
            again = {order.run.key for order in self._orders if order.run.recorded is not None}
            taken = self._claim([each for each in ready if isinstance(each, Call)])
            begun: list[_Begun | Answer] = []
            for each in ready:
                if isinstance(each, Answer):
                    begun.append(each)
                elif each.run_key in taken:
                    begun.append(self._see(each.run_key))
                else:
                    begun.append(_begin(each, session.cancelled, each.run_key in again))
            desk.wait([each.promise for each in begun if isinstance(each, _Begun)])
            if not all(each.is_recorded() for each in begun if isinstance(each, _Begun)):
                self._recorder.flush()  # whoever is told of them finds them in the history
            return [each if isinstance(each, Answer) else _remember(each, _answer(each)) for each in begun]

    def _prepare(self, order: Order, inputs: Sequence[Any]) -> Call | Answer:
        """A run with the arguments that it has here."""
        try:
            given: dict[str, Any] = unpack(writable(order.parameters))
            wait_for: Any = order.wait_for
            if order.has_inputs:
                given, wait_for = place_inputs(given, wait_for, inputs)
            else:  # they are resolved already
                given = {name: each if is_atomic((each,)) else quote(each) for name, each in given.items()}
        except Unmet:
            return Answer(Verdict.UNMET, None)
        except BaseException as error:  # whatever importing a module of the user's does
            return Answer(Verdict.REFUSED, *pack_error(error))
        run = order.run
        run.on_behalf = self._parcel.owner
        told = {"step": order.step, "retries": order.retries, "losses": order.losses}
        return Call(self._task, run.key, given, wait_for, None, told, run)

    def _claim(self, calls: Sequence[Call]) -> set[bytes]:
        """Begin the histories of the runs that have none; gives the ids of those that somebody else has begun."""
        runs = [call.record for call in calls if call.record is not None and call.record.recorded is None]
        return self._recorder.claim({run: self._note(run) for run in runs}) if runs else set()

    def _note(self, run: TaskRun) -> Sequence[Attachment]:
        """Who is to be told if this process dies, by whoever finds out; not if the run goes on elsewhere then."""
        policy = self._task.policy
        return () if policy.retries or policy.crash_retries else crash_note(run.key, self._task)

    def _see(self, run_key: bytes) -> Answer:
        """What has become of a run that somebody else has begun."""
        found = self._recorder.store.read_run(run_key)
        if found is None or not found.state.is_final():
            return Answer(Verdict.TAKEN, "The worker that had begun the run is gone.")
        state = found.state
        if state.is_crashed():  # whether that is the end is decided where the task was submitted
            return Answer(Verdict.TAKEN, state.message)
        answered = _answered.get(run_key)
        if answered is not None and answered.head[0].key == state.key:
            return answered
        return Answer(Verdict.DONE, *Proceeds().wrap(state))


def _begin(call: Call, cancelled: threading.Event, claims: bool) -> _Begun:
    """Have a thread make a run.

    Args:
        call: The run.
        cancelled: Set when nothing is to begin any more.
        claims: Whether it has a history, so that its next attempt is still to be claimed.
    """
    proceeds = Proceeds()
    told = {**call.context, "cancel_event": cancelled, "check": proceeds.check, "claims": claims}
    call = call._replace(context=told)
    return _Begun(call, proceeds, _workers().take(call))


def _answer(begun: _Begun) -> Answer:
    run = begun.call.record
    assert run is not None
    try:
        state = begun.promise.result()
    except SupersededRun:  # as `_Work._see` says
        return Answer(Verdict.TAKEN, "The worker that had begun the run is gone.")
    except BaseException as error:  # belongs to whoever asks for the result
        return Answer(Verdict.RAISED, *pack_error(error))
    if state.is_crashed() and isinstance(state.data, SupersededRun):  # as above; it is not in the history
        return Answer(Verdict.TAKEN, str(state.data))
    try:
        head, packed = begun.proceeds.wrap(state)
        if head[1] == "record" and sum(map(len, packed)) > SMALL:  # whoever wants it reads it
            packed = pack(state.data.metadata)
    except Exception as error:  # what the state holds cannot be pickled
        return Answer(Verdict.RAISED, *pack_error(error))
    return Answer(Verdict.DONE, head, packed, run.run_time / MICROSECONDS)


def _remember(begun: _Begun, answer: Answer) -> Answer:
    """Keep an answer for a while: a cluster that has lost the reply may ask again, and what it says is kept nowhere."""
    if answer.verdict is Verdict.DONE and sum(map(len, answer.packed or ())) <= SMALL:
        with _lock:
            _answered[begun.call.run_key] = answer
            while len(_answered) > _MOST_ANSWERED:
                _answered.popitem(last=False)
    return answer


def _reply(
    answers: Sequence[Answer],
    messages: Sequence[tuple[int, Any]] = (),
    histories: Sequence[bytes | None] = (),
) -> Reply:
    """Answers in their reply: the large values beside the letter."""
    values: dict[int, list[Any]] = {}
    told: list[Any] = []
    for number, answer in enumerate(answers):
        packed = answer.packed or ()
        if sum(len(part) for part in packed) > SMALL:
            values[number] = list(packed)
            told.append(tuple(answer._replace(packed=None)))
        else:
            told.append(tuple(answer._replace(packed=[bytes(part) for part in packed])))
    return Reply(pickle.dumps((told, list(messages), _name(), histories), 5), values)


def _refuse_version(theirs: Head) -> Reply:
    ours = Head.here()
    error = ConfigurationError(
        f"Worker {_name()} has mainspring {ours.version} on Python {ours.python}, and the task was submitted by"
        f" mainspring {theirs.version} on Python {theirs.python}. Both sides need the same versions."
    )
    return _reply([Answer(Verdict.REFUSED, *pack_error(error))])


def _name() -> str:
    return f"{os.uname().nodename}, process {os.getpid()}"


def _remembered(content: bytes) -> Any:
    """What was pickled; the same object each time, for those of late."""
    with _lock:
        if content in _known:
            _known.move_to_end(content)
            return _known[content]
    found = pickle.loads(content)
    with _lock:
        _known[content] = found
        while len(_known) > _REMEMBERED:
            _known.popitem(last=False)
    return found


def _workers() -> ThreadPoolTaskRunner:
    """The threads of this process that make runs; one after the other while they are short."""
    global _pool
    with _lock:
        if _pool is None:
            _pool = contextvars.Context().run(ThreadPoolTaskRunner().__enter__)
        return _pool
