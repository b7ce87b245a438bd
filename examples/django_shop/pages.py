"""The pages of the shop, which look into every context; the contexts do not look into each other."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from django_shop.billing.models import Invoice
from django_shop.loyalty.models import Points
from django_shop.orders import services
from django_shop.orders.models import Order, Product
from django_shop.shipping.models import Parcel


@require_GET
def products(request: HttpRequest) -> HttpResponse:
    """Show what is sold, with the form to order it."""
    return _products(request)


def _products(request: HttpRequest, problem: str = "", status: int = 200) -> HttpResponse:
    context = {"products": Product.objects.order_by("name"), "problem": problem}
    return render(request, "products.html", context, status=status)


@require_POST
def checkout(request: HttpRequest) -> HttpResponse:
    """Order one product."""
    form: Any = request.POST
    try:
        placed = services.checkout(form["sku"], form.get("customer", ""), form.get("card", ""))
    except services.Refused as refusal:
        return _products(request, str(refusal), 409)
    return redirect("order", placed.pk)


@require_GET
def order(request: HttpRequest, number: int) -> HttpResponse:
    """Show an order, and what each context has done about it."""
    found = get_object_or_404(Order.objects.select_related("product"), pk=number)
    context = {
        "order": found,
        "invoice": Invoice.objects.filter(order_id=number).first(),
        "parcel": Parcel.objects.filter(order_id=number).first(),
        "points": Points.objects.filter(order_id=number).first(),
    }
    return render(request, "order.html", context)
