"""RQ's worker that does not fork: of our class where a ledger is named, of RQ's own elsewhere."""

from __future__ import annotations

import os
from typing import Any

import rq.cli

from bench.shop import event_store, rq_app

if __name__ == "__main__":
    is_ours = event_store.LEDGER in os.environ
    worker = "whereupon.engines.rq.SimpleWorker" if is_ours else "rq.worker.SimpleWorker"
    options = ["--url", os.environ["BENCH_BROKER"], "--quiet", "--worker-class", worker]
    command: Any = rq.cli.main  # type: ignore[attr-defined]
    command(["worker", *options], rq_app.__name__)
