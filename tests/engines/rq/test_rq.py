"""What is special to RQ: its serializers, what is left in Redis, and what doctor says."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time

import pytest
import redis
from rq import Queue

from tests.engines.rq import team_jobs
from tests.engines.rq.test_contract import RQKind
from tests.wire import counted_round_trips
from whereupon import EventStore, SQLiteLedger, publish, subscribe, subscriber
from whereupon.engine_protocol import WakeUp
from whereupon.engines.rq import RQEngine, Serializer
from whereupon.errors import EngineUnavailable, InvalidStore
from whereupon.testing import engine_contract
from whereupon.testing.engine_contract.app import Happened

pytestmark = pytest.mark.slow


@pytest.fixture
def kind(tmp_path, redis_server):
    redis_server.lose_everything()
    kind = RQKind("Worker", tmp_path, redis_server)
    yield kind
    kind.close()


@pytest.fixture
def engine(kind):
    return kind.store.engine


def wake_ups(kind) -> list[WakeUp]:
    return [WakeUp(number, each.subscriber) for number, each in enumerate(kind.store.routes)]


def test_jobs_for_several_queues_take_one_round_trip(kind, engine):
    jobs = wake_ups(kind)[:20]
    assert {each.subscriber.options.queue for each in jobs} == {"default", "other"}
    engine.enqueue(jobs)
    with counted_round_trips() as count:
        engine.enqueue(jobs)
    assert (len(jobs), count()) == (20, 1)
    assert engine.features.one_round_trip


def test_nothing_is_left_in_redis_and_the_team_s_own_jobs_go_on_beside_ours(kind, redis_server):
    with engine_contract.Rig(kind) as rig:
        rig.at_least(1)
        own = Queue("default", connection=kind._connection).enqueue(team_jobs.greet, {1, 2}, result_ttl=60)
        for what in ("", "ignore", "park", "fail-below 2"):
            publish(Happened(number=rig.number(), what=what))
        kind.send("engine_contract.act", "forged")
        rig.until_quiet()
        rig.until(own.return_value)
        assert own.return_value() == "hello {1, 2}"
        assert "engine_contract.act (" in rig.output(), "RQ shows a job under its subscriber's name"
        left = [key for key in redis_server.command("KEYS", "rq:job:*").split() if own.id not in key]
        assert len(left) == 1, "the forged one, which failed, and bears the stranger's own time to live"


def test_a_pickled_job_of_ours_is_refused():
    forged = pickle.dumps(("whereupon.engines.rq_jobs.engine_contract.act", None, (), {"whereupon": [1]}))
    with pytest.raises(Exception, match="that is not JSON is no wake-up"):
        Serializer(pickle).loads(forged)


def test_a_worker_of_rq_s_own_class_loses_nothing_and_doctor_finds_it(kind, engine):
    with engine_contract.Rig(kind) as rig:
        publish(Happened(number=1))
        with rig.store.ledger.reading() as transaction:
            ((delivery,),) = transaction.rows("SELECT id FROM whereupon_delivery")
        engine.enqueue(
            [
                WakeUp(
                    delivery,
                    rig.store.routes.by_id["engine_contract.act:engine_contract.happened"].subscriber,
                )
            ]
        )
        stranger = subprocess.Popen(
            [sys.executable, "-m", "rq.cli", "worker", "--url", kind.broker.url, "default"],
            env=os.environ | kind.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            rig.until(lambda: any("of another class" in text for _, text in engine.findings()))
            rig.until(lambda: not Queue("default", connection=kind._connection).job_ids)
        finally:
            stranger.terminate()
            stranger.wait(20)
        assert rig.unfinished() == 1
        rig.at_least(1)
        rig.until_quiet()
        assert rig.count("done", "act") == {1: 1}


def test_doctor_names_queues_without_a_worker_and_an_unsafe_redis(kind, engine, redis_server):
    texts = [text for level, text in engine.findings() if level == "error"]
    assert [text.rpartition(" queue ")[2] for text in texts] == ["default; start one", "other; start one"]
    redis_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        assert any("allkeys-lru" in text for _, text in engine.findings())
    finally:
        redis_server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")


@pytest.mark.parametrize("credentials", ["", "eve:secret@"])
def test_a_redis_that_takes_no_jobs_is_named_at_once(kind, credentials):
    port = kind.broker.port if credentials else 1
    engine = RQEngine(redis.Redis.from_url(f"redis://{credentials}127.0.0.1:{port}/0"))
    began = time.monotonic()
    with pytest.raises(EngineUnavailable, match=rf"127\.0\.0\.1:{port}(?s:.)*redis-server") as caught:
        engine.enqueue(wake_ups(kind)[:1])
    assert time.monotonic() - began < 2
    assert "secret" not in str(caught.value)
    ((level, text),) = engine.findings()
    assert (level, "does not answer" in text) == ("error", True)


def test_a_priority_is_refused_as_rq_has_none(tmp_path):
    @subscriber(priority="high", name="hasty")
    def hasty(event: Happened) -> None: ...

    with pytest.raises(InvalidStore, match="RQ has no priorities"):
        EventStore(
            subscriptions=[subscribe(hasty, to=Happened)],
            ledger=SQLiteLedger(tmp_path / "ledger.sqlite3"),
            engine=RQEngine(redis.Redis()),
        )


def test_a_worker_without_a_store_does_not_start(kind):
    environment = {key: value for key, value in os.environ.items() if key != "WHEREUPON_STORE"}
    done = subprocess.run(
        kind.command(0), env=environment, cwd=kind.folder, capture_output=True, text=True, timeout=30
    )
    assert done.returncode != 0
    assert "no store is named" in done.stderr
