"""`manage.py shop`: the tables, a few products, the web server and a worker, with one command."""

import os
import sys
from argparse import ArgumentParser
from decimal import Decimal
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from django_shop.orders.models import Product

PRODUCTS = [
    ("teapot", "Teapot", "24.90", True, 5),
    ("last-cup", "The last cup", "9.50", True, 1),
    ("songs", "Songs (download)", "7.00", False, 0),
]


class Command(BaseCommand):
    """Starts the shop."""

    help = "Make the tables, put products on the shelves, start the server and a worker."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take where to listen, as runserver does."""
        parser.add_argument("address", nargs="?", default="127.0.0.1:8000")

    def handle(self, *_: Any, address: str, **options: Any) -> None:
        """Prepare, and become the development server, which starts the worker."""
        del options
        call_command("migrate", verbosity=0)
        for sku, name, price, is_physical, stock in PRODUCTS:
            values = {"name": name, "price": Decimal(price), "is_physical": is_physical, "stock": stock}
            Product.objects.get_or_create(sku=sku, defaults=values)
        self.stdout.write(f"the shop opens at http://{address}/ ; stop it with Control-C")
        self.stdout.flush()
        os.execv(sys.executable, [sys.executable, sys.argv[0], "runserver", address])
