"""How orders follow what others do with them."""

from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_shop.billing.events import InvoiceIssued
from fastapi_shop.orders.models import Order
from whereupon import subscriber


@subscriber(atomic=True)
async def mark_invoiced(event: InvoiceIssued, session: AsyncSession) -> None:
    """Remember that an order has its invoice."""
    order = await session.get_one(Order, event.order_id)
    order.status = "invoiced"
