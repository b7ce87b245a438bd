from django.contrib import admin
from django.db import transaction
from django.http import HttpResponse
from django.urls import path

from tests.contrib.django.shop.orders.services import place, place_outside


def order(request, number):
    place(number)
    return HttpResponse("placed")


def order_outside(request, number):
    place_outside(number)
    return HttpResponse("placed")


def order_and_fail(request, number):
    place_outside(number)
    raise ValueError("after the publish")


@transaction.non_atomic_requests
def order_alone(request, number):
    return order_outside(request, number)


urlpatterns = [
    path("admin/", admin.site.urls),
    path("order/<int:number>", order),
    path("outside/<int:number>", order_outside),
    path("fail/<int:number>", order_and_fail),
    path("alone/<int:number>", order_alone),
]
