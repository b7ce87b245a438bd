"""The Celery application of the bench: the team's own task, and our subscriber where a ledger is named."""

from __future__ import annotations

import os

from celery import Celery

from bench.marks import marks
from bench.shop import event_store
from whereupon.engines.celery import CeleryEngine

app = Celery("bench", broker=os.environ["BENCH_BROKER"])
if event_store.LEDGER in os.environ:
    store = event_store.noting(event_store.named_ledger(), CeleryEngine(app))
    store.install()


@app.task(name="bench.bare", ignore_result=True)  # type: ignore[untyped-decorator]
def bare(place: int) -> None:
    """Mark a place, as our subscriber does."""
    marks().mark(place)
