"""The tables, and something on the shelves."""

import asyncio

from sqlalchemy import select

from fastapi_shop.database import Base, engine, sessions
from fastapi_shop.event_store import store
from fastapi_shop.orders.models import Product

PRODUCTS = (("mug", 1200, 50, False), ("poster", 900, 3, False), ("ebook", 500, 1000, True))


async def prepare() -> None:
    """Make the tables of the shop and of the ledger, and stock the shelves once."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await asyncio.to_thread(store.ledger.migrate)
    async with sessions.begin() as session:
        if await session.scalar(select(Product).limit(1)) is None:
            session.add_all(
                Product(sku=sku, price_cents=price, stock=stock, is_digital=digital)
                for sku, price, stock, digital in PRODUCTS
            )
    await engine.dispose()
