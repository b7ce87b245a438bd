"""What is special to Dramatiq: its brokers and its middleware, and what doctor says."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta

import dramatiq
import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.encoder import JSONEncoder, PickleEncoder

from tests.engines.dramatiq.brokers import make_broker
from tests.wire import counted
from whereupon import EventStore, SQLiteLedger, subscribe, subscriber
from whereupon.engine_protocol import WakeUp
from whereupon.engines.dramatiq import DramatiqEngine
from whereupon.errors import EngineUnavailable, InvalidConfiguration, InvalidStore
from whereupon.testing.engine_contract.app import Happened

pytestmark = pytest.mark.slow


@subscriber(name="hear", queue="default")
def hear(event: Happened) -> None:
    """Hear."""


@pytest.fixture
def new_store(tmp_path):
    """Return a function that makes a store on a broker, and registers its subscribers there."""
    engines = []

    def make(broker: dramatiq.Broker, *functions) -> EventStore:
        engines.append(DramatiqEngine(broker))
        store = EventStore(
            subscriptions=[subscribe(each, to=Happened) for each in functions or [hear]],
            ledger=SQLiteLedger(tmp_path / "ledger.sqlite3"),
            engine=engines[-1],
        )
        engines[-1].register(store)
        return store

    yield make
    for engine in engines:
        engine.close()


def wake_ups(store, count: int = 1) -> list[WakeUp]:
    return [WakeUp(number, each.subscriber) for number in range(count) for each in store.routes]


@pytest.fixture(params=["redis", "rabbitmq"])
def server(request):
    return request.getfixturevalue(request.param)


def test_doctor_says_whether_the_broker_answers_and_who_consumes(new_store, server):
    server.lose_everything()
    findings = list(new_store(make_broker(server.url)).engine.findings())
    assert (findings[0][0], f"127.0.0.1:{server.port} answers" in findings[0][1]) == ("ok", True)
    if server.url.startswith("amqp"):  # nobody knows with Redis
        assert findings[1:] == [("error", "no worker consumes the queue default; start one with dramatiq")]


def test_twenty_jobs_take_one_round_trip(new_store, server):
    store = new_store(make_broker(server.url))
    store.engine.enqueue(wake_ups(store, 20))
    with counted() as wire:
        store.engine.enqueue(wake_ups(store, 20))
    assert store.engine.features.one_round_trip
    assert wire.round_trips == 1
    assert wire.writes == 1 or server.url.startswith("amqp"), "AMQP is written in frames, without waiting"


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "amqp://guest:guest@127.0.0.1:1/%2F"])
def test_a_broker_that_is_away_is_named_at_once(new_store, url):
    store = new_store(make_broker(url))
    began = time.monotonic()
    with pytest.raises(
        EngineUnavailable, match=r"127\.0\.0\.1:1 (?s:.)*fix: start it \((redis|rabbitmq)-server\)"
    ):
        store.engine.enqueue(wake_ups(store))
    assert time.monotonic() - began < 2
    assert [level for level, _ in store.engine.findings()] == ["error"]


def test_a_server_that_hangs_is_left_within_seconds(new_store, server):
    store = new_store(make_broker(server.url))
    store.engine.enqueue(wake_ups(store))
    os.kill(server.pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(EngineUnavailable, match=f"127.0.0.1:{server.port} does not take jobs"):
                store.engine.enqueue(wake_ups(store))
            assert time.monotonic() - began < 6
    finally:
        os.kill(server.pid, signal.SIGCONT)
    store.engine.enqueue(wake_ups(store))


def test_a_server_that_takes_nothing_is_left_within_seconds(new_store, rabbitmq):
    store = new_store(make_broker(rabbitmq.url))
    store.engine.enqueue(wake_ups(store))
    rabbitmq.control("set_vm_memory_high_watermark", "0.0001")
    try:
        began = time.monotonic()
        with pytest.raises(EngineUnavailable, match="Blocked connection timeout"):
            store.engine.enqueue(wake_ups(store))
        assert time.monotonic() - began < 6
    finally:
        rabbitmq.control("set_vm_memory_high_watermark", "0.4")
    store.engine.enqueue(wake_ups(store))


def test_an_alarm_leaves_no_wake_ups_that_were_sent_again_and_again(new_store, rabbitmq):
    rabbitmq.lose_everything()
    broker = make_broker(rabbitmq.url)
    broker.declare_queue("default", ensure=True)
    store = new_store(broker)
    store.engine.enqueue(wake_ups(store, 20))
    rabbitmq.control("set_vm_memory_high_watermark", "0.0001")
    try:
        for _ in range(3):
            with pytest.raises(EngineUnavailable, match="Blocked connection timeout"):
                store.engine.enqueue(wake_ups(store, 20))
    finally:
        rabbitmq.control("set_vm_memory_high_watermark", "0.4")
    store.engine.enqueue(wake_ups(store, 20))
    time.sleep(1)
    assert broker.get_queue_message_counts("default")[0] <= 60, "two that were taken, one under way"
    broker.close()


def test_what_has_a_higher_priority_leaves_rabbitmq_first(new_store, rabbitmq):
    @subscriber(name="urgent", priority="high", queue="ranked")
    def urgent(event: Happened) -> None: ...

    @subscriber(name="usual", queue="ranked")
    def usual(event: Happened) -> None: ...

    @subscriber(name="patient", priority="low", queue="ranked")
    def patient(event: Happened) -> None: ...

    broker = RabbitmqBroker(url=rabbitmq.url, max_priority=10)
    store = new_store(broker, patient, usual, urgent)
    assert store.engine.features.priority
    store.engine.enqueue(wake_ups(store, 3))
    consumer = broker.consume("ranked", timeout=5000)
    names = []
    for _ in range(9):
        message = next(consumer)
        names.append(message.actor_name.partition(".")[2])
        consumer.ack(message)
    consumer.close()
    rabbitmq.control("delete_queue", "ranked")
    broker.close()
    assert names == ["urgent"] * 3 + ["usual"] * 3 + ["patient"] * 3


def test_a_queue_that_is_deleted_is_made_as_the_team_makes_it(new_store, rabbitmq):
    class ShortQueues(RabbitmqBroker):
        def _build_queue_arguments(self, queue_name):
            return super()._build_queue_arguments(queue_name) | {"x-max-length": 100}

    broker = ShortQueues(url=rabbitmq.url, middleware=[])
    store = new_store(broker)
    for _ in range(2):
        rabbitmq.lose_everything()
        rabbitmq.control("delete_queue", "default.DQ")
        store.engine.enqueue(wake_ups(store, 3))
        broker.queues_pending.add("default")
        broker.declare_queue("default", ensure=True)  # which raises for a queue with other arguments
        assert broker.get_queue_message_counts("default")[0] == 3
    rabbitmq.control("delete_queue", "default")
    rabbitmq.control("delete_queue", "default.DQ")
    broker.close()


def test_on_redis_the_engine_is_one_broker_with_the_team_s_settings(new_store, redis):
    redis.lose_everything()
    long_dead = int((time.time() - 8 * 24 * 3600) * 1000)
    redis.command("ZADD", "dramatiq:default.XQ", str(long_dead), "theirs")
    month = 30 * 24 * 3600 * 1000
    store = new_store(RedisBroker(url=redis.url, dead_message_ttl=month, maintenance_chance=1_000_000))
    for _ in range(5):
        store.engine.enqueue(wake_ups(store))
    assert redis.command("ZCARD", "dramatiq:default.XQ") == "1", "kept for longer than Dramatiq's own week"
    assert redis.command("ZCARD", "dramatiq:__heartbeats__") == "1"


def test_wrong_credentials_are_told_without_the_password(new_store, server):
    url = server.url.replace("guest:guest@", "eve:secret@").replace("redis://", "redis://eve:secret@")
    store = new_store(make_broker(url))
    with pytest.raises(EngineUnavailable, match=str(server.port)) as caught:
        store.engine.enqueue(wake_ups(store))
    assert "secret" not in str(caught.value)


def test_a_stub_broker_is_refused(new_store):
    store = new_store(StubBroker())
    with pytest.raises(InvalidConfiguration, match="StubBroker"):
        store.engine.enqueue(wake_ups(store))
    assert [level for level, _ in store.engine.findings()] == ["error"]


def test_an_encoder_that_runs_code_is_a_finding(new_store, redis):
    dramatiq.set_encoder(PickleEncoder())
    try:
        findings = list(new_store(make_broker(redis.url)).engine.findings())
    finally:
        dramatiq.set_encoder(JSONEncoder())
    assert (
        "warning",
        "the encoder of messages is not JSON: who can write to the broker may run code",
    ) in findings


def test_an_actor_of_the_same_name_is_not_taken_for_ours(new_store):
    broker = StubBroker()
    new_store(broker)
    with pytest.raises(InvalidConfiguration, match=r"an actor called \w+\.hear already"):
        new_store(broker)


def test_what_dramatiq_cannot_honour_is_a_fault_of_the_store(new_store):
    @subscriber(name="spaced", queue="two words")
    def spaced(event: Happened) -> None: ...

    @subscriber(name="limited", timeout=timedelta(seconds=1))
    def limited(event: Happened) -> None: ...

    @subscriber(name="dead", queue="mails.XQ")
    def dead(event: Happened) -> None: ...

    @subscriber(name="urgent", priority="high")
    def urgent(event: Happened) -> None: ...

    for function in (spaced, dead):
        with pytest.raises(InvalidStore, match="no name of a queue for Dramatiq"):
            new_store(StubBroker(), function)
    for broker in (RedisBroker(), RabbitmqBroker(), RabbitmqBroker(max_priority=1)):
        with pytest.raises(InvalidStore, match="the broker has no priorities"):
            new_store(broker, urgent)
        assert not DramatiqEngine(broker).features.priority
    with pytest.raises(InvalidStore, match="no TimeLimit middleware"):
        new_store(RedisBroker(middleware=[]), limited)
