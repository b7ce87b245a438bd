"""JSON Schemas (2020-12): the lint of hand-written ones, and how each is made as strict as the wire.

The rules of the meta-schema itself are checked by jsonschema-rs. The lint looks for those that a
validator accepts in silence: unknown keywords, references that leave the document or never end,
formats nobody asserts, required properties that nothing describes.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from whereupon.naming import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
DEPTH_LIMIT: Final = 64
"""The deepest nesting of a payload, and of a schema, in levels."""
PATTERN_LIMIT: Final = 1024
"""The longest regular expression, in characters."""

_MAP_OF_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_LIST_OF_SCHEMAS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SCHEMA = frozenset(
    {"additionalProperties", "propertyNames", "unevaluatedProperties", "items", "contains"}
    | {"unevaluatedItems", "contentSchema", "not", "if", "then", "else"}
)
_SAME_INSTANCE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
_VALUES = frozenset(
    {"$schema", "$id", "$ref", "$comment", "$anchor", "$vocabulary", "type", "const", "enum"}
    | {"multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength"}
    | {"minLength", "pattern", "maxItems", "minItems", "uniqueItems", "maxContains", "minContains"}
    | {"maxProperties", "minProperties", "required", "dependentRequired", "format", "title"}
    | {"description", "default", "deprecated", "readOnly", "writeOnly", "examples"}
    | {"contentEncoding", "contentMediaType"}
)
KEYWORDS: Final = _MAP_OF_SCHEMAS | _LIST_OF_SCHEMAS | _SCHEMA | _VALUES
FORMATS: Final = frozenset(
    {
        "date-time",
        "date",
        "time",
        "duration",
        "email",
        "idn-email",
        "hostname",
        "idn-hostname",
        "ipv4",
    }
    | {
        "ipv6",
        "uri",
        "uri-reference",
        "iri",
        "iri-reference",
        "uuid",
        "uri-template",
        "json-pointer",
    }
    | {"relative-json-pointer", "regex"}
)
ANNOTATIONS: Final = frozenset(
    {
        "title",
        "description",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "$comment",
        "$schema",
        "$id",
    }
)
"""Keywords that say nothing about which payloads are valid."""
TYPES: Final = ("object", "array", "string", "integer", "number", "boolean", "null")
NO_NUL: Final = {"not": {"pattern": "\\u0000"}}
"""What every string obeys, and every key of a map, as a schema for a place where nothing else is valid."""
NO_NUL_IF_TEXT: Final = {"not": {"type": "string", "pattern": "\\u0000"}}
"""The same where other types are valid too, for which a pattern by itself always holds."""
_DESCRIBES = frozenset(
    {"type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf", "if", "not", "properties", "items"}
)

Schema = Mapping[str, Any]


def faults_of(schema: object) -> list[str]:
    """Return everything the lint finds, each as `location: sentence`; an empty list is a clean schema."""
    if not isinstance(schema, Mapping):
        return [f"#: a schema is a mapping, not {type(schema).__name__}"]
    return [f"#{where}: {problem}" for where, problem in _lint(schema, schema, "", 0)]


def subschemas(schema: Schema) -> Iterator[tuple[str, Any]]:
    """Yield each direct subschema with its JSON Pointer relative to `schema`."""
    for keyword, value in schema.items():
        if keyword in _SCHEMA:
            yield f"/{keyword}", value
        elif keyword in _MAP_OF_SCHEMAS and isinstance(value, Mapping):
            for name, child in value.items():
                yield f"/{keyword}/{str(name).replace('~', '~0').replace('/', '~1')}", child
        elif keyword in _LIST_OF_SCHEMAS and isinstance(value, list | tuple):
            for position, child in enumerate(value):
                yield f"/{keyword}/{position}", child


def rebuilt(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Return a copy of a schema with `change` applied to each of its subschemas, innermost first."""
    if not isinstance(schema, Mapping):
        return schema
    copy: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _MAP_OF_SCHEMAS and isinstance(value, Mapping):
            copy[keyword] = {name: rebuilt(child, change) for name, child in value.items()}
        elif keyword in _LIST_OF_SCHEMAS and isinstance(value, list | tuple):
            copy[keyword] = [rebuilt(child, change) for child in value]
        else:
            copy[keyword] = rebuilt(value, change) if keyword in _SCHEMA else value
    return change(copy)


def resolve(root: Schema, reference: str) -> Any:
    """Return the schema that a local reference points to; KeyError where there is none."""
    node: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        node = node[int(key)] if isinstance(node, list | tuple) else node[key]
    return node


def _lint(root: Schema, schema: Schema, where: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > DEPTH_LIMIT:
        yield where, f"is nested more than {DEPTH_LIMIT} levels deep"
        return
    if not where:
        yield from _lint_root(schema)
    elif "$id" in schema:
        yield where, "$id stands at the root only, as it would lead local references elsewhere"
    for keyword in schema:
        if problem := _keyword_problem(keyword, schema[keyword]):
            yield where, problem
    yield from _lint_reference(root, schema, where)
    yield from _lint_values(schema, where)
    yield from _lint_required(schema, where)
    for pointer, child in subschemas(schema):
        if isinstance(child, Mapping):
            yield from _lint(root, child, where + pointer, depth + 1)


def _lint_root(schema: Schema) -> Iterator[tuple[str, str]]:
    if schema.get("type") != "object":
        yield "", 'the root of a contract must have "type": "object"'
    if schema.get("$schema", DIALECT) not in (DIALECT, f"{DIALECT}#"):
        yield "", f"$schema must be {DIALECT}"


def _keyword_problem(keyword: object, value: object) -> str:
    if not isinstance(keyword, str):
        return f"a keyword is text, not {type(keyword).__name__}"
    if keyword in KEYWORDS or keyword.startswith("x-"):
        return ""
    hint = suggestion(keyword, KEYWORDS)
    if not hint and isinstance(value, Mapping):
        hint = '; if it is a property of the payload, put it into "properties"'
    return f"'{keyword}' is not a keyword of JSON Schema 2020-12{hint}"


def _lint_reference(root: Schema, schema: Schema, where: str) -> Iterator[tuple[str, str]]:
    reference = schema.get("$ref")
    if reference is None:
        return
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        yield where, "only local references such as '#/$defs/address' are followed"
        return
    try:
        target = resolve(root, reference)
    except (KeyError, IndexError, ValueError, TypeError):
        yield where, f"nothing stands at {reference}"
        return
    if not _is_schema(target):
        yield where, f"what stands at {reference} is not a schema"
    elif problem := _endless(root, target, schema):
        yield where, f"{reference} {problem}"


def _is_schema(target: object) -> bool:
    if not isinstance(target, Mapping):
        return isinstance(target, bool)
    return not any(_keyword_problem(keyword, value) for keyword, value in target.items())


def _endless(root: Schema, target: Any, start: Schema) -> str:
    """Follow references and in-place applicators; they must come to an end, and not reach `start` again."""
    seen: set[int] = set()
    ahead = deque([(target, 0)])
    while ahead:
        node, depth = ahead.popleft()
        if node is start:
            return "refers to itself without an end"
        if depth > DEPTH_LIMIT:
            return f"leads through more than {DEPTH_LIMIT} schemas"
        if id(node) not in seen and isinstance(node, Mapping):
            seen.add(id(node))
            ahead.extend((each, depth + 1) for each in _same_instance(root, node))
    return ""


def _same_instance(root: Schema, node: Schema) -> Iterator[Any]:
    """Yield the schemas that are applied to the same value as `node`."""
    heads = tuple(f"/{keyword}" for keyword in _SAME_INSTANCE)
    yield from (child for pointer, child in subschemas(node) if pointer.startswith(heads))
    # a reference that leads nowhere is told of where it stands
    with contextlib.suppress(KeyError, IndexError, ValueError, TypeError, AttributeError):
        yield resolve(root, node["$ref"])


def _lint_values(schema: Schema, where: str) -> Iterator[tuple[str, str]]:
    kinds = schema.get("type", ())
    for kind in kinds if isinstance(kinds, list | tuple) else (kinds,):
        if kind not in TYPES:
            yield where, f"{kind!r} is not a type of JSON{suggestion(str(kind), TYPES)}"
    name = schema.get("format")
    if isinstance(name, str) and name not in FORMATS:
        yield where, f"'{name}' is not a format of JSON Schema 2020-12{suggestion(name, FORMATS)}"
    named = schema.get("patternProperties")
    patterns = [schema.get("pattern"), *(named if isinstance(named, Mapping) else ())]
    if any(isinstance(each, str) and len(each) > PATTERN_LIMIT for each in patterns):
        yield where, f"a pattern is longer than {PATTERN_LIMIT} characters"


def _lint_required(schema: Schema, where: str) -> Iterator[tuple[str, str]]:
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(required, list | tuple):
        return
    if not isinstance(properties, Mapping):
        if required and not where:
            yield where, '"required" names properties, but there are no "properties"'
        return
    for each in map(str, required):
        described = properties.get(each)
        if not (isinstance(described, Mapping) and _DESCRIBES & described.keys()):
            hint = "" if each in properties else suggestion(each, map(str, properties))
            yield where, f"'{each}' is required, but no property of that name has a type{hint}"


def tighten(node: dict[str, Any]) -> dict[str, Any]:
    """Add what every string must obey, so that the compiled validator checks it on the way."""
    kinds = node.get("type", ())
    if "string" in kinds and "enum" not in node:
        node = _and(node, NO_NUL if isinstance(kinds, str) else NO_NUL_IF_TEXT)
    if isinstance(node.get("additionalProperties"), dict):
        node = _and(node, {"propertyNames": NO_NUL})
    return node


def _and(node: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    if node.keys().isdisjoint(rule):
        return node | rule
    return node | {"allOf": [*node.get("allOf", ()), rule]}


def close(node: dict[str, Any]) -> dict[str, Any]:
    """Forbid unknown fields in an object whose fields are known."""
    if "properties" in node:
        node.setdefault("additionalProperties", False)
    return node


def is_loose(
    root: Mapping[str, Any], node: Any, vouched: tuple[str, ...], known: dict[str, bool] | None = None
) -> bool:
    """Tell whether a subschema leaves room for what only the walk in Python would notice.

    That is a number (Decimal, an integer beyond 64 bits), any place without a type, and recursion, which
    has no end. `vouched` holds the types that the caller vouches for, `known` what was found behind each
    reference; one that is still being followed counts as loose.
    """
    known = {} if known is None else known
    if not isinstance(node, Mapping):
        return node is not False
    if "enum" in node or "const" in node:
        return False
    if reference := node.get("$ref"):
        if reference not in known:
            known[reference] = True
            known[reference] = is_loose(root, resolve(root, reference), vouched, known)
        return known[reference]
    for keyword in ("anyOf", "oneOf"):
        if keyword in node:
            return any(is_loose(root, each, vouched, known) for each in node[keyword])
    kinds = node.get("type", ())
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    if not kinds or "patternProperties" in node or not kinds.isdisjoint({"number"} - set(vouched)):
        return True
    inner: list[Any] = []
    if "array" in kinds:
        inner += [node.get("items", True), *node.get("prefixItems", ())]
    if "object" in kinds:
        inner += [node.get("additionalProperties", True), *node.get("properties", {}).values()]
    return any(is_loose(root, each, vouched, known) for each in inner)
