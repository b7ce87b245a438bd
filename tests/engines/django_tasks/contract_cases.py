"""The conformance kit on Django Tasks, with the database backend; runs in a process of its own."""

from __future__ import annotations

import os
import sys

import django
import pytest
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from tests.servers import new_database, own_postgres
from whereupon.testing import engine_contract

RESEND = {} if "WHEREUPON_BACKLOG" in os.environ else {"RESEND": "5"}


class TasksDatabase:
    """A server with nothing but Django's tasks."""

    def __init__(self, server) -> None:
        self._server = server

    def lose_everything(self) -> None:
        from django_tasks_db.models import DBTaskResult

        DBTaskResult.objects.all().delete()

    def kill(self) -> None:
        self._server.stop()

    def start(self) -> None:
        connections["default"].close()
        self._server.start()


class DjangoTasksKind:
    """`manage.py db_worker`."""

    name = "django-tasks"
    store_name = "tests.engines.django_tasks.contract_app:store"

    def __init__(self, folder, server) -> None:
        self.folder = folder
        self.environment = {
            "DJANGO_SETTINGS_MODULE": "tests.engines.django_tasks.settings",
            "TASKS_DATABASE": server.url(),
            engine_contract.LEDGER: new_database(),
        } | RESEND
        os.environ |= self.environment | {engine_contract.FOLDER: str(folder)}
        django.setup()
        call_command("migrate", verbosity=0)
        from tests.engines.django_tasks.contract_app import store

        self.store = store
        self.store.ledger.migrate()
        self.broker = TasksDatabase(server)

    def command(self, number) -> list[str]:
        options = ["--queue-name", "default,other", "--interval", "0.1", "--no-startup-delay"]
        return [sys.executable, "-m", "django", "db_worker", *options]

    def send(self, job, argument) -> None:
        from django_tasks_db.models import DBTaskResult

        path = job.replace(".", "__")
        DBTaskResult.objects.create(
            args_kwargs={"args": [], "kwargs": {"whereupon": argument}},
            task_path=f"whereupon.engines.django_tasks_jobs.{path}",
            queue_name="default",
            backend_name="default",
            run_after=timezone.now(),
        )

    def is_ready(self, output) -> bool:
        return "Starting worker" in output


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    server = own_postgres()
    with engine_contract.Rig(DjangoTasksKind(tmp_path_factory.mktemp("contract"), server)) as rig:
        yield rig
    connections.close_all()
    server.end()


@pytest.mark.parametrize("case", engine_contract.CASES, ids=str)
def test_contract(case, rig):
    case.run(rig)
