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
        found = subprocess.run(
            ["pgrep", "-f", f"whereupon.engines.helper {APP}:store"], capture_output=True, text=True
        )
        return [int(pid) for pid in found.stdout.split() if self._is_ours(pid)]

    def _is_ours(self, pid: str) -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").readlink() == self.folder
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


ON_RABBITMQ = "every_kind", "loses_everything", "broker_is_killed"
ON_SQLITE = ("every_kind",)
"""What is run on RabbitMQ, and with a ledger in SQLite, for each change; the rest when all is asked for."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if item.path.parent != Path(__file__).parent:
            continue
        wanted = ON_RABBITMQ if "[rabbitmq" in item.name else ON_SQLITE if "sqlite" in item.name else ("",)
        if not any(part in item.name for part in wanted) or "[rabbitmq-sqlite" in item.name:
            item.add_marker(pytest.mark.exhaustive)


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
