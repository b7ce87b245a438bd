"""Celery without a ledger: real workers, real brokers, messages that carry the events."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
from celery import signals

from tests.engines.celery.handoff_rig import Rig
from whereupon import publish, publish_many
from whereupon.engines.celery_templates import Pusher
from whereupon.errors import PublishError

pytestmark = pytest.mark.slow

EACH = ("plain", "coroutine", "one_of_a_group", "plain_task")


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def rig(request, tmp_path_factory):
    """One worker for all tests that leave it in peace."""
    broker = request.getfixturevalue(request.param)
    broker.lose_everything()
    with Rig(broker, tmp_path_factory.mktemp("handoff")) as rig:
        rig.start()
        yield rig


def templates(rig) -> dict:
    return rig.engine._sender._templates


def test_every_kind_of_subscriber_is_handled_once(rig):
    events = [rig.event() for _ in range(6)] + [rig.event(even=False)]
    worker_app = rig.module.worker_app
    token = worker_app.tenant.set("acme")
    envelopes = publish_many(events)
    followed, *_ = publish_many([rig.event("follow")])
    worker_app.tenant.reset(token)
    numbers = [each.number for each in events]
    for name in EACH:
        rig.until(lambda name=name: rig.count("done", name).keys() >= set(numbers))
        assert {rig.count("done", name)[number] for number in numbers} == {1}, name
    rig.until(lambda: rig.count("start", "delayed").keys() >= set(numbers))
    assert rig.count("done", "together")[3] == 2
    assert rig.count("done", "together")[1] == 2, "one of seven, and the one that is followed"
    assert [number for number in numbers if rig.count("start", "conditional")[number]] == numbers[:-1]
    rig.until(lambda: any(line[1] == "followed" for line in rig.log()))
    (line,) = [line for line in rig.log() if line[1] == "followed"]
    assert line[0] == f"cause:{followed.id}:{followed.correlation_id}:acme"
    assert len(envelopes) == 7
    for name in ("local.plain", "local.coroutine", "local.together", "team.charge"):
        assert f"Task {name}[" in rig.output()
    assert rig.broker.__class__.__name__ != "Redis" or all(templates(rig).values()), (
        "none was sent one by one"
    )
    assert not any("whereupon.engines.helper" in each for each in _commands(rig)), "there is no helper"


def _commands(rig) -> list[str]:
    done = subprocess.run(
        ["ps", "-o", "args=", "-g", str(rig.workers[0].pid)], capture_output=True, text=True, check=False
    )
    return done.stdout.splitlines()


def test_attempts_are_counted_and_the_last_one_is_a_failed_task(rig):
    fails, later, parks, ignores, exits, key = (
        rig.event(what) for what in ("fail", "retry-in", "park", "ignore", "sys-exit", "key-error")
    )
    publish_many([fails, later, parks, ignores, exits, key])
    rig.until(lambda: rig.count("start", "plain")[fails.number] == 3)
    rig.until(lambda: rig.count("start", "plain")[later.number] == 2)
    rig.until(lambda: rig.count("start", "plain")[exits.number] == 3)
    rig.until(lambda: rig.count("start", "one_of_a_group")[fails.number] == 2)
    rig.until(lambda: "parked: subscriber: KeyError" in rig.output())
    time.sleep(0.3)
    starts = [rig.count("start", "plain")[each.number] for each in (fails, later, parks, ignores, exits)]
    assert starts == [3, 2, 1, 1, 3]
    output = rig.output()
    assert "Task local.plain[" in output
    assert "raised unexpected: DeliveryFailed('parked: attempts: ValueError" in output
    assert "DeliveryFailed('parked: subscriber: Park" in output
    first, second = (float(line[4]) for line in rig.lines("start", "plain", later.number))
    assert second - first >= 0.2


def test_a_delay_is_kept_and_batches_of_groups_are_spread(rig):
    event = rig.event()
    before = time.monotonic()
    publish(event)
    rig.until(lambda: rig.count("start", "delayed")[event.number] == 1)
    assert float(rig.lines("start", "delayed", event.number)[0][4]) - before >= 0.6


def test_an_event_that_fails_leaves_its_group(rig):
    events = [rig.event("fail" if position == 1 else "") for position in range(3)]
    before = rig.count("done", "together")
    publish_many(events)
    rig.until(lambda: rig.count("done", "together")[1] > before[1])
    rig.until(lambda: rig.count("done", "one_of_a_group")[events[1].number] == 1)
    assert [rig.count("start", "one_of_a_group")[each.number] for each in events] == [1, 2, 1]
    assert rig.count("done", "together")[3] == before[3], "it raised Failed, and only its one event came back"


def test_a_condition_that_raised_in_the_publisher_is_asked_again(rig, monkeypatch):
    monkeypatch.setenv("ROLE", "publisher")
    held, refused = rig.event("raise-in-publisher"), rig.event("raise-in-publisher", even=False)
    publish_many([held, refused])
    rig.until(lambda: rig.count("done", "plain").keys() >= {held.number, refused.number})
    rig.until(lambda: rig.count("start", "conditional")[held.number])
    assert not rig.count("start", "conditional")[refused.number]


def test_time_limits_are_failed_attempts(rig):
    event = rig.event("1.2")
    publish(event)
    for name in ("limited", "limited_async"):
        rig.until(lambda name=name: rig.count("start", name)[event.number] == 2)
    rig.until(lambda: rig.output().count("parked: attempts: TimeoutError: it ran over its time limit") >= 1)
    rig.until(lambda: "parked: attempts: SoftTimeLimitExceeded" in rig.output())
    assert not rig.count("done", "limited")[event.number]


def test_tasks_that_the_team_has_hear_events_and_other_calls(rig):
    event, other = rig.event(), rig.event()
    publish(event)
    rig.app.send_task("team.charge", args=[other.number])
    rig.until(lambda: rig.count("done", "charge").keys() >= {event.number, other.number})
    rig.until(lambda: rig.count("start", "insist")[event.number] == 3, 20)
    assert rig.count("start", "charge")[event.number] == 2, "self.retry once, with its countdown"
    assert rig.count("start", "charge")[other.number] == 1
    first, second, third = (float(line[4]) for line in rig.lines("start", "insist", event.number))
    assert second - first >= 1
    assert third - second >= 2


def good(envelope: str) -> dict:
    return {
        "subscription": "local.plain:app.created",
        "envelopes": [envelope],
        "recheck": False,
        "attempts": 0,
        "waited": 0,
    }


def test_forged_jobs_fail_and_call_nobody(rig):
    event = rig.event()
    number = event.number
    (record,) = rig.store.records([event])
    envelope = record.text.decode()
    forged = [
        *(None, 7, [1], "x", {}, {"subscription": "local.plain:app.created"}),
        *(good(envelope) | {name: value} for name, value in [
            ("subscription", 1), ("envelopes", []), ("envelopes", [1]), ("envelopes", envelope),
            ("recheck", 1), ("attempts", -1), ("attempts", True), ("attempts", 2**40), ("waited", -1),
            ("waited", "1"), ("more", 1),
        ]),
    ]  # fmt: skip
    for each in forged:
        rig.app.send_task("local.plain", kwargs={"whereupon": each})
    rig.app.send_task("local.plain", kwargs={"whereupon": good(envelope), "more": 1})
    rig.until(lambda: rig.output().count("raised unexpected: InvalidConfiguration") == len(forged) + 1)
    rig.app.send_task("local.plain", kwargs={"whereupon": good(envelope[:-20])})
    rig.until(lambda: "parked: refused: the envelope cannot be read" in rig.output())
    rig.app.send_task(
        "local.plain", kwargs={"whereupon": good(envelope) | {"subscription": "local.plain:no"}}
    )
    rig.until(lambda: "parked: refused: no code that knows local.plain:no came in" in rig.output())
    assert not rig.count("start", "plain")[number]
    rig.app.send_task("local.plain", kwargs={"whereupon": good(envelope)})
    rig.until(lambda: rig.count("done", "plain")[number] == 1)


def test_a_payload_of_newer_code_waits_for_code(rig):
    (record,) = rig.store.records([rig.event()])
    document = json.loads(record.text)
    document["data"] = {"number": "a text, since tomorrow"}
    document["dataschema"] = document["dataschema"].rpartition(":")[0] + ":0123456789ab"
    rig.app.send_task("local.plain", kwargs={"whereupon": good(json.dumps(document))})
    rig.until(lambda: "no code that accepts it came in" in rig.output())
    assert "since tomorrow" not in rig.output()


def test_signals_of_the_team_are_served_and_nothing_else_changes(rig):
    seen = []

    def notice(sender, headers, **_) -> None:
        seen.append((sender, headers["id"]))

    signals.before_task_publish.connect(notice)
    try:
        event = rig.event()
        publish(event)
    finally:
        signals.before_task_publish.disconnect(notice)
    assert {name for name, _ in seen} >= {"local.plain", "local.coroutine"}
    rig.until(lambda: rig.count("done", "plain")[event.number] == 1)


def test_a_child_that_is_killed_gives_its_event_back(rig):
    event = rig.event("sleep 2")
    publish(event)
    rig.until(lambda: rig.lines("start", "plain", event.number))
    os.kill(int(rig.lines("start", "plain", event.number)[0][3]), signal.SIGKILL)
    rig.until(lambda: len(rig.lines("start", "plain", event.number)) == 2, 20)
    rig.until(lambda: rig.count("done", "plain")[event.number] == 1)


def test_sigterm_lets_a_handler_finish(rig):
    event = rig.event("sleep 1")
    publish(event)
    rig.until(lambda: rig.lines("start", "plain", event.number))
    rig.workers[0].terminate()
    assert rig.workers[0].wait(30) == 0
    assert rig.count("done", "plain")[event.number] == 1


def test_a_worker_that_is_killed_gives_its_events_back_at_once_on_rabbitmq(rabbitmq, tmp_path):
    rabbitmq.lose_everything()
    with Rig(rabbitmq, tmp_path) as rig:
        event = rig.event("sleep 2")
        first = rig.start()
        publish(event)
        rig.until(lambda: rig.lines("start", "plain", event.number))
        rig.kill(first)
        rig.start()
        rig.until(lambda: rig.count("done", "plain")[event.number] == 1, 10)


@pytest.mark.exhaustive
def test_a_worker_that_is_killed_gives_its_events_back_after_the_visibility_timeout_on_redis(redis, tmp_path):
    redis.lose_everything()
    with Rig(redis, tmp_path, VISIBLE="5", ONLY="plain") as rig:
        event = rig.event("sleep 2")
        first = rig.start()
        publish(event)
        rig.until(lambda: rig.lines("start", "plain", event.number))
        rig.kill(first)
        rig.start()
        rig.until(lambda: rig.count("done", "plain")[event.number] == 1, 40)
        first, second = (float(line[4]) for line in rig.lines("start", "plain", event.number))
        assert second - first >= 4


def test_a_broker_that_is_away_is_told_within_two_seconds(broker, tmp_path):
    with Rig(broker, tmp_path) as rig:
        publish(rig.event())
        broker.kill()
        try:
            for _ in range(2):
                started = time.monotonic()
                with pytest.raises(PublishError) as told:
                    publish(rig.event())
                assert time.monotonic() - started < 2.5
        finally:
            broker.start()
        assert "local.plain:app.created" in told.value.subscriptions
        assert len(told.value.events) == 1
        text = str(told.value)
        assert f"127.0.0.1:{broker.port}" in text
        assert "start it" in text
        publish(rig.event())


def test_one_publish_to_twenty_is_one_write(redis, tmp_path, monkeypatch):
    redis.lose_everything()
    with Rig(redis, tmp_path, ONLY="plain,coroutine,delayed,plain_task") as rig:
        publish(rig.event())
        pushed = []
        push = Pusher.push
        monkeypatch.setattr(Pusher, "push", lambda self, texts: pushed.append(texts) or push(self, texts))
        connection = rig.engine._sender._local.pusher._client.connection
        connection._sock = socket = Counting(connection._sock)
        publish_many([rig.event() for _ in range(5)])
        assert socket.writes == 1
        assert [len(each) for each in pushed] == [20]
        shown = {json.loads(text)["headers"]["kwargsrepr"] for _, text in pushed[0]}
        assert shown == set(rig.store.routes.by_id), "monitoring shows these instead of the payload"
        assert redis.waiting() == 20 + 4 - _in(redis, "other")


class Counting:
    """A socket that counts how often something is written to it."""

    def __init__(self, socket) -> None:
        self._socket = socket
        self.writes = 0

    def sendall(self, data) -> None:
        self.writes += 1
        self._socket.sendall(data)

    def __getattr__(self, name):
        return getattr(self._socket, name)


def _in(redis, queue: str) -> int:
    return sum(
        int(redis.command("LLEN", key)) for key in redis.command("KEYS", f"{queue}*").split("\n") if key
    )
