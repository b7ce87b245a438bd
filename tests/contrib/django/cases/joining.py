"""What joins Django's transactions and what does not; run by test_cases.py on each database."""

import asyncio
import logging
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.db import connection as proxy
from django.test import Client, TestCase, TransactionTestCase
from tests.contrib.django.shop.event_store import store
from tests.contrib.django.shop.models import Order
from tests.contrib.django.shop.orders.events import OrderPlaced
from tests.contrib.django.shop.orders.services import place, place_outside

from whereupon import apublish, publish
from whereupon.contrib.django import DjangoLedger, joining
from whereupon.errors import (
    InvalidConfiguration,
    LedgerMissing,
    NoTransaction,
    WrongConnection,
    WrongLedger,
)
from whereupon.testing import using_store

both = pytest.mark.django_db(transaction=True, databases=["default", "other"])


def seen():
    """Return the numbers of the events that a worker can see."""
    with closing(store.ledger.connect()) as own, own.reading() as found:
        return sorted(
            int(row[0].partition('"number":')[2].partition("}")[0])
            for row in found.rows("SELECT envelope FROM whereupon_event")
        )


@pytest.fixture(autouse=True)
def emptied(request):
    yield
    if request.node.get_closest_marker("django_db"):
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM whereupon_event")
            cursor.execute("DELETE FROM whereupon_delivery")


@contextmanager
def lenient():
    joining._reported.clear()
    with using_store(replace(store, strict=False)):
        yield


@both
def test_the_event_commits_with_the_business_row():
    with transaction.atomic():
        Order.objects.create(number=1)
        publish(OrderPlaced(number=1))
        if connection.vendor == "postgresql":  # whose readers do not wait for a writer
            assert seen() == []
    assert seen() == [1]


@both
def test_a_rollback_takes_the_event_with_it():
    with pytest.raises(ValueError, match="no"), transaction.atomic():
        place(1)
        raise ValueError("no")
    assert seen() == []
    assert not Order.objects.exists()


@both
def test_a_savepoint_that_is_rolled_back_takes_its_event_with_it():
    with transaction.atomic():
        place(1)
        with pytest.raises(ValueError, match="no"), transaction.atomic():
            place(2)
            raise ValueError("no")
        place(3)
    assert seen() == [1, 3]


@both
def test_an_inner_block_commits_with_the_outer_one():
    with pytest.raises(ValueError, match="no"), transaction.atomic():
        with transaction.atomic():
            with transaction.atomic(savepoint=False):
                place(1)
        raise ValueError("no")
    assert seen() == []


@both
def test_publishing_in_autocommit_is_refused_where_strict():
    with pytest.raises(NoTransaction) as refused:
        place_outside(1)
    assert "transaction.atomic()" in str(refused.value)
    assert "orders/services.py" in refused.value.where
    assert seen() == []


@both
def test_publishing_in_autocommit_is_done_and_reported_in_production(caplog):
    with lenient():
        place_outside(1)
        place_outside(2)
        with transaction.atomic():
            place(3)
    assert seen() == [1, 2, 3]
    (report,) = [each for each in caplog.records if each.name == "whereupon.publish"]
    assert report.levelno == logging.ERROR
    assert "orders/services.py:" in report.getMessage()


@both
def test_autocommit_turned_off_by_hand_is_a_transaction():
    transaction.set_autocommit(False)
    try:
        place_outside(1)
        transaction.rollback()
        place_outside(2)
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert seen() == [2]


@both
def test_a_function_for_after_the_commit_finds_the_event_there():
    found = []
    with transaction.atomic():
        transaction.on_commit(lambda: found.extend(seen()))
        place(1)
        assert not found
    assert found == [1]


@both
def test_publishing_in_a_function_for_after_the_commit_is_outside():
    with pytest.raises(NoTransaction), transaction.atomic():
        transaction.on_commit(lambda: place_outside(2))
        place(1)
    assert seen() == [1]


@both
@pytest.mark.parametrize("on", ["default", "connection", "proxy"])
def test_on_may_name_the_ledgers_own_database(on):
    named = {"connection": connections["default"], "proxy": proxy}.get(on, on)
    with transaction.atomic():
        publish(OrderPlaced(number=1), on=named)
    assert seen() == [1]


@both
def test_another_database_is_refused():
    with pytest.raises(WrongLedger, match="the workers read"), transaction.atomic(using="other"):
        publish(OrderPlaced(number=1), on="other")
    with transaction.atomic(using="other"), pytest.raises(NoTransaction):
        publish(OrderPlaced(number=1))  # a transaction of another alias does not help
    assert seen() == []


@both
def test_what_is_no_connection_of_django_is_refused():
    with transaction.atomic():
        with pytest.raises(WrongConnection, match="not of builtins"):
            publish(OrderPlaced(number=1), on=object())
        with pytest.raises(InvalidConfiguration, match="no alias 'nowhere'"):
            publish(OrderPlaced(number=1), on="nowhere")


@both
def test_publishing_from_a_coroutine_does_not_block_its_loop():
    with lenient():
        asyncio.run(apublish(OrderPlaced(number=1)))
    assert seen() == [1]
    with pytest.raises(NoTransaction):
        asyncio.run(apublish(OrderPlaced(number=2)))
    asyncio.run(_closed())


async def _closed():
    from asgiref.sync import sync_to_async

    await sync_to_async(connections.close_all)()


@both
def test_missing_tables_are_told_with_the_command_that_makes_them():
    with pytest.raises(LedgerMissing) as missing, DjangoLedger(using="other").reading():
        pass
    assert "python manage.py migrate whereupon --database other" in str(missing.value)
    with pytest.raises(LedgerMissing), DjangoLedger(using="other").transaction():
        pass
    with pytest.raises(LedgerMissing):
        DjangoLedger(using="other").connect()
    other = replace(store, ledger=DjangoLedger(using="other"))
    with using_store(other), transaction.atomic(using="other"), pytest.raises(LedgerMissing):
        publish(OrderPlaced(number=1))


@both
def test_an_error_of_the_applications_own_sql_stays_what_it_is():
    with pytest.raises(IntegrityError), transaction.atomic():
        place(1)
        Order.objects.create(number=None)
    with pytest.raises(IntegrityError), store.ledger.atomic():
        Order.objects.create(number=None)


@both
def test_the_ledgers_own_transaction_cannot_be_a_part_of_the_applications():
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        with store.ledger.transaction():
            pass
    with transaction.atomic():
        place(1)
        with store.ledger.reading() as found:  # reading may
            assert found.rows("SELECT count(*) FROM whereupon_event") == [(1,)]


@both
def test_where_autocommit_is_off_the_ledger_commits_on_its_own():
    transaction.set_autocommit(False)
    try:
        with store.ledger.transaction() as own:
            own.run("UPDATE whereupon_ledger SET own_file = own_file")
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


@both
def test_requests_that_are_transactions_take_their_events_with_them(monkeypatch):
    client = Client(raise_request_exception=False)
    assert client.get("/outside/1").status_code == 500  # NoTransaction
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    assert client.get("/outside/2").status_code == 200
    assert client.get("/fail/3").status_code == 500
    assert client.get("/alone/4").status_code == 500
    assert seen() == [2]


class WithTestCase(TestCase):
    def test_the_transaction_of_a_test_is_none_of_the_application(self):
        with pytest.raises(NoTransaction):
            place_outside(1)
        place(2)
        with store.ledger.reading() as found:
            assert found.rows("SELECT count(*) FROM whereupon_event") == [(1,)]

    def test_what_the_test_before_has_published_is_gone(self):
        with store.ledger.transaction() as found:  # a part of the test's transaction
            assert found.rows("SELECT count(*) FROM whereupon_event") == [(0,)]

    def test_in_production_mode_it_is_written_in_the_tests_transaction(self):
        with lenient(), self.assertLogs("whereupon.publish", "ERROR"):
            place_outside(1)


class WithTransactionTestCase(TransactionTestCase):
    def test_outside_is_refused_and_inside_is_not(self):
        with pytest.raises(NoTransaction):
            place_outside(1)
        place(2)
        assert seen() == [2]
        with store.ledger.transaction() as found:
            found.run("DELETE FROM whereupon_event")
            found.run("DELETE FROM whereupon_delivery")
