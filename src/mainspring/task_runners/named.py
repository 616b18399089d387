"""Task runners by name: ``processes``, ``threads=4``, ``dask=tcp://10.0.0.5:8786``, ``my_runners:Runner``.

Between the name and what follows is an equals sign, because addresses have colons in them, and so have the names of
classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec

from mainspring._imports import modules_on_use
from mainspring.context import FlowRunContext
from mainspring.exceptions import ConfigurationError, MainspringError
from mainspring.settings import get_current_settings
from mainspring.settings.values import suggestion
from mainspring.task_runners.base import TaskRunner
from mainspring.task_runners.threads import ThreadPoolTaskRunner

if TYPE_CHECKING:
    from mainspring.context import shipping
else:
    shipping = modules_on_use("mainspring.context", "shipping")

__all__ = ["RUNNERS", "check_name", "default_runner", "runner_named"]

Options = dict[str, Any]


def _max_workers(number: int) -> Options:
    return {"max_workers": number}


def _in_cluster(number: int) -> Options:
    return {"cluster_kwargs": {"n_workers": number, "threads_per_worker": 1}}


def _in_ray(number: int) -> Options:
    return {"init_kwargs": {"num_cpus": number}}


class Named(msgspec.Struct, frozen=True):
    """What a name stands for.

    Args:
        place: The class, as ``module:name``. It is imported when a runner is made, as some need an extra.
        text: What it does, for people.
        workers: From a number of workers to the arguments of the class, if it has any workers.
        takes_address: Whether it has an argument ``address``.
    """

    place: str
    text: str
    workers: Callable[[int], Options] | None = None
    takes_address: bool = False

    @property
    def forms(self) -> str:
        """What may follow the name."""
        if self.workers is None:
            return "nothing"
        return "a number of workers or an address" if self.takes_address else "a number of workers"


_OURS, _EXTRAS = "mainspring.task_runners", "mainspring.integrations"

RUNNERS: Mapping[str, Named] = {
    "threads": Named(f"{_OURS}:ThreadPoolTaskRunner", "threads of this process", _max_workers),
    "processes": Named(f"{_OURS}:ProcessPoolTaskRunner", "worker processes", _max_workers),
    "inline": Named(f"{_OURS}:InlineTaskRunner", "where tasks are submitted, one after the other"),
    "dask": Named(f"{_EXTRAS}.dask:DaskTaskRunner", "a Dask cluster", _in_cluster, takes_address=True),
    "ray": Named(f"{_EXTRAS}.ray:RayTaskRunner", "a Ray cluster", _in_ray, takes_address=True),
}


class _Wanted(msgspec.Struct, frozen=True):
    """What a text asks for: a class, with these arguments, or whatever a user has at a place."""

    place: str
    options: Options | None


def check_name(text: str) -> None:
    """Refuse what names no runner, as far as that can be told without an import.

    Args:
        text: As for `runner_named`.

    Raises:
        ConfigurationError: There is no such name, or it does not go with what follows it.
    """
    _read(text)


def runner_named(text: str) -> TaskRunner[Any]:
    """A new task runner that is not started.

    Args:
        text: The name of a kind in `RUNNERS`, and a number of workers or an address after an equals sign; or
            ``module:name`` of a runner, or of a class or function that makes one without arguments.

    Raises:
        ConfigurationError: There is no such runner, it does not go with what follows, or it cannot be made.
    """
    wanted = _read(text)
    module, _, name = wanted.place.partition(":")
    try:
        made: Any = attrgetter(name)(import_module(module))
        if not _is_runner(made):
            made = made(**(wanted.options or {}))
    except MainspringError:
        raise
    except ImportError as error:
        kind = text.partition("=")[0]
        extra = "" if wanted.options is None else f" Install it with: pip install 'mainspring[{kind}]'."
        raise ConfigurationError(f"The task runner {text!r} cannot be imported: {error}.{extra}") from error
    except Exception as error:  # of a module or class of the user's: it is the reason to tell
        raise ConfigurationError(
            f"The task runner {text!r} cannot be made: {type(error).__name__}: {error}"
        ) from error
    if not _is_runner(made):
        raise ConfigurationError(f"{text!r} gives no task runner, but {made!r}.")
    return made


def default_runner() -> TaskRunner[Any]:
    """A runner for a flow that declares none, which is not started: as ``tasks.runner.default`` says, else threads.

    If the flow around has such a runner, too, this one may share workers with it. For a flow that is called by a task
    in another process it is what that process has for the flow around: threads, where that has worker processes.

    Raises:
        ConfigurationError: The setting does not name a runner, or it cannot be made.
    """
    settings = get_current_settings()
    text = settings.tasks.runner.default
    if text is None:
        return ThreadPoolTaskRunner()
    try:
        runner = runner_named(text)
    except ConfigurationError as error:
        source = settings.source_of("tasks.runner.default").sentence()
        raise ConfigurationError(f"tasks.runner.default does not work: {error}{source}") from error
    if shipping.is_elsewhere():
        return runner.detached()
    around = FlowRunContext.get()
    started: TaskRunner[Any] | None = None if around is None else around.task_runner
    return started.nested() if started is not None and started == runner else runner


def _read(text: str) -> _Wanted:
    """See `check_name`."""
    name, has_value, value = (part.strip() for part in text.partition("="))
    before, colon, after = name.partition(":")
    if colon and before not in RUNNERS:
        if not (before and after) or has_value:
            raise ConfigurationError(
                f"{text!r} is no task runner: write MODULE:NAME for a class of your own, with nothing after it."
            )
        return _Wanted(name, None)
    if colon:
        raise ConfigurationError(f"There is no task runner {text!r}. Write {before}={text.partition(':')[2]}")
    if name not in RUNNERS:
        meant = suggestion(name, RUNNERS)
        raise ConfigurationError(
            f"There is no task runner {name!r}.{meant} There are {', '.join(RUNNERS)}, and MODULE:NAME for a class"
            f" of your own."
        )
    kind = RUNNERS[name]
    if not has_value:
        return _Wanted(kind.place, {})
    if not value or kind.workers is None:
        raise ConfigurationError(f"{text!r} is no task runner: {name!r} takes {kind.forms}.")
    try:
        number = int(value)
    except ValueError:
        if kind.takes_address and not _is_number(value):
            return _Wanted(kind.place, {"address": value})
        raise ConfigurationError(
            f"{text!r} is no task runner: {name!r} takes {kind.forms}, which {value!r} is not."
        ) from None
    if number < 1:
        raise ConfigurationError(f"{text!r} is no task runner: the number of workers must be at least 1.")
    return _Wanted(kind.place, kind.workers(number))


def _is_runner(value: object) -> TypeGuard[TaskRunner[Any]]:
    return isinstance(value, TaskRunner)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
