"""Placing orders."""

from django.db import transaction
from django.db.models import F

from django_shop.orders.events import OrderPlaced
from django_shop.orders.models import Order, Product
from whereupon import publish

REFUSED_CARD = "0000"


class Refused(Exception):
    """The order cannot be placed, for a reason that the customer may read."""


def checkout(sku: str, customer: str, card: str) -> Order:
    """Take the product out of stock, charge the card, and say so; all of it or nothing."""
    with transaction.atomic():
        product = Product.objects.filter(sku=sku).first()
        if product is None:
            raise Refused("There is no such product.")
        if product.is_physical:
            _take_from_stock(product)
        order = Order.objects.create(product=product, customer=customer)
        _charge(card)
        publish(
            OrderPlaced(
                order_id=order.pk,
                total=product.price,
                needs_shipping=product.is_physical,
                customer=customer or None,
            )
        )
    return order


def _take_from_stock(product: Product) -> None:
    if not Product.objects.filter(pk=product.pk, stock__gt=0).update(stock=F("stock") - 1):
        raise Refused(f"{product.name} is out of stock.")


def _charge(card: str) -> None:
    """Stand in for a payment provider."""
    if card == REFUSED_CARD:
        raise Refused("The card was refused.")
