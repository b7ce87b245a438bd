"""Reading the ledger: what is open, what is parked, what became of one event."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from whereupon.ledger_protocol import Row, Transaction

_COUNTS: Final = """
    SELECT subscription, state, outcome, count(*), min(CASE WHEN state = 'open' THEN due_at END),
        sum(CASE WHEN attempts > 0 OR crashes > 0 THEN 1 ELSE 0 END)
    FROM whereupon_delivery GROUP BY subscription, state, outcome
"""
_SKIPPED: Final = """
    SELECT skip.value, count(*)
    FROM whereupon_event, json_array_elements_text(CAST(skipped AS json)) AS skip(value)
    WHERE skipped IS NOT NULL GROUP BY skip.value
"""
_DELIVERY: Final = """
    SELECT id, event_id, subscription, state, due_at, attempts, crashes, worker, overrunning, refused_at,
        outcome, error, history, done_at, replays
    FROM whereupon_delivery
"""
_EVENT: Final = """
    SELECT id, name, published_at, correlation_id, causation_id, subject, skipped FROM whereupon_event
"""


@dataclass(frozen=True, slots=True)
class Tally:
    """The deliveries of one subscription that are on record, by what became of them.

    `late` is by how many milliseconds the oldest open one is overdue, zero where none is. `retried` counts
    those that needed more than one try.
    """

    subscription: str
    open: int = 0
    claimed: int = 0
    handled: int = 0
    ignored: int = 0
    skipped: int = 0
    discarded: int = 0
    parked: int = 0
    retried: int = 0
    late: int = 0


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """A delivery as it stands in the ledger. Times are milliseconds since 1970."""

    id: int
    event_id: str
    subscription: str
    state: str
    due_at: int
    attempts: int
    crashes: int
    worker: str | None
    overrunning: bool
    refused_at: int | None
    outcome: str | None
    error: str | None
    history: tuple[Mapping[str, Any], ...]
    done_at: int | None
    replays: int


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it stands in the ledger, without its payload. Times are milliseconds since 1970."""

    id: str
    name: str
    published_at: int
    correlation_id: str
    causation_id: str | None
    subject: str | None
    skipped: tuple[str, ...]


def tallies(transaction: Transaction) -> list[Tally]:
    """Count the deliveries of every subscription; conditions that refused an event count as skipped."""
    now = transaction.now()
    counts: dict[str, dict[str, int]] = {}
    for subscription, state, outcome, count, due_at, retried in transaction.rows(_COUNTS):
        row = counts.setdefault(subscription, {})
        column = _column(state, outcome)
        row[column] = row.get(column, 0) + count
        row["retried"] = row.get("retried", 0) + retried
        row["late"] = max(row.get("late", 0), now - due_at if due_at is not None else 0)
    for subscription, count in transaction.rows(_SKIPPED):
        row = counts.setdefault(subscription, {})
        row["skipped"] = row.get("skipped", 0) + count
    return [Tally(subscription, **row) for subscription, row in sorted(counts.items())]


def _column(state: str, outcome: str | None) -> str:
    if state != "done":
        return state
    return outcome if outcome in ("ignored", "skipped", "discarded") else "handled"


def event(transaction: Transaction, identity: str) -> StoredEvent | None:
    """Find one event by its id."""
    found = transaction.rows(f"{_EVENT} WHERE id = :id", {"id": identity})
    return _event(found[0]) if found else None


def effects(transaction: Transaction, identity: str) -> list[StoredEvent]:
    """Return the events that were published while this one was handled."""
    sql = f"{_EVENT} WHERE causation_id = :id ORDER BY published_at, id"
    return [_event(row) for row in transaction.rows(sql, {"id": identity})]


def deliveries(transaction: Transaction, identity: str) -> list[StoredDelivery]:
    """Return the deliveries of one event."""
    sql = f"{_DELIVERY} WHERE event_id = :id ORDER BY id"
    return [_delivery(row) for row in transaction.rows(sql, {"id": identity})]


def parked(transaction: Transaction, subscription: str | None = None) -> list[StoredDelivery]:
    """Return what is set aside, oldest first; of one subscription if it is named."""
    where = "state = 'parked'" + (" AND subscription = :subscription" if subscription else "")
    parameters = {"subscription": subscription} if subscription else {}
    return [_delivery(row) for row in transaction.rows(f"{_DELIVERY} WHERE {where} ORDER BY id", parameters)]


def waiting_for_code(transaction: Transaction, known: Iterable[str]) -> dict[str, int]:
    """Count the open deliveries of subscriptions that this code does not know."""
    sql = """
        SELECT subscription, count(*) FROM whereupon_delivery WHERE state = 'open'
            AND subscription <> ALL(:known) GROUP BY subscription
    """
    return {row[0]: row[1] for row in transaction.rows(sql, {"known": sorted(known)})}


def oldest_open(transaction: Transaction) -> tuple[str, int] | None:
    """Return the subscription and the due time of what has been due for longest."""
    sql = """
        SELECT subscription, due_at FROM whereupon_delivery
        WHERE state = 'open' AND due_at <= :now ORDER BY due_at LIMIT 1
    """
    found = transaction.rows(sql, {"now": transaction.now()})
    return (found[0][0], found[0][1]) if found else None


def last_done(transaction: Transaction) -> int | None:
    """Return when a delivery was finished last, of those that are still on record."""
    found = transaction.rows("SELECT max(done_at) FROM whereupon_delivery WHERE done_at IS NOT NULL")
    return found[0][0] if found else None


def unfinished(transaction: Transaction) -> int:
    """Count what is open or claimed, due or not."""
    sql = "SELECT count(*) FROM whereupon_delivery WHERE state IN ('open', 'claimed')"
    return int(transaction.rows(sql)[0][0])


def _event(row: Row) -> StoredEvent:
    values = list(row)
    values[6] = tuple(json.loads(values[6] or "[]"))
    return StoredEvent(*values)


def _delivery(row: Row) -> StoredDelivery:
    values = list(row)
    values[8] = bool(values[8])
    values[12] = tuple(json.loads(values[12] or "[]"))
    return StoredDelivery(*values)
