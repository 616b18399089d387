"""Methods of the run store that fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mainspring.recording import current_recorder


@contextmanager
def replaced(name: str, replace: Callable[[Any], Any]) -> Iterator[None]:
    """Inside the block, a method of the run store is another function, which is given the real one."""
    store: Any = current_recorder().store
    setattr(store, name, replace(getattr(store, name)))
    try:
        yield
    finally:
        delattr(store, name)


def once(error: BaseException) -> Any:
    """A replacement that raises at the first call."""
    errors = [error]

    def replace(real: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            if errors:
                raise errors.pop()
            return real(*args, **options)

        return call

    return replace
