"""Hand-written schemas: read by key, linted when the class is made, deciding for themselves what is open."""

import collections
import copy
import math
import pickle
from types import MappingProxyType
from uuid import UUID

import pytest

from whereupon import SchemaEvent, contract_of, payload_of
from whereupon.errors import InvalidContract, InvalidEvent
from whereupon.events import rebuild

INTEGER = {"type": "integer"}
FINITE = "must be a finite number, not NaN or infinite"
NUL = "must not contain the character NUL"


def declare(schema, title="Made", **keywords):
    keywords = {"name": "shop.made"} | keywords
    return type(SchemaEvent)(title, (SchemaEvent,), {"__module__": __name__}, schema=schema, **keywords)


class PipelineCreated(
    SchemaEvent,
    name="ci.pipeline_created",
    schema={
        "type": "object",
        "properties": {
            "pipeline_id": INTEGER,
            "ref": {"type": ["string", "null"]},
            "ids": {"type": "array", "items": INTEGER},
        },
        "required": ["pipeline_id"],
    },
):
    def is_default(self) -> bool:
        return self["ref"] == "main"


def refused(make):
    with pytest.raises(InvalidEvent) as caught:
        make()
    return [(fault.location, fault.expected) for fault in caught.value.faults]


# ---- making and reading


@pytest.mark.parametrize(
    "payload",
    [
        {"pipeline_id": 7, "ref": "main"},
        MappingProxyType({"pipeline_id": 7, "ref": "main"}),
        collections.OrderedDict(ref="main", pipeline_id=7),
        collections.UserDict(pipeline_id=7, ref="main"),
    ],
)
def test_an_event_is_made_of_a_mapping_or_of_keywords(payload):
    assert PipelineCreated(payload) == PipelineCreated(pipeline_id=7, ref="main")
    assert payload_of(PipelineCreated(payload)) == {"pipeline_id": 7, "ref": "main"}


def test_an_event_is_read_by_key():
    event = PipelineCreated(pipeline_id=7, ref="main")
    assert event["pipeline_id"] == 7
    assert "ref" in event
    assert "ids" not in event
    assert list(event) == ["pipeline_id", "ref"]
    assert event.is_default()
    with pytest.raises(KeyError):
        event["ids"]
    with pytest.raises(AttributeError):
        event.ref  # noqa: B018


def test_a_payload_may_have_any_names():
    names = ["name", "id", "schema", "self", "payload", "values", "keys", "type", "", "a b", "a.b", "é"]
    made = declare({"type": "object", "properties": dict.fromkeys(names, INTEGER)})
    values = {name: number for number, name in enumerate(names)}
    assert payload_of(made(values)) == payload_of(made(**values)) == values


@pytest.mark.parametrize("payload", [None, 3, "text", [], [("pipeline_id", 7)], object()])
def test_a_payload_is_a_mapping(payload):
    assert refused(lambda: PipelineCreated(payload)) == [
        ("", f"must be a mapping, not {type(payload).__name__}")
    ]


@pytest.mark.parametrize("payload", [{}, {"ref": "main"}])
def test_a_mapping_and_keywords_are_not_mixed(payload):
    assert refused(lambda: PipelineCreated(payload, pipeline_id=7)) == [
        ("", "is given as a mapping and as keywords; use one of them")
    ]


def test_faults_name_the_event_the_locations_and_the_place_of_the_contract():
    with pytest.raises(InvalidEvent) as caught:
        PipelineCreated(ref=3, ids=[1, "a"])
    assert sorted(map(str, caught.value.faults)) == [
        "ids[1]: must be integer, not string",
        "pipeline_id: is required",
        "ref: must be null or string, not integer",
    ]
    assert str(caught.value).startswith("ci.pipeline_created refuses this payload [WU102]\n")
    assert "test_schema_events.py:" in caught.value.where


def test_the_schema_decides_whether_unknown_fields_are_allowed():
    shut = declare({"type": "object", "properties": {"ref": INTEGER}, "additionalProperties": False})
    assert payload_of(PipelineCreated(pipeline_id=7, more={"a": [1]})) == {
        "pipeline_id": 7,
        "more": {"a": [1]},
    }
    assert refused(lambda: shut(reff=1)) == [("reff", "is not a field of this event; did you mean 'ref'?")]
    assert refused(lambda: rebuild(contract_of(shut), {"reff": 1}))


def test_a_null_is_refused_unless_the_type_allows_it():
    assert refused(lambda: PipelineCreated(pipeline_id=None)) == [
        ("pipeline_id", "must be integer, not null")
    ]
    assert payload_of(PipelineCreated(pipeline_id=7, ref=None)) == {"pipeline_id": 7, "ref": None}


def test_an_integer_may_be_written_with_a_point_as_json_schema_has_it_and_a_boolean_is_none():
    """B05."""
    assert PipelineCreated(pipeline_id=7.0) == PipelineCreated(pipeline_id=7)
    assert refused(lambda: PipelineCreated(pipeline_id=True)) == [
        ("pipeline_id", "must be integer, not boolean")
    ]


def test_formats_are_asserted():
    """B26."""
    made = declare({"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}}})
    assert made(at="2026-11-24T12:00:00Z")
    assert refused(lambda: made(at="yesterday")) == [
        ("at", "must be a date and time with a time zone (RFC 3339)")
    ]


# ---- fixed when made


def test_nothing_that_is_changed_afterwards_changes_an_event():
    ids = [1]
    event = PipelineCreated(pipeline_id=7, ids=ids)
    twin = PipelineCreated(pipeline_id=7, ids=[1])
    before, code = payload_of(event), hash(event)
    ids.append(2)
    event["ids"].append(3)
    payload_of(event)["ids"].append(4)
    assert (payload_of(event), hash(event)) == (before, code)
    assert event == twin


def test_an_event_cannot_be_changed():
    event = PipelineCreated(pipeline_id=7)
    with pytest.raises(TypeError):
        event["ref"] = "x"
    with pytest.raises(AttributeError):
        event.ref = "x"


def test_changing_the_schema_that_was_given_does_not_change_the_contract():
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    made = declare(schema)
    schema["properties"]["x"]["type"] = "string"
    assert made(x=1)
    assert contract_of(made).schema["properties"] == {"x": {"type": "integer"}}


def test_pickles_copies_and_reprs():
    event = PipelineCreated(pipeline_id=7, ids=[1])
    assert pickle.loads(pickle.dumps(event)) == event
    assert copy.deepcopy(event) is copy.copy(event) is event
    assert repr(event) == "PipelineCreated(pipeline_id=7, ids=[1])"


# ---- the class


def test_a_class_without_a_schema_is_a_fault_and_a_base_class_may_give_it():
    with pytest.raises(InvalidContract, match="Made has no schema") as caught:
        declare(None)
    assert caught.value.fix.startswith("write schema={...} behind the base class")

    class Base(
        SchemaEvent, context="ci", abstract=True, schema={"type": "object", "properties": {"x": INTEGER}}
    ):
        pass

    class Made(Base):
        pass

    assert contract_of(Made).name == "ci.made"
    assert payload_of(Made(x=1)) == {"x": 1}


def test_annotations_beside_a_schema_are_refused():
    with pytest.raises(InvalidContract, match="Made has the field x beside a schema") as caught:

        class Made(SchemaEvent, name="shop.made", schema={"type": "object"}):
            x: int

    assert caught.value.fix == "put it into the schema, or derive from Event and leave the schema out"


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({"type": "object", "properties": {"x": {"type": "interger"}}}, "did you mean 'integer'?"),
        ({"type": "object", "requird": ["x"]}, "did you mean 'required'?"),
        ({"type": "object", "properties": {"x": {"$ref": "http://x/y"}}}, "only local references"),
        ({"type": "object", "$ref": "#"}, "refers to itself without an end"),
        ({"type": "array"}, 'the root of a contract must have "type": "object"'),
        (True, "#: a schema is a mapping, not bool"),
        ({"type": "object", "properties": [1]}, "#/properties: must be object, not array"),
        (
            {"type": "object", "properties": {"x": 3}},
            "#/properties/x: must be boolean or object, not integer",
        ),
        (
            {"type": "object", "properties": {"x": {"minLength": -1}}},
            "#/properties/x/minLength: must be at least 0",
        ),
        ({"type": "object", "required": "x"}, "#/required: must be array, not string"),
        ({"type": "object", "properties": {"x": {"const": math.nan}}}, f"#: properties.x.const: {FINITE}"),
        ({"type": "object", "properties": {"x": {"enum": ["a\0"]}}}, f"#: properties.x.enum[0]: {NUL}"),
        ({"type": "object", "properties": {"a\0": INTEGER}}, f"#: properties: has a key that {NUL}"),
        ({"type": "object", "properties": {"x": {"enum": [{1}]}}}, "must be JSON, and set is not"),
        ({"type": "object", "properties": {"x": {"const": UUID(int=1)}}}, "must be JSON, and UUID is not"),
        ({"type": "object", "maxProperties": 10**30}, "must be an integer of at most 64 bits"),
    ],
)
def test_an_unsound_schema_is_refused_when_the_class_is_made(schema, fault):
    """B21-B24, B27: with the place in the schema and one plain sentence."""
    with pytest.raises(InvalidContract) as caught:
        declare(schema)
    head, *lines = caught.value.problem.splitlines()
    assert head == "Made has an unsound schema:"
    assert any(fault in line for line in lines)
    assert all(line.startswith("  #") for line in lines)
    assert "[WU101]" in str(caught.value)
    assert caught.value.where == f"{__name__}.Made"


@pytest.mark.parametrize(
    "pattern", ["(?=a)b", "(?<=a)b", "((", r"(a)\1", "(a{1000}){1000}", "[z-a]", "(?P<n>a)(?P=n)"]
)
def test_a_pattern_that_is_no_regular_expression_of_linear_time_is_refused(pattern):
    """B25."""
    for place, node in (
        ("x/pattern", {"pattern": pattern}),
        ("x", {"patternProperties": {pattern: INTEGER}}),
    ):
        with pytest.raises(InvalidContract, match=f"  #/properties/{place}") as caught:
            declare({"type": "object", "properties": {"x": node}})
        assert "must be a regular expression of linear time: no lookaround" in caught.value.problem


def test_a_pattern_that_would_backtrack_for_ever_answers_at_once():
    """B25: with backtracking this would take longer than the universe has."""
    made = declare({"type": "object", "properties": {"x": {"type": "string", "pattern": "^(a+)+$"}}})
    assert refused(lambda: made(x="a" * 5000 + "b")) == [("x", "must match ^(a+)+$")]


@pytest.mark.parametrize(
    ("node", "place"),
    [
        ({"type": "integer", "default": "a"}, "#/properties/a~1b"),
        (
            {"type": "object", "properties": {"y": {"minimum": 3, "default": 1}}},
            "#/properties/a~1b/properties/y",
        ),
        ({"$ref": "#/properties/other", "default": "a"}, "#/properties/a~1b"),
        ({"anyOf": [{"type": "string", "default": 3}]}, "#/properties/a~1b/anyOf/0"),
    ],
)
def test_a_default_that_its_own_schema_refuses_is_a_fault(node, place):
    """B28."""
    schema = {"type": "object", "properties": {"a/b": node, "other": {"type": "integer", "default": 1}}}
    with pytest.raises(InvalidContract) as caught:
        declare(schema)
    assert caught.value.problem == (
        f"Made has a default that its own contract refuses:\n  {place}: the default does not match"
    )
