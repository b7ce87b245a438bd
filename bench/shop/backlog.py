"""Backlogs: many events that were published before any worker starts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from bench.shop.events import PipelineCreated
from whereupon import EventStore
from whereupon.deliveries import NewDelivery
from whereupon.ledger_protocol import Record

_PAGE = 1_000  # events written in one transaction
Change = Callable[[NewDelivery], NewDelivery]


def publish_backlog(store: EventStore, places: range, change: Change | None = None) -> None:
    """Publish one event for each place; `change` may alter the deliveries, to make them wait."""
    for start in range(places.start, places.stop, _PAGE):
        page = range(start, min(start + _PAGE, places.stop))
        records = store.records([PipelineCreated(pipeline_id=place, ref="main") for place in page])
        if change is not None:
            records = [_changed(record, change) for record in records]
        store.ledger.write(records, None)


def _changed(record: Record, change: Change) -> Record:
    changed = tuple(change(each) for each in record.deliveries)
    return Record(record.event, record.envelope, record.text, changed)


def due_tomorrow(delivery: NewDelivery) -> NewDelivery:
    """Let a delivery of a known subscription wait for its time."""
    return NewDelivery(delivery.event_id, delivery.subscription, timedelta(days=1))


def of_unknown_code(delivery: NewDelivery) -> NewDelivery:
    """Let a delivery wait for code that no worker has."""
    return NewDelivery(delivery.event_id, "shop.not_deployed_yet:shop.pipeline_created")
