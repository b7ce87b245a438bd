"""The stores of the bench; `store` is that of the worker processes, on the ledger the environment names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from bench.shop.events import PipelineCreated
from bench.shop.subscribers import note, silent
from whereupon import EventStore, SQLiteLedger, subscribe
from whereupon.ledger_protocol import Ledger
from whereupon.store import swap

NAME = "bench.shop.event_store:store"
LEDGER = "BENCH_LEDGER"
JOURNAL = "BENCH_JOURNAL"

Journal = Literal["auto", "wal", "rollback"]


def new_ledger(path: Path, journal: Journal) -> SQLiteLedger:
    """Make a ledger file with its tables."""
    ledger = SQLiteLedger(path, own_transaction=True, journal=journal)
    ledger.migrate()
    return ledger


def noting(ledger: Ledger) -> EventStore:
    """Build the store whose one subscriber marks what it handles."""
    return EventStore(subscriptions=[subscribe(note, to=PipelineCreated)], ledger=ledger)


def fanning_out(ledger: Ledger, count: int) -> EventStore:
    """Build a store in which so many subscribers hear one event, without conditions."""
    subscriptions = [subscribe(silent(number), to=PipelineCreated) for number in range(count)]
    return EventStore(subscriptions=subscriptions, ledger=ledger)


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
    journal: Any = os.environ[JOURNAL]  # SQLiteLedger refuses what is no journal
    return noting(SQLiteLedger(os.environ[LEDGER], own_transaction=True, journal=journal))
