"""Calls on their way to workers that do not reach the run store, and back.

One thread sends. As long as a task is known to be short, its calls wait here while the cluster has enough to do, so
that several go together. All others are sent at once, and it is for whoever makes them not to make too many.
"""

from __future__ import annotations

import contextvars
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mainspring._cancel_scopes import CancelScope
from mainspring._clusters.assignments import Lot
from mainspring._clusters.errands import Bundle, Errand, wrap_bundle
from mainspring._clusters.pace import SHARES, Pace
from mainspring._clusters.parcels import Answer, Letter, Verdict, read_letter
from mainspring._clusters.protocol import Cluster, Failure, Ticket
from mainspring._engine.workers import WorkerPool
from mainspring._processes.channel import Frame, Kind, Packed
from mainspring._processes.relays import Inbox, audience
from mainspring.exceptions import RunCancelled
from mainspring.futures.promises import Promise
from mainspring.recording import current_recorder

__all__ = ["Message", "Messenger"]

_LOOK_UP = 1.0
"""Seconds after which the thread looks up, as for workers that have come."""


class Message:
    """One call that is to be made.

    Args:
        lot: The task, and what its runs have in common.
        fields: See `Errand`.
        content: See `Errand`.
        natives: The values of the cluster that it needs.
        leans: See `Errand`.
        scope: Bounds the call here; None if nothing does.

    Attributes:
        promise: Comes to the answer and the pickled history of the call.
        context: The one of whoever makes the call.
    """

    __slots__ = ("content", "context", "fields", "leans", "lot", "natives", "promise", "scope")

    def __init__(
        self,
        lot: Lot,
        fields: bytes,
        content: Packed,
        natives: Sequence[Any],
        leans: bool,
        scope: CancelScope | None,
    ) -> None:
        self.lot = lot
        self.fields = fields
        self.content = content
        self.natives = natives
        self.leans = leans
        self.scope = scope
        self.promise = Promise()
        self.context = contextvars.copy_context()


class Messenger:
    """Sends calls to a cluster. Safe to use from any thread.

    Args:
        cluster: The cluster.
        inbox: Is told what happens in workers.
        pack_task: Gives the pickle of a task.
    """

    def __init__(self, cluster: Cluster, inbox: Inbox, pack_task: Callable[[Any], bytes]) -> None:
        self.cluster = cluster
        self._inbox = inbox
        self._pack_task = pack_task
        self._pace = Pace()
        self._changed = threading.Condition()
        self._queue: deque[Message] = deque()
        self._sent: set[Message] = set()
        self._under_way = 0  # bundles
        self._is_closed = False
        self._openers = WorkerPool(sys.maxsize, "mainspring-replies", _nothing)
        self._sender: threading.Thread | None = None

    def put(self, message: Message) -> None:
        """Have a call made.

        Raises:
            RunCancelled: Nothing is sent any more.
        """
        with self._changed:
            if self._is_closed:
                raise RunCancelled("The task runner was left before the call was sent.")
            self._queue.append(message)
            self._changed.notify()
            if self._sender is None:
                self._sender = threading.Thread(
                    target=self._send_all, name="mainspring-messenger", daemon=True
                )
                self._sender.start()

    def drop(self, message: Message) -> None:
        """Do not send a call any more, or forget its answer if it was sent."""
        if not message.promise.done() and not message.promise.cancel():
            message.promise.set_exception(RunCancelled("Nobody waits for the call any more."))

    def is_short(self, task: Any) -> bool:
        """Whether calls of a task are known to be over in a moment."""
        with self._changed:
            return self._pace.is_short(task)

    def cancel(self) -> None:
        """Send nothing more: whoever waits for what was not sent does so no more."""
        with self._changed:
            self._is_closed = True
            waiting = list(self._queue)
            self._queue.clear()
            self._changed.notify()
        for message in waiting:
            message.promise.set_exception(RunCancelled("The task runner was left before the call was sent."))

    def abandon(self) -> None:
        """After `cancel`: whoever waits for an answer does so no more."""
        with self._changed:
            sent = list(self._sent)
        for message in sent:
            message.promise.set_exception(RunCancelled("Its task runner was left by an interrupt."))
        self._openers.close()

    def join(self) -> None:
        """After `cancel`, and when nobody waits for an answer any more: end the threads."""
        if self._sender is not None:
            self._sender.join()
        self._openers.close()

    # Sending

    def _send_all(self) -> None:
        while True:
            with self._changed:
                while not self._is_closed and not self._may_send():
                    self._changed.wait(_LOOK_UP)
                if self._is_closed:
                    return
                taken = self._take_together()
            batch = [message for message in taken if message.promise.begin()]  # unless it was dropped
            if batch:
                self._send(batch)

    def _may_send(self) -> bool:
        if not self._queue:
            return False
        is_busy = self._under_way >= SHARES * self.cluster.slots()
        return not is_busy or not self._pace.is_short(self._queue[0].lot.task)

    def _take_together(self) -> list[Message]:
        """What goes in the next bundle; the lock is held."""
        lot = self._queue[0].lot
        size = self._pace.size(lot.task, len(self._queue), self.cluster.slots())
        taken: list[Message] = []
        while self._queue and len(taken) < size and self._queue[0].lot is lot:
            taken.append(self._queue.popleft())
        return taken

    def _send(self, batch: list[Message]) -> None:
        lot = batch[0].lot
        natives: list[Any] = []
        errands: list[Errand] = []
        for message in batch:
            seconds = None if message.scope is None else message.scope.remaining()
            errands.append(Errand(message.fields, message.content, seconds, len(natives), message.leans))
            natives += message.natives
        with self._changed:
            self._sent.update(batch)
            self._under_way += 1
        try:
            listeners, limits = batch[0].context.run(_surroundings)
            task, reason = self._pack_task(lot.task), lot.session.unreached or ""
            files = tuple(lot.session.flow_files)
            content = wrap_bundle(Bundle(files, lot.context, task, listeners, limits, reason, errands))
            deliver = partial(self._deliver, batch)
            self.cluster.send(content, natives, lot.options, deliver, once=True)
        except Exception as error:  # belongs to whoever waits for the answers
            self._openers.put(partial(self._fail, batch, error))

    # What comes back

    def _deliver(self, batch: list[Message], ticket: Ticket, outcome: bytes | Failure) -> None:
        """See `Delivery`."""
        if isinstance(outcome, bytes):
            self._openers.put(partial(self._open, batch, ticket, outcome))
        else:
            ticket.release()
            self._openers.put(partial(self._fail, batch, outcome))

    def _open(self, batch: list[Message], ticket: Ticket, content: bytes) -> None:
        try:
            letter = read_letter(content)
            answers = self._complete(letter, ticket)
        except Exception as error:  # the values are gone, or cannot be made again
            self._fail(batch, error)
            return
        finally:
            ticket.release()
        self._end_bundle(batch, letter.answers)
        try:
            batch[0].context.run(self._tell, letter)
        except BaseException as error:  # belongs to whoever waits for the answers
            for message in batch:
                message.promise.set_exception(error)
        if len(answers) < len(batch):  # the same for all of them
            answers *= len(batch)
        histories = letter.histories or [None] * len(batch)
        for message, answer, history in zip(batch, answers, histories, strict=True):
            if answer.verdict is not Verdict.LATE:  # who waits for it knows by the clock here that it is
                message.promise.set_result((answer, history))

    @staticmethod
    def _complete(letter: Letter, ticket: Ticket) -> list[Answer]:
        """The answers, with the large values that have stayed with the reply."""
        answers = list(letter.answers)
        if any(answer.packed is None for answer in answers):
            reply = ticket.fetch()
            for number, answer in enumerate(answers):
                if answer.packed is None:
                    answers[number] = answer._replace(packed=reply.value(number))
        return answers

    def _end_bundle(self, batch: list[Message], answers: Sequence[Answer]) -> None:
        with self._changed:
            self._under_way -= 1
            self._sent.difference_update(batch)
            for message, answer in zip(batch, answers, strict=False):
                if answer.verdict is Verdict.DONE:
                    self._pace.note(message.lot.task, answer.seconds)
            self._changed.notify()

    def _tell(self, letter: Letter) -> None:
        for kind, head in letter.messages:
            self._inbox.take(Frame(Kind(kind), head, ()))

    def _fail(self, batch: list[Message], failure: Failure) -> None:
        self._end_bundle(batch, ())
        for message in batch:
            message.promise.set_exception(failure)


def _surroundings() -> tuple[Any, frozenset[str]]:
    """Who listens here, and which limits there are."""
    limits = current_recorder().store.read_limits()
    return audience(), frozenset(limit.name for limit in limits)


def _nothing(_: object = None) -> None:
    """Threads that open replies leave nothing behind."""
