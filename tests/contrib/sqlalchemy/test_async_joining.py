"""What joins the transaction of an AsyncSession or AsyncConnection."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from tests.contrib.sqlalchemy.app import Created, Order
from whereupon import EventStore, apublish, apublish_many, publish
from whereupon.contrib.sqlalchemy import SQLAlchemyLedger
from whereupon.errors import NoTransaction, WrongConnection, WrongLedger
from whereupon.testing import using_store


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["commit", "rollback"])
async def test_an_async_session_joins(ashop, how):
    async with AsyncSession(ashop.engine) as session:
        session.add(Order(number=1))
        await session.flush()
        await apublish(Created(number=1), on=session)
        assert ashop.counts() == (0, 0, 0)
        await getattr(session, how)()
    assert ashop.counts() == ((1, 1, 1) if how == "commit" else (0, 0, 0))


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["commit", "rollback"])
async def test_an_async_connection_joins(ashop, how):
    async with ashop.engine.connect() as connection:
        await connection.execute(text("INSERT INTO shop_order VALUES (1)"))
        await apublish_many([Created(number=1), Created(number=2)], on=connection)
        await getattr(connection, how)()
    assert ashop.counts() == ((1, 2, 2) if how == "commit" else (0, 0, 0))


@pytest.mark.asyncio
async def test_savepoints_take_their_events_along(ashop):
    async with AsyncSession(ashop.engine) as session:
        async with session.begin_nested():
            await apublish(Created(number=1), on=session)
        with pytest.raises(ZeroDivisionError):
            async with session.begin_nested():
                await apublish(Created(number=2), on=session)
                raise ZeroDivisionError
        await session.commit()
        assert ashop.counts() == (0, 1, 1)
        async with session.begin_nested():
            await apublish(Created(number=3), on=session)
        await session.rollback()
    assert ashop.counts() == (0, 1, 1)


@pytest.mark.asyncio
async def test_publish_names_apublish(ashop):
    async with AsyncSession(ashop.engine) as session, ashop.engine.connect() as connection:
        for on in (session, connection):
            with pytest.raises(WrongConnection, match="await apublish"):
                publish(Created(number=1), on=on)


@pytest.mark.asyncio
async def test_publish_joins_in_run_sync(ashop):
    async with AsyncSession(ashop.engine) as session:
        await session.run_sync(lambda session: publish(Created(number=1), on=session))
        await session.commit()
    assert ashop.counts() == (0, 1, 1)


@pytest.mark.asyncio
async def test_autocommit_has_nothing_to_join(ashop):
    engine = ashop.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with AsyncSession(engine) as session:
        with pytest.raises(NoTransaction, match="AUTOCOMMIT"):
            await apublish(Created(number=1), on=session)


@pytest.mark.asyncio
async def test_without_on(ashop):
    with pytest.raises(NoTransaction, match="own_transaction=True"):
        await apublish(Created(number=1))
    own = SQLAlchemyLedger(ashop.engine, own_transaction=True)
    with using_store(EventStore(subscriptions=ashop.store.subscriptions, ledger=own)):
        await apublish(Created(number=1))
    assert ashop.counts() == (0, 1, 1)


@pytest.mark.asyncio
async def test_another_database_is_the_wrong_ledger(ashop, make_shop, tmp_path):
    (tmp_path / "other").mkdir()
    other = make_shop(ashop.driver, tmp_path / "other")
    with using_store(ashop.store):
        async with AsyncSession(other.engine) as session:
            with pytest.raises(WrongLedger, match="the workers read"):
                await apublish(Created(number=1), on=session)


def test_apublish_takes_a_plain_session_too(shop):
    async def publishing():
        with Session(shop.engine) as session:
            await apublish(Created(number=1), on=session)
            session.commit()

    asyncio.run(publishing())
    assert shop.counts() == (0, 1, 1)
