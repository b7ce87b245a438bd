"""The lint of hand-written schemas: what a validator accepts in silence and a contract must not."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whereupon.schemas import DIALECT, FORMATS, KEYWORDS, faults_of, rebuilt, resolve, subschemas

INTEGER = {"type": "integer"}


def an_object(**properties):
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        an_object(x=INTEGER),
        {"type": "object", "$schema": DIALECT},
        {"type": "object", "$schema": DIALECT + "#"},
        {"type": "object", "$id": "https://example.org/created"},
        an_object(x={"type": ["integer", "null"]}),
        an_object(x={"$ref": "#/$defs/x"}) | {"$defs": {"x": INTEGER}},
        an_object(x={"$ref": "#/$defs/a~1b"}) | {"$defs": {"a/b": INTEGER}},
        an_object(x={"$ref": "#/$defs/a~0b"}) | {"$defs": {"a~b": INTEGER}},
        an_object(x={"$ref": "#/$defs/anything"}) | {"$defs": {"anything": True}},
        an_object(x={"$ref": "#/allOf/0"}) | {"allOf": [INTEGER]},
        an_object(children={"type": "array", "items": {"$ref": "#"}}),
        an_object(x=INTEGER) | {"required": ["x"]},
        an_object(x={"enum": ["a"]}) | {"required": ["x"]},
        an_object(x={"const": 1}) | {"required": ["x"]},
        an_object(x={"$ref": "#/$defs/x"}) | {"required": ["x"], "$defs": {"x": INTEGER}},
        an_object(x=INTEGER) | {"required": []},
        an_object(x=INTEGER, y=INTEGER) | {"anyOf": [{"required": ["x"]}, {"required": ["y"]}]},
        an_object(x={"type": "string", "x-pii": True}),
        an_object(x={"type": "string", "pattern": "a" * 1024}),
        {"type": "object", "definitions": {"old": INTEGER}},
    ],
)
def test_a_sound_schema_has_no_faults(schema):
    assert faults_of(schema) == []


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        (True, "#: a schema is a mapping, not bool"),
        ([], "#: a schema is a mapping, not list"),
        ({}, '#: the root of a contract must have "type": "object"'),
        ({"type": "array"}, '#: the root of a contract must have "type": "object"'),
        ({"type": ["object", "null"]}, '#: the root of a contract must have "type": "object"'),
        (
            {"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"},
            f"#: $schema must be {DIALECT}",
        ),
        ({"type": "object", "$schema": 3}, f"#: $schema must be {DIALECT}"),
    ],
)
def test_the_root_of_a_contract_is_an_object_of_this_dialect(schema, fault):
    """B27."""
    assert faults_of(schema) == [fault]


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        (
            {"type": "object", "requird": ["x"]},
            "#: 'requird' is not a keyword of JSON Schema 2020-12; did you mean 'required'?",
        ),
        (
            {"type": "object", "ref": INTEGER},
            "#: 'ref' is not a keyword of JSON Schema 2020-12; did you mean '$ref'?",
        ),
        (
            {"type": "object", "pipeline_id": INTEGER},
            (
                "#: 'pipeline_id' is not a keyword of JSON Schema 2020-12; "
                'if it is a property of the payload, put it into "properties"'
            ),
        ),
        (
            an_object(x={"type": "array", "items": {"tpye": "integer"}}),
            "#/properties/x/items: 'tpye' is not a keyword of JSON Schema 2020-12; did you mean 'type'?",
        ),
        (
            {"type": "object", "$defs": {"a/b": {"minimun": 1}}},
            "#/$defs/a~1b: 'minimun' is not a keyword of JSON Schema 2020-12; did you mean 'minimum'?",
        ),
        (
            an_object(x={"anyOf": [INTEGER, {"zzz": 1}]}),
            "#/properties/x/anyOf/1: 'zzz' is not a keyword of JSON Schema 2020-12",
        ),
        ({"type": "object", 3: 4}, "#: a keyword is text, not int"),
    ],
)
def test_an_unknown_keyword_is_a_fault_with_the_nearest_one_or_the_likely_place(schema, fault):
    """B22: the meta-schema lets a misspelt keyword pass, and it would check nothing."""
    assert faults_of(schema) == [fault]


@given(st.sampled_from(sorted(KEYWORDS)), st.data())
def test_a_keyword_with_one_letter_lost_is_found_in_every_subschema(keyword, data):
    lost = data.draw(st.integers(0, len(keyword) - 1))
    misspelt = keyword[:lost] + keyword[lost + 1 :]
    if misspelt in KEYWORDS:
        return
    schema = an_object(x={"type": "array", "items": {misspelt: 1}})
    (fault,) = faults_of(schema)
    assert fault.startswith(f"#/properties/x/items: {misspelt!r} is not a keyword")


@pytest.mark.parametrize(
    ("kinds", "fault"),
    [
        ("interger", "#/properties/x: 'interger' is not a type of JSON; did you mean 'integer'?"),
        ("string ", "#/properties/x: 'string ' is not a type of JSON; did you mean 'string'?"),
        (["int", "null"], "#/properties/x: 'int' is not a type of JSON"),
        (3, "#/properties/x: 3 is not a type of JSON"),
    ],
)
def test_an_unknown_type_is_a_fault_with_the_nearest_one(kinds, fault):
    """B21."""
    assert any(found.startswith(fault) for found in faults_of(an_object(x={"type": kinds})))


def test_an_unknown_format_is_a_fault_as_nobody_would_assert_it():
    """B26."""
    assert faults_of(an_object(x={"format": "emial"})) == [
        "#/properties/x: 'emial' is not a format of JSON Schema 2020-12; did you mean 'email'?"
    ]
    assert all(faults_of(an_object(x={"format": name})) == [] for name in FORMATS)


@pytest.mark.parametrize(
    "reference",
    [
        "http://example.org/x.json",
        "https://example.org/x.json#/x",
        "file:///etc/passwd",
        "ftp://example.org/x",
        "data:application/json,{}",
        "../other.json",
        "other.json#/x",
        "#anchor",
        "",
        3,
    ],
)
def test_only_local_references_are_followed(reference):
    """B23."""
    assert faults_of(an_object(x={"$ref": reference})) == [
        "#/properties/x: only local references such as '#/$defs/address' are followed"
    ]


def test_an_id_below_the_root_is_a_fault_as_it_would_lead_local_references_elsewhere():
    schema = an_object(x={"$ref": "#/$defs/x"}) | {"$defs": {"x": {"$id": "https://example.org/", **INTEGER}}}
    assert faults_of(schema) == [
        "#/$defs/x: $id stands at the root only, as it would lead local references elsewhere"
    ]


@pytest.mark.parametrize("reference", ["#/$defs/b", "#/nowhere", "#/allOf/1", "#/allOf/x", "#/type/0"])
def test_a_reference_that_leads_nowhere_is_a_fault(reference):
    schema = an_object(x={"$ref": reference}) | {"$defs": {"a": INTEGER}, "allOf": [True]}
    assert faults_of(schema) == [f"#/properties/x: nothing stands at {reference}"]


@pytest.mark.parametrize("reference", ["#/$defs", "#/properties", "#/required", "#/allOf", "#/type"])
def test_a_reference_to_something_that_is_no_schema_is_a_fault(reference):
    schema = an_object(x={"$ref": reference}) | {"$defs": {"a": INTEGER}, "allOf": [True], "required": []}
    assert faults_of(schema) == [f"#/properties/x: what stands at {reference} is not a schema"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "$ref": "#"},
        {"type": "object", "allOf": [{"$ref": "#"}]},
        {"type": "object", "not": {"$ref": "#"}},
        {"type": "object", "if": {"$ref": "#"}},
        {"type": "object", "dependentSchemas": {"x": {"$ref": "#"}}},
        an_object(x={"$ref": "#/properties/x"}),
        {"type": "object", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}},
    ],
)
def test_a_reference_that_comes_back_without_progress_is_a_fault(schema):
    """B24."""
    faults = faults_of(schema)
    assert faults
    assert all("refers to itself without an end" in fault for fault in faults)


def test_a_chain_of_a_thousand_references_is_a_fault():
    """B24."""
    chain = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(1000)} | {"d1000": INTEGER}
    schema = an_object(x={"$ref": "#/$defs/d0"}) | {"$defs": chain}
    assert "#/properties/x: #/$defs/d0 leads through more than 64 schemas" in faults_of(schema)


def test_a_chain_of_sixty_references_is_sound():
    chain = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(60)} | {"d60": INTEGER}
    assert faults_of(an_object(x={"$ref": "#/$defs/d0"}) | {"$defs": chain}) == []


def test_references_that_fork_again_and_again_are_followed_once_each():
    fork = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)} | {"d30": INTEGER}
    assert faults_of(an_object(x={"$ref": "#/$defs/d0"}) | {"$defs": fork}) == []


def test_a_schema_that_contains_itself_or_is_too_deep_is_a_fault():
    looped = {"type": "object", "properties": {}}
    looped["properties"]["x"] = looped
    deep = INTEGER
    for _ in range(70):
        deep = an_object(x=deep)
    assert [fault.endswith("is nested more than 64 levels deep") for fault in faults_of(looped)] == [True]
    assert [fault.endswith("is nested more than 64 levels deep") for fault in faults_of(deep)] == [True]


@pytest.mark.parametrize("schema", [{"pattern": "a" * 1025}, {"patternProperties": {"a" * 1025: INTEGER}}])
def test_an_overlong_pattern_is_a_fault(schema):
    """B25."""
    assert faults_of(an_object(x=schema)) == ["#/properties/x: a pattern is longer than 1024 characters"]


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        (
            {"type": "object", "required": ["x"]},
            '#: "required" names properties, but there are no "properties"',
        ),
        (
            an_object(y=INTEGER) | {"required": ["x"]},
            "#: 'x' is required, but no property of that name has a type",
        ),
        (
            an_object(ref=INTEGER) | {"required": ["rev"]},
            "#: 'rev' is required, but no property of that name has a type; did you mean 'ref'?",
        ),
        (
            an_object(x={}) | {"required": ["x"]},
            "#: 'x' is required, but no property of that name has a type",
        ),
        (
            an_object(x=True) | {"required": ["x"]},
            "#: 'x' is required, but no property of that name has a type",
        ),
        (
            an_object(x={"description": "?"}) | {"required": ["x"]},
            "#: 'x' is required, but no property of that name has a type",
        ),
        (
            an_object(x=an_object(y=INTEGER) | {"required": ["z"]}),
            "#/properties/x: 'z' is required, but no property of that name has a type",
        ),
        (
            an_object(x=INTEGER) | {"required": [1]},
            "#: '1' is required, but no property of that name has a type",
        ),
        (
            an_object(x=INTEGER) | {"required": [[]]},
            "#: '[]' is required, but no property of that name has a type",
        ),
    ],
)
def test_a_required_property_that_nothing_describes_is_a_fault(schema, fault):
    """B28."""
    assert faults_of(schema) == [fault]


@pytest.mark.parametrize(
    "keyword", ["properties", "patternProperties", "allOf", "items", "required", "$defs"]
)
@pytest.mark.parametrize("value", [None, 3, "x", [1], {"x": 3}])
def test_the_lint_survives_any_value_behind_a_keyword(keyword, value):
    assert isinstance(faults_of({"type": "object", keyword: value}), list)


def test_every_fault_is_listed_with_its_location():
    assert len(faults_of({"typ": "object", "properties": {"x": {"tpye": 1}, "y": {"format": "emial"}}})) == 4


names = st.text(alphabet="ab/~ é", max_size=4)
leaves = st.one_of(st.booleans(), st.sampled_from([INTEGER, {"const": {"properties": 1}}, {}]))
schemas = st.recursive(
    leaves,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(names, inner, max_size=3),
            "$defs": st.dictionaries(names, inner, max_size=3),
            "anyOf": st.lists(inner, min_size=1, max_size=3),
            "items": inner,
            "not": inner,
            "title": st.just("t"),
        },
    ),
    max_leaves=10,
)


@given(schemas)
def test_the_pointer_of_a_subschema_leads_to_it(schema):
    if isinstance(schema, dict):
        for pointer, child in subschemas(schema):
            assert resolve(schema, "#" + pointer) is child


@given(schemas)
def test_rebuilding_without_a_change_gives_an_equal_copy(schema):
    before = copy.deepcopy(schema)
    copied = rebuilt(schema, lambda node: node)
    assert copied == schema == before
    if isinstance(schema, dict):
        assert copied is not schema


@given(schemas)
def test_rebuilding_reaches_every_subschema_and_nothing_else(schema):
    marked = rebuilt(schema, lambda node: node | {"x-seen": True})

    def count(node):
        if not isinstance(node, dict):
            return 0
        return (node.get("x-seen") is True) + sum(count(child) for _, child in subschemas(node))

    def total(node):
        return 1 + sum(total(child) for _, child in subschemas(node)) if isinstance(node, dict) else 0

    assert count(marked) == total(schema)
    assert '"const": {"properties": 1, "x-seen"' not in str(marked).replace("'", '"')
