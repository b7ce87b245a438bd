"""The stores of the bench; `store` is that of the worker processes, on the ledger the environment names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.shop.events import PipelineCreated
from bench.shop.subscribers import note, silent
from whereupon import EventStore, SQLiteLedger, subscribe
from whereupon.ledger_protocol import Ledger
from whereupon.store import swap

if TYPE_CHECKING:
    from whereupon.engine_protocol import Engine
    from whereupon.ledger import PostgresLedger

NAME = "bench.shop.event_store:store"
LEDGER = "BENCH_LEDGER"
JOURNAL = "BENCH_JOURNAL"
POOLED = "BENCH_POOLED"

Journal = Literal["auto", "wal", "rollback"]


def new_ledger(path: Path, journal: Journal) -> SQLiteLedger:
    """Make a ledger file with its tables."""
    ledger = SQLiteLedger(path, own_transaction=True, journal=journal)
    ledger.migrate()
    return ledger


def noting(ledger: Ledger, engine: Engine | None = None) -> EventStore:
    """Build the store whose one subscriber marks what it handles."""
    return EventStore(subscriptions=[subscribe(note, to=PipelineCreated)], ledger=ledger, engine=engine)


def fanning_out(ledger: Ledger, count: int) -> EventStore:
    """Build a store in which so many subscribers hear one event, without conditions."""
    subscriptions = [subscribe(silent(number), to=PipelineCreated) for number in range(count)]
    return EventStore(subscriptions=subscriptions, ledger=ledger)


def fanning_out_on(engine: Engine, count: int) -> EventStore:
    """Build a store of so many silent subscribers whose jobs an engine knows; its ledger is never opened."""
    subscriptions = [subscribe(silent(number), to=PipelineCreated) for number in range(count)]
    store = EventStore(
        subscriptions=subscriptions, ledger=SQLiteLedger("never-opened.sqlite3"), engine=engine
    )
    engine.register(store)
    return store


def handing_off(engine: Engine, count: int) -> EventStore:
    """Build the same without a ledger: its events are handed to the engine."""
    subscriptions = [subscribe(silent(number), to=PipelineCreated) for number in range(count)]
    store = EventStore(subscriptions=subscriptions, engine=engine)
    engine.register(store)
    return store


def environment_of(ledger: SQLiteLedger | PostgresLedger) -> dict[str, str]:
    """Return what tells a worker process of a ledger."""
    if isinstance(ledger, SQLiteLedger):
        return {LEDGER: str(ledger.path), JOURNAL: ledger.journal}
    return {LEDGER: ledger.url, POOLED: "yes" if ledger.pooled else ""}


def named_ledger() -> Ledger:
    """Return the ledger that the environment names."""
    name = os.environ[LEDGER]
    if name.startswith("postgresql://"):
        from bench.postgres import ledger_on

        return ledger_on(name, pooled=bool(os.environ[POOLED]))
    journal: Any = os.environ[JOURNAL]  # SQLiteLedger refuses what is no journal
    return SQLiteLedger(name, own_transaction=True, journal=journal)


@contextmanager
def installed(store: EventStore) -> Iterator[None]:
    """Make a store the one that `publish` uses."""
    previous = swap(store)
    try:
        yield
    finally:
        swap(previous)


def __getattr__(name: str) -> object:
    """Build `store` when a worker asks for it, and not when the bench imports this module."""
    if name != "store":
        raise AttributeError(name)
    return noting(named_ledger())
