"""What a validator objects to, in sentences without a value of the payload."""

import pytest

from whereupon import SchemaEvent
from whereupon.errors import InvalidEvent

INTEGER = {"type": "integer"}
TEXT = {"type": "string"}
CANARY = "canary-value"


def an_object(**properties):
    return {"type": "object", "properties": properties}


def faults(schema, payload):
    made = type(SchemaEvent)(
        "Made", (SchemaEvent,), {"__module__": __name__}, name="shop.made", schema=schema
    )
    with pytest.raises(InvalidEvent) as caught:
        made(payload)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("node", "value", "expected"),
    [
        (INTEGER, "a", "must be integer, not string"),
        (INTEGER, 1.5, "must be integer, not number"),
        (INTEGER, True, "must be integer, not boolean"),
        (INTEGER, None, "must be integer, not null"),
        (INTEGER, [1], "must be integer, not array"),
        (INTEGER, {"a": 1}, "must be integer, not object"),
        (TEXT, 1, "must be string, not integer"),
        ({"type": ["string", "null"]}, 1, "must be null or string, not integer"),
        ({"enum": ["a", 1, None]}, CANARY, "must be one of 'a', 1, None"),
        ({"const": "a"}, CANARY, "must be 'a'"),
        ({**TEXT, "format": "date-time"}, CANARY, "must be a date and time with a time zone (RFC 3339)"),
        ({**TEXT, "format": "date"}, CANARY, "must be a date such as 2026-11-24"),
        ({**TEXT, "format": "uuid"}, CANARY, "must be a UUID"),
        ({**TEXT, "format": "email"}, CANARY, "must be an e-mail address"),
        ({**TEXT, "format": "uri"}, CANARY, "must be a URI"),
        ({**TEXT, "format": "ipv4"}, CANARY, "must be in the format ipv4"),
        (
            {**TEXT, "format": "regex"},
            "((",
            "must be a regular expression of linear time: no lookaround, no backreference, not too large",
        ),
        ({**TEXT, "pattern": "^q"}, CANARY, "must match ^q"),
        ({**TEXT, "minLength": 99}, CANARY, "must have at least 99 characters"),
        ({**TEXT, "maxLength": 2}, CANARY, "must have at most 2 characters"),
        ({**INTEGER, "minimum": 3}, 2, "must be at least 3"),
        ({**INTEGER, "maximum": 3}, 4, "must be at most 3"),
        ({**INTEGER, "exclusiveMinimum": 3}, 3, "must be more than 3"),
        ({**INTEGER, "exclusiveMaximum": 3}, 3, "must be less than 3"),
        ({**INTEGER, "multipleOf": 2}, 3, "must be a multiple of 2"),
        ({"type": "array", "minItems": 2}, [CANARY], "must have at least 2 items"),
        ({"type": "array", "maxItems": 1}, [CANARY, 1], "must have at most 1 items"),
        ({"type": "array", "uniqueItems": True}, [CANARY, CANARY], "must not contain the same item twice"),
        ({"type": "array", "contains": INTEGER}, [CANARY], "does not have the items that it must contain"),
        (
            {"type": "array", "contains": INTEGER, "maxContains": 1},
            [1, 2],
            "does not have the items that it must",
        ),
        ({"type": "array", "unevaluatedItems": False}, [CANARY], "has more items than its schema knows"),
        ({"type": "object", "minProperties": 1}, {}, "must have at least 1 properties"),
        ({"type": "object", "maxProperties": 0}, {CANARY: CANARY}, "must have at most 0 properties"),
        (
            {"type": "object", "propertyNames": {"maxLength": 1}},
            {CANARY: 1},
            "has a key that its schema refuses",
        ),
        (False, CANARY, "is not allowed"),
        ({"not": TEXT}, CANARY, "breaks the rule 'not' of its schema"),
        ({"not": {"pattern": "^c"}}, CANARY, "breaks the rule 'not' of its schema"),
        ({"oneOf": [TEXT, {"minLength": 1}]}, CANARY, "matches more than one of the alternatives"),
    ],
)
def test_each_rule_has_its_sentence(node, value, expected):
    (found,) = faults(an_object(x=node), {"x": value})
    assert found.startswith(f"x: {expected}")
    assert CANARY not in found


@pytest.mark.parametrize(
    ("schema", "payload", "expected"),
    [
        (an_object(x=INTEGER) | {"required": ["x"]}, {}, ["x: is required"]),
        (
            an_object(x={"$ref": "#/$defs/a"}) | {"$defs": {"a": INTEGER}},
            {"x": "a"},
            ["x: must be integer, not string"],
        ),
        (an_object(x=an_object(y=INTEGER) | {"required": ["y"]}), {"x": {}}, ["x.y: is required"]),
        (an_object(x=INTEGER) | {"dependentRequired": {"x": ["y"]}}, {"x": 1}, ["y: is required"]),
        (
            an_object(x=INTEGER) | {"if": {"required": ["x"]}, "then": {"required": ["y"]}},
            {"x": 1},
            ["y: is required"],
        ),
        (
            an_object(ref=INTEGER) | {"additionalProperties": False},
            {"reff": CANARY, "zzz": CANARY},
            ["reff: is not a field of this event; did you mean 'ref'?", "zzz: is not a field of this event"],
        ),
        (
            an_object(ref=INTEGER) | {"unevaluatedProperties": False},
            {"reff": CANARY},
            ["reff: is not a field of this event; did you mean 'ref'?"],
        ),
        (
            an_object(x={"type": "array", "items": an_object(ref=INTEGER) | {"additionalProperties": False}}),
            {"x": [{}, {"reff": CANARY}]},
            ["x[1].reff: is not a field of this event"],
        ),
        (an_object(x={"prefixItems": [INTEGER], "items": False}), {"x": [1, 2]}, ["x[1]: is not allowed"]),
        (an_object(x=INTEGER) | {"minProperties": 2}, {"x": 1}, ["payload: must have at least 2 properties"]),
    ],
)
def test_a_fault_stands_where_it_is(schema, payload, expected):
    assert faults(schema, payload) == expected


LINE = {"type": "object", "properties": {"sku": TEXT, "kind": {"enum": ["line"]}}, "required": ["kind"]}
NOTE = {"type": "object", "properties": {"text": TEXT, "kind": {"const": "note"}}, "required": ["kind"]}


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
@pytest.mark.parametrize(
    ("branches", "value", "expected"),
    [
        ([INTEGER, {"type": "null"}], CANARY, "x: must be integer or null"),
        ([INTEGER, {"type": ["null", "boolean"]}], CANARY, "x: must be integer or null or boolean"),
        (
            [{"type": "array", "items": INTEGER}, {"type": "null"}],
            [1, "a"],
            "x[1]: must be integer, not string",
        ),
        ([LINE, {"type": "null"}], {"kind": "line", "sku": 3}, "x.sku: must be string, not integer"),
        ([LINE, NOTE], {"kind": "line", "sku": 3}, "x.sku: must be string, not integer"),
        ([LINE, NOTE], {"kind": "note", "text": 3}, "x.text: must be string, not integer"),
        ([LINE, NOTE], {"kind": CANARY}, "x: matches none of the alternatives"),
        ([{"type": "string", "minLength": 99}, INTEGER], CANARY, "x: must have at least 99 characters"),
        (
            [{**TEXT, "minLength": 99}, {**TEXT, "pattern": "^q"}, INTEGER],
            CANARY,
            "x: matches none of the altern",
        ),
        ([{"enum": ["a"]}, {"type": "null"}], CANARY, "x: must be one of 'a'"),
        ([{"minLength": 99}, {"pattern": "^q"}], CANARY, "x: matches none of the alternatives"),
        ([{"anyOf": [INTEGER, {"type": "null"}]}, {"type": "boolean"}], CANARY, "x: "),
    ],
)
def test_of_alternatives_the_one_is_told_that_was_meant(keyword, branches, value, expected):
    (found,) = faults(an_object(x={keyword: branches}), {"x": value})
    assert found.startswith(expected)
    assert CANARY not in found


@pytest.mark.parametrize("value", ["a\0", "\0"])
@pytest.mark.parametrize(
    "node", [TEXT, {"type": ["string", "null"]}, {"anyOf": [TEXT, INTEGER]}, {**TEXT, "minLength": 9}]
)
def test_the_rule_against_nul_is_told_once_and_in_words(node, value):
    assert faults(an_object(x=node), {"x": value}) == ["x: must not contain the character NUL"]
