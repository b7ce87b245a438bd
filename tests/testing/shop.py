"""A small application that the tests of the testing toolkit test."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

from whereupon import (
    IGNORED,
    Envelope,
    Event,
    EventStore,
    Park,
    SchemaEvent,
    SQLiteLedger,
    publish,
    subscribe,
    subscriber,
)

heard: list[object] = []


class Created(Event, name="shop.created"):
    number: int
    ref: str | None = None
    tags: tuple[str, ...] = ()


class Finished(Event, name="shop.finished"):
    number: int


class Written(
    SchemaEvent, name="shop.written", schema={"type": "object", "properties": {"ref": {"type": "string"}}}
): ...


def on_created(event: Created) -> object:
    heard.append(event)
    if event.ref == "park":
        raise Park("look")
    if event.ref == "ignore":
        return IGNORED
    return None


def finish(event: Created) -> None:
    publish(Finished(number=event.number))


async def on_finished(event: Finished, envelope: Envelope) -> None:
    heard.append((event, envelope.causation_id))


def only_main(event: Created) -> None:
    heard.append("main")


def only_once(event: Created) -> None:
    if event in heard:
        raise RuntimeError("a second time")
    heard.append(event)


def by_group(events: list[Created]) -> None:
    heard.append([event.number for event in events])


@subscriber(atomic=True)
def book(event: Finished, connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO booking VALUES (?)", (event.number,))


def unsubscribed(event: Created) -> None:
    heard.append("unsubscribed")


def make_store(ledger: SQLiteLedger) -> EventStore:
    return EventStore(
        subscriptions=[
            subscribe(on_created, to=Created),
            subscribe(finish, to=Created, when=lambda event: event.ref == "finish", delay=timedelta(hours=1)),
            subscribe(on_finished, to=Finished),
            subscribe(only_main, to=Created, when=lambda event: event.ref == "main"),
            subscribe(only_once, to=Created, when=lambda event: event.ref == "once"),
            subscribe(by_group, to=Created, group_size=2, when=lambda event: "group" in event.tags),
            subscribe(book, to=Finished),
        ],
        ledger=ledger,
    )
