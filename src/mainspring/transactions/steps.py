"""What the steps of transactions are made of: calls that may wait, what came of them, and hooks."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, cast

from mainspring._core.outcomes import is_limit
from mainspring._core.policy import hook_name
from mainspring._imports import modules_on_use
from mainspring._representation import traceback_of
from mainspring.context import shielded

if TYPE_CHECKING:
    from mainspring.states import conversion
    from mainspring.transactions.base import BaseTransaction, Hook
    from mainspring.transactions.ledger import Ledger
else:
    conversion = modules_on_use("mainspring.states", "conversion")

__all__ = [
    "FACES",
    "Call",
    "Outcome",
    "Steps",
    "interrupt_of",
    "is_ours",
    "raise_interrupt",
    "report",
    "run_hook",
]


class Call:
    """An effect: something that may wait is to be called.

    Args:
        function: What to call; it may return an awaitable, whose result is meant then.
        twin: What to call instead where it is awaited.
        arguments: With which positional arguments.
        options: With which keyword arguments.
    """

    __slots__ = ("arguments", "function", "options", "twin")

    def __init__(self, function: Any, twin: Any, arguments: tuple[Any, ...] = (), **options: Any) -> None:
        self.function = function
        self.twin = twin
        self.arguments = arguments
        self.options = options

    def make(self) -> Any:
        """Make the call in the calling thread; may give an awaitable."""
        return self.function(*self.arguments, **self.options)

    def amake(self) -> Any:
        """Make the call for code that awaits; may give an awaitable."""
        return self.twin(*self.arguments, **self.options)


class Outcome:
    """What came of a `Call`: a value, or the exception that was raised, of whatever kind."""

    __slots__ = ("error", "value")

    def __init__(self, value: Any, error: BaseException | None = None) -> None:
        self.value = value
        self.error = error

    def get(self) -> Any:
        """The value; raises the exception."""
        if self.error is not None:
            raise self.error
        return self.value


Steps = Generator[Call, Outcome, Any]


def run_hook(hook: Hook, txn: BaseTransaction, kind: str, ledger: Ledger | None = None) -> Steps:
    """Run one hook and tell about it, unless it asks for silence; returns the error, None if it went well."""
    if ledger is not None:
        try:
            ledger.begin(txn, hook)
        except Exception as error:  # a hook that cannot be noted is not called: nobody could tell later on
            report(txn, f"noting that {kind} hook {hook_name(hook)!r} is called; it was not", error)
            return error
    try:
        is_logged = getattr(hook, "log_on_run", True)
    except Exception:  # an object that raises when it is asked has not asked for silence
        is_logged = True
    name = hook_name(hook)
    if is_logged:
        txn.logger.info("Running %s hook %r", kind, name)
    if kind == "rollback":
        with shielded():
            outcome = yield Call(hook, hook, (txn,))
    else:
        outcome = yield Call(hook, hook, (txn,))
    if is_logged:
        if outcome.error is None:
            txn.logger.info("%s hook %r finished running successfully", kind.capitalize(), name)
        else:
            report(txn, f"running {kind} hook {name!r}", outcome.error)
    return outcome.error


def report(txn: BaseTransaction, doing: str, error: BaseException) -> None:
    """Tell that something went wrong in a transaction, with the traceback."""
    if interrupt_of(error) is None:  # else it goes on to whoever it is for
        told, trace = conversion.describe_exception(error), traceback_of(error)
        txn.logger.error("An error was encountered while %s: %s", doing, told, exc_info=trace)


def is_ours(child: Any) -> bool:
    """Whether a child is settled by the steps of this module; others are asked to do it themselves."""
    kind = cast("Any", type(child))
    return getattr(kind, "commit", None) in FACES and getattr(kind, "rollback", None) in FACES


FACES: set[Any] = set()  # the methods that do nothing but drive these steps


def interrupt_of(error: BaseException | None) -> BaseException | None:
    """The error, if it is one that ends more than a transaction: a cancellation, SIGTERM, Ctrl-C, a limit around it."""
    return None if error is None or (isinstance(error, Exception) and not is_limit(error)) else error


def raise_interrupt(error: BaseException | None) -> None:
    """Let an exception that ends more than a transaction go on."""
    interrupt = interrupt_of(error)
    if interrupt is not None:
        raise interrupt
