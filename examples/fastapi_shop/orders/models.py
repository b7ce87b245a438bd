"""Products and orders."""

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from fastapi_shop.database import Base


class Product(Base):
    """Something for sale."""

    __tablename__ = "orders_product"

    sku: Mapped[str] = mapped_column(primary_key=True)
    price_cents: Mapped[int]
    stock: Mapped[int]
    is_digital: Mapped[bool]


class Order(Base):
    """A purchase."""

    __tablename__ = "orders_order"

    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(ForeignKey(Product.sku))
    quantity: Mapped[int]
    customer: Mapped[str | None]
    status: Mapped[str] = mapped_column(default="placed")
