"""From the annotations of an event class to its fields: types, defaults and JSON Schema."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import types
import typing
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NewType, Union
from uuid import UUID

import msgspec

from whereupon.schemas import faults_of, rebuilt

REQUIRED: Final = object()
"""Stands for the default of a field that has none."""

_PLAIN = (str, int, float, bool, type(None), Any)
_CONVERTED = (datetime, date, UUID, Decimal)
_SEQUENCES = (list, tuple, collections.abc.Sequence)
_MAPPINGS = (dict, collections.abc.Mapping)
_CONTAINERS = (*_SEQUENCES, *_MAPPINGS)
_ALIAS = getattr(typing, "TypeAliasType", ())
_DECIMAL = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?(E[+-]?[0-9]+)?$"
_CONSTRAINTS: Final = {
    "annotated_types.Ge": "ge",
    "annotated_types.Gt": "gt",
    "annotated_types.Le": "le",
    "annotated_types.Lt": "lt",
    "annotated_types.MultipleOf": "multiple_of",
    "annotated_types.MinLen": "min_length",
    "annotated_types.MaxLen": "max_length",
}
_ROOT: Final = "the-payload"
"""A name that no class can have, so that a nested class may be called like the event."""
_GROUPS: Final = ("annotated_types.Interval", "annotated_types.Len")


class Fields(typing.NamedTuple):
    """What the annotations of one event class say.

    `struct` holds a payload as Python values, without constraints: those are in `schema`, which
    describes the payload as JSON and is the one thing that validates. `defaults` are the JSON forms of
    the defaults. `converted` names the fields whose values have to be turned into JSON first (dates,
    enums, nested structs). `dated` tells whether a date and time is among them, `nests_dataclasses`
    whether a dataclass is.
    """

    struct: type[msgspec.Struct]
    schema: dict[str, Any]
    defaults: dict[str, Any]
    converted: tuple[str, ...]
    dated: bool
    nests_dataclasses: bool


class UnsupportedAnnotation(Exception):
    """An annotation that a contract cannot carry; the text says which and why."""


def read_fields(cls: type, defaults: dict[str, Any]) -> Fields:
    """Read the fields of an event class, base classes first.

    Raises NameError where an annotation cannot be resolved yet, and `UnsupportedAnnotation`.
    """
    hints = _hints(cls, include_extras=True)
    bare = _hints(cls)
    problems: list[str] = []
    described: list[Any] = []
    held: list[Any] = []
    plain: dict[str, Any] = {}
    walks: dict[str, _Walk] = {}
    for name, default in defaults.items():
        walks[name] = walk = _Walk()
        try:
            honoured = walk.honoured(hints[name])
            if default is not REQUIRED:
                plain[name] = _plain(default)
        except UnsupportedAnnotation as problem:
            problems.append(f"{name}: {problem}")
            continue
        if default is REQUIRED:
            described.append((name, honoured))
            held.append((name, bare[name]))
        else:
            described.append((name, honoured, None))
            held.append((name, bare[name], _default(plain[name], bare[name])))
    if problems:
        raise UnsupportedAnnotation("\n  ".join(problems))
    return Fields(
        struct=msgspec.defstruct(cls.__name__, held, frozen=True, kw_only=True, omit_defaults=True),
        schema=_schema_of(cls, described, plain),
        defaults=plain,
        converted=tuple(name for name, walk in walks.items() if walk.converts),
        dated=any(walk.dated for walk in walks.values()),
        nests_dataclasses=any(walk.nests_dataclasses for walk in walks.values()),
    )


def _hints(cls: type, *, include_extras: bool = False) -> dict[str, Any]:
    """Resolve annotations in the namespace of the module, in which no field hides a type of its name."""
    nested = {
        name: each for kind in cls.__mro__ for name, each in vars(kind).items() if isinstance(each, type)
    }
    try:
        return typing.get_type_hints(cls, localns=nested, include_extras=include_extras)
    except AttributeError as error:  # a module that is still being imported
        raise NameError(str(error), name=error.name) from error


def _plain(default: Any) -> Any:
    try:
        return msgspec.to_builtins(default)
    except (TypeError, RecursionError):
        raise UnsupportedAnnotation(
            f"its default is of type {type(default).__name__}, which JSON cannot carry; write the value "
            "itself, a list too: each event gets its own copy"
        ) from None


def _default(plain: Any, annotation: Any) -> Any:
    """Give a default to msgspec so that it leaves out None and writes out everything else.

    It becomes what a payload with the same value would give: a member of an enum, a list of one's own.
    """
    if plain is None:
        return None
    try:
        value = msgspec.convert(plain, annotation)
        hash(value)
    except msgspec.ValidationError:
        return None  # the contract refuses this default, and the class is never made
    except TypeError:
        return msgspec.field(default_factory=lambda: msgspec.convert(plain, annotation))
    return msgspec.field(default_factory=lambda: value)


def _schema_of(cls: type, described: list[Any], defaults: dict[str, Any]) -> dict[str, Any]:
    try:
        components = _components(msgspec.defstruct(_ROOT, described, kw_only=True))
    except (TypeError, ValueError) as error:
        raise UnsupportedAnnotation(_blamed(described, error)) from error
    schema = components.pop(_ROOT) | {"title": cls.__name__}
    for name, default in defaults.items():
        schema["properties"][name]["default"] = default
    if documentation := cls.__dict__.get("__doc__"):
        schema["description"] = inspect.cleandoc(documentation)
    if components:
        schema["$defs"] = components
    return typing.cast("dict[str, Any]", rebuilt(schema, _decimal_as_pattern))


def _components(annotation: Any) -> dict[str, Any]:
    """Return the JSON Schemas of all classes that an annotation reaches, by name."""
    return msgspec.json.schema_components(
        (annotation,), schema_hook=_schema_hook, ref_template="#/$defs/{name}"
    )[1]


def _blamed(described: list[Any], error: Exception) -> str:
    """Name the field whose annotation msgspec cannot describe, with the first line of what it says."""
    for name, annotation, *_ in described:
        try:
            _components(annotation)
        except (TypeError, ValueError) as own:
            said = str(own).partition("\n")[0]
            return f"{name}: {said}"
    return str(error)


def _decimal_as_pattern(node: dict[str, Any]) -> dict[str, Any]:
    """Replace the format `decimal`, which JSON Schema does not know, by a pattern without NaN."""
    if node.get("format") == "decimal":
        del node["format"]
        node["pattern"] = _DECIMAL
    return node


def _schema_hook(kind: type) -> dict[str, Any]:
    """Describe enums with a metaclass of their own, such as Django's TextChoices."""
    if issubclass(kind, enum.Enum):
        return {"title": kind.__name__, "enum": sorted(member.value for member in kind)}
    raise NotImplementedError


class _Walk:
    """One pass over an annotation: refuses what JSON cannot carry, honours constraints."""

    def __init__(self) -> None:
        self.converts = False
        self.dated = False
        self.nests_dataclasses = False
        self._open: list[Any] = []
        self._nested_in: list[type] = []

    def honoured(self, annotation: Any) -> Any:
        """Return the annotation as msgspec understands it."""
        if isinstance(annotation, _ALIAS):
            return self._guarded(annotation, annotation.__value__)
        if isinstance(annotation, NewType):
            return self.honoured(annotation.__supertype__)
        if annotation in _PLAIN:
            return annotation
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is None and annotation not in _CONTAINERS:
            return self._class(annotation)
        return self._parametrised(annotation, origin, arguments)

    def _parametrised(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Any:
        if origin is Annotated:
            return self._annotated(arguments[0], arguments[1:])
        if origin in (Union, types.UnionType):
            return Union[tuple(self.honoured(each) for each in arguments)]  # noqa: UP007 - of a tuple
        if origin is Literal:
            return annotation
        if origin in _SEQUENCES or annotation in _SEQUENCES:
            return self._sequence(annotation, origin, arguments)
        if origin in _MAPPINGS or annotation in _MAPPINGS:
            return self._mapping(annotation, origin, arguments)
        return self._class(origin)

    def _guarded(self, alias: Any, value: Any) -> Any:
        if alias in self._open:
            raise UnsupportedAnnotation(f"{alias} refers to itself; use a nested struct")
        self._open.append(alias)
        try:
            return self.honoured(value)
        finally:
            self._open.pop()

    def _annotated(self, inner: Any, metadata: tuple[Any, ...]) -> Any:
        merged: dict[str, Any] = {}
        for each in metadata:
            if self._nested_in and not isinstance(each, msgspec.Meta):
                raise UnsupportedAnnotation("inside a nested class, write constraints with Meta")
            merged |= _constraint(each)
        return Annotated[self.honoured(inner), msgspec.Meta(**merged)]

    def _sequence(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Any:
        if not arguments:
            raise UnsupportedAnnotation(f"say what the items are: {annotation.__name__}[int]")
        items = tuple(each if each is Ellipsis else self.honoured(each) for each in arguments)
        container: Any = origin
        return container[items] if origin is tuple else container[items[0]]

    def _mapping(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Any:
        if not arguments:
            raise UnsupportedAnnotation(f"say what it maps: {annotation.__name__}[str, int]")
        if arguments[0] is not str:
            raise UnsupportedAnnotation("the keys of a JSON object are str")
        return origin[str, self.honoured(arguments[1])]

    def _class(self, annotation: Any) -> Any:
        if not isinstance(annotation, type):
            raise UnsupportedAnnotation(f"{annotation!r} is not a type that JSON can carry")
        self.converts = True
        if annotation in _CONVERTED:
            self.dated = self.dated or annotation is datetime
            return annotation
        if issubclass(annotation, enum.Enum):
            return _checked_enum(annotation)
        if issubclass(annotation, msgspec.Struct):
            return self._nested(_checked_struct(annotation))
        if dataclasses.is_dataclass(annotation):
            if not annotation.__dataclass_params__.frozen:  # type: ignore[attr-defined]
                raise UnsupportedAnnotation(f"{annotation.__name__} must be frozen (@dataclass(frozen=True))")
            self.nests_dataclasses = True
            return self._nested(annotation)
        raise UnsupportedAnnotation(_not_json(annotation))

    def _nested(self, annotation: type) -> type:
        if annotation in self._nested_in:
            return annotation
        self._nested_in.append(annotation)
        for name, hint in typing.get_type_hints(annotation, include_extras=True).items():
            if typing.get_origin(hint) is typing.ClassVar:
                continue
            try:
                self.honoured(hint)
            except UnsupportedAnnotation as problem:
                raise UnsupportedAnnotation(f"{annotation.__name__}.{name}: {problem}") from None
        self._nested_in.pop()
        return annotation


def _not_json(annotation: type) -> str:
    hint = {
        set: "; a set has no order, use tuple[...]",
        frozenset: "; a set has no order, use tuple[...]",
        bytes: "; encode it as text, for example base64 in a str",
        complex: "; use two floats",
    }.get(annotation, "; publish the id of an object instead of the object")
    return f"{annotation.__name__} is not a type that JSON can carry{hint}"


def _checked_enum(annotation: type[enum.Enum]) -> type[enum.Enum]:
    kinds = {type(member.value) for member in annotation}
    if kinds not in ({str}, {int}):
        raise UnsupportedAnnotation(f"the values of {annotation.__name__} must be all str or all int")
    return annotation


def _checked_struct(annotation: type[msgspec.Struct]) -> type[msgspec.Struct]:
    name, config = annotation.__name__, annotation.__struct_config__
    if not config.frozen:
        raise UnsupportedAnnotation(f"{name} must be frozen (Struct, frozen=True)")
    if config.omit_defaults:
        raise UnsupportedAnnotation(f"{name} has omit_defaults=True, and defaults travel; take it away")
    if config.forbid_unknown_fields:
        raise UnsupportedAnnotation(
            f"{name} has forbid_unknown_fields=True, and newer code may add fields; take it away: "
            "who publishes cannot write unknown ones anyway"
        )
    return annotation


def _constraint(metadata: Any) -> dict[str, Any]:
    if isinstance(metadata, msgspec.Meta):
        names = inspect.signature(msgspec.Meta).parameters
        given = {name: getattr(metadata, name) for name in names}
        faults = faults_of({"type": "object", "properties": {"it": metadata.extra_json_schema or {}}})
        if faults:
            raise UnsupportedAnnotation(f"extra_json_schema has a fault at {faults[0]}")
        return {name: value for name, value in given.items() if value is not None}
    name = f"{type(metadata).__module__}.{type(metadata).__qualname__}"
    if name in _CONSTRAINTS:
        word = _CONSTRAINTS[name]
        return {word: getattr(metadata, word)}
    if name in _GROUPS:
        merged: dict[str, Any] = {}
        for each in metadata:
            merged |= _constraint(each)
        return merged
    raise UnsupportedAnnotation(
        f"the metadata {type(metadata).__name__} is not honoured; use whereupon.Meta or annotated_types"
    )
