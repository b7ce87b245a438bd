"""A database of the tests' own, which they may kill, with Django set up for it in this process."""

from __future__ import annotations

import os
import sys

import django
import pytest
from django.core.management import call_command
from tests.servers import new_database, own_postgres

from whereupon.store import installed
from whereupon.testing import engine_contract

RESEND = {} if "WHEREUPON_BACKLOG" in os.environ else {"RESEND": "2"}
"""How long a relay waits before it takes wake-ups for lost; the promise is about its own default."""


class Server:
    """PostgreSQL, with jobs and, unless they are apart, the ledger in one database."""

    def __init__(self) -> None:
        self._server = own_postgres("fsync=off")
        self.url = self._server.url()

    def lose_everything(self) -> None:
        from django_tasks_db.models import DBTaskResult

        DBTaskResult.objects.all().delete()

    def stopped(self):
        return self._server.stopped()

    def kill(self) -> None:
        self._server.stop()

    def start(self) -> None:
        from django.db import connections

        self._server.start()
        connections.close_all()

    def end(self) -> None:
        self._server.end()


class DjangoTasksKind:
    """The command `db_worker` of django-tasks-db."""

    refuses = ("timeout",)

    def __init__(self, folder, broker) -> None:
        self.name = f"django-tasks-db-{os.environ['DATABASE']}"
        self.store_name = os.environ["STORE"].replace(".store", ":store")
        self.folder = folder
        self.broker = broker
        is_shared = os.environ["DATABASE"] == "postgresql"
        self.environment = {
            "DJANGO_SETTINGS_MODULE": "tests.engines.django_tasks.settings",
            engine_contract.FOLDER: str(folder),
            engine_contract.LEDGER: new_database() if os.environ["DATABASE"] == "apart" else "",
            "TASKS_DATABASE": broker.url if broker else "",
            "CONN_MAX_AGE": os.environ.get("CONN_MAX_AGE", "60" if is_shared else "0"),
        } | RESEND
        os.environ.update(self.environment)
        django.setup()
        call_command("migrate", verbosity=0)
        self.store = installed()
        self.store.ledger.migrate()

    def command(self, number) -> list[str]:
        return [
            *(sys.executable, "-m", "django", "db_worker", "--queue-name", "*", "--no-startup-delay"),
            *("--worker-id", f"worker-{os.getpid()}-{number}"),
        ]

    def send(self, job, argument) -> None:
        from django_tasks_db.models import DBTaskResult

        DBTaskResult.objects.create(
            task_path=f"whereupon.engines.django_tasks_jobs.{job.replace('.', ':')}",
            args_kwargs={"args": [], "kwargs": {"whereupon": argument}},
            backend_name="default",
        )

    def is_ready(self, output) -> bool:
        return "Starting worker" in output


@pytest.fixture(scope="session")
def kind(tmp_path_factory):
    server = None if os.environ["DATABASE"] == "sqlite" else Server()
    yield DjangoTasksKind(tmp_path_factory.mktemp("contract"), server)
    if server:
        server.end()


@pytest.fixture(scope="session")
def rig(kind):
    with engine_contract.Rig(kind) as rig:
        yield rig
