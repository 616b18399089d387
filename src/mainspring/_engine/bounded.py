"""A run and what bounds it: its scope in the tree, its limit on time, and who may still settle it."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, cast

from mainspring import _cancel_scopes, _forks, clock
from mainspring._cancel_scopes import CancelScope, Stop, live
from mainspring._core.transitions import is_rolled_back
from mainspring.annotations import NotSet
from mainspring.context import FlowRunContext, RunContext, TaskRunContext, current_scope
from mainspring.exceptions import RunCancelled, SupersededRun, TerminationSignal
from mainspring.states import State

__all__ = ["BoundedRun", "FieldsOnUse", "also_named"]

T = TypeVar("T")

_whose = threading.Lock()  # held for moments, when a run with a limit ends or is given up
_forks.remake_in_child(globals(), _whose=threading.Lock)


def _read_clock() -> int:
    return clock.current().now()


class BoundedRun:
    """The part of engines that is about deadlines, and about being told to stop."""

    __slots__ = ("__dict__", "__weakref__", "run", "subject")

    subject: Any
    run: Any
    _context: Any

    timeout_error: ClassVar[type[TimeoutError]]
    asyncio_task: Callable[[], Any]  # the one that carries the run out

    _now: Callable[[], int] = staticmethod(_read_clock)
    _recorder: Any
    _limit: Any = None  # of the attempt, while there is one
    _outside: RunContext | None = None  # the context around the run
    _around_scope: Any = NotSet  # what bounds the run from outside, once that is known
    _cancel_scope: CancelScope | None = None  # of the attempt

    # How another thread takes the run over, see `overdue`.
    settler: int | None = None  # the only thread that may still enter states
    hands_on = False  # whoever makes the next attempt, it is not the one who grants it
    is_given_up = False  # somebody else goes on with the run, or has ended it
    tell_limit: Any = None  # tells a process that ends this one if the attempt does not end at its deadline
    hand_over: Any = None  # lets whoever started the thread of the run do without it
    hands_on_attempts = False  # it has another thread make the next attempt, too
    _ends = False  # the thread of the run does what follows its end

    __match_args__: ClassVar[tuple[str, ...]] = ()  # the arguments it is made with, in their order

    def _arguments(self) -> list[Any]:
        return [getattr(self, name) for name in self.__match_args__]

    def __repr__(self) -> str:
        told = zip(self.__match_args__, self._arguments(), strict=True)
        return f"{type(self).__qualname__}({', '.join([f'{name}={value!r}' for name, value in told])})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._arguments() == other._arguments()

    def is_running(self) -> bool:
        """True as long as attempts are to be made."""
        raise NotImplementedError

    def look_around(self) -> None:
        """Note what bounds the run from outside. Nothing begins any more inside of what was given up.

        Raises:
            RunCancelled: It was.
        """
        around = self._outside = TaskRunContext.get() or FlowRunContext.get()
        scope = self._around_scope = None if around is None else around.scope
        if scope is not None and scope.deadline is not None:
            scope.refuse_late()

    # Whose the run is. A thread that settles takes it, unless its own thread has begun to do what follows its end.

    def take(self) -> bool:
        """Let no other thread than the calling one enter states any more; False if somebody else sees to the end."""
        with _whose:
            if self._ends or self.settler is not None:
                return False
            self.settler = threading.get_ident()
        return True

    def return_to_thread(self) -> None:
        """Leave the run to its own thread again."""
        with _whose:
            self.settler, self.hands_on = None, False

    def claim_end(self) -> bool:
        """Whether what follows the end of the run is for the calling thread to do, which is that of the run."""
        scope = self._cancel_scope
        if scope is None or scope.deadline is None:  # nobody can have taken it
            return True
        with _whose:
            self._ends = self.settler is None
        return self._ends

    def _is_refused(self, state: State) -> bool:
        """Whether a state comes too late, as another thread has settled the run, or its own one was quicker."""
        if self.settler is None:
            return False
        return self.settler != threading.get_ident() or (
            self.run.state.is_final() and not is_rolled_back(state)
        )

    def _refuse_late(self, state: State) -> None:
        if self.settler is not None and self.settler != threading.get_ident():
            raise SupersededRun(
                f"{self.run!r} was settled by another thread, and {state} is refused: it comes too late."
            )

    def _new_scope(self) -> CancelScope:
        """What bounds the attempt that begins."""
        if self._around_scope is NotSet:  # in an engine that is driven by hand
            self._around_scope = current_scope()
        key = self.run.key
        before = self._cancel_scope
        scope = CancelScope(key, self._around_scope, self, self.asyncio_task(), is_open=True)
        self._cancel_scope = live[key] = scope
        if before is not None:
            scope.follow(before)
        return scope

    def _leave_scope(self) -> None:
        """Nothing of the run goes on any more."""
        scope = self._cancel_scope
        if scope is not None:
            scope.leave()
            scope.engine = None
            if live.get(self.run.key) is scope:
                del live[self.run.key]

    def _stop(self) -> Stop | None:
        """Why the run was told to stop, if it was. That it was given up is for its own thread to know."""
        scope = self._cancel_scope
        if self.settler is not None and scope is not None and self.settler == threading.get_ident():
            scope = scope.parent
        return None if scope is None else scope.stopped()

    def absorbs(self, error: BaseException | None) -> bool:
        """Whether an exception that leaves a cancelled run ends here, where it has passed all that it was meant for.

        What somebody else wants goes on: the end of the process, or of a generator.
        """
        if error is None or not self.run or not self.run.state.is_cancelled():
            return False
        if isinstance(error, Exception | SystemExit | TerminationSignal | GeneratorExit):
            return False
        stop = self._stop()
        return stop is not None and self._is_outermost(stop)

    def _is_outermost(self, stop: Stop) -> bool:
        """Whether nothing around the run, in the same thread, has to end with it."""
        scope = self._cancel_scope
        assert scope is not None
        around = scope.parent
        if scope.stopped_by is stop or around is None:
            return True
        return around.key is None or around.thread != scope.thread

    def told_to_stop(self) -> RunCancelled | None:
        """What ends the run where it goes on, if it was told to stop; generators are thrown it."""
        stop = self._stop()
        return None if stop is None else RunCancelled(stop.reason)

    def end_call(self) -> None:
        """The function of the user has ended: nobody interrupts it any more, and what follows is ours.

        Raises:
            TimeoutError: It has taken too long, and has swallowed that.
            RunCancelled: Somebody else has ended the run, with one around it.
        """
        if self._limit is not None:
            self._limit.end()
        if self.settler is not None:
            self.raise_if_stopped()
        scope = self._cancel_scope
        assert scope is not None
        if scope.close():
            self.check_cancelled()

    def check_cancelled(self) -> None:
        """Leave the run at once if it was told to stop, or has no time left.

        Raises:
            RunCancelled: It was.
            TimeoutError: It has none.
        """
        limit = self._limit
        # What another thread has decided counts, and not that the attempt was given up.
        if limit is not None and limit.is_settled:
            limit.check()
        stop = self._stop()
        if stop is not None:
            raise RunCancelled(stop.reason)
        if limit is not None:
            limit.check()

    def accept_settlement(self) -> None:
        """Another thread has settled the attempt that ends here; go on with what it has decided."""
        scope = self._new_scope() if self.is_running() else self._around_scope
        self._context.scope = scope  # what follows is not in the attempt

    def raise_if_stopped(self) -> None:
        """Leave the run at once if it was told to stop.

        Raises:
            RunCancelled: It was.
        """
        stop = self._stop() if _cancel_scopes.anybody_was_told else None
        if stop is not None:
            raise RunCancelled(stop.reason)

    def new_limit(self, kind: Callable[..., T]) -> T | None:
        """The limit on the time of the attempt that begins: the nearest of all that it has to keep to.

        What is around it in the same thread or asyncio task ends it by itself.
        """
        policy, scope = self.subject.policy, self._cancel_scope
        assert scope is not None
        seconds, words, is_last = policy.timeout, f"timeout of {policy.timeout} second(s)", False
        if policy.retry_timeout is not None:
            left = policy.retry_timeout - (self._now() - self.run.started_at) / clock.MICROSECONDS
            if seconds is None or left < seconds:
                words = f"the {policy.retry_timeout} second(s) that all attempts together may take"
                seconds, is_last = left, True
        around = scope.parent
        if around is not None and around.deadline is not None and not around.is_same_place(scope):
            left = around.deadline - time.monotonic()
            if seconds is None or left < seconds:
                words = f"the {max(left, 0.0):.3g} second(s) that were left to the run around it"
                seconds, is_last = left, True
        if seconds is None:
            return None
        if self.tell_limit is not None:
            self._recorder.flush()  # the call may let no thread write any more
        deadline = time.monotonic() + seconds
        scope.bound(deadline)
        if self.tell_limit is not None:
            self.tell_limit(deadline, (seconds, words, is_last))
        return kind(seconds, self.timeout_error, self, words, is_last, deadline)

    def end_limit(self) -> None:
        """The attempt that had a limit is over."""
        if self.tell_limit is not None:
            self.tell_limit(None)


class FieldsOnUse:
    """What makes an engine a dataclass to whoever asks for its fields, which are the parameters of ``__init__``.

    Nothing of ours asks. To load `dataclasses` and have it write methods takes longer than the run of the first task.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._engine = owner

    def __get__(self, _: object, __: type | None = None) -> dict[str, Any]:
        from dataclasses import field, make_dataclass  # on use: it takes a part of the start-up

        engine: Any = self._engine
        _, *given = inspect.signature(engine.__init__).parameters.values()
        made: Any = make_dataclass(
            engine.__name__,
            [
                (
                    each.name,
                    each.annotation,
                    field() if each.default is each.empty else field(default=each.default),
                )
                for each in given
            ],
        )
        engine.__dataclass_params__ = made.__dataclass_params__
        engine.__dataclass_fields__ = fields = cast("dict[str, Any]", made.__dataclass_fields__)
        return fields


def also_named(**names: str) -> Callable[[type[T]], type[T]]:
    """A decorator for engines: they have the slots of `BoundedRun` under names of their own, too.

    Both names are as quick as an attribute can be. A property that passes one on to the other takes so long that it
    shows, because engines ask for their run some twenty times.
    """

    def name_slots(engine: type[T]) -> type[T]:
        for name, slot in names.items():
            setattr(engine, name, getattr(BoundedRun, slot))
        return engine

    return name_slots
