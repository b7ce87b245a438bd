"""A shop for the tests of frameworks: in this process, and as a package that workers can import."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from whereupon import Event, EventStore, SQLiteLedger, subscribe


class Created(Event, name="shop.created"):
    number: int


def on_created(event: Created) -> None: ...


def make_store(folder: Path, *, migrated: bool = True) -> EventStore:
    ledger = SQLiteLedger(folder / "ledger.sqlite3", own_transaction=True)
    if migrated:
        ledger.migrate()
    return EventStore(subscriptions=[subscribe(on_created, to=Created)], ledger=ledger)


@asynccontextmanager
async def running(app):
    """Start an application, yield a client of it, and end it."""
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
            yield client


SHOP = """
import os
from pathlib import Path
from whereupon import Event, EventStore, SQLiteLedger, subscribe

FOLDER = Path(__file__).parent

class Created(Event, name="shop.created"):
    number: int

def on_created(event: Created) -> None:
    (FOLDER / f"handled-{event.number}").write_text(str(os.getpid()))

ledger = SQLiteLedger(FOLDER / "ledger.sqlite3", own_transaction=True)
store = EventStore(subscriptions=[subscribe(on_created, to=Created, )], ledger=ledger)
"""
