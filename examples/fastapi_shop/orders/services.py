"""Placing an order."""

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_shop.orders.events import OrderPlaced
from fastapi_shop.orders.models import Order, Product
from whereupon import apublish


class OutOfStock(Exception):
    """There is not enough of a product."""


async def place_order(session: AsyncSession, sku: str, quantity: int, customer: str | None) -> Order:
    """Write an order and publish that it was placed, in the caller's transaction. Raises `OutOfStock`.

    The stock is taken last; when there is too little, the order and its event go with the rollback.
    """
    product = await session.get(Product, sku)
    if product is None:
        raise OutOfStock(f"there is no {sku}")
    order = Order(sku=sku, quantity=quantity, customer=customer)
    session.add(order)
    await session.flush()
    total = quantity * product.price_cents
    event = OrderPlaced(
        order_id=order.id, total_cents=total, customer=customer, is_digital=product.is_digital
    )
    await apublish(event, on=session)
    taken = await session.execute(
        update(Product)
        .where(Product.sku == sku, Product.stock >= quantity)
        .values(stock=Product.stock - quantity)
        .returning(Product.sku)
    )
    if taken.first() is None:
        raise OutOfStock(f"there are fewer than {quantity} of {sku}")
    return order
