"""The database of a run: the business tables, the triggers that watch the ledger, and what is read at rest.

The triggers are the application's own. They note every worker that is made known, every claim, and every
delivery that becomes done, in the transaction that does it: who held it, and whether the holder was still
known. They cost time, so throughput is not measured here.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE: Final = "app.sqlite3"

SCHEMA: Final = """
    CREATE TABLE business (id TEXT NOT NULL);
    CREATE TABLE effect (id TEXT NOT NULL);
    CREATE TABLE watched_worker (id TEXT, pid INTEGER);
    CREATE TABLE watched_close (delivery INTEGER, was TEXT, worker TEXT, known INTEGER);
    CREATE TABLE watched_claim (delivery INTEGER, worker TEXT);
    CREATE TRIGGER watch_claim AFTER UPDATE OF state ON whereupon_delivery WHEN NEW.state = 'claimed'
        BEGIN INSERT INTO watched_claim VALUES (NEW.id, NEW.worker); END;
    CREATE TRIGGER watch_worker AFTER INSERT ON whereupon_worker
        BEGIN INSERT INTO watched_worker VALUES (NEW.id, NEW.pid); END;
    CREATE TRIGGER watch_close AFTER UPDATE OF state ON whereupon_delivery WHEN NEW.state = 'done' BEGIN
        INSERT INTO watched_close VALUES (
            OLD.id, OLD.state, OLD.worker,
            EXISTS (SELECT 1 FROM whereupon_worker WHERE id = OLD.worker)
        );
    END;
"""
_EVENTS: Final = "SELECT json_extract(envelope, '$.data.order') FROM whereupon_event WHERE name = ?"
_DELIVERIES: Final = """
    SELECT subscription, json_extract(envelope, '$.data.order'), state, outcome, crashes, attempts
    FROM whereupon_delivery LEFT JOIN whereupon_event AS event ON event.id = event_id
"""
_CLOSES: Final = """
    SELECT subscription, json_extract(envelope, '$.data.order'), pid, was, known
    FROM watched_close AS closed
    LEFT JOIN whereupon_delivery AS delivery ON delivery.id = closed.delivery
    LEFT JOIN whereupon_event AS event ON event.id = event_id
    LEFT JOIN watched_worker AS worker ON worker.id = closed.worker
"""
_CLAIMS: Final = """
    SELECT subscription, json_extract(envelope, '$.data.order'), pid
    FROM watched_claim AS claim
    JOIN whereupon_delivery AS delivery ON delivery.id = claim.delivery
    JOIN whereupon_event AS event ON event.id = event_id
    JOIN watched_worker AS worker ON worker.id = claim.worker
"""


class Stored(NamedTuple):
    """A delivery as it stands in the ledger."""

    subscription: str
    order: str
    state: str
    outcome: str | None = None
    crashes: int = 0
    attempts: int = 0

    @property
    def delivery(self) -> tuple[str, str]:
        """The subscription and the order."""
        return self.subscription, self.order


class Closed(NamedTuple):
    """A delivery became done: who held it, and was the holder known to the ledger."""

    subscription: str
    order: str
    pid: int | None
    was: str = "claimed"
    known: bool = True

    @property
    def delivery(self) -> tuple[str, str]:
        """The subscription and the order."""
        return self.subscription, self.order


def prepare(folder: Path) -> None:
    """Add the business tables and the triggers to a ledger that was just made."""
    with closing(sqlite3.connect(folder / FILE)) as connection:
        connection.executescript(SCHEMA)


def unfinished(folder: Path) -> int:
    """Count the deliveries that are open or claimed."""
    with closing(sqlite3.connect(folder / FILE, timeout=60)) as connection:
        sql = "SELECT count(*) FROM whereupon_delivery WHERE state IN ('open', 'claimed')"
        return int(connection.execute(sql).fetchone()[0])


def _short(subscription: str) -> str:
    return subscription.partition(":")[0].rpartition(".")[2]


def read(folder: Path) -> dict[str, Any]:
    """Read everything, by the names of `Evidence`. No process may be using the file."""
    with closing(sqlite3.connect(folder / FILE, timeout=60)) as connection:

        def count(sql: str, *values: str) -> Counter[str]:
            return Counter(row[0] for row in connection.execute(sql, values))

        def all_of(sql: str) -> Iterator[tuple[Any, ...]]:
            for subscription, *rest in connection.execute(sql):
                yield _short(subscription), *rest

        return {
            "business": count("SELECT id FROM business"),
            "placed": count(_EVENTS, "crash.placed"),
            "billed": count(_EVENTS, "crash.billed"),
            "effects": count("SELECT id FROM effect"),
            "deliveries": [Stored(*row) for row in all_of(_DELIVERIES)],
            "closes": [Closed(*row) for row in all_of(_CLOSES)],
            "claims": list(all_of(_CLAIMS)),
            "workers": connection.execute("SELECT count(*) FROM whereupon_worker").fetchone()[0],
            "integrity": "; ".join(row[0] for row in connection.execute("PRAGMA integrity_check")),
            "journal": connection.execute("PRAGMA journal_mode").fetchone()[0],
        }
