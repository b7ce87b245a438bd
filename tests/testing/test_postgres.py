"""The test tools inside a psycopg transaction that the test does not commit."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from tests.servers import new_database
from whereupon import Event, EventStore, subscribe, subscriber
from whereupon.ledger import PostgresLedger
from whereupon.publishing import publish
from whereupon.testing import consume, deliver_all, published, using_store


class Placed(Event, name="orders.placed"):
    order_id: int


@subscriber(atomic=True)
def bill(event: Placed, connection: psycopg.Connection) -> None:
    (row,) = connection.execute("SELECT count(*) FROM orders WHERE id = %s", [event.order_id]).fetchall()
    connection.execute("INSERT INTO invoices VALUES (%s, %s)", [event.order_id, row[0]])


@pytest.fixture
def connection():
    ledger = PostgresLedger(new_database())
    ledger.migrate()
    store = EventStore(subscriptions=[subscribe(bill, to=Placed)], ledger=ledger)
    with using_store(store), closing(psycopg.connect(ledger.url)) as connection:
        connection.execute("CREATE TABLE orders (id int); CREATE TABLE invoices (id int, seen int)")
        connection.commit()
        yield connection


def test_an_atomic_subscriber_sees_the_rows_that_the_test_has_not_committed(connection):
    with published():
        connection.execute("INSERT INTO orders VALUES (7)")
        publish(Placed(order_id=7), on=connection)
        assert deliver_all() == 1
    assert connection.execute("SELECT * FROM invoices").fetchall() == [(7, 1)]
    connection.rollback()
    assert connection.execute("SELECT * FROM invoices").fetchall() == []


def test_after_a_commit_it_has_a_transaction_of_its_own(connection):
    with published():
        connection.execute("INSERT INTO orders VALUES (7)")
        publish(Placed(order_id=7), on=connection)
        connection.commit()
        assert deliver_all() == 1
    assert connection.execute("SELECT * FROM invoices").fetchall() == [(7, 1)]


def test_consume_runs_it_in_the_transaction_that_is_given(connection):
    connection.execute("INSERT INTO orders VALUES (8)")
    consume(bill, Placed(order_id=8), on=connection)
    connection.rollback()
    assert connection.execute("SELECT * FROM invoices").fetchall() == []
