"""The Dramatiq broker of the bench: the team's own actor, and our subscriber where a ledger is named."""

from __future__ import annotations

import os

import dramatiq

from bench.marks import marks
from bench.shop import event_store
from bench.shop.dramatiq_brokers import broker_at
from whereupon.engines.dramatiq import DramatiqEngine

broker = broker_at(os.environ["BENCH_BROKER"])
dramatiq.set_broker(broker)
if event_store.LEDGER in os.environ:
    store = event_store.noting(event_store.named_ledger(), DramatiqEngine(broker))
    store.install()


@dramatiq.actor(actor_name="bench.bare")
def bare(place: int) -> None:
    """Mark a place, as our subscriber does."""
    marks().mark(place)
