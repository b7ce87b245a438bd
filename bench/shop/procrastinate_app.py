"""The Procrastinate application of the bench: the team's own task, and our subscriber on a ledger."""

from __future__ import annotations

import os

import procrastinate

from bench.marks import marks
from bench.shop import event_store
from whereupon.engines.procrastinate import ProcrastinateEngine

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_BROKER"]))
if event_store.LEDGER in os.environ:
    store = event_store.noting(event_store.named_ledger(), ProcrastinateEngine(app))
    store.install()


@app.task(name="bench.bare")
def bare(place: int) -> None:
    """Mark a place, as our subscriber does."""
    marks().mark(place)
