"""A Celery application with the subscribers of the worker tests, started as a team starts its own."""

from __future__ import annotations

import os

from celery import Celery

from tests.engines.celery import native_tasks  # noqa: F401 - its subscriptions are in the table
from tests.engines.local import worker_app
from whereupon import relay
from whereupon.engines.celery import CeleryEngine

if "BOUND" in os.environ:
    relay.BOUND = int(os.environ["BOUND"])
if "RESEND" in os.environ:
    relay.RESEND = float(os.environ["RESEND"])

app = Celery("app", broker=os.environ.get("BROKER", "redis://127.0.0.1:1/0"))
app.conf.task_queue_max_priority = 10
store = worker_app.make_store(
    os.environ.get("SUBSCRIBERS", "plain"),
    os.environ.get("LEDGER_URL", ""),
    CeleryEngine(app, store_name=None if "HIDDEN" in os.environ else f"{__name__}:store"),
)
store.install()
if "HIDDEN" in os.environ:
    stores = [store]
    del store


@app.task(name="team.greet")
def greet(name: str) -> None:
    """A task of the team's own, on the same worker."""
    worker_app.log("greeted", name, 0)
