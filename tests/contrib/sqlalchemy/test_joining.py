"""What joins the transaction of a Session or Connection and what does not: one table of cases."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from tests.contrib.sqlalchemy.app import Created, Order
from tests.servers import new_database
from whereupon import EventStore, apublish, publish, publish_many
from whereupon.contrib.sqlalchemy import SQLAlchemyLedger
from whereupon.errors import (
    LedgerMissing,
    LedgerUnavailable,
    NoTransaction,
    WrongConnection,
    WrongLedger,
)
from whereupon.testing import using_store


def test_a_commit_of_a_session_takes_the_event_along(shop):
    with Session(shop.engine) as session:
        session.add(Order(number=1))
        publish(Created(number=1), on=session)
        assert shop.counts() == (0, 0, 0)
        session.commit()
    assert shop.counts() == (1, 1, 1)


def test_a_rollback_of_a_session_takes_the_event_along(shop):
    with Session(shop.engine) as session:
        session.add(Order(number=1))
        session.flush()
        publish(Created(number=1), on=session)
        session.rollback()
    assert shop.counts() == (0, 0, 0)


def test_a_session_that_is_closed_takes_the_event_along(shop):
    with Session(shop.engine) as session:
        publish(Created(number=1), on=session)
    assert shop.counts() == (0, 0, 0)


def test_an_exception_in_begin_takes_the_event_along(shop):
    with pytest.raises(ZeroDivisionError), Session(shop.engine) as session, session.begin():
        publish(Created(number=1), on=session)
        raise ZeroDivisionError
    assert shop.counts() == (0, 0, 0)


@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_a_connection_joins(shop, how):
    with shop.engine.connect() as connection:
        connection.execute(text("INSERT INTO shop_order VALUES (1)"))
        publish(Created(number=1), on=connection)
        assert shop.counts() == (0, 0, 0)
        getattr(connection, how)()
    assert shop.counts() == ((1, 1, 1) if how == "commit" else (0, 0, 0))


def test_a_scoped_session_joins(shop):
    scoped = scoped_session(sessionmaker(shop.engine))
    scoped.add(Order(number=1))
    publish(Created(number=1), on=scoped)
    scoped.commit()
    scoped.remove()
    assert shop.counts() == (1, 1, 1)


def test_publishing_first_joins_as_well(shop):
    with Session(shop.engine) as session:
        publish(Created(number=1), on=session)
        session.add(Order(number=1))
        session.commit()
    assert shop.counts() == (1, 1, 1)


def test_many_events_commit_as_one(shop):
    with Session(shop.engine) as session:
        publish_many([Created(number=each) for each in range(250)], on=session)
        assert shop.counts() == (0, 0, 0)
        session.commit()
    assert shop.counts() == (0, 250, 250)


def test_a_savepoint_that_is_rolled_back_takes_its_event_along(shop):
    with Session(shop.engine) as session:
        publish(Created(number=1), on=session)
        savepoint = session.begin_nested()
        session.add(Order(number=2))
        publish(Created(number=2), on=session)
        savepoint.rollback()
        publish(Created(number=3), on=session)
        session.commit()
    assert shop.counts() == (0, 2, 2)


def test_a_released_savepoint_is_rolled_back_with_all_of_it(shop):
    """The sqlite3 module would commit here, as it begins no transaction before a SAVEPOINT."""
    with Session(shop.engine) as session:
        with session.begin_nested():
            publish(Created(number=1), on=session)
        session.add(Order(number=1))
        session.flush()
        session.rollback()
    assert shop.counts() == (0, 0, 0)


def test_savepoints_within_savepoints(shop):
    with Session(shop.engine) as session:
        with session.begin_nested():
            publish(Created(number=1), on=session)
            with pytest.raises(ZeroDivisionError), session.begin_nested():
                publish(Created(number=2), on=session)
                with session.begin_nested():
                    publish(Created(number=3), on=session)
                raise ZeroDivisionError
        session.commit()
    assert shop.counts() == (0, 1, 1)


def test_the_savepoints_of_another_engine_are_refused_where_they_would_commit(make_shop):
    shop = make_shop("pysqlite")
    other = create_engine(shop.url)
    with Session(other) as session, session.begin_nested():
        with pytest.raises(NoTransaction, match="savepoint"):
            publish(Created(number=1), on=session)
    with Session(other) as session:
        publish(Created(number=1), on=session)
        session.commit()
    other.dispose()
    assert shop.counts() == (0, 1, 1)


def test_the_recipe_of_sqlalchemy_for_sqlite_is_honoured(make_shop):
    shop = make_shop("pysqlite")

    @event.listens_for(shop.engine, "connect")
    def connect(connection, record):
        connection.isolation_level = None

    @event.listens_for(shop.engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN")

    shop.engine.dispose()
    with Session(shop.engine) as session:
        with session.begin_nested():
            publish(Created(number=1), on=session)
        session.rollback()
        publish(Created(number=2), on=session)
        session.commit()
    assert shop.counts() == (0, 1, 1)


def test_the_isolation_level_autocommit_has_nothing_to_join(shop):
    engine = shop.engine.execution_options(isolation_level="AUTOCOMMIT")
    with Session(engine) as session, pytest.raises(NoTransaction, match="AUTOCOMMIT"):
        publish(Created(number=1), on=session)
    with shop.engine.connect() as connection, pytest.raises(NoTransaction, match="AUTOCOMMIT"):
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        publish(Created(number=1), on=connection)
    engine = create_engine(shop.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, pytest.raises(NoTransaction, match="AUTOCOMMIT"):
        publish(Created(number=1), on=connection)
    engine.dispose()
    assert shop.counts() == (0, 0, 0)


def test_without_on_there_is_no_transaction(shop):
    with pytest.raises(NoTransaction, match="own_transaction=True"):
        publish(Created(number=1))


def test_own_transaction_commits_at_once(shop):
    own = SQLAlchemyLedger(shop.engine, own_transaction=True)
    with using_store(EventStore(subscriptions=shop.store.subscriptions, ledger=own)):
        publish(Created(number=1))
        asyncio.run(apublish(Created(number=2)))
    assert shop.counts() == (0, 2, 2)


def test_the_wrong_things_are_refused(shop):
    for thing in (object(), shop.engine, sessionmaker(shop.engine)):
        with pytest.raises(WrongConnection, match="Session or a Connection"):
            publish(Created(number=1), on=thing)


def test_another_database_is_the_wrong_ledger(shop, make_shop, tmp_path):
    (tmp_path / "other").mkdir()
    other = make_shop(shop.driver, tmp_path / "other")
    with using_store(shop.store), Session(other.engine) as session:
        for _ in range(2):
            with pytest.raises(WrongLedger, match="the workers read"):
                publish(Created(number=1), on=session)
    assert (shop.counts(), other.counts()) == ((0, 0, 0), (0, 0, 0))


def test_the_ledger_is_asked_for_once_in_a_connection(shop):
    asked = []

    @event.listens_for(shop.engine, "before_cursor_execute")
    def note(connection, cursor, statement, parameters, context, executemany):
        asked.append(statement)

    with Session(shop.engine) as session:
        for number in range(3):
            publish(Created(number=number), on=session)
        session.commit()
    assert len([each for each in asked if "ledger_id" in each or "PRAGMA" in each]) == 1
    assert len(asked) == 1 + 3 * (2 if shop.is_sqlite else 1)


def test_a_database_without_tables_says_which_command_makes_them(shop, tmp_path):
    url = (
        f"sqlite:///{tmp_path}/bare.sqlite3"
        if shop.is_sqlite
        else new_database().replace(":", "+psycopg:", 1)
    )
    engine = create_engine(url)
    bare = SQLAlchemyLedger(engine)
    with using_store(EventStore(subscriptions=[], ledger=bare)), Session(engine) as session:
        session.execute(text("SELECT 1"))
        with pytest.raises(LedgerMissing, match="whereupon ledger migrate"):
            publish(Created(number=1), on=session)
    with using_store(shop.store), Session(engine) as session:
        with pytest.raises((LedgerMissing, WrongLedger)):
            publish(Created(number=1), on=session)
    engine.dispose()


def test_a_server_that_is_not_there(tmp_path):
    engine = create_engine("postgresql+psycopg://somebody:secret@127.0.0.1:9/nothing")
    ledger = SQLAlchemyLedger(engine, own_transaction=True)
    assert ledger.describe() == "postgresql://127.0.0.1:9/nothing"
    with using_store(EventStore(subscriptions=[], ledger=ledger)):
        with pytest.raises(LedgerUnavailable, match="cannot be reached") as caught:
            publish(Created(number=1))
    assert "secret" not in str(caught.value)


def test_an_error_of_the_callers_own_stays_what_it_is(shop):
    from sqlalchemy.exc import InvalidRequestError

    with Session(shop.engine) as session:
        session.close()
        session.connection().close()
        with pytest.raises(InvalidRequestError):
            publish(Created(number=1), on=session)


def test_the_lock_of_ones_own_session_is_not_waited_for(make_shop):
    """A transaction that outgrows the cache of SQLite keeps every other connection from reading."""
    shop = make_shop("pysqlite")
    with Session(shop.engine) as session:
        session.execute(text("PRAGMA cache_size = 10"))
        session.add_all(Order(number=number) for number in range(20_000))
        session.flush()
        publish(Created(number=1), on=session)
        session.commit()
    assert shop.counts() == (20_000, 1, 1)
