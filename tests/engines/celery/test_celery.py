"""Subscribers as tasks of Celery, on real workers and real brokers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from celery import Celery, shared_task

from tests.wire import counted
from whereupon import publish, publish_many, relay, subscribe, subscriber
from whereupon.engine_protocol import WakeUp
from whereupon.engines.celery import CeleryEngine
from whereupon.errors import EngineUnavailable, InvalidConfiguration

pytestmark = pytest.mark.slow

ALL = "plain,coroutine,atomic,together,one_of_a_group,followed,delayed,conditional"


def client(broker) -> Celery:
    app = Celery("client", broker=broker.url)
    app.conf.task_queue_max_priority = 10
    return app


def start_again_if_ended(app) -> bool:
    """Start the worker again if it has ended, or hangs: Celery 5.7 sometimes does when Redis goes away.

    It meets an AttributeError of its own while it handles the lost connection. Whatever runs workers in
    production has to start it again.
    """
    time.sleep(5)
    worker = app.workers[-1]
    has_ended = worker.poll() is not None or "has no attribute 'hostname'" in app.output()
    if has_ended:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        app.start_ready()
    return has_ended


@pytest.fixture
def new_engine():
    """Return a function that makes an engine in this process, which is closed at the end."""
    engines = []

    def make(app: Celery) -> CeleryEngine:
        engines.append(CeleryEngine(app))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()
        engine._app.close()


def test_every_kind_of_subscriber_is_handled_and_stands_in_the_log_as_a_task_of_its_own(make_app):
    app = make_app(ALL)
    publish_many([app.module.Created(number=n) for n in range(6)])
    app.start()
    app.until_quiet(30)
    each_once = dict.fromkeys(range(6), 1)
    for name in ("plain", "coroutine", "atomic", "one_of_a_group"):
        assert app.count("done", name) == each_once, name
    assert app.count("done", "together") == {3: 2}
    assert app.count("start", "delayed") == each_once
    assert app.count("start", "conditional") == {0: 1, 2: 1, 4: 1}
    assert sum(line[1] == "followed" for line in app.log()) == 6
    assert app.effects() == list(range(6))
    output = app.output()
    for name in ("plain", "coroutine", "atomic", "together"):
        assert f"Task local.{name}[" in output


def test_the_team_s_own_tasks_go_on_beside_ours(make_app, broker):
    app = make_app()
    app.start_ready()
    client(broker).send_task("team.greet", args=["ada"])
    publish(app.module.Created(number=1))
    app.until_quiet()
    app.until(lambda: any(line[0] == "greeted" for line in app.log()))


def test_tasks_that_the_team_has_already_are_subscribed_as_they_are(make_app, broker):
    app = make_app("charge,insist,plain_task")
    app.start_ready()
    client(broker).send_task("team.charge", args=[7])
    client(broker).send_task("team.charge", kwargs={"what": 8})
    publish_many([app.module.Created(number=n) for n in range(1, 4)])
    app.until_quiet(30)
    app.until(lambda: app.count("done", "charge").keys() == {1, 2, 3, 7, 8})
    assert app.count("start", "charge") == {1: 2, 2: 2, 3: 2, 7: 1, 8: 1}, "self.retry once for each event"
    assert app.count("start", "insist") == dict.fromkeys((1, 2, 3), 3), "autoretry_for, and max_retries=2"
    assert [each.outcome for each in app.parked()] == ["attempts"] * 3
    assert app.count("done", "plain_task") == dict.fromkeys((1, 2, 3), 1)
    first, second, third = app.times("start", "insist", 1)
    assert second - first >= 1, "the countdown of retry_backoff=1: one second, then two"
    assert third - second >= 2
    for name in ("team.charge", "team.insist", "team.plain"):
        assert f"Task {name}[" in app.output()
    assert "retry: Retry in" not in app.output(), "nothing was sent to the broker for it"


def do_nothing(event) -> None:
    """Be the body of a task."""


def test_a_task_s_own_limit_of_retries_beside_ours_is_a_fault(make_app, broker):
    app = make_app()
    task = shared_task(max_retries=2, name="team.both")(do_nothing)
    both = subscribe(subscriber(max_attempts=5, name="both")(task), to=app.module.Created)
    (fault,) = CeleryEngine(client(broker)).faults_of(*both.each())
    assert "says max_retries= as a task and max_attempts= as a subscriber" in str(fault)


def test_a_priority_is_a_fault_where_the_queues_of_rabbitmq_have_none(make_app):
    app = make_app()
    (hasty,) = subscribe(subscriber(priority="high", name="hasty")(do_nothing), to=app.module.Created).each()
    engine = CeleryEngine(Celery("plain", broker="amqp://127.0.0.1:1//"))
    (fault,) = engine.faults_of(hasty)
    assert "set task_queue_max_priority = 10 on RabbitMQ" in str(fault)
    assert not engine.features.priority


def test_jobs_that_come_twice_or_late_or_were_forged_are_answered_from_the_ledger(make_app, broker):
    app = make_app("plain,coroutine")
    publish(app.module.Created(number=1))
    app.start_ready()
    app.until_quiet()
    stranger = client(broker)
    for task in ("local.plain", "local.coroutine"):
        for ids in ([1], [2], [1, 2], [999], [-1], [2**70]):
            stranger.send_task(task, kwargs={"whereupon": ids})
    forged = [{}, {"whereupon": "1"}, {"whereupon": [True]}, {"whereupon": None}, {"whereupon": [1], "x": 1}]
    for given in forged:
        stranger.send_task("local.plain", kwargs=given)
    stranger.send_task("local.plain", args=[1])
    stranger.send_task("local.nobody", kwargs={"whereupon": [1]})
    publish(app.module.Created(number=2))
    app.until_quiet()
    app.until(lambda: app.output().count("that is no wake-up") >= len(forged))
    assert app.count("start", "plain") == app.count("done", "coroutine") == {1: 1, 2: 1}


def test_twenty_jobs_take_one_round_trip_where_the_features_say_so(make_app, broker, new_engine):
    app = make_app("plain,coroutine,narrow,delayed")
    engine = new_engine(client(broker))
    engine.register(app.store)
    jobs = [WakeUp(number, each.subscriber) for number in range(5) for each in app.store.routes]
    engine.enqueue(jobs)
    with counted() as wire:
        engine.enqueue(jobs)
    assert len(jobs) == 20
    assert engine.features.one_round_trip == ((wire.writes, wire.round_trips) == (1, 1))


def test_doctor_says_whether_the_broker_answers_and_who_consumes_the_queues(make_app, broker, new_engine):
    app = make_app("plain,coroutine")
    engine = new_engine(client(broker))
    engine.register(app.store)
    answers, nobody = engine.findings()
    assert (answers[0], str(broker.port) in answers[1]) == ("ok", True)
    assert nobody == ("error", "no Celery worker answers; start one: celery -A … worker")
    app.start_ready("-Q", "celery")
    assert list(engine.findings())[1:] == [
        ("ok", "Celery workers that answer: 1"),
        ("error", "no worker consumes the queue other; start one with -Q other"),
    ]


def test_doctor_names_what_is_unsafe(make_app, broker, new_engine):
    make_app()
    unsafe = client(broker)
    unsafe.conf.accept_content = ["json", "pickle"]
    unsafe.conf.task_always_eager = True
    assert [text.partition(":")[0] for level, text in new_engine(unsafe).findings() if level != "ok"][:2] == [
        "task_always_eager is on",
        "accept_content takes pickle",
    ]
    if hasattr(broker, "command"):
        broker.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        try:
            assert any("allkeys-lru" in text for _, text in new_engine(client(broker)).findings())
        finally:
            broker.command("CONFIG", "SET", "maxmemory-policy", "noeviction")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "amqp://guest:guest@127.0.0.1:1//"])
def test_an_unreachable_broker_is_named_at_once(make_app, url, new_engine):
    app = make_app()
    engine = new_engine(Celery("away", broker=url))
    engine.register(app.store)
    (level, text), *_ = engine.findings()
    assert (level, "127.0.0.1:1" in text) == ("error", True)
    began = time.monotonic()
    with pytest.raises(
        EngineUnavailable, match=r"(?s)127\.0\.0\.1:1.*fix: start it \((redis|rabbitmq)-server\)"
    ):
        engine.enqueue([WakeUp(1, app.store.routes.by_id["local.plain:app.created"].subscriber)])
    assert time.monotonic() - began < 2


def test_wrong_credentials_are_told_without_the_password(make_app, broker, new_engine):
    app = make_app()
    url = broker.url.replace("guest:guest@", "eve:secret@").replace("redis://", "redis://eve:secret@")
    engine = new_engine(Celery("eve", broker=url))
    engine.register(app.store)
    with pytest.raises(EngineUnavailable, match=f"{broker.port}") as caught:
        engine.enqueue([WakeUp(1, app.store.routes.by_id["local.plain:app.created"].subscriber)])
    assert "secret" not in str(caught.value)


def test_a_relay_is_refused_where_tasks_run_at_once_or_there_is_no_engine(make_app, broker):
    app = make_app()
    eager = client(broker)
    eager.conf.task_always_eager = True
    engine = CeleryEngine(eager)
    engine.register(app.store)
    (subscription,) = app.store.routes
    with pytest.raises(InvalidConfiguration, match="task_always_eager"):
        engine.enqueue([WakeUp(1, subscription.subscriber)])
    assert any("task_always_eager" in text for _, text in engine.findings())
    done = subprocess.run(
        [sys.executable, "-m", "whereupon", "relay", "--store", "tests.engines.local.worker_app:store"],
        env=app.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "has no engine to relay to" in done.stderr


def test_a_task_of_the_same_name_is_not_taken_for_ours(make_app, broker):
    app = make_app()
    taken = client(broker)
    taken.task(do_nothing, name="local.plain", shared=False)  # not in the applications of other tests
    with pytest.raises(InvalidConfiguration, match=r"a task called local\.plain already"):
        CeleryEngine(taken).register(app.store)


def test_a_worker_whose_store_no_helper_could_find_does_not_start(make_app):
    app = make_app("plain", HIDDEN="1")
    worker = app.start()
    assert worker.wait(20) != 0
    assert "the store is found in no module" in app.output()
    assert 'fix: store_name="shop.event_store:store"' in app.output()


def test_a_relay_alone_serves_workers_whose_helper_is_gone(make_app):
    app = make_app("plain")
    app.start_ready()
    alone = subprocess.Popen(
        [sys.executable, "-m", "whereupon", "relay", "--store", "tests.engines.celery.celery_app:store"],
        env=app.environment, cwd=app.folder,
    )  # fmt: skip
    app.until(lambda: len(app.helpers()) == 1)
    (helper,) = app.helpers()
    os.kill(helper, signal.SIGSTOP)  # one that is killed would be started again
    try:
        publish_many([app.module.Created(number=n) for n in range(10)])
        app.until_quiet()
    finally:
        os.kill(helper, signal.SIGCONT)
        alone.terminate()
        assert alone.wait(10) == 0
    assert app.count("done", "plain") == dict.fromkeys(range(10), 1)


def test_publish_does_not_wait_for_a_broker_that_is_away_and_all_is_handled_when_it_is_back(make_app, broker):
    app = make_app()
    app.start_ready()
    broker.kill()
    try:
        began = time.monotonic()
        publish_many([app.module.Created(number=n) for n in range(20)])
        assert time.monotonic() - began < 1
        app.until(lambda: "does not take jobs" in app.output() or app.workers[0].poll() is not None, 30)
        time.sleep(2)
    finally:
        broker.start()
    has_ended = start_again_if_ended(app)
    app.until_quiet(60)
    assert sorted(app.count("done", "plain")) == list(range(20))
    assert has_ended or f"127.0.0.1:{broker.port}" in app.output()


def test_wake_ups_in_the_broker_never_exceed_the_bound(make_app, broker):
    """With WHEREUPON_BOUND_BACKLOG=20000 by the relay's own figures; otherwise by smaller ones."""
    backlog = int(os.environ.get("WHEREUPON_BOUND_BACKLOG", "300"))
    bound, figures = (50, {"BOUND": "50", "RESEND": "3"}) if backlog == 300 else (relay.BOUND, {})
    app = make_app("plain", **figures)
    for first in range(0, backlog, 1000):
        numbers = range(first, min(first + 1000, backlog))
        publish_many([app.module.Created(number=n, what="sleep 0.03") for n in numbers])
    app.start_ready()
    most = 0
    while app.unfinished():
        most = max(most, broker.waiting())
        time.sleep(0.05)
    print(f"{backlog} deliveries, at most {most} wake-ups in the broker at once, bound {bound}")
    assert bound * 0.4 < most <= bound
    assert app.count("done", "plain") == dict.fromkeys(range(backlog), 1)


def test_a_handler_that_holds_the_gil_for_five_leases_is_not_run_twice(make_app):
    app = make_app("plain", LEASE="2000")
    app.start_ready()
    app.start_ready()
    publish(app.module.Created(number=1, what="gil 10"))
    app.until_quiet(60)
    assert app.count("start", "plain") == {1: 1}
