"""What orders hear."""

from fastapi_shop.billing.events import InvoiceIssued
from fastapi_shop.orders.subscribers import mark_invoiced
from whereupon import subscribe

subscriptions = [
    subscribe(mark_invoiced, to=InvoiceIssued),
]
