"""What is special to Dramatiq: its brokers and its middleware, and what doctor says."""

from __future__ import annotations

import time
from datetime import timedelta

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.encoder import JSONEncoder, PickleEncoder

from tests.engines.dramatiq.contract_app import make_broker
from tests.wire import counted_round_trips
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

    def make(broker: dramatiq.Broker, function=hear) -> EventStore:
        engines.append(DramatiqEngine(broker))
        store = EventStore(
            subscriptions=[subscribe(function, to=Happened)],
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


def test_on_redis_twenty_jobs_take_two_round_trips(new_store, redis):
    store = new_store(make_broker(redis.url))
    store.engine.enqueue(wake_ups(store, 20))
    with counted_round_trips() as count:
        store.engine.enqueue(wake_ups(store, 20))
    assert count() == 2, "whether Dramatiq's script is there, and all jobs"
    assert not store.engine.features.one_round_trip


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

    with pytest.raises(InvalidStore, match="no name of a queue for Dramatiq"):
        new_store(StubBroker(), spaced)
    with pytest.raises(InvalidStore, match="no TimeLimit middleware"):
        new_store(RedisBroker(middleware=[]), limited)
