"""Tests as a team would write them for the Django shop; run by test_django_shop.py where Django is set up."""

from dataclasses import replace
from decimal import Decimal
from unittest import mock

import pytest
from django.test import TestCase, TransactionTestCase

from django_shop.billing.models import Invoice
from django_shop.billing.subscribers import create_invoice
from django_shop.event_store import store
from django_shop.loyalty.models import Points
from django_shop.loyalty.subscribers import award_points
from django_shop.orders.events import OrderPlaced
from django_shop.orders.models import Order, Product
from django_shop.orders.services import Refused, checkout
from django_shop.shipping.models import Parcel
from django_shop.shipping.subscribers import pack_parcel
from whereupon import IGNORED, publish
from whereupon.errors import NoTransaction
from whereupon.testing import (
    assert_not_dispatched,
    assert_subscribed,
    consume,
    deliver_all,
    publishes,
    publishes_nothing,
    using_store,
)


def placed(**values):
    usual = {"order_id": 7, "total": Decimal("9.00"), "needs_shipping": True, "customer": "ada"}
    return OrderPlaced(**usual | values)


@pytest.fixture
def teapot(db):
    return Product.objects.create(sku="teapot", name="Teapot", price=Decimal(9), stock=1)


def test_a_checkout_says_that_an_order_was_placed(teapot, published):
    order = checkout("teapot", "ada", "4242")
    assert published == [placed(order_id=order.pk)]


def test_what_a_checkout_brings_about(teapot, published):
    order = checkout("teapot", "ada", "4242")
    assert deliver_all() == 3
    assert Invoice.objects.get(order_id=order.pk).amount == 9
    assert Parcel.objects.filter(order_id=order.pk).exists()
    assert Points.objects.get(order_id=order.pk).amount == 9


@pytest.mark.parametrize(("sku", "card"), [("teapot", "0000"), ("teaspoon", "4242"), ("sold-out", "4242")])
def test_a_checkout_that_fails_publishes_nothing(teapot, sku, card):
    Product.objects.create(sku="sold-out", name="Cup", price=Decimal(9), stock=0)
    with publishes_nothing(), pytest.raises(Refused):
        checkout(sku, "ada", card)
    assert not Order.objects.exists()
    assert Product.objects.get(sku="teapot").stock == 1


def test_shipping_hears_what_can_be_sent(db):
    assert_subscribed(pack_parcel, placed())
    assert Parcel.objects.count() == 1
    assert_not_dispatched(pack_parcel, placed(needs_shipping=False))


def test_guests_earn_no_points(db):
    assert consume(award_points, placed(customer=None)) is IGNORED
    assert_subscribed(award_points, placed())
    assert Points.objects.get().customer == "ada"


def test_billing_writes_an_invoice(db):
    consume(create_invoice, placed())
    assert Invoice.objects.get().order_id == 7


def test_the_page_says_why_an_order_was_refused(client, teapot):
    page = client.post("/checkout", {"sku": "teapot", "card": "0000"})
    assert page.status_code == 409
    assert "The card was refused." in page.content.decode()


class PlainTestCase(TestCase):
    """Without pytest's fixtures, and without a recorder: the events are written in the test's transaction."""

    def setUp(self):
        Product.objects.create(sku="songs", name="Songs", price=Decimal(7), is_physical=False)

    def test_publishing_outside_of_atomic_fails(self):
        with pytest.raises(NoTransaction, match="autocommit mode") as refused:
            publish(placed())
        assert "with transaction.atomic():" in refused.value.fix

    def test_a_checkout_is_recorded(self):
        with publishes(
            OrderPlaced, order_id=mock.ANY, total=Decimal("7.00"), needs_shipping=False, customer=None
        ):
            checkout("songs", "", "4242")


class ProductionTestCase(TransactionTestCase):
    """Without strict, as in production."""

    def test_publishing_outside_of_atomic_is_written_and_reported(self):
        with using_store(replace(store, strict=False)), self.assertLogs("whereupon.publish", "ERROR") as logs:
            envelope = publish(placed())
        assert "django_shop_cases.py" in logs.output[0]
        with store.ledger.transaction() as found:
            sql = "SELECT count(*) FROM whereupon_delivery WHERE event_id = :id AND state = 'open'"
            assert found.rows(sql, {"id": envelope.id}) == [(3,)]
            found.run("DELETE FROM whereupon_delivery")
            found.run("DELETE FROM whereupon_event")
