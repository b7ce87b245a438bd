"""Handing an event to one subscriber, through the path that a worker takes."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from whereupon.deliveries import Claim
from whereupon.envelopes import Envelope, seal
from whereupon.handling import Call, acalled, called, prepare
from whereupon.ledger.lending import LentConnection
from whereupon.store import EventStore, installed
from whereupon.subscribers import accepts, subscriber_of
from whereupon.subscriptions import Subscription
from whereupon.testing.recording import Recorder, recording

if TYPE_CHECKING:
    from whereupon.events import BaseEvent

Function = Callable[..., Any]


def consume(subscriber: Function, event: BaseEvent, *, on: object | None = None) -> Any:
    """Hand an event to a subscriber as a worker does: JSON round trip, contract, ambient context.

    Returns what the subscriber returned; what it raises passes through, `Park` and `RetryIn` too. It need
    not be subscribed. An atomic one runs in the transaction of `on`, or in one of the ledger's own. What it
    publishes is recorded, not delivered.
    """
    __tracebackhide__ = True
    with recording() as recorder:
        call = _call(_free(subscriber, event), event)
        if call.subscription.subscriber.is_async:
            return finished(arun(recorder, call))
        return run(recorder, call, on)


async def aconsume(subscriber: Function, event: BaseEvent, *, on: object | None = None) -> Any:
    """Hand an event to a subscriber from a coroutine; see `consume`."""
    __tracebackhide__ = True
    with recording() as recorder:
        return await arun(recorder, _call(_free(subscriber, event), event), on)


def assert_subscribed(subscriber: Function, event: BaseEvent, *, on: object | None = None) -> None:
    """Assert that a subscriber hears this event: wired, its condition holds, and it can handle it twice.

    Twice, because after a crash a delivery starts again: a subscriber has to bear that.
    """
    __tracebackhide__ = True
    with recording() as recorder:
        subscription = _subscription(subscriber, event)
        if subscription in _store().plan(event).skipped:
            raise AssertionError(
                f"{subscription.id} is subscribed, but its condition refuses {event!r}"
                f"\n  at {subscription.where}"
            )
        call = _call(subscription, event)
        _handle(recorder, call, on)
        try:
            _handle(recorder, call, on)
        except Exception as error:
            error.add_note("it was handled once before: a subscriber has to bear the same event twice")
            raise


def assert_not_dispatched(subscriber: Function, event: BaseEvent) -> None:
    """Assert that a subscriber is subscribed to the event's class, and its condition refuses this one."""
    __tracebackhide__ = True
    with recording():
        subscription = _subscription(subscriber, event)
        if subscription not in _store().plan(event).skipped:
            why = "its condition holds" if subscription.condition else "it has no condition"
            raise AssertionError(f"{subscription.id} would get {event!r}: {why}\n  at {subscription.where}")


def run(recorder: Recorder, call: Call, on: object | None) -> Any:
    """Call a subscriber that is a plain function; an atomic one in a transaction."""
    if not call.subscription.subscriber.options.atomic:
        return called(_store(), call)
    if on is not None:
        return called(_store(), call, recorder.lend(on) or LentConnection(on))
    with recorder.atomic() as atomic:
        return called(_store(), call, atomic)


async def arun(recorder: Recorder, call: Call, on: object | None = None) -> Any:
    """Call a subscriber from a coroutine, and await it if it is one; an atomic one in a transaction."""
    subscriber = call.subscription.subscriber
    lent = recorder.lend(on) if subscriber.options.atomic else None
    if not subscriber.is_async:
        return await lent.run(lambda: called(_store(), call, lent)) if lent else run(recorder, call, on)
    if lent or not subscriber.options.atomic:
        return await acalled(_store(), call, lent)
    async with recorder.aatomic() as atomic:
        return await acalled(_store(), call, atomic)


def finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end and return its result.

    Where Django is, its ORM calls run in this thread, and so in the transaction of the test.
    """
    bridge = sys.modules.get("asgiref.sync")
    if bridge is None:
        return asyncio.run(coroutine)

    async def run_it() -> Any:
        return await coroutine

    return bridge.async_to_sync(run_it)()


def _handle(recorder: Recorder, call: Call, on: object | None) -> None:
    if call.subscription.subscriber.is_async:
        finished(arun(recorder, call))
    else:
        run(recorder, call, on)


def _store() -> EventStore:
    store = installed()
    assert store is not None, "recording() has installed one"  # noqa: S101
    return store


def _free(subscriber: Function, event: BaseEvent) -> Subscription:
    """Return the subscription of the store, or one made for the occasion."""
    for subscription in _store().routes.by_event.get(type(event), ()):
        if subscription.subscriber.function is subscriber:
            return subscription
    found = subscriber_of(subscriber)
    if not accepts(found, type(event)):
        allowed = " or ".join(each.__name__ for each in found.events or ())
        raise AssertionError(f"{found.name} takes {allowed}, not {type(event).__name__}")
    return Subscription(found, (type(event),)).each()[0]


def _subscription(subscriber: Function, event: BaseEvent) -> Subscription:
    group = _store().routes.by_event.get(type(event), ())
    for subscription in group:
        if inspect.unwrap(subscription.subscriber.function) is inspect.unwrap(subscriber):
            return subscription
    name = getattr(subscriber, "__name__", repr(subscriber))
    others = ", ".join(each.id for each in group) or "nobody"
    raise AssertionError(f"{name} is not subscribed to {type(event).__name__}; who hears it: {others}")


def _call(subscription: Subscription, event: BaseEvent) -> Call:
    envelope = seal(event, {})
    return calls_for(subscription, [claim_of(subscription.id, envelope)])[0]


def claim_of(subscription: str, envelope: Envelope, *, recheck: bool = False) -> Claim:
    """Return what a worker would have in hand: the envelope as JSON, at its first attempt."""
    return Claim(
        delivery=0,
        event_id=envelope.id,
        subscription=subscription,
        token=0,
        attempts=0,
        crashes=0,
        envelope=envelope.to_json().decode(),
        recheck=recheck,
    )


def calls_for(subscription: Subscription, claims: list[Claim]) -> list[Call]:
    """Prepare claims as a worker does; what a worker would park fails the test."""
    calls, closes = prepare(_store(), claims, subscription)
    for close in closes:
        error = getattr(close.result, "error", None)
        if error:
            raise AssertionError(f"{subscription.id} could not handle event {close.claim.event_id}: {error}")
    return calls
