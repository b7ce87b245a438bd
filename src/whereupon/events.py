"""Events: immutable facts, checked against their contract when they are made."""

from __future__ import annotations

import contextlib
import functools
import inspect
import operator
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, dataclass_transform

from whereupon.annotations import REQUIRED
from whereupon.contracts import Contract, Declaration, Upcast, build_contract, unresolved
from whereupon.errors import Fault, InvalidContract, InvalidEvent
from whereupon.naming import location_of, shown, suggestion
from whereupon.payloads import Checked, Refused, plain_copy

_KEYWORDS_ONLY: Final[Mapping[str, Any]] = {}
_KEYWORDS = ("name", "aliases", "context", "abstract", "upcast", "schema")


if TYPE_CHECKING:
    _EventClass = type  # mypy checks class keywords only where there is no metaclass
else:

    class _EventClass(type):
        """Makes event classes without a `__dict__`, so that nothing can be added to an event."""

        def __new__(
            mcs, title: str, bases: tuple[type, ...], namespace: dict[str, Any], /, **keywords: Any
        ) -> Any:
            for unknown in keywords.keys() - _KEYWORDS:
                raise InvalidContract(
                    f"{title} has the unknown class keyword {unknown}={suggestion(unknown, _KEYWORDS)}",
                    where=f"{namespace['__module__']}.{title}",
                    fix=f"the keywords are {', '.join(_KEYWORDS)}",
                )
            return super().__new__(mcs, title, bases, {"__slots__": (), **namespace}, **keywords)


class BaseEvent(metaclass=_EventClass):
    """What every event is, annotated or hand-written; it has no public attribute.

    An event holds its payload twice: as Python values for those who read it, and packed into bytes that
    are fixed when it is made. Equality, `payload_of` and what travels come from the bytes.
    """

    __slots__ = ("_packed", "_typed")

    _declared: ClassVar[Declaration | None] = None
    _inherited: ClassVar[Declaration] = Declaration(defaults={})
    _contract: ClassVar[Contract | None] = None

    _typed: Any
    _packed: bytes

    @classmethod
    def _make(cls, values: dict[str, Any]) -> Checked:
        """Check a payload; replaced by the check itself as soon as there is a contract."""
        return contract_of(cls).check.make(values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BaseEvent) or type(self) is not type(other):
            return NotImplemented
        return self._packed == other._packed or payload_of(self) == payload_of(other)

    def __hash__(self) -> int:
        payload = payload_of(self).items()
        scalars = frozenset((name, value) for name, value in payload if not isinstance(value, list | dict))
        return hash((type(self), scalars))

    def __repr__(self) -> str:
        listed = ", ".join(f"{name}={value!r}" for name, value in payload_of(self).items())
        return f"{type(self).__name__}({listed})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), payload_of(self))


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Event(BaseEvent):
    """A fact in the past, with annotated fields as its contract.

    A field without a default is required, one with a default is optional. What concerns the class and
    not the payload is a class keyword:

    - `name`: the name on the wire; `<context>.<snake_case of the class, without Event>` if left out
    - `aliases`: old names that still find the class
    - `context`: the bounded context, for this class and all below it
    - `abstract`: true for a base class that is never published itself
    - `upcast`: a function that turns the payload of an older contract into today's shape

    Raises `InvalidContract` when the class is made, and `InvalidEvent` when an event is.
    """

    __slots__ = ()

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        aliases: Iterable[str] = (),
        context: str | None = None,
        abstract: bool = False,
        upcast: Upcast | None = None,
        schema: None = None,
    ) -> None:
        super().__init_subclass__()
        if schema is not None:
            raise InvalidContract(
                f"{cls.__name__} has schema= and derives from Event",
                where=location_of(cls),
                fix="derive from SchemaEvent, or annotate the fields instead",
            )
        declaration = Declaration(
            defaults=_defaults(cls),
            name=name,
            aliases=_listed(cls, aliases),
            context=context or cls._inherited.context,
            upcast=upcast,
        )
        _declare(cls, declaration, abstract=abstract)

    def __init__(self, /, **values: Any) -> None:
        try:
            self._typed, self._packed = self._make(values)
        except Refused as refusal:
            raise _invalid(type(self), refusal.faults) from None


class SchemaEvent(BaseEvent):
    """A fact in the past, with a hand-written JSON Schema as its contract.

    The schema is the class keyword `schema=`; the others are those of `Event`. Made from a mapping or
    from keywords, read by key: `event["ref"]`. The schema decides whether unknown fields are allowed.

    Raises `InvalidContract` when the class is made, and `InvalidEvent` when an event is.
    """

    __slots__ = ()

    def __init_subclass__(
        cls,
        *,
        schema: Mapping[str, Any] | None = None,
        name: str | None = None,
        aliases: Iterable[str] = (),
        context: str | None = None,
        abstract: bool = False,
        upcast: Upcast | None = None,
    ) -> None:
        super().__init_subclass__()
        inherited = cls._inherited
        schema = schema if schema is not None else inherited.schema
        fields = _defaults(cls)
        if fields:
            raise InvalidContract(
                f"{cls.__name__} has the field {next(iter(fields))} beside a schema",
                where=location_of(cls),
                fix="put it into the schema, or derive from Event and leave the schema out",
            )
        if schema is None and not abstract:
            raise InvalidContract(
                f"{cls.__name__} has no schema",
                where=location_of(cls),
                fix="write schema={...} behind the base class, or derive from Event and annotate fields",
            )
        declaration = Declaration(
            defaults={},
            name=name,
            aliases=_listed(cls, aliases),
            context=context or inherited.context,
            schema=schema,
            upcast=upcast,
        )
        _declare(cls, declaration, abstract=abstract)

    def __init__(self, payload: Mapping[str, Any] = _KEYWORDS_ONLY, /, **values: Any) -> None:
        if payload is not _KEYWORDS_ONLY:
            values = _mapping_of(type(self), payload, values)
        try:
            self._typed, self._packed = self._make(values)
        except Refused as refusal:
            raise _invalid(type(self), refusal.faults) from None

    def __getitem__(self, name: str) -> Any:
        return self._mapping()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._mapping()

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapping())

    def _mapping(self) -> dict[str, Any]:
        if self._typed is None:
            self._typed = plain_copy(self._packed)
        mapping: dict[str, Any] = self._typed
        return mapping


def payload_of(event: BaseEvent) -> dict[str, Any]:
    """Return the whole payload as plain JSON data, a copy of the caller's own."""
    return plain_copy(event._packed)


def contract_of(event: type[BaseEvent]) -> Contract:
    """Return the contract of an event class.

    Raises `InvalidContract` for an abstract class and for one whose annotations cannot be resolved.
    """
    if not (isinstance(event, type) and issubclass(event, BaseEvent)):
        raise InvalidContract(
            f"{shown(event)} is not an event class", fix="pass a subclass of whereupon.Event"
        )
    if event._contract is None:
        if event._declared is None:
            raise InvalidContract(
                f"{event.__name__} is a base class and has no contract of its own",
                where=location_of(event),
                fix="derive a class from it and publish that one",
            )
        try:
            _adopt(event, build_contract(event, event._declared))
        except NameError as error:
            raise unresolved(event, error) from None
    return event._contract  # type: ignore[return-value]


def rebuild(contract: Contract, payload: dict[str, Any]) -> BaseEvent:
    """Make the event again from a payload that was published earlier, perhaps by other code.

    Raises `InvalidEvent`.
    """
    try:
        typed, packed = contract.check.read(payload)
    except Refused as refusal:
        raise _invalid(contract.event, refusal.faults) from None
    event: BaseEvent = object.__new__(contract.event)
    event._typed, event._packed = typed, packed
    return event


def is_abstract(event: type[BaseEvent]) -> bool:
    """Tell whether a class is a base of events and not an event itself."""
    return event._declared is None


def _restore(cls: type[BaseEvent], payload: dict[str, Any]) -> BaseEvent:
    return rebuild(contract_of(cls), payload)


def _invalid(cls: type[BaseEvent], faults: list[Fault]) -> InvalidEvent:
    return InvalidEvent(contract_of(cls).name, faults, where=_place(cls))


@functools.lru_cache(maxsize=1024)
def _place(cls: type[BaseEvent]) -> str:
    """Remember where a class is written: to find it, the whole file is read."""
    return location_of(cls)


def _mapping_of(cls: type[BaseEvent], payload: Mapping[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(payload, Mapping):
        raise _invalid(cls, [Fault("", f"must be a mapping, not {type(payload).__name__}")])
    if values:
        raise _invalid(cls, [Fault("", "is given as a mapping and as keywords; use one of them")])
    return dict(payload)


def _declare(cls: type[BaseEvent], declaration: Declaration, *, abstract: bool) -> None:
    """Keep the declaration, turn fields into properties, and lint at once where that is possible."""
    cls._inherited = declaration
    cls._declared = None if abstract else declaration
    cls._contract = None
    cls._make = BaseEvent.__dict__["_make"]  # type: ignore[method-assign]
    for name in declaration.defaults:
        setattr(cls, name, property(operator.attrgetter(f"_typed.{name}")))
    if not abstract:
        # a forward reference may be unresolved as yet: the store asks for every contract again
        with contextlib.suppress(NameError):
            _adopt(cls, build_contract(cls, declaration))


def _adopt(cls: type[BaseEvent], contract: Contract) -> None:
    cls._contract = contract
    cls._make = staticmethod(contract.check.make)  # type: ignore[assignment, method-assign]


def _defaults(cls: type[BaseEvent]) -> dict[str, Any]:
    """Collect the fields of a class and its bases, each with its default or `REQUIRED`."""
    inherited = _inherited_fields(cls)
    own = {
        name: cls.__dict__.get(name, REQUIRED)
        for name, annotation in _own_annotations(cls).items()
        if not _is_class_variable(annotation)
    }
    for name in inherited.keys() & cls.__dict__.keys() - own.keys():
        raise InvalidContract(
            f"{cls.__name__}.{name} hides a field of its base class",
            where=location_of(cls),
            fix=f"annotate it to give the field another default: {name}: ... = ...",
        )
    return inherited | own


def _inherited_fields(cls: type[BaseEvent]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for base in reversed(cls.__mro__[1:]):
        if issubclass(base, BaseEvent):
            own = _own_annotations(base)
            fields |= {name: each for name, each in base._inherited.defaults.items() if name in own}
    return fields


def _own_annotations(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(cls)


def _is_class_variable(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.startswith(("ClassVar", "typing.ClassVar"))
    return annotation is ClassVar or typing.get_origin(annotation) is ClassVar


def _listed(cls: type, aliases: Iterable[str]) -> tuple[str, ...]:
    if isinstance(aliases, str):
        raise InvalidContract(
            f"aliases of {cls.__name__} is one text, not a list",
            where=location_of(cls),
            fix=f"write aliases=[{aliases!r}]",
        )
    return tuple(aliases)
