"""Writing invoices."""

from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_shop.billing.events import InvoiceIssued
from fastapi_shop.billing.models import Invoice
from fastapi_shop.orders.events import OrderPlaced
from whereupon import apublish, subscriber


@subscriber(queue="billing", priority="high", atomic=True)
async def issue_invoice(event: OrderPlaced, session: AsyncSession) -> None:
    """Write the invoice of an order, exactly once: it commits with the end of the delivery."""
    invoice = Invoice(order_id=event.order_id, total_cents=event.total_cents)
    session.add(invoice)
    await session.flush()
    await apublish(InvoiceIssued(order_id=event.order_id, number=invoice.number))
