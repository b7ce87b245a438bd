"""What of a Celery application's settings is a fault of the store, or of the application itself."""

from __future__ import annotations

from datetime import timedelta

import pytest
from celery import Celery
from celery.exceptions import QueueNotFound
from kombu import Exchange, Queue

from whereupon import Event, EventStore, SQLiteLedger, subscribe, subscriber
from whereupon.engine_protocol import WakeUp
from whereupon.engines.celery import CeleryEngine
from whereupon.errors import InvalidStore

REDIS = "redis://127.0.0.1:1/0"
RABBITMQ = "amqp://127.0.0.1:1//"


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

    def make(*functions, broker=REDIS, is_tracked=True, **conf) -> EventStore:
        app = Celery("settings", broker=broker, set_as_current=False)
        app.conf.update(conf)
        engines.append(CeleryEngine(app))
        ledger = {"ledger": SQLiteLedger(tmp_path / "ledger.sqlite3")} if is_tracked else {}
        table = [subscribe(each, to=Paid) for each in functions]
        return EventStore(subscriptions=table, engine=engines[-1], **ledger)

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


def queues(**options) -> dict:
    return {"task_queues": [Queue("celery", **options), Queue("mails"), Queue("else", durable=False)]}


TRANSIENT = queues(exchange=Exchange("celery", delivery_mode="transient"))
ROUTED = {"task_routes": {"celery.count": {"queue": "celery", "delivery_mode": 1}}}


@pytest.mark.parametrize(
    ("conf", "problem", "fix"),
    [
        (queues(durable=False), "the queue celery is not durable", "leave durable="),
        (queues(auto_delete=True), "the queue celery is auto_delete", "leave durable="),
        ({"task_default_delivery_mode": "transient"}, "for the queue celery are transient", "task_default_"),
        ({"task_default_delivery_mode": 1}, "for the queue celery are transient", "task_default_"),
        (TRANSIENT, "for the queue celery are transient", "of the queue or route"),
        (ROUTED, "for the queue celery are transient", "of the queue or route"),
    ],
)  # fmt: skip
def test_what_rabbitmq_would_drop_is_refused_where_nothing_else_has_it(new_store, conf, problem, fix):
    with pytest.raises(InvalidStore) as refused:
        new_store(count, broker=RABBITMQ, is_tracked=False, **conf)
    (fault,) = refused.value.faults
    assert problem in str(fault)
    assert fix in fault.fix
    new_store(count, broker=RABBITMQ, **conf)
    new_store(count, is_tracked=False, **conf)


def test_queues_that_keep_what_they_hold_are_taken(new_store):
    new_store(post, count, broker=RABBITMQ, is_tracked=False, **queues())


@pytest.mark.parametrize(
    ("annotations", "option"),
    [
        ({"*": {"acks_late": False}}, "acks_late of celery.count, celery.post"),
        ({"celery.post": {"reject_on_worker_lost": False}}, "reject_on_worker_lost of celery.post"),
        ({"celery.*": {"acks_late": False}, "*": {"rate_limit": "9/s"}}, ""),
    ],
)
def test_annotations_that_lose_events_are_refused(new_store, annotations, option):
    store = new_store(count, post, is_tracked=False, task_annotations=annotations)
    if not option:
        store.engine.register(store)
        return
    with pytest.raises(InvalidStore) as refused:
        store.engine.register(store)
    (fault,) = refused.value.faults
    assert f"task_annotations of Celery change {option}, which loses events" in str(fault)


@subscriber(name="long", timeout=timedelta(minutes=19, seconds=50))
def long(event: Paid) -> None: ...


def fetching(store: EventStore) -> list[str]:
    return [text for level, text in store.ledger.findings() if level == "warning" and "fetches" in text]


@pytest.mark.parametrize(
    ("conf", "texts"),
    [
        ({}, ["fetches 4", "1:00:00", "set worker_prefetch_multiplier = 1, or raise it above 1:40:00"]),
        ({"worker_prefetch_multiplier": 2}, []),
        ({"worker_prefetch_multiplier": 3}, ["fetches 3", "raise it above 1:20:00"]),
        ({"worker_prefetch_multiplier": 0}, ["fetches any number", "set worker_prefetch_multiplier = 1"]),
        ({"worker_prefetch_multiplier": 0, "worker_disable_prefetch": True}, []),
        ({"broker_transport_options": {"visibility_timeout": 6000}}, []),
        (
            {
                "worker_prefetch_multiplier": 1,
                "broker_transport_options": {"visibility_timeout": 2399},
            },
            ["fetches 1", "twice; raise it above 0:40:00"],
        ),
    ],
)
def test_doctor_counts_what_a_worker_of_redis_has_fetched(new_store, conf, texts):
    found = fetching(new_store(long, is_tracked=False, **conf))
    assert len(found) == bool(texts)
    assert all(text in found[0] for text in texts)


def test_where_nothing_is_counted_from_the_fetch_doctor_says_nothing_of_it(new_store):
    assert fetching(new_store(long, broker=RABBITMQ, is_tracked=False)) == []
    assert fetching(new_store(count, is_tracked=False)) == []
