"""What an operator may do by hand: try parked deliveries again, discard them, replay events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from whereupon.ledger_protocol import Transaction

_RETRY: Final = """
    UPDATE whereupon_delivery
    SET state = 'open', due_at = :now, attempts = 0, crashes = 0, refused_at = NULL, outcome = NULL,
        token = NULL
    WHERE state = 'parked' AND id = ANY(:ids)
"""
_DISCARD: Final = """
    UPDATE whereupon_delivery SET state = 'done', outcome = 'discarded', done_at = :now
    WHERE state = 'parked' AND id = ANY(:ids)
"""
_EVENTS: Final = """
    SELECT id FROM whereupon_event
    WHERE name = ANY(:names) AND published_at >= :since ORDER BY published_at, id
"""
_REOPEN: Final = """
    UPDATE whereupon_delivery
    SET state = 'open', due_at = :now, attempts = 0, crashes = 0, refused_at = NULL, outcome = NULL,
        token = NULL, replays = replays + 1
    WHERE event_id = :event_id AND subscription = :subscription AND state IN ('done', 'parked')
"""
_INSERT: Final = """
    INSERT INTO whereupon_delivery (event_id, subscription, due_at, replays)
    VALUES (:event_id, :subscription, :now, 1)
    ON CONFLICT (event_id, subscription) DO NOTHING
"""


def retry_parked(transaction: Transaction, ids: Iterable[int]) -> int:
    """Open parked deliveries again, with all their attempts; return how many."""
    return transaction.run(_RETRY, {"now": transaction.now(), "ids": list(ids)})


def discard_parked(transaction: Transaction, ids: Iterable[int]) -> int:
    """Close parked deliveries for good; they stay on record until retention. Return how many."""
    return transaction.run(_DISCARD, {"now": transaction.now(), "ids": list(ids)})


def events_named(transaction: Transaction, names: Iterable[str], since: int) -> list[str]:
    """Return the ids of the events of these names that were published since a moment."""
    return [row[0] for row in transaction.rows(_EVENTS, {"names": list(names), "since": since})]


def replay(transaction: Transaction, events: Iterable[str], subscription: str) -> int:
    """Deliver events to one subscription once more, or for the first time; return how many.

    The event keeps its id, and the delivery is marked as a replay. What is open or claimed is left alone.
    """
    now = transaction.now()
    count = 0
    for event_id in events:
        key = {"event_id": event_id, "subscription": subscription, "now": now}
        count += transaction.run(_REOPEN, key) or transaction.run(_INSERT, key)
    return count
