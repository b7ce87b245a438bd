"""What is special to Django Tasks; runs in a process of its own."""

from __future__ import annotations

import os
from datetime import timedelta
from unittest import mock

import django
import pytest
from django.core import checks
from django.core.management import call_command
from django.test import override_settings
from django.utils import timezone

from tests.servers import new_database
from whereupon import EventStore, SQLiteLedger, subscribe, subscriber
from whereupon.engine_protocol import WakeUp
from whereupon.errors import EngineUnavailable, InvalidConfiguration, InvalidStore
from whereupon.testing.engine_contract import FOLDER, LEDGER
from whereupon.testing.engine_contract.app import Happened

IMMEDIATE = {"default": {"BACKEND": "django_tasks.backends.immediate.ImmediateBackend", "QUEUES": []}}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "tests.engines.django_tasks.settings",
        "TASKS_DATABASE": new_database(),
        LEDGER: "",
        FOLDER: str(tmp_path_factory.mktemp("special")),
    }
    django.setup()
    call_command("migrate", verbosity=0)
    from tests.engines.django_tasks.contract_app import store

    yield store.engine
    store.engine.close()


@pytest.fixture
def job(engine):
    from tests.engines.django_tasks.contract_app import store

    return WakeUp(1, store.routes.by_id["engine_contract.act:engine_contract.happened"].subscriber)


def test_doctor_says_whether_the_database_answers(engine):
    assert [level for level, _ in engine.findings()] == ["ok"]


def test_a_backend_without_workers_is_refused_and_a_warning_of_django_s_checks(engine, job):
    with override_settings(TASKS=IMMEDIATE):
        with pytest.raises(InvalidConfiguration, match="has no workers"):
            engine.enqueue([job])
        assert [level for level, _ in engine.findings()] == ["error"]
        assert [each.id for each in checks.run_checks() if each.id == "whereupon.W004"] == ["whereupon.W004"]
        with mock.patch("sys.argv", ["manage.py", "test"]):
            assert not [each for each in checks.run_checks() if each.id == "whereupon.W004"]
    assert not [each for each in checks.run_checks() if each.id == "whereupon.W004"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"queue": "nowhere"}, r"cannot honour queue='nowhere' of wants(?s:.)*add it to QUEUES"),
        ({"timeout": timedelta(seconds=1)}, r"cannot honour timeout= of wants"),
    ],
)
def test_what_the_backend_cannot_honour_is_a_fault_of_the_store(engine, tmp_path, options, text):
    @subscriber(name="wants", **options)
    def wants(event: Happened) -> None: ...

    with pytest.raises(InvalidStore, match=text):
        EventStore(
            subscriptions=[subscribe(wants, to=Happened)],
            ledger=SQLiteLedger(tmp_path / "ledger.sqlite3"),
            engine=engine,
        )


def test_a_priority_is_a_fault_where_the_backend_has_none(engine, tmp_path):
    @subscriber(name="wants", priority="high")
    def wants(event: Happened) -> None: ...

    with (
        mock.patch("django_tasks_db.backend.DatabaseBackend.supports_priority", new=False),
        pytest.raises(InvalidStore, match="cannot honour priority='high'"),
    ):
        EventStore(
            subscriptions=[subscribe(wants, to=Happened)],
            ledger=SQLiteLedger(tmp_path / "ledger.sqlite3"),
            engine=engine,
        )


def test_of_what_the_backend_keeps_ours_are_deleted(engine, job):
    from django_tasks_db.models import DBTaskResult

    yesterday = timezone.now() - timedelta(days=2)

    def keep(path: str, status: str, started_at) -> None:
        DBTaskResult.objects.create(
            args_kwargs={"args": [], "kwargs": {}}, task_path=path, queue_name="default",
            backend_name="default", run_after=yesterday, status=status, started_at=started_at,
        )  # fmt: skip

    ours = "whereupon.engines.django_tasks_jobs.engine_contract__act"
    keep("team.tasks.greet", "SUCCESSFUL", yesterday)
    keep(ours, "SUCCESSFUL", timezone.now())
    keep(ours, "FAILED", timezone.now())
    for status in ("FAILED", "RUNNING"):
        keep(ours, status, yesterday)
    engine._swept_at = -1e9
    engine.enqueue([job])
    left = DBTaskResult.objects.values_list("task_path", "status").order_by("task_path", "status")
    assert list(left) == [("team.tasks.greet", "SUCCESSFUL"), (ours, "FAILED"), (ours, "READY")]


def test_a_database_that_is_away_is_told(engine, job):
    with (
        mock.patch.dict(django.db.connections["default"].settings_dict, {"PORT": 1}),
        pytest.raises(EngineUnavailable, match=r"port 1 (?s:.)*nothing is lost"),
    ):
        engine.close()
        engine.enqueue([job])
    engine.close()
