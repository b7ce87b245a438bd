"""One database for each driver, with a ledger and a table of the application's own."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest
from sqlalchemy import NullPool, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from tests.contrib.sqlalchemy.app import ASYNC, Base, Created, on_created
from tests.servers import new_database
from whereupon import EventStore, subscribe
from whereupon.contrib.sqlalchemy import SQLAlchemyLedger
from whereupon.testing import using_store

SYNC = ("pysqlite", "psycopg")


def url_of(driver: str, folder) -> str:
    if "sqlite" in driver:
        return f"sqlite+{driver}:///{folder}/app.sqlite3"
    return new_database().replace("postgresql:", f"postgresql+{driver.removesuffix('_async')}:")


class Shop:
    """The application on one driver."""

    def __init__(self, driver: str, folder) -> None:
        self.driver = driver
        self.url = url_of(driver, folder)
        self.is_async = driver in ASYNC
        # connections do not outlive the event loop of one test's asyncio.run()
        self.engine = (
            create_async_engine(self.url, poolclass=NullPool) if self.is_async else create_engine(self.url)
        )
        self.ledger = SQLAlchemyLedger(self.engine)
        self.ledger.migrate()
        self.sync_engine = self.ledger._sync_engine
        Base.metadata.create_all(self.sync_engine)
        self.store = EventStore(subscriptions=[subscribe(on_created, to=Created)], ledger=self.ledger)

    @property
    def is_sqlite(self) -> bool:
        return "sqlite" in self.driver

    def counts(self) -> tuple[int, int, int]:
        """Count the application's rows, the events and the deliveries that are committed."""
        with self.ledger.reading() as transaction:
            tables = ("shop_order", "whereupon_event", "whereupon_delivery")
            return tuple(transaction.rows(f"SELECT count(*) FROM {table}")[0][0] for table in tables)

    def end(self) -> None:
        if self.is_async:
            asyncio.run(self.engine.dispose())
        else:
            self.engine.dispose()
        self.sync_engine.dispose()


@pytest.fixture
def make_shop(tmp_path):
    with ExitStack() as stack:

        def make(driver: str, folder=tmp_path) -> Shop:
            shop = Shop(driver, folder)
            stack.callback(shop.end)
            stack.enter_context(using_store(shop.store))
            return shop

        yield make


@pytest.fixture(params=SYNC)
def shop(request, make_shop) -> Shop:
    return make_shop(request.param)


@pytest.fixture(params=ASYNC)
def ashop(request, make_shop) -> Shop:
    return make_shop(request.param)
