"""The transaction of an atomic subscriber: effect and close commit together, and nobody else ends it."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from tests.contrib.sqlalchemy.app import Created, Order
from whereupon import EventStore, apublish, publish, subscribe, subscriber
from whereupon.deliveries import Close, Done
from whereupon.engines.processes import describe_process
from whereupon.errors import InvalidConfiguration, InvalidStore, LostClaim, NoTransaction
from whereupon.handling import ahandle, handle, prepare
from whereupon.ledger import claims, rescue
from whereupon.publishing import joined
from whereupon.testing import using_store

ID = "shop.on_created:shop.created"


def claimed(shop):
    """Publish an event and claim its delivery for a worker."""
    with shop.ledger.transaction() as transaction:
        from whereupon.ledger import publish as writing

        writing.write(transaction, shop.store.records([Created(number=1)]))
        (delivery,) = shop.store.routes
        rescue.register(transaction, describe_process("w", 1, "local"))
    with shop.ledger.transaction() as transaction:
        wanted = [claims.Wanted((delivery.id,), 1, 10)]
        ((claim,),) = claims.claim(transaction, "w", wanted, claims.Budget(0.0, 10, 10))
    return claim


def lose(shop) -> None:
    with shop.ledger.transaction() as transaction:
        rescue.rescue(transaction, "w")


def state(shop) -> tuple[int, int, str]:
    with shop.ledger.reading() as transaction:
        orders, events = (
            transaction.rows(f"SELECT count(*) FROM {table}")[0][0]
            for table in ("shop_order", "whereupon_event")
        )
        return orders, events, transaction.rows("SELECT state FROM whereupon_delivery ORDER BY id")[0][0]


def test_the_effect_and_the_close_commit_together(shop):
    claim = claimed(shop)
    with shop.ledger.atomic() as atomic:
        atomic.argument(Session).add(Order(number=1))
        assert atomic.argument(Session) is atomic.argument(Session)
        atomic.finish([Close(claim, Done())])
    assert state(shop) == (1, 1, "done")


def test_so_they_do_on_a_connection(shop):
    claim = claimed(shop)
    with shop.ledger.atomic() as atomic:
        atomic.argument(Connection).execute(text("INSERT INTO shop_order VALUES (1)"))
        atomic.finish([Close(claim, Done())])
    assert state(shop) == (1, 1, "done")


@pytest.mark.parametrize("kind", [Session, Connection])
def test_a_raise_rolls_both_back(shop, kind):
    claim = claimed(shop)
    with pytest.raises(ZeroDivisionError), shop.ledger.atomic() as atomic:
        atomic.argument(kind).execute(text("INSERT INTO shop_order VALUES (1)"))
        atomic.finish([Close(claim, Done())])
        raise ZeroDivisionError
    assert state(shop) == (0, 1, "claimed")


@pytest.mark.parametrize("kind", [Session, Connection])
def test_a_lost_claim_rolls_the_effect_back(shop, kind):
    claim = claimed(shop)
    lose(shop)
    with pytest.raises(LostClaim), shop.ledger.atomic() as atomic:
        atomic.argument(kind).execute(text("INSERT INTO shop_order VALUES (1)"))
        atomic.finish([Close(claim, Done())])
    assert state(shop) == (0, 1, "open")


def test_a_commit_of_the_session_stays_in_the_transaction(shop):
    claimed(shop)
    with pytest.raises(ZeroDivisionError), shop.ledger.atomic() as atomic:
        session = atomic.argument(Session)
        session.add(Order(number=1))
        session.commit()
        session.add(Order(number=2))
        session.commit()
        raise ZeroDivisionError
    assert state(shop) == (0, 1, "claimed")


def test_a_rollback_of_the_session_takes_what_it_did_and_published(shop):
    claim = claimed(shop)
    with shop.ledger.atomic() as atomic:
        session = atomic.argument(Session)
        session.add(Order(number=1))
        publish(Created(number=2), on=atomic.connection)
        session.rollback()
        session.add(Order(number=3))
        session.commit()
        atomic.finish([Close(claim, Done())])
    assert state(shop) == (1, 1, "done")


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_connection_cannot_be_ended(shop, end):
    claimed(shop)
    with pytest.raises(NoTransaction, match="leave commit and rollback"), shop.ledger.atomic() as atomic:
        connection = atomic.argument(Connection)
        connection.execute(text("INSERT INTO shop_order VALUES (1)"))
        getattr(connection, end)()
    assert state(shop) == (0, 1, "claimed")


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_an_end_in_sql_is_refused(shop, end):
    claimed(shop)
    with pytest.raises(NoTransaction), shop.ledger.atomic() as atomic:
        connection = atomic.argument(Connection)
        connection.execute(text("INSERT INTO shop_order VALUES (1)"))
        connection.exec_driver_sql(end)
    assert state(shop) == (0, 1, "claimed")


def test_a_connection_of_sqlite_that_was_stopped_is_not_used_again(make_shop):
    shop = make_shop("pysqlite")
    claimed(shop)
    with pytest.raises(LostClaim), shop.ledger.atomic() as atomic:
        raw = atomic.argument(Connection).connection.driver_connection
        atomic.expire()
        atomic.argument(Connection).execute(text("SELECT 1"))
    with shop.sync_engine.connect() as connection:
        assert connection.connection.driver_connection is not raw


def test_savepoints_are_the_subscribers_own(shop):
    claim = claimed(shop)
    with shop.ledger.atomic() as atomic:
        session = atomic.argument(Session)
        session.add(Order(number=1))
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            session.add(Order(number=2))
            raise ZeroDivisionError
        atomic.finish([Close(claim, Done())])
    assert state(shop) == (1, 1, "done")


def test_the_connection_is_as_before_when_the_pool_has_it_back(shop):
    claim = claimed(shop)
    with shop.ledger.atomic() as atomic:
        atomic.finish([Close(claim, Done())])
    for number in range(3):
        with Session(shop.sync_engine) as session:
            session.add(Order(number=number))
            session.commit()
    with shop.sync_engine.connect() as connection:
        connection.execute(text("INSERT INTO shop_order VALUES (9)"))
        connection.rollback()
    assert state(shop)[0] == 3


def test_an_expired_transaction_refuses_everything(shop):
    claim = claimed(shop)
    started, proceed = threading.Event(), threading.Event()
    seen, box = [], []

    def subscriber() -> None:
        try:
            with shop.ledger.atomic() as atomic:
                box.append(atomic)
                session = atomic.argument(Session)
                session.execute(text("INSERT INTO shop_order VALUES (1)"))
                started.set()
                proceed.wait(10)
                with pytest.raises(LostClaim):
                    session.execute(text("INSERT INTO shop_order VALUES (2)"))
                atomic.finish([Close(claim, Done())])
        except Exception as error:
            seen.append(type(error))

    thread = threading.Thread(target=subscriber)
    thread.start()
    started.wait(10)
    box[0].expire()
    with Session(shop.sync_engine) as session:  # would wait if SQLite's lock were still held
        session.add(Order(number=7))
        session.commit()
    proceed.set()
    thread.join(10)
    assert seen == [LostClaim]
    assert shop.sync_engine.pool.checkedout() == 0
    assert state(shop) == (1, 1, "claimed")


def test_a_statement_that_runs_is_interrupted(shop):
    claimed(shop)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    box, seen = [], []

    def subscriber() -> None:
        try:
            with shop.ledger.atomic() as atomic:
                box.append(atomic)
                atomic.argument(Connection).execute(text(endless))
                atomic.argument(Connection).execute(text("SELECT 1"))
        except (DBAPIError, LostClaim, SystemError) as error:  # see GuardedConnection: any, on SQLite
            seen.append(error)

    thread = threading.Thread(target=subscriber)
    thread.start()
    while not box:
        pass
    threading.Event().wait(0.2)
    box[0].expire()
    thread.join(10)
    assert len(seen) == 1


@subscriber(atomic=True)
def writes(event: Created, session: Session) -> None:
    session.add(Order(number=event.number))
    publish(Created(number=9))
    assert joined.get() is session


@subscriber(atomic=True)
def writes_late(event: Created, connection: Connection) -> None:
    connection.execute(text("INSERT INTO shop_order VALUES (1)"))
    publish(Created(number=9))
    raise ValueError("no")


def calls(shop, function):
    shop.store = EventStore(subscriptions=[subscribe(function, to=Created)], ledger=shop.ledger)
    claim = claimed(shop)
    (call,), closes = prepare(shop.store, [claim])
    assert closes == []
    return call


def test_what_is_published_inside_joins(shop):
    call = calls(shop, writes)
    with using_store(shop.store):
        assert handle(shop.store, call) == []
    assert state(shop) == (1, 2, "done")


def test_what_is_published_inside_is_rolled_back_with_it(shop):
    call = calls(shop, writes_late)
    with using_store(shop.store):
        assert len(handle(shop.store, call)) == 1
    assert state(shop) == (0, 1, "claimed")


def test_a_delivery_that_two_workers_handle_has_its_effect_once(shop):
    first = calls(shop, writes_next)
    lose(shop)  # the first worker is taken for dead, and its delivery is given to another
    with shop.ledger.transaction() as transaction:
        (claim,) = [claims.claim_suspect(transaction, "w", [first.subscription.id], alone=False)]
    (second,), _ = prepare(shop.store, claim)
    with using_store(shop.store):
        assert handle(shop.store, second) == []
        assert state(shop) == (1, 1, "done")
        assert handle(shop.store, first) == []
    assert state(shop) == (1, 1, "done")


@subscriber(atomic=True)
def writes_next(event: Created, session: Session) -> None:
    session.add(Order(number=session.query(Order).count() + 1))


def run(shop, function) -> list[Close]:
    call = calls(shop, function)

    async def handling() -> list[Close]:
        return await ahandle(shop.store, call, asyncio.timeout(5))

    with using_store(shop.store):
        return asyncio.run(handling())


@subscriber(atomic=True)
async def awrites(event: Created, session: AsyncSession) -> None:
    session.add(Order(number=event.number))
    await apublish(Created(number=9))
    assert joined.get() is session
    await session.commit()
    session.add(Order(number=5))


@subscriber(atomic=True)
async def araises(event: Created, session: AsyncSession) -> None:
    session.add(Order(number=event.number))
    await apublish(Created(number=9))
    await session.commit()
    raise ValueError("no")


@subscriber(atomic=True)
async def acommits(event: Created, connection: AsyncConnection) -> None:
    await connection.execute(text("INSERT INTO shop_order VALUES (1)"))
    await connection.commit()


@subscriber(atomic=True)
async def aends_in_sql(event: Created, connection: AsyncConnection) -> None:
    await connection.execute(text("INSERT INTO shop_order VALUES (1)"))
    await connection.exec_driver_sql("ROLLBACK")


@subscriber(atomic=True)
async def aconnects(event: Created, connection: AsyncConnection) -> None:
    await connection.execute(text("INSERT INTO shop_order VALUES (1)"))


@subscriber(atomic=True, timeout=timedelta(seconds=0.3))
async def asleeps(event: Created, session: AsyncSession) -> None:
    session.add(Order(number=1))
    await session.flush()
    await asyncio.sleep(60)


def test_a_coroutine_commits_its_effect_with_the_close(ashop):
    assert run(ashop, awrites) == []
    assert state(ashop) == (2, 2, "done")


def test_so_does_one_on_a_connection(ashop):
    assert run(ashop, aconnects) == []
    assert state(ashop) == (1, 1, "done")


@pytest.mark.parametrize("function", [araises, acommits, aends_in_sql])
def test_a_coroutine_that_raises_or_ends_its_transaction_has_no_effect(ashop, function):
    (close,) = run(ashop, function)
    assert close.result.error
    assert state(ashop) == (0, 1, "claimed")


def test_a_coroutine_whose_claim_is_lost_has_no_effect(ashop):
    @subscriber(atomic=True, name="loses")
    async def loses(event: Created, session: AsyncSession) -> None:
        if not ashop.is_sqlite:  # whose lock we hold
            await asyncio.to_thread(lose, ashop)
        session.add(Order(number=1))

    call = calls(ashop, loses)
    if ashop.is_sqlite:
        lose(ashop)

    async def handling() -> list[Close]:
        return await ahandle(ashop.store, call, asyncio.timeout(5))

    with using_store(ashop.store):
        assert asyncio.run(handling()) == []
    assert state(ashop) == (0, 1, "open")


def test_a_coroutine_that_is_cancelled_frees_the_lock(ashop):
    call = calls(ashop, asleeps)

    async def handling() -> list[Close]:
        return await ahandle(ashop.store, call, asyncio.timeout(0.3))

    with using_store(ashop.store):
        assert len(asyncio.run(handling())) == 1
    with Session(ashop.sync_engine) as session:
        session.add(Order(number=7))
        session.commit()
    assert state(ashop) == (1, 1, "claimed")


def test_functions_work_with_an_async_engine_too(ashop):
    call = calls(ashop, writes)
    with using_store(ashop.store):
        assert handle(ashop.store, call) == []
    assert state(ashop) == (1, 2, "done")


def test_a_coroutine_needs_an_async_engine(shop):
    with pytest.raises(InvalidStore, match="no async transaction"):
        EventStore(subscriptions=[subscribe(awrites, to=Created)], ledger=shop.ledger)
    with pytest.raises(InvalidConfiguration, match="AsyncEngine"):
        shop.ledger.aatomic()


def test_the_wait_for_the_lock_does_not_count_for_the_time_limit(make_shop):
    shop = make_shop("aiosqlite")
    call = calls(shop, aconnects)
    held = threading.Event()

    def hold() -> None:
        with shop.ledger.transaction():
            held.set()
            threading.Event().wait(0.6)

    async def handling() -> list[Close]:
        return await ahandle(shop.store, call, asyncio.timeout(0.4))

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(5)
    with using_store(shop.store):
        assert asyncio.run(handling()) == []
    holder.join()
    assert state(shop) == (1, 1, "done")
