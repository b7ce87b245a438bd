"""What a JSON Schema validator objects to, in sentences for the person who made the event."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from jsonschema_rs import ValidationErrorKind as Kind

from whereupon.errors import Fault
from whereupon.naming import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jsonschema_rs import ValidationError

_FORMATS: Final = {
    "date-time": "a date and time with a time zone (RFC 3339)",
    "date": "a date such as 2026-11-24",
    "uuid": "a UUID",
    "email": "an e-mail address",
    "uri": "a URI",
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
            yield from _alternatives(where, error.kind.context, known)
        case _:
            yield Fault(where, _sentence(error))


def _alternatives(
    where: str, branches: list[list[ValidationError]], known: tuple[str, ...]
) -> Iterator[Fault]:
    """Speak of the one branch that took the value's type; else say which types would do."""
    types = [each.kind.types for branch in branches for each in branch if isinstance(each.kind, Kind.Type)]
    fitting = [branch for branch in branches if not any(isinstance(each.kind, Kind.Type) for each in branch)]
    if len(fitting) == 1:
        for each in fitting[0]:
            yield from _describe(each, known)
    else:
        words = list(dict.fromkeys(word for group in types for word in group))
        yield Fault(where, f"must be {' or '.join(words)}" if words else "matches none of the alternatives")


def _sentence(error: ValidationError) -> str:
    kind: Any = error.kind
    say = _SENTENCES.get(kind.name)
    return say(kind, error) if say else error.message


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
