"""Contracts: what an event class promises about its payload, under a name that stays."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from whereupon.annotations import Fields, UnsupportedAnnotation, read_fields
from whereupon.errors import InvalidContract
from whereupon.naming import (
    NAME_LIMIT,
    context_of,
    is_context,
    is_wire_name,
    location_of,
    snake_case,
)
from whereupon.payloads import (
    Check,
    compile_annotated,
    compile_written,
    plain_copy,
    strict_faults,
    subvalidators,
)
from whereupon.schemas import ANNOTATIONS, DEPTH_LIMIT, DIALECT, faults_of, rebuilt, subschemas

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whereupon.events import BaseEvent

Upcast = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Turns the payload of an older contract into today's shape."""

_SETTING_OF_RUFF = (
    "[tool.ruff.lint.flake8-type-checking] runtime-evaluated-base-classes = ['whereupon.Event']"
)


class Declaration(NamedTuple):
    """What the keywords and the body of an event class say, before anything is checked."""

    defaults: Mapping[str, Any]
    name: str | None = None
    aliases: tuple[str, ...] = ()
    context: str | None = None
    schema: Mapping[str, Any] | None = None
    upcast: Upcast | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Contract:
    """The checked contract of one event class.

    `fingerprint` is 16 hexadecimal digits over everything that decides which payloads are valid; titles,
    descriptions and examples do not change it. `aliases` are old names that still find the class.
    """

    name: str
    aliases: tuple[str, ...]
    context: str
    fingerprint: str
    event: type[BaseEvent]
    upcast: Upcast | None = field(repr=False)
    check: Check = field(repr=False)
    _schema: bytes = field(repr=False)
    _struct: type[msgspec.Struct] | None = field(repr=False)

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) of the payload, as a copy of the caller's own."""
        return plain_copy(self._schema)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of today, then the old ones."""
        return (self.name, *self.aliases)

    def defaults(self) -> dict[str, Any]:
        """Return what the optional fields of an annotated event hold when they are left out.

        They are Python values of the caller's own.
        """
        fields = msgspec.structs.fields(self._struct) if self._struct else ()
        return {
            each.name: each.default if each.default_factory is msgspec.NODEFAULT else each.default_factory()
            for each in fields
            if not each.required
        }


def build_contract(event: type[BaseEvent], declaration: Declaration) -> Contract:
    """Check a declaration and compile it.

    Raises `InvalidContract`; NameError where an annotation cannot be resolved yet.
    """
    context = _context(event, declaration)
    name = _name(event, declaration, context)
    if declaration.upcast is not None and not callable(declaration.upcast):
        raise InvalidContract(
            f"upcast= of {event.__name__} takes a function from the old payload to today's",
            where=location_of(event),
        )
    fields = None if declaration.schema is not None else _fields(event, declaration)
    schema = fields.schema if fields else _linted(event, declaration.schema or {})
    try:
        check = compile_annotated(fields) if fields else compile_written(schema)
    except ValueError as error:
        raise InvalidContract(
            f"{event.__name__} has an unsound schema:\n  {error}", where=location_of(event)
        ) from None
    _refuse_defaults(event, [*map(str, check.bad_defaults)] or _default_faults(schema))
    return Contract(
        name=name,
        aliases=declaration.aliases,
        context=context or name.partition(".")[0],
        fingerprint=fingerprint_of(schema),
        event=event,
        upcast=declaration.upcast,
        check=check,
        _schema=msgspec.msgpack.encode({"$schema": DIALECT} | schema),
        _struct=fields.struct if fields else None,
    )


def _name(event: type[BaseEvent], declaration: Declaration, context: str | None) -> str:
    name = f"{context}.{_own_name(event)}" if declaration.name is None else declaration.name
    for each in (name, *declaration.aliases):
        if not is_wire_name(each):
            raise InvalidContract(
                f"{each!r} cannot be the name of an event: it takes two or more lower-case words joined by "
                f"dots, at most {NAME_LIMIT} ASCII characters",
                where=location_of(event),
                fix='write name="context.something_happened" behind the base class',
            )
    return name


def fingerprint_of(schema: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits over the part of a schema that decides which payloads are valid."""
    essence = rebuilt(schema, _essence)
    return hashlib.sha256(msgspec.json.encode(essence, order="sorted")).hexdigest()[:16]


def _essence(node: dict[str, Any]) -> dict[str, Any]:
    """Leave out what says nothing about validity: annotations, and the order of what has none."""
    kept = {key: node[key] for key in node if key not in ANNOTATIONS and not key.startswith("x-")}
    for keyword in ("required", "enum", "type"):
        if isinstance(kept.get(keyword), list):
            kept[keyword] = sorted(kept[keyword], key=msgspec.json.encode)
    return kept


def _own_name(event: type[BaseEvent]) -> str:
    bare = event.__name__.removesuffix("Event") or event.__name__
    return snake_case(bare)


def _context(event: type[BaseEvent], declaration: Declaration) -> str | None:
    context = declaration.context or context_of(event.__module__)
    if context is None and declaration.name is None:
        raise InvalidContract(
            f"the context of {event.__name__} cannot be told from the module {event.__module__}",
            where=location_of(event),
            fix=f'write class {event.__name__}(Event, name="context.{_own_name(event)}")',
        )
    if declaration.context is not None and not is_context(declaration.context):
        raise InvalidContract(
            f"{declaration.context!r} cannot be a context: it takes lower-case letters, digits and _",
            where=location_of(event),
            fix='write context="ci" or the like',
        )
    return context


def _fields(event: type[BaseEvent], declaration: Declaration) -> Fields:
    private = [name for name in declaration.defaults if name.startswith("_")]
    if private:
        raise InvalidContract(
            f"{event.__name__} has the private field {private[0]}, and a payload is public",
            where=location_of(event),
            fix=f"name it {private[0].strip('_')}",
        )
    try:
        fields = read_fields(event, dict(declaration.defaults))
    except UnsupportedAnnotation as problem:
        raise InvalidContract(
            f"{event.__name__} has an annotation that a contract cannot carry:\n  {problem}",
            where=location_of(event),
        ) from None
    _refuse_defaults(event, [*map(str, strict_faults(fields.defaults, ""))])
    return fields


def unresolved(event: type[BaseEvent], error: NameError) -> InvalidContract:
    """Describe an annotation whose name is not there at run time."""
    return InvalidContract(
        f"an annotation of {event.__name__} uses {error.name or error}, which is not there at run time",
        where=location_of(event),
        fix="import it outside `if TYPE_CHECKING:`; if ruff moved it there (TC001-TC003), set "
        + _SETTING_OF_RUFF,
    )


def _linted(event: type[BaseEvent], schema: Mapping[str, Any]) -> dict[str, Any]:
    faults = faults_of(schema) or [f"#: {fault}" for fault in strict_faults(schema, "", -2 * DEPTH_LIMIT)]
    if faults:
        raise InvalidContract(
            f"{event.__name__} has an unsound schema:\n  " + "\n  ".join(faults),
            where=location_of(event),
        )
    own: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(schema))
    return own


def _refuse_defaults(event: type[BaseEvent], faults: list[str]) -> None:
    if faults:
        raise InvalidContract(
            f"{event.__name__} has a default that its own contract refuses:\n  " + "\n  ".join(faults),
            where=location_of(event),
        )


def _default_faults(schema: dict[str, Any]) -> list[str]:
    defaults = list(_defaults_in(schema, "#"))
    if not defaults:
        return []
    parts = subvalidators(schema)
    wrong = [where for where, default in defaults if not parts[where].is_valid(default)]
    return [f"{where}: the default does not match" for where in wrong]


def _defaults_in(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(node, Mapping):
        return
    if "default" in node:
        yield where, node["default"]
    for pointer, child in subschemas(node):
        yield from _defaults_in(child, where + pointer)
