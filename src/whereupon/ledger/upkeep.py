"""Retention and erasure: what leaves the ledger, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from whereupon.envelopes import new_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import timedelta

    from whereupon.ledger_protocol import Transaction

PAGE: Final = 500
"""How many rows one transaction of a purge deletes at most."""

_DELIVERIES: Final = """
    DELETE FROM whereupon_delivery WHERE id IN (
        SELECT id FROM whereupon_delivery
        WHERE event_id < :before AND state = 'done' AND done_at < :cutoff LIMIT :page
    )
"""
_EVENTS: Final = """
    DELETE FROM whereupon_event WHERE id IN (
        SELECT id FROM whereupon_event
        WHERE id < :before
            AND NOT EXISTS (SELECT 1 FROM whereupon_delivery WHERE event_id = whereupon_event.id)
        LIMIT :page
    )
"""
_ERASE_DELIVERIES: Final = """
    DELETE FROM whereupon_delivery WHERE event_id IN (SELECT id FROM whereupon_event WHERE subject = :subject)
"""
_ERASE_EVENTS: Final = "DELETE FROM whereupon_event WHERE subject = :subject"


def purge(transaction: Transaction, retention: timedelta) -> int:
    """Delete one page of deliveries that have been done for longer than `retention`, and bare events.

    Open, claimed and parked deliveries never leave by time. Returns how many rows were deleted; when that is
    `PAGE` or more, there may be others.
    """
    cutoff = transaction.now() - round(retention.total_seconds() * 1000)
    bounds = {"before": first_id(cutoff), "cutoff": cutoff, "page": PAGE}
    return transaction.run(_DELIVERIES, bounds) + transaction.run(_EVENTS, bounds)


def purge_all(
    open_transaction: Callable[[], AbstractContextManager[Transaction]], retention: timedelta
) -> int:
    """Purge page by page, each in a transaction of its own; return how many rows were deleted."""
    total = 0
    while True:
        with open_transaction() as transaction:
            deleted = purge(transaction, retention)
        total += deleted
        if deleted < PAGE:
            return total


def first_id(moment: int) -> str:
    """Return the smallest event id of a moment in milliseconds since 1970: ids begin with their time."""
    return new_id(moment * 1_000_000)[:13]


def erase(transaction: Transaction, subject: str) -> tuple[int, int]:
    """Delete every event of one subject with its deliveries, in whatever state.

    Returns how many events and how many deliveries were deleted.
    """
    deliveries = transaction.run(_ERASE_DELIVERIES, {"subject": subject})
    return transaction.run(_ERASE_EVENTS, {"subject": subject}), deliveries
