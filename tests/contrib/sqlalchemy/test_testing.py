"""The test tools with sessions: what became of events, and delivering those of a session that is open."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from tests.contrib.sqlalchemy.app import Created, Order
from whereupon import Event, EventStore, apublish, publish, subscribe, subscriber
from whereupon.contrib.sqlalchemy import SQLAlchemyLedger
from whereupon.errors import NoTransaction, WrongConnection
from whereupon.testing import (
    aconsume,
    adeliver_all,
    assert_subscribed,
    consume,
    deliver_all,
    published,
    publishes,
    publishes_nothing,
    using_store,
)


class Counted(Event, name="shop.counted"):
    orders: int


@subscriber(atomic=True)
def counts(event: Created, session: Session) -> None:
    session.add(Order(number=event.number + 100))
    publish(Counted(orders=session.query(Order).count()))


@subscriber(atomic=True, name="counts_too")
def counts_on_connection(event: Created, connection: Connection) -> None:
    connection.exec_driver_sql(f"INSERT INTO shop_order VALUES ({event.number + 200})")


@subscriber(atomic=True)
async def acounts(event: Created, session: AsyncSession) -> None:
    session.add(Order(number=event.number + 300))
    await session.flush()
    await apublish(Counted(orders=event.number))


def hears(event: Counted) -> None: ...


@pytest.fixture
def sync_store(shop):
    subscriptions = [subscribe(counts, to=Created), subscribe(counts_on_connection, to=Created)]
    store = EventStore(subscriptions=[*subscriptions, subscribe(hears, to=Counted)], ledger=shop.ledger)
    with using_store(store):
        yield store


@pytest.fixture
def async_store(ashop):
    subscriptions = [subscribe(counts, to=Created), subscribe(acounts, to=Created)]
    store = EventStore(subscriptions=[*subscriptions, subscribe(hears, to=Counted)], ledger=ashop.ledger)
    with using_store(store):
        yield store


def test_the_fate_of_an_event_in_a_session(shop):
    with published() as events, Session(shop.engine) as session:
        publish(Created(number=1), on=session)
        assert (events, events.waiting) == ([Created(number=1)], 1)
        session.commit()
        assert (len(events), events.waiting) == (1, 0)
        publish(Created(number=2), on=session)
        session.rollback()
        assert events == [Created(number=1)]
        with session.begin_nested():
            publish(Created(number=3), on=session)
        assert events.waiting == 1
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            publish(Created(number=4), on=session)
            with session.begin_nested():
                publish(Created(number=5), on=session)
            raise ZeroDivisionError
        assert events == [Created(number=1), Created(number=3)]
        session.commit()
        assert (len(events), events.waiting) == (2, 0)
        publish(Created(number=6), on=session)
        session.close()
        assert len(events) == 2


def test_the_fate_of_an_event_on_a_connection(shop):
    with published() as events, shop.engine.connect() as connection:
        publish(Created(number=1), on=connection)
        assert events.waiting == 1
        connection.commit()
        assert (len(events), events.waiting) == (1, 0)
        publish(Created(number=2), on=connection)
        with pytest.raises(ZeroDivisionError), connection.begin_nested():
            publish(Created(number=3), on=connection)
            with connection.begin_nested():
                publish(Created(number=4), on=connection)
            raise ZeroDivisionError
        assert events == [Created(number=1), Created(number=2)]
        connection.rollback()
        assert events == [Created(number=1)]
        publish(Created(number=5), on=connection)
    assert events == [Created(number=1)]


@pytest.mark.asyncio
async def test_the_fate_of_an_event_in_an_async_session(ashop):
    with published() as events:
        async with AsyncSession(ashop.engine) as session:
            await apublish(Created(number=1), on=session)
            assert events.waiting == 1
            await session.commit()
            assert (len(events), events.waiting) == (1, 0)
            with pytest.raises(ZeroDivisionError):
                async with session.begin_nested():
                    await apublish(Created(number=2), on=session)
                    raise ZeroDivisionError
            await apublish(Created(number=3), on=session)
            await session.rollback()
            assert events == [Created(number=1)]
        async with ashop.engine.connect() as connection:
            await apublish(Created(number=4), on=connection)
            assert events.waiting == 1
            await connection.commit()
            await apublish(Created(number=5), on=connection)
        assert events == [Created(number=1), Created(number=4)]


def test_the_recorder_refuses_what_the_ledger_would(shop):
    with published() as events:
        with pytest.raises(NoTransaction):
            publish(Created(number=1))
        with pytest.raises(WrongConnection):
            publish(Created(number=1), on=shop)
        engine = shop.engine.execution_options(isolation_level="AUTOCOMMIT")
        with Session(engine) as session, pytest.raises(NoTransaction):
            publish(Created(number=1), on=session)
    assert events == []


def test_publishes_with_a_session(shop):
    with Session(shop.engine) as session:
        with publishes(Created, number=1):
            publish(Created(number=1), on=session)
        with publishes_nothing():
            publish(Created(number=1), on=session)
            session.rollback()


def test_deliver_all_runs_atomic_subscribers_in_a_session_that_is_open(shop, sync_store):
    with published() as events, Session(shop.engine) as session:
        session.add(Order(number=1))
        session.flush()
        publish(Created(number=1), on=session)
        assert deliver_all() == 3
        assert events == [Created(number=1), Counted(orders=2)]
        session.rollback()
        assert events == []
    assert shop.counts()[0] == 0


def test_deliver_all_after_the_commit(shop, sync_store):
    with published() as events, Session(shop.engine) as session:
        session.add(Order(number=1))
        publish(Created(number=1), on=session)
        session.commit()
        session.close()
        assert deliver_all() == 3
        assert len(events) == 2
    assert shop.counts()[0] == 3


def test_deliver_all_in_a_session_that_joins_the_transaction_of_a_test(shop, sync_store):
    """The recipe of SQLAlchemy for test suites: what the application commits is rolled back by the test."""
    with shop.engine.connect() as connection, published() as events:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            session.add(Order(number=1))
            publish(Created(number=1), on=session)
            session.commit()
            assert events.waiting == 0
            assert deliver_all() == 3
            assert session.query(Order).count() == 3
        outer.rollback()
    assert shop.counts()[0] == 0


def test_consume_on_a_session(shop, sync_store):
    with Session(shop.engine) as session:
        session.add(Order(number=1))
        session.flush()
        consume(counts, Created(number=1), on=session)
        consume(counts_on_connection, Created(number=1), on=session)
        assert session.query(Order).count() == 3
    consume(counts, Created(number=1))
    assert shop.counts()[0] == 1


def test_assert_subscribed_to_what_bears_an_event_twice(shop, sync_store):
    assert_subscribed(hears, Counted(orders=1))


@pytest.mark.asyncio
async def test_adeliver_all_runs_in_an_async_session_that_is_open(ashop, async_store):
    with published() as events:
        async with AsyncSession(ashop.engine) as session:
            session.add(Order(number=1))
            await session.flush()
            await apublish(Created(number=1), on=session)
            assert await adeliver_all() == 4
            assert events[0] == Created(number=1)
            assert events.waiting == 3
            assert await session.get(Order, 301) is not None
            assert await session.get(Order, 101) is not None
            await session.rollback()
    assert events == []
    assert ashop.counts()[0] == 0


@pytest.mark.asyncio
async def test_adeliver_all_after_the_commit(ashop, async_store):
    with published() as events:
        async with AsyncSession(ashop.engine) as session, session.begin():
            await apublish(Created(number=1), on=session)
        assert await adeliver_all() == 4
        assert len(events) == 3
    assert ashop.counts()[0] == 2


@pytest.mark.asyncio
async def test_aconsume(ashop, async_store):
    await aconsume(acounts, Created(number=1))
    await aconsume(counts, Created(number=1))
    async with AsyncSession(ashop.engine) as session:
        await aconsume(acounts, Created(number=2), on=session)
        assert await session.get(Order, 302) is not None
    assert ashop.counts()[0] == 2


def test_deliver_all_with_coroutines(ashop, async_store):
    async def publishing() -> None:
        async with AsyncSession(ashop.engine) as session, session.begin():
            await apublish(Created(number=1), on=session)

    with published():
        asyncio.run(publishing())
        assert deliver_all() == 4


def test_an_own_transaction_counts_as_committed(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/own.sqlite3")
    ledger = SQLAlchemyLedger(engine, own_transaction=True)
    ledger.migrate()
    with using_store(EventStore(subscriptions=[subscribe(hears, to=Counted)], ledger=ledger)):
        with published() as events:
            publish(Counted(orders=1))
            assert (len(events), events.waiting) == (1, 0)
            assert deliver_all() == 1
    engine.dispose()
