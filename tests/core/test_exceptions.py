"""The tree of errors is what its docstring draws."""

import pickle
import re

import pytest

from mainspring import exceptions
from mainspring.exceptions import MainspringError

LINE = re.compile(r"^(?P<indent>[│├└─ ]*)(?P<name>[A-Z]\w+)(?P<rest>.*)$")


def drawn() -> list[tuple[str, str | None, str]]:
    """Name, parent and remark of each class in the drawing; roots have no parent."""
    found = []
    path: list[tuple[int, str]] = []
    tree = (exceptions.__doc__ or "").split("::", 1)[1].split("The second group")[0]
    for line in tree.splitlines():
        line = line.removeprefix("    ")
        match = LINE.match(line)
        if match:
            depth = len(match["indent"])
            while path and path[-1][0] >= depth:
                path.pop()
            found.append((match["name"], path[-1][1] if path else None, match["rest"]))
            path.append((depth, match["name"]))
    return found


def test_the_drawing_is_complete() -> None:
    """Every exception of the module is in the drawing, once."""
    names = [name for name, _, _ in drawn()]
    assert sorted(names) == sorted({*exceptions.__all__, "BaseException"})


@pytest.mark.contract("U-22", "U-23")
@pytest.mark.parametrize(("name", "parent", "rest"), drawn(), ids=[name for name, _, _ in drawn()])
def test_each_class_has_the_parents_drawn(name: str, parent: str | None, rest: str) -> None:
    """A class derives directly from the one above it, and from the builtins that its remark names."""
    if parent is None:
        assert name in ("MainspringError", "BaseException")
        return
    kind = getattr(exceptions, name)
    assert parent in [base.__name__ for base in kind.__bases__]
    also = re.search(r"also an? (\w+)(?: and an? (\w+))?", rest)
    named = [name for name in also.groups() if name] if also else []
    assert [base.__name__ for base in kind.__bases__ if base.__name__ != parent] == named


@pytest.mark.contract("U-23", "X-17")
@pytest.mark.parametrize("name", ["Abort", "Pause", "RunCancelled", "TerminationSignal"])
def test_signals_are_no_ordinary_exceptions(name: str) -> None:
    """What must not be swallowed by ``except Exception`` is of base kind."""
    assert not issubclass(getattr(exceptions, name), Exception)


@pytest.mark.parametrize("name", exceptions.__all__)
def test_each_class_says_what_it_means(name: str) -> None:
    """Each class has a docstring of its own."""
    assert vars(getattr(exceptions, name))["__doc__"]


@pytest.mark.contract("X-16", "S-21")
def test_attributes() -> None:
    """Signals and paused runs carry what the docstrings promise."""
    state = object()
    assert exceptions.TerminationSignal(15).signal == 15
    assert exceptions.Pause("why", state=state).state is state
    assert exceptions.PausedRun("why", state=state).state is state
    assert exceptions.Pause().state is None


@pytest.mark.parametrize(
    "error",
    [
        *(
            getattr(exceptions, name)("text")
            for name in exceptions.__all__
            if issubclass(getattr(exceptions, name), MainspringError)
        ),
        exceptions.TerminationSignal(15),
        exceptions.PausedRun("text", state="a state"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_can_be_pickled(error: BaseException) -> None:
    """Errors cross process borders with their text and attributes."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))
