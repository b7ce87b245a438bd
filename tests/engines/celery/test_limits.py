"""Time limits of Celery's tasks: each call of a subscriber has its own, and the job that of all its calls."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta

import pytest
from billiard.pool import soft_timeout_sighandler
from celery import Celery
from celery.signals import worker_process_shutdown

from whereupon import Event, EventStore, SQLiteLedger, publish, subscribe, subscriber
from whereupon.engines.celery import CeleryEngine
from whereupon.testing import using_store


class Billed(Event, name="limits.billed"):
    number: int


@subscriber(name="limited", timeout=timedelta(minutes=10))
def limited(event: Billed) -> None: ...


@subscriber(name="atomic", atomic=True)
def atomic(event: Billed) -> None: ...


@subscriber(name="coroutine", timeout=timedelta(minutes=10))
async def coroutine(event: Billed) -> None: ...


@subscriber(name="free")
def free(event: Billed) -> None: ...


@pytest.fixture
def ledger(tmp_path):
    return SQLiteLedger(tmp_path / "ledger.sqlite3", own_transaction=True)


@pytest.mark.parametrize(
    ("name", "limits"),
    [("limited", (1805, 1810)), ("atomic", (10, 15)), ("coroutine", (605, 610)), ("free", (60, 90))],
)
def test_the_limits_of_a_job_are_those_of_all_its_calls(ledger, name, limits):
    app = Celery(broker="redis://127.0.0.1:1", task_soft_time_limit=60, task_time_limit=90)
    table = [
        subscribe(limited, to=Billed, group_size=3),
        subscribe(atomic, to=Billed),
        subscribe(coroutine, to=Billed),
        subscribe(free, to=Billed),
    ]
    CeleryEngine(app).register(EventStore(subscriptions=table, ledger=ledger))
    task = app.tasks[f"celery.{name}"]
    assert (task.soft_time_limit, task.time_limit) == limits


@pytest.fixture
def in_a_child():
    """Let this process look like one of prefork, which is interrupted by SIGUSR1 and ends as they do."""
    previous = signal.signal(signal.SIGUSR1, soft_timeout_sighandler)
    yield
    worker_process_shutdown.send(sender=None, pid=os.getpid(), exitcode=0)
    signal.signal(signal.SIGUSR1, previous)


def test_a_task_of_the_team_has_the_limit_of_its_subscriber(ledger, in_a_child):
    app = Celery(broker="redis://127.0.0.1:1")

    @app.task(name="team.slow")
    def slow(event: Billed) -> None:
        time.sleep(20)

    hasty = subscriber(name="slow", timeout=timedelta(seconds=0.2))(slow)
    ledger.migrate()
    engine = CeleryEngine(app)
    store = EventStore(subscriptions=[subscribe(hasty, to=Billed)], ledger=ledger, engine=engine)
    engine.register(store)
    with using_store(store):
        publish(Billed(number=1))
        app.tasks["team.slow"](whereupon=[1])
    with ledger.reading() as transaction:
        ((state, attempts),) = transaction.rows("SELECT state, attempts FROM whereupon_delivery")
    assert (state, attempts) == ("open", 1)
