"""What joins the caller's transaction on a sqlite3.Connection and what does not: one table of cases."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing

import pytest

from whereupon import Event, EventStore, SQLiteLedger, apublish, publish, publish_many, subscribe
from whereupon.errors import LedgerBusy, LedgerMissing, NoTransaction, WrongConnection, WrongLedger
from whereupon.ledger import reports
from whereupon.testing import using_store


class Created(Event, name="ci.created"):
    number: int


def on_created(event: Created) -> None: ...


MODES = {
    "legacy": {},
    "manual": {"isolation_level": None},
    "immediate": {"isolation_level": "IMMEDIATE"},
}
if sys.version_info >= (3, 12):
    MODES |= {"autocommit=False": {"autocommit": False}, "autocommit=True": {"autocommit": True}}

AUTOCOMMITTING = {"manual", "autocommit=True"}


@pytest.fixture
def ledger(tmp_path) -> SQLiteLedger:
    ledger = SQLiteLedger(tmp_path / "app.sqlite3")
    ledger.migrate()
    with closing(sqlite3.connect(ledger.path)) as connection, connection:
        connection.execute("CREATE TABLE business (number INTEGER)")
    return ledger


@pytest.fixture(autouse=True)
def store(ledger):
    with using_store(EventStore(subscriptions=[subscribe(on_created, to=Created)], ledger=ledger)) as store:
        yield store


@pytest.fixture(params=sorted(MODES))
def mode(request) -> str:
    return request.param


@pytest.fixture
def connection(ledger, mode):
    with closing(sqlite3.connect(ledger.path, **MODES[mode])) as connection:
        yield connection


def begin(connection: sqlite3.Connection, mode: str) -> None:
    if mode in AUTOCOMMITTING:
        connection.execute("BEGIN")


def end(connection: sqlite3.Connection, mode: str, how: str) -> None:
    if mode in AUTOCOMMITTING:
        connection.execute(how)
    else:
        getattr(connection, how.lower())()


def counts(ledger: SQLiteLedger) -> tuple[int, int, int]:
    with ledger.reading() as transaction:
        tables = ("business", "whereupon_event", "whereupon_delivery")
        return tuple(transaction.rows(f"SELECT count(*) FROM {table}")[0][0] for table in tables)


def test_a_commit_takes_the_event_along(connection, mode, ledger):
    begin(connection, mode)
    connection.execute("INSERT INTO business VALUES (1)")
    publish(Created(number=1), on=connection)
    assert counts(ledger) == (0, 0, 0)
    end(connection, mode, "COMMIT")
    assert counts(ledger) == (1, 1, 1)


def test_a_rollback_takes_the_event_along(connection, mode, ledger):
    begin(connection, mode)
    connection.execute("INSERT INTO business VALUES (1)")
    publish(Created(number=1), on=connection)
    end(connection, mode, "ROLLBACK")
    assert counts(ledger) == (0, 0, 0)


def test_a_savepoint_that_is_rolled_back_takes_its_event_along(connection, mode, ledger):
    begin(connection, mode)
    publish(Created(number=1), on=connection)
    connection.execute("SAVEPOINT inner")
    publish(Created(number=2), on=connection)
    connection.execute("ROLLBACK TO inner")
    connection.execute("RELEASE inner")
    publish(Created(number=3), on=connection)
    end(connection, mode, "COMMIT")
    assert counts(ledger) == (0, 2, 2)


def test_publishing_first_joins_as_well(connection, mode, ledger):
    begin(connection, mode)
    publish(Created(number=1), on=connection)
    connection.execute("INSERT INTO business VALUES (1)")
    end(connection, mode, "COMMIT")
    assert counts(ledger) == (1, 1, 1)


def test_a_connection_in_autocommit_has_nothing_to_join(connection, mode, ledger):
    if mode not in AUTOCOMMITTING:
        publish(Created(number=1), on=connection)
        assert connection.in_transaction
        return
    with pytest.raises(NoTransaction, match="BEGIN IMMEDIATE"):
        publish(Created(number=1), on=connection)
    assert counts(ledger) == (0, 0, 0)


def test_many_events_commit_as_one(connection, mode, ledger):
    begin(connection, mode)
    publish_many([Created(number=each) for each in range(250)], on=connection)
    assert counts(ledger) == (0, 0, 0)
    end(connection, mode, "COMMIT")
    assert counts(ledger) == (0, 250, 250)


def test_a_row_factory_of_the_caller_does_not_matter(connection, mode, ledger):
    connection.row_factory = sqlite3.Row
    begin(connection, mode)
    publish(Created(number=1), on=connection)
    end(connection, mode, "COMMIT")
    assert counts(ledger)[1] == 1


def test_without_on_there_is_no_transaction(ledger):
    with pytest.raises(NoTransaction) as caught:
        publish(Created(number=1))
    assert "own_transaction=True" in str(caught.value)
    assert counts(ledger) == (0, 0, 0)


def test_own_transaction_commits_at_once(ledger):
    own = SQLiteLedger(ledger.path, own_transaction=True)
    with using_store(EventStore(subscriptions=[subscribe(on_created, to=Created)], ledger=own)):
        publish(Created(number=1))
    assert counts(ledger) == (0, 1, 1)


def test_another_file_is_the_wrong_ledger(tmp_path, ledger):
    with closing(sqlite3.connect(tmp_path / "other.sqlite3")) as connection:
        with pytest.raises(WrongLedger) as caught:
            publish(Created(number=1), on=connection)
    assert "other.sqlite3" in str(caught.value)
    assert str(ledger.path) in str(caught.value)


def test_a_database_in_memory_is_the_wrong_ledger():
    with closing(sqlite3.connect(":memory:")) as connection:
        with pytest.raises(WrongLedger, match="a database in memory"):
            publish(Created(number=1), on=connection)


def test_another_path_to_the_same_file_is_the_right_ledger(tmp_path, ledger):
    (tmp_path / "link.sqlite3").symlink_to(ledger.path)
    with closing(sqlite3.connect(tmp_path / "link.sqlite3")) as connection, connection:
        publish(Created(number=1), on=connection)
    assert counts(ledger)[1] == 1


@pytest.mark.parametrize("thing", [object(), "app.sqlite3", 5])
def test_what_is_no_connection_cannot_be_joined(thing):
    with pytest.raises(WrongConnection, match=r"joins the transaction of a sqlite3\.Connection"):
        publish(Created(number=1), on=thing)


def test_an_async_session_names_apublish():
    class AsyncSession: ...

    with pytest.raises(WrongConnection, match="await apublish"):
        publish(Created(number=1), on=AsyncSession())


def test_a_closed_connection_publishes_nothing(ledger):
    connection = sqlite3.connect(ledger.path)
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError):
        publish(Created(number=1), on=connection)
    assert counts(ledger) == (0, 0, 0)


def test_a_file_without_tables_says_which_command_makes_them(tmp_path):
    path = tmp_path / "bare.sqlite3"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE business (number INTEGER)")
        bare = SQLiteLedger(path)
        with using_store(EventStore(subscriptions=[], ledger=bare)), pytest.raises(LedgerMissing) as caught:
            publish(Created(number=1), on=connection)
    assert "whereupon ledger migrate" in str(caught.value)


def test_a_lock_that_is_held_too_long_is_busy_and_nothing_is_written(ledger):
    with (
        closing(sqlite3.connect(ledger.path)) as holder,
        closing(sqlite3.connect(ledger.path, timeout=0.05)) as other,
    ):
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerBusy, match="BEGIN IMMEDIATE"):
            publish(Created(number=1), on=other)
    assert counts(ledger) == (0, 0, 0)


def test_apublish_writes_without_blocking_and_joins(ledger):
    own = SQLiteLedger(ledger.path, own_transaction=True)

    async def publishing():
        with using_store(EventStore(subscriptions=[subscribe(on_created, to=Created)], ledger=own)):
            await apublish(Created(number=1))
        with closing(sqlite3.connect(ledger.path)) as connection, connection:
            await apublish(Created(number=2), on=connection)

    asyncio.run(publishing())
    assert counts(ledger)[1] == 2


def test_the_same_event_twice_is_two_events(ledger):
    event = Created(number=1)
    with closing(sqlite3.connect(ledger.path)) as connection, connection:
        first, second = publish(event, on=connection), publish(event, on=connection)
    assert first.id != second.id
    with ledger.reading() as transaction:
        assert reports.unfinished(transaction) == 2
