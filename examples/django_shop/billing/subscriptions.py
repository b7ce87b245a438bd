"""What billing hears."""

from django_shop.billing.subscribers import create_invoice
from django_shop.orders.events import OrderPlaced
from whereupon import subscribe

subscriptions = [subscribe(create_invoice, to=OrderPlaced)]
