"""Parcels."""

from sqlalchemy.orm import Mapped, mapped_column

from fastapi_shop.database import Base


class Parcel(Base):
    """A parcel on its way; the order is its key, so that handling an event twice does no harm."""

    __tablename__ = "shipping_parcel"

    order_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    address: Mapped[str]
