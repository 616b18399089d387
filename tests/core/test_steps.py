"""Keys of steps: the same in every process, and different for different steps."""

from hypothesis import given
from hypothesis import strategies as st

from mainspring._core.steps import Steps, digest_of

RUN = b"\x01" * 16
CALLS = st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.sampled_from(["x", "y", "z"])), max_size=30)


def keys(calls: list[tuple[str, str]], run: bytes = RUN, attempt: int = 1) -> list[str]:
    steps = Steps(run, attempt, goes_on=False)
    return [steps.take(scope, what) for scope, what in calls]


@given(CALLS)
def test_each_step_has_its_own_key(calls: list[tuple[str, str]]) -> None:
    """No two calls of one attempt share a key, however equal they are."""
    assert len(set(keys(calls))) == len(calls)


@given(CALLS, st.randoms())
def test_order_of_different_steps_does_not_count(calls: list[tuple[str, str]], chance: object) -> None:
    """The same calls in another order have the same keys."""
    shuffled = list(calls)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    assert sorted(keys(shuffled)) == sorted(keys(calls))


def test_keys_are_of_one_attempt_of_one_run() -> None:
    """Other runs and other attempts have other keys, unless a step is to be that of all attempts."""
    calls = [("", "x")]
    assert len({keys(calls)[0], keys(calls, b"\x02" * 16)[0], keys(calls, attempt=2)[0]}) == 3
    first, second = (Steps(RUN, attempt, goes_on=False) for attempt in (1, 2))
    assert first.take("", "x", of_attempt=False) == second.take("", "x", of_attempt=False)


@given(st.lists(st.text(max_size=4), min_size=1, max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_digests_tell_where_texts_end(one: list[str], other: list[str]) -> None:
    """Two lists of texts have one digest if they are equal, and not if they are equal when joined."""
    assert (digest_of(*one) == digest_of(*other)) == (one == other)


def test_keys_never_change() -> None:
    """A later version finds what this one has kept."""
    assert keys([("", "x"), ("a", "x")]) == [
        "27e4aff513c6d1b194de366d4a5a057f",
        "5bbe557019dcde3db744f1958968ba1e",
    ]
