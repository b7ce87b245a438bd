"""Real local workers with atomic subscribers of SQLAlchemy: end to end, and killed in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from tests.contrib.sqlalchemy import worker_app
from tests.contrib.sqlalchemy.app import ASYNC, Created
from tests.contrib.sqlalchemy.conftest import Shop
from whereupon import EventStore, publish_many, subscribe
from whereupon.ledger import reports
from whereupon.testing import using_store

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]


class Workers:
    """The application with a worker process of its own."""

    def __init__(self, shop: Shop, folder: Path, names: str) -> None:
        self.shop, self.folder = shop, folder
        (folder / "log").touch()
        subscriptions = [subscribe(worker_app.TABLE[name], to=Created) for name in names.split(",")]
        self.store = EventStore(
            subscriptions=[*subscriptions, subscribe(worker_app.followed, to=worker_app.Followed)],
            ledger=shop.ledger,
        )
        environment = os.environ | {
            "SHOP_FOLDER": str(folder), "SHOP_DRIVER": shop.driver, "SHOP_URL": shop.url,
            "SHOP_SUBSCRIBERS": names, "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        with (folder / "worker.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "whereupon", "worker", "--store", f"{worker_app.__name__}:store"],
                env=environment, stdout=log, stderr=log,
            )  # fmt: skip

    def publish(self, *numbers: int) -> None:
        engine = create_engine(self.shop.sync_engine.url)
        with using_store(self.store), Session(engine) as session, session.begin():
            publish_many([Created(number=number) for number in numbers], on=session)
        engine.dispose()

    def log(self) -> Counter:
        return Counter((self.folder / "log").read_text().splitlines())

    def until_quiet(self, seconds: float = 40.0) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with self.shop.ledger.reading() as transaction:
                if not reports.unfinished(transaction):
                    return
            if time.monotonic() > deadline:
                raise AssertionError((self.folder / "worker.log").read_text()[-4000:])
            time.sleep(0.05)

    def effects(self) -> list[int]:
        with self.shop.ledger.reading() as transaction:
            return [row[0] for row in transaction.rows("SELECT number FROM shop_order ORDER BY number")]

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(40)

    def output(self) -> str:
        return (self.folder / "worker.log").read_text()


@pytest.fixture
def start(make_shop, tmp_path):
    started: list[Workers] = []

    def starting(driver: str, names: str) -> Workers:
        started.append(Workers(make_shop(driver), tmp_path, names))
        return started[-1]

    yield starting
    for workers in started:
        if workers.process.poll() is None:
            workers.process.kill()
        workers.process.wait()


KINDS = [
    *(("pysqlite", "by_session"), ("psycopg", "by_session"), ("aiosqlite", "by_async_session")),
    *(("asyncpg", "by_async_session"), ("psycopg_async", "by_async_session")),
    *(
        pytest.param(driver, name, marks=pytest.mark.exhaustive)
        for driver, name in (
            *(("pysqlite", "by_connection"), ("psycopg", "by_connection")),
            *(("aiosqlite", "by_async_connection"), ("asyncpg", "by_session")),
        )
    ),
]


@pytest.mark.parametrize(("driver", "name"), KINDS)
def test_a_worker_killed_in_an_atomic_subscriber_leaves_each_effect_exactly_once(start, driver, name):
    workers = start(driver, name)
    workers.publish(*range(1, 13))
    workers.until_quiet()
    assert workers.effects() == list(range(1, 13))  # the number is the primary key: twice would fail
    with workers.shop.ledger.reading() as transaction:
        events = transaction.rows("SELECT name, count(*) FROM whereupon_event GROUP BY name ORDER BY name")
    assert events == [("shop.created", 12), ("shop.followed", 12)]
    log = workers.log()
    assert log["start 5"] == 2
    assert all(log[f"followed {number}"] for number in range(1, 13))
    assert workers.stop() == 0


@pytest.mark.parametrize(
    ("driver", "name"),
    [("pysqlite", "slow"), ("psycopg", "slow"), *((driver, "slow_async") for driver in ASYNC)],
)
def test_an_atomic_subscriber_over_its_time_limit_is_rolled_back_and_tried_again(start, driver, name):
    workers = start(driver, name)
    workers.publish(1, 2)
    workers.until_quiet()
    assert workers.effects() == [1, 2]
    assert workers.log()["start 1"] == 2
    assert workers.stop() == 0


def test_functions_and_coroutines_take_turns_on_sqlite(start):
    """Both kinds are atomic on one file, whose lock one of them holds at a time."""
    workers = start("aiosqlite", "adds,adds_async")
    workers.publish(*range(1, 21))
    workers.until_quiet()
    assert workers.effects() == sorted([*range(1, 21), *range(1001, 1021)])
    assert workers.stop() == 0
