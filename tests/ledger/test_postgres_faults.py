"""PostgreSQL that refuses, is gone, or goes in the middle: a typed error, and nothing lost or made up."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest

from tests.ledger.conftest import Bench
from tests.servers import free_port, new_database, own_postgres
from whereupon import Event, EventStore, publish, subscribe
from whereupon.deliveries import Done
from whereupon.errors import (
    InvalidConfiguration,
    LedgerBusy,
    LedgerMissing,
    LedgerUnavailable,
    LedgerVersion,
    NoTransaction,
    WrongConnection,
)
from whereupon.ledger import PostgresLedger, versions
from whereupon.ledger.schema import VERSION
from whereupon.testing import using_store

A = "a.one:ci.created"


class Created(Event, name="ci.created"):
    number: int


def hear(event: Created) -> None:
    """Hear of it."""


@pytest.fixture(scope="module")
def url():
    return new_database()


@pytest.fixture
def ledger(url):
    ledger = PostgresLedger(url, own_transaction=True)
    ledger.migrate()
    yield ledger
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(
            "DROP TABLE whereupon_event, whereupon_delivery, whereupon_worker, whereupon_ledger"
        )


@pytest.fixture
def store(ledger):
    store = EventStore(subscriptions=[subscribe(hear, to=Created)], ledger=ledger)
    with using_store(store):
        yield store


def count(ledger, what="whereupon_event") -> int:
    with ledger.reading() as transaction:
        return transaction.rows(f"SELECT count(*) FROM {what}")[0][0]


class TestConfiguration:
    @pytest.mark.parametrize("text", ["postgresql://[bad", "host", "nonsense=1", "postgresql://h/d?sslmode"])
    def test_a_text_that_is_no_connection_string_is_refused_when_the_ledger_is_made(self, text):
        with pytest.raises(InvalidConfiguration, match="postgresql://user@host"):
            PostgresLedger(text)

    def test_patience_is_more_than_zero(self):
        with pytest.raises(InvalidConfiguration, match="patience="):
            PostgresLedger("postgresql://localhost/x", patience=timedelta(0))

    def test_the_password_is_shown_nowhere(self):
        ledger = PostgresLedger("postgresql://user:secret-7@127.0.0.1:1/shop")
        with pytest.raises(LedgerUnavailable) as caught, ledger.reading():
            pass
        for text in (str(caught.value), repr(ledger), ledger.describe()):
            assert "secret-7" not in text
        assert ledger.describe() == "postgresql://127.0.0.1:1/shop"

    def test_making_a_ledger_opens_nothing(self):
        PostgresLedger(f"postgresql://127.0.0.1:{free_port()}/x")


class TestRefusals:
    def test_nobody_listens_there(self):
        port = free_port()
        with pytest.raises(LedgerUnavailable, match=f"127.0.0.1:{port}/x cannot be reached") as caught:
            PostgresLedger(f"postgresql://127.0.0.1:{port}/x").migrate()
        assert caught.value.retry_is_safe
        assert "server runs" in caught.value.fix

    def test_there_is_no_such_database(self, url):
        with pytest.raises(LedgerUnavailable, match='"nowhere" does not exist'):
            PostgresLedger(url.rpartition("/")[0] + "/nowhere").migrate()

    def test_missing_tables_name_the_command_that_makes_them(self):
        ledger = PostgresLedger(new_database(), own_transaction=True)
        for attempt in (ledger.connect, lambda: count(ledger)):
            with pytest.raises(LedgerMissing, match="holds no ledger") as caught:
                attempt()
            assert caught.value.fix == "whereupon ledger migrate"

    def test_missing_tables_in_the_callers_database(self, ledger, store):
        with closing(psycopg.connect(new_database())) as connection, pytest.raises(LedgerMissing):
            publish(Created(number=1), on=connection)

    def test_a_user_without_rights(self, ledger, url):
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute("DROP ROLE IF EXISTS poor")
            connection.execute("CREATE ROLE poor LOGIN")
        poor = PostgresLedger(psycopg.conninfo.make_conninfo(url, user="poor"), own_transaction=True)
        with pytest.raises(LedgerUnavailable, match="refuses this user") as caught:
            poor.connect()
        assert "GRANT" in caught.value.fix
        with pytest.raises(LedgerUnavailable, match="refuses this user"):
            PostgresLedger(psycopg.conninfo.make_conninfo(url, user="poor"), schema="other").migrate()

    def test_a_read_only_server(self, ledger, url, store):
        options = {"options": "-c default_transaction_read_only=on"}
        frozen = PostgresLedger(psycopg.conninfo.make_conninfo(url, **options), own_transaction=True)
        with (
            using_store(EventStore(subscriptions=[subscribe(hear, to=Created)], ledger=frozen)),
            pytest.raises(LedgerUnavailable, match="is read-only") as caught,
        ):
            publish(Created(number=1))
        assert caught.value.retry_is_safe
        assert count(ledger) == 0

    def test_an_older_and_a_newer_ledger(self, ledger, monkeypatch):
        with ledger.transaction() as transaction:
            transaction.run("UPDATE whereupon_ledger SET version = :new", {"new": VERSION + 1})
        for attempt in (ledger.connect, ledger.migrate):
            with pytest.raises(LedgerVersion, match=f"has version {VERSION + 1}, this code knows {VERSION}"):
                attempt()
        monkeypatch.setattr(versions, "VERSION", VERSION + 2)
        with pytest.raises(LedgerVersion, match="whereupon ledger migrate"):
            ledger.connect()

    def test_tables_of_somebody_else_are_not_taken_for_a_ledger(self):
        url = new_database()
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute("CREATE TABLE whereupon_event (x int)")
        with pytest.raises(LedgerVersion, match="but no version of a ledger"):
            PostgresLedger(url).migrate()

    def test_a_lock_that_is_held_too_long(self, ledger, url, store):
        hasty = PostgresLedger(url, own_transaction=True, patience=timedelta(seconds=0.2))
        with closing(psycopg.connect(url)) as other:
            other.execute("LOCK whereupon_delivery IN ACCESS EXCLUSIVE MODE")
            with (
                using_store(EventStore(subscriptions=[subscribe(hear, to=Created)], ledger=hasty)),
                pytest.raises(LedgerBusy, match="another transaction holds"),
            ):
                publish(Created(number=1))
        assert count(ledger) == 0

    def test_other_connections_are_refused(self, store):
        import sqlite3

        with closing(sqlite3.connect(":memory:")) as wrong, pytest.raises(WrongConnection, match="psycopg 3"):
            publish(Created(number=1), on=wrong)

    def test_a_transaction_that_has_failed_already(self, store, url):
        with closing(psycopg.connect(url)) as connection:
            with pytest.raises(psycopg.errors.DivisionByZero):
                connection.execute("SELECT 1 / 0")
            with pytest.raises(LedgerUnavailable, match="has had an error") as caught:
                publish(Created(number=1), on=connection)
            assert "roll it back" in caught.value.fix

    def test_without_own_transaction_it_needs_one(self, url, ledger):
        strict = PostgresLedger(url)
        with (
            using_store(EventStore(subscriptions=[subscribe(hear, to=Created)], ledger=strict)),
            pytest.raises(NoTransaction, match="on=connection"),
        ):
            publish(Created(number=1))


def test_a_schema_of_its_own(url):
    ledger = PostgresLedger(url, own_transaction=True, schema="events")
    assert ledger.migrate() == (0, VERSION)
    with using_store(EventStore(subscriptions=[subscribe(hear, to=Created)], ledger=ledger)):
        publish(Created(number=1))
    with closing(psycopg.connect(url)) as connection:
        assert connection.execute("SELECT count(*) FROM events.whereupon_delivery").fetchone() == (1,)


def test_several_migrations_at_once_make_one_ledger():
    ledger = PostgresLedger(new_database())
    found: list[tuple[int, int]] = []
    threads = [threading.Thread(target=lambda: found.append(ledger.migrate())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(0, VERSION)] + [(VERSION, VERSION)] * 5


def kill_others(url) -> int:
    """End all other connections to the database, and wait until they are gone."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        killed = connection.execute(f"SELECT pg_terminate_backend(pid) {others}").rowcount
        while connection.execute(f"SELECT 1 {others}").fetchall():
            time.sleep(0.005)
        return killed


class TestGoneInTheMiddle:
    def test_of_the_callers_transaction(self, ledger, store, url):
        with closing(psycopg.connect(url)) as connection:
            publish(Created(number=1), on=connection)
            kill_others(url)
            with pytest.raises(LedgerUnavailable) as caught:
                publish(Created(number=2), on=connection)
            assert caught.value.retry_is_safe
        assert count(ledger) == 0

    def test_of_a_publish_in_its_own_transaction(self, ledger, store, url):
        with pytest.raises(LedgerUnavailable) as caught, ledger.transaction() as transaction:
            transaction.run("UPDATE whereupon_ledger SET version = version")
            kill_others(url)
            transaction.run("UPDATE whereupon_ledger SET version = version")
        assert caught.value.retry_is_safe
        publish(Created(number=1))
        assert count(ledger) == 1

    def test_of_the_commit_itself_a_retry_is_not_called_safe(self, ledger, url):
        with pytest.raises(LedgerUnavailable, match="while a transaction was committed") as caught:
            with ledger.transaction() as transaction:
                transaction.run("UPDATE whereupon_ledger SET version = version")
                kill_others(url)
        assert not caught.value.retry_is_safe

    def test_a_connection_that_died_while_idle_is_not_used_again(self, ledger, store, url):
        publish(Created(number=1))
        assert kill_others(url) >= 1
        publish(Created(number=2))
        assert count(ledger) == 2

    def test_of_a_claim_nothing_is_claimed(self, url, ledger):
        bench = Bench(ledger)
        bench.publish(A)
        worker = bench.worker()
        with pytest.raises(LedgerUnavailable), bench.transaction() as transaction:
            bench.claim_in(transaction, worker, A)
            kill_others(url)
            transaction.run("UPDATE whereupon_ledger SET version = version")
        assert bench.row(1)["state"] == "open"

    def test_of_a_close_the_same_close_may_be_made_again(self, url, ledger):
        bench = Bench(ledger)
        bench.publish(A)
        ((claim,),) = bench.claim(bench.worker(), A)
        with pytest.raises(LedgerUnavailable), bench.transaction() as transaction:
            bench.close_in(transaction, claim, Done())
            kill_others(url)
        assert bench.close(claim, Done()) == []
        assert bench.close(claim, Done()) == [], "and once more, as after a commit that was not heard of"
        assert bench.row(1)["state"] == "done"

    def test_of_a_migration_nothing_is_left(self, monkeypatch):
        ledger = PostgresLedger(new_database())
        real = versions.migration_sql

        def dying(current):
            for number, statement in enumerate(real(current)):
                if number == 3:
                    kill_others(ledger.url)
                yield statement

        monkeypatch.setattr(versions, "migration_sql", dying)
        with pytest.raises(LedgerUnavailable):
            ledger.migrate()
        monkeypatch.undo()
        assert ledger.version() == 0
        assert ledger.migrate() == (0, VERSION)


def test_a_server_that_is_down_and_comes_back(tmp_path):
    server = own_postgres()
    try:
        ledger = PostgresLedger(server.url(), own_transaction=True)
        ledger.migrate()
        with using_store(EventStore(subscriptions=[subscribe(hear, to=Created)], ledger=ledger)):
            publish(Created(number=1))
            server.stop()
            with pytest.raises(LedgerUnavailable) as caught:
                publish(Created(number=2))
            assert caught.value.retry_is_safe
            server.start()
            publish(Created(number=3))
        assert count(ledger) == 2
    finally:
        server.end()
