"""Submitted runs on their way to a cluster and back.

One thread sends: runs in the order in which they came, several in one parcel where `pace` says so. What comes back is
opened by the threads of a pool, as those who wait for a run may do anything when it is over.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from mainspring._clusters.assignments import Assignment, Lot, Place, Series
from mainspring._clusters.delays import Delays, has_begun
from mainspring._clusters.homebound import Homebound
from mainspring._clusters.inputs import Inputs, replace_far
from mainspring._clusters.lines import Line, Taken
from mainspring._clusters.pace import Pace
from mainspring._clusters.parcels import Far, Given, Letter, Order, Parcel, Verdict, read_letter, wrap_parcel
from mainspring._clusters.protocol import Cluster, Failure, Ticket, WorkerLost
from mainspring._clusters.settling import lose, open_answer, refuse_parcel
from mainspring._clusters.values import FarValue
from mainspring._engine.inputs import resolve_wait_for
from mainspring._engine.steps import submitted_step
from mainspring._engine.workers import WorkerPool
from mainspring._processes.channel import Frame, Kind, pack_flat
from mainspring._processes.portability import refuse_arguments
from mainspring._processes.relays import Inbox, audience
from mainspring.exceptions import SerializationError
from mainspring.futures import RunFuture
from mainspring.futures.local import LocalFuture
from mainspring.states import State, is_state
from mainspring.task_runners.losses import refuse

__all__ = ["Dispatcher"]

_NO_ROOM = 0.05
"""Seconds after which the thread looks whether a run that is made here has come to wait, and makes room."""

_LOOK_UP = 1.0
"""Seconds after which a thread that waits looks up, as for a signal that did not wake it."""


class Dispatcher:
    """Sends runs to a cluster and settles their promises. Safe to use from any thread.

    Args:
        cluster: The cluster.
        inbox: Is told what happens in workers.
    """

    def __init__(self, cluster: Cluster, inbox: Inbox) -> None:
        self.cluster = cluster
        self._inbox = inbox
        self._homebound = Homebound(cluster, inbox, self._packed_task)
        self._pace = Pace()
        self._tasks: WeakKeyDictionary[Any, bytes] = WeakKeyDictionary()
        self._line = Line(self)
        self._changed = self._line.changed
        self._busy = 0  # times that something was taken from the line and is not yet elsewhere
        self._unanswered = 0  # parcels
        self._delays = Delays(cluster)
        self._openers = WorkerPool(sys.maxsize, "mainspring-replies", _nothing)
        self._sender = threading.Thread(target=self._send_all, name="mainspring-dispatcher", daemon=True)
        self._sender.start()

    # For the runner

    def put(self, assignment: Assignment) -> bool:
        """Have a run sent as soon as what it waits for is there; False if it is too late for that."""
        return self._line.put(assignment)

    def put_series(self, series: Series) -> bool:
        """Have many runs sent one after the other; False if it is too late for that."""
        return self._line.put_series(series)

    def unfinished(self) -> list[Assignment]:
        """The runs that were sent and have not come back."""
        return self._line.sent()

    def cancel(self) -> None:
        """Take no more runs, and cancel what was not sent."""
        for each in self._line.close():
            self._cancel(each)
        self._homebound.cancel()

    def join(self) -> None:
        """After `cancel`: wait until everything that was sent has come back and is settled."""
        with self._changed:
            while self._busy or not self._line.is_empty():
                self._changed.wait(_LOOK_UP)
        self._openers.close()
        self._sender.join()
        self._homebound.join()

    def abandon(self) -> list[Assignment]:
        """After `cancel`: wait for nothing. What was sent counts as cancelled; it is returned to be settled."""
        left = self.unfinished()
        for assignment in left:
            self._give_up(assignment)
        self._openers.close()
        self._homebound.abandon()
        return left

    # The ends of runs

    def _over(self, assignment: Assignment) -> None:
        """A run is settled; may be said twice, by whoever gives it up and by whoever hears of it."""
        if not self._line.end(assignment):
            return
        assignment.on_over(assignment)
        for future in assignment.inputs:
            if not future.is_done():  # what it came to is known, but not here yet
                future.add_done_callback(_nothing)

    def _give_up(self, assignment: Assignment) -> None:
        """Settle the promise of a run that nobody wants any more, as if it had never begun."""
        assignment.promise.take_back()
        self._over(assignment)

    def _cancel(self, work: Assignment | Series) -> None:
        if isinstance(work, Assignment):
            self._give_up(work)
            return
        for promise in work.promises[work.next :]:
            promise.cancel()

    # Runs whose workers do not reach the run store

    def _take_home(self, assignment: Assignment) -> None:
        if assignment.is_unwanted():
            self._give_up(assignment)
        else:
            self._homebound.take(assignment, self._over)

    # Sending

    def _send_all(self) -> None:
        while True:
            with self._changed:
                is_idle = not self._changed.wait_for(self._has_news, _LOOK_UP)
                first = self._line.first
                if not is_idle and first is None:
                    return
                if first is not None and (held := self._hold(first.lot)):
                    self._changed.wait(held)
                    continue
                taken = [] if first is None else self._line.take(self._size(first.lot))
                self._busy += 1
            try:
                if is_idle:
                    self._look_after_delays()
                batch = [each for each in map(self._prepare, taken) if each is not None]
                if batch and batch[0].lot.session.unreached is not None:
                    for assignment in batch:
                        self._take_home(assignment)
                elif batch:
                    self._send(batch)
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

    def _hold(self, lot: Lot) -> float:
        """For how many seconds what comes first is to be held back, unless there is news; the lock is held."""
        if lot.session.unreached is not None:
            return 0.0 if self._homebound.has_room(lot.task) else _NO_ROOM
        return self._pace.hold(lot.task, self._unanswered, self.cluster.slots(), time.monotonic())

    def _has_news(self) -> bool:
        """Whether there is something to send, or nothing left to wait for; the lock is held."""
        line = self._line
        return line.first is not None or (line.is_closed and not line.has_sent() and not self._busy)

    def _look_after_delays(self) -> None:
        """Say what keeps runs from beginning, and wait no more for those that nobody wants."""
        for assignment in self._delays.look(self.unfinished(), is_closed=self._line.is_closed):
            self._give_up(assignment)

    def _size(self, lot: Lot) -> int:
        """How many runs go in the next parcel, at most; the lock is held."""
        if lot.session.unreached is not None:  # they go together later
            return 1
        return self._pace.size(lot.task, self._line.waiting(), self.cluster.slots())

    def _prepare(self, work: Taken) -> Assignment | None:
        """A run that can be sent now; None if it cannot."""
        if isinstance(work, Assignment):
            return work
        series, number = work
        promise = series.promises[number]
        over = partial(self._line.end_part, series)
        if promise.done():  # cancelled
            over()
            return None
        try:
            assignment: Assignment = series.context.copy().run(series.prepare, number)
        except BaseException as error:  # belongs to whoever asks for the result
            promise.set_exception(error)
            over()
            return None
        promise.add_done_callback(lambda _: over())
        if self._line.awaited(assignment):
            if not self.put(assignment):
                self._cancel(assignment)
            return None
        return assignment

    def _send(self, batch: list[Assignment]) -> None:
        inputs = Inputs()
        orders: list[Order] = []
        sent: list[Assignment] = []
        for assignment in batch:
            order = assignment.context.run(self._order, assignment, inputs)
            if order is not None:
                assignment.number = len(sent)
                sent.append(assignment)
                orders.append(order)
        if not sent:
            return
        first = sent[0]
        with self._changed:
            self._line.note_sent(sent)
            self._unanswered += 1
            self._pace.sent(first.lot.task, time.monotonic())
        try:
            listeners = first.context.run(audience)
            task = self._packed_task(first.lot.task)
            session = first.lot.session
            content = wrap_parcel(
                Parcel(
                    session.owner,
                    session.key,
                    tuple(session.database),
                    tuple(session.flow_files),
                    first.lot.context,
                    task,
                    listeners,
                    [tuple(order) for order in orders],  # type: ignore[misc]
                )
            )
            deliver = partial(self._deliver, sent)
            ticket = self.cluster.send(content, inputs.natives, first.lot.options, deliver)
        except Exception as error:  # belongs to whoever asks for the results
            with self._changed:
                self._unanswered -= 1
            self._openers.put(partial(self._guard, self._fail, sent, error))
            return
        for assignment in sent:
            if assignment.ticket is None:
                assignment.ticket = ticket

    def _packed_task(self, task: Any) -> bytes:
        """A task as it was when it was sent first.

        Raises:
            SerializationError: It cannot be pickled.
        """
        packed = self._tasks.get(task)
        if packed is None:
            try:
                packed = self._tasks[task] = pack_flat(task)
            except Exception as error:  # whatever a value raises that cannot be pickled
                raise refuse_arguments(task, {}, error) from error
        return packed

    def _order(self, assignment: Assignment, inputs: Inputs) -> Order | None:
        """What a worker is told about a run; None if it is not to be sent. Called in the context of the run."""
        promise, call = assignment.promise, assignment.call
        if assignment.is_unwanted():
            self._give_up(assignment)
            return None
        if not promise.running() and not promise.begin():  # cancelled
            self._over(assignment)
            return None
        if assignment.lot.problem is not None:
            self._settle(assignment, partial(refuse, call, assignment.lost.run, assignment.lot.problem))
            return None
        try:
            if any(self._is_unsent(future) for future in assignment.inputs):
                self._line.park(assignment)
                return None
            locate = partial(self._locate, inputs)
            wait_for: list[Far] | None = None
            if call.wait_for is not None:
                wait_for = [
                    far for future in call.wait_for if isinstance(far := self._locate(inputs, future), Far)
                ]
                resolve_wait_for(each for each in call.wait_for if self._locate(inputs, each) is None)
            placed = assignment.deposits.place(call.parameters, inputs.number)
            parameters, names = replace_far(placed, locate)
        except Exception:  # the run itself meets it again, here, and records it
            self._settle(assignment, call.run)
            return None
        step = call.context.get("step")
        if step is None:
            step = submitted_step(call.task, call.parameters)
        try:
            packed, leans = assignment.deposits.pack(
                call.parameters, parameters, names, self.cluster.put, inputs.number
            )
            lost = assignment.lost
            content = [bytes(part) for part in packed]
            assignment.deposited = assignment.deposits.current()
        except WorkerLost as error:
            self._settle(assignment, partial(lose, assignment, error))
            return None
        except Exception as error:  # whatever a value raises that cannot be pickled
            problem = refuse_arguments(call.task, parameters, error)
            self._settle(assignment, partial(refuse, call, assignment.lost.run, problem))
            return None
        return Order(lost.run, step, lost.retries, lost.count, content, wait_for, leans or bool(wait_for))

    def _is_unsent(self, future: RunFuture[Any]) -> bool:
        """Whether the run of a future is not over, and no parcel is known that it is in."""
        if future.is_done():
            return False
        assignment = self._line.assignment_of(future)
        return assignment is None or assignment.ticket is None

    def _locate(self, inputs: Inputs, leaf: Any) -> Far | Given | None:
        """What stands for a leaf of the arguments on the cluster; see `inputs.Locate`."""
        state: State | None = None
        if issubclass(type(leaf), LocalFuture):
            assignment = self._line.assignment_of(leaf)
            native = None if assignment is None or assignment.ticket is None else assignment.ticket.native
            if assignment is not None and native is not None:
                return Far(inputs.number(native), assignment.number)
            if not leaf.is_done():  # which is waited for
                return None
            state = leaf.state
        elif is_state(leaf):
            state = leaf
        if state is not None:
            data = state.data if state.has_data else None
            if type(data) is FarValue and not data.has_cached_object():
                return Far(inputs.number(data.ticket.native), data.number)
            return None
        return Given(inputs.number(leaf)) if self.cluster.is_native(leaf) else None

    # What comes back

    def _deliver(self, sent: list[Assignment], ticket: Ticket, outcome: bytes | Failure) -> None:
        """See `Delivery`."""
        with self._changed:
            self._unanswered -= 1
            if self._line.first is not None:  # it may be held back
                self._changed.notify_all()
        if isinstance(outcome, bytes):
            self._openers.put(partial(self._guard, self._open, sent, ticket, outcome))
        else:
            self._openers.put(partial(self._guard, self._fail, sent, outcome))

    def _guard(self, work: Callable[..., None], sent: list[Assignment], *told: Any) -> None:
        """Do something about runs that were sent; whatever it meets, nobody waits for them for ever."""
        try:
            work(sent, *told)
        except BaseException as error:  # belongs to whoever asks for the results
            for assignment in sent:
                if assignment.place is Place.SENT:
                    assignment.promise.set_exception(error)
                    self._over(assignment)

    def _open(self, sent: list[Assignment], ticket: Ticket, content: bytes) -> None:
        try:
            letter = read_letter(content)
        except Exception as error:  # whatever the class of a value does when it is made again
            self._fail(sent, error)
            return
        tell = partial(self._tell, letter)
        sent[0].context.run(tell)
        answers = list(letter.answers)
        if len(answers) < len(sent):  # the same for all of them
            answers *= len(sent)
        stays = False
        for assignment, answer in zip(sent, answers, strict=True):
            if assignment.place is Place.OVER:  # nobody waits for it any more
                continue
            if answer.verdict is Verdict.SKIPPED:
                self._give_up(assignment)
            elif answer.verdict is Verdict.UNMET:
                self._line.park(assignment)
            elif answer.verdict is Verdict.UNREACHABLE:
                assignment.lot.session.note_unreached(answer.head)
                self._settle(assignment, _again)
            else:
                if answer.verdict is Verdict.DONE:
                    stays = stays or answer.packed is None
                    with self._changed:
                        self._pace.note(assignment.call.task, answer.seconds)
                assignment.context.run(
                    self._settle, assignment, partial(open_answer, assignment, answer, ticket)
                )
        if not stays:
            ticket.release()

    def _tell(self, letter: Letter) -> None:
        for kind, head in letter.messages:
            self._inbox.take(Frame(Kind(kind), head, ()))

    def _fail(self, sent: list[Assignment], failure: Failure) -> None:
        for assignment in sent:
            settle: Callable[[], State | None]
            if assignment.place is Place.OVER:  # nobody waits for it any more
                continue
            if type(failure) is WorkerLost and self._is_to_be_sent_again(assignment):
                self._line.park(assignment)
                continue
            if isinstance(failure, WorkerLost):
                settle = partial(lose, assignment, failure)
            elif isinstance(failure, SerializationError):
                settle = partial(refuse, assignment.call, assignment.lost.run, failure)
            else:
                settle = partial(refuse_parcel, assignment, failure)
            assignment.context.run(self._settle, assignment, settle)

    @staticmethod
    def _is_to_be_sent_again(assignment: Assignment) -> bool:
        """Whether large arguments may have been lost with a worker that had only these, and nothing of the run."""
        return assignment.deposits.forget(assignment.deposited) and not has_begun(assignment)

    def _settle(self, assignment: Assignment, outcome: Callable[[], State | None]) -> None:
        """Settle the promise of a run by what it has come to, or send it again if that is None."""
        try:
            state = outcome()
        except BaseException as error:  # belongs to whoever asks for the result
            assignment.promise.set_exception(error)
        else:
            if state is None and not self._line.is_closed:
                self._line.park(assignment)
                return
            if state is None:  # nothing begins any more, another attempt neither
                if assignment.lost.run.recorded is None and not has_begun(assignment):
                    self._give_up(assignment)
                else:
                    self._settle(assignment, assignment.call._replace(record=assignment.lost.run).run)
                return
            assignment.promise.set_result(state)
        self._over(assignment)


def _again() -> None:
    """What a run has come to that was not begun."""


def _nothing(_: object = None) -> None:
    """Threads that open replies leave nothing behind; and a future is kept for as long as it has somebody to call."""
