"""Points."""

from sqlalchemy.orm import Mapped, mapped_column

from fastapi_shop.database import Base


class Points(Base):
    """What an order has earned its customer."""

    __tablename__ = "loyalty_points"

    order_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    customer: Mapped[str]
    points: Mapped[int]
