"""Packing parcels."""

from fastapi_shop.database import sessions
from fastapi_shop.orders.events import OrderPlaced
from fastapi_shop.shipping.models import Parcel
from whereupon import subscriber


@subscriber(queue="shipping")
async def pack_parcel(event: OrderPlaced) -> None:
    """Pack what was bought. An atomic subscriber would be simpler; this one bears the same event twice."""
    async with sessions.begin() as session:
        await session.merge(Parcel(order_id=event.order_id, address=event.customer or "the front desk"))
