"""What billing does when something happens elsewhere."""

from django_shop.billing.models import Invoice
from django_shop.orders.events import OrderPlaced
from whereupon import subscriber


@subscriber(queue="billing", priority="high", atomic=True)
def create_invoice(event: OrderPlaced) -> None:
    """Write the invoice in the transaction that closes the delivery: exactly once, whatever dies."""
    Invoice.objects.create(order_id=event.order_id, amount=event.total)
