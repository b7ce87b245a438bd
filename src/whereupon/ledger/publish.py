"""Publishing into the ledger: the event and its deliveries, in a transaction that is open already."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whereupon.deliveries import NewDelivery
    from whereupon.ledger_protocol import Record, Transaction

_EVENT: Final = """
    INSERT INTO whereupon_event
        (id, name, published_at, correlation_id, causation_id, subject, skipped, envelope) VALUES
"""
_DELIVERY: Final = """
    INSERT INTO whereupon_delivery (event_id, subscription, due_at, group_id, recheck) VALUES
"""
_ROWS: Final = 100
"""How many rows one statement inserts at most; every build of SQLite takes 999 parameters."""


def write(transaction: Transaction, records: Sequence[Record]) -> None:
    """Write events and their deliveries: two statements for up to `_ROWS` of each."""
    now = transaction.now()
    _insert(transaction, _EVENT, [_event_row(record, now) for record in records])
    _insert(
        transaction,
        _DELIVERY,
        [_delivery_row(delivery, now) for record in records for delivery in record.deliveries],
    )


def _insert(transaction: Transaction, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    for start in range(0, len(rows), _ROWS):
        page = rows[start : start + _ROWS]
        marks = f"({', '.join('?' * len(page[0]))})"
        values = [value for row in page for value in row]
        transaction.run(sql + ", ".join([marks] * len(page)), values)


def _event_row(record: Record, now: int) -> tuple[Any, ...]:
    envelope = record.envelope
    skipped = json.dumps(record.skipped) if record.skipped else None
    return (
        envelope.id, envelope.type, now, envelope.correlation_id, envelope.causation_id, envelope.subject,
        skipped, record.text.decode(),
    )  # fmt: skip


def _delivery_row(delivery: NewDelivery, now: int) -> tuple[Any, ...]:
    due_at = now + round(delivery.delay.total_seconds() * 1000) if delivery.delay else now
    return (delivery.event_id, delivery.subscription, due_at, delivery.group, int(delivery.recheck))
