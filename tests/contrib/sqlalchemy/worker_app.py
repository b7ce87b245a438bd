"""The application that real workers run in the tests: atomic subscribers of every kind, on any driver."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.contrib.sqlalchemy.app import ASYNC, Created, Order
from whereupon import Event, EventStore, apublish, publish, subscribe, subscriber
from whereupon.contrib.sqlalchemy import SQLAlchemyLedger

FOLDER = Path(os.environ.get("SHOP_FOLDER", "/nonexistent"))
SOON = timedelta(seconds=0.05)


class Followed(Event, name="shop.followed"):
    number: int


def note(word: str, number: int) -> None:
    descriptor = os.open(FOLDER / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{word} {number}\n".encode())
    os.close(descriptor)


def starts(number: int) -> int:
    return (FOLDER / "log").read_text().splitlines().count(f"start {number}")


def die_at_first(number: int) -> None:
    """Kill this process in the middle of one event, the first time that it is handled."""
    if number == 5 and starts(number) == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@subscriber(atomic=True, backoff=SOON)
def by_session(event: Created, session: Session) -> None:
    note("start", event.number)
    session.add(Order(number=event.number))
    session.flush()
    publish(Followed(number=event.number))
    die_at_first(event.number)


@subscriber(atomic=True, backoff=SOON)
def by_connection(event: Created, connection: Connection) -> None:
    note("start", event.number)
    connection.execute(text(f"INSERT INTO shop_order VALUES ({event.number})"))
    publish(Followed(number=event.number))
    die_at_first(event.number)


@subscriber(atomic=True, backoff=SOON)
async def by_async_session(event: Created, session: AsyncSession) -> None:
    note("start", event.number)
    session.add(Order(number=event.number))
    await session.flush()
    await apublish(Followed(number=event.number))
    die_at_first(event.number)


@subscriber(atomic=True, backoff=SOON)
async def by_async_connection(event: Created, connection: AsyncConnection) -> None:
    note("start", event.number)
    await connection.execute(text(f"INSERT INTO shop_order VALUES ({event.number})"))
    await apublish(Followed(number=event.number))
    die_at_first(event.number)


@subscriber(atomic=True, timeout=timedelta(seconds=0.5), backoff=SOON, max_attempts=5)
def slow(event: Created, session: Session) -> None:
    note("start", event.number)
    session.add(Order(number=event.number))
    session.flush()
    time.sleep(3 if starts(event.number) == 1 else 0)


@subscriber(atomic=True, timeout=timedelta(seconds=0.5), backoff=SOON, max_attempts=5)
async def slow_async(event: Created, session: AsyncSession) -> None:
    note("start", event.number)
    session.add(Order(number=event.number))
    await session.flush()
    await asyncio.sleep(3 if starts(event.number) == 1 else 0)


@subscriber(atomic=True)
def adds(event: Created, session: Session) -> None:
    session.add(Order(number=event.number))


@subscriber(atomic=True)
async def adds_async(event: Created, session: AsyncSession) -> None:
    session.add(Order(number=event.number + 1000))


def followed(event: Followed) -> None:
    note("followed", event.number)


TABLE = {
    each.__name__: each
    for each in (
        *(by_session, by_connection, by_async_session, by_async_connection, slow, slow_async),
        *(adds, adds_async),
    )
}


def make_store(driver: str, url: str, names: str) -> EventStore:
    engine = create_async_engine(url) if driver in ASYNC else create_engine(url)
    return EventStore(
        subscriptions=[
            *(subscribe(TABLE[name], to=Created) for name in names.split(",")),
            subscribe(followed, to=Followed),
        ],
        ledger=SQLAlchemyLedger(engine),
    )


if "SHOP_URL" in os.environ:
    store = make_store(os.environ["SHOP_DRIVER"], os.environ["SHOP_URL"], os.environ["SHOP_SUBSCRIBERS"])
