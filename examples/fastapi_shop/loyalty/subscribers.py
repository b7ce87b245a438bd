"""Giving points."""

from sqlalchemy.orm import Session

from fastapi_shop.loyalty.models import Points
from fastapi_shop.orders.events import OrderPlaced
from whereupon import IGNORED, subscriber


@subscriber(atomic=True)
def give_points(event: OrderPlaced, session: Session) -> object:
    """Give a point for each euro; a plain function, which runs in a thread. Guests get none."""
    if event.customer is None:
        return IGNORED
    points = event.total_cents // 100
    session.add(Points(order_id=event.order_id, customer=event.customer, points=points))
    return None
