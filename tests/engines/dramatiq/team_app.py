"""A team's application, whose middleware does to each message by default what it must not do to ours."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import dramatiq
from dramatiq.middleware import AgeLimit, Callbacks, Pipelines, Retries, ShutdownNotifications, TimeLimit

from tests.engines.dramatiq.brokers import make_broker
from whereupon import EventStore, subscribe, subscriber
from whereupon.engines.dramatiq import DramatiqEngine
from whereupon.testing import engine_contract
from whereupon.testing.engine_contract.app import Crowded, Grouped, Happened, log


@subscriber(name="unlimited")
def unlimited(event: Happened) -> None:
    """Run for as many seconds as the event says."""
    log("start", "unlimited", event.number)
    time.sleep(float(event.what or 0))
    log("done", "unlimited", event.number)


@subscriber(name="limited", timeout=timedelta(seconds=1))
def limited(event: Grouped) -> None:
    """Handle the events of a group within the limit each, and not together."""
    time.sleep(0.5)
    log("done", "limited", event.number)


@subscriber(name="in_turn", timeout=timedelta(seconds=1), concurrency=1)
def in_turn(event: Crowded) -> None:
    """Wait for longer than the limit."""
    time.sleep(0.6)
    log("done", "in_turn", event.number)


def make_store(engine: DramatiqEngine) -> EventStore:
    """Return the store of publishers and workers."""
    return EventStore(
        subscriptions=[
            subscribe(unlimited, to=Happened),
            subscribe(limited, to=Grouped, group_size=4),
            subscribe(in_turn, to=Crowded),
        ],
        ledger=engine_contract.make_ledger(),
        engine=engine,
    )


if "BROKER" in os.environ:
    broker = make_broker(os.environ["BROKER"])
    broker.middleware.clear()
    for each in (
        AgeLimit(max_age=1),
        TimeLimit(time_limit=1000, interval=100),
        ShutdownNotifications(notify_shutdown=True),
        Callbacks(),
        Pipelines(),
        Retries(max_retries=5, min_backoff=1, retry_when=lambda retries, error: retries < 5),
    ):
        broker.add_middleware(each)
    dramatiq.set_broker(broker)

    @dramatiq.actor(max_age=60_000)
    def greet(number: int) -> None:
        """Be an actor of the team's own."""
        log("done", "greet", number)

    if "NAMELESS" in os.environ:
        make_store(DramatiqEngine(broker)).install()
    else:
        store = make_store(DramatiqEngine(broker, store_name=f"{__name__}:store"))
        store.install()
