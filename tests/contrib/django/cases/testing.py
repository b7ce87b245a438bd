"""The testing toolkit beside pytest-django and Django's own test cases; run by test_cases.py."""

import pytest
from django.db import transaction
from django.test import TestCase, TransactionTestCase
from tests.contrib.django.shop.billing.subscribers import create_invoice, send_receipt, thank
from tests.contrib.django.shop.models import Invoice
from tests.contrib.django.shop.orders.events import OrderBilled, OrderPlaced
from tests.contrib.django.shop.orders.services import place, place_outside

from whereupon.errors import NoTransaction
from whereupon.testing import (
    assert_subscribed,
    consume,
    deliver_all,
    published,
    publishes,
    publishes_nothing,
)

either = pytest.mark.parametrize(
    "kind",
    [
        pytest.param("db", marks=pytest.mark.django_db),
        pytest.param("transactional_db", marks=pytest.mark.django_db(transaction=True)),
    ],
)


@either
def test_what_is_published_is_recorded_and_delivered_when_told(kind, published):
    place(1)
    assert published == [OrderPlaced(number=1)]
    assert published.waiting == (1 if kind == "db" else 0)
    assert not Invoice.objects.exists()
    assert deliver_all() == 3
    assert published == [OrderPlaced(number=1), OrderBilled(number=1)]
    assert Invoice.objects.get().order == 1


@either
def test_events_of_an_open_transaction_are_seen(kind, published):
    with transaction.atomic():
        place(1)
        assert published.waiting == 1
        deliver_all()
    assert Invoice.objects.get().order == 1


@either
def test_events_that_were_rolled_back_are_not_seen(kind, published):
    with pytest.raises(ValueError, match="no"), transaction.atomic():
        place(1)
        raise ValueError("no")
    with transaction.atomic():
        with pytest.raises(ValueError, match="no"), transaction.atomic():
            place(2)
            raise ValueError("no")
        place(3)
    assert published == [OrderPlaced(number=3)]
    assert deliver_all() == 3


@either
def test_publishing_outside_fails_the_test(kind, published):
    with pytest.raises(NoTransaction):
        place_outside(1)
    assert published == []


@either
def test_subscribers_are_called_as_by_a_worker(kind, django_assert_num_queries):
    assert_subscribed(create_invoice, OrderPlaced(number=1))
    assert Invoice.objects.count() == 2
    consume(send_receipt, OrderBilled(number=1))
    with django_assert_num_queries(4 if kind == "db" else 3, exact=False):
        consume(create_invoice, OrderPlaced(number=2))
    with publishes(OrderBilled, number=3):
        consume(create_invoice, OrderPlaced(number=3))


@either
def test_an_async_subscriber_sees_what_the_test_has_written(kind, settings, tmp_path):
    settings.FOLDER = tmp_path
    Invoice.objects.create(order=1)
    consume(thank, OrderBilled(number=1))
    assert (tmp_path / "log").read_text() == "thanks 1:1\n"


@pytest.mark.django_db(transaction=True)
def test_autocommit_turned_off_by_hand_is_followed(published):
    transaction.set_autocommit(False)
    try:
        place_outside(1)
        assert published.waiting == 1
        transaction.rollback()
        assert published == []
    finally:
        transaction.set_autocommit(True)


class Cases:
    def test_with_context_managers(self):
        with publishes(OrderPlaced, number=1, only=True):
            place(1)
        with publishes_nothing():
            pass
        with published() as events:
            place(2)
            deliver_all()
        assert events == [OrderPlaced(number=2), OrderBilled(number=2)]
        with published(), pytest.raises(NoTransaction):
            place_outside(3)

    def test_functions_for_after_the_commit(self):
        with publishes(OrderPlaced, number=1), self.captureOnCommitCallbacks(execute=True) as found:
            with transaction.atomic():
                transaction.on_commit(lambda: None)
                place(1)
        if isinstance(self, TestCase):
            assert len(found) == 1  # ours are not among them


class WithTestCase(Cases, TestCase):
    pass


class WithTransactionTestCase(Cases, TransactionTestCase):
    captureOnCommitCallbacks = TestCase.captureOnCommitCallbacks
