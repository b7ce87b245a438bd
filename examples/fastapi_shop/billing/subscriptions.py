"""What billing hears."""

from fastapi_shop.billing.subscribers import issue_invoice
from fastapi_shop.orders.events import OrderPlaced
from whereupon import subscribe

subscriptions = [
    subscribe(issue_invoice, to=OrderPlaced),
]
