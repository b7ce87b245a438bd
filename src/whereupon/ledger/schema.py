"""The tables of the ledger, and how they change from version to version.

A migration expands first: it adds what newer code needs, and what older code needs stays until the next
one. Times are integers: milliseconds since 1970, UTC, by the clock of the database.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = 1
"""The version that this code reads and writes."""

_VERSION_1: Final = (
    """
    CREATE TABLE whereupon_ledger (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        version INTEGER NOT NULL,
        ledger_id TEXT NOT NULL,
        own_file INTEGER NOT NULL DEFAULT 0
    )
    """,
    """
    CREATE TABLE whereupon_event (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        published_at BIGINT NOT NULL,
        correlation_id TEXT NOT NULL,
        causation_id TEXT,
        subject TEXT,
        skipped TEXT,
        envelope TEXT NOT NULL
    )
    """,
    """
    CREATE INDEX whereupon_event_cause ON whereupon_event (causation_id) WHERE causation_id IS NOT NULL
    """,
    """
    CREATE INDEX whereupon_event_subject ON whereupon_event (subject) WHERE subject IS NOT NULL
    """,
    """
    CREATE TABLE whereupon_delivery (
        id INTEGER PRIMARY KEY,
        event_id TEXT NOT NULL,
        subscription TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'claimed', 'done', 'parked')),
        due_at BIGINT NOT NULL,
        group_id TEXT,
        recheck INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        crashes INTEGER NOT NULL DEFAULT 0,
        worker TEXT,
        token BIGINT,
        claimed_at BIGINT,
        overrunning INTEGER NOT NULL DEFAULT 0,
        refused_at BIGINT,
        outcome TEXT,
        error TEXT,
        history TEXT,
        done_at BIGINT,
        replays INTEGER NOT NULL DEFAULT 0,
        UNIQUE (event_id, subscription)
    )
    """,
    """
    CREATE INDEX whereupon_delivery_open ON whereupon_delivery (subscription, due_at, id)
    WHERE state = 'open' AND crashes = 0
    """,
    """
    CREATE INDEX whereupon_delivery_suspect ON whereupon_delivery (due_at)
    WHERE state = 'open' AND crashes > 0
    """,
    """
    CREATE INDEX whereupon_delivery_claimed ON whereupon_delivery (worker) WHERE state = 'claimed'
    """,
    """
    CREATE INDEX whereupon_delivery_parked ON whereupon_delivery (subscription) WHERE state = 'parked'
    """,
    """
    CREATE TABLE whereupon_worker (
        id TEXT NOT NULL PRIMARY KEY,
        host TEXT NOT NULL,
        place TEXT NOT NULL,
        pid INTEGER NOT NULL,
        born TEXT NOT NULL,
        kind TEXT NOT NULL,
        started_at BIGINT NOT NULL,
        lease_until BIGINT NOT NULL
    )
    """,
)

MIGRATIONS: Final[dict[int, tuple[str, ...]]] = {1: _VERSION_1}
"""The statements that lead to each version from the one before it."""


def migration_sql(current: int) -> list[str]:
    """Return the statements that lead from a version to `VERSION`; 0 is an empty database."""
    return [
        " ".join(statement.split())
        for version, statements in sorted(MIGRATIONS.items())
        if version > current
        for statement in statements
    ]
