"""Real worker processes for the tests: started, watched, stopped, killed."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.servers import new_database
from whereupon.errors import WhereuponError
from whereupon.ledger import reports, rescue
from whereupon.testing import using_store

APP = "tests.engines.local.worker_app"
ROOT = Path(__file__).parents[3]


class App:
    """The application in its folder, its workers, and what its log says."""

    def __init__(self, folder: Path, subscribers: str, url: str, environment: dict[str, str]) -> None:
        self.folder = folder
        own = {"WORKER_APP": str(folder), "SUBSCRIBERS": subscribers, "LEDGER_URL": url}
        self.environment = os.environ | environment | own
        self.environment["PYTHONPATH"] = str(ROOT)
        self.workers: list[subprocess.Popen] = []
        (folder / "log").touch()
        os.environ["WORKER_APP"] = str(folder)
        self.module = importlib.import_module(APP)
        self.module.FOLDER = folder
        self.store = self.module.make_store(subscribers, url)
        self.store.ledger.migrate()
        with self.store.ledger.transaction() as transaction:
            transaction.run("CREATE TABLE IF NOT EXISTS effect (number INTEGER)")

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        log = (self.folder / f"worker-{len(self.workers)}.log").open("wb")
        worker = subprocess.Popen(
            [sys.executable, "-m", "whereupon", "worker", "--store", f"{APP}:store", *arguments],
            env=self.environment | environment, cwd=self.folder, stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        self.workers.append(worker)
        return worker

    def output(self, number: int = 0) -> str:
        return (self.folder / f"worker-{number}.log").read_text()

    def log(self) -> list[list[str]]:
        return [line.split() for line in (self.folder / "log").read_text().splitlines()]

    def count(self, word: str, subscriber: str) -> Counter:
        """Count the lines of a kind, by the number of the event."""
        return Counter(int(line[2]) for line in self.log() if line[:2] == [word, subscriber])

    def times(self, word: str, subscriber: str, number: int) -> list[float]:
        return [float(line[4]) for line in self.log() if line[:3] == [word, subscriber, str(number)]]

    def unfinished(self) -> int:
        with self.store.ledger.reading() as transaction:
            return reports.unfinished(transaction)

    def parked(self) -> list[reports.StoredDelivery]:
        with self.store.ledger.reading() as transaction:
            return reports.parked(transaction)

    def settled(self, *subscribers: str) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        """Return the numbers of the events that each subscriber has done, and of those parked for it."""
        numbers: dict[str, dict[str, list[int]]] = {
            state: {name: [] for name in subscribers} for state in ("done", "parked")
        }
        with self.store.ledger.reading() as transaction:
            rows = transaction.rows(
                "SELECT subscription, state, envelope"
                " FROM whereupon_delivery JOIN whereupon_event ON whereupon_event.id = event_id"
            )
        for subscription, state, envelope in rows:
            name = subscription.partition(":")[0].rpartition(".")[2]
            if name in subscribers:
                numbers[state][name].append(json.loads(envelope)["data"]["number"])
        return numbers["done"], numbers["parked"]

    def children(self) -> list[int]:
        """Return the pids of the worker processes that the ledger knows."""
        with self.store.ledger.reading() as transaction:
            return [each.pid for each in rescue.processes(transaction)]

    def holders(self) -> list[int]:
        """Return the pids of the workers that hold deliveries."""
        with self.store.ledger.reading() as transaction:
            sql = "SELECT DISTINCT worker FROM whereupon_delivery WHERE state = 'claimed'"
            holders = {row[0] for row in transaction.rows(sql)}
            return [each.pid for each in rescue.processes(transaction) if each.id in holders]

    def until(self, condition, seconds: float = 15.0) -> None:
        """Wait until something holds; its worker's output is shown when it does not."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                with contextlib.suppress(WhereuponError), self.store.ledger.reading() as transaction:
                    sql = "SELECT * FROM whereupon_delivery WHERE state IN ('open', 'claimed') LIMIT 5"
                    print(transaction.now(), *transaction.rows(sql), *rescue.processes(transaction), sep="\n")
                outputs = "\n".join(self.output(number)[-3000:] for number in range(len(self.workers)))
                raise AssertionError(f"not within {seconds} s\n{outputs}\n{self.log()[-20:]}")
            time.sleep(0.02)

    def until_quiet(self, seconds: float = 20.0) -> None:
        self.until(lambda: self.unfinished() == 0, seconds)

    def effects(self) -> list[int]:
        with self.store.ledger.reading() as transaction:
            return [row[0] for row in transaction.rows("SELECT number FROM effect ORDER BY number")]

    def stop(self, worker: subprocess.Popen, number: int = signal.SIGTERM) -> int:
        worker.send_signal(number)
        return worker.wait(timeout=40)

    def end(self) -> None:
        try:
            pids = [pid for pid in self.children() if Path(f"/proc/{pid}").exists()]
        except WhereuponError:  # the test has ended its server
            pids = []
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request) -> str:
    """Name the database of the application's ledger; a test that is about one of them overrides it."""
    return request.param


@pytest.fixture
def make_app(tmp_path, database):
    apps: list[App] = []
    url = new_database() if database == "postgresql" else ""

    def make(subscribers: str = "plain", **environment: str) -> App:
        apps.append(App(tmp_path, subscribers, url, environment))
        swap = using_store(apps[-1].store)
        swap.__enter__()
        apps[-1].restore = lambda: swap.__exit__(None, None, None)
        return apps[-1]

    yield make
    for app in apps:
        app.end()
        app.restore()


LIKE_ON_SQLITE = (
    *("holds_the_gil", "two_poison", "sigterm", "second_signal", "the_grace", "cannot_be_imported"),
    *("die_at_once", "sys-exit", "ignore-done", "retry-in", "park-parked", "exception_of_park_on"),
    *("coroutine", "over_its_limit_is_a_failed", "ends_late", "than_its_concurrency", "queues_are_served"),
    *("TestConditions", "payload", "fields_that_newer", "envelope_that_cannot", "children_end_when"),
)
"""Tests in which the database plays no part of its own: on PostgreSQL they are run when all are asked for."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items) -> None:
    for item in items:
        on_postgresql = item.path.parent == Path(__file__).parent and "[postgresql" in item.name
        if on_postgresql and any(part in item.nodeid for part in LIKE_ON_SQLITE):
            item.add_marker(pytest.mark.exhaustive)
