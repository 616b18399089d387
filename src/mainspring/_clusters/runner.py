"""A task runner for a cluster: what is so whatever the cluster is."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterable
from contextlib import nullcontext
from operator import is_ as _is
from types import TracebackType
from typing import Any, NamedTuple, Self

from mainspring import identifiers
from mainspring._clusters.assignments import Assignment, Lot, Series
from mainspring._clusters.deposits import Deposits
from mainspring._clusters.dispatch import Dispatcher
from mainspring._clusters.protocol import Cluster, ClusterGone
from mainspring._clusters.sessions import Session
from mainspring._clusters.settling import lose
from mainspring._clusters.stops import Stops
from mainspring._engine.mapping import Children
from mainspring._engine.steps import steps_for, with_step
from mainspring._engine.submissions import unfinished_inputs
from mainspring._processes.contexts import pack_context
from mainspring._processes.relays import Inbox
from mainspring.context import (
    FlowRunContext,
    TagsContext,
    TaskRunContext,
    current_scope,
    get_settings_context,
    serialize_context,
)
from mainspring.exceptions import SerializationError
from mainspring.futures import ConcurrentFuture, FutureList
from mainspring.futures.promises import Promise
from mainspring.recording import current_recorder
from mainspring.store.protocol import RunStore
from mainspring.task_runners.base import Dependencies, TaskRunner, listed, promised
from mainspring.task_runners.calls import Call
from mainspring.task_runners.threads import ThreadPoolTaskRunner
from mainspring.transactions import get_transaction

__all__ = ["ClusterTaskRunner"]


class _Active(NamedTuple):
    """What is active where runs are submitted, and the same packed."""

    parts: tuple[Any, ...]
    packed: bytes
    session: Session


class ClusterTaskRunner(TaskRunner[ConcurrentFuture[Any]]):
    """Runs tasks in the worker processes of a cluster. A subclass says of which one.

    A worker makes the whole run: it retries, looks for kept results, takes slots of limits, and writes history itself,
    with the settings, tags and contexts of the submitter. What is logged and told as events there is passed on to this
    process together with the result. If it does not reach the run store, runs are made in this process, and only their
    functions called over there. A run that a worker dies with is attempted again in another one if its task has a
    retry left, and is Crashed otherwise; whatever the cluster repeats by itself, each attempt is made once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._reset()

    def _reset(self) -> None:
        self._cluster: Cluster | None = None
        self._sessions: dict[RunStore, Session] = {}
        self._dispatcher: Dispatcher | None = None
        self._stops: Stops | None = None
        self._cancelled = threading.Event()
        self._active: _Active | None = None
        self._lot: Lot | None = None
        self._has_told_transaction = False

    @abstractmethod
    def _connect(self) -> Cluster:
        """Start the cluster, or connect to it.

        Raises:
            ConfigurationError: That cannot be done; the message says why.
        """

    def __getstate__(self) -> dict[str, Any]:
        """A runner is pickled as a runner that is not started (TR-32)."""
        fields = {**vars(self), "_started": False}
        for name in (
            "_cluster",
            "_sessions",
            "_dispatcher",
            "_stops",
            "_cancelled",
            "_active",
            "_lot",
            "_has_told_transaction",
        ):
            fields.pop(name, None)
        return fields

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._reset()
        vars(self).update(state)

    def detached(self) -> TaskRunner[Any]:
        """See `TaskRunner.detached`: threads of the worker, which others may not have to wait for."""
        return ThreadPoolTaskRunner()

    # Starting and leaving

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self._cluster = self._connect()
            self._open_session()
            inbox = Inbox(logger_name=f"task_runner.{self.name}")
            self._cancelled = threading.Event()
            self._dispatcher = Dispatcher(self._cluster, inbox)
            self._stops = Stops(self._dispatcher, self._close_sessions, current_scope())
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        scope = current_scope()
        left: list[Assignment] = []
        try:
            self.cancel_all()
            if self._dispatcher is not None:
                with (
                    nullcontext() if scope is None else scope.closed()
                ):  # what was sent is told to stop itself
                    self._dispatcher.join()
        except BaseException:  # an interrupt while it waits for tasks: nobody waits for them any more
            if self._dispatcher is not None:
                left = self._dispatcher.abandon()
            raise
        finally:
            self._leave()
            for assignment in left:
                assignment.context.run(
                    lose, assignment, ClusterGone("Its task runner was left by an interrupt.")
                )

    def _leave(self) -> None:
        if self._stops is not None:
            self._stops.close()
        for session in self._sessions.values():
            session.end()
        cluster = self._cluster
        self._reset()
        self._started = False
        if cluster is not None:
            cluster.close()

    def cancel_all(self) -> None:
        """See `TaskRunner.cancel_all`; a task whose function has begun is not interrupted, but can ask."""
        self._cancelled.set()
        self._close_sessions()
        if self._dispatcher is not None:
            self._dispatcher.cancel()

    def _open_session(self) -> Session:
        """The session in the run store that settings name here.

        Raises:
            StoreError: It cannot be begun.
        """
        store = current_recorder().store
        session = self._sessions.get(store)
        if session is None:
            session = self._sessions[store] = Session(store)
        return session

    def _close_sessions(self) -> None:
        for session in list(self._sessions.values()):
            session.close()

    # Runs

    def submit(
        self,
        task: Any,
        parameters: dict[str, Any],
        wait_for: Iterable[Any] | None = None,
        dependencies: Dependencies | None = None,
    ) -> ConcurrentFuture[Any]:
        """See `TaskRunner.submit`."""
        self._require_started()
        dispatcher = self._dispatcher
        assert dispatcher is not None
        self._tell(task)
        key, promise = identifiers.new_id(), Promise()
        assignment = self._assign(
            self._lot_of(task), key, promise, parameters, listed(wait_for), dependencies, Deposits()
        )
        if not dispatcher.put(assignment):
            raise self._refusal(task)
        return ConcurrentFuture(key, promise)

    def _submit_each(
        self,
        task: Any,
        children: Children,
        wait_for: Iterable[Any] | None,
        dependencies: Dependencies,
        max_in_flight: int,
    ) -> FutureList[Any]:
        """See `TaskRunner._submit_each`: in the queue the children are one piece."""
        dispatcher = self._dispatcher
        assert dispatcher is not None
        if not children.length:
            return FutureList()
        lot, deposits = self._lot_of(task), Deposits()
        keys, promises, futures = promised(children)

        def prepare(number: int) -> Assignment:
            given = children[number]
            return self._assign(lot, keys[number], promises[number], given, wait_for, dependencies, deposits)

        if not dispatcher.put_series(Series(lot, promises, prepare, max_in_flight)):
            raise self._refusal(task)
        return futures

    def _assign(
        self,
        lot: Lot,
        key: bytes,
        promise: Promise,
        parameters: dict[str, Any],
        wait_for: Iterable[Any] | None,
        dependencies: Dependencies | None,
        deposits: Deposits,
    ) -> Assignment:
        """A run that is ready to be sent when its inputs allow that."""
        task = lot.task
        missing = unfinished_inputs(parameters, wait_for)
        context: dict[str, Any] = {"cancel_event": self._cancelled}
        if not missing:
            context = with_step(context, task, parameters)
        run = task.create_local_run(key, parameters, wait_for, dependencies)
        call = Call(task, key, parameters, wait_for, dependencies, context, run)
        assert self._stops is not None
        assignment = Assignment(lot, call, promise, self._dispatcher, self._stops.dismiss, deposits)
        assignment.inputs = missing
        assignment.needs_values = bool(missing) and steps_for(task) is not None
        self._stops.attend(assignment)
        return assignment

    def _lot_of(self, task: Any) -> Lot:
        """What runs of a task have in common that are submitted here."""
        parts = FlowRunContext.get(), TaskRunContext.get(), TagsContext.get(), get_settings_context()
        active = self._active
        assert self._cluster is not None
        options = self._cluster.read_options()
        if active is None or not all(map(_is, active.parts, parts)):
            session = self._open_session()
            try:
                active = self._active = _Active(parts, pack_context(serialize_context()), session)
            except SerializationError as error:  # which the run comes to
                return Lot(task, b"", session, options, error)
        if active.session.unreached is None:
            self._tell_transaction(task)
        lot = self._lot
        if lot is None or lot.task is not task or lot.context is not active.packed or lot.options != options:
            lot = self._lot = Lot(task, active.packed, active.session, options)
        return lot

    def _tell_transaction(self, task: Any) -> None:
        """Say, once, that a transaction does not reach into other processes."""
        if self._has_told_transaction or get_transaction() is None:
            return
        self._has_told_transaction = True
        self.logger.warning(
            "A run of %r was submitted to a cluster inside of a transaction. Runs in other processes commit by"
            " themselves, so they are not rolled back with it. Call the task directly to have it take part.",
            task.name,
        )
