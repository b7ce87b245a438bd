"""What a test expects of an event: its class, the fields it names, and defaults for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from whereupon.events import BaseEvent, SchemaEvent, contract_of
from whereupon.naming import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ABSENT: Final = object()


class Expected:
    """Equals every event of exactly one class whose fields equal the values; unnamed ones their default."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, event: type[BaseEvent], values: dict[str, Any]) -> None:
        self.event = event
        self.values = _completed(event, values)

    def __eq__(self, other: object) -> bool:
        return type(other) is self.event and not any(self.differences(other))

    def __repr__(self) -> str:
        listed = ", ".join(f"{name}={value!r}" for name, value in self.values.items() if value is not None)
        return f"{self.event.__name__}({listed})"

    def differences(self, event: Any) -> Iterator[str]:
        """Yield in which fields an event of the same class differs."""
        found = fields_of(event)
        for name in dict.fromkeys([*self.values, *found]):
            wanted, actual = self.values.get(name, _ABSENT), found.get(name, _ABSENT)
            if wanted is _ABSENT and actual is _ABSENT:
                continue
            if wanted != actual:  # the wanted value is asked, so that matchers compose
                yield f"{name} is {_shown(actual)}, expected {_shown(wanted)}"


def expected(event: type[BaseEvent], /, **values: Any) -> Expected:
    """Return what equals an event of this class with these values; unnamed fields equal their default.

    Values compare by `==`, so that `mock.ANY` and dirty-equals can stand for one. Raises TypeError for a
    field that the event does not have, and for a required one that is not named.
    """
    return Expected(event, values)


def _completed(event: type[BaseEvent], values: dict[str, Any]) -> dict[str, Any]:
    contract = contract_of(event)
    schema = contract.schema
    known = schema.get("properties", {})
    is_open = issubclass(event, SchemaEvent) and schema.get("additionalProperties") is not False
    for name in values:
        if name not in known and not is_open:
            raise TypeError(f"{event.__name__} has no field {name!r}{suggestion(name, known)}")
    for name in schema.get("required", ()):
        if name not in values:
            raise TypeError(
                f"say what the required field {name!r} of {event.__name__} is expected to be; "
                "mock.ANY stands for any value"
            )
    wanted = {**contract.defaults(), **values}
    return {name: wanted[name] for name in dict.fromkeys([*known, *wanted]) if name in wanted}


def fields_of(event: BaseEvent) -> dict[str, Any]:
    """Return the fields of an event with their Python values."""
    if isinstance(event, SchemaEvent):
        return {name: event[name] for name in event}
    return {name: getattr(event, name) for name in contract_of(type(event)).schema["properties"]}


def _shown(value: object) -> str:
    return "absent" if value is _ABSENT else repr(value)


def nearest(wanted: Expected, events: Iterable[BaseEvent]) -> tuple[BaseEvent, list[str]] | None:
    """Return the published event of the same class that differs in the fewest fields, and how."""
    misses = [(event, list(wanted.differences(event))) for event in events if type(event) is wanted.event]
    return min(misses, key=lambda miss: len(miss[1]), default=None)
