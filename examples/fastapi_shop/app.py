"""The application: one route that publishes, one that shows what every context has done since."""

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import select

from fastapi_shop.billing.models import Invoice
from fastapi_shop.database import sessions
from fastapi_shop.event_store import store
from fastapi_shop.loyalty.models import Points
from fastapi_shop.orders.models import Order, Product
from fastapi_shop.orders.services import OutOfStock, place_order
from fastapi_shop.shipping.models import Parcel
from whereupon.contrib.fastapi import lifespan

app = FastAPI(title="The shop", lifespan=lifespan(store, worker=True))


class Checkout(BaseModel):
    """What somebody buys; a guest has no customer name."""

    sku: str = "mug"
    quantity: int = Field(default=1, ge=1)
    customer: str | None = None


class Placed(BaseModel):
    """The order that was placed."""

    order: int


class Story(BaseModel):
    """What became of an order, context by context."""

    order: int
    status: str
    invoice: str | None
    parcel: str | None
    points: int | None


@app.get("/products")
async def products() -> dict[str, int]:
    """List what is in stock."""
    async with sessions() as session:
        rows = await session.scalars(select(Product).order_by(Product.sku))
        return {product.sku: product.stock for product in rows}


@app.post("/checkout", status_code=201)
async def checkout(wanted: Checkout) -> Placed:
    """Place an order: its row, its event and the stock are one transaction."""
    try:
        async with sessions.begin() as session:
            order = await place_order(session, wanted.sku, wanted.quantity, wanted.customer)
    except OutOfStock as error:
        raise HTTPException(409, str(error)) from None
    return Placed(order=order.id)


@app.get("/orders/{order_id}")
async def story(order_id: int) -> Story:
    """Show an order, and what billing, shipping and loyalty have made of it."""
    async with sessions() as session:
        order = await session.get(Order, order_id)
        if order is None:
            raise HTTPException(404, f"there is no order {order_id}")
        invoice = await session.scalar(select(Invoice).where(Invoice.order_id == order_id))
        parcel = await session.get(Parcel, order_id)
        points = await session.get(Points, order_id)
    return Story(
        order=order.id,
        status=order.status,
        invoice=invoice.number if invoice else None,
        parcel=parcel.address if parcel else None,
        points=points.points if points else None,
    )
