"""What happens to orders."""

from whereupon import Event


class OrderPlaced(Event):
    """Somebody has bought something; a guest has no name."""

    order_id: int
    total_cents: int
    customer: str | None = None
    is_digital: bool = False
