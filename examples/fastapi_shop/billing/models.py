"""Invoices."""

from sqlalchemy.orm import Mapped, mapped_column

from fastapi_shop.database import Base


class Invoice(Base):
    """What a customer has to pay. Nothing but `atomic=True` keeps an order from having two."""

    __tablename__ = "billing_invoice"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int]
    total_cents: Mapped[int]

    @property
    def number(self) -> str:
        """The number that is printed on it."""
        return f"INV-{self.id:05}"
