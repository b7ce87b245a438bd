"""Contracts: names, fingerprints and defaults, and that what is published is what is heard."""

import copy
import dataclasses
import enum
import pickle
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import annotated_types
import msgspec
import pytest
from django.db.models import TextChoices
from hypothesis import given, settings
from hypothesis import strategies as st

from whereupon import Event, Meta, SchemaEvent, codec, contract_of, payload_of
from whereupon.errors import InvalidContract
from whereupon.events import rebuild
from whereupon.schemas import DIALECT


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Size(enum.StrEnum):
    S = "s"
    M = "m"


class Status(TextChoices):
    PAID = "paid", "has been paid"
    OPEN = "open", "is still open"


class Line(msgspec.Struct, frozen=True):
    sku: Annotated[str, Meta(max_length=9)]
    quantity: int = 1
    color: Color = Color.RED


@dataclasses.dataclass(frozen=True)
class Address:
    street: str
    floor: int | None = None
    tags: tuple[str, ...] = ()


class Node(msgspec.Struct, frozen=True):
    value: int
    children: tuple["Node", ...] = ()


class Card(msgspec.Struct, frozen=True, tag=True):
    digits: str


class Transfer(msgspec.Struct, frozen=True, tag="bank"):
    iban: str
    on: date


OrderId = NewType("OrderId", int)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
whole = st.integers(-(2**63), 2**64 - 1)
real = st.floats(allow_nan=False, allow_infinity=False)
moments = st.datetimes(
    timezones=st.none()
    | st.builds(timezone, st.integers(-1439, 1439).map(lambda minutes: timedelta(minutes=minutes)))
)
money = st.decimals(allow_nan=False, allow_infinity=False)
lines = st.builds(Line, text, whole, st.sampled_from(Color))
addresses = st.builds(Address, text, st.none() | whole, st.lists(text, max_size=2).map(tuple))
nodes = st.recursive(
    st.builds(Node, whole),
    lambda inner: st.builds(Node, whole, st.lists(inner, max_size=2).map(tuple)),
    max_leaves=5,
)
anything = st.recursive(
    st.none() | st.booleans() | whole | real | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=5,
)
VALUES = {
    int: whole,
    str: text,
    bool: st.booleans(),
    float: real,
    None: st.none(),
    Any: anything,
    int | None: st.none() | whole,
    int | str | None: st.none() | whole | text,
    int | float: whole | real,
    bool | int: st.booleans() | whole,
    int | list[int] | dict[str, int]: whole | st.lists(whole) | st.dictionaries(text, whole),
    Literal["a", "b", 1, 2]: st.sampled_from(["a", "b", 1, 2]),
    Literal["a", "b", 1, 2] | None: st.sampled_from(["a", "b", 1, 2, None]),
    Color: st.sampled_from(Color),
    Level: st.sampled_from(Level),
    Size: st.sampled_from(Size),
    Status: st.sampled_from(Status),
    Color | int: st.sampled_from(Color) | whole,
    datetime: moments,
    datetime | None: st.none() | moments,
    date: st.dates(),
    UUID: st.uuids(),
    UUID | int: st.uuids() | whole,
    Decimal: money,
    Line: lines,
    Address: addresses,
    Address | None: st.none() | addresses,
    Node: nodes,
    Card | Transfer: st.builds(Card, text) | st.builds(Transfer, text, st.dates()),
    list[int]: st.lists(whole),
    list[Line]: st.lists(lines, max_size=3),
    list[datetime]: st.lists(moments, max_size=3),
    list[Any]: st.lists(anything, max_size=3),
    tuple[int, ...]: st.lists(whole).map(tuple),
    tuple[int, str, Color]: st.tuples(whole, text, st.sampled_from(Color)),
    tuple[Address, ...]: st.lists(addresses, max_size=3).map(tuple),
    dict[str, int]: st.dictionaries(text, whole),
    dict[str, list[Decimal]]: st.dictionaries(text, st.lists(money, max_size=2), max_size=3),
    dict[str, Any]: st.dictionaries(text, anything, max_size=3),
    Sequence[int]: st.lists(whole),
    Mapping[str, Size]: st.dictionaries(text, st.sampled_from(Size), max_size=3),
    OrderId: whole,
    Annotated[int, Meta(ge=0)]: st.integers(0, 2**64 - 1),
    Annotated[str, annotated_types.MaxLen(3)]: text.filter(lambda value: len(value) <= 3),
}


def declare(default, annotation):
    body = {"__annotations__": {"x": annotation}, "__module__": __name__, **default}
    return type(Event)("Made", (Event,), body, name="shop.made")


def heard(event):
    """Send an event over the wire and make it again on the other side."""
    return rebuild(contract_of(type(event)), codec.decode(codec.encode(payload_of(event))))


@pytest.mark.parametrize("annotation", VALUES, ids=str)
@settings(max_examples=30)
@given(data=st.data())
def test_what_is_published_is_what_is_heard(annotation, data):
    made = declare({}, annotation)
    value = data.draw(VALUES[annotation])
    published = made(x=value)
    again = heard(published)
    assert published.x == value == again.x
    assert type(published.x) is type(again.x) is type(value)
    assert published == again
    assert hash(published) == hash(again)
    assert payload_of(published) == payload_of(again)


@pytest.mark.parametrize("annotation", VALUES, ids=str)
@settings(max_examples=30)
@given(data=st.data())
def test_a_default_is_what_the_same_value_would_be_and_it_travels(annotation, data):
    value = data.draw(VALUES[annotation])
    made = declare({"x": value}, annotation)
    assert made() == made(x=value) == heard(made())
    assert type(made().x) is type(made(x=value).x) is type(heard(made()).x)
    assert ("x" in payload_of(made())) == (value is not None)


@pytest.mark.parametrize("annotation", VALUES, ids=str)
@settings(max_examples=30)
@given(data=st.data())
def test_an_event_is_made_again_from_the_json_of_its_payload(annotation, data):
    made = declare({}, annotation)
    published = made(x=data.draw(VALUES[annotation]))
    assert made(**payload_of(published)) == published


FIELDS = {f"x{n}": annotation for n, annotation in enumerate(VALUES)}
Everything = type(Event)(
    "Everything", (Event,), {"__annotations__": FIELDS, "__module__": __name__}, name="shop.everything"
)


@given(st.fixed_dictionaries({name: VALUES[annotation] for name, annotation in FIELDS.items()}))
def test_all_of_it_in_one_event(values):
    published = Everything(**values)
    assert heard(published) == published == pickle.loads(pickle.dumps(published)) == copy.deepcopy(published)
    assert all(getattr(published, name) == value for name, value in values.items())


def test_the_contract_says_what_the_class_said():
    def upcast(payload):
        return payload

    class OrderPlacedEvent(Event, context="shop", aliases=["shop.ordered"], upcast=upcast):
        order_id: int

    contract = contract_of(OrderPlacedEvent)
    assert contract.name == "shop.order_placed"
    assert contract.aliases == ("shop.ordered",)
    assert contract.names == ("shop.order_placed", "shop.ordered")
    assert contract.context == "shop"
    assert contract.event is OrderPlacedEvent
    assert contract.upcast is upcast
    assert contract is contract_of(OrderPlacedEvent)


def test_the_schema_is_a_json_schema_2020_12_and_a_copy_of_the_callers_own():
    class Made(Event, name="shop.made"):
        """Something was made."""

        a: int
        b: str = "x"

    schema = contract_of(Made).schema
    assert schema == {
        "$schema": DIALECT,
        "title": "Made",
        "description": "Something was made.",
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "string", "default": "x"}},
        "required": ["a"],
    }
    schema["properties"].clear()
    assert contract_of(Made).schema["properties"]


@pytest.mark.parametrize("attribute", ["name", "schema", "fingerprint", "aliases"])
def test_a_contract_cannot_be_changed(attribute):
    with pytest.raises((AttributeError, TypeError)):
        setattr(contract_of(declare({}, int)), attribute, "x")


def fingerprint(schema):
    made = type(SchemaEvent)(
        "Made", (SchemaEvent,), {"__module__": __name__}, name="shop.made", schema=schema
    )
    return contract_of(made).fingerprint


BASE = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"enum": [1, 2]}, "c": {"type": ["string", "null"]}},
    "required": ["a", "b"],
}
PROPERTIES = BASE["properties"]


@pytest.mark.parametrize(
    "same",
    [
        BASE | {"title": "T"},
        BASE | {"description": "d"},
        BASE | {"examples": [{"a": 1}], "deprecated": True, "$comment": "c", "x-owner": "ci"},
        BASE | {"$schema": DIALECT},
        BASE | {"properties": PROPERTIES | {"a": {"type": "integer", "description": "d"}}},
        BASE | {"required": ["b", "a"]},
        BASE | {"properties": dict(reversed(PROPERTIES.items()))},
        BASE | {"properties": PROPERTIES | {"b": {"enum": [2, 1]}}},
        BASE | {"properties": PROPERTIES | {"c": {"type": ["null", "string"]}}},
    ],
)
def test_the_fingerprint_stays_when_the_valid_payloads_stay(same):
    assert fingerprint(same) == fingerprint(BASE)


@pytest.mark.parametrize(
    "other",
    [
        BASE | {"required": ["a"]},
        BASE | {"additionalProperties": False},
        BASE | {"properties": PROPERTIES | {"a": {"type": "number"}}},
        BASE | {"properties": PROPERTIES | {"a": {"type": "integer", "minimum": 1}}},
        BASE | {"properties": PROPERTIES | {"b": {"enum": [1, 2, 3]}}},
        BASE | {"properties": PROPERTIES | {"d": {"type": "integer"}}},
        BASE | {"properties": PROPERTIES | {"title": {"type": "integer"}}},
    ],
)
def test_the_fingerprint_changes_with_the_valid_payloads(other):
    assert fingerprint(other) != fingerprint(BASE)


def test_a_fingerprint_is_sixteen_hexadecimal_digits():
    assert len(fingerprint(BASE)) == 16
    assert int(fingerprint(BASE), 16)


def test_descriptions_of_an_annotated_event_do_not_change_its_fingerprint_and_types_do():
    def made(kind, doc):
        body = {"__annotations__": {"x": kind}, "__module__": __name__, "__doc__": doc}
        return contract_of(type(Event)("Made", (Event,), body, name="shop.made")).fingerprint

    assert made(int, "one") == made(int, "two") == made(Annotated[int, Meta(description="d")], None)
    assert (
        len({made(int, ""), made(str, ""), made(int | None, ""), made(Annotated[int, Meta(ge=1)], "")}) == 4
    )


@pytest.mark.parametrize(
    ("annotation", "default", "fault"),
    [
        (int, "a", "x: must be integer, not string"),
        (int, None, "x: must be integer, not null"),
        (Annotated[int, Meta(ge=3)], 1, "x: must be at least 3"),
        (Annotated[str, Meta(pattern="^a")], "b", "x: must match ^a"),
        (float, float("nan"), "x: must be a finite number, not NaN or infinite"),
        (Any, {1: 2}, "x: has a key of type int; keys are str"),
        (str, "a\0", "x: must not contain the character NUL"),
        (Color, "green", "x: must be one of 'blue', 'red'"),
        (list[int], [1, "a"], "x[1]: must be integer, not string"),
        (Line, {"quantity": 3}, "x.sku: is required"),
    ],
)
def test_a_default_that_its_own_contract_refuses_is_a_fault_of_the_class(annotation, default, fault):
    """B28."""
    with pytest.raises(InvalidContract) as caught:
        declare({"x": default}, annotation)
    assert caught.value.problem == f"Made has a default that its own contract refuses:\n  {fault}"


def test_a_wrong_default_of_a_nested_class_is_a_fault_too():
    wrong = msgspec.defstruct("Wrong", [("a", int, "x")], frozen=True)
    with pytest.raises(InvalidContract, match=r"\n  #/\$defs/Wrong/properties/a: the default does not match"):
        declare({}, wrong)


def test_the_defaults_of_a_contract_are_what_an_event_holds_and_a_copy_of_the_callers_own():
    class Made(Event, name="shop.made"):
        number: int
        ref: str | None = None
        color: Color = "red"
        ids: tuple[int, ...] = [1]
        lines: list[Line] = [Line("a")]  # noqa: RUF012

    event = Made(number=1)
    defaults = contract_of(Made).defaults()
    assert defaults == {"ref": None, "color": Color.RED, "ids": (1,), "lines": [Line("a")]}
    assert {name: getattr(event, name) for name in defaults} == defaults
    defaults["lines"].clear()
    assert contract_of(Made).defaults()["lines"] == [Line("a")]


def test_a_hand_written_contract_has_no_defaults_of_fields():
    made = type(SchemaEvent)("Made", (SchemaEvent,), {"__module__": __name__}, name="shop.made", schema=BASE)
    assert contract_of(made).defaults() == {}


@pytest.mark.parametrize("upcast", [3, "function", []])
def test_upcast_takes_a_function(upcast):
    with pytest.raises(
        InvalidContract, match="upcast= of Made takes a function from the old payload to today's"
    ):
        type(Event)("Made", (Event,), {"__module__": __name__}, name="shop.made", upcast=upcast)
