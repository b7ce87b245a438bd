"""What is special to RQ: its serializers, what is left in Redis, and what doctor says."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time

import pytest
import redis
from rq import Queue

from tests.engines.rq import team_jobs
from tests.engines.rq.test_contract import RQKind
from tests.wire import counted
from whereupon import EventStore, SQLiteLedger, publish, subscribe, subscriber
from whereupon.engine_protocol import WakeUp
from whereupon.engines.rq import RQEngine, Serializer
from whereupon.errors import EngineUnavailable, InvalidStore
from whereupon.ledger import rescue
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
    with counted() as wire:
        engine.enqueue(jobs)
    assert (len(jobs), wire.writes, wire.round_trips) == (20, 1, 1)
    assert engine.features.one_round_trip


def test_nothing_is_left_in_redis_and_the_team_s_own_jobs_go_on_beside_ours(kind, redis_server):
    with engine_contract.Rig(kind) as rig:
        rig.at_least(1)
        queue = Queue("default", connection=kind._connection)
        own = queue.enqueue(team_jobs.greet, {1, 2}, result_ttl=60)
        for what in ("", "ignore", "park", "fail-below 2"):
            publish(Happened(number=rig.number(), what=what))
        kind.send("engine_contract.act", "forged")
        rig.until_quiet()
        rig.until(own.return_value)
        assert own.return_value() == "hello {1, 2}"
        assert "engine_contract.act (" in rig.output(), "RQ shows a job under its subscriber's name"
        left = [key for key in redis_server.command("KEYS", "rq:job:*").split() if own.id not in key]
        assert len(left) == 1, "the forged one, which failed, and bears the stranger's own time to live"
        rig.until(lambda: not known_processes(rig))  # the forks have left the ledger


def known_processes(rig) -> list[rescue.Process]:
    with rig.store.ledger.reading() as transaction:
        return rescue.processes(transaction)


def test_how_long_a_job_waits_and_runs_is_said_in_redis(kind, engine, redis_server):
    jobs = {each.subscriber.name: each for each in wake_ups(kind)}
    engine.enqueue([jobs["act"], jobs["limited"]])
    found = {}
    for key in redis_server.command("KEYS", "rq:job:*").split():
        name, *limits = redis_server.command(
            "HMGET", key, "description", "timeout", "result_ttl", "failure_ttl"
        ).splitlines()
        found[name] = limits
        assert 7_000 < int(redis_server.command("TTL", key)) <= 7_200, "wake-ups are an hour apart at most"
    assert found == {"engine_contract.act": ["-1", "0", "60"], "engine_contract.limited": ["11", "0", "60"]}


def test_what_a_killed_process_leaves_in_redis_expires(kind, redis_server):
    with engine_contract.Rig(kind) as rig:
        rig.at_least(1)
        number = rig.number()
        publish(Happened(number=number, what="sleep 1"))
        rig.until(lambda: rig.count("start", "act")[number])
        os.kill(rig.log()[-1].pid, signal.SIGKILL)
        rig.until(lambda: rig.count("done", "act")[number])
        rig.until_quiet()
        rig.until(lambda: len(redis_server.command("KEYS", "rq:job:*").split()) == 1)
        (job,) = redis_server.command("KEYS", "rq:job:*").split()
        assert 0 < int(redis_server.command("TTL", job)) <= 60


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_job_of_ours_is_refused_unread(tmp_path, protocol):
    trap = team_jobs.Trap(tmp_path / "sprung")
    forged = ("whereupon.engines.rq_jobs.engine_contract.act", None, (), {"whereupon": [trap]})
    with pytest.raises(Exception, match="that is not JSON is no wake-up"):
        Serializer(pickle).loads(pickle.dumps(forged, protocol))
    assert not trap.path.exists()
    disguised = b"N0" * 99 + pickle.dumps((forged[0], None, (), {"whereupon": [1]}), protocol)
    with pytest.raises(Exception, match="that is not JSON is no wake-up"):
        Serializer(pickle).loads(disguised)
    Serializer(pickle).loads(pickle.dumps(("team.jobs.greet", None, (), {"whom": trap}), protocol))
    assert trap.path.exists(), "the trap works, and the team's own pickle is read"


def test_a_worker_that_waits_survives_a_redis_that_goes_away(kind, redis_server):
    with engine_contract.Rig(kind) as rig:
        rig.at_least(1)
        rig.until(lambda: "cmd=bl" in redis_server.command("CLIENT", "LIST"))
        redis_server.kill()
        number = rig.number()
        publish(Happened(number=number))
        rig.until(lambda: "retrying in 2 seconds" in rig.output())
        redis_server.start()
        rig.until_quiet()
        assert rig.count("done", "act")[number] == 1
        assert len(rig.running()) == len(rig.workers) == 1, "it is the same worker"


def test_sentinels_are_named_and_no_server_that_they_never_meant(kind):
    engine = RQEngine(redis.Sentinel([("127.0.0.1", 1)]).master_for("shop"))
    with pytest.raises(EngineUnavailable, match=r"^Redis, as sentinels know shop, does not take jobs"):
        engine.enqueue(wake_ups(kind)[:1])


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


def test_a_redis_that_hangs_is_told_within_seconds(kind, engine, redis_server):
    engine.enqueue(wake_ups(kind)[:1])
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        for _ in range(2):  # on the connection that is open, and on a new one
            began = time.monotonic()
            with pytest.raises(
                EngineUnavailable, match=rf"127\.0\.0\.1:{redis_server.port} does not take jobs"
            ):
                engine.enqueue(wake_ups(kind)[:1])
            assert time.monotonic() - began < 3.5
        began = time.monotonic()
        ((level, text),) = engine.findings()
        assert time.monotonic() - began < 3.5
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    assert (level, f"127.0.0.1:{redis_server.port} does not answer" in text) == ("error", True)
    engine.enqueue(wake_ups(kind)[:1])


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
