"""From annotations to fields: what each annotation says in JSON Schema, and which ones are refused."""

import dataclasses
import enum
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Literal, NewType, Optional, TypeVar
from uuid import UUID

import annotated_types
import msgspec
import pytest
from django.db.models import IntegerChoices, TextChoices

from whereupon import Event, Meta, contract_of
from whereupon.errors import InvalidContract


def declare(annotation, **default):
    """Make an event class with one field `x`."""
    body = {"__annotations__": {"x": annotation}, "__module__": __name__, **default}
    return type(Event)("Made", (Event,), body, name="shop.made")


def schema_of(annotation, **default):
    return contract_of(declare(annotation, **default)).schema


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Size(enum.StrEnum):
    S = "s"


class Status(TextChoices):
    PAID = "paid", "has been paid"
    OPEN = "open", "is still open"


class Rank(IntegerChoices):
    FIRST = 1


class Line(msgspec.Struct, frozen=True):
    sku: str
    quantity: Annotated[int, Meta(ge=1)] = 1


@dataclasses.dataclass(frozen=True)
class Address:
    street: str
    kind: ClassVar[str] = "address"


class Node(msgspec.Struct, frozen=True):
    children: tuple["Node", ...] = ()


class Card(msgspec.Struct, frozen=True, tag=True):
    digits: str


class Transfer(msgspec.Struct, frozen=True, tag=True):
    iban: str


OrderId = NewType("OrderId", int)
TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
NULL = {"type": "null"}


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (int, WHOLE),
        (str, TEXT),
        (bool, {"type": "boolean"}),
        (float, {"type": "number"}),
        (None, NULL),
        (Any, {}),
        (int | None, {"anyOf": [WHOLE, NULL]}),
        (Optional[int], {"anyOf": [WHOLE, NULL]}),  # noqa: UP045
        (int | str | None, {"anyOf": [WHOLE, TEXT, NULL]}),
        (int | list[int] | None, {"anyOf": [WHOLE, {"type": "array", "items": WHOLE}, NULL]}),
        (Literal["a", "b"], {"enum": ["a", "b"]}),
        (Literal[1, "a"], {"enum": [1, "a"]}),
        (datetime, TEXT),
        (date, {"type": "string", "format": "date"}),
        (UUID, {"type": "string", "format": "uuid"}),
        (Decimal, {"type": "string", "pattern": r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?(E[+-]?[0-9]+)?$"}),
        (list[int], {"type": "array", "items": WHOLE}),
        (Sequence[int], {"type": "array", "items": WHOLE}),
        (tuple[int, ...], {"type": "array", "items": WHOLE}),
        (dict[str, int], {"type": "object", "additionalProperties": WHOLE}),
        (Mapping[str, int], {"type": "object", "additionalProperties": WHOLE}),
        (OrderId, WHOLE),
        (list[OrderId], {"type": "array", "items": WHOLE}),
        (Color, {"$ref": "#/$defs/Color"}),
        (Line, {"$ref": "#/$defs/Line"}),
        (Address, {"$ref": "#/$defs/Address"}),
        (Node, {"$ref": "#/$defs/Node"}),
        (Annotated[datetime, Meta(tz=True)], {"type": "string", "format": "date-time"}),
    ],
)
def test_what_an_annotation_says_in_json_schema(annotation, schema):
    assert schema_of(annotation)["properties"]["x"] == schema


def test_a_fixed_tuple_says_how_many_items_it_has_and_which():
    assert schema_of(tuple[int, str])["properties"]["x"] == {
        "type": "array",
        "prefixItems": [WHOLE, TEXT],
        "items": False,
        "minItems": 2,
        "maxItems": 2,
    }


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Color, ["blue", "red"]),
        (Size, ["s"]),
        (Level, [1, 2]),
    ],
)
def test_an_enum_says_its_values(kind, values):
    assert schema_of(kind)["$defs"][kind.__name__]["enum"] == values


@pytest.mark.parametrize(("kind", "values"), [(Status, ["open", "paid"]), (Rank, [1])])
def test_the_choices_of_django_say_their_values_and_not_their_labels(kind, values):
    assert schema_of(kind)["properties"]["x"] == {"title": kind.__name__, "enum": values}


def test_a_nested_class_says_its_fields_constraints_and_defaults():
    assert schema_of(Line)["$defs"]["Line"] == {
        "title": "Line",
        "type": "object",
        "properties": {"sku": TEXT, "quantity": {"type": "integer", "minimum": 1, "default": 1}},
        "required": ["sku"],
    }
    assert schema_of(Address)["$defs"]["Address"]["properties"] == {"street": TEXT}


def test_tagged_classes_can_stand_in_one_union():
    schema = schema_of(Card | Transfer)
    assert schema["properties"]["x"]["anyOf"] == [{"$ref": "#/$defs/Card"}, {"$ref": "#/$defs/Transfer"}]
    assert schema["$defs"]["Card"]["required"] == ["type", "digits"]


def test_a_nested_class_may_be_called_like_the_event():
    made = msgspec.defstruct("Made", [("a", int)], frozen=True)
    schema = schema_of(made)
    assert schema["title"] == "Made"
    assert schema["$defs"]["Made"]["properties"] == {"a": WHOLE}


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (Annotated[int, Meta(ge=1, le=9)], {"type": "integer", "minimum": 1, "maximum": 9}),
        (Annotated[int, Meta(gt=1), Meta(lt=9)], {"exclusiveMinimum": 1, "exclusiveMaximum": 9, **WHOLE}),
        (Annotated[Annotated[int, Meta(ge=1)], Meta(le=9)], {"minimum": 1, "maximum": 9, **WHOLE}),
        (Annotated[int, Meta(multiple_of=5)], {"type": "integer", "multipleOf": 5}),
        (Annotated[str, Meta(min_length=1, max_length=9)], {"minLength": 1, "maxLength": 9, **TEXT}),
        (Annotated[str, Meta(pattern="^[a-z]+$")], {"type": "string", "pattern": "^[a-z]+$"}),
        (Annotated[str, Meta(description="why")], {"type": "string", "description": "why"}),
        (Annotated[str, Meta(title="t", examples=["a"])], {"title": "t", "examples": ["a"], **TEXT}),
        (Annotated[str, Meta(extra_json_schema={"format": "email"})], {"format": "email", **TEXT}),
        (Annotated[int, annotated_types.Ge(1)], {"type": "integer", "minimum": 1}),
        (Annotated[int, annotated_types.Gt(1)], {"type": "integer", "exclusiveMinimum": 1}),
        (Annotated[int, annotated_types.Le(1)], {"type": "integer", "maximum": 1}),
        (Annotated[int, annotated_types.Lt(1)], {"type": "integer", "exclusiveMaximum": 1}),
        (Annotated[int, annotated_types.MultipleOf(2)], {"type": "integer", "multipleOf": 2}),
        (
            Annotated[int, annotated_types.Interval(ge=1, lt=9)],
            {"minimum": 1, "exclusiveMaximum": 9, **WHOLE},
        ),
        (Annotated[str, annotated_types.MinLen(1)], {"type": "string", "minLength": 1}),
        (Annotated[str, annotated_types.MaxLen(9)], {"type": "string", "maxLength": 9}),
        (Annotated[str, annotated_types.Len(1, 9)], {"minLength": 1, "maxLength": 9, **TEXT}),
        (Annotated[list[int], annotated_types.Len(1, 9)], {"minItems": 1, "maxItems": 9}),
        (list[Annotated[int, annotated_types.Ge(1)]], {"items": {"minimum": 1, **WHOLE}}),
        (tuple[Annotated[str, Meta(max_length=2)], ...], {"items": {"maxLength": 2, **TEXT}}),
        (dict[str, Annotated[int, Meta(ge=1)]], {"additionalProperties": {"minimum": 1, **WHOLE}}),
        (Annotated[int, Meta(ge=1)] | None, {"anyOf": [{"minimum": 1, **WHOLE}, NULL]}),
    ],
)
def test_constraints_of_meta_and_annotated_types_are_honoured(annotation, schema):
    said = schema_of(annotation)["properties"]["x"]
    assert {key: said[key] for key in schema} == schema


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        (bytes, "x: bytes is not a type that JSON can carry; encode it as text, for example base64 in a str"),
        (set[int], "x: set is not a type that JSON can carry; a set has no order, use tuple[...]"),
        (
            frozenset[int],
            "x: frozenset is not a type that JSON can carry; a set has no order, use tuple[...]",
        ),
        (complex, "x: complex is not a type that JSON can carry; use two floats"),
        (
            object,
            "x: object is not a type that JSON can carry; publish the id of an object instead of the object",
        ),
        (time, "x: time is not a type that JSON can carry"),
        (timedelta, "x: timedelta is not a type that JSON can carry"),
        (type[int], "x: type is not a type that JSON can carry"),
        (Callable[[], int], "x: Callable is not a type that JSON can carry"),
        (list[bytes], "x: bytes is not a type that JSON can carry"),
        (int | bytes, "x: bytes is not a type that JSON can carry"),
        (dict[str, set[int]], "x: set is not a type that JSON can carry"),
        (Event, "x: Event is not a type that JSON can carry"),
        (TypeVar("T"), "x: ~T is not a type that JSON can carry"),
        (Final[int], "x: typing.Final is not a type that JSON can carry"),
        (dict[int, str], "x: the keys of a JSON object are str"),
        (dict, "x: say what it maps: dict[str, int]"),
        (Mapping, "x: say what it maps: Mapping[str, int]"),
        (list, "x: say what the items are: list[int]"),
        (tuple, "x: say what the items are: tuple[int]"),
        (Sequence, "x: say what the items are: Sequence[int]"),
        (datetime | UUID, "x: Type unions may not contain more than one str-like type"),
        (list[int] | tuple[int, ...], "x: Type unions may not contain more than one array-like"),
        (Line | Address, "x: Type unions may not contain more than one"),
        (Annotated[int | None, Meta(ge=1)], "x: Can only set `ge` on a numeric type"),
        (
            Annotated[int, "a note"],
            "x: the metadata str is not honoured; use whereupon.Meta or annotated_types",
        ),
        (Annotated[str, annotated_types.Timezone("UTC")], "x: the metadata Timezone is not honoured"),
        (Annotated[int, annotated_types.Predicate(bool)], "x: the metadata Predicate is not honoured"),
        (
            Annotated[int, Meta(extra_json_schema={"minimun": 1})],
            "x: extra_json_schema has a fault at #/properties/it: 'minimun' is not a keyword",
        ),
        (
            Annotated[str, Meta(extra_json_schema={"$ref": "https://example.org/x"})],
            "x: extra_json_schema has a fault at #/properties/it: only local references",
        ),
    ],
)
def test_an_annotation_that_a_contract_cannot_carry_is_a_fault_of_its_field(annotation, problem):
    with pytest.raises(InvalidContract) as caught:
        declare(annotation)
    assert "Made has an annotation that a contract cannot carry:\n  " + problem in str(caught.value)
    assert caught.value.code == "WU101"


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (enum.Enum("Mixed", {"A": 1, "B": "b"}), "the values of Mixed must be all str or all int"),
        (enum.Enum("Real", {"A": 1.5}), "the values of Real must be all str or all int"),
        (enum.Enum("Truth", {"A": True}), "the values of Truth must be all str or all int"),
        (enum.Enum("Empty", {}), "the values of Empty must be all str or all int"),
        (msgspec.defstruct("Soft", [("a", int)]), "Soft must be frozen (Struct, frozen=True)"),
        (dataclasses.make_dataclass("Soft", ["a"]), "Soft must be frozen (@dataclass(frozen=True))"),
        (
            msgspec.defstruct("Lean", [("a", int, 1)], frozen=True, omit_defaults=True),
            "Lean has omit_defaults=True, and defaults travel; take it away",
        ),
        (
            msgspec.defstruct("Shut", [("a", int)], frozen=True, forbid_unknown_fields=True),
            "Shut has forbid_unknown_fields=True, and newer code may add fields; take it away",
        ),
        (
            msgspec.defstruct("Raw", [("a", bytes)], frozen=True),
            "Raw.a: bytes is not a type that JSON can carry",
        ),
        (
            msgspec.defstruct("Bound", [("a", Annotated[int, annotated_types.Ge(1)])], frozen=True),
            "Bound.a: inside a nested class, write constraints with Meta",
        ),
        (
            msgspec.defstruct(
                "Outer", [("a", msgspec.defstruct("Inner", [("b", set)], frozen=True))], frozen=True
            ),
            "Outer.a: Inner.b: set is not a type that JSON can carry",
        ),
    ],
)
@pytest.mark.parametrize("wrap", [lambda kind: kind, lambda kind: list[kind], lambda kind: kind | None])
def test_a_nested_class_that_cannot_travel_is_a_fault_wherever_it_stands(wrap, kind, problem):
    with pytest.raises(InvalidContract) as caught:
        declare(wrap(kind))
    assert f"  x: {problem}" in str(caught.value)


def test_the_faults_of_all_fields_are_listed():
    with pytest.raises(InvalidContract) as caught:

        class Made(Event, name="shop.made"):
            a: bytes
            b: int
            c: set[int]

    assert "\n  a: bytes is not" in str(caught.value)
    assert "\n  c: set is not" in str(caught.value)
    assert "b:" not in str(caught.value)


@pytest.mark.parametrize(
    "default",
    [object(), dataclasses.field(default_factory=list), msgspec.field(default_factory=list), list.append],
)
def test_a_default_that_is_no_json_is_a_fault_that_says_to_write_the_value(default):
    with pytest.raises(
        InvalidContract, match=r"x: its default is of type \w+, which JSON cannot carry; write the"
    ):
        declare(list[int], x=default)


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "(a{1000}){1000}"])
def test_a_pattern_that_does_not_run_in_linear_time_is_a_fault(pattern):
    """B25."""
    with pytest.raises(
        InvalidContract, match="Made has an unsound schema:\n  #/properties/x/pattern: must be a reg"
    ):
        declare(Annotated[str, Meta(pattern=pattern)])


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement is of Python 3.12")
def test_a_type_alias_stands_for_what_it_names_and_must_come_to_an_end():
    namespace = {}
    exec("type Ids = list[int]\ntype Loop = list[Loop]", namespace)
    assert schema_of(namespace["Ids"])["properties"]["x"] == {"type": "array", "items": WHOLE}
    with pytest.raises(InvalidContract, match="x: Loop refers to itself; use a nested struct"):
        declare(namespace["Loop"])
