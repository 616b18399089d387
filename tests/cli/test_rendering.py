"""How values look: durations, ages, short ids, bars."""

from __future__ import annotations

from uuid import UUID

import pytest

from mainspring.cli.rendering import describe_types, format_age, format_duration, one_line, short_ids
from mainspring.cli.timeline import Timeline

SECOND = 1_000_000
HOUR = 3600 * SECOND


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "0.00ms"),
        (33, "0.03ms"),
        (1_234, "1.2ms"),
        (412_345, "412ms"),
        (999_900, "1.00s"),
        (4_200_000, "4.20s"),
        (59_949_000, "59.9s"),
        (59_960_000, "1m 0s"),
        (192 * SECOND, "3m 12s"),
        (2 * HOUR + 300 * SECOND, "2h 5m"),
        (99 * HOUR, "4d 3h"),
        (-5, "0.00ms"),
    ],
)
def test_durations_have_about_three_digits(microseconds: int, text: str) -> None:
    """A duration is told in the unit that fits it, and the next unit begins where rounding leads to it."""
    assert format_duration(microseconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (30, "30 sec ago"),
        (120, "2 min ago"),
        (3600, "1 hour ago"),
        (7300, "2 hours ago"),
        (90_000, "yesterday"),
        (4 * 86_400, "4 days ago"),
        (-60, "in 1m 0s"),
    ],
)
def test_ages_are_in_words(seconds: int, text: str) -> None:
    """How long ago something was is told as people do."""
    now = 1_700_000_000 * SECOND
    assert format_age(now - seconds * SECOND, now) == text


def test_old_things_have_a_date() -> None:
    """After a month the date says more than the number of days."""
    assert format_age(0, 100 * 86_400 * SECOND) in ("1970-01-01", "1969-12-31")


def test_short_ids_tell_ids_apart() -> None:
    """Ids show their last eight digits, and as many more as it takes where two end alike."""
    one, two, three = (
        UUID(text * 2) for text in ("1111222233334444", "5555222233334444", "9999888877776666")
    )
    two = UUID(two.hex[:16] + "1" + two.hex[17:])
    ids = short_ids([one, two, three])
    assert ids[three] == "77776666"
    assert ids[one] != ids[two]
    assert all(each.hex.endswith(short) and len(short) >= 8 for each, short in ids.items())


def test_short_ids_of_the_same_id_end() -> None:
    """An id that is listed twice is shown in full rather than searched for ever."""
    same = UUID(int=1)
    assert short_ids([same, same]) == {same: same.hex}


def test_one_line_has_no_control_codes() -> None:
    """Names with line ends and escape codes cannot disturb the output."""
    assert one_line("a\nb\x1b[31mc\tü") == "a b [31mc ü"


def test_counts_name_what_did_not_complete() -> None:
    """Beside the number of task runs stands what became of those that did not complete."""
    assert describe_types({"COMPLETED": 3, "FAILED": 1, "RUNNING": 2}).plain == "6 (1 failed, 2 running)"


def bar(*spans: tuple[int, int, str], width: int = 10, fancy: bool = True) -> str:
    return Timeline(0, 100, width, fancy).bar(spans, "green").plain  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(0, 100, "running")], "██████████"),
        ([(0, 50, "running")], "█████     "),
        ([(50, 100, "running")], "     █████"),
        ([(55, 65, "running")], "     ▐▌   "),
        ([(0, 20, "running"), (20, 80, "waiting"), (80, 100, "running")], "██░░░░░░██"),
        ([(100, 100, "running")], "         ▐"),
        ([(0, 0, "running")], "▌         "),
        ([(-50, 300, "running")], "██████████"),
        ([], "          "),
    ],
)
def test_bars_are_to_scale(spans: list[tuple[int, int, str]], expected: str) -> None:
    """A bar begins and ends where its run did, is never invisible, and keeps within the timeline."""
    assert bar(*spans) == expected


def test_bars_can_be_ascii() -> None:
    """Without blocks a bar is made of number signs and dots."""
    assert bar((0, 20, "running"), (20, 50, "waiting"), fancy=False) == "##...     "


def test_the_axis_is_as_wide_as_the_bars() -> None:
    """The heading says how long the scale is and ends where it ends."""
    for width in (10, 40, 100):
        axis = Timeline(0, 4_200_000, width, True).axis(ruled=True)
        assert len(axis) == width
        assert axis.endswith(" 4.20s")
