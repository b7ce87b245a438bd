"""publish() and its companions, for code that has no store in hand."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from whereupon.errors import NoStore
from whereupon.store import installed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from whereupon.envelopes import Envelope
    from whereupon.events import BaseEvent
    from whereupon.store import EventStore

joined: ContextVar[object | None] = ContextVar("whereupon_joined", default=None)
"""The transaction of the atomic subscriber that is running; what is published there joins it."""


def publish(event: BaseEvent, *, on: object | None = None) -> Envelope:
    """State a fact: write the event and its deliveries in the caller's transaction.

    `on` is the connection or session whose transaction is joined; what is published inside an atomic
    subscriber joins its transaction by itself. Returns the envelope, with the event's id and time.

    Raises `NoStore`, `NoTransaction`, `WrongConnection`, `WrongLedger`, `ConditionFailed`, `InvalidEvent`
    (too large), and `LedgerMissing`, `LedgerBusy` or `LedgerUnavailable`. Whatever is raised, nothing was
    published.
    """
    return publish_many([event], on=on)[0]


def publish_many(events: Iterable[BaseEvent], *, on: object | None = None) -> list[Envelope]:
    """State several facts, of one kind or of several, in one round trip. See `publish`."""
    store = current_store()
    records = store.records(list(events))
    if records:
        store.ledger.write(records, on if on is not None else joined.get(), strict=store.strict)
    return [record.envelope for record in records]


async def apublish(event: BaseEvent, *, on: object | None = None) -> Envelope:
    """State a fact from a coroutine, without blocking its loop. See `publish`."""
    return (await apublish_many([event], on=on))[0]


async def apublish_many(events: Iterable[BaseEvent], *, on: object | None = None) -> list[Envelope]:
    """State several facts from a coroutine. See `publish_many`."""
    store = current_store()
    records = store.records(list(events))
    if records:
        await store.ledger.awrite(records, on if on is not None else joined.get(), strict=store.strict)
    return [record.envelope for record in records]


def current_store() -> EventStore:
    """Return the store of this process. Raises `NoStore`."""
    store = installed()
    if store is None:
        raise NoStore(
            "there is no store, so nobody could hear of this event",
            fix="call store.install() once when the application starts; in tests use the fixture 'published'",
        )
    return store
