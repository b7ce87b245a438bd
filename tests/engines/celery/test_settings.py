"""What of a Celery application's settings is a fault of the store, or of the application itself."""

from __future__ import annotations

import pytest
from celery import Celery
from celery.exceptions import QueueNotFound
from kombu import Queue

from whereupon import Event, EventStore, SQLiteLedger, subscribe, subscriber
from whereupon.engine_protocol import WakeUp
from whereupon.engines.celery import CeleryEngine
from whereupon.errors import InvalidStore


class Paid(Event, name="settings.paid"):
    number: int


@subscriber(name="post", queue="mails")
def post(event: Paid) -> None: ...


@subscriber(name="count")
def count(event: Paid) -> None: ...


@pytest.fixture
def new_store(tmp_path):
    """Return a function that makes a store on an application with these settings."""
    engines = []

    def make(*functions, broker: str = "redis://127.0.0.1:1/0", **conf) -> EventStore:
        app = Celery("settings", broker=broker, set_as_current=False)
        app.conf.update(conf)
        engines.append(CeleryEngine(app))
        return EventStore(
            subscriptions=[subscribe(each, to=Paid) for each in functions],
            ledger=SQLiteLedger(tmp_path / "ledger.sqlite3"),
            engine=engines[-1],
        )

    yield make
    for engine in engines:
        engine.close()


def listed(*names: str) -> dict:
    return {"task_create_missing_queues": False, "task_queues": [Queue(name) for name in names]}


def test_a_queue_that_the_application_does_not_list_is_a_fault(new_store):
    with pytest.raises(InvalidStore) as refused:
        new_store(post, **listed("celery", "mail"))
    (fault,) = refused.value.faults
    assert str(fault).startswith(
        "Celery does not know the queue of post: Queue 'mails' missing from task_queues; did you mean 'mail'?"
    )
    assert "test_settings.py" in fault.where
    assert "add the queue to task_queues" in fault.fix


ROUTES = {
    "by-name": {"task_routes": {"celery.count": {"queue": "lists"}}},
    "by-pattern": {"task_routes": {"celery.*": {"queue": "lists"}}},
    "by-function": {"task_routes": [lambda name, *_, **__: name["which is no dictionary"]]},
}


@pytest.mark.parametrize(
    ("conf", "unknown"),
    [
        (listed("mails"), "celery"),
        (listed("celery", "mails"), ""),
        (listed() | {"task_queues": [Queue("celery"), Queue("letters", alias="mails")]}, ""),
        (listed("mails", "celery") | ROUTES["by-name"], "lists"),
        (listed("mails", "lists") | ROUTES["by-pattern"], ""),
        (listed("mails") | ROUTES["by-function"], ""),
        ({"task_queues": [Queue("celery")]}, ""),
    ],
)
def test_queues_are_known_as_the_routes_of_the_application_know_them(new_store, conf, unknown):
    if not unknown:
        new_store(post, count, **conf)
        return
    with pytest.raises(InvalidStore, match=f"1 fault(?s:.)*queue of count: Queue '{unknown}' missing"):
        new_store(post, count, **conf)


def test_a_queue_that_is_not_known_any_more_is_no_broker_that_is_away(new_store, redis):
    store = new_store(post, broker=redis.url)
    store.engine.register(store)
    store.engine._app.conf.update(listed("celery"))
    (subscription,) = store.routes
    with pytest.raises(QueueNotFound, match="'mails' missing from task_queues"):
        store.engine.enqueue([WakeUp(1, subscription.subscriber)])
