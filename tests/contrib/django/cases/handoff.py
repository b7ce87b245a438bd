"""A store without a ledger in a Django project: events go to Celery when the transaction commits."""

from dataclasses import replace

import pytest
from celery import Celery
from django.apps import apps
from django.db import transaction
from django.test import TestCase
from tests.broker_servers import Redis
from tests.contrib.django.shop.billing.subscribers import create_invoice, send_receipt
from tests.contrib.django.shop.models import Order
from tests.contrib.django.shop.orders.events import OrderBilled, OrderPlaced

from whereupon import EventStore, publish, subscribe
from whereupon.contrib.django import after_commit
from whereupon.contrib.django.checks import check
from whereupon.engines.celery import CeleryEngine
from whereupon.errors import InvalidStore, NoTransaction, PublishError, WrongConnection
from whereupon.testing import deliver_all, publishes, publishes_nothing, using_store

APP = apps.get_app_config("whereupon")


@pytest.fixture(scope="module")
def redis():
    server = Redis()
    yield server
    server.end()


@pytest.fixture
def make_store(redis):
    redis.lose_everything()
    engines = []

    def make(**options) -> EventStore:
        engines.append(CeleryEngine(Celery("shop", broker=redis.url)))
        store = EventStore(
            subscriptions=[subscribe(send_receipt, to=OrderBilled)], engine=engines[-1], **options
        )
        engines[-1].register(store)
        return store

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def store(make_store):
    with using_store(make_store(after_commit=after_commit)) as store:
        yield store


def bill(number):
    Order.objects.create(number=number)
    publish(OrderBilled(number=number))


@pytest.mark.django_db(transaction=True)
def test_events_are_sent_behind_the_commit(store, redis):
    with transaction.atomic():
        bill(1)
        with transaction.atomic():
            bill(2)
        assert redis.waiting() == 0
    assert redis.waiting() == 2


@pytest.mark.django_db(transaction=True)
def test_events_that_are_rolled_back_are_not_sent(store, redis):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        bill(1)
        raise ZeroDivisionError
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            bill(2)
            raise ZeroDivisionError
        bill(3)
    assert redis.waiting() == 1
    assert list(Order.objects.values_list("number", flat=True)) == [3]


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_on_takes_another_alias(store, redis):
    with transaction.atomic(using="other"):
        publish(OrderBilled(number=1), on="other")
        assert redis.waiting() == 0
        publish(OrderBilled(number=2))
        assert redis.waiting() == 1, "there is no transaction on the default alias"
    assert redis.waiting() == 2
    with pytest.raises(WrongConnection):
        publish(OrderBilled(number=3), on=object())


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_it_is_sent_at_once_or_refused_where_strict(store, redis):
    bill(1)
    assert redis.waiting() == 1
    with using_store(replace(store, strict=True)), pytest.raises(NoTransaction):
        bill(2)
    assert redis.waiting() == 1


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_away_does_not_look_like_a_failed_commit(make_store, redis, caplog):
    told = []
    stores = [make_store(after_commit=after_commit, on_publish_error=told.append)]
    stores += [make_store(after_commit=after_commit, on_publish_error=lambda error: 1 / 0)]
    stores += [make_store(after_commit=after_commit)]
    redis.kill()
    try:
        for number, each in enumerate(stores):
            with using_store(each), transaction.atomic():
                bill(number)
        with using_store(stores[0]), pytest.raises(PublishError, match=str(redis.port)):
            publish(OrderBilled(number=9))
    finally:
        redis.start()
    assert Order.objects.count() == len(stores)
    (error,) = told
    assert error.subscriptions == ("billing.send_receipt:orders.order_billed",)
    assert len(error.events) == 1
    texts = [each.getMessage() for each in caplog.records if each.name == "whereupon.publish"]
    assert ["on_publish_error= of the store failed" in each for each in texts] == [True, False]
    assert all("not enqueued for billing.send_receipt:orders.order_billed" in each for each in texts)


class TestsOfTheTeam(TestCase):
    """Django's own test case, whose transaction never commits."""

    @pytest.fixture(autouse=True)
    def _given(self, store, redis):
        self.redis = redis

    def test_events_are_sent_when_the_callbacks_are_run(self):
        with self.captureOnCommitCallbacks() as callbacks:
            bill(1)
        assert len(callbacks) == 1
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            bill(2)
        assert self.redis.waiting() == 1

    def test_the_testing_toolkit_needs_no_broker(self):
        with publishes(OrderBilled, number=1), transaction.atomic():
            bill(1)
        with publishes_nothing(), pytest.raises(ZeroDivisionError), transaction.atomic():
            bill(2)
            raise ZeroDivisionError
        assert self.redis.waiting() == 0


@pytest.mark.django_db(transaction=True)
def test_recorded_events_are_delivered_when_told(store, published, redis):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        bill(1)
        raise ZeroDivisionError
    with transaction.atomic():
        bill(2)
    assert published == [OrderBilled(number=2)]
    assert deliver_all() == 1
    assert redis.waiting() == 0


def test_the_checks_know_of_it(store, make_store, monkeypatch):
    monkeypatch.setattr(APP, "loaded", replace(APP.loaded, store=store))
    assert check() == []
    monkeypatch.setattr(APP, "loaded", replace(APP.loaded, store=make_store()))
    assert [each.id for each in check()] == ["whereupon.W005"]


def test_atomic_subscribers_need_a_ledger(store):
    with pytest.raises(InvalidStore, match="atomic"):
        replace(store, subscriptions=[subscribe(create_invoice, to=OrderPlaced)])
