"""Payloads: what strict JSON is, what is refused with which words, and what comes back as it was."""

import collections
import enum
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.db.models import TextChoices
from django.utils.functional import lazystr
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import strict_json
from whereupon import Event, SchemaEvent, codec, contract_of, payload_of
from whereupon.errors import InvalidEvent
from whereupon.events import rebuild
from whereupon.payloads import FAULT_LIMIT, SIZE_LIMIT, strict_faults


class Noted(Event, name="shop.noted"):
    note: Any = None
    notes: list[Any] | None = None
    by_name: dict[str, Any] | None = None


class Jotted(
    SchemaEvent,
    name="shop.jotted",
    schema={"type": "object", "properties": {"note": {}, "count": {"type": "integer"}}},
):
    pass


class Shade(enum.Enum):
    DARK = "dark"


class Size(enum.StrEnum):
    S = "s"


class Level(enum.IntEnum):
    LOW = 1


class Status(TextChoices):
    PAID = "paid"


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class Line(msgspec.Struct, frozen=True):
    sku: str


NOT_JSON = [
    {1, 2},
    frozenset({1}),
    b"bytes",
    bytearray(b"bytes"),
    memoryview(b"bytes"),
    datetime(2026, 11, 24, tzinfo=UTC),
    date(2026, 11, 24),
    time(12),
    timedelta(1),
    Decimal("1.5"),
    Decimal("NaN"),
    UUID(int=7),
    Shade.DARK,
    Line("a"),
    lazystr("lazy"),
    1j,
    range(3),
    iter([1]),
    (each for each in [1]),
    object(),
    len,
    int,
    msgspec.UNSET,
    collections.UserDict(a=1),
]
FINITE = "must be a finite number, not NaN or infinite"
SURROGATE = "must not contain a lone surrogate"
NUL = "must not contain the character NUL"
BITS = "must be an integer of at most 64 bits"
POISON = [
    (math.nan, FINITE),
    (math.inf, FINITE),
    (-math.inf, FINITE),
    (float("1e999"), FINITE),
    ("\ud800", SURROGATE),
    ("ok\udfffok", SURROGATE),
    ("a\0b", NUL),
    (2**64, BITS),
    (-(2**63) - 1, BITS),
    (10**5000, BITS),
    ({1: "a", "1": "b"}, "has a key of type int; keys are str"),
    ({None: 1}, "has a key of type NoneType; keys are str"),
    ({(1, 2): 1}, "has a key of type tuple; keys are str"),
    ({Text("a"): 1}, "has a key of type Text; keys are str"),
    ({"a\0": 1}, f"has a key that {NUL}"),
    ({"\ud800": 1}, f"has a key that {SURROGATE}"),
    (Text("a"), "must be a plain str, not its subclass Text; call str()"),
    (Whole(1), "must be a plain int, not its subclass Whole; call int()"),
    (Real(1), "must be a plain float, not its subclass Real; call float()"),
    (Size.S, "must be a plain str, not its subclass Size; call str()"),
    (Status.PAID, "must be a plain str, not its subclass Status; call str()"),
    (Level.LOW, "must be a plain int, not its subclass Level; call int()"),
    *((value, f"must be JSON, and {type(value).__name__} is not") for value in NOT_JSON),
]
wraps = st.lists(st.sampled_from(["list", "tuple", "dict"]), max_size=20)


def wrapped(value, wraps):
    """Nest a value and return it with its location."""
    where = ""
    for wrap in wraps:
        where = (".k" if wrap == "dict" else "[1]") + where
        value = (
            {"before": 0, "k": value} if wrap == "dict" else {"list": list, "tuple": tuple}[wrap]([0, value])
        )
    return value, where


def refused(make):
    with pytest.raises(InvalidEvent) as caught:
        make()
    return [(fault.location, fault.expected) for fault in caught.value.faults]


@given(strict_json)
def test_all_strict_json_is_accepted_and_comes_back_as_it_was(value):
    """B13 too: any text is taken as it is, whatever its direction or normal form."""
    assert not list(strict_faults(value, ""))
    for event in (Noted(note=value), Noted(by_name={"k": value}), Jotted(note=value), Jotted(more=value)):
        payload = codec.decode(codec.encode(payload_of(event)))
        assert rebuild(contract_of(type(event)), payload) == event
    assert Noted(note=value).note == value == Jotted(note=value)["note"]


@given(st.sampled_from(POISON), wraps)
def test_anything_else_is_refused_wherever_it_stands_with_its_location(poison, wraps):
    """B01-B04, B06, B07."""
    value, expected = poison
    nested, where = wrapped(value, wraps)
    assert refused(lambda: Noted(note=nested)) == [(f"note{where}", expected)]
    assert refused(lambda: Noted(notes=[nested])) == [(f"notes[0]{where}", expected)]
    assert refused(lambda: Noted(by_name={"a": nested})) == [(f"by_name.a{where}", expected)]
    assert refused(lambda: Jotted(note=nested)) == [(f"note{where}", expected)]
    assert refused(lambda: Jotted(more=nested)) == [(f"more{where}", expected)]


@pytest.mark.parametrize(
    ("key", "where", "expected"),
    [
        ("a\0", "", f"has a key that {NUL}"),
        ("\ud800", "", f"has a key that {SURROGATE}"),
        (7, "", "has a key of type int; keys are str"),
        (Text("a"), "", "has a key of type Text; keys are str"),
    ],
)
def test_a_key_of_the_payload_itself_that_no_json_can_carry_is_refused(key, where, expected):
    """B02, B03, B06."""
    assert refused(lambda: Jotted({key: 1})) == [(where, expected)]


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, "\ud800", "a\0b", 2**64, 10**4000, Text("a"), object(), {1: 2}, {1}, 1j]
)
@pytest.mark.parametrize("kind", [int, str, float, bool, list[int], dict[str, int], datetime, Shade, Line])
def test_what_no_json_can_carry_is_refused_under_every_annotation(kind, value):
    body = {"__annotations__": {"x": kind}, "__module__": __name__}
    made = type(Event)("Made", (Event,), body, name="shop.made")
    if (kind, type(value)) != (float, int):  # a float can hold what an int of 64 bits cannot
        assert refused(lambda: made(x=value))[0][0] == "x"


def nested_lists(levels):
    value = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("event", [Noted, Jotted])
def test_sixty_four_levels_are_accepted_and_one_more_is_refused(event):
    """B08: the payload is the first level, and a value in the innermost list the last."""
    deepest = event(note=nested_lists(63))
    assert codec.decode(codec.encode({"data": payload_of(deepest)})) == {"data": payload_of(deepest)}
    assert refused(lambda: event(note=nested_lists(64))) == [
        ("note" + "[0]" * 64, "is nested more than 64 levels deep")
    ]
    assert refused(lambda: event(note=nested_lists(100_000)))[0][1] == "is nested more than 64 levels deep"


def looped_dict():
    loop = {}
    loop["a"] = loop["b"] = loop
    return loop


def looped_list():
    loop = []
    loop += [loop, loop, object()]
    return loop


def parent_and_children():
    parent = {"children": []}
    parent["children"] += [{"parent": parent} for _ in range(5)]
    return parent


class Nested(Event, name="shop.nested"):
    lines: list[Line] | None = None
    at: list[datetime] | None = None


@pytest.mark.parametrize("loop", [looped_dict, looped_list, parent_and_children])
@pytest.mark.parametrize(
    "make",
    [
        lambda value: Noted(note=value),
        lambda value: Jotted(note=value),
        lambda value: Jotted(count=value),
        lambda value: Jotted(more=value),
        lambda value: Nested(lines=value),
        lambda value: Nested(at=[value, value]),
    ],
)
def test_a_value_that_contains_itself_is_refused_however_often(make, loop):
    """B09."""
    faults = refused(lambda: make(loop()))
    assert any(expected == "is nested more than 64 levels deep" for _, expected in faults)


def test_a_mapping_that_is_its_own_value_is_refused():
    loop = {}
    loop["note"] = loop
    assert refused(lambda: Jotted(loop))[0][1] == "is nested more than 64 levels deep"


def test_a_payload_beyond_the_size_limit_is_refused_with_its_size():
    """B10."""
    ((location, expected),) = refused(lambda: Noted(note="x" * SIZE_LIMIT))
    assert (location, expected) == ("", "is 1,048,587 bytes, the limit is 1,048,576")
    assert refused(lambda: Jotted(note="x" * SIZE_LIMIT)) == [(location, expected)]
    assert Noted(note="x" * (SIZE_LIMIT - 100))


@pytest.mark.parametrize("value", [["a"] * 1_000_000, {str(n): n for n in range(200_000)}, [math.nan] * 1000])
@pytest.mark.parametrize("event", [Noted, Jotted])
def test_a_huge_payload_is_refused_without_a_huge_message(event, value):
    """B11."""
    with pytest.raises(InvalidEvent) as caught:
        event(note=value)
    assert len(caught.value.faults) <= FAULT_LIMIT + 1
    assert len(str(caught.value)) < 10_000


def test_beyond_a_hundred_faults_the_list_says_that_there_are_more():
    class Counted(Event, name="shop.counted"):
        numbers: list[int]

    faults = refused(lambda: Counted(numbers=["x"] * 1000))
    assert len(faults) == 101
    assert faults[0] == ("numbers[0]", "must be integer, not string")
    assert faults[-1] == ("", "has more faults than these 100")
    assert len(refused(lambda: Counted(numbers=["x"] * 100))) == 100


class Sparse(msgspec.Struct, frozen=True):
    """A nested class with a place for anything."""

    anything: Any = None
    inner: tuple["Sparse", ...] = ()


class Strewn(Event, name="shop.strewn"):
    sparse: Sparse


@given(strict_json)
def test_a_nested_class_may_have_a_place_for_anything_and_refer_to_itself(value):
    given_as_class = Strewn(sparse=Sparse(value, (Sparse(),)))
    given_as_mapping = Strewn(sparse={"anything": value, "inner": [{}]})
    assert given_as_class == given_as_mapping
    assert given_as_class.sparse == given_as_mapping.sparse == Sparse(value, (Sparse(),))


@pytest.mark.parametrize(
    "value", [math.nan, "a\0", {1: 2}, b"bytes", timedelta(1), time(12), object(), Text("a")]
)
def test_a_place_for_anything_in_a_nested_class_takes_strict_json_only(value):
    inner = Sparse(inner=(Sparse(value),))
    assert refused(lambda: Strewn(sparse=inner))
    assert (
        refused(lambda: Strewn(sparse={"inner": [{"anything": value}]}))[0][0] == "sparse.inner[0].anything"
    )


def test_recursion_of_classes_ends_at_the_depth_limit():
    deep = Sparse()
    for _ in range(40):
        deep = Sparse(None, (deep,))
    assert refused(lambda: Strewn(sparse=deep))[0][1] == "is nested more than 64 levels deep"


def test_only_what_is_wrong_is_told_and_not_what_merely_had_to_be_converted():
    class Mixed(Event, name="shop.mixed"):
        id: UUID
        at: list[datetime]
        shade: Shade

    moment = datetime(2026, 11, 24, tzinfo=UTC)
    assert refused(lambda: Mixed(id=object(), at=[moment, object()], shade=Shade.DARK)) == [
        ("id", "must be JSON, and object is not"),
        ("at[1]", "must be JSON, and object is not"),
    ]


def test_tuples_are_arrays_and_come_back_as_lists():
    assert Noted(note=(1, (2,))).note == [1, [2]]
    assert payload_of(Jotted(note=(1, (2,)))) == {"note": [1, [2]]}


def test_a_hand_written_schema_counts_a_decimal_as_a_number_and_writes_it_as_one():
    made = Jotted(count=Decimal(3))
    assert payload_of(made) == {"count": 3}
    assert rebuild(contract_of(Jotted), codec.decode(codec.encode(payload_of(made)))) == made
