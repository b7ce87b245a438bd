"""A Celery application whose store has no ledger, started as a team starts its own."""

from __future__ import annotations

import os
from datetime import timedelta

from celery import Celery

from tests.engines.celery import native_tasks  # its subscriptions are in the table
from tests.engines.local import worker_app
from whereupon import EventStore, subscribe, subscriber
from whereupon.engines.celery import CeleryEngine

NAMES = (
    *("plain", "coroutine", "together", "one_of_a_group", "delayed", "conditional", "followed"),
    *("limited", "limited_async", "charge", "insist", "plain_task"),
)


@subscriber(backoff=worker_app.SOON, max_attempts=2)
def stuck(event: worker_app.Created) -> None:
    """Fail, but not before the test says so."""
    with worker_app.logged("stuck", event.number):
        native_tasks.wait_for(worker_app.FOLDER / "go-on")
        raise ValueError("stuck")


worker_app.TABLE["stuck"] = subscribe(stuck, to=worker_app.Created)


def make_app(broker: str) -> Celery:
    app = Celery("handoff", broker=broker)
    app.conf.worker_hijack_root_logger = True
    app.conf.task_queue_max_priority = 10
    app.conf.task_retry_on_worker_lost = True  # for the team's own tasks
    if visible := os.environ.get("VISIBLE"):
        options = {"unacked_restore_interval": 1, "unacked_restore_throttle": 1}
        app.conf.broker_transport_options = {"visibility_timeout": int(visible)} | options
    return app


def make_store(app: Celery, **options) -> EventStore:
    return EventStore(
        subscriptions=[worker_app.TABLE[name] for name in os.environ.get("ONLY", ",".join(NAMES)).split(",")],
        engine=CeleryEngine(app),
        around=worker_app.around,
        carry=lambda: {"tenant": tenant} if (tenant := worker_app.tenant.get()) != "-" else {},
        wait_for_code=timedelta(seconds=1),
        **options,
    )


if "BROKER" in os.environ and "ROLE" not in os.environ:
    app = make_app(os.environ["BROKER"])
    store = make_store(app)
    store.install()
