"""Celery workers, started as a team starts them, on brokers that the tests may kill."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.broker_servers import RabbitMQ, Redis
from tests.engines.local.conftest import App
from tests.servers import new_database
from whereupon.testing import using_store

APP = "tests.engines.celery.celery_app"


class CeleryApp(App):
    """The application of the worker tests, with Celery's workers instead of local ones."""

    def __init__(self, folder: Path, *given: Any) -> None:
        os.environ["WORKER_APP"] = str(folder)
        importlib.import_module("tests.engines.celery.native_tasks")  # puts its subscriptions into the table
        super().__init__(folder, *given)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        log = (self.folder / f"worker-{len(self.workers)}.log").open("wb")
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", f"{APP}:app", "worker", "-l", "info", "-c", "2",
             "-Q", "celery,other",
             "--without-mingle", "--without-gossip",
             "--hostname", f"worker{len(self.workers)}@localhost", *arguments],
            env=self.environment | environment, cwd=self.folder, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        log.close()
        self.workers.append(worker)
        return worker

    def start_ready(self, *arguments: str, **environment: str) -> subprocess.Popen:
        worker = self.start(*arguments, **environment)
        number = len(self.workers) - 1
        self.until(lambda: " ready." in self.output(number), 30)
        return worker

    def helpers(self) -> list[int]:
        """Return the pids of the helper processes of this application's workers."""
        return [int(each.name) for each in Path("/proc").glob("[0-9]*") if self._is_helper(each)]

    def _is_helper(self, process: Path) -> bool:
        command = f"whereupon.engines.helper\0{APP}:store\0"
        try:
            is_helper = command in (process / "cmdline").read_text(errors="replace")
            return is_helper and (process / "cwd").readlink() == self.folder
        except OSError:  # it has ended meanwhile
            return False

    def end(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        for pid in self.helpers():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def redis():
    server = Redis()
    yield server
    server.end()


@pytest.fixture(scope="session")
def rabbitmq():
    server = RabbitMQ()
    yield server
    server.end()


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request):
    """A broker with nothing in it; a test may kill it, and starts it again."""
    server = request.getfixturevalue(request.param)
    server.lose_everything()
    return server


BROKER_AWAY = ("broker_that_is_away",)
"""On RabbitMQ for each change; on Redis when all is asked for: Celery 5.7 itself may hang over it there."""
ON_RABBITMQ = "every_kind", "doctor_says", "credentials", *BROKER_AWAY
ON_SQLITE = ("every_kind",)
"""What is run with a ledger in SQLite for each change; the rest when all is asked for."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if (
            item.path.parent == Path(__file__).parent
            and "make_app" in item.fixturenames
            and not _is_run_for_each_change(item.name)
        ):
            item.add_marker(pytest.mark.exhaustive)


def _is_run_for_each_change(name: str) -> bool:
    if "[rabbitmq" in name:
        return "sqlite" not in name and any(part in name for part in ON_RABBITMQ)
    if "sqlite" in name:
        return any(part in name for part in ON_SQLITE)
    return not any(part in name for part in BROKER_AWAY)


@pytest.fixture(params=["postgresql", "sqlite"])
def database(request) -> str:
    return request.param


@pytest.fixture
def make_app(tmp_path, broker, database):
    apps: list[CeleryApp] = []
    url = new_database() if database == "postgresql" else ""

    def make(subscribers: str = "plain", **environment: str) -> CeleryApp:
        app = CeleryApp(tmp_path, subscribers, url, {"BROKER": broker.url} | environment)
        swap = using_store(app.store)
        swap.__enter__()
        app.restore = lambda: swap.__exit__(None, None, None)
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.end()
        app.restore()
