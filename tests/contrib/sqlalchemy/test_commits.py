"""after_commit for a store without a ledger: called behind the commit, never for what is rolled back."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from tests.contrib.sqlalchemy.app import Order
from whereupon.contrib.sqlalchemy import after_commit
from whereupon.errors import WrongConnection


class Told:
    """What has been called, and how many orders another connection saw at that moment."""

    def __init__(self, shop) -> None:
        self._shop = shop
        self.names: list[str] = []
        self.seen: list[int] = []
        self.threads: set[int] = set()

    def __call__(self, name: str):
        def dispatch() -> None:
            self.names.append(name)
            self.seen.append(self._shop.counts()[0])
            self.threads.add(threading.get_ident())

        return dispatch


@pytest.fixture
def told(shop):
    return Told(shop)


@pytest.fixture
def atold(ashop):
    return Told(ashop)


def insert(on, number: int) -> None:
    on.execute(text(f"INSERT INTO shop_order VALUES ({number})"))


@pytest.fixture(params=["session", "connection"])
def on(request, shop):
    opened = Session(shop.engine) if request.param == "session" else shop.engine.connect()
    with opened as on:
        yield on


def test_a_commit_calls_it_when_others_can_see_the_rows(on, told):
    insert(on, 1)
    after_commit(on, told("a"))
    after_commit(on, told("b"))
    assert told.names == []
    on.commit()
    assert (told.names, told.seen) == (["a", "b"], [1, 1])
    insert(on, 2)
    on.commit()
    assert told.names == ["a", "b"], "once"


def test_what_is_published_before_the_first_statement_waits_too(on, told):
    after_commit(on, told("a"))
    assert told.names == []
    insert(on, 1)
    on.commit()
    assert told.names == ["a"]
    after_commit(on, told("b"))
    insert(on, 2)
    on.rollback()
    insert(on, 3)
    on.commit()
    assert told.names == ["a"]


def test_a_rollback_drops_it(on, told):
    insert(on, 1)
    after_commit(on, told("a"))
    on.rollback()
    insert(on, 2)
    on.commit()
    assert told.names == []


def test_closing_without_a_commit_drops_it(on, told):
    insert(on, 1)
    after_commit(on, told("a"))
    on.close()
    if isinstance(on, Session):  # which can be used again
        insert(on, 2)
        on.commit()
    gc.collect()
    assert told.names == []


def test_savepoints_take_along_what_was_published_in_them(on, told):
    insert(on, 1)
    after_commit(on, told("outside"))
    with on.begin_nested():
        after_commit(on, told("kept"))
    with pytest.raises(ZeroDivisionError), on.begin_nested():
        after_commit(on, told("lost"))
        with on.begin_nested():
            after_commit(on, told("lost with it"))
        raise ZeroDivisionError
    with on.begin_nested():
        with pytest.raises(ZeroDivisionError), on.begin_nested():
            after_commit(on, told("lost too"))
            raise ZeroDivisionError
        after_commit(on, told("kept too"))
    assert told.names == []
    on.commit()
    assert told.names == ["outside", "kept", "kept too"]


def test_a_commit_that_fails_calls_nothing(shop, told):
    if shop.is_sqlite:
        pytest.skip("SQLite checks nothing at the commit here")
    with shop.engine.begin() as connection:
        connection.execute(text("ALTER TABLE shop_order ADD CONSTRAINT u UNIQUE (number) DEFERRABLE"))
    for opened in (Session(shop.engine), shop.engine.connect()):
        with opened as on:
            on.execute(text("SET CONSTRAINTS u DEFERRED"))
            on.execute(text("ALTER TABLE shop_order DROP CONSTRAINT IF EXISTS shop_order_pkey"))
            insert(on, 1)
            insert(on, 1)
            after_commit(on, told("a"))
            with pytest.raises(IntegrityError):
                on.commit()
            on.rollback()
            insert(on, 1)
            after_commit(on, told("b"))
            on.rollback()
    assert told.names == []


def test_a_flush_that_fails_drops_it_with_the_transaction(shop, told):
    with Session(shop.engine) as session:
        session.add(Order(number=1))
        session.commit()
    with Session(shop.engine) as session:
        after_commit(session, told("a"))
        session.add(Order(number=1))
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
        after_commit(session, told("b"))
        session.add(Order(number=2))
        session.commit()
    assert told.names == ["b"]


def test_context_managers_and_scoped_sessions(shop, told):
    with Session(shop.engine) as session, session.begin():
        session.add(Order(number=1))
        after_commit(session, told("begin"))
    scoped = scoped_session(sessionmaker(shop.engine))
    scoped.add(Order(number=2))
    after_commit(scoped, told("scoped"))
    scoped.commit()
    scoped.remove()
    with shop.engine.begin() as connection:
        insert(connection, 3)
        after_commit(connection, told("connection"))
    assert (told.names, told.seen) == (["begin", "scoped", "connection"], [1, 2, 3])


def test_without_a_transaction_it_is_called_at_once_and_strangers_are_refused(told):
    after_commit(None, told("a"))
    assert told.names == ["a"]
    with pytest.raises(WrongConnection):
        after_commit(object(), told("b"))


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["session", "connection"])
async def test_asyncio_waits_in_a_thread(ashop, atold, kind):
    opened = AsyncSession(ashop.engine) if kind == "session" else ashop.engine.connect()
    async with opened as on:
        await on.execute(text("INSERT INTO shop_order VALUES (1)"))
        after_commit(on, atold("a"))
        with pytest.raises(ZeroDivisionError):
            async with on.begin_nested():
                after_commit(on, atold("lost"))
                raise ZeroDivisionError
        await on.commit()
        assert (atold.names, atold.seen) == (["a"], [1])
        assert threading.get_ident() not in atold.threads
        await on.execute(text("INSERT INTO shop_order VALUES (2)"))
        after_commit(on, atold("b"))
        await on.rollback()
    await asyncio.sleep(0)
    assert atold.names == ["a"]


@pytest.mark.asyncio
async def test_a_connection_that_was_not_opened_is_refused(ashop, atold):
    with pytest.raises(WrongConnection):
        after_commit(AsyncConnection(ashop.engine), atold("a"))
