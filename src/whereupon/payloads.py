"""Payloads: the strict rules of JSON that every event obeys, and a contract's compiled check.

One payload passes through three compiled steps: the JSON Schema of its contract (jsonschema-rs), the
conversion to Python values (msgspec), and the packing into bytes that nobody can change any more. The
rules that none of the three knows (a NaN where the schema is silent, more than 64 levels) are walked in
Python, but only below the fields where the schema leaves room for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jsonschema_rs
import msgspec

from whereupon.errors import Fault
from whereupon.schemas import DEPTH_LIMIT, rebuilt, resolve
from whereupon.violations import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from whereupon.annotations import Fields

SIZE_LIMIT: Final = 1024 * 1024
"""The largest payload that an event can be made of, in bytes."""
INTEGERS: Final = range(-(2**63), 2**64)
"""The integers that a payload can carry: those of 64 bits."""

Checked = tuple[Any, bytes]
"""The Python values of a payload, and the payload packed."""

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode
_LAST_RESORT: Final = (ValueError, OverflowError, RecursionError, TypeError, msgspec.MsgspecError)
"""What the compiled steps raise for values that are no JSON at all."""
_NO_NUL: Final = {"not": {"pattern": "\\u0000"}}


class Refused(Exception):
    """A payload does not match; `faults` lists everything that is wrong with it."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(faults)
        self.faults = faults


def plain_copy(packed: bytes) -> dict[str, Any]:
    """Return the packed payload as plain JSON data of the caller's own."""
    copy: dict[str, Any] = _unpack(packed)
    return copy


@dataclass(frozen=True, slots=True)
class Check:
    """The compiled check of one contract: two functions from a payload to (Python values, packed bytes).

    `make` is closed: it is for the one who states a fact, and refuses unknown fields. `read` is open: it
    is for the one who hears of it, perhaps from newer code, and ignores them; what it is given has passed
    the codec of the wire, which knows no NUL and no NaN. Both raise `Refused`.
    The mapping passed in is theirs to change. Python values are None where the contract was written by
    hand. `bad_defaults` lists what is wrong with
    the defaults of the fields themselves.
    """

    make: Callable[[dict[str, Any]], Checked]
    read: Callable[[dict[str, Any]], Checked]
    bad_defaults: tuple[Fault, ...] = ()


def compile_annotated(fields: Fields) -> Check:
    """Compile the check of an annotated event, whose fields decide what is open and what is closed.

    Raises ValueError where a constraint cannot be compiled, for example a pattern that is not linear.
    """
    closed = rebuilt(rebuilt(fields.schema, _tighten), _close)
    validator = compile_schema(closed)
    properties: dict[str, Any] = closed["properties"]
    loose = tuple(name for name, node in properties.items() if _is_loose(closed, node, ("number",)))
    faults = _all_faults(fields.defaults, validator, tuple(properties))
    return Check(
        make=_annotated_check(validator, fields, loose),
        read=_annotated_check(compile_schema(fields.schema), fields, ()),
        bad_defaults=tuple(fault for fault in faults if fault.expected != "is required"),
    )


def _annotated_check(
    validator: jsonschema_rs.Validator, fields: Fields, loose: tuple[str, ...]
) -> Callable[[dict[str, Any]], Checked]:
    """Make the function that every annotated event passes through; its variables are bound here, once."""
    is_valid, convert, to_json, pack = (
        validator.is_valid,
        msgspec.convert,
        msgspec.to_builtins,
        _pack,
    )
    struct, converted, dated = fields.struct, fields.converted, fields.dated
    names = struct.__struct_fields__

    def check(values: dict[str, Any]) -> Checked:
        try:
            for name in converted:
                if name in values and not (name in loose and _is_wrong(values[name])):
                    values[name] = to_json(values[name])
            if not is_valid(values):
                raise Refused(_all_faults(values, validator, names))
            typed = convert(values, struct)
            packed = pack(to_json(typed) if dated else typed)
        except _LAST_RESORT as error:
            raise Refused(_all_faults(values, validator, names) or [_fault_from(error)]) from None
        if len(packed) > SIZE_LIMIT:
            raise Refused([_too_large(packed)])
        return typed, packed

    return check


def compile_written(schema: Mapping[str, Any]) -> Check:
    """Compile the check of a hand-written schema, which decides by itself what is open.

    Raises ValueError where it breaks the meta-schema or has a pattern that is not linear.
    """
    validator = compile_schema(rebuilt(schema, _tighten))
    is_valid, pack = validator.is_valid, _pack
    properties: dict[str, Any] = schema.get("properties", {})
    loose = tuple(name for name, node in properties.items() if _is_loose(schema, node, ()))
    known = properties.keys()

    def check(values: dict[str, Any]) -> Checked:
        try:
            if not is_valid(values) or (loose and _any_wrong(values, loose)):
                raise Refused(_all_faults(values, validator, known))
            if not values.keys() <= known and _any_wrong(values, values.keys() - known):
                raise Refused(_all_faults(values, validator, known))
            packed = pack(values)
        except _LAST_RESORT as error:
            raise Refused(_all_faults(values, validator, known) or [_fault_from(error)]) from None
        if len(packed) > SIZE_LIMIT:
            raise Refused([_too_large(packed)])
        return None, packed

    return Check(make=check, read=check)


def _too_large(packed: bytes) -> Fault:
    return Fault("", f"is {len(packed):,} bytes, the limit is {SIZE_LIMIT:,}")


def _any_wrong(values: dict[str, Any], names: Iterable[str]) -> bool:
    return any(_is_wrong(values.get(name)) for name in names)


def _is_wrong(value: Any) -> bool:
    if type(value) is float:
        return not math.isfinite(value)
    return value is not None and next(strict_faults(value, ""), None) is not None


def _all_faults(
    values: dict[str, Any], validator: jsonschema_rs.Validator, known: Iterable[str]
) -> list[Fault]:
    """Find everything that is wrong: what no JSON can carry, and what the schema refuses."""
    faults = list(strict_faults(values, ""))
    bad = {fault.location for fault in faults}
    for error in validator.iter_errors(_presentable(values) if faults else values):
        faults += [each for each in describe(error, known) if each.location not in bad]
    return faults


def _presentable(value: Any, depth: int = 0) -> Any:
    """Copy a value with null in place of whatever the validator cannot look at."""
    if isinstance(value, dict) and depth <= DEPTH_LIMIT:
        return {
            key: _presentable(item, depth + 1)
            for key, item in value.items()
            if type(key) is str and not _text_problem(key)
        }
    if isinstance(value, list | tuple) and depth <= DEPTH_LIMIT:
        return [_presentable(item, depth + 1) for item in value]
    return None if _scalar_problem(value) else value


def strict_faults(value: Any, where: str, depth: int = 0) -> Iterator[Fault]:
    """Walk a value and yield whatever strict JSON cannot carry, with its location."""
    if depth > DEPTH_LIMIT:
        yield Fault(where, f"is nested more than {DEPTH_LIMIT} levels deep")
    elif isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                yield Fault(where, f"has a key of type {type(key).__name__}; keys are str")
                continue
            name = f"{where}.{key}" if where else key
            if problem := _text_problem(key):
                yield Fault(where, f"has a key that {problem}")
            yield from strict_faults(item, name, depth + 1)
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from strict_faults(item, f"{where}[{position}]", depth + 1)
    elif problem := _scalar_problem(value):
        yield Fault(where, problem)


def _scalar_problem(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return _text_problem(value)
    if kind is float:
        return "" if math.isfinite(value) else "must be a finite number, not NaN or infinite"
    if kind is int:
        return "" if value in INTEGERS else "must be an integer of at most 64 bits"
    if kind is bool or value is None:
        return ""
    if isinstance(value, str | int | float):
        base = next(each for each in (str, int, float) if isinstance(value, each))
        return f"must be a plain {base.__name__}, not its subclass {kind.__name__}; call {base.__name__}()"
    return f"must be JSON, and {kind.__name__} is not"


def _text_problem(text: str) -> str:
    if "\0" in text:
        return "must not contain the character NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "must not contain a lone surrogate"
    return ""


def _fault_from(error: Exception) -> Fault:
    """Translate the last resort: msgspec found what neither the schema nor the walk objects to."""
    text, _, path = str(error).partition(" - at `")
    location = path.removesuffix("`").removeprefix("$").removeprefix(".")
    return Fault(location, text[:1].lower() + text[1:])


def compile_schema(schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """Compile a schema: formats asserted, patterns in linear time, no network.

    Raises ValueError where it breaks the meta-schema or has a pattern that is not linear.
    """
    return jsonschema_rs.Draft202012Validator(
        dict(schema),
        validate_formats=True,
        offline=True,
        mask="value",
        pattern_options=jsonschema_rs.RegexOptions(),
    )


def _tighten(node: dict[str, Any]) -> dict[str, Any]:
    """Add what every string must obey, so that the compiled validator checks it on the way."""
    kinds = node.get("type", ())
    if "string" in ((kinds,) if isinstance(kinds, str) else kinds) and "enum" not in node:
        node = _and(node, _NO_NUL)
    if isinstance(node.get("additionalProperties"), dict):
        node = _and(node, {"propertyNames": _NO_NUL})
    return node


def _and(node: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    if node.keys().isdisjoint(rule):
        return node | rule
    return node | {"allOf": [*node.get("allOf", ()), rule]}


def _close(node: dict[str, Any]) -> dict[str, Any]:
    """Forbid unknown fields in an object whose fields are known."""
    if "properties" in node:
        node.setdefault("additionalProperties", False)
    return node


def _is_loose(root: Mapping[str, Any], node: Any, tight: tuple[str, ...]) -> bool:
    """Tell whether a subschema leaves room for what only the walk in Python would notice.

    That is a number (Decimal, an integer beyond 64 bits), any place without a type, and recursion, which
    has no end. `tight` holds what the caller vouches for: types, and references that are being followed.
    """
    if not isinstance(node, Mapping):
        return node is not False
    if "enum" in node or "const" in node:
        return False
    if reference := node.get("$ref"):
        return reference in tight or _is_loose(root, resolve(root, reference), (*tight, reference))
    for keyword in ("anyOf", "oneOf"):
        if keyword in node:
            return any(_is_loose(root, each, tight) for each in node[keyword])
    kinds = node.get("type", ())
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    if not kinds or not kinds.isdisjoint({"number"} - set(tight)):
        return True
    inner: list[Any] = []
    if "array" in kinds:
        inner += [node.get("items", True), *node.get("prefixItems", ())]
    if "object" in kinds:
        inner += [node.get("additionalProperties", True), *node.get("properties", {}).values()]
    return any(_is_loose(root, each, tight) for each in inner)
