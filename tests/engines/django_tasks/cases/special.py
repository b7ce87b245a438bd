"""What is special to Django Tasks: rows, connections, transactions, backends, and what doctor says."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import django
import pytest
from django.core import checks
from django.db import connection, connections, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from whereupon import EventStore, SQLiteLedger, publish_many, subscribe, subscriber
from whereupon.engine_protocol import Features, WakeUp
from whereupon.engines import answering
from whereupon.engines.django_tasks import DjangoTasksEngine
from whereupon.errors import EngineUnavailable, InvalidConfiguration, InvalidStore
from whereupon.testing.engine_contract.app import Happened

IS_POSTGRES = os.environ["DATABASE"] == "postgresql"
needs_postgres = pytest.mark.skipif(not IS_POSTGRES, reason="there is no server")
OURS = "whereupon.engines.django_tasks_jobs.django_tasks:query"
ELSEWHERE = "tests.engines.django_tasks.elsewhere"
PACKAGE = "django.tasks" if django.VERSION >= (6,) else "django_tasks"


@pytest.fixture
def engine(kind):
    return kind.store.engine


@pytest.fixture
def rows(rig):
    """All rows of django-tasks-db; there are none at the beginning, and no worker."""
    from django_tasks_db.models import DBTaskResult

    rig.end_workers()
    DBTaskResult.objects.all().delete()
    return DBTaskResult.objects


def wake_ups(store) -> list[WakeUp]:
    return [WakeUp(2**40 + number, each.subscriber) for number, each in enumerate(store.routes)]


def placed(rig, count) -> list[int]:
    from tests.engines.django_tasks.special_app import Placed

    numbers = [rig.number() for _ in range(count)]
    with transaction.atomic():
        publish_many([Placed(number=each) for each in numbers])
    return numbers


def backends() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return cursor.fetchone()[0]


def test_atomic_subscribers_have_one_effect_and_no_connection_is_left_open(rig):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE effect (number integer)")
    rig.at_least(1)
    numbers = placed(rig, 3)
    rig.until_quiet()
    before = backends() if IS_POSTGRES else 0
    numbers += placed(rig, 20)
    rig.until_quiet()
    assert (backends() if IS_POSTGRES else 0) <= before
    for name in ("query", "aquery", "hear"):
        assert rig.count("done", name) == dict.fromkeys(numbers, 1), name
    with connection.cursor() as cursor:
        cursor.execute("SELECT number FROM effect ORDER BY number")
        assert [row[0] for row in cursor.fetchall()] == numbers


def test_our_rows_are_gone_when_they_have_run_and_the_team_s_own_stay(rig, kind, rows):
    from tests.engines.django_tasks.special_app import greet

    rig.at_least(1)
    own = greet.enqueue(7)
    kind.send("django_tasks.query", "forged")
    placed(rig, 2)
    rig.until_quiet()
    rig.until(lambda: rows.count() == 2)
    rig.until(lambda: set(rows.values_list("status", flat=True)) == {"SUCCESSFUL", "FAILED"})
    own.refresh()
    assert own.return_value == "hello"
    assert rows.get(status="FAILED").task_path == OURS
    assert "task django_tasks.query was called with something that is no wake-up" in rig.output()


def test_jobs_of_workers_that_have_died_are_swept(engine, kind, rows):
    stale, fresh, own = (
        rows.model(task_path=path, backend_name="default", args_kwargs={}, status="RUNNING")
        for path in (OURS, OURS, "team.tasks.greet")
    )
    for each, age in ((stale, 25), (fresh, 1), (own, 25)):
        each.started_at = timezone.now() - timedelta(hours=age)
        each.save()
    engine._swept_at = -1e9
    engine.enqueue([])
    assert set(rows.all()) == {fresh, own}


def test_jobs_are_sent_in_one_transaction(engine, kind, rows, monkeypatch):
    jobs = wake_ups(kind.store)
    engine.enqueue(jobs)
    with CaptureQueriesContext(connection) as queries:
        engine.enqueue(jobs)
    statements = [each["sql"].split()[0] for each in queries]
    assert statements.count("INSERT") == len(jobs)
    assert statements.count("COMMIT") == 1
    assert {each.priority for each in rows.all()} == {0, 50}
    assert {each.queue_name for each in rows.all()} == {"default", "other"}
    assert not engine.features.one_round_trip
    assert engine.features.atomic_bulk
    rows.all().delete()
    monkeypatch.setitem(engine._tasks, list(engine._tasks)[-1], None)
    with pytest.raises(EngineUnavailable):
        engine.enqueue(jobs)
    assert rows.count() == 0


@needs_postgres
@pytest.mark.parametrize("change", [{"PORT": 1}, {"USER": "eve", "PASSWORD": "secret"}])
def test_a_database_that_is_away_or_refuses_is_named_at_once(engine, kind, monkeypatch, change):
    connections["default"].close()
    own = connections["default"].settings_dict
    monkeypatch.setattr(connections["default"], "settings_dict", own | change)
    began = time.monotonic()
    with pytest.raises(EngineUnavailable, match=rf"127\.0\.0\.1:{change.get('PORT', own['PORT'])}") as caught:
        engine.enqueue(wake_ups(kind.store))
    ((level, text),) = engine.findings()
    assert time.monotonic() - began < 3
    assert "secret" not in str(caught.value)
    assert (level, "cannot be used" in text) == ("error", True)


@needs_postgres
def test_a_table_that_is_locked_does_not_hold_up_the_relay_for_long(engine, kind):
    locked, done = threading.Event(), threading.Event()

    def lock() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE django_tasks_database_dbtaskresult")
            locked.set()
            done.wait(20)
        connection.close()

    thread = threading.Thread(target=lock)
    thread.start()
    locked.wait(10)
    try:
        with pytest.raises(EngineUnavailable, match="statement timeout"):
            engine.enqueue(wake_ups(kind.store))
    finally:
        done.set()
        thread.join()
    engine.enqueue(wake_ups(kind.store))


@needs_postgres
def test_a_database_that_does_not_answer_holds_up_nobody(engine, kind, rows):
    jobs, port = wake_ups(kind.store), connections["default"].settings_dict["PORT"]
    engine.enqueue(jobs)
    rows.all().delete()
    with kind.broker.stopped():
        for fault in "no answer within 3 s", "timeout":  # on a connection that is open, and on a new one
            began = time.monotonic()
            with pytest.raises(EngineUnavailable, match=f"1:{port}, takes no jobs .*{fault}") as caught:
                engine.enqueue(jobs)
            assert time.monotonic() - began < 4
            assert "start its server" in str(caught.value)
        ((level, text),) = engine.findings()
        assert (level, f"1:{port}, cannot be used" in text) == ("error", True)
    engine.enqueue(jobs)
    assert rows.count() == len(jobs)


def test_a_backend_that_does_not_answer_holds_up_nobody(engine, kind):
    """The job that it has not answered is waited for, and no other one is sent behind it."""
    jobs = [each for each in wake_ups(kind.store) if each.subscriber.name == "hear"]
    with socket.create_server(("127.0.0.1", 0)) as server, patient_backend(server):
        began = time.monotonic()
        for fault in "no answer within 3 s", "has not been taken yet":
            with pytest.raises(EngineUnavailable, match=fault):
                engine.enqueue(jobs)
        assert time.monotonic() - began < 4
        taken = threading.Thread(target=lambda: [server.accept()[0].close() for _ in range(2)])
        taken.start()
        until(lambda: is_taken(engine, jobs))
        taken.join(10)
        assert not taken.is_alive()


def test_a_backend_that_never_answers_is_asked_anew_after_a_while(engine, kind, monkeypatch):
    jobs = [each for each in wake_ups(kind.store) if each.subscriber.name == "hear"]
    with socket.create_server(("127.0.0.1", 0)) as server, patient_backend(server):
        with pytest.raises(EngineUnavailable, match="no answer within 3 s"):
            engine.enqueue(jobs)
        held, _ = server.accept()
        monkeypatch.setattr(answering, "_LOST", 0.0)
        taken = threading.Thread(target=lambda: server.accept()[0].close())
        taken.start()
        engine.enqueue(jobs)
        taken.join(10)
        held.close()


def patient_backend(server):
    name = "tests.engines.django_tasks.plain_backend.PatientBackend"
    return override_settings(
        TASKS={"default": {"BACKEND": name, "OPTIONS": {"port": server.getsockname()[1]}}}
    )


def is_taken(engine, jobs) -> bool:
    try:
        engine.enqueue(jobs)
    except EngineUnavailable:
        return False
    return True


def until(condition, seconds=10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_doctor_names_queues_from_which_no_worker_takes(engine, kind, rows):
    engine.enqueue(wake_ups(kind.store))
    assert [level for level, _ in engine.findings()] == ["ok"]
    rows.filter(queue_name="other").update(enqueued_at=timezone.now() - timedelta(minutes=2))
    assert [text for level, text in engine.findings() if level == "error"] == [
        "no worker takes jobs from the queue other; start one: db_worker --queue-name other"
    ]


@pytest.mark.parametrize("backend", ["dummy.DummyBackend", "immediate.ImmediateBackend"])
def test_a_backend_without_workers_is_refused(kind, engine, backend, monkeypatch):
    with override_settings(TASKS={"default": {"BACKEND": f"{PACKAGE}.backends.{backend}"}}):
        with pytest.raises(InvalidConfiguration, match="has no workers"):
            engine.enqueue(wake_ups(kind.store))
        ((level, text),) = engine.findings()
        assert (level, "has no workers" in text) == ("error", True)
        assert "whereupon.W004" in {each.id for each in checks.run_checks()}
        monkeypatch.setattr(sys, "argv", ["manage.py", "test"])
        assert "whereupon.W004" not in {each.id for each in checks.run_checks()}


def test_what_a_backend_lacks_is_a_fault_of_the_store(kind, tmp_path):
    @subscriber(name="hasty", priority="high", queue="mails", timeout=timedelta(seconds=1))
    def hasty(event: Happened) -> None: ...

    def store(backend):
        return EventStore(
            subscriptions=[subscribe(hasty, to=Happened)],
            ledger=SQLiteLedger(tmp_path / "ledger.sqlite3"),
            engine=DjangoTasksEngine(backend=backend),
        )

    plain = {"BACKEND": "tests.engines.django_tasks.plain_backend.PlainBackend"}
    with override_settings(TASKS={"default": plain}):
        with pytest.raises(InvalidStore) as caught:
            store("default")
        for text in ("has no priorities", "has no queue 'mails'", "have no time limit"):
            assert text in str(caught.value)
        with pytest.raises(InvalidConfiguration, match="no backend 'nobody'"):
            store("nobody")
        assert DjangoTasksEngine().features == Features()


def test_a_worker_whose_store_cannot_be_named_does_not_start(kind):
    done = subprocess.run(
        kind.command(0), cwd=kind.folder, capture_output=True, text=True, timeout=30,
        env=os.environ | {"STORE": f"{ELSEWHERE}.store", "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert done.returncode == 1
    assert "Starting worker" not in done.stdout
    assert "workers cannot tell what to import" in done.stderr


@pytest.mark.parametrize("debug", [False, True])
def test_the_reloader_brings_one_helper_along(kind, rig, monkeypatch, debug):
    rig.end_workers()
    command = [*kind.command(f"reloaded-{debug}"), *([] if debug else ["--reload"])]
    monkeypatch.setattr(type(kind), "command", lambda self, number: command)
    if debug:
        monkeypatch.setenv("DEBUG", "1")
    rig.at_least(1)
    (number,) = placed(rig, 1)
    rig.until_quiet()
    assert len(rig.helpers()) == 1
    assert rig.count("done", "query")[number] == 1
    (worker,) = rig.running()
    worker.terminate()
    worker.wait(20)
    rig.until(lambda: not rig.helpers())
