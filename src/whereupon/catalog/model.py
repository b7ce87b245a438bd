"""The table of a store as plain values, ready to be shown as text or JSON."""

from __future__ import annotations

import linecache
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whereupon.errors import NotFound
from whereupon.events import contract_of
from whereupon.naming import location_of, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable

    from whereupon.store import EventStore
    from whereupon.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class Hearing:
    """One line of the table: a subscriber that hears an event, when, and how it works.

    `delay` is in seconds. `condition` is the text of a lambda, or the name of a function.
    """

    event: str
    subscription: str
    context: str
    condition: str | None
    delay: float
    group_size: int
    queue: str
    priority: str
    max_attempts: int
    atomic: bool
    subscriber_at: str
    subscribed_at: str


def hearings(store: EventStore) -> list[Hearing]:
    """Return the whole table, in the order in which it was written."""
    return [hearing_of(each) for each in store.routes]


def hearings_of(store: EventStore, event: str) -> list[Hearing]:
    """Return who hears an event, named by its wire name, an alias, or its class.

    Raises `NotFound` where no such event is subscribed to.
    """
    classes = {kind.__name__: kind for kind in store.routes.by_event}
    kind = store.routes.by_name.get(event) or classes.get(event)
    if kind is None:
        near = suggestion(event, [*store.routes.by_name, *classes])
        raise NotFound(f"nobody subscribes to an event called {event}{near}", fix="whereupon list shows all")
    return [hearing_of(each) for each in store.routes.by_event[kind]]


def hearing_of(subscription: Subscription) -> Hearing:
    """Describe one subscription of a store."""
    subscriber = subscription.subscriber
    return Hearing(
        event=contract_of(subscription.event).name,
        subscription=subscription.id,
        context=subscriber.context,
        condition=condition_text(subscription.condition) if subscription.condition else None,
        delay=subscription.delay.total_seconds(),
        group_size=subscription.group_size,
        queue=subscriber.options.queue,
        priority=subscriber.options.priority,
        max_attempts=subscriber.options.max_attempts,
        atomic=subscriber.options.atomic,
        subscriber_at=location_of(subscriber.function),
        subscribed_at=subscription.where,
    )


def condition_text(condition: Callable[..., object]) -> str:
    """Return the body of a lambda as it is written, or the name of a function."""
    name = getattr(condition, "__name__", type(condition).__name__)
    code = getattr(condition, "__code__", None)
    if name != "<lambda>" or code is None:
        return str(name)
    places = [each for each in code.co_positions() if None not in each and each[2] != each[3]]
    if not places:
        return name
    first = min((line, column) for line, _, column, _ in places)
    last = max((line, column) for _, line, _, column in places)
    lines = [linecache.getline(code.co_filename, line) for line in range(first[0], last[0] + 1)]
    lines[-1] = lines[-1].encode()[: last[1]].decode(errors="replace")
    lines[0] = lines[0].encode()[first[1] :].decode(errors="replace")
    return " ".join("".join(lines).split()) or name
