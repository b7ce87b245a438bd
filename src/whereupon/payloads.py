"""Payloads: the strict rules of JSON that every event obeys, and a contract's compiled check.

One payload passes through three compiled steps: the JSON Schema of its contract (jsonschema-rs), the
conversion to Python values (msgspec), and the packing into bytes that nobody can change any more. The
rules that none of the three knows (a NaN where the schema is silent, more than 64 levels) are walked in
Python, but only below the fields where the schema leaves room for them.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import jsonschema_rs
import msgspec

from whereupon.errors import Fault
from whereupon.schemas import DEPTH_LIMIT, close, is_loose, rebuilt, tighten
from whereupon.violations import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping

    from whereupon.annotations import Fields

SIZE_LIMIT: Final = 1024 * 1024
"""The largest payload that an event can be made of, in bytes."""
INTEGERS: Final = range(-(2**63), 2**64)
"""The integers that a payload can carry: those of 64 bits."""

_OPTIONS: Final[Any] = {
    "validate_formats": True,
    "offline": True,
    "pattern_options": jsonschema_rs.RegexOptions(),
}
Checked = tuple[Any, bytes]
"""The Python values of a payload, and the payload packed."""

FAULT_LIMIT: Final = 100
"""How many things that are wrong with one payload are listed."""

_pack = msgspec.msgpack.Encoder().encode
_pack_written = msgspec.msgpack.Encoder(decimal_format="number").encode
_unpack = msgspec.msgpack.Decoder().decode
_LAST_RESORT: Final = (ValueError, OverflowError, RecursionError, TypeError, msgspec.MsgspecError)
"""What the compiled steps raise for values that are no JSON at all."""
_FOREIGN: Final = (bytes, bytearray, dt.time, dt.timedelta)
"""What msgspec would write as text of its own where the contract says nothing about it."""
_TOO_DEEP: Final = f"is nested more than {DEPTH_LIMIT} levels deep"


class Refused(Exception):
    """A payload does not match; `faults` lists everything that is wrong with it."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(faults)
        self.faults = faults


def plain_copy(packed: bytes) -> dict[str, Any]:
    """Return the packed payload as plain JSON data of the caller's own."""
    copy: dict[str, Any] = _unpack(packed)
    return copy


class Check(NamedTuple):
    """The compiled check of one contract: two functions from a payload to (Python values, packed bytes).

    `make` is closed: it is for the one who states a fact, and refuses unknown fields. `read` is open: it
    is for the one who hears of it, perhaps from newer code, and ignores them; what it is given has passed
    the codec of the wire, which knows no NUL and no NaN. Both raise `Refused`.
    The mapping passed in is theirs to change. Python values are None where the contract was written by
    hand. `bad_defaults` lists what is wrong with the defaults of the fields themselves.
    """

    make: Callable[[dict[str, Any]], Checked]
    read: Callable[[dict[str, Any]], Checked]
    bad_defaults: tuple[Fault, ...] = ()


def compile_annotated(fields: Fields) -> Check:
    """Compile the check of an annotated event, whose fields decide what is open and what is closed.

    Raises ValueError where a constraint cannot be compiled, for example a pattern that is not linear.
    """
    closed = rebuilt(rebuilt(fields.schema, tighten), close)
    validator = compile_schema(closed)
    properties: dict[str, Any] = closed["properties"]
    loose = tuple(name for name, node in properties.items() if is_loose(closed, node, ("number",)))
    faults = _all_faults(fields.defaults, validator, tuple(properties))
    return Check(
        make=_annotated_check(validator, fields, loose),
        read=_annotated_check(compile_schema(fields.schema), fields, loose),
        bad_defaults=tuple(fault for fault in faults if not _is_missing(fault, properties)),
    )


def _is_missing(fault: Fault, properties: dict[str, Any]) -> bool:
    return fault.expected == "is required" and fault.location in properties


def _annotated_check(
    validator: jsonschema_rs.Validator, fields: Fields, loose: tuple[str, ...]
) -> Callable[[dict[str, Any]], Checked]:
    """Make the function that every annotated event passes through; its variables are bound here, once."""
    is_valid, convert, pack = validator.is_valid, msgspec.convert, _pack
    struct, steps, finish = fields.struct, _steps(fields, loose), _finish(fields)
    names = struct.__struct_fields__

    def check(values: dict[str, Any]) -> Checked:
        try:
            for name, step in steps:
                if name in values:
                    values[name] = step(values[name])
            if not is_valid(values):
                raise Refused(_all_faults(values, validator, names))
            typed = convert(values, struct)
            packed = pack(finish(typed) if finish else typed)
        except _LAST_RESORT as error:
            rest = _with_json(values, fields.converted)
            raise Refused(_all_faults(rest, validator, names) or [_fault_from(error)]) from None
        if len(packed) > SIZE_LIMIT:
            raise Refused([_too_large(packed)])
        return typed, packed

    return check


def _steps(fields: Fields, loose: tuple[str, ...]) -> list[tuple[str, Callable[[Any], Any]]]:
    """Return what the values of some fields pass through before the schema sees them."""
    steps: list[tuple[str, Callable[[Any], Any]]] = []
    for name in fields.struct.__struct_fields__:
        if name in loose:
            steps.append((name, _converted if name in fields.converted else _own))
        elif name in fields.converted:
            steps.append((name, msgspec.to_builtins))
    return steps


def _converted(value: Any) -> Any:
    return _own(msgspec.to_builtins(value, builtin_types=_FOREIGN))


def _own(value: Any) -> Any:
    """Copy a value for which the schema leaves room. Raises ValueError where it is not strict JSON."""
    if _is_wrong(value):
        raise ValueError
    return _unpack(_pack(value))


def _with_json(values: dict[str, Any], converted: tuple[str, ...]) -> dict[str, Any]:
    return values | {name: _as_json(values[name], set()) for name in converted if name in values}


def _as_json(value: Any, seen: set[int]) -> Any:
    """Convert what can be converted, so that faults are told of the rest alone."""
    try:
        return msgspec.to_builtins(value, builtin_types=_FOREIGN)
    except _LAST_RESORT:
        if id(value) in seen or not isinstance(value, dict | list | tuple):
            return value
        seen.add(id(value))
        if isinstance(value, dict):
            return {key: _as_json(item, seen) for key, item in value.items()}
        return [_as_json(item, seen) for item in value]


def _finish(fields: Fields) -> Callable[[Any], Any] | None:
    """Return what Python values pass through before they are packed, where they need it."""
    if fields.nests_dataclasses:
        return lambda typed: msgspec.to_builtins(_filled(typed))
    return msgspec.to_builtins if fields.dated else None


def _filled(value: Any) -> Any:
    """Write the defaults of dataclasses into them: msgspec packs only what it finds in an instance."""
    if isinstance(value, list | tuple):
        for item in value:
            _filled(item)
    elif isinstance(value, dict):
        _filled(tuple(value.values()))
    elif isinstance(value, msgspec.Struct):
        _filled(tuple(getattr(value, name) for name in value.__struct_fields__))
    elif dataclasses.is_dataclass(value):
        for each in dataclasses.fields(value):
            object.__setattr__(value, each.name, getattr(value, each.name))
            _filled(getattr(value, each.name))
    return value


def compile_written(schema: Mapping[str, Any]) -> Check:
    """Compile the check of a hand-written schema, which decides by itself what is open.

    Raises ValueError where it breaks the meta-schema or has a pattern that is not linear.
    """
    validator = compile_schema(rebuilt(schema, tighten))
    is_valid, pack = validator.is_valid, _pack_written
    properties: dict[str, Any] = schema.get("properties", {})
    loose = tuple(name for name, node in properties.items() if is_loose(schema, node, ()))
    known = properties.keys()

    def check(values: dict[str, Any]) -> Checked:
        try:
            if (
                not is_valid(values)
                or (loose and _any_wrong(values, loose))
                or (not values.keys() <= known and _is_rest_wrong(values, known))
            ):
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


def _is_wrong(value: Any, depth: int = 1) -> bool:
    """Tell whether strict JSON cannot carry the value of a field."""
    if type(value) is float:
        return not math.isfinite(value)
    return value is not None and next(strict_faults(value, "", depth), None) is not None


def _any_wrong(values: dict[str, Any], names: Iterable[str]) -> bool:
    return any(_is_wrong(values.get(name)) for name in names)


def _is_rest_wrong(values: dict[str, Any], known: KeysView[str]) -> bool:
    """Tell whether strict JSON cannot carry what the schema has no property for, keys included."""
    return _is_wrong({name: values[name] for name in values.keys() - known}, depth=0)


def _all_faults(
    values: dict[str, Any], validator: jsonschema_rs.Validator, known: Iterable[str]
) -> list[Fault]:
    """Find everything that is wrong, up to a limit: what no JSON can carry, and what the schema refuses."""
    faults = list(itertools.islice(_found(values, validator, known), FAULT_LIMIT + 1))
    if len(faults) > FAULT_LIMIT:
        faults[FAULT_LIMIT:] = [Fault("", f"has more faults than these {FAULT_LIMIT}")]
    return faults


def _found(
    values: dict[str, Any], validator: jsonschema_rs.Validator, known: Iterable[str]
) -> Iterator[Fault]:
    bad: set[str] = set()
    for fault in strict_faults(values, ""):
        yield fault
        if fault.expected is _TOO_DEEP:  # and it may contain itself
            return
        bad.add(fault.location)
    for error in validator.iter_errors(_presentable(values) if bad else values):
        yield from (each for each in describe(error, known) if each.location not in bad)


def _presentable(value: Any) -> Any:
    """Copy a value with null in place of whatever the validator cannot look at."""
    if isinstance(value, dict):
        return {
            key: _presentable(item)
            for key, item in value.items()
            if type(key) is str and not _text_problem(key)
        }
    if isinstance(value, list | tuple):
        return [_presentable(item) for item in value]
    return None if _scalar_problem(value) else value


def strict_faults(value: Any, where: str, depth: int = 0) -> Iterator[Fault]:
    """Walk a value and yield whatever strict JSON cannot carry, with its location."""
    if depth > DEPTH_LIMIT:
        yield Fault(where, _TOO_DEEP)
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
    text, at, path = str(error).rpartition(" - at `")
    location = path.removesuffix("`").removeprefix("$").removeprefix(".") if at else ""
    text = text or path
    if error.__cause__ is not None:  # its text is the application's own, and may show values
        return Fault(location, f"is refused by its class ({type(error.__cause__).__name__})")
    return Fault(location, text[:1].lower() + text[1:])


def compile_schema(schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """Compile a schema: formats asserted, patterns in linear time, no network.

    Raises ValueError where it breaks the meta-schema or has a pattern that is not linear.
    """
    try:
        return jsonschema_rs.Draft202012Validator(dict(schema), mask="value", **_OPTIONS)
    except jsonschema_rs.ValidationError as error:
        pointer = "".join(f"/{part}" for part in error.instance_path)
        said = "; ".join(fault.expected for fault in describe(error, ()))
        raise ValueError(f"#{pointer}: {said}") from None


def subvalidators(schema: Mapping[str, Any]) -> jsonschema_rs.ValidatorMap:
    """Compile each part of a sound schema by itself, to be found by its JSON Pointer."""
    return jsonschema_rs.validator_map_for(dict(schema), **_OPTIONS)
