"""Subscriptions: which subscriber hears which event, when, after how long, in groups of how many."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Concatenate, TypeVar, overload

from whereupon.errors import InvalidOverlay, InvalidSubscription, WhereuponError
from whereupon.events import BaseEvent, contract_of, is_abstract
from whereupon.naming import location_of, shorten, shown, suggestion
from whereupon.subscribers import Subscriber, subscriber_of

_E = TypeVar("_E", bound=BaseEvent)
_T = TypeVar("_T")
Condition = Callable[[Any], object]

OVERLAYS_VARIABLE = "WHEREUPON_OVERLAYS"
"""The environment variable that names overlay modules, separated by commas; empty means base only."""
_GROUP = "whereupon.overlays"


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscriber and the events it hears: the value that `subscribe()` returns.

    In the table of a store each subscription stands for exactly one event, and has the stable id
    `<context>.<subscriber>:<event>`. `where` is the line that made it.
    """

    subscriber: Subscriber
    events: tuple[type[BaseEvent], ...]
    condition: Condition | None = None
    delay: timedelta = timedelta(0)
    group_size: int = 1
    where: str = ""
    id: str = ""

    @property
    def event(self) -> type[BaseEvent]:
        """The event of a subscription that stands for one."""
        (event,) = self.events
        return event

    @property
    def ids(self) -> tuple[str, ...]:
        """The id of today and all that aliases of the subscriber and of the event make."""
        context = self.subscriber.context
        names = contract_of(self.event).names
        return tuple(f"{context}.{own}:{name}" for own in self.subscriber.names for name in names)

    def each(self) -> tuple[Subscription, ...]:
        """Return one subscription with its id for each of the events. Raises `InvalidContract`."""
        own = f"{self.subscriber.context}.{self.subscriber.name}"
        return tuple(
            replace(self, events=(event,), id=f"{own}:{contract_of(event).name}") for event in self.events
        )


@overload
def subscribe(
    subscriber: Callable[Concatenate[_E, ...], object],
    /,
    *,
    to: type[_E] | Sequence[type[_E]],
    when: Callable[[_E], object] | None = None,
    delay: timedelta = timedelta(0),
    group_size: int = 1,
) -> Subscription: ...


@overload
def subscribe(
    subscriber: Callable[Concatenate[list[_E], ...], object],
    /,
    *,
    to: type[_E] | Sequence[type[_E]],
    when: Callable[[_E], object] | None = None,
    delay: timedelta = timedelta(0),
    group_size: int = 1,
) -> Subscription: ...


def subscribe(
    subscriber: Callable[..., object],
    /,
    *,
    to: type[Any] | Sequence[type[Any]],
    when: Condition | None = None,
    delay: timedelta = timedelta(0),
    group_size: int = 1,
) -> Subscription:
    """Say which events a subscriber hears. The result goes into the list of its context.

    - `to`: an event class or several; matched by exact class, not by base class
    - `when`: a cheap condition on the event, asked once, in the publisher, before anything is written
    - `delay`: how long after the commit it is handled
    - `group_size`: how many events of one `publish_many` are handled in one job

    Raises `InvalidSubscription` and `InvalidSubscriber`.
    """
    where = _caller()
    events = tuple(to) if isinstance(to, Sequence) else (to,)
    faults = [fault for each in events if (fault := _event_fault(each))]
    if not events:
        faults.append("to= names no event")
    if when is not None and not callable(when):
        faults.append("when= takes a function of the event")
    if when is not None and inspect.iscoroutinefunction(when):
        faults.append("when= is asked in the publisher and cannot be async")
    if not isinstance(delay, timedelta) or delay < timedelta(0):
        faults.append(f"delay= takes a timedelta of zero or more, not {delay!r}")
    if type(group_size) is not int or group_size < 1:
        faults.append(f"group_size= takes a number from 1, not {group_size!r}")
    if faults:
        raise InvalidSubscription(
            f"{shown(subscriber)} cannot be subscribed like this:\n  " + "\n  ".join(faults),
            where=where,
        )
    return Subscription(subscriber_of(subscriber), events, when, delay, group_size, where)


def _event_fault(event: object) -> str:
    if not (isinstance(event, type) and issubclass(event, BaseEvent)):
        return f"to= takes event classes, and {shown(event)} is not one"
    if is_abstract(event):
        return f"{event.__name__} is a base class; events are matched by exact class, so name those below it"
    return ""


def _caller() -> str:
    frame = sys._getframe(2)  # noqa: SLF001 - what logging does too
    return f"{shorten(frame.f_code.co_filename)}:{frame.f_lineno}"


def overlays(*modules: str) -> list[Subscription]:
    """Return the subscriptions that overlays add: packages that know the base and are unknown to it.

    Without arguments they are found through the entry points `whereupon.overlays`; with arguments exactly
    these modules are read, each of which has a name `subscriptions`. WHEREUPON_OVERLAYS goes before both.

    Raises `InvalidOverlay`.
    """
    variable = os.environ.get(OVERLAYS_VARIABLE)
    if variable is not None:
        modules = tuple(name.strip() for name in variable.split(",") if name.strip())
    elif not modules:
        return [
            each for point in _entry_points() for each in _listed(point.value, _load(point.load, point.value))
        ]
    return [
        each for name in modules for each in _listed(name, _load(functools.partial(_from_module, name), name))
    ]


def _entry_points() -> Iterable[Any]:
    from importlib.metadata import entry_points

    return sorted(entry_points(group=_GROUP), key=lambda point: (point.name, point.value))


def _from_module(name: str) -> object:
    module = importlib.import_module(name)
    if not hasattr(module, "subscriptions"):
        near = suggestion("subscriptions", vars(module))
        raise InvalidOverlay(f"the overlay {name} has no name 'subscriptions'{near}", where=name)
    return module.subscriptions


def _load(load: Callable[[], _T], name: str) -> _T:
    try:
        return load()
    except WhereuponError:
        raise
    except Exception as error:
        raise InvalidOverlay(
            f"the overlay {name} cannot be read: {type(error).__name__}: {error}",
            where=name,
            fix=f"mend or uninstall it, or set {OVERLAYS_VARIABLE}= (empty) to run without overlays",
        ) from error


def _listed(name: str, found: object) -> list[Subscription]:
    subscriptions = _load(lambda: _unrolled(found), name)
    for each in subscriptions:
        if not isinstance(each, Subscription):
            raise InvalidOverlay(
                f"the overlay {name} holds {shown(each)}, which is not a subscription",
                where=name,
                fix="an overlay is a list of subscribe(...), or a function that returns one",
            )
    return subscriptions


def _unrolled(found: object) -> list[Any]:
    listed = found() if callable(found) else found
    return list(listed) if isinstance(listed, Iterable) else [listed]


def location(subscription: Subscription) -> str:
    """Say where the subscriber and the subscription are written."""
    return f"{location_of(subscription.subscriber.function)}, subscribed at {subscription.where}"
