"""The one visible table: which context hears what. Orders subscribes to nothing."""

from django.conf import settings

from django_shop.billing import subscriptions as billing
from django_shop.celery import app
from django_shop.loyalty import subscriptions as loyalty
from django_shop.shipping import subscriptions as shipping
from whereupon import EventStore
from whereupon.contrib.django import DjangoLedger
from whereupon.engines.celery import CeleryEngine

store = EventStore(
    subscriptions=[*billing.subscriptions, *loyalty.subscriptions, *shipping.subscriptions],
    ledger=DjangoLedger(),
    engine=CeleryEngine(app) if settings.CELERY_BROKER_URL else None,
    strict=settings.DEBUG,
)
