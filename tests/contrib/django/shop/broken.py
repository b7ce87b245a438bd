"""A store with two faults."""

from tests.contrib.django.shop.billing.subscribers import create_invoice, send_receipt
from tests.contrib.django.shop.orders.events import OrderBilled, OrderPlaced
from whereupon import EventStore, subscribe
from whereupon.contrib.django import DjangoLedger

store = EventStore(
    subscriptions=[
        subscribe(create_invoice, to=OrderPlaced),
        subscribe(create_invoice, to=OrderPlaced),
        subscribe(send_receipt, to=OrderBilled),
        subscribe(send_receipt, to=OrderBilled),
    ],
    ledger=DjangoLedger(),
)
