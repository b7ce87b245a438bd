"""What a store without a ledger refuses, and the messages that it makes for Celery."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from celery import Celery, signals
from click.testing import CliRunner
from kombu.messaging import Producer
from kombu.transport import virtual
from kombu.transport.redis import Channel

from whereupon import (
    Event,
    EventStore,
    SQLiteLedger,
    apublish,
    apublish_many,
    publish,
    publish_many,
    subscribe,
    subscriber,
)
from whereupon.cli import main
from whereupon.contrib.sqlalchemy import after_commit
from whereupon.engine_protocol import Features, Message
from whereupon.engines import celery_handoff
from whereupon.engines.celery import CeleryEngine
from whereupon.engines.receiving import argument_of, message_in
from whereupon.errors import (
    InvalidConfiguration,
    InvalidStore,
    NoLedger,
    NoTransaction,
    PublishError,
    WrongConnection,
)
from whereupon.testing import using_store


class Billed(Event, name="handoff.billed"):
    number: int


@subscriber(priority="high")
def first(event: Billed) -> None: ...


@subscriber(timeout=timedelta(minutes=40), queue="slow")
def second(event: Billed) -> None: ...


def third(events: list[Billed]) -> None: ...


TABLE = [subscribe(first, to=Billed), subscribe(second, to=Billed), subscribe(third, to=Billed, group_size=2)]


def make(broker: str = "redis://127.0.0.1:1/0", table=TABLE, conf=(), **options) -> EventStore:
    app = Celery("handoff", broker=broker)
    app.conf.update({"task_queue_max_priority": 10} | dict(conf))
    return EventStore(subscriptions=table, engine=CeleryEngine(app), **options)


def faults(*arguments, **options) -> str:
    with pytest.raises(InvalidStore) as refused:
        make(*arguments, **options)
    return str(refused.value)


class Untracked:
    """As much of an engine as a store asks of it that delivers nothing without a ledger."""

    kind = "other"
    features = Features()

    def faults_of(self, subscription):
        return ()


def test_a_store_needs_a_ledger_or_an_engine_that_can_do_without():
    with pytest.raises(InvalidStore, match="neither a ledger nor an engine"):
        EventStore(subscriptions=[])
    with pytest.raises(InvalidStore, match="other delivers nothing without a ledger"):
        EventStore(subscriptions=TABLE, engine=Untracked())


def test_options_that_would_do_nothing_are_refused(tmp_path):
    assert "on_publish_error= of the store does nothing" in faults(on_publish_error=print)
    assert "after_commit= of the store takes a function" in faults(after_commit=1)
    with pytest.raises(InvalidStore, match="after_commit= of the store does nothing"):
        make(ledger=SQLiteLedger(tmp_path / "ledger.sqlite3"), after_commit=after_commit)


@subscriber(atomic=True, timeout=timedelta(seconds=5))
def atomic(event: Billed) -> None: ...


def test_atomic_subscribers_are_refused():
    assert "atomic is atomic" in faults(table=[subscribe(atomic, to=Billed)])


def delayed(**delay):
    return [subscribe(first, to=Billed, delay=timedelta(**delay))]


TWO_MINUTES = {"broker_transport_options": {"visibility_timeout": 120}}


@pytest.mark.parametrize(
    ("broker", "longest", "conf"),
    [
        ("redis://127.0.0.1:1/0", timedelta(minutes=30), {}),
        ("redis://127.0.0.1:1/0", timedelta(minutes=1), TWO_MINUTES),
        ("amqp://127.0.0.1:1//", timedelta(minutes=10), {}),
    ],
)  # fmt: skip
def test_delays_are_taken_as_far_as_the_broker_holds_them_safely(broker, longest, conf):
    table = [subscribe(first, to=Billed, delay=longest)]
    store = make(broker, table, conf)
    longer = [subscribe(first, to=Billed, delay=longest + timedelta(seconds=1))]
    assert "holds a message safely for" in faults(broker, longer, conf)
    (subscription,) = store.routes
    message = Message(subscription.subscriber, subscription.id, ("{}",), timedelta(days=1))
    app = store.engine._app
    driver = store.engine._sender.driver
    assert celery_handoff.outgoing(app, driver, message).delay == longest, "a backoff is cut"


def test_a_handler_may_not_outlive_the_visibility_timeout_of_redis():
    table = TABLE[1:2]
    short = {"broker_transport_options": {"visibility_timeout": 40 * 60}}
    assert "a second worker would run it too" in faults(table=table, conf=short)
    make(table=table)
    delayed = [subscribe(second, to=Billed, delay=timedelta(minutes=15))]
    assert "holds a message safely for 0:09:55" in faults(table=delayed)


@pytest.mark.parametrize(
    ("conf", "text"),
    [
        ({"accept_content": ["json", "pickle"]}, "allows pickle"),
        ({"accept_content": ["msgpack"]}, "leaves json out"),
    ],
)
def test_unsafe_settings_are_refused(conf, text):
    assert text in faults(conf=conf)
    store = make()
    store.engine._app.conf.update(conf)
    with pytest.raises(InvalidStore, match=text):
        store.engine.register(store)


def test_other_brokers_are_refused(tmp_path):
    assert "of the kind filesystem" in faults("filesystem://")


@pytest.mark.parametrize(
    ("broker", "conf"), [("memory://", {}), ("redis://127.0.0.1:1/0", {"task_always_eager": True})]
)
def test_what_tests_are_set_to_is_refused_when_something_is_published(broker, conf):
    store = make(broker, conf=conf)
    store.engine.register(store)
    with using_store(store), pytest.raises(InvalidConfiguration, match="no worker would ever get an event"):
        publish(Billed(number=1))


def test_on_takes_somebody_who_waits_for_the_commit():
    with using_store(make()), pytest.raises(WrongConnection, match="after_commit="):
        publish(Billed(number=1), on=object())
    with using_store(make(after_commit=after_commit, strict=True)), pytest.raises(NoTransaction):
        publish(Billed(number=1))


def test_what_needs_rows_says_that_there_is_no_ledger():
    ledger = make().ledger
    for ask in (ledger.reading, ledger.transaction, ledger.connect, ledger.migrate, ledger.atomic):
        with pytest.raises(NoLedger, match="keeps no record"):
            ask()
    with pytest.raises(NoLedger):
        _ = ledger.dialect


@pytest.fixture
def named_store(tmp_path, monkeypatch):
    (tmp_path / "no_ledger.py").write_text(
        "from tests.engines.celery.test_handoff_settings import make\nstore = make()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    yield "no_ledger:store"
    sys.modules.pop("no_ledger", None)


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "show 1",
        "parked list",
        "replay 1 --to celery.first:handoff.billed",
        "ledger migrate",
        "worker",
        "relay",
    ],
)
def test_commands_that_read_rows_give_one_clear_error(named_store, command):
    done = CliRunner().invoke(main, [*command.split(), "--store", named_store])
    assert done.exit_code == 1, done.output
    assert "keeps no record of them [WU407]" in done.output, done.output


def test_list_and_why_work(named_store):
    for command in (["list"], ["why", "handoff.billed"]):
        done = CliRunner().invoke(main, [*command, "--store", named_store])
        assert done.exit_code == 0, done.output
        assert "celery.first" in done.output


def test_doctor_prints_the_promise_and_what_is_unsafe(named_store):
    with using_store(None):
        done = CliRunner().invoke(main, ["doctor", "--store", named_store])
    assert "handoff, without a ledger: Celery's own" in done.output
    assert "celery.first has no timeout=" in done.output
    assert "does not answer" in done.output


def test_a_message_survives_its_way():
    store = make()
    for subscription in store.routes:
        message = Message(
            subscription.subscriber, subscription.id, ('{"a": "\\u00e9"}', "{}"),
            recheck=True, attempts=3, waited=timedelta(seconds=1.5),
        )  # fmt: skip
        written = celery_handoff.outgoing(store.engine._app, "redis", message)
        assert json.loads(written.argument) == argument_of(message)
        assert message_in("x", subscription.subscriber, json.loads(written.argument)) == message


@pytest.fixture
def on_redis(redis):
    redis.lose_everything()
    stores = []

    def make_here(**options) -> EventStore:
        store = make(redis.url, **options)
        store.engine.register(store)
        stores.append(store)
        return store

    yield make_here
    for store in stores:
        store.engine.close()


def lists_of(redis) -> dict[str, int]:
    keys = redis.command("KEYS", "*").splitlines()
    return {key: int(redis.command("LLEN", key)) for key in keys if redis.command("TYPE", key) == "list"}


OPTIONS = [
    {},
    {"global_keyprefix": "team:"},
    {"priority_steps": [0, 2, 4], "sep": ":"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_messages_of_a_template_lie_where_celery_puts_its_own(on_redis, redis, options):
    store = on_redis(conf={"broker_transport_options": options})
    with using_store(store):
        publish_many([Billed(number=n) for n in range(4)])
        assert all(store.engine._sender._templates.values())
        ours = lists_of(redis)
        redis.lose_everything()
        signals.before_task_publish.connect(notice)
        try:
            publish_many([Billed(number=n) for n in range(4)])
        finally:
            signals.before_task_publish.disconnect(notice)
    assert ours == lists_of(redis)
    assert sum(ours.values()) == 4 + 4 + 2


def notice(**_) -> None: ...


def route(name, *_, **__):
    return {"queue": "slow"}


@pytest.mark.parametrize(
    "conf",
    [
        {"task_routes": (route,)},
        {"task_compression": "gzip"},
        {"task_send_sent_event": True},
        {"task_protocol": 1},
    ],
    ids=lambda conf: next(iter(conf)),
)
def test_where_anything_is_unusual_celery_sends_by_itself(on_redis, redis, conf):
    store = on_redis(conf=conf, table=TABLE[:1])
    with using_store(store):
        publish_many([Billed(number=1), Billed(number=2)])
    assert list(store.engine._sender._templates.values()) == [None]
    assert sum(lists_of(redis).values()) == 2


def test_a_kombu_that_is_built_otherwise_is_left_to_send_by_itself(on_redis, redis, monkeypatch, caplog):
    monkeypatch.delattr(virtual.Channel, "_get_message_priority")
    monkeypatch.setattr(Channel, "_put", lambda self, queue, message, **_: self.client.lpush(queue, "x"))
    store = on_redis(table=TABLE[:1])
    monkeypatch.delattr(Producer, "batch", raising=False)
    with using_store(store):
        publish(Billed(number=1))
    assert list(store.engine._sender._templates.values()) == [None]
    assert "sent one by one" in caplog.text
    assert sum(lists_of(redis).values()) == 1


def test_routes_by_name_are_followed(on_redis, redis):
    store = on_redis(conf={"task_routes": {"celery.first": {"queue": "routed"}}}, table=TABLE[:1])
    with using_store(store):
        publish(Billed(number=1))
    assert list(lists_of(redis)) == ["routed"]
    assert all(store.engine._sender._templates.values())


def test_a_process_that_is_forked_has_a_connection_of_its_own(on_redis, redis):
    store = on_redis(table=TABLE[:1])
    with using_store(store):
        publish(Billed(number=1))
        child = os.fork()
        if child == 0:
            try:
                publish(Billed(number=2))
                os._exit(0)
            finally:
                os._exit(1)
        for number in range(3, 9):
            publish(Billed(number=number))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sum(lists_of(redis).values()) == 8


def test_a_connection_that_redis_has_closed_is_opened_again(on_redis, redis):
    store = on_redis(table=TABLE[:1])
    with using_store(store):
        publish(Billed(number=1))
        redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        publish(Billed(number=2))
    assert sum(lists_of(redis).values()) == 2


def test_a_redis_that_is_full_is_told(on_redis, redis):
    store = on_redis()
    with using_store(store):
        publish(Billed(number=1))
        before = lists_of(redis)
        redis.command("CONFIG", "SET", "maxmemory", "1")
        try:
            with pytest.raises(PublishError, match="used memory") as told:
                publish(Billed(number=2))
        finally:
            redis.command("CONFIG", "SET", "maxmemory", "0")
        assert len(told.value.subscriptions) == 3
        assert lists_of(redis) == before, "all or none"
        publish(Billed(number=3))


def test_apublish_waits_in_a_thread_and_raises_the_same(on_redis, redis):
    store = on_redis(table=TABLE[:1])

    async def publish_both() -> None:
        await apublish(Billed(number=1))
        await apublish_many([Billed(number=2), Billed(number=3)])

    with using_store(store):
        asyncio.run(publish_both())
    assert sum(lists_of(redis).values()) == 3
    away = replace(store, engine=make(table=TABLE[:1]).engine)
    away.engine.register(away)
    with using_store(away), pytest.raises(PublishError, match=r"127\.0\.0\.1:1"):
        asyncio.run(apublish(Billed(number=4)))
