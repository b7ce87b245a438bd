"""What happens in billing."""

from whereupon import Event


class InvoiceIssued(Event):
    """An order has its invoice."""

    order_id: int
    number: str
