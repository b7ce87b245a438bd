"""What shipping hears: only what has to be packed."""

from fastapi_shop.orders.events import OrderPlaced
from fastapi_shop.shipping.subscribers import pack_parcel
from whereupon import subscribe

subscriptions = [
    subscribe(pack_parcel, to=OrderPlaced, when=lambda event: not event.is_digital),
]
