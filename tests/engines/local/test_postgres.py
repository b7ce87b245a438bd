"""Workers on PostgreSQL: the server goes and comes back, commits out of order, a pooler between."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from contextlib import closing, suppress

import psycopg
import pytest

from tests.engines.local.conftest import App
from tests.servers import new_database, own_postgres, pgbouncer
from whereupon import publish, publish_many
from whereupon.errors import WhereuponError
from whereupon.testing import using_store

pytestmark = pytest.mark.slow


@pytest.fixture
def server():
    server = own_postgres()
    yield server
    server.end()


@pytest.fixture
def app_on(tmp_path):
    """Make an application on a database of one's choice."""
    apps: list[App] = []

    def make(url: str, subscribers: str, **environment: str) -> App:
        app = App(tmp_path, subscribers, url, environment)
        swap = using_store(app.store)
        swap.__enter__()
        app.restore = lambda: swap.__exit__(None, None, None)
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.end()
        app.restore()


class Business(threading.Thread):
    """Writes business rows, each with its event in one transaction; knows what was acknowledged."""

    def __init__(self, app: App, url: str) -> None:
        super().__init__(daemon=True)
        self.app, self.url = app, url
        self.acknowledged: list[int] = []
        self.number = 0
        self.stop = threading.Event()
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute("CREATE TABLE business (number INTEGER)")

    def run(self) -> None:
        while not self.stop.is_set():
            with suppress(psycopg.Error, WhereuponError), psycopg.connect(self.url) as connection:
                while not self.stop.is_set():
                    self.number += 1
                    connection.execute("INSERT INTO business VALUES (%s)", (self.number,))
                    publish(self.app.module.Created(number=self.number), on=connection)
                    if random.random() < 0.1:
                        connection.rollback()
                        continue
                    connection.commit()
                    self.acknowledged.append(self.number)
                    time.sleep(0.002)
            time.sleep(0.02)

    def end(self) -> None:
        self.stop.set()
        self.join(20)

    def check(self) -> None:
        """Business rows, events, deliveries and effects agree: nothing lost, nothing made up."""
        app = self.app
        with closing(psycopg.connect(self.url)) as connection:
            rows = sorted(row[0] for row in connection.execute("SELECT number FROM business"))
            effects = sorted(row[0] for row in connection.execute("SELECT number FROM effect"))
            events = sorted(
                json.loads(row[0])["data"]["number"]
                for row in connection.execute(
                    "SELECT envelope FROM whereupon_event WHERE name = 'app.created'"
                )
            )
        assert rows == events, "business rows and events agree"
        assert set(self.acknowledged) <= set(rows), "what was acknowledged is there"
        assert app.parked() == []
        assert set(app.count("done", "plain")) >= set(rows), "nothing is lost"
        assert effects == rows, "each atomic effect is there once"


def test_a_server_that_crashes_under_load_loses_nothing_and_workers_come_back_by_themselves(server, app_on):
    """Stopped with `-m immediate` and started again; a worker is at work 5 s after its return."""
    url = server.url()
    app = app_on(url, "plain,atomic,followed")
    business = Business(app, url)
    workers = [app.start() for _ in range(2)]
    business.start()
    app.until(lambda: len(app.count("done", "plain")) > 20)
    for _ in range(3):
        time.sleep(random.uniform(0.2, 1))
        server.stop("immediate")
        time.sleep(random.uniform(0.1, 2))
        server.start()
        before = len(app.count("done", "plain"))
        app.until(lambda before=before: len(app.count("done", "plain")) > before + 5, 5)
    business.end()
    app.until_quiet(60)
    for number, worker in enumerate(workers):
        assert worker.poll() is None, f"a supervisor has ended\n{app.output(number)[-4000:]}"
    assert len(business.acknowledged) > 100
    business.check()


def test_a_worker_that_starts_while_the_server_is_away_waits_for_it(server, app_on):
    """The supervisor is there, its process dies, and the server is down for longer than a start takes."""
    app = app_on(server.url(), "plain")
    supervisor = app.start()
    app.until(lambda: "is ready" in app.output())
    (child,) = app.children()
    server.stop("immediate")
    os.kill(child, signal.SIGKILL)
    time.sleep(3)
    server.start()
    publish(app.module.Created(number=1))
    app.until(lambda: app.count("done", "plain") == {1: 1}, 5)
    assert supervisor.poll() is None


def test_a_hundred_terminated_backends_lose_nothing(app_on):
    url = new_database()
    app = app_on(url, "plain,atomic,followed")
    business = Business(app, url)
    for _ in range(2):
        app.start()
    business.start()
    app.until(lambda: len(app.count("done", "plain")) > 20)
    terminated = 0
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        while terminated < 100:
            pids = connection.execute(
                "SELECT pid FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchall()
            if pids:
                connection.execute("SELECT pg_terminate_backend(%s)", random.choice(pids))
                terminated += 1
            time.sleep(random.uniform(0.01, 0.1))
    business.end()
    app.until_quiet(60)
    business.check()


def test_a_transaction_that_commits_five_seconds_late_is_delivered_within_two(app_on):
    url = new_database()
    app = app_on(url, "plain")
    app.start()
    with closing(psycopg.connect(url)) as slow, closing(psycopg.connect(url)) as fast:
        publish(app.module.Created(number=1), on=slow)
        publish(app.module.Created(number=2), on=fast)
        fast.commit()
        app.until(lambda: app.count("done", "plain") == {2: 1})
        time.sleep(5)
        assert app.count("done", "plain") == {2: 1}
        slow.commit()
        app.until(lambda: app.count("done", "plain") == {1: 1, 2: 1}, 2)


def test_behind_a_pooler_in_transaction_mode(server, app_on):
    """No LISTEN, no session settings, no prepared statements: PgBouncer between everybody and the server."""
    pooler = pgbouncer(server)
    try:
        url = pooler.url("postgres")
        os.environ["POOLED"] = "1"
        app = app_on(url, "plain,atomic,followed,together", POOLED="1")
        app.start()
        app.start()
        for number in range(0, 300, 10):
            publish_many([app.module.Created(number=number + each) for each in range(10)])
        children = app.children()
        if children:
            os.kill(children[0], signal.SIGKILL)
        app.until_quiet(30)
        assert set(app.count("done", "plain")) == set(range(300))
        with app.store.ledger.reading() as transaction:
            assert len(transaction.rows("SELECT number FROM effect")) == 300
            assert len(transaction.rows("SELECT DISTINCT number FROM effect")) == 300
        for number in range(2):
            assert "prepared statement" not in app.output(number)
    finally:
        os.environ.pop("POOLED", None)
        pooler.end()
