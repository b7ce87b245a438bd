"""What loyalty hears."""

from fastapi_shop.loyalty.subscribers import give_points
from fastapi_shop.orders.events import OrderPlaced
from whereupon import subscribe

subscriptions = [
    subscribe(give_points, to=OrderPlaced),
]
