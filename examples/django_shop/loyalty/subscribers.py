"""What loyalty does when something happens elsewhere."""

from django_shop.loyalty.models import Points
from django_shop.orders.events import OrderPlaced
from whereupon import IGNORED


def award_points(event: OrderPlaced) -> object:
    """Award a point for each whole euro; guests get none."""
    if event.customer is None:
        return IGNORED
    values = {"customer": event.customer, "amount": int(event.total)}
    return Points.objects.get_or_create(order_id=event.order_id, defaults=values)
