"""What shipping hears: orders with something to send."""

from django_shop.orders.events import OrderPlaced
from django_shop.shipping.subscribers import pack_parcel
from whereupon import subscribe

subscriptions = [subscribe(pack_parcel, to=OrderPlaced, when=lambda event: event.needs_shipping)]
