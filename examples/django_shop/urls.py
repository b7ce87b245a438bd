"""The pages."""

from django.contrib import admin
from django.urls import path

from django_shop import pages

urlpatterns = [
    path("", pages.products, name="products"),
    path("checkout", pages.checkout, name="checkout"),
    path("orders/<int:number>", pages.order, name="order"),
    path("admin/", admin.site.urls),
]
