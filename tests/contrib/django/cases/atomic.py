"""Atomic subscribers in the process of the test; run by test_cases.py."""

import sqlite3
from contextlib import closing

import pytest
from django.db import connection, transaction
from tests.contrib.django.shop.event_store import store
from tests.contrib.django.shop.models import Invoice, Order
from tests.contrib.django.shop.orders.services import place

from whereupon.contrib.django.models import Delivery, Event
from whereupon.contrib.django.transactions import begun, translated
from whereupon.deliveries import Retry
from whereupon.errors import LedgerBusy, LostClaim, NoTransaction
from whereupon.handling import handle, prepare
from whereupon.ledger import claims

pytestmark = pytest.mark.django_db(transaction=True)
BILLING = "billing.create_invoice:orders.order_placed"


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.FOLDER = tmp_path
    yield
    with store.ledger.transaction() as own:
        own.run("DELETE FROM whereupon_event")
        own.run("DELETE FROM whereupon_delivery")


def claimed(number=1):
    place(number)
    wanted = [claims.Wanted((BILLING,), 1, 10)]
    with store.ledger.transaction() as own:
        ((claim,),) = claims.claim(own, "worker", wanted, claims.Budget(0.0, 10, 10))
    return claim


def handled(claim, watch=None):
    (call,), _ = prepare(store, [claim])
    return handle(store, call, watch)


def taken_by_another():
    with store.ledger.transaction() as own:
        own.run("UPDATE whereupon_delivery SET token = token + 1 WHERE token IS NOT NULL")


def state():
    return Delivery.objects.get(subscription=BILLING).state


def test_effects_events_and_the_close_commit_together():
    assert handled(claimed()) == []
    assert state() == "done"
    assert Invoice.objects.count() == 1
    assert Event.objects.filter(name="orders.order_billed").count() == 1


def test_a_delivery_that_another_worker_has_closed_leaves_no_second_effect():
    claim = claimed()
    handled(claim)
    taken_by_another()
    assert handled(claim) == []
    assert Invoice.objects.count() == 1
    assert Event.objects.filter(name="orders.order_billed").count() == 1


def test_what_raises_is_rolled_back_and_closed_apart():
    (close,) = handled(claimed(15))
    assert isinstance(close.result, Retry)
    assert not Invoice.objects.exists()
    assert state() == "claimed"


def test_one_that_is_late_commits_nothing_and_leaves_a_usable_connection():
    handled(claimed(), watch=lambda atomic: atomic.expire())
    assert not Invoice.objects.exists()
    assert not Event.objects.filter(name="orders.order_billed").exists()
    handled(claimed(2))
    assert Invoice.objects.count() == 1


def test_one_that_is_late_can_do_nothing_more_on_sqlite():
    if connection.vendor != "sqlite":
        pytest.skip("a server takes statements until the handler ends, and rolls them back")
    with pytest.raises(LostClaim, match="over its time limit"), store.ledger.atomic() as atomic:
        atomic.expire()
        with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")  # the lock is free
        Order.objects.create(number=1)


def test_one_that_ends_its_transaction_by_hand_is_refused():
    with pytest.raises(NoTransaction), store.ledger.atomic() as atomic:
        with connection.cursor() as cursor:
            cursor.execute("COMMIT")
        atomic.finish([])


def test_a_claim_that_is_lost_rolls_back():
    claim = claimed()
    taken_by_another()
    (call,), _ = prepare(store, [claim])
    with pytest.raises(LostClaim), store.ledger.atomic() as atomic:
        Invoice.objects.create(order=1)
        from whereupon.handling import _successes

        atomic.finish(_successes(call, None))
    assert not Invoice.objects.exists()


def test_autocommit_that_was_left_off_does_not_keep_the_effects_from_committing():
    claim = claimed()
    transaction.set_autocommit(False)
    assert handled(claim) == []
    assert connection.get_autocommit()
    assert Invoice.objects.count() == 1


def test_a_lock_that_is_held_for_too_long_is_told():
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite has one lock for the whole database")
    with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerBusy) as busy:
            with translated(connection), begun(connection, patience=0.05):
                pass
        assert "transaction_mode" in busy.value.fix
    place(1)
