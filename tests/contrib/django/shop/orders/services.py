from django.db import transaction

from tests.contrib.django.shop.models import Order
from tests.contrib.django.shop.orders.events import OrderPlaced
from whereupon import publish


def place(number):
    with transaction.atomic():
        Order.objects.create(number=number)
        return publish(OrderPlaced(number=number))


def place_outside(number):
    Order.objects.create(number=number)
    return publish(OrderPlaced(number=number))
