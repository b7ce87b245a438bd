"""What shipping does when something happens elsewhere."""

from django_shop.orders.events import OrderPlaced
from django_shop.shipping.models import Parcel


def pack_parcel(event: OrderPlaced) -> None:
    """Pack a parcel; packing twice makes one."""
    Parcel.objects.get_or_create(order_id=event.order_id)
