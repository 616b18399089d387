"""Events and resources as values."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.clock import to_datetime, use_clock
from mainspring.events import Event, RelatedResource, Resource
from mainspring.settings import temporary_settings
from tests.engine.clocks import START, JumpingClock
from tests.events.listening import ABOUT

SELLER = {"mainspring.resource.id": "shop.person.1", "mainspring.resource.role": "seller", "town": "Rome"}
BUYER = {"mainspring.resource.id": "shop.person.2", "mainspring.resource.role": "buyer"}
OTHER_BUYER = {
    "mainspring.resource.id": "shop.person.3",
    "mainspring.resource.role": "buyer",
    "town": "Oslo",
}


def order(**more: object) -> Event:
    return Event(event="shop.ordered", resource=Resource(ABOUT), **more)  # type: ignore[arg-type]


# Fields


@pytest.mark.contract("EV-3")
def test_defaults() -> None:
    """An event occurred now, has an id of its own, and nothing else unless it is said."""
    with use_clock(JumpingClock()):
        event = order()
    assert event.occurred == to_datetime(START)
    assert event.occurred.tzinfo is UTC
    assert (event.related, event.payload, event.follows) == ([], {}, None)
    assert isinstance(event.id, UUID)
    assert event.id != order().id


@pytest.mark.contract("EV-3")
def test_naive_times_are_utc() -> None:
    """A time without a zone is taken as UTC."""
    event = order(occurred=datetime(2027, 1, 2, 3))  # noqa: DTZ001 - that is what is tested
    assert event.occurred == datetime(2027, 1, 2, 3, tzinfo=UTC)


@pytest.mark.contract("EV-3")
def test_unknown_fields_are_ignored() -> None:
    """What a later version adds to events does not hurt an earlier one."""
    event = order()
    text = event.to_json().replace("{", '{"received": "2027-01-01T00:00:00Z", "weather": {"rain": true}, ', 1)
    assert Event.from_json(text) == event


def test_an_event_does_not_change() -> None:
    """Fields and labels cannot be set: subscribers share the object."""
    event = order()
    with pytest.raises(AttributeError):
        event.event = "shop.cancelled"  # type: ignore[misc]
    with pytest.raises(TypeError):
        event.resource["x"] = "y"  # type: ignore[index]


# Resources


@pytest.mark.contract("EV-4")
@pytest.mark.parametrize("labels", [{}, {"mainspring.resource.id": ""}, {"mainspring.resource.name": "x"}])
def test_a_resource_needs_an_id(labels: dict[str, str]) -> None:
    """A resource without an id, or with an empty one, is refused."""
    with pytest.raises(ValueError, match=r"needs the label 'mainspring\.resource\.id'"):
        Resource(labels)


@pytest.mark.contract("EV-4")
@pytest.mark.parametrize("role", [{}, {"mainspring.resource.role": ""}])
def test_a_related_resource_needs_a_role(role: dict[str, str]) -> None:
    """A related resource says what it has to do with the event."""
    with pytest.raises(ValueError, match=r"needs the label 'mainspring\.resource\.role'"):
        RelatedResource({**ABOUT, **role})


@pytest.mark.contract("EV-4")
def test_a_resource_is_a_mapping() -> None:
    """A resource is a mapping of its labels, with shortcuts for id, name and role."""
    resource = RelatedResource({**SELLER, "mainspring.resource.name": "Anna"})
    assert dict(resource) == {**SELLER, "mainspring.resource.name": "Anna"}
    assert (resource.id, resource.name, resource.role) == ("shop.person.1", "Anna", "seller")
    assert resource["town"] == "Rome"
    assert resource.get("country") is None
    assert len(resource) == 4
    assert Resource(ABOUT).name is None


@pytest.mark.contract("EV-4")
def test_labels_are_limited() -> None:
    """A resource has at most 500 labels, or as many as the settings say."""
    labels = {**ABOUT, **{f"label-{number}": "x" for number in range(499)}}
    assert len(Resource(labels)) == 500
    with pytest.raises(ValueError, match="501 labels, and 500 are allowed"):
        Resource({**labels, "more": "x"})
    with (
        temporary_settings({"events.maximum_labels_per_resource": 1}),
        pytest.raises(ValueError, match="2 labels, and 1 are allowed"),
    ):
        Resource({**ABOUT, "more": "x"})


@pytest.mark.contract("EV-4")
def test_related_resources_are_limited() -> None:
    """An event has at most 500 related resources, or as many as the settings say."""
    assert len(order(related=[BUYER] * 500).related) == 500
    with pytest.raises(ValueError, match="501 related resources, and 500 are allowed"):
        order(related=[BUYER] * 501)
    with (
        temporary_settings({"events.maximum_related_resources": 1}),
        pytest.raises(ValueError, match="2 related resources, and 1 are allowed"),
    ):
        order(related=[BUYER, SELLER])


@pytest.mark.parametrize("labels", [{**ABOUT, "size": 3}, {**ABOUT, 3: "x"}, "shop.order.7", None])
def test_labels_are_texts(labels: object) -> None:
    """What is no mapping of texts to texts is refused."""
    with pytest.raises(ValueError, match=r"is a mapping of labels|Labels of resources are texts"):
        Resource(labels)  # type: ignore[arg-type]


# Finding


@pytest.mark.contract("EV-5")
def test_involved_resources() -> None:
    """The resource and the related ones, in this order."""
    event = order(related=[SELLER, BUYER])
    assert event.involved_resources == [ABOUT, SELLER, BUYER]


@pytest.mark.contract("EV-5")
def test_resources_by_role() -> None:
    """All related resources of a role, or the first one."""
    event = order(related=[BUYER, SELLER, OTHER_BUYER])
    assert event.resources_in_role == {"buyer": [BUYER, OTHER_BUYER], "seller": [SELLER]}
    assert event.resource_in_role == {"buyer": BUYER, "seller": SELLER}


@pytest.mark.contract("EV-5")
def test_find_resource_label() -> None:
    """A label of the resource, or of the first related resource of a role that has it."""
    event = order(related=[BUYER, SELLER, OTHER_BUYER])
    assert event.find_resource_label("mainspring.resource.id") == "shop.order.7"
    assert event.find_resource_label("town") is None
    assert event.find_resource_label("related:seller:town") == "Rome"
    assert event.find_resource_label("related:buyer:town") == "Oslo"
    assert event.find_resource_label("related:buyer:age") is None
    assert event.find_resource_label("related:driver:town") is None


# JSON

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
filled = texts.filter(bool)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
payloads = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | numbers | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)
moments = st.datetimes(
    datetime(1970, 1, 2),  # noqa: DTZ001 - the strategy takes the zone apart
    datetime(9000, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)


def labels(*required: str) -> st.SearchStrategy[dict[str, str]]:
    return st.builds(
        lambda more, given: {**more, **given},
        st.dictionaries(texts, texts, max_size=3),
        st.fixed_dictionaries(dict.fromkeys(required, filled)),
    )


events = st.builds(
    Event,
    occurred=moments,
    event=texts,
    resource=labels("mainspring.resource.id"),
    related=st.lists(labels("mainspring.resource.id", "mainspring.resource.role"), max_size=3),
    payload=payloads,
    id=st.uuids(),
    follows=st.none() | st.uuids(),
)


@pytest.mark.contract("EV-25")
@settings(max_examples=60)
@given(event=events)
def test_json_keeps_everything(event: Event) -> None:
    """An event that went through JSON is the same event, to the microsecond."""
    back = Event.from_json(event.to_json())
    assert back == event
    assert type(back.resource) is Resource
    assert {type(each) for each in back.related} <= {RelatedResource}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"event": "x", "resource": {}}', '{"event": "x", "resource": "y"}', b"\xff"],
)
def test_what_is_no_event_is_refused(text: str | bytes) -> None:
    """Text that is not the JSON of an event is a ValueError."""
    with pytest.raises(ValueError, match="not the JSON of an event"):
        Event.from_json(text)


def test_json_has_no_form_for_everything() -> None:
    """A payload that JSON cannot hold is named when JSON is wanted."""
    with pytest.raises(TypeError, match="cannot hold a complex"):
        order(payload={"x": 1j}).to_json()
