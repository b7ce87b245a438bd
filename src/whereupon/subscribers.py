"""Subscribers: functions that handle an event in the background, and how they work."""

from __future__ import annotations

import inspect
import random
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, Final, Literal, TypeVar, overload

from whereupon.envelopes import Envelope
from whereupon.errors import InvalidSubscriber
from whereupon.naming import context_of, is_context, location_of, shown, suggestion

if typing.TYPE_CHECKING:
    from whereupon.events import BaseEvent

Priority = Literal["high", "normal", "low"]
Backoff = Callable[[int], timedelta]
"""Returns the wait after the n-th failed attempt, n from 1."""

PRIORITIES: Final[tuple[Priority, ...]] = ("high", "normal", "low")
_OPTIONS: Final = "__whereupon_options__"
_F = TypeVar("_F", bound=Callable[..., Any])


def fourth_power(attempt: int) -> timedelta:
    """Wait n⁴ + 15 s after the n-th failed attempt, plus up to 10 s × (n + 1) of jitter.

    Twenty-five attempts take about three weeks. The formula is Sidekiq's, which the reference relies on;
    the jitter keeps deliveries that failed together from coming back together.
    """
    return timedelta(seconds=attempt**4 + 15 + random.uniform(0, 10) * (attempt + 1))  # noqa: S311


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a subscriber works; each option is described at `subscriber`."""

    queue: str = "default"
    priority: Priority = "normal"
    max_attempts: int = 25
    backoff: Backoff = fourth_power
    timeout: timedelta | None = None
    concurrency: int | None = None
    atomic: bool = False
    park_on: tuple[type[Exception], ...] = ()
    name: str | None = None
    aliases: tuple[str, ...] = ()

    def faults(self) -> list[str]:
        """Return what is out of range, each as one sentence."""
        found: list[str] = []
        if not (isinstance(self.queue, str) and self.queue.strip()):
            found.append("queue= takes a name")
        if self.priority not in PRIORITIES:
            found.append(f"priority= takes one of {', '.join(PRIORITIES)}, not {self.priority!r}")
        if type(self.max_attempts) is not int or self.max_attempts < 1:
            found.append("max_attempts= takes a number from 1")
        if not callable(self.backoff):
            found.append("backoff= takes a timedelta of zero or more, or a function from the attempt to one")
        if self.timeout is not None and not _is_positive(self.timeout):
            found.append("timeout= takes a timedelta of more than zero")
        if self.concurrency is not None and (type(self.concurrency) is not int or self.concurrency < 1):
            found.append("concurrency= takes a number from 1")
        if type(self.atomic) is not bool:
            found.append("atomic= takes True or False")
        if not (isinstance(self.park_on, tuple) and all(map(_is_exception, self.park_on))):
            found.append("park_on= takes a list of exception classes")
        return found + self._faulty_names()

    def _faulty_names(self) -> list[str]:
        if not isinstance(self.aliases, tuple):
            return ["aliases= takes a list of names"]
        return [
            f"{each!r} cannot be a subscriber's name: it takes lower-case letters, digits and _"
            for each in (self.name, *self.aliases)
            if each is not None and not is_context(each)
        ]


@overload
def subscriber(function: _F, /) -> _F: ...


@overload
def subscriber(
    *,
    queue: str = ...,
    priority: Priority = ...,
    max_attempts: int = ...,
    backoff: Backoff | timedelta = ...,
    timeout: timedelta | None = ...,
    concurrency: int | None = ...,
    atomic: bool = ...,
    park_on: Iterable[type[Exception]] = ...,
    name: str | None = ...,
    aliases: Iterable[str] = ...,
) -> Callable[[_F], _F]: ...


def subscriber(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Say how a function handles events in the background. It stays the function that it was.

    - `queue`: the queue it waits in; workers can be told to serve some queues only
    - `priority`: "high", "normal" or "low"; what waits is started in this order
    - `max_attempts`: how often an exception may end it before the delivery is parked; 25
    - `backoff`: the wait between attempts, as a timedelta or a function of the attempt's number
    - `timeout`: a timedelta; an async handler is cancelled, a thread counts as failed and its process is
      replaced once its other work is finished
    - `concurrency`: how many may run at once in one process
    - `atomic`: handle in a transaction on the ledger's database, in which the delivery is closed too
    - `park_on`: exceptions that set the delivery aside at once, as trying again would not help
    - `name`, `aliases`: its stable name, and old ones; the name of the function if left out

    Raises `InvalidSubscriber`, with everything that is out of range.
    """

    def decorate(target: _F) -> _F:
        checked = _checked(target, options)
        try:
            setattr(_lasting(target), _OPTIONS, checked)
        except AttributeError:
            raise InvalidSubscriber(
                f"{shown(target)} is not a function, so @subscriber cannot say how it works",
                fix='write the options by name: @subscriber(queue="...")',
            ) from None
        return target

    return decorate if function is None else decorate(function)


def _checked(function: Callable[..., Any], given: dict[str, Any]) -> Options:
    known = [each.name for each in fields(Options)]
    unknown = [f"{name}= is not an option{suggestion(name, known)}" for name in given if name not in known]
    given = {name: value for name, value in given.items() if name in known}
    wait = given.get("backoff")
    if isinstance(wait, timedelta) and wait >= timedelta(0):
        given["backoff"] = lambda _attempt: wait
    for name in ("park_on", "aliases"):
        if isinstance(several := given.get(name, ()), Iterable) and not isinstance(several, str):
            given[name] = tuple(several)
    options = Options(**given)
    found = unknown + options.faults()
    if found:
        raise InvalidSubscriber(
            f"the subscriber {shown(function)} cannot work like this:\n  " + "\n  ".join(found),
            where=location_of(function),
        )
    return options


def _is_exception(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)


def _is_positive(value: object) -> bool:
    return isinstance(value, timedelta) and value > timedelta(0)


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A function with its options, its name, and what its parameters ask for.

    `context` is derived from the module. `takes` are the annotations behind the event, to be filled with
    the envelope or the transaction. `events` is what the first annotation allows, None where it is silent.
    """

    function: Callable[..., Any]
    options: Options
    name: str
    context: str
    takes_list: bool
    takes: tuple[type, ...]
    events: tuple[type, ...] | None
    is_async: bool = field(default=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of today, then the old ones."""
        return (self.name, *self.options.aliases)

    @property
    def where(self) -> str:
        """Where the function is written, as `path:line`."""
        return location_of(inspect.unwrap(self.function))


def subscriber_of(function: Callable[..., Any]) -> Subscriber:
    """Read a function as a subscriber, decorated or not.

    Raises `InvalidSubscriber` where a parameter asks for something that nothing can fill.
    """
    if not callable(function) or isinstance(function, type):
        raise InvalidSubscriber(
            f"{shown(function)} is not a subscriber",
            fix="pass a function whose first parameter is the event",
        )
    options: Options = getattr(_lasting(function), _OPTIONS, None) or Options()
    first, further = _parameters(function)
    takes_list, events = _events_of(first)
    bare = inspect.unwrap(function)
    return Subscriber(
        function=function,
        options=options,
        name=options.name or _name_of(function, bare),
        context=_context_of(bare),
        takes_list=takes_list,
        takes=tuple(further),
        events=events,
        is_async=any(map(inspect.iscoroutinefunction, (function, bare))),
    )


def _lasting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what stays the same: a proxy, as `shared_task` makes one, stands for other tasks in time."""
    if type(function) is function.__class__:
        return function
    bare: Callable[..., Any] = inspect.unwrap(function)
    return getattr(bare, "__func__", bare)


def _name_of(function: Callable[..., Any], bare: Callable[..., Any]) -> str:
    name = getattr(bare, "__name__", "")
    if not is_context(name):
        raise InvalidSubscriber(
            f"{name or shown(function)} cannot be the stable name of a subscriber",
            where=location_of(bare),
            fix='write @subscriber(name="...") with lower-case letters, digits and _',
        )
    return name


def _context_of(bare: Callable[..., Any]) -> str:
    context = context_of(bare.__module__)
    if context is None:
        raise InvalidSubscriber(
            f"the context of {shown(bare)} cannot be told from the module {bare.__module__}",
            where=location_of(bare),
            fix="move it into a package, for example shop/orders/subscribers.py",
        )
    return context


def _parameters(function: Callable[..., Any]) -> tuple[Any, list[type]]:
    """Return the annotation of the event and those of the further parameters."""
    bare = inspect.unwrap(function)
    try:
        parameters = list(inspect.signature(function).parameters.values())
        hints = typing.get_type_hints(bare)
    except NameError as error:
        raise InvalidSubscriber(
            f"an annotation of {bare.__name__} uses {error.name}, which is not there at run time",
            where=location_of(bare),
            fix="import it outside `if TYPE_CHECKING:`",
        ) from None
    except (TypeError, ValueError):
        raise InvalidSubscriber(
            f"the parameters of {shown(function)} cannot be read",
            where=location_of(bare),
            fix="pass a function that is written with def",
        ) from None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in positional:
        raise InvalidSubscriber(
            f"{bare.__name__} has no parameter for the event",
            where=location_of(bare),
            fix="write the event as its first parameter, annotated with its class",
        )
    kinds = {name: _bare(hint) for name, hint in hints.items()}
    for each in parameters[1:]:
        if each.kind not in positional or not isinstance(kinds.get(each.name), type):
            raise InvalidSubscriber(
                f"nothing fills the parameter {each.name} of {bare.__name__}",
                where=location_of(bare),
                fix="annotate it as Envelope, with atomic=True as the ledger's transaction, or leave it out",
            )
    first = hints.get(parameters[0].name, inspect.Parameter.empty)
    return first, [kinds[each.name] for each in parameters[1:]]


def _bare(annotation: Any) -> Any:
    """Return the class of a generic one, `Connection` of `Connection[Row]`."""
    origin = typing.get_origin(annotation)
    return annotation if origin in (None, typing.Union, types.UnionType) else origin


def _events_of(annotation: Any) -> tuple[bool, tuple[type, ...] | None]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is list:
        return True, _events_of(arguments[0])[1]
    if annotation in (inspect.Parameter.empty, Any):
        return False, None
    alternatives = arguments if origin in (typing.Union, types.UnionType) else (annotation,)
    return False, tuple(each for each in alternatives if isinstance(each, type))


def accepts(subscriber: Subscriber, event: type[BaseEvent]) -> bool:
    """Tell whether the annotation of the subscriber's first parameter allows this event."""
    return subscriber.events is None or any(issubclass(event, each) for each in subscriber.events)


def needs_transaction(subscriber: Subscriber) -> tuple[type, ...]:
    """Return the parameter types that only the ledger's transaction can fill."""
    return tuple(each for each in subscriber.takes if each is not Envelope)
