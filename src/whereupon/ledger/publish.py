"""Publishing into the ledger: the event and its deliveries, in a transaction that is open already."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whereupon.deliveries import NewDelivery
    from whereupon.ledger_protocol import Record, Transaction

CHANNEL: Final = "whereupon"
"""The channel of PostgreSQL on which workers are told that something was committed."""

_EVENT: Final = """
    INSERT INTO whereupon_event
        (id, name, correlation_id, causation_id, subject, skipped, envelope, published_at)
"""
_DELIVERY: Final = "INSERT INTO whereupon_delivery (event_id, subscription, group_id, recheck, due_at)"
_NOW: Final = "CAST(extract(epoch FROM statement_timestamp()) * 1000 AS bigint)"
_COLUMN: Final[tuple[str, ...]] = (
    "id", "name", "correlation", "causation", "subject", "skipped", "envelope",
)  # fmt: skip
_COLUMNS: Final = tuple(f"{name}s" for name in _COLUMN)
_TEXTS: Final = ", ".join(f"CAST(:{name} AS text[])" for name in _COLUMNS)
_ONE: Final = f"""
    WITH event AS (
        {_EVENT} VALUES (:id, :name, :correlation, :causation, :subject, :skipped, :envelope, {_NOW})
    )
"""
_MANY: Final = f"""
    WITH event AS (
        {_EVENT} SELECT *, {_NOW} FROM unnest({_TEXTS})
    )
"""
_SINGLE: Final = f"""
    , delivery AS (
        {_DELIVERY} VALUES (:id, :subscription, NULL, 0, {_NOW})
    )
"""
_PLAIN: Final = f"""
    , delivery AS (
        {_DELIVERY} SELECT :id, subscription, NULL, 0, {_NOW}
        FROM unnest(CAST(:subscriptions AS text[])) AS given(subscription)
    )
"""
_FULL: Final = f"""
    , delivery AS (
        {_DELIVERY} SELECT event_id, subscription, group_id, recheck, {_NOW} + delay
        FROM unnest(CAST(:events AS text[]), CAST(:subscriptions AS text[]), CAST(:groups AS text[]),
                    CAST(:rechecks AS int[]), CAST(:delays AS bigint[]))
            AS given(event_id, subscription, group_id, recheck, delay)
    )
"""
_NOTIFY: Final = f"SELECT pg_notify('{CHANNEL}', '')"
_ONE_TO_NOBODY: Final = f"{_ONE} SELECT 1"
_ONE_TO_ONE: Final = _ONE + _SINGLE + _NOTIFY
_ONE_TO_SEVERAL: Final = _ONE + _PLAIN + _NOTIFY
_ONE_IN_FULL: Final = _ONE + _FULL + _NOTIFY
_MANY_TO_NOBODY: Final = f"{_MANY} SELECT 1"
_MANY_IN_FULL: Final = _MANY + _FULL + _NOTIFY
_ROWS: Final = 100
"""How many rows one statement inserts at most; every build of SQLite takes 999 parameters."""


def write(transaction: Transaction, records: Sequence[Record]) -> None:
    """Write events and their deliveries.

    On PostgreSQL in one statement, by the database's clock; on SQLite in two for up to `_ROWS` of each.
    """
    if transaction.dialect.name == "postgresql":
        transaction.run(*statement(records))
        return
    now = transaction.now()
    _insert(transaction, _EVENT, [(*_event_row(record), now) for record in records])
    _insert(
        transaction,
        _DELIVERY,
        [
            (delivery.event_id, *_delivery_row(delivery), now + _milliseconds(delivery))
            for record in records
            for delivery in record.deliveries
        ],
    )


def statement(records: Sequence[Record]) -> tuple[str, dict[str, Any]]:
    """Return the one statement that publishes on PostgreSQL, and its parameters.

    It tells the workers when the transaction commits, unless nobody hears any of the events.
    """
    deliveries = [delivery for record in records for delivery in record.deliveries]
    parameters: dict[str, Any] = {}
    is_one = len(records) == 1
    if is_one:
        parameters.update(zip(_COLUMN, _event_row(records[0]), strict=True))
    else:
        columns = [list(column) for column in zip(*map(_event_row, records), strict=True)]
        parameters.update(zip(_COLUMNS, columns, strict=True))
    if not deliveries:
        return _ONE_TO_NOBODY if is_one else _MANY_TO_NOBODY, parameters
    if is_one and not any(each.delay or each.group or each.recheck for each in deliveries):
        if len(deliveries) == 1:  # an array costs as much as the row
            parameters["subscription"] = deliveries[0].subscription
            return _ONE_TO_ONE, parameters
        parameters["subscriptions"] = [each.subscription for each in deliveries]
        return _ONE_TO_SEVERAL, parameters
    parameters["subscriptions"] = [each.subscription for each in deliveries]
    parameters["events"] = [each.event_id for each in deliveries]
    parameters["groups"] = [each.group for each in deliveries]
    parameters["rechecks"] = [int(each.recheck) for each in deliveries]
    parameters["delays"] = [_milliseconds(each) for each in deliveries]
    return _ONE_IN_FULL if is_one else _MANY_IN_FULL, parameters


def _insert(transaction: Transaction, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    for start in range(0, len(rows), _ROWS):
        page = rows[start : start + _ROWS]
        marks = f"({', '.join('?' * len(page[0]))})"
        values = [value for row in page for value in row]
        transaction.run(f"{sql} VALUES {', '.join([marks] * len(page))}", values)


def _event_row(record: Record) -> tuple[Any, ...]:
    envelope = record.envelope
    skipped = json.dumps(record.skipped) if record.skipped else None
    return (
        envelope.id, envelope.type, envelope.correlation_id, envelope.causation_id, envelope.subject,
        skipped, record.text.decode(),
    )  # fmt: skip


def _delivery_row(delivery: NewDelivery) -> tuple[Any, ...]:
    return delivery.subscription, delivery.group, int(delivery.recheck)


def _milliseconds(delivery: NewDelivery) -> int:
    return round(delivery.delay.total_seconds() * 1000) if delivery.delay else 0
