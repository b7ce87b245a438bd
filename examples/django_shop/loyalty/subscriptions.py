"""What loyalty hears."""

from django_shop.loyalty.subscribers import award_points
from django_shop.orders.events import OrderPlaced
from whereupon import subscribe

subscriptions = [subscribe(award_points, to=OrderPlaced)]
