"""The application that is killed: orders in a business table, and the ledger in the same SQLite file.

Its publishers and handlers write every step into a log outside the system. It is imported by publishers
and workers only, never by the rig.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from tests.crash.hits import come_to
from tests.crash.oracle import DONE, FAILED, START, Log
from whereupon import Event, EventStore, SQLiteLedger, publish, subscribe, subscriber

FOLDER = Path(os.environ["CRASH_FOLDER"])
FAILING = 0.1
"""The share of the slow handler's calls that raise."""
SOON = timedelta(seconds=0.2)
log = Log(FOLDER / "oracle.log")


class Placed(Event, name="crash.placed"):
    """An order was placed."""

    order: str


class Billed(Event, name="crash.billed"):
    """An order was billed; published by an atomic subscriber."""

    order: str


@contextlib.contextmanager
def logged(subscription: str, order: str) -> Iterator[None]:
    """Write a line before, and one behind if nothing was raised."""
    log.write(START, order, subscription)
    come_to(FOLDER, "started")
    yield
    log.write(DONE, order, subscription)
    come_to(FOLDER, "ended")


@subscriber(backoff=SOON, priority="high")
def plain(event: Placed) -> None:
    """Take a few milliseconds."""
    with logged("plain", event.order):
        time.sleep(random.uniform(0, 0.01))


@subscriber(backoff=SOON, priority="low")
def slow(event: Placed) -> None:
    """Take up to a fifth of a second, and fail now and then."""
    with logged("slow", event.order):
        time.sleep(random.uniform(0.02, 0.2))
        if random.random() < FAILING:
            log.write(FAILED, event.order, "slow")
            raise ConnectionError("the other side does not answer")


@subscriber(backoff=SOON)
async def coroutine(event: Placed) -> None:
    """Wait a moment in the event loop."""
    with logged("coroutine", event.order):
        await asyncio.sleep(random.uniform(0, 0.1))


@subscriber(backoff=SOON, atomic=True)
def atomic(event: Placed, connection: sqlite3.Connection) -> None:
    """Write a row and publish an event, in the transaction that closes the delivery."""
    with logged("atomic", event.order):
        connection.execute("INSERT INTO effect VALUES (?)", (event.order,))
        publish(Billed(order=event.order))
        come_to(FOLDER, "written")


@subscriber(backoff=SOON)
def receipt(event: Billed) -> None:
    """Handle what the atomic subscriber has published."""
    with logged("receipt", event.order):
        pass


store = EventStore(
    subscriptions=[
        *(subscribe(each, to=Placed) for each in (plain, slow, coroutine, atomic)),
        subscribe(receipt, to=Billed),
    ],
    ledger=SQLiteLedger(FOLDER / "app.sqlite3", journal=os.environ.get("CRASH_JOURNAL", "auto")),
)


def connect() -> sqlite3.Connection:
    """Open the application's database as the application does."""
    connection = sqlite3.connect(FOLDER / "app.sqlite3", isolation_level=None, timeout=60)
    connection.execute("PRAGMA synchronous = FULL")
    return connection
