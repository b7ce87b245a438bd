"""The RQ application of the bench: the team's own job, and our subscriber where a ledger is named."""

from __future__ import annotations

import os

import redis

from bench.marks import marks
from bench.shop import event_store
from whereupon.engines.rq import RQEngine

if event_store.LEDGER in os.environ:
    connection = redis.Redis.from_url(os.environ["BENCH_BROKER"])
    store = event_store.noting(event_store.named_ledger(), RQEngine(connection))
    store.install()


def bare(place: int) -> None:
    """Mark a place, as our subscriber does."""
    marks().mark(place)
