"""Which connections the ledger opens and how, and what happens when the server goes away."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.contrib.sqlalchemy.app import Created, Order, on_created
from tests.servers import new_database, own_postgres
from whereupon import EventStore, apublish, publish, subscribe
from whereupon.contrib.sqlalchemy import SQLAlchemyLedger
from whereupon.errors import (
    InvalidConfiguration,
    LedgerBusy,
    LedgerMissing,
    LedgerUnavailable,
    WhereuponError,
)
from whereupon.testing import using_store


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sqlite://", "a file that other processes can open"),
        ("sqlite:///:memory:", "a file that other processes can open"),
        ("postgresql+asyncpg://localhost/shop?ssl=require", "psycopg does not take"),
    ],
)
def test_what_cannot_be_a_ledger(url, problem):
    engine = create_async_engine(url) if "async" in url else create_engine(url)
    with pytest.raises(InvalidConfiguration, match=problem):
        SQLAlchemyLedger(engine)


def test_a_sync_engine_is_given_where_the_url_is_not_enough():
    engine = create_async_engine("postgresql+asyncpg://localhost/shop?ssl=require")
    own = create_engine("postgresql+psycopg://localhost/shop?sslmode=require")
    assert SQLAlchemyLedger(engine, sync_engine=own).describe() == "postgresql://localhost:5432/shop"
    for wrong in (engine, create_engine("sqlite:///shop.sqlite3"), "postgresql://localhost/shop"):
        with pytest.raises(InvalidConfiguration, match="sync_engine="):
            SQLAlchemyLedger(engine, sync_engine=wrong)


def test_only_engines_are_taken():
    with pytest.raises(InvalidConfiguration, match="takes an Engine or an AsyncEngine"):
        SQLAlchemyLedger("sqlite:///shop.sqlite3")


def test_making_a_ledger_opens_nothing(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/shop.sqlite3")
    ledger = SQLAlchemyLedger(engine)
    assert list(tmp_path.iterdir()) == []
    assert repr(ledger) == f"SQLAlchemyLedger({tmp_path}/shop.sqlite3)"
    with pytest.raises(LedgerMissing, match="whereupon ledger migrate"):
        ledger.connect()
    assert ledger.migrate() == (0, 1)
    assert [level for level, _ in ledger.findings()] == ["ok"] * 3
    engine.dispose()


def test_a_file_of_the_application_keeps_its_journal_mode(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/shop.sqlite3")
    ledger = SQLAlchemyLedger(engine)
    ledger.migrate()
    with ledger.transaction() as transaction:
        assert transaction.rows("SELECT own_file FROM whereupon_ledger") == [(0,)]
        assert transaction.rows("PRAGMA journal_mode") == [("delete",)]
    engine.dispose()


def test_the_ledgers_own_connections_are_opened_as_the_engine_opens_its():
    url = new_database().replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url, connect_args={"application_name": "the shop"})
    opened = []
    event.listen(engine, "do_connect", lambda *arguments: opened.append(arguments) and None)
    ledger = SQLAlchemyLedger(engine)
    ledger.migrate()
    opened.clear()
    with ledger.transaction() as transaction:
        assert transaction.rows("SELECT current_setting('application_name')") == [("the shop",)]
    assert len(opened) == 1
    assert engine.pool.checkedin() == engine.pool.checkedout() == 0
    engine.dispose()


def test_an_own_connection_is_told_of_commits():
    url = new_database().replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url)
    ledger = SQLAlchemyLedger(engine)
    ledger.migrate()
    store = EventStore(subscriptions=[subscribe(on_created, to=Created)], ledger=ledger)
    connection = ledger.connect()
    while not connection.changed():
        time.sleep(0.01)
    connection.changed()
    with using_store(store), Session(engine) as session:
        publish(Created(number=1), on=session)
        session.commit()
    started = time.monotonic()
    while not connection.changed():
        time.sleep(0.001)
    assert time.monotonic() - started < 0.4  # a look at the clock would come after 0.5 s
    connection.close()
    engine.dispose()


def test_a_locked_file_is_busy(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/shop.sqlite3", connect_args={"timeout": 0.05})
    ledger = SQLAlchemyLedger(engine)
    ledger.migrate()
    store = EventStore(subscriptions=[subscribe(on_created, to=Created)], ledger=ledger)
    with using_store(store), ledger.transaction(), Session(engine) as session:
        with pytest.raises(LedgerBusy):
            publish(Created(number=1), on=session)
    engine.dispose()


def test_no_payload_stands_in_an_error(tmp_path):
    """SQLAlchemy writes the parameters of a statement into its errors."""
    engine = create_engine(f"sqlite:///{tmp_path}/shop.sqlite3")
    ledger = SQLAlchemyLedger(engine)
    ledger.migrate()
    with ledger.transaction() as transaction:
        transaction.run("DROP TABLE whereupon_event")
        transaction.run("CREATE TABLE whereupon_event (id TEXT)")
    store = EventStore(subscriptions=[subscribe(on_created, to=Created)], ledger=ledger)
    with using_store(store), Session(engine) as session, pytest.raises(DBAPIError) as caught:
        publish(Created(number=987654), on=session)
    assert "987654" not in str(caught.value)
    engine.dispose()


class Server:
    """A server of the test's own, with an application on it."""

    def __init__(self) -> None:
        self.server = own_postgres()
        url = self.server.url()
        self.engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        self.async_engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
        self.ledger = SQLAlchemyLedger(self.engine)
        self.async_ledger = SQLAlchemyLedger(self.async_engine)
        self.ledger.migrate()
        Order.metadata.create_all(self.engine)


@pytest.fixture
def server():
    found = Server()
    yield found
    found.engine.dispose()
    found.async_ledger._sync_engine.dispose()
    found.server.end()


@pytest.mark.slow
def test_a_server_that_goes_away_is_said_and_found_again(server):
    store = EventStore(subscriptions=[subscribe(on_created, to=Created)], ledger=server.ledger)
    with using_store(store), Session(server.engine) as session:
        publish(Created(number=1), on=session)
        connection = server.ledger.connect()
        server.server.stop()
        with pytest.raises(LedgerUnavailable, match="cannot be reached"):
            publish(Created(number=2), on=session)
        with pytest.raises(LedgerUnavailable), connection.transaction() as transaction:
            transaction.now()
        connection.close()
        with pytest.raises(LedgerUnavailable, match="cannot be reached"):
            server.ledger.connect()
        with pytest.raises(WhereuponError), server.ledger.atomic():
            pass
        server.server.start()
        session.rollback()
        publish(Created(number=3), on=session)
        session.commit()
    with server.ledger.reading() as transaction:
        assert transaction.rows("SELECT count(*) FROM whereupon_event") == [(1,)]
    with server.ledger.atomic() as atomic:
        atomic.argument(Connection).execute(text("INSERT INTO shop_order VALUES (1)"))


@pytest.mark.slow
def test_so_it_is_with_coroutines(server):
    store = EventStore(subscriptions=[subscribe(on_created, to=Created)], ledger=server.async_ledger)

    async def publishing() -> None:
        async with AsyncSession(server.async_engine) as session:
            await apublish(Created(number=1), on=session)
            await asyncio.to_thread(server.server.stop)
            with pytest.raises(LedgerUnavailable, match="cannot be reached"):
                await apublish(Created(number=2), on=session)
            with pytest.raises(LedgerUnavailable, match="cannot be reached"):
                async with server.async_ledger.aatomic():
                    pass
            await asyncio.to_thread(server.server.start)
            await session.rollback()
            await apublish(Created(number=3), on=session)
            await session.commit()
            async with server.async_ledger.aatomic() as atomic:
                atomic.argument(AsyncSession).add(Order(number=1))
        await server.async_engine.dispose()

    with using_store(store):
        asyncio.run(publishing())
    with server.ledger.reading() as transaction:
        assert transaction.rows("SELECT count(*) FROM whereupon_event") == [(1,)]
        assert transaction.rows("SELECT number FROM shop_order") == [(1,)]


def test_the_error_of_a_missing_psycopg_names_the_extra(monkeypatch):
    from whereupon.contrib.sqlalchemy import engines

    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    engine = create_async_engine("postgresql+asyncpg://localhost/shop")
    with pytest.raises(InvalidConfiguration, match=r"psycopg 3 is not installed[\s\S]*whereupon\[postgres\]"):
        SQLAlchemyLedger(engine)


def test_the_documentation_names_every_kind_that_joins():
    page = (Path(__file__).parents[3] / "docs" / "sqlalchemy.md").read_text()
    for kind in ("Session", "scoped_session", "Connection", "AsyncSession", "AsyncConnection", "AUTOCOMMIT"):
        assert f"`{kind}`" in page or kind in page
