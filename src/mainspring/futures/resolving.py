"""Values with futures in them: the same values with what the runs came to instead."""

from __future__ import annotations

from typing import Any, TypeGuard

from mainspring._core.traverse import transform
from mainspring.futures.base import RunFuture

__all__ = ["resolve_futures_to_results", "resolve_futures_to_states"]


def resolve_futures_to_states(value: Any) -> Any:
    """``value`` with each future in it, at any depth outside of `quote`, replaced by its final state."""

    def to_state(leaf: Any, _: object) -> Any:
        if isinstance(leaf, RunFuture):
            leaf.wait()
            return leaf.state
        return leaf

    return transform(value, to_state, unwrap=False)


def resolve_futures_to_results(value: Any) -> Any:
    """``value`` with each future in it, at any depth outside of `quote`, replaced by the result of its run.

    Raises:
        BaseException: What the first run among them that did not complete says that it came to.
    """

    def to_result(leaf: Any, _: object) -> Any:
        return leaf.result() if _is_future(leaf) else leaf

    return transform(value, to_result, unwrap=False)


def _is_future(value: object) -> TypeGuard[RunFuture[Any]]:
    return isinstance(value, RunFuture)
