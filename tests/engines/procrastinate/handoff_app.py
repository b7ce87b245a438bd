"""A Procrastinate application whose store has no ledger."""

from __future__ import annotations

import os
from datetime import timedelta

import procrastinate

from whereupon import EventStore
from whereupon.engines import procrastinate_workers
from whereupon.engines.procrastinate import ProcrastinateEngine
from whereupon.testing.engine_contract.app import subscriptions_for


def make_store(app: procrastinate.App) -> EventStore:
    engine = ProcrastinateEngine(app)
    return EventStore(
        subscriptions=subscriptions_for(engine), engine=engine, wait_for_code=timedelta(seconds=1)
    )


if "ROLE" not in os.environ:
    procrastinate_workers.PAUSE = 0.5
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BROKER"]))
    store = make_store(app)
    store.install()
