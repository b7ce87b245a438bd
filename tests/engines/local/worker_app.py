"""The application that the worker tests run: its subscribers write what they do into a log file.

A log outside the ledger is the oracle: one line for each start and end, written with O_APPEND.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sqlite3
import time
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg

from whereupon import (
    IGNORED,
    Envelope,
    Event,
    EventStore,
    Failed,
    Park,
    RetryIn,
    SQLiteLedger,
    publish,
    subscribe,
    subscriber,
)
from whereupon.engine_protocol import Engine
from whereupon.engines.local import supervisor
from whereupon.ledger import PostgresLedger, rescue

FOLDER = Path(os.environ["WORKER_APP"])
if "LEASE" in os.environ:  # tests of leases do not want to wait for ten seconds
    rescue.LEASE = int(os.environ["LEASE"])
    supervisor.BEAT = rescue.LEASE / 5000
    supervisor.SWEEP = 0.2

SOON = timedelta(seconds=0.05)
tenant: ContextVar[str] = ContextVar("tenant", default="-")


class Created(Event, name="app.created"):
    number: int
    what: str = ""


class Followed(Event, name="app.followed"):
    number: int


def log(word: str, subscriber: str, number: int) -> None:
    line = f"{word} {subscriber} {number} {os.getpid()} {time.monotonic():.4f}\n".encode()
    descriptor = os.open(FOLDER / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line)
    os.close(descriptor)


@contextlib.contextmanager
def logged(subscriber: str, number: int):
    log("start", subscriber, number)
    yield
    log("done", subscriber, number)


@subscriber(backoff=SOON, max_attempts=3, priority="high")
def plain(event: Created) -> object:
    """Do as the event says."""
    with logged("plain", event.number):
        return _act(event)


def _act(event: Created) -> object:
    match event.what.split():
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case ["exit"]:
            os._exit(9)
        case ["fail"]:
            raise ValueError(f"no {event.number}")
        case ["fail-below", limit] if _starts("plain", event.number) < int(limit):
            raise ValueError("not yet")
        case ["retry-in"] if _starts("plain", event.number) < 2:
            raise RetryIn(timedelta(seconds=0.2))
        case ["park"]:
            raise Park("somebody has to look")
        case ["key-error"]:
            raise KeyError("x")
        case ["ignore"]:
            return IGNORED
        case ["sys-exit"]:
            raise SystemExit(3)
        case ["gil", seconds]:
            hold_gil(int(seconds))
        case ["follow"]:
            publish(Followed(number=event.number))
    return None


def hold_gil(seconds: int) -> None:
    """Sleep in C without releasing the interpreter's lock: no other thread of the process runs."""
    ctypes.PyDLL(None).sleep(seconds)


def _starts(name: str, number: int) -> int:
    return sum(
        line.split()[:3] == ["start", name, str(number)] for line in (FOLDER / "log").read_text().splitlines()
    )


@subscriber(timeout=timedelta(seconds=0.5), backoff=SOON, max_attempts=2)
def limited(event: Created) -> None:
    with logged("limited", event.number):
        time.sleep(float(event.what or 0))


@subscriber(timeout=timedelta(seconds=0.3), backoff=SOON, max_attempts=2)
async def limited_async(event: Created) -> None:
    with logged("limited_async", event.number):
        await asyncio.sleep(float(event.what or 0))


@subscriber(queue="other", park_on=(KeyError,))
async def coroutine(event: Created, envelope: Envelope) -> None:
    with logged("coroutine", event.number):
        await asyncio.sleep(0.01)
        if event.what == "key-error":
            raise KeyError(envelope.id)
        if event.what == "cancelled":
            raise asyncio.CancelledError
        if event.what.startswith("sleep "):
            await asyncio.sleep(float(event.what.split()[1]))


@subscriber(concurrency=2)
def narrow(event: Created) -> None:
    with logged("narrow", event.number):
        time.sleep(0.05)


def _act_atomically(event: Created, connection: Any) -> None:
    with logged("atomic", event.number):
        connection.execute(f"INSERT INTO effect VALUES ({event.number})")
        publish(Followed(number=event.number))
        if event.what == "fail":
            raise ValueError("rolled back")
        if event.what == "exit":
            os._exit(9)
        if event.what == "slow":
            time.sleep(3)
            connection.execute("INSERT INTO effect VALUES (-1)")


ATOMIC = {
    "name": "atomic",
    "atomic": True,
    "timeout": timedelta(seconds=1),
    "backoff": SOON,
    "max_attempts": 3,
}


@subscriber(**ATOMIC)
def atomic(event: Created, connection: sqlite3.Connection) -> None:
    _act_atomically(event, connection)


@subscriber(**ATOMIC)
def atomic_on_postgres(event: Created, connection: psycopg.Connection) -> None:
    _act_atomically(event, connection)


@subscriber(backoff=SOON)
def together(events: list[Created]) -> None:
    log("start", "together", len(events))
    broken = {
        event: ValueError("one")
        for event in events
        if event.what == "fail" and _starts("once", event.number) == 0
    }
    for event in broken:
        log("start", "once", event.number)
    if broken:
        raise Failed(broken)
    log("done", "together", len(events))


@subscriber(backoff=SOON)
def one_of_a_group(event: Created) -> None:
    with logged("one_of_a_group", event.number):
        if event.what == "fail" and _starts("one_of_a_group", event.number) == 1:
            raise ValueError("once")


def followed(event: Followed, envelope: Envelope) -> None:
    log(f"cause:{envelope.causation_id}:{envelope.correlation_id}:{tenant.get()}", "followed", event.number)


def delayed(event: Created) -> None:
    log("start", "delayed", event.number)


def conditional(event: Created) -> None:
    log("start", "conditional", event.number)


@contextlib.contextmanager
def around(envelope: Envelope):
    token = tenant.set(envelope.extensions.get("tenant", "-"))
    yield
    tenant.reset(token)


def condition(event: Created) -> bool:
    if event.what == "raise-in-publisher" and os.environ.get("ROLE") == "publisher":
        raise RuntimeError("the flag service is down")
    return event.number % 2 == 0


TABLE = {
    "plain": subscribe(plain, to=Created),
    "limited": subscribe(limited, to=Created),
    "limited_async": subscribe(limited_async, to=Created),
    "coroutine": subscribe(coroutine, to=Created),
    "narrow": subscribe(narrow, to=Created),
    "atomic": subscribe(atomic, to=Created),
    "together": subscribe(together, to=Created, group_size=3),
    "one_of_a_group": subscribe(one_of_a_group, to=Created, group_size=3),
    "followed": subscribe(followed, to=Followed),
    "delayed": subscribe(delayed, to=Created, delay=timedelta(seconds=0.6)),
    "conditional": subscribe(conditional, to=Created, when=condition),
}
ATOMIC_ON_POSTGRES = subscribe(atomic_on_postgres, to=Created)


def make_store(names: str, url: str, engine: Engine | None = None) -> EventStore:
    if url:
        ledger, table = (
            PostgresLedger(url, own_transaction=True, pooled="POOLED" in os.environ),
            TABLE | {"atomic": ATOMIC_ON_POSTGRES},
        )
    else:
        ledger, table = SQLiteLedger(FOLDER / "ledger.sqlite3", own_transaction=True), TABLE
    return EventStore(
        subscriptions=[table[name] for name in names.split(",")],
        ledger=ledger,
        engine=engine,
        carry=lambda: {"tenant": tenant.get()} if tenant.get() != "-" else {},
        around=around,
        wait_for_code=timedelta(seconds=1),
    )


named = [name for name in os.environ.get("SUBSCRIBERS", "plain").split(",") if name in TABLE]
store = make_store(",".join(named) or "plain", os.environ.get("LEDGER_URL", ""))  # engines add others
