"""Coroutines in a process of an engine, whose own time limit strikes another thread than theirs."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta

import pytest

from whereupon import Event, EventStore, SQLiteLedger, publish, subscribe, subscriber
from whereupon.engines.delivering import Deliverer
from whereupon.testing import using_store

ended: list[str] = []


class Asked(Event, name="running.asked"):
    seconds: float


class TimeIsUp(Exception):
    """What an engine raises when its time limit strikes."""


@subscriber(name="wait", max_attempts=2, backoff=lambda _: timedelta(0))
async def wait(event: Asked) -> None:
    try:
        await asyncio.sleep(event.seconds)
    except asyncio.CancelledError:
        ended.append("cancelled")
        raise
    ended.append("done")


@pytest.fixture
def store(tmp_path):
    ended.clear()
    ledger = SQLiteLedger(tmp_path / "ledger.sqlite3", own_transaction=True)
    ledger.migrate()
    with using_store(EventStore(subscriptions=[subscribe(wait, to=Asked)], ledger=ledger)) as store:
        yield store


@pytest.fixture
def deliver(store):
    """Deliver as a job whose time limit is a moment, in which the coroutine has begun."""
    deliverer = Deliverer(store, "test")

    def strike(*_):
        raise TimeIsUp

    def deliver(*deliveries: int) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        try:
            deliverer.deliver(deliveries, dict(store.routes.by_id))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    previous = signal.signal(signal.SIGALRM, strike)
    yield deliver
    signal.signal(signal.SIGALRM, previous)
    deliverer.close()


def test_a_coroutine_over_the_time_limit_of_its_job_is_cancelled_and_has_failed(store, deliver):
    publish(Asked(seconds=60))
    deliver(1)
    assert ended == ["cancelled"]
    assert row_of(store) == ("open", 1, "it ran over the time limit of its job")
    deliver(1)
    assert row_of(store)[:2] == ("parked", 2)


def test_a_coroutine_in_time_is_not_disturbed(store, deliver):
    publish(Asked(seconds=0))
    deliver(1)
    assert ended == ["done"]


def row_of(store: EventStore) -> tuple:
    with store.ledger.reading() as transaction:
        ((*found, error),) = transaction.rows("SELECT state, attempts, error FROM whereupon_delivery")
    return (*found, error.split(": ", 1)[1])
