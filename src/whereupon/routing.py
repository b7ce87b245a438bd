"""The frozen table of subscriptions, and every check it passes before it is one."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from whereupon.errors import InvalidContract, InvalidSubscriber, InvalidSubscription, WhereuponError
from whereupon.events import BaseEvent, contract_of
from whereupon.naming import location_of, shown
from whereupon.subscribers import accepts, needs_transaction
from whereupon.subscriptions import Subscription, location

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Routes:
    """Who hears what. Nothing in it can change.

    `by_event` holds the subscriptions of each event class in the order of the list, `by_id` finds one by
    its id or by an id that its aliases make, `by_name` finds the event class of a wire name or alias.
    """

    by_event: Mapping[type[BaseEvent], tuple[Subscription, ...]]
    by_id: Mapping[str, Subscription]
    by_name: Mapping[str, type[BaseEvent]]

    def __iter__(self) -> Iterator[Subscription]:
        return (each for group in self.by_event.values() for each in group)


def build_routes(subscriptions: Iterable[Subscription]) -> tuple[Routes, list[WhereuponError]]:
    """Build the table and return it with everything that is wrong with it."""
    faults: list[WhereuponError] = []
    single: list[Subscription] = []
    for listed in subscriptions:
        if not isinstance(listed, Subscription):
            faults.append(
                InvalidSubscription(
                    f"{shown(listed)} is not a subscription",
                    fix="list what subscribe() returns; a whole list is added with a star: *ci.subscriptions",
                )
            )
            continue
        unsound = [fault for event in listed.events if (fault := _contract_fault(event))]
        faults += unsound
        for subscription in () if unsound else listed.each():
            faults += _subscription_faults(subscription)
            single.append(subscription)
    by_name = _named(single, faults)
    by_id = _identified(single, faults)
    by_event: dict[type[BaseEvent], tuple[Subscription, ...]] = {}
    for subscription in single:
        by_event[subscription.event] = (*by_event.get(subscription.event, ()), subscription)
    routes = Routes(MappingProxyType(by_event), MappingProxyType(by_id), MappingProxyType(by_name))
    return routes, _unique(faults)


def _contract_fault(event: type[BaseEvent]) -> WhereuponError | None:
    try:
        contract_of(event)
    except InvalidContract as fault:
        return fault
    return None


def _subscription_faults(subscription: Subscription) -> Iterator[WhereuponError]:
    subscriber = subscription.subscriber
    if not accepts(subscriber, subscription.event):
        allowed = " or ".join(each.__name__ for each in subscriber.events or ()) or "no event class"
        yield InvalidSubscription(
            f"{subscriber.name} takes {allowed}, and is subscribed to {subscription.event.__name__}",
            where=location(subscription),
            fix="change the annotation of its first parameter, or to=",
        )
    if subscriber.takes_list and subscription.group_size == 1:
        yield InvalidSubscription(
            f"{subscriber.name} takes a list of events, and is subscribed with groups of 1",
            where=location(subscription),
            fix="write group_size=25 or the like",
        )
    if needs_transaction(subscriber) and not subscriber.options.atomic:
        yield InvalidSubscriber(
            f"{subscriber.name} asks for a transaction and is not atomic",
            where=location(subscription),
            fix="write @subscriber(atomic=True), or leave the parameter out",
        )


def _named(subscriptions: list[Subscription], faults: list[WhereuponError]) -> dict[str, type[BaseEvent]]:
    names: dict[str, type[BaseEvent]] = {}
    for subscription in subscriptions:
        for name in contract_of(subscription.event).names:
            other = names.setdefault(name, subscription.event)
            if other is not subscription.event:
                faults.append(
                    InvalidContract(
                        f"two events share the name {name}",
                        where=f"{location_of(other)} and {location_of(subscription.event)}",
                        fix="give one of them another name=, or take the alias away",
                    )
                )
    return names


def _identified(subscriptions: list[Subscription], faults: list[WhereuponError]) -> dict[str, Subscription]:
    ids: dict[str, Subscription] = {}
    for subscription in subscriptions:
        told: set[int] = set()
        for identity in subscription.ids:
            other = ids.setdefault(identity, subscription)
            if other is not subscription and id(other) not in told:
                told.add(id(other))
                faults.append(
                    InvalidSubscription(
                        f"{identity} stands twice in the table",
                        where=f"{location(other)}; and {location(subscription)}",
                        fix="take one away, or give one subscriber another name=",
                    )
                )
    return ids


def _unique(faults: list[WhereuponError]) -> list[WhereuponError]:
    return list({str(fault): fault for fault in faults}.values())
