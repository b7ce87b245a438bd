"""What a JSON Schema validator objects to, in sentences for the person who made the event."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from jsonschema_rs import ValidationErrorKind as Kind

from whereupon.errors import Fault
from whereupon.naming import suggestion
from whereupon.schemas import NO_NUL, NO_NUL_IF_TEXT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jsonschema_rs import ValidationError

_FORMATS: Final = {
    "date-time": "a date and time with a time zone (RFC 3339)",
    "date": "a date such as 2026-11-24",
    "uuid": "a UUID",
    "email": "an e-mail address",
    "uri": "a URI",
    "regex": "a regular expression of linear time: no lookaround, no backreference, not too large",
}
_Say = Callable[[Any, "ValidationError"], str]
_SENTENCES: Final[dict[str, _Say]] = {
    "type": lambda kind, error: f"must be {' or '.join(kind.types)}, not {_json_type(error.instance)}",
    "enum": lambda kind, _: f"must be one of {', '.join(map(repr, kind.options))}",
    "const": lambda kind, _: f"must be {kind.expected_value!r}",
    "format": lambda kind, _: f"must be {_FORMATS.get(kind.format, f'in the format {kind.format}')}",
    "pattern": lambda kind, _: f"must match {kind.pattern}",
    "multipleOf": lambda kind, _: f"must be a multiple of {kind.multiple_of}",
    "uniqueItems": lambda *_: "must not contain the same item twice",
    "minimum": lambda kind, _: f"must be at least {kind.limit}",
    "maximum": lambda kind, _: f"must be at most {kind.limit}",
    "exclusiveMinimum": lambda kind, _: f"must be more than {kind.limit}",
    "exclusiveMaximum": lambda kind, _: f"must be less than {kind.limit}",
    "minLength": lambda kind, _: f"must have at least {kind.limit} characters",
    "maxLength": lambda kind, _: f"must have at most {kind.limit} characters",
    "minItems": lambda kind, _: f"must have at least {kind.limit} items",
    "maxItems": lambda kind, _: f"must have at most {kind.limit} items",
    "minProperties": lambda kind, _: f"must have at least {kind.limit} properties",
    "maxProperties": lambda kind, _: f"must have at most {kind.limit} properties",
    "oneOf": lambda *_: "matches more than one of the alternatives",
    "contains": lambda *_: "does not have the items that it must contain",
    "propertyNames": lambda *_: "has a key that its schema refuses",
    "falseSchema": lambda *_: "is not allowed",
    "unevaluatedItems": lambda *_: "has more items than its schema knows",
}


def describe(error: ValidationError, known: Iterable[str]) -> list[Fault]:
    """Turn one validation error into faults; `known` are the fields of the event, for a near miss."""
    return list(_describe(error, tuple(known)))


def _describe(error: ValidationError, known: tuple[str, ...]) -> Iterator[Fault]:
    where = _location(error.instance_path)
    match error.kind:
        case Kind.Required():
            name = error.kind.property
            yield Fault(f"{where}.{name}" if where else name, "is required")
        case Kind.AdditionalProperties() | Kind.UnevaluatedProperties():
            for name in error.kind.unexpected:
                hint = "" if where else suggestion(name, known)
                yield Fault(f"{where}.{name}" if where else name, f"is not a field of this event{hint}")
        case Kind.AnyOf() | Kind.OneOfNotValid():
            yield from _alternatives(error, known)
        case Kind.Not(schema=rule) if rule in (NO_NUL["not"], NO_NUL_IF_TEXT["not"]):
            pass  # our own rule: the walk over the payload says more about it
        case _:
            yield Fault(where, _sentence(error))


def _alternatives(error: ValidationError, known: tuple[str, ...]) -> Iterator[Fault]:
    """Speak of the one branch that took the value's type and tag; else say which types would do."""
    branches: list[list[ValidationError]] = error.kind.context  # type: ignore[attr-defined]
    wrong = [[each for each in branch if _is_of_type(each, error)] for branch in branches]
    fitting = [branch for branch, found in zip(branches, wrong, strict=True) if not found]
    if len(fitting) > 1:
        fitting = [branch for branch in fitting if not any(map(_is_of_word, branch))]
    if len(fitting) == 1:
        for each in fitting[0]:
            yield from _describe(each, known)
    elif all(wrong):
        words = dict.fromkeys(word for found in wrong for each in found for word in each.kind.types)  # type: ignore[attr-defined]
        yield Fault(_location(error.instance_path), f"must be {' or '.join(words)}")
    else:
        yield Fault(_location(error.instance_path), "matches none of the alternatives")


def _is_of_type(error: ValidationError, union: ValidationError) -> bool:
    return isinstance(error.kind, Kind.Type) and error.instance_path == union.instance_path


def _is_of_word(error: ValidationError) -> bool:
    return isinstance(error.kind, Kind.Enum | Kind.Constant)


def _sentence(error: ValidationError) -> str:
    kind: Any = error.kind
    say = _SENTENCES.get(kind.name)
    return say(kind, error) if say else f"breaks the rule {kind.name!r} of its schema"


def _json_type(value: object) -> str:
    kinds = {
        bool: "boolean",
        int: "integer",
        float: "number",
        str: "string",
        list: "array",
        dict: "object",
    }
    return "null" if value is None else kinds.get(type(value), type(value).__name__)


def _location(path: list[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")
