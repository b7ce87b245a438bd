"""Payloads under hand-written schemas: strict JSON and nothing else, whatever the schema leaves open."""

import math

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whereupon import SchemaEvent, codec, contract_of, payload_of
from whereupon.errors import InvalidEvent
from whereupon.events import rebuild

INTEGER = {"type": "integer"}
TEXT = {"type": "string"}
FINITE = "must be a finite number, not NaN or infinite"
NUL = "must not contain the character NUL"


def declare(schema):
    return type(SchemaEvent)(
        "Made", (SchemaEvent,), {"__module__": __name__}, schema=schema, name="shop.made"
    )


def refused(make):
    with pytest.raises(InvalidEvent) as caught:
        make()
    return [(fault.location, fault.expected) for fault in caught.value.faults]


@pytest.mark.parametrize(
    "node",
    [
        {"type": "object", "patternProperties": {"^a": {}}, "additionalProperties": False},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {"type": "number"}}},
        {"type": "object"},
        {"anyOf": [{"type": "string"}, {"type": "object"}]},
        {"oneOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "number"}}]},
        {"$ref": "#/$defs/tree"},
        {"allOf": [{"$ref": "#/$defs/tree"}]},
        {"not": {"type": "string"}},
    ],
)
def test_no_place_of_a_schema_lets_a_nan_or_a_nul_pass(node):
    tree = {
        "type": "object",
        "additionalProperties": {"anyOf": [{"type": "number"}, {"$ref": "#/$defs/tree"}]},
    }
    made = declare({"type": "object", "properties": {"x": node}, "$defs": {"tree": tree}})
    assert ("x.a", FINITE) in refused(lambda: made(x={"a": math.nan}))
    assert ("x", f"has a key that {NUL}") in refused(lambda: made(x={"a\0": 1}))


@pytest.mark.parametrize("values", [INTEGER, TEXT, {"type": "array", "items": TEXT}])
def test_a_key_of_a_map_is_without_nul_though_the_map_says_what_its_values_are(values):
    made = declare(
        {"type": "object", "properties": {"x": {"type": "object", "additionalProperties": values}}}
    )
    value = {"integer": 1, "string": "a", "array": ["a"]}[values["type"]]
    assert payload_of(made(x={"a": value})) == {"x": {"a": value}}
    assert ("x", f"has a key that {NUL}") in refused(lambda: made(x={"a\0": value}))


@given(st.text(alphabet="abc\0", max_size=9))
def test_every_string_and_key_is_without_nul(value):
    if "\0" in value:
        assert refused(lambda: Tight(x=value, y=[value], z={value: 1})) == [
            ("x", NUL),
            ("y[0]", NUL),
            ("z", f"has a key that {NUL}"),
        ]
    else:
        assert Tight(x=value, y=[value], z={value: 1})["x"] == value


class Tight(
    SchemaEvent,
    name="shop.tight",
    schema={
        "type": "object",
        "properties": {
            "x": {"type": "string", "pattern": "^"},
            "y": {"type": "array", "items": {"type": ["string", "null"]}},
            "z": {"type": "object", "additionalProperties": INTEGER},
        },
        "additionalProperties": False,
    },
):
    pass


leaves = st.sampled_from(
    [
        *(INTEGER, TEXT, {"type": "number"}, {}, True, False, {"enum": [1, "a", None]}, {"const": "a"}),
        {"type": ["string", "null"]},
        {"type": ["integer", "string"], "maxLength": 1},
        {**TEXT, "not": {"const": "a"}},
        {**TEXT, "not": {"const": "a"}, "allOf": [{"minLength": 2}]},
        {"type": "object", "additionalProperties": INTEGER, "propertyNames": {"const": "a"}},
        {"$ref": "#/$defs/tree"},
    ]
)
nodes = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda a: {"type": "array", "items": a}, inner),
        st.builds(lambda a, b: {"type": "array", "prefixItems": [a], "items": b}, inner, inner),
        st.builds(lambda a: {"type": ["array", "string"], "contains": a}, inner),
        st.builds(lambda a: {"type": "object", "additionalProperties": a}, inner),
        st.builds(lambda a, b: {"type": "object", "properties": {"a": a, "b": b}}, inner, inner),
        st.builds(lambda a: {"type": "object", "patternProperties": {"^": a}}, inner),
        st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner),
        st.builds(lambda a, b: {"oneOf": [a, b]}, inner, inner),
        st.builds(lambda a, b: {"allOf": [a, b]}, inner, inner),
        st.builds(lambda a, b: {"if": a, "then": b}, inner, inner),
        st.builds(lambda a: {"not": a}, inner),
    ),
    max_leaves=6,
)
TREE = {"type": "object", "additionalProperties": {"anyOf": [TEXT, {"$ref": "#/$defs/tree"}]}}


def schema_of(node):
    return {"type": "object", "properties": {"x": node}, "$defs": {"tree": TREE}}


dirty = st.recursive(
    st.sampled_from(
        [1, "a", None, 1.5, math.nan, math.inf, "\0", "\ud800", 2**64, b"", {1}, {1: 1}, {"\0": 1}]
    ),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b", "\0"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(nodes, dirty)
def test_whatever_a_schema_accepts_survives_the_wire(node, value):
    made = declare(schema_of(node))
    try:
        event = made(x=value)
    except InvalidEvent:
        return
    payload = codec.decode(codec.encode(payload_of(event)))
    assert payload == payload_of(event)
    assert rebuild(contract_of(made), payload) == event


clean = st.recursive(
    st.sampled_from([1, 1.0, -3, "a", "abc", None, True, 1.5]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(nodes, clean)
def test_about_strict_json_a_schema_decides_as_any_validator_would(node, value):
    schema = schema_of(node)
    made = declare(schema)
    if jsonschema_rs.is_valid(schema, {"x": value}):
        assert payload_of(made(x=value)) == {"x": value}
    else:
        assert refused(lambda: made(x=value))
