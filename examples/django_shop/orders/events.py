"""What happens in orders."""

from decimal import Decimal

from whereupon import Event


class OrderPlaced(Event):
    """An order was placed and paid."""

    order_id: int
    total: Decimal
    needs_shipping: bool
    customer: str | None = None
