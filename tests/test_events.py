"""Annotated events: what they are made of, what is fixed when they are made, and what is refused."""

import copy
import pickle
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whereupon import Event, contract_of, payload_of
from whereupon.errors import InvalidContract, InvalidEvent, WhereuponError
from whereupon.events import is_abstract, rebuild


class Line(msgspec.Struct, frozen=True):
    sku: str
    notes: list[str] = []


class PipelineCreated(Event, name="ci.pipeline_created"):
    """A pipeline was created."""

    pipeline_id: int
    ref: str | None = None
    merge_request_ids: tuple[int, ...] = ()
    labels: list[str] = []  # noqa: RUF012 - each event gets its own copy
    lines: list[Line] = []  # noqa: RUF012
    extra: Any = None


class Said(Event, name="shop.said"):
    anything: Any


def refused(make):
    with pytest.raises(InvalidEvent) as caught:
        make()
    return [(fault.location, fault.expected) for fault in caught.value.faults]


# ---- the body belongs to the payload

NAMES = [
    *("name", "id", "data", "schema", "type", "time", "source", "subject", "event", "payload", "contract"),
    *("items", "values", "keys", "get", "pop", "update", "copy", "count", "index", "self", "cls", "mcs"),
    *("title", "bases", "namespace", "keywords", "mro", "context", "abstract", "aliases", "upcast"),
    *("int", "list", "dict", "property", "object", "msgspec"),
]


@pytest.mark.parametrize("annotation", [int, "int"], ids=["evaluated", "as text"])
def test_a_field_may_have_any_public_name(annotation):
    body = {"__annotations__": dict.fromkeys(NAMES, annotation), "__module__": __name__}
    made = type(Event)("Made", (Event,), body, name="shop.made")
    values = {name: number for number, name in enumerate(NAMES)}
    event = made(**values)
    assert payload_of(event) == values
    assert all(getattr(event, name) == value for name, value in values.items())


def test_an_event_has_no_public_attribute_but_its_fields():
    assert {name for name in dir(PipelineCreated) if not name.startswith("_")} == {
        "pipeline_id", "ref", "merge_request_ids", "labels", "lines", "extra"
    }  # fmt: skip


def test_a_field_may_be_called_like_its_type():
    class Moved(Event, name="shop.moved"):
        datetime: "datetime"
        line: "Line"

    moment = datetime(2026, 11, 24, tzinfo=UTC)
    assert Moved(datetime=moment, line=Line("a")).datetime == moment


@pytest.mark.parametrize("name", ["_secret", "__secret", "__init__", "_typed", "_packed"])
def test_a_private_field_is_a_fault_as_a_payload_is_public(name):
    with pytest.raises(
        InvalidContract, match=r"Made has the private field \w+, and a payload is public"
    ) as caught:
        type(Event)(
            "Made", (Event,), {"__annotations__": {name: int}, "__module__": __name__}, name="shop.made"
        )
    assert caught.value.fix == f"name it {name.strip('_')}"


def test_what_has_no_annotation_or_is_a_class_variable_is_no_field():
    class Made(Event, name="shop.made"):
        x: int
        y: ClassVar[int] = 5
        z: "ClassVar[int]" = 6
        limit = 7

        @property
        def double(self) -> int:
            return self.x * 2

        def times(self, factor: int) -> int:
            return self.x * factor

        @classmethod
        def of(cls, x: int) -> "Made":
            return cls(x=x)

    event = Made.of(3)
    assert (event.x, event.y, event.z, event.limit, event.double, event.times(3)) == (3, 5, 6, 7, 6, 9)
    assert payload_of(event) == {"x": 3}


def test_an_event_without_fields_is_a_fact_of_its_own():
    class Started(Event, name="shop.started"):
        pass

    assert payload_of(Started()) == {}
    assert Started() == Started()
    assert refused(lambda: Started(x=1)) == [("x", "is not a field of this event")]


# ---- what an event is made of


def test_an_event_is_made_of_keywords_and_read_by_attribute():
    event = PipelineCreated(pipeline_id=7, ref="main", merge_request_ids=[1, 2])
    assert (event.pipeline_id, event.ref, event.merge_request_ids, event.labels) == (7, "main", (1, 2), [])


def test_an_annotated_event_is_read_by_attribute_only():
    event = PipelineCreated(pipeline_id=7)
    for attempt in (
        lambda: event["pipeline_id"],
        lambda: "ref" in event,
        lambda: list(event),
        lambda: len(event),
    ):
        with pytest.raises(TypeError):
            attempt()
    with pytest.raises(AttributeError, match="no attribute 'reff'"):
        event.reff  # noqa: B018


def test_every_fault_is_listed_with_its_location_a_near_miss_and_the_place_of_the_contract():
    """B12."""
    with pytest.raises(InvalidEvent) as caught:
        PipelineCreated(
            reff="x", merge_request_ids=[1, "b"], lines=[{"sku": 3}, {}, {"sku": "a", "skuu": "b"}]
        )
    error = caught.value
    assert error.event == "ci.pipeline_created"
    assert sorted(map(str, error.faults)) == [
        "lines[0].sku: must be string, not integer",
        "lines[1].sku: is required",
        "lines[2].skuu: is not a field of this event",
        "merge_request_ids[1]: must be integer, not string",
        "pipeline_id: is required",
        "reff: is not a field of this event; did you mean 'ref'?",
    ]
    head, *lines, contract = str(error).splitlines()
    assert head == "ci.pipeline_created refuses this payload [WU102]"
    assert sorted(lines) == [f"  {line}" for line in sorted(map(str, error.faults))]
    assert "contract: " in contract
    assert "test_events.py:" in contract
    assert isinstance(error, WhereuponError)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({}, ("pipeline_id", "is required")),
        ({"pipeline_id": None}, ("pipeline_id", "must be integer, not null")),
        ({"pipeline_id": "7"}, ("pipeline_id", "must be integer, not string")),
        ({"pipeline_id": True}, ("pipeline_id", "must be integer, not boolean")),
        ({"pipeline_id": 1.5}, ("pipeline_id", "must be integer, not number")),
        ({"pipeline_id": 1.0}, ("pipeline_id", "expected `int`, got `float`")),
        ({"pipeline_id": 7, "labels": None}, ("labels", "must be array, not null")),
        ({"pipeline_id": 7, "labels": "abc"}, ("labels", "must be array, not string")),
        ({"pipeline_id": 7, "ref": 3}, ("ref", "must be string or null")),
        ({"pipeline_id": 7, "reff": "x"}, ("reff", "is not a field of this event; did you mean 'ref'?")),
        ({"pipeline_id": 7, "zzz": 7}, ("zzz", "is not a field of this event")),
        ({"pipeline_id": 7, "a b": 7}, ("a b", "is not a field of this event")),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_a_fault_of_the_payload(values, fault):
    """B05, B12: no text becomes a number, and no number another kind of number."""
    assert refused(lambda: PipelineCreated(**values)) == [fault]


@given(st.text(st.characters(categories=["L", "N"]), min_size=12))
def test_no_value_of_a_payload_stands_in_the_text_of_a_refusal(canary):
    class Post(msgspec.Struct, frozen=True):
        iban: str

        def __post_init__(self):
            raise ValueError(self.iban)

    class Checked(Event, name="shop.checked"):
        post: Post | None = None
        at: datetime | None = None
        number: int | None = None
        flags: dict[str, bool] | None = None
        pairs: list[tuple[int, str]] | None = None

    for values in (
        {"post": {"iban": canary}},
        {"post": canary, "at": canary, "number": canary, "flags": {"a": canary}, "pairs": [[canary, canary]]},
        {"number": canary + "\0", "flags": canary + "\ud800", "pairs": [canary]},
        {"number": {canary}, "unknown": canary, "pairs": [[1, canary, canary]]},
    ):
        with pytest.raises(InvalidEvent) as caught:
            Checked(**values)
        assert canary not in str(caught.value)
        assert canary not in repr(caught.value.faults)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_positional_arguments_are_refused():
    with pytest.raises(TypeError, match="takes 1 positional argument"):
        PipelineCreated({"pipeline_id": 7})


# ---- None, absence and defaults


def test_none_in_an_optional_field_is_left_out_and_absent_and_null_are_the_same_when_read():
    contract = contract_of(PipelineCreated)
    explicit = PipelineCreated(pipeline_id=7, ref=None)
    assert "ref" not in payload_of(explicit)
    assert explicit == PipelineCreated(pipeline_id=7)
    assert (
        rebuild(contract, {"pipeline_id": 7, "ref": None})
        == rebuild(contract, {"pipeline_id": 7})
        == explicit
    )


def test_defaults_travel_so_that_a_later_default_cannot_rewrite_a_fact():
    class Before(Event, name="shop.priced"):
        currency: str = "EUR"
        lines: tuple[Line, ...] = (Line("a"),)

    class After(Event, name="shop.priced"):
        currency: str = "USD"
        lines: tuple[Line, ...] = ()

    payload = payload_of(Before())
    assert payload == {"currency": "EUR", "lines": [{"sku": "a", "notes": []}]}
    assert rebuild(contract_of(After), payload).currency == "EUR"


def test_none_beside_another_default_stays_none():
    class Made(Event, name="shop.made"):
        stages: int | None = 3

    assert payload_of(Made(stages=None)) == {"stages": None}
    assert rebuild(contract_of(Made), payload_of(Made(stages=None))).stages is None
    assert rebuild(contract_of(Made), {}).stages == 3


def test_a_required_field_may_be_null_but_not_absent():
    class Made(Event, name="shop.made"):
        ref: str | None

    assert payload_of(Made(ref=None)) == {"ref": None}
    assert refused(Made) == [("ref", "is required")]


# ---- closed when made, open when read


def test_making_is_closed_and_reading_is_open_at_every_level():
    contract = contract_of(PipelineCreated)
    newer = {"pipeline_id": 7, "lines": [{"sku": "a", "weight": 3}], "priority": "high"}
    assert refused(lambda: PipelineCreated(**copy.deepcopy(newer))) == [
        ("lines[0].weight", "is not a field of this event"),
        ("priority", "is not a field of this event"),
    ]
    assert rebuild(contract, newer) == PipelineCreated(pipeline_id=7, lines=[Line("a")])


def test_reading_is_as_strict_as_making_about_fields_it_knows():
    contract = contract_of(PipelineCreated)
    assert refused(lambda: rebuild(contract, {"pipeline_id": "7"})) == [
        ("pipeline_id", "must be integer, not string")
    ]
    assert refused(lambda: rebuild(contract, {})) == [("pipeline_id", "is required")]


# ---- fixed when made


def test_nothing_that_is_changed_afterwards_changes_an_event():
    labels, lines, extra = ["a"], [{"sku": "a", "notes": ["x"]}], {"k": [1]}
    event = PipelineCreated(pipeline_id=7, labels=labels, lines=lines, extra=extra)
    twin = PipelineCreated(pipeline_id=7, labels=["a"], lines=[Line("a", ["x"])], extra={"k": [1]})
    before, code, shown = payload_of(event), hash(event), repr(event)
    labels.append("b")
    lines[0]["notes"].append("y")
    extra["k"].append(2)
    event.labels.append("c")
    event.lines[0].notes.append("z")
    event.extra["k"].append(3)
    payload_of(event)["labels"].append("d")
    assert (payload_of(event), hash(event), repr(event)) == (before, code, shown)
    assert event == twin


def test_events_do_not_share_a_default():
    first = PipelineCreated(pipeline_id=7)
    first.labels.append("a")
    first.lines.append(Line("b"))
    second = PipelineCreated(pipeline_id=7)
    assert (second.labels, second.lines) == ([], [])
    assert payload_of(second)["labels"] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda event: setattr(event, "ref", "x"),
        lambda event: setattr(event, "more", "x"),
        lambda event: delattr(event, "ref"),
        lambda event: event.__dict__.update(ref="x"),
    ],
)
def test_an_event_cannot_be_changed(change):
    """B14."""
    event = PipelineCreated(pipeline_id=7)
    with pytest.raises(AttributeError):
        change(event)
    assert payload_of(event) == payload_of(PipelineCreated(pipeline_id=7))


# ---- equality, hash, copies, pickles, repr

values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, -0.0, 1.0, "a", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@given(values, values)
def test_events_are_equal_when_class_and_payload_are_and_their_hashes_agree(one, other):
    first, second = Said(anything=one), Said(anything=other)
    assert (first == second) == (payload_of(first) == payload_of(second))
    if first == second:
        assert hash(first) == hash(second)
    assert {first: "found"}[Said(anything=copy.deepcopy(one))] == "found"


def test_the_order_of_keys_does_not_matter_to_equality():
    one, other = Said(anything={"a": 1, "b": [2]}), Said(anything={"b": [2], "a": 1})
    assert one == other
    assert hash(one) == hash(other)


def test_events_of_different_classes_and_other_things_are_not_equal():
    class Same(Event, name="shop.same"):
        anything: Any

    assert Said(anything=1) != Same(anything=1)
    assert Said(anything=1) != {"anything": 1}
    assert Said(anything=1) != 1


@given(values)
def test_a_pickled_or_copied_event_is_the_same_event(value):
    event = Said(anything=value)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(event, protocol)) == event
    assert copy.copy(event) is copy.deepcopy(event) is event


def test_the_repr_of_an_event_shows_its_payload():
    assert repr(PipelineCreated(pipeline_id=7, ref="main")) == (
        "PipelineCreated(pipeline_id=7, ref='main', merge_request_ids=[], labels=[], lines=[])"
    )


def test_whether_a_class_is_a_base_class_can_be_asked():
    assert is_abstract(Event)
    assert not is_abstract(PipelineCreated)
